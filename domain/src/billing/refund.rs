//! What can be given back of an invoice, as money (a refund) or as credit (when less is subscribed to within a period).
//!
//! Both come out of what was paid, and together they never exceed it: what became credit can't be refunded any more, and
//! what was refunded can't become credit. Credit counts before tax, as the invoice that it pays for is taxed for the
//! rest only; a refund gives its share of the tax back as well.

use std::cmp::Ordering;

use rust_decimal::RoundingStrategy;

use super::invoice::{Invoice, InvoiceStatus};
use crate::money::{Money, MoneyError};
use crate::refusal::Refusal;

/// What was given back of a paid invoice so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenBack {
    /// With tax.
    pub refunded: Money,
    /// Before tax.
    pub credited: Money,
}

/// The most that can be refunded of a paid invoice, with tax.
///
/// # Errors
/// [`MoneyError::CurrencyMismatch`], [`MoneyError::OutOfRange`].
pub fn refundable(invoice: &Invoice, given: GivenBack) -> Result<Money, MoneyError> {
    let net = invoice.subtotal.minus(given.credited)?;
    at_least_zero(with_tax(net, invoice)?.minus(given.refunded)?)
}

/// The most that can become credit of a paid invoice, before tax.
///
/// # Errors
/// [`MoneyError::CurrencyMismatch`], [`MoneyError::OutOfRange`].
pub fn creditable(invoice: &Invoice, given: GivenBack) -> Result<Money, MoneyError> {
    let net = invoice.subtotal.minus(given.credited)?;
    at_least_zero(net.minus(net_of_tax(given.refunded, invoice.subtotal, invoice.total)?)?)
}

/// Decides a refund: how much of a paid invoice is given back, of which `left` can be. Nothing requested means all of
/// that.
///
/// # Errors
/// 409 `invoice_not_paid`, 409 `refund_exceeds_paid`, and 409 `already_refunded` if nothing is left.
pub fn decide_refund(status: InvoiceStatus, left: Money, requested: Option<Money>) -> Result<Money, Refusal> {
    if !matches!(status, InvoiceStatus::Paid | InvoiceStatus::Refunded) {
        return Err(Refusal::conflict("invoice_not_paid", "Only a paid invoice can be refunded."));
    }
    if status == InvoiceStatus::Refunded || !left.is_positive() {
        let detail = "There is nothing left of this invoice to refund: it was refunded or became credit.";
        return Err(Refusal::conflict("already_refunded", detail));
    }
    let amount = requested.unwrap_or(left);
    match amount.compare(left) {
        Err(error) => Err(Refusal::invalid("amount", error.to_string())),
        Ok(_) if !amount.is_positive() => Err(Refusal::invalid("amount", "must be more than 0")),
        Ok(Ordering::Greater) => {
            let detail = format!("{amount} is more than the {left} that was paid and not given back yet.");
            Err(Refusal::conflict("refund_exceeds_paid", detail))
        }
        Ok(_) => Ok(amount),
    }
}

/// The part of a refund that is not tax, after `refunded_before` of the same invoice had been given back.
///
/// # Errors
/// [`MoneyError::CurrencyMismatch`], [`MoneyError::OutOfRange`].
pub fn refund_net(refund: Money, refunded_before: Money, invoice: &Invoice) -> Result<Money, MoneyError> {
    let net = |gross| net_of_tax(gross, invoice.subtotal, invoice.total);
    // The difference of two totals, so that refunds in parts come to what one refund of them all would.
    net(refunded_before.plus(refund)?)?.minus(net(refunded_before)?)
}

/// The part of the subtotal that is in `gross`, a part of the total. By the invoice's own figures and not by its tax
/// rate, as its tax was rounded: the whole total holds exactly the subtotal.
///
/// # Errors
/// [`MoneyError::OutOfRange`].
pub fn net_of_tax(gross: Money, subtotal: Money, total: Money) -> Result<Money, MoneyError> {
    if total.is_zero() {
        return Ok(gross);
    }
    let product = gross.amount().checked_mul(subtotal.amount()).ok_or(MoneyError::OutOfRange)?;
    let exact = product.checked_div(total.amount()).ok_or(MoneyError::OutOfRange)?;
    Ok(Money::rounded(exact, gross.currency()))
}

/// `net` and its share of the tax, rounded down: what is refunded with tax must not be worth more than `net` without.
fn with_tax(net: Money, invoice: &Invoice) -> Result<Money, MoneyError> {
    if invoice.subtotal.is_zero() {
        return Ok(net);
    }
    let product = net.amount().checked_mul(invoice.total.amount()).ok_or(MoneyError::OutOfRange)?;
    let exact = product.checked_div(invoice.subtotal.amount()).ok_or(MoneyError::OutOfRange)?;
    let currency = net.currency();
    let down = exact.round_dp_with_strategy(currency.decimals(), RoundingStrategy::ToNegativeInfinity);
    Ok(Money::rounded(down, currency))
}

/// Takes `credit` out of invoices of which so much can become credit, from the last one backwards: how much of each.
/// What none of them covers was paid with credit already, and goes back to where it came from.
///
/// # Errors
/// [`MoneyError::CurrencyMismatch`], [`MoneyError::OutOfRange`].
pub fn take_credit<Id: Copy>(
    credit: Money,
    creditable: &[(Id, Money)],
) -> Result<Vec<(Id, Money)>, MoneyError> {
    let (mut missing, mut taken) = (credit, Vec::new());
    for (id, available) in creditable.iter().rev() {
        let part = missing.min(*available)?;
        if part.is_positive() {
            missing = missing.minus(part)?;
            taken.push((*id, part));
        }
    }
    Ok(taken)
}

fn at_least_zero(money: Money) -> Result<Money, MoneyError> {
    Ok(if money.is_negative() { Money::zero(money.currency()) } else { money })
}
