use domain::aggregate::Aggregate;
use domain::billing::{InvoiceLine, LineKind, Period};
use domain::event::Context;
use domain::invoice::{Amounts, InvoiceCause};
use domain::money::Currency;

use super::*;

const ID: Uuid = Uuid::from_u128(1);
const SUBSCRIPTION: Uuid = Uuid::from_u128(2);
const REFUND: Uuid = Uuid::from_u128(3);
const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

fn idr(amount: i64) -> Money {
    Money::rounded(amount.into(), Currency::IDR)
}

fn after(mut state: Invoice, decision: &Decision<InvoiceEvent>) -> Invoice {
    for event in &decision.events {
        state.evolve(event, Context { stream_id: ID, version: 1, at: NOW });
    }
    state
}

/// An invoice over 111,000 rupiah with tax, or over nothing.
fn drafted(subtotal: i64) -> Invoice {
    let lines = vec![InvoiceLine::flat(LineKind::Plan, "Starter", idr(subtotal), None)];
    let drafted = InvoiceEvent::Drafted(Box::new(Drafted {
        subscription_id: SUBSCRIPTION,
        cause: InvoiceCause::Period,
        amounts: Amounts::of(Currency::IDR, lines).unwrap(),
        period: Period { start: NOW, end: NOW },
    }));
    after(Invoice::default(), &Decision::one(drafted))
}

fn open() -> Invoice {
    let draft = drafted(100_000);
    after(draft.clone(), &finalize(&draft, ID, 7, &BillTo::default(), NOW).unwrap())
}

fn payment(id: &str, amount: i64) -> Payment {
    Payment { gateway: "manual".to_owned(), gateway_payment_id: id.to_owned(), amount: idr(amount) }
}

fn settled() -> Invoice {
    after(open(), &paid(&open(), ID, &payment("p1", 111_000)).unwrap())
}

/// What the subscription is told.
fn told_types(decision: &Decision<InvoiceEvent>) -> Vec<&str> {
    let parts = decision.also.iter().inspect(|part| assert_eq!(part.0.stream_id, SUBSCRIPTION));
    parts.flat_map(|part| part.0.events.iter().map(|event| event.event_type.as_str())).collect()
}

#[test]
fn a_draft_gets_one_number() {
    let state = open();
    assert_eq!((state.status, state.number.as_deref()), (InvoiceStatus::Open, Some("INV-000007")));
    assert!(finalize(&state, ID, 8, &BillTo::default(), NOW).unwrap().is_nothing());
    assert_eq!(finalize(&Invoice::default(), ID, 8, &BillTo::default(), NOW).unwrap_err().code, "not_found");
}

#[test]
fn an_invoice_over_nothing_is_paid_with_its_number() {
    let state = drafted(0);
    let finalized = finalize(&state, ID, 7, &BillTo::default(), NOW).unwrap();
    assert_eq!(told_types(&finalized), ["subscription.payment_received"]);
    assert_eq!(after(state, &finalized).status, InvoiceStatus::Paid);
}

#[test]
fn a_draft_that_was_withdrawn_keeps_the_number_it_was_given() {
    let void = after(drafted(100_000), &Decision::one(InvoiceEvent::Voided));
    let state = after(void.clone(), &finalize(&void, ID, 7, &BillTo::default(), NOW).unwrap());
    assert_eq!((state.status, state.sequence), (InvoiceStatus::Void, Some(7)));
    assert_eq!(paid(&state, ID, &payment("p1", 111_000)).unwrap_err().code, "invoice_not_open");
}

#[test]
fn a_payment_counts_once_however_often_it_is_reported() {
    let first = paid(&open(), ID, &payment("p1", 111_000)).unwrap();
    assert_eq!(told_types(&first), ["subscription.payment_received"]);
    assert!(paid(&settled(), ID, &payment("p1", 111_000)).unwrap().is_nothing());
    assert!(paid(&settled(), ID, &payment("p2", 111_000)).unwrap().is_nothing());
    assert_eq!(paid(&open(), ID, &payment("p1", 110_999)).unwrap_err().code, "amount_mismatch");
    assert_eq!(paid(&drafted(1), ID, &payment("p1", 1)).unwrap_err().code, "invoice_not_open");
}

#[test]
fn a_late_payment_of_an_invoice_that_was_given_up_is_taken() {
    let given_up = after(open(), &Decision::one(InvoiceEvent::MarkedUncollectible));
    let state = after(given_up.clone(), &paid(&given_up, ID, &payment("p1", 111_000)).unwrap());
    assert_eq!(state.status, InvoiceStatus::Paid);
}

#[test]
fn each_try_fails_once() {
    let mut state = open();
    for attempt in 0..3 {
        let failed = payment_failed(&state, ID, attempt, Some("manual"), "no").unwrap();
        assert_eq!(told_types(&failed), ["subscription.payment_failed"]);
        state = after(state, &failed);
        assert_eq!(state.retries, attempt);
        assert!(payment_failed(&state, ID, attempt, Some("manual"), "no").unwrap().is_nothing());
    }
    assert!(payment_failed(&settled(), ID, 1, None, "no").unwrap().is_nothing());
}

fn request(attempt: u32) -> PaymentRequest {
    PaymentRequest {
        attempt,
        gateway: "xendit".to_owned(),
        gateway_invoice_id: "x1".to_owned(),
        payment_url: None,
        expires_at: NOW,
    }
}

#[test]
fn the_first_request_is_waited_for_and_runs_out_once() {
    let requested = payment_requested(&open(), ID, &request(0)).unwrap();
    assert_eq!(told_types(&requested), ["subscription.payment_awaited"]);
    let waiting = after(open(), &requested);
    assert!(payment_requested(&waiting, ID, &request(0)).unwrap().is_nothing());
    let ran_out = payment_failed(&waiting, ID, 0, None, "not in time").unwrap();
    assert_eq!(told_types(&ran_out), ["subscription.payment_failed"]);
    let overdue = after(waiting, &ran_out);
    assert!(payment_failed(&overdue, ID, 0, None, "not in time").unwrap().is_nothing());
    let again = payment_requested(&overdue, ID, &request(1)).unwrap();
    assert_eq!(told_types(&again), ["subscription.payment_failed"]);
}

#[test]
fn a_refund_is_decided_once_and_given_back_once() {
    let requested = request_refund(&settled(), REFUND, Some(idr(11_100)), Some("sorry")).unwrap();
    let pending = after(settled(), &requested);
    assert!(request_refund(&pending, REFUND, Some(idr(11_100)), None).unwrap().is_nothing());
    let another = request_refund(&pending, ID, None, None).unwrap_err();
    assert_eq!(another.code, "refund_pending");
    let back = refunded(&pending, ID, REFUND, Some("r1")).unwrap();
    assert_eq!(told_types(&back), ["subscription.payment_refunded"]);
    assert_eq!(back.also[0].0.events[0].payload["net"]["amount"], "10000");
    let state = after(pending, &back);
    assert_eq!((state.status, state.refunded), (InvoiceStatus::Paid, Some(idr(11_100))));
    assert!(refunded(&state, ID, REFUND, Some("r1")).unwrap().is_nothing());
    assert!(refund_reported(&state, ID, "r1", idr(11_100)).unwrap().is_nothing());
}

#[test]
fn refunds_never_exceed_what_was_paid() {
    assert_eq!(request_refund(&open(), REFUND, None, None).unwrap_err().code, "invoice_not_paid");
    let too_much = request_refund(&settled(), REFUND, Some(idr(111_001)), None).unwrap_err();
    assert_eq!(too_much.code, "refund_exceeds_paid");
    let reported = refund_reported(&settled(), ID, "r1", idr(111_000)).unwrap();
    let state = after(settled(), &reported);
    assert_eq!(state.status, InvoiceStatus::Refunded);
    assert_eq!(request_refund(&state, REFUND, None, None).unwrap_err().code, "already_refunded");
    assert_eq!(refund_reported(&state, ID, "r2", idr(1)).unwrap_err().code, "already_refunded");
}

#[test]
fn what_became_credit_is_not_refunded_as_well() {
    let credited = |net| Decision::one(InvoiceEvent::Credited { net: idr(net) });
    let state = after(settled(), &credited(60_000));
    let too_much = request_refund(&state, REFUND, Some(idr(44_401)), None).unwrap_err();
    assert_eq!(too_much.code, "refund_exceeds_paid");
    let rest = request_refund(&state, REFUND, None, None).unwrap();
    let [InvoiceEvent::RefundRequested(refund)] = &rest.events[..] else { panic!("{rest:?}") };
    assert_eq!(refund.amount, idr(44_400));
    let all = after(settled(), &credited(100_000));
    assert_eq!(request_refund(&all, REFUND, None, None).unwrap_err().code, "already_refunded");
}

#[test]
fn credit_is_withdrawn_when_the_gateway_has_refunded_the_money() {
    let state = after(settled(), &Decision::one(InvoiceEvent::Credited { net: idr(60_000) }));
    let reported = refund_reported(&state, ID, "r1", idr(111_000)).unwrap();
    assert_eq!(told_types(&reported), ["subscription.payment_refunded", "subscription.credit_withdrawn"]);
    let told = &reported.also[0].0.events;
    assert_eq!(
        (&told[0].payload["net"]["amount"], &told[1].payload["amount"]["amount"]),
        (&serde_json::json!("40000"), &serde_json::json!("60000"))
    );
    assert_eq!(after(state, &reported).status, InvoiceStatus::Refunded);
}

#[test]
fn a_report_can_come_before_the_answer() {
    let requested = request_refund(&settled(), REFUND, None, None).unwrap();
    let pending = after(settled(), &requested);
    let reported = refund_reported(&pending, ID, "r1", idr(111_000)).unwrap();
    let state = after(pending, &reported);
    assert_eq!((state.status, state.pending_refund.clone()), (InvoiceStatus::Refunded, None));
    assert!(refunded(&state, ID, REFUND, Some("r1")).unwrap().is_nothing());
}

#[test]
fn a_refund_made_by_hand_leaves_the_one_that_is_on_its_way() {
    let requested = request_refund(&settled(), REFUND, Some(idr(11_100)), None).unwrap();
    let pending = after(settled(), &requested);
    let state = after(pending.clone(), &refund_reported(&pending, ID, "by hand", idr(22_200)).unwrap());
    assert_eq!(state.pending_refund, pending.pending_refund);
    let state = after(state.clone(), &refunded(&state, ID, REFUND, Some("r1")).unwrap());
    assert_eq!((state.pending_refund, state.refunded), (None, Some(idr(33_300))));
}

#[test]
fn a_refund_that_the_gateway_declines_leaves_nothing_behind() {
    let requested = request_refund(&settled(), REFUND, None, None).unwrap();
    let pending = after(settled(), &requested);
    let state = after(pending.clone(), &refund_failed(&pending, REFUND, "too old"));
    assert_eq!(state.pending_refund, None);
    assert!(refund_failed(&state, REFUND, "too old").is_nothing());
}
