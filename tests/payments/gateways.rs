//! The clients of the payment gateways, against servers that speak the gateways' protocols.

use commands::clock::Clock;
use commands::payment_gateway::{
    Charge, ChargeMethod, ChargeOutcome, GatewayError, Gateways, MethodRegistration, PaymentGateway,
    RefundOrder, RefundOutcome,
};
use domain::money::{Currency, Money};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;
use worker::payment::{self, Account};

use crate::support::provider::Trouble;
use crate::support::stripe::{self, Stripe};
use crate::support::xendit::{self, Xendit};

const TENANT: Uuid = Uuid::from_u128(0xa1);
const INVOICE: Uuid = Uuid::from_u128(0xb2);

fn gateways(stripe: Option<&str>, xendit: Option<&str>) -> Gateways {
    let account = |url: &str, key: &str| Account { api_url: url.to_owned(), secret_key: key.to_owned() };
    let settings = payment::Settings {
        stripe: stripe.map(|url| account(url, stripe::SECRET_KEY)),
        xendit: xendit.map(|url| account(url, xendit::SECRET_KEY)),
        return_url: "https://crm.example".to_owned(),
    };
    payment::gateways(&settings, &Clock::default()).unwrap()
}

fn idr(amount: i64) -> Money {
    Money::rounded(amount.into(), Currency::IDR)
}

fn charge(method: Option<&str>, key: &str) -> Charge {
    Charge {
        tenant_id: TENANT,
        invoice_id: INVOICE,
        invoice_number: "INV-000007".to_owned(),
        amount: idr(149_000),
        method: method.map(|id| ChargeMethod {
            gateway_payment_method_id: id.to_owned(),
            customer_id: Some("cus_1".to_owned()),
        }),
        idempotency_key: key.to_owned(),
    }
}

fn refund(payment_id: &str, amount: i64, key: &str) -> RefundOrder {
    RefundOrder {
        tenant_id: TENANT,
        invoice_id: INVOICE,
        payment_id: payment_id.to_owned(),
        amount: idr(amount),
        reason: Some("not what was wanted".to_owned()),
        idempotency_key: key.to_owned(),
    }
}

fn registration(method: &str) -> MethodRegistration {
    MethodRegistration {
        tenant_id: TENANT,
        organization_name: "Toko Maju".to_owned(),
        email: Some("owner@example.com".to_owned()),
        gateway_payment_method_id: method.to_owned(),
        customer_id: None,
        idempotency_key: "r1".to_owned(),
    }
}

fn payment_id(outcome: ChargeOutcome) -> String {
    match outcome {
        ChargeOutcome::Paid { payment_id } => payment_id,
        other => panic!("not paid: {other:?}"),
    }
}

#[track_caller]
fn assert_declined(outcome: &ChargeOutcome, words: &str) {
    match outcome {
        ChargeOutcome::Declined { reason } => assert!(reason.contains(words), "{reason}"),
        other => panic!("not declined: {other:?}"),
    }
}

struct Fixture<P> {
    provider: P,
    gateways: Gateways,
    name: &'static str,
}

impl<P> Fixture<P> {
    fn gateway(&self) -> &dyn PaymentGateway {
        self.gateways.find(self.name).expect("it is set up")
    }

    async fn charge(&self, method: &str, key: &str) -> Result<ChargeOutcome, GatewayError> {
        self.gateway().charge(&charge(Some(method), key)).await
    }
}

async fn at_stripe() -> Fixture<Stripe> {
    let provider = stripe::start().await;
    let gateways = gateways(Some(&provider.base), None);
    Fixture { provider, gateways, name: "stripe" }
}

async fn at_xendit() -> Fixture<Xendit> {
    let provider = xendit::start().await;
    let gateways = gateways(None, Some(&provider.base));
    Fixture { provider, gateways, name: "xendit" }
}

#[tokio::test]
async fn stripe_charges_a_card_off_session_with_what_webhooks_will_need() {
    let stripe = at_stripe().await;
    let paid = stripe.charge("pm_card_visa", "k1").await.unwrap();
    let order = stripe.provider.calls(&Method::POST, "/v1/payment_intents").remove(0);
    assert_eq!(order.key.as_deref(), Some("k1"));
    // Rupiah are charged in hundredths there.
    assert_eq!((&order.body["amount"], &order.body["currency"]), (&json!("14900000"), &json!("idr")));
    assert_eq!((&order.body["off_session"], &order.body["confirm"]), (&json!("true"), &json!("true")));
    assert_eq!(order.body["customer"], "cus_1");
    assert_eq!(order.body["metadata[tenant_id]"], json!(TENANT));
    assert_eq!(order.body["metadata[invoice_id]"], json!(INVOICE));
    let known = stripe.provider.look(|ledger| ledger.intents.keys().cloned().collect::<Vec<_>>());
    assert_eq!(known, [payment_id(paid)]);
}

#[tokio::test]
async fn a_decline_is_an_outcome_that_a_person_understands() {
    let stripe = at_stripe().await;
    assert_declined(&stripe.charge(stripe::DECLINED, "k1").await.unwrap(), "insufficient funds");
    let wants_holder = stripe.charge(stripe::NEEDS_AUTHENTICATION, "k2").await.unwrap();
    assert_declined(&wants_holder, "confirmed by the cardholder");
    let xendit = at_xendit().await;
    assert_declined(&xendit.charge(xendit::DECLINED, "k1").await.unwrap(), "not enough money");
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again_and_nothing_is_charged_twice() {
    let stripe = at_stripe().await;
    stripe.provider.next(Trouble::AnswerLost);
    payment_id(stripe.charge("pm_card_visa", "k1").await.unwrap());
    let orders = stripe.provider.calls(&Method::POST, "/v1/payment_intents");
    assert_eq!(orders.iter().map(|o| o.key.as_deref()).collect::<Vec<_>>(), [Some("k1"), Some("k1")]);
    assert_eq!(stripe.provider.look(|ledger| ledger.intents.len()), 1);
    let xendit = at_xendit().await;
    xendit.provider.next(Trouble::AnswerLost);
    payment_id(xendit.charge("pm-ovo", "k1").await.unwrap());
    assert_eq!(xendit.provider.look(|ledger| ledger.requests.len()), 1);
}

#[tokio::test]
async fn what_stays_unknown_is_told_as_such_and_found_at_the_next_try() {
    let stripe = at_stripe().await;
    for trouble in [Trouble::AnswerLost, Trouble::RequestLost] {
        stripe.provider.next(trouble);
    }
    let unknown = stripe.charge("pm_card_visa", "k1").await.unwrap_err();
    assert!(matches!(unknown, GatewayError::Unavailable(_)), "{unknown}");
    let first = stripe.provider.look(|ledger| ledger.intents.keys().next().cloned());
    // Days later, when the key is forgotten, and with another card: the payment is found, not made again.
    stripe.provider.forget_keys();
    let found = stripe.charge("pm_card_mastercard", "k1").await.unwrap();
    assert_eq!(Some(payment_id(found)), first);
    assert_eq!(stripe.provider.look(|ledger| ledger.intents.len()), 1);

    let xendit = at_xendit().await;
    for trouble in [Trouble::AnswerLost, Trouble::Answer(503, json!({ "error_code": "SERVER_ERROR" }))] {
        xendit.provider.next(trouble);
    }
    let unknown = xendit.charge("pm-ovo", "k1").await.unwrap_err();
    assert!(matches!(unknown, GatewayError::Unavailable(_)), "{unknown}");
    xendit.provider.forget_keys();
    payment_id(xendit.charge("pm-dana", "k1").await.unwrap());
    assert_eq!(xendit.provider.look(|ledger| ledger.requests.len()), 1);
}

#[tokio::test]
async fn an_order_that_never_arrived_is_carried_out_once() {
    let stripe = at_stripe().await;
    for _ in 0..2 {
        stripe.provider.next(Trouble::RequestLost);
    }
    assert!(stripe.charge("pm_card_visa", "k1").await.is_err());
    payment_id(stripe.charge("pm_card_visa", "k1").await.unwrap());
    assert_eq!(stripe.provider.look(|ledger| ledger.intents.len()), 1);
}

#[tokio::test]
async fn a_key_that_comes_back_with_another_card_charges_neither() {
    let stripe = at_stripe().await;
    payment_id(stripe.charge("pm_card_visa", "k1").await.unwrap());
    // As if Stripe's search had not caught up yet.
    stripe.provider.change(|ledger| ledger.intents.clear());
    let unknown = stripe.charge("pm_card_mastercard", "k1").await.unwrap_err();
    assert!(matches!(unknown, GatewayError::Unavailable(_)), "{unknown}");
    assert_eq!(stripe.provider.look(|ledger| ledger.intents.len()), 0);
}

#[tokio::test]
async fn a_gateway_that_does_not_know_us_or_is_not_there_is_no_fault_of_the_customer() {
    let (stripe, xendit) = (stripe::start().await, xendit::start().await);
    let account = |url: &str| Some(Account { api_url: url.to_owned(), secret_key: "wrong".to_owned() });
    let settings = payment::Settings {
        stripe: account(&stripe.base),
        xendit: account(&xendit.base),
        return_url: String::new(),
    };
    let gateways = payment::gateways(&settings, &Clock::default()).unwrap();
    for name in ["stripe", "xendit"] {
        let wrong = gateways.find(name).unwrap().charge(&charge(Some("pm_card_visa"), "k1")).await;
        let Err(GatewayError::Unavailable(reason)) = wrong else { panic!("{wrong:?}") };
        assert!(reason.contains("secret key"), "{reason}");
    }
    // Nothing listens there.
    let nowhere = self::gateways(Some("http://127.0.0.1:1"), Some("http://127.0.0.1:1"));
    for name in ["stripe", "xendit"] {
        let gone = nowhere.find(name).unwrap().charge(&charge(Some("pm_card_visa"), "k1")).await;
        assert!(matches!(gone, Err(GatewayError::Unavailable(_))), "{gone:?}");
    }
}

#[tokio::test]
async fn a_refund_is_given_once_and_what_exceeds_the_payment_is_declined() {
    let stripe = at_stripe().await;
    let paid = payment_id(stripe.charge("pm_card_visa", "k1").await.unwrap());
    let gateway = stripe.gateway();
    stripe.provider.next(Trouble::AnswerLost);
    let first = gateway.refund(&refund(&paid, 49_000, "r1")).await.unwrap();
    stripe.provider.forget_keys();
    assert_eq!(gateway.refund(&refund(&paid, 49_000, "r1")).await.unwrap(), first);
    assert_eq!(stripe.provider.look(|ledger| ledger.refunds.len()), 1);
    let too_much = gateway.refund(&refund(&paid, 100_001, "r2")).await.unwrap();
    let RefundOutcome::Declined { reason } = too_much else { panic!("{too_much:?}") };
    assert!(reason.contains("greater than unrefunded"), "{reason}");

    let xendit = at_xendit().await;
    let paid = payment_id(xendit.charge("pm-ovo", "k1").await.unwrap());
    let gateway = xendit.gateway();
    xendit.provider.next(Trouble::AnswerLost);
    let first = gateway.refund(&refund(&paid, 49_000, "r1")).await.unwrap();
    xendit.provider.forget_keys();
    assert_eq!(gateway.refund(&refund(&paid, 49_000, "r1")).await.unwrap(), first);
    let refunds = xendit.provider.look(|ledger| ledger.refunds.values().cloned().collect::<Vec<Value>>());
    assert_eq!((refunds.len(), &refunds[0]["amount"]), (1, &json!(49_000)));
    let too_much = gateway.refund(&refund(&paid, 100_001, "r2")).await.unwrap();
    assert!(matches!(too_much, RefundOutcome::Declined { .. }), "{too_much:?}");
}

#[tokio::test]
async fn who_has_no_card_on_file_is_asked_to_pay_on_a_page() {
    let stripe = at_stripe().await;
    let asked = stripe.gateway().charge(&charge(None, "k1")).await.unwrap();
    let ChargeOutcome::Requested { gateway_invoice_id, payment_url: Some(url), .. } = asked else {
        panic!("{asked:?}")
    };
    assert!(url.ends_with(&gateway_invoice_id), "{url}");
    let form = stripe.provider.calls(&Method::POST, "/v1/checkout/sessions").remove(0).body;
    assert_eq!(form["payment_intent_data[metadata][invoice_id]"], json!(INVOICE));
    assert_eq!(form["line_items[0][price_data][unit_amount]"], "14900000");

    let xendit = at_xendit().await;
    let first = xendit.gateway().charge(&charge(None, "k1")).await.unwrap();
    assert!(matches!(first, ChargeOutcome::Requested { .. }), "{first:?}");
    // Asked again, the customer gets the same page.
    assert_eq!(xendit.gateway().charge(&charge(None, "k1")).await.unwrap(), first);
    assert_eq!(xendit.provider.look(|ledger| ledger.invoices.len()), 1);
}

#[tokio::test]
async fn a_payment_that_takes_its_time_is_waited_for() {
    let stripe = at_stripe().await;
    let slow = stripe.charge(stripe::SLOW, "k1").await.unwrap();
    assert!(matches!(slow, ChargeOutcome::Requested { payment_url: None, .. }), "{slow:?}");
    let xendit = at_xendit().await;
    let asks = xendit.charge(xendit::NEEDS_CONFIRMATION, "k1").await.unwrap();
    let ChargeOutcome::Requested { payment_url: Some(url), .. } = &asks else { panic!("{asks:?}") };
    assert!(url.starts_with("https://pay.xendit.example/"), "{url}");
}

#[tokio::test]
async fn a_method_is_tied_to_the_tenants_customer_before_it_is_charged() {
    let stripe = at_stripe().await;
    let customer = stripe.gateway().register_method(&registration("pm_card_visa")).await.unwrap();
    // Repeated, as after a crash: no second customer.
    assert_eq!(stripe.gateway().register_method(&registration("pm_card_visa")).await.unwrap(), customer);
    assert_eq!(stripe.provider.look(|ledger| ledger.customers.len()), 1);
    let attached = stripe.provider.calls(&Method::POST, "/v1/payment_methods/pm_card_visa/attach");
    assert_eq!(attached[0].body["customer"], json!(customer));
    let known = MethodRegistration { customer_id: Some("cus_9".to_owned()), ..registration("pm_card_visa") };
    let known = MethodRegistration { idempotency_key: "r2".to_owned(), ..known };
    assert_eq!(stripe.gateway().register_method(&known).await.unwrap().as_deref(), Some("cus_9"));
    // An id becomes part of a path: nothing else may.
    for trick in ["pm_1/../../customers", "pm 1", ""] {
        let refused = stripe.gateway().register_method(&registration(trick)).await;
        assert!(matches!(refused, Err(GatewayError::Refused(_))), "{trick}: {refused:?}");
    }

    let xendit = at_xendit().await;
    let customer = xendit.gateway().register_method(&registration("pm-1")).await.unwrap();
    assert_eq!(xendit.gateway().register_method(&registration("pm-2")).await.unwrap(), customer);
    assert_eq!(xendit.provider.look(|ledger| ledger.customers.len()), 1);
    for unusable in [xendit::ONE_TIME, xendit::EXPIRED] {
        let refused = xendit.gateway().register_method(&registration(unusable)).await;
        assert!(matches!(refused, Err(GatewayError::Refused(_))), "{unusable}: {refused:?}");
    }
}

#[tokio::test]
async fn a_wallet_that_another_customer_has_linked_is_refused() {
    let xendit = at_xendit().await;
    let stranger = MethodRegistration {
        tenant_id: Uuid::from_u128(0xff),
        idempotency_key: "r2".to_owned(),
        ..registration("pm-1")
    };
    let own = xendit.gateway().register_method(&registration("pm-1")).await.unwrap().unwrap();
    let others = xendit.gateway().register_method(&stranger).await.unwrap().unwrap();
    assert_ne!(own, others);
    let of = |customer: &str| registration(&format!("{}{customer}", xendit::OF_CUSTOMER));
    assert_eq!(xendit.gateway().register_method(&of(&own)).await.unwrap(), Some(own.clone()));
    let known = MethodRegistration { customer_id: Some(own.clone()), ..of(&others) };
    for foreign in [of(&others), known, of("nobody")] {
        let refused = xendit.gateway().register_method(&foreign).await;
        assert!(matches!(refused, Err(GatewayError::Refused(_))), "{foreign:?}: {refused:?}");
    }
}

#[tokio::test]
async fn the_built_in_gateway_needs_no_account_and_the_others_do() {
    let none = gateways(None, None);
    assert_eq!(none.names(), ["manual"]);
    assert!(none.for_asking().is_none());
    let manual = none.find("manual").unwrap();
    assert_eq!(manual.register_method(&registration("by hand")).await.unwrap(), None);
    let paid = manual.charge(&charge(Some("by hand"), "k1")).await.unwrap();
    assert_eq!(payment_id(paid), "k1");
    let refunded = manual.refund(&refund("k1", 1, "r1")).await.unwrap();
    assert_eq!(refunded, RefundOutcome::Refunded { refund_id: "r1".to_owned() });
    let both = gateways(Some("http://127.0.0.1:1"), Some("http://127.0.0.1:1"));
    assert_eq!(both.names(), ["xendit", "stripe"]);
    assert!(both.find_for_new("manual").is_none() && none.find_for_new("manual").is_some());
    // What was paid by hand before can still be given back.
    assert!(both.find("manual").is_some());
    assert_eq!(both.for_asking().map(|gateway| gateway.name()), Some("xendit"));
}
