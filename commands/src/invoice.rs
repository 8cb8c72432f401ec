//! Decisions about a tenant's invoices: their number, and what became of the tries to collect them.
//!
//! What happens to an invoice is told to the subscription in the same command: the two never disagree about what is
//! owed. It is told as a fact, which holds whatever else happened there.

use chrono::{DateTime, TimeDelta, Utc};
use domain::billing::InvoiceStatus;
use domain::billing::invoice::invoice_number;
use domain::billing::refund::{creditable, decide_refund, refund_net, refundable};
use domain::invoice::{BillTo, Drafted, Invoice, InvoiceEvent, Payment, PaymentRequest, Refund};
use domain::money::{Money, MoneyError};
use domain::refusal::Refusal;
use domain::subscription::{Subscription, SubscriptionEvent};
use uuid::Uuid;

use crate::ids;
use crate::store::{Decision, Expected, Part};

/// From finalization to the date by which an invoice is to be paid: about as long as it is tried to collect it.
pub const PAYMENT_TERM: TimeDelta = TimeDelta::days(7);
/// What stands in the place of a gateway where there was nothing to pay.
pub const NO_GATEWAY: &str = "none";

/// Gives a draft its number. An invoice over nothing is paid with that.
///
/// # Errors
/// When there is no such invoice.
pub fn finalize(
    state: &Invoice,
    id: Uuid,
    sequence: u64,
    bill_to: &BillTo,
    now: DateTime<Utc>,
) -> Result<Decision<InvoiceEvent>, Refusal> {
    let draft = drawn_up(state)?;
    if state.number.is_some() {
        return Ok(Decision::nothing());
    }
    let finalized = Decision::one(InvoiceEvent::Finalized {
        sequence,
        number: invoice_number(sequence),
        bill_to: bill_to.clone(),
        due_at: now.checked_add_signed(PAYMENT_TERM).unwrap_or(now),
    });
    if !draft.amounts.total.is_zero() || state.status != InvoiceStatus::Draft {
        return Ok(finalized);
    }
    let (gateway, gateway_payment_id) = (NO_GATEWAY.to_owned(), invoice_number(sequence));
    let mut settled = finalized;
    settled.events.push(InvoiceEvent::Paid(Payment {
        gateway,
        gateway_payment_id,
        amount: draft.amounts.total,
    }));
    Ok(settled.also(told(draft, SubscriptionEvent::PaymentReceived { invoice_id: id })))
}

/// A payment for the whole invoice, whoever tells of it and however often. A second payment changes nothing here; it
/// is for a person to look at.
///
/// # Errors
/// 409 when it is not for the whole invoice, or for one that has no number or was withdrawn.
pub fn paid(state: &Invoice, id: Uuid, payment: &Payment) -> Result<Decision<InvoiceEvent>, Refusal> {
    let draft = drawn_up(state)?;
    match state.status {
        InvoiceStatus::Open | InvoiceStatus::Uncollectible => {}
        InvoiceStatus::Paid | InvoiceStatus::Refunded => return Ok(Decision::nothing()),
        InvoiceStatus::Draft | InvoiceStatus::Void => {
            return Err(Refusal::conflict("invoice_not_open", "There is nothing to pay for this invoice."));
        }
    }
    let total = draft.amounts.total;
    if payment.amount != total {
        let detail = format!("{} was paid for an invoice over {total}.", payment.amount);
        return Err(Refusal::conflict("amount_mismatch", detail));
    }
    Ok(Decision::one(InvoiceEvent::Paid(payment.clone()))
        .also(told(draft, SubscriptionEvent::PaymentReceived { invoice_id: id })))
}

/// The gateway asked the customer to pay. At the first try that is waited for; in dunning it counts as one more try
/// that has not brought the money.
///
/// # Errors
/// When there is no such invoice.
pub fn payment_requested(
    state: &Invoice,
    id: Uuid,
    request: &PaymentRequest,
) -> Result<Decision<InvoiceEvent>, Refusal> {
    let draft = drawn_up(state)?;
    let attempt = request.attempt;
    if !is_next(state, attempt) {
        return Ok(Decision::nothing());
    }
    let fact = if attempt == 0 {
        SubscriptionEvent::PaymentAwaited { invoice_id: id, until: request.expires_at }
    } else {
        SubscriptionEvent::PaymentFailed { invoice_id: id, attempt }
    };
    Ok(Decision::one(InvoiceEvent::PaymentRequested(request.clone())).also(told(draft, fact)))
}

/// A try to collect it was turned down, or a request to pay has run out (`attempt` 0 again).
///
/// # Errors
/// When there is no such invoice.
pub fn payment_failed(
    state: &Invoice,
    id: Uuid,
    attempt: u32,
    gateway: Option<&str>,
    reason: &str,
) -> Result<Decision<InvoiceEvent>, Refusal> {
    let draft = drawn_up(state)?;
    let runs_out = attempt == 0 && state.payment_request.is_some() && state.failure.is_none();
    if state.status != InvoiceStatus::Open || !(is_next(state, attempt) || runs_out) {
        return Ok(Decision::nothing());
    }
    let (gateway, reason) = (gateway.map(str::to_owned), reason.to_owned());
    Ok(Decision::one(InvoiceEvent::PaymentFailed { attempt, gateway, reason })
        .also(told(draft, SubscriptionEvent::PaymentFailed { invoice_id: id, attempt })))
}

/// Decides a refund before the gateway is asked for it. Nothing requested means all that is left: what was paid, less what
/// was refunded or became credit.
///
/// # Errors
/// As [`decide_refund`]; 409 while another refund is on its way.
pub fn request_refund(
    state: &Invoice,
    refund_id: Uuid,
    requested: Option<Money>,
    reason: Option<&str>,
) -> Result<Decision<InvoiceEvent>, Refusal> {
    let draft = drawn_up(state)?;
    if let Some(pending) = &state.pending_refund {
        return if pending.refund_id == refund_id {
            Ok(Decision::nothing())
        } else {
            Err(Refusal::conflict("refund_pending", "Another refund of this invoice is on its way."))
        };
    }
    let given = state.given_back().ok_or_else(|| Refusal::not_found("invoice"))?;
    let left = refundable(&draft.amounts, given).map_err(incalculable)?;
    let amount = decide_refund(state.status, left, requested)?;
    let reason = reason.map(str::to_owned);
    Ok(Decision::one(InvoiceEvent::RefundRequested(Refund { refund_id, amount, reason })))
}

/// The gateway has given the pending refund back.
///
/// # Errors
/// When the amounts can't be calculated.
pub fn refunded(
    state: &Invoice,
    id: Uuid,
    refund_id: Uuid,
    gateway_refund_id: Option<&str>,
) -> Result<Decision<InvoiceEvent>, Refusal> {
    let pending = state.pending_refund.as_ref().filter(|pending| pending.refund_id == refund_id);
    let Some(pending) = pending else { return Ok(Decision::nothing()) };
    given_back(state, id, refund_id, pending.amount, gateway_refund_id)
}

/// The id of a refund that was made at the gateway and is known by its name there.
#[must_use]
pub fn reported_refund_id(invoice_id: Uuid, gateway_refund_id: &str) -> Uuid {
    ids::named_id(invoice_id, &format!("refund {gateway_refund_id}"))
}

/// A refund that the gateway tells of and that was not asked for here, or the answer to one that was. It has been made,
/// so it is taken down even if the money had become credit: then the credit is withdrawn.
///
/// # Errors
/// 409 when it is more than what was paid, or nothing was.
pub fn refund_reported(
    state: &Invoice,
    id: Uuid,
    gateway_refund_id: &str,
    amount: Money,
) -> Result<Decision<InvoiceEvent>, Refusal> {
    if state.gateway_refund_ids.iter().any(|known| known == gateway_refund_id) {
        return Ok(Decision::nothing());
    }
    if let Some(pending) = state.pending_refund.as_ref().filter(|pending| pending.amount == amount) {
        return given_back(state, id, pending.refund_id, amount, Some(gateway_refund_id));
    }
    let zero = Money::zero(amount.currency());
    let paid = state.payment.as_ref().map_or(zero, |payment| payment.amount);
    let left = paid.minus(state.refunded.unwrap_or(zero)).map_err(incalculable)?;
    decide_refund(state.status, left, Some(amount))?;
    let refund_id = reported_refund_id(id, gateway_refund_id);
    given_back(state, id, refund_id, amount, Some(gateway_refund_id))
}

/// The gateway would not give the pending refund back.
#[must_use]
pub fn refund_failed(state: &Invoice, refund_id: Uuid, reason: &str) -> Decision<InvoiceEvent> {
    match &state.pending_refund {
        Some(pending) if pending.refund_id == refund_id => {
            Decision::one(InvoiceEvent::RefundFailed { refund_id, reason: reason.to_owned() })
        }
        _ => Decision::nothing(),
    }
}

fn given_back(
    state: &Invoice,
    id: Uuid,
    refund_id: Uuid,
    amount: Money,
    gateway_refund_id: Option<&str>,
) -> Result<Decision<InvoiceEvent>, Refusal> {
    let draft = drawn_up(state)?;
    let given = state.given_back().ok_or_else(|| Refusal::not_found("invoice"))?;
    let net = refund_net(amount, given.refunded, &draft.amounts).map_err(incalculable)?;
    // All of it for what was asked for here; less where a gateway has refunded what had become credit.
    let rest = creditable(&draft.amounts, given).and_then(|left| left.min(net)).map_err(incalculable)?;
    let withdrawn = net.minus(rest).map_err(incalculable)?;
    let mut facts = vec![SubscriptionEvent::PaymentRefunded { invoice_id: id, net: rest }];
    if withdrawn.is_positive() {
        facts.push(SubscriptionEvent::CreditWithdrawn { invoice_id: id, amount: withdrawn });
    }
    let gateway_refund_id = gateway_refund_id.map(str::to_owned);
    let refunded = Decision::one(InvoiceEvent::Refunded { refund_id, amount, gateway_refund_id });
    Ok(refunded.also(Part::of::<Subscription>(draft.subscription_id, Expected::Any, &facts)))
}

/// An amount in another currency than the invoice, or one that no invoice can have.
fn incalculable(error: MoneyError) -> Refusal {
    Refusal::invalid("amount", error.to_string())
}

fn drawn_up(state: &Invoice) -> Result<&Drafted, Refusal> {
    state.draft.as_ref().ok_or_else(|| Refusal::not_found("invoice"))
}

/// Whether nothing is known yet of this try to collect an invoice that is still to be paid.
fn is_next(state: &Invoice, attempt: u32) -> bool {
    let is_new = if attempt == 0 {
        state.retries == 0 && state.failure.is_none() && state.payment_request.is_none()
    } else {
        attempt > state.retries
    };
    is_new && state.status == InvoiceStatus::Open
}

fn told(draft: &Drafted, fact: SubscriptionEvent) -> Part {
    Part::of::<Subscription>(draft.subscription_id, Expected::Any, &[fact])
}

#[cfg(test)]
mod tests;
