//! Invoices: the lines of what is charged, and what they add up to.
//!
//! Every line is rounded by itself, so the lines shown add up to the subtotal shown, and subtotal and tax to the total.
//! Credits come before tax: a tenant that is given back the price of unused time gets the tax on it back as well.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::coupon::{AppliedCoupon, amount_off};
use super::period::{Month, Period};
use super::plan::RecurringItems;
use super::proration::Prepaid;
use crate::money::{Currency, Money, MoneyError};

/// Indonesian value-added tax (PPN), 11 %, on everything charged in rupiah.
pub const PPN_RATE: Decimal = Decimal::from_parts(11, 0, 0, false, 2);

/// Digits of the running number on an invoice; a larger number simply is longer.
const NUMBER_DIGITS: usize = 6;

/// The tax on a subtotal in `currency`, as a fraction.
#[must_use]
pub fn tax_rate(currency: Currency) -> Decimal {
    if currency == Currency::IDR { PPN_RATE } else { Decimal::ZERO }
}

/// The number on the `sequence`-th finalized invoice of the platform, counted from 1.
#[must_use]
pub fn invoice_number(sequence: u64) -> String {
    format!("INV-{sequence:0NUMBER_DIGITS$}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    Plan,
    Seats,
    Addon,
    /// Messages above the plan's limit, after the month in which they were sent.
    Overage,
    /// Unused time given back (negative) and remaining time charged, when what is subscribed to changes.
    Proration,
    /// A coupon; negative.
    Discount,
    /// A balance from an earlier downgrade; negative.
    Credit,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceLine {
    pub kind: LineKind,
    pub description: String,
    pub quantity: u64,
    /// Before rounding, in the invoice's currency.
    #[serde(with = "rust_decimal::serde::str")]
    #[schemars(with = "Decimal")]
    pub unit_price: Decimal,
    pub amount: Money,
    /// What the line pays for, where it is time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
}

impl InvoiceLine {
    /// `quantity` times `unit_price`, rounded.
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`].
    pub fn priced(
        kind: LineKind,
        description: impl Into<String>,
        quantity: u64,
        unit_price: Decimal,
        currency: Currency,
        period: Option<Period>,
    ) -> Result<Self, MoneyError> {
        let exact = unit_price.checked_mul(quantity.into()).ok_or(MoneyError::OutOfRange)?;
        let amount = Money::rounded(exact, currency);
        Ok(Self { kind, description: description.into(), quantity, unit_price, amount, period })
    }

    /// A line that is an amount and not a number of things.
    pub fn flat(
        kind: LineKind,
        description: impl Into<String>,
        amount: Money,
        period: Option<Period>,
    ) -> Self {
        Self {
            kind,
            description: description.into(),
            quantity: 1,
            unit_price: amount.amount(),
            amount,
            period,
        }
    }
}

/// What an invoice says about money. Number, dates and state are the invoice aggregate's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invoice {
    pub lines: Vec<InvoiceLine>,
    /// The sum of the lines; not negative.
    pub subtotal: Money,
    /// As a fraction: 0.11 is 11 %.
    #[serde(with = "rust_decimal::serde::str")]
    #[schemars(with = "Decimal")]
    pub tax_rate: Decimal,
    pub tax: Money,
    /// Subtotal and tax. Zero is possible, and such an invoice is paid as soon as it is finalized.
    pub total: Money,
}

impl Invoice {
    /// Adds up `lines` and taxes them.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`] if a line is not in `currency`; [`MoneyError::OutOfRange`].
    pub fn of(currency: Currency, lines: Vec<InvoiceLine>) -> Result<Self, MoneyError> {
        let subtotal = Money::sum(currency, lines.iter().map(|line| line.amount))?;
        let tax_rate = tax_rate(currency);
        let tax = subtotal.times(tax_rate)?;
        Ok(Self { lines, subtotal, tax_rate, tax, total: subtotal.plus(tax)? })
    }

    /// As [`Invoice::of`], with as much of `balance` taken off as the lines are worth. Returns what is left of it.
    ///
    /// # Errors
    /// As [`Invoice::of`]; [`MoneyError::CurrencyMismatch`] if the balance is in another currency.
    pub(super) fn less_credit(
        currency: Currency,
        mut lines: Vec<InvoiceLine>,
        balance: Money,
    ) -> Result<(Self, Money), MoneyError> {
        let used = balance.min(Money::sum(currency, lines.iter().map(|line| line.amount))?)?;
        if used.is_positive() {
            lines.push(InvoiceLine::flat(LineKind::Credit, "Credit carried over", used.negated(), None));
        }
        Ok((Self::of(currency, lines)?, balance.minus(used)?))
    }

    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.total.currency()
    }
}

/// Messages of one calendar month above the plan's limit, at the rate of the plan that they were sent on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageOverage {
    pub month: Month,
    pub messages: u64,
    #[serde(with = "rust_decimal::serde::str")]
    #[schemars(with = "Decimal")]
    pub rate: Decimal,
}

/// Everything that the invoice for a period depends on.
#[derive(Clone, Copy, Debug)]
pub struct PeriodCharge<'a> {
    pub items: &'a RecurringItems,
    /// The period that begins, paid in advance.
    pub period: Period,
    pub coupon: Option<&'a AppliedCoupon>,
    /// Of months not charged before, paid afterwards.
    pub overage: &'a [MessageOverage],
    /// What the tenant has to its credit; not negative.
    pub credit_balance: Money,
}

/// The invoice for a period, and what follows for the subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodInvoice {
    pub invoice: Invoice,
    pub credit_balance: Money,
    /// What a change of plan within the period would be credited from.
    pub prepaid: Prepaid,
}

/// The invoice for a period that begins: at the end of the trial and at each renewal.
///
/// # Errors
/// [`MoneyError::CurrencyMismatch`] if add-ons, coupon or credit are not in the plan's currency;
/// [`MoneyError::OutOfRange`].
pub fn period_invoice(charge: &PeriodCharge<'_>) -> Result<PeriodInvoice, MoneyError> {
    let currency = charge.items.currency();
    let mut lines = charge.items.lines(charge.period)?;
    let gross = Money::sum(currency, lines.iter().map(|line| line.amount))?;
    let off = amount_off(charge.coupon, gross)?;
    if let Some(coupon) = charge.coupon.filter(|_| off.is_positive()) {
        let description = format!("Coupon {}", coupon.code);
        lines.push(InvoiceLine::flat(LineKind::Discount, description, off.negated(), Some(charge.period)));
    }
    let prepaid = Prepaid { amount: gross.minus(off)?, period: charge.period };
    lines.extend(overage_lines(currency, charge.overage)?);
    let (invoice, credit_balance) = Invoice::less_credit(currency, lines, charge.credit_balance)?;
    Ok(PeriodInvoice { invoice, credit_balance, prepaid })
}

/// What is left to charge when a subscription ends, and the credit balance after it; nothing if nothing is left.
///
/// # Errors
/// [`MoneyError::CurrencyMismatch`] if the credit is in another currency; [`MoneyError::OutOfRange`].
pub fn last_invoice(
    currency: Currency,
    overage: &[MessageOverage],
    credit_balance: Money,
) -> Result<Option<(Invoice, Money)>, MoneyError> {
    let lines = overage_lines(currency, overage)?;
    let is_charged = lines.iter().any(|line| line.amount.is_positive());
    is_charged.then(|| Invoice::less_credit(currency, lines, credit_balance)).transpose()
}

fn overage_lines(currency: Currency, overage: &[MessageOverage]) -> Result<Vec<InvoiceLine>, MoneyError> {
    let line = |overage: &MessageOverage| {
        let description = format!("Messages above the plan in {}", overage.month);
        let (messages, rate) = (overage.messages, overage.rate);
        InvoiceLine::priced(LineKind::Overage, description, messages, rate, currency, None)
    };
    overage.iter().filter(|overage| overage.messages > 0).map(line).collect()
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceStatus {
    /// Not numbered yet.
    #[default]
    Draft,
    /// Numbered and to be paid.
    Open,
    Paid,
    /// Withdrawn; nothing is owed.
    Void,
    /// Given up on after dunning; still owed.
    Uncollectible,
    /// Paid and wholly given back.
    Refunded,
}

impl InvoiceStatus {
    /// Whether an invoice in this state can go to `next`. A numbered invoice never becomes a draft again, and what
    /// was paid can only be refunded.
    #[must_use]
    pub const fn can_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Draft, Self::Open | Self::Void)
                | (Self::Open, Self::Paid | Self::Void | Self::Uncollectible)
                | (Self::Uncollectible, Self::Paid | Self::Void)
                | (Self::Paid, Self::Refunded)
        )
    }
}
