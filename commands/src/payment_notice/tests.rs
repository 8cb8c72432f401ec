use domain::money::Money;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{About, News, Notice, Sender, about, reference, stripe, xendit};

const TENANT: Uuid = Uuid::from_u128(1);
const INVOICE: Uuid = Uuid::from_u128(2);
const ABOUT: About = About { tenant_id: TENANT, invoice_id: INVOICE };

fn money(amount: &str, code: &str) -> Money {
    Money::rounded(amount.parse().unwrap(), code.parse().unwrap())
}

fn metadata() -> Value {
    json!({ "tenant_id": TENANT, "invoice_id": INVOICE, "order": "k" })
}

fn stripe_event(kind: &str, object: Value) -> Value {
    json!({ "id": "evt_1", "object": "event", "type": kind, "data": { "object": object } })
}

#[test]
fn stripe_takes_hundredths_of_most_currencies_even_where_we_have_none() {
    for (amount, code, units) in [
        ("29.00", "USD", Some(2900)),
        ("149000", "IDR", Some(14_900_000)),
        ("500", "JPY", Some(500)),
        ("5", "ISK", Some(500)),
        ("7", "UGX", Some(700)),
        ("300", "MGA", Some(300)),
        ("1.230", "KWD", Some(1230)),
        // Thousandths end in zero there; what does not can't be charged exactly.
        ("1.234", "KWD", None),
        ("300.50", "MGA", None),
    ] {
        assert_eq!(stripe::minor_units(money(amount, code)), units, "{amount} {code}");
    }
}

#[test]
fn stripe_payments_are_read_with_what_they_are_about() {
    let intent = json!({ "id": "pi_1", "amount": 14_900_000, "amount_received": 14_900_000, "currency": "idr",
        "metadata": metadata() });
    let notice = stripe::read(&stripe_event("payment_intent.succeeded", intent)).unwrap();
    let news = News::Paid { payment_id: "pi_1".to_owned(), amount: money("149000", "IDR") };
    assert_eq!(notice, Notice { about: Some(ABOUT), news });
    let failed = json!({ "id": "pi_1", "last_payment_error": { "message": "Your card was declined." },
        "metadata": metadata() });
    let notice = stripe::read(&stripe_event("payment_intent.payment_failed", failed)).unwrap();
    let news =
        News::PaymentFailed { payment_id: "pi_1".to_owned(), reason: "Your card was declined.".to_owned() };
    assert_eq!(notice.news, news);
    // On a page the next card may do.
    let on_page = json!({ "id": "pi_1", "metadata": { "page": "yes" } });
    let notice = stripe::read(&stripe_event("payment_intent.payment_failed", on_page)).unwrap();
    assert!(matches!(notice.news, News::Other(_)));
}

#[test]
fn a_stripe_refund_counts_once_it_has_succeeded() {
    let refund = |status: &str, metadata: Value| {
        let object = json!({ "id": "re_1", "payment_intent": "pi_1", "amount": 500, "currency": "usd",
            "status": status, "metadata": metadata, "failure_reason": "expired_or_canceled_card" });
        stripe::read(&stripe_event("refund.updated", object)).unwrap()
    };
    assert_eq!(refund("pending", metadata()).news, News::Other("refund pending".to_owned()));
    // Made in Stripe's dashboard: nobody told it of us.
    let by_hand = refund("succeeded", json!({}));
    assert_eq!(by_hand.about, None);
    let (payment_id, refund_id) = ("pi_1".to_owned(), "re_1".to_owned());
    assert_eq!(by_hand.news, News::Refunded { payment_id, refund_id, amount: money("5", "USD") });
    let failed = refund("failed", metadata());
    assert!(
        matches!(&failed.news, News::RefundFailed { reason, .. } if reason.contains("expired or canceled card"))
    );
}

#[test]
fn xendit_payments_are_known_by_their_reference() {
    let data = json!({ "id": "ddpy-1", "payment_request_id": "pr-1", "amount": 149_000, "currency": "IDR",
        "reference_id": reference(TENANT, INVOICE, "a:b"), "failure_code": "INSUFFICIENT_BALANCE" });
    let notice = |event: &str| xendit::read(&json!({ "event": event, "data": data })).unwrap();
    let news = News::Paid { payment_id: "pr-1".to_owned(), amount: money("149000", "IDR") };
    assert_eq!(notice("payment.succeeded"), Notice { about: Some(ABOUT), news });
    let reason = "There is not enough money on the account.".to_owned();
    assert_eq!(notice("payment.failed").news, News::PaymentFailed { payment_id: "pr-1".to_owned(), reason });
    assert_eq!(notice("payment_method.activated").news, News::Other("payment_method.activated".to_owned()));
}

#[test]
fn xendit_refunds_are_read_with_one_envelope_or_two() {
    let refund = json!({ "id": "rfd-1", "invoice_id": "61f0", "amount": 10.5, "currency": "PHP",
        "reference_id": "made by hand", "failure_code": null });
    let (payment_id, refund_id) = ("61f0".to_owned(), "rfd-1".to_owned());
    let wanted =
        Notice { about: None, news: News::Refunded { payment_id, refund_id, amount: money("10.5", "PHP") } };
    let once = json!({ "event": "refund.succeeded", "data": refund });
    assert_eq!(xendit::read(&once).unwrap(), wanted);
    let twice =
        json!({ "event": "refund.succeeded", "data": { "event": "refund.succeeded", "data": refund } });
    assert_eq!(xendit::read(&twice).unwrap(), wanted);
}

#[test]
fn a_hosted_invoice_is_a_callback_without_an_envelope() {
    let callback = |status: &str| {
        json!({ "id": "579c8d61f23fa4ca35e52da4", "external_id": reference(TENANT, INVOICE, "k"),
            "status": status, "amount": 50_000, "paid_amount": 50_000, "currency": "IDR" })
    };
    let paid = xendit::read(&callback("PAID")).unwrap();
    let news =
        News::Paid { payment_id: "579c8d61f23fa4ca35e52da4".to_owned(), amount: money("50000", "IDR") };
    assert_eq!(paid, Notice { about: Some(ABOUT), news });
    assert_eq!(xendit::read(&callback("EXPIRED")).unwrap().news, News::Other("invoice expired".to_owned()));
}

#[test]
fn what_lacks_a_part_that_matters_is_unreadable_and_says_which() {
    let nothing = stripe_event("payment_intent.succeeded", json!({ "id": "pi_1", "currency": "usd" }));
    assert!(stripe::read(&nothing).unwrap_err().to_string().contains("amount"));
    let unknown = json!({ "id": "pi_1", "amount_received": 1, "currency": "xxx" });
    assert!(stripe::read(&stripe_event("payment_intent.succeeded", unknown)).is_err());
    assert!(xendit::read(&json!({ "event": "payment.succeeded", "data": { "amount": 1 } })).is_err());
    assert!(Sender::Stripe.read(b"not json").is_err());
    assert!(Sender::Xendit.read(b"[]").is_err());
}

#[test]
fn a_reference_says_what_it_is_about_and_nothing_else_does() {
    assert_eq!(about(&reference(TENANT, INVOICE, "x")), Some(ABOUT));
    for other in ["", "order-17", "a:b:c", &TENANT.to_string()] {
        assert_eq!(about(other), None, "{other}");
    }
    assert_eq!(Sender::named("xendit"), Some(Sender::Xendit));
    assert_eq!(Sender::named("manual"), None);
}
