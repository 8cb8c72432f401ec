//! Proration: what a change within a period costs, by the second, on what was charged.
//!
//! The unused part of what was charged is credited, the remaining time at the new price is charged, and the difference
//! is invoiced. If the difference is in the tenant's favour it is carried to the next invoice and never paid out.
//! After each change [`Prepaid`] is what was charged for the time from then on, so that a second change credits the
//! first one's price and not the list price: no chain of changes gives back more than was charged.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::coupon::AppliedCoupon;
use super::invoice::{Invoice, InvoiceLine, LineKind};
use super::period::Period;
use super::plan::RecurringItems;
use crate::money::{Money, MoneyError};

/// What was charged, before tax, for time that has not wholly passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Prepaid {
    /// After discounts; not negative.
    pub amount: Money,
    pub period: Period,
}

impl Prepaid {
    /// What the time left at `at` is worth: from nothing to all that was charged.
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`].
    pub fn unused_at(&self, at: DateTime<Utc>) -> Result<Money, MoneyError> {
        self.amount.share(self.period.seconds_left(at), self.period.seconds())
    }

    /// Without `net`, which was refunded, or as much of it as there is: what was given back can't be credited again.
    /// What is in another currency was not paid for this.
    #[must_use]
    pub fn less(self, net: Money) -> Self {
        let taken = net.min(self.amount).and_then(|net| self.amount.minus(net));
        Self { amount: taken.unwrap_or(self.amount), period: self.period }
    }
}

/// Everything that the settlement of a change depends on. A change during the trial is free and needs none.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    pub prepaid: Prepaid,
    pub from: &'a RecurringItems,
    pub to: &'a RecurringItems,
    /// The coupon as far as it is for the new plan.
    pub coupon: Option<&'a AppliedCoupon>,
    /// The current period and the moment that periods are counted from.
    pub period: Period,
    pub anchor: DateTime<Utc>,
    /// What the tenant has to its credit; not negative.
    pub credit_balance: Money,
    pub at: DateTime<Utc>,
}

/// What a change comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// For the unused time; never more than was charged.
    pub credited: Money,
    /// For the time left at the new price.
    pub charged: Money,
    /// For the difference, if the new price is higher.
    pub invoice: Option<Invoice>,
    /// The balance afterwards: more after a downgrade, less if it was used for the invoice.
    pub credit_balance: Money,
    pub prepaid: Prepaid,
    pub period: Period,
    pub anchor: DateTime<Utc>,
}

impl Settlement {
    /// What is added to the balance; nothing if there is something to pay.
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`].
    pub fn granted(&self) -> Result<Money, MoneyError> {
        let granted = self.credited.minus(self.charged)?;
        Ok(if granted.is_negative() { Money::zero(granted.currency()) } else { granted })
    }
}

/// Settles a change of plan, interval, seats or add-ons at `change.at`.
///
/// With the same interval the period stays and the rest of it is charged. With another one a whole new period begins
/// now, and periods are counted from now.
///
/// # Errors
/// [`MoneyError::CurrencyMismatch`] if the two sides, the coupon or the balance are in different currencies;
/// [`MoneyError::OutOfRange`].
pub fn settle(change: &Change<'_>) -> Result<Settlement, MoneyError> {
    let Change { prepaid, from, to, at, .. } = *change;
    let credited = prepaid.unused_at(at)?;
    let price = to.price(change.coupon)?;
    let (anchor, period, covered, charged) = if from.interval == to.interval {
        let (left, all) = (change.period.seconds_left(at), change.period.seconds());
        let covered =
            Period { start: at.clamp(change.period.start, change.period.end), end: change.period.end };
        (change.anchor, change.period, covered, price.share(left, all)?)
    } else {
        let period = Period::containing(at, at, to.interval);
        (at, period, period, price)
    };
    let net = charged.minus(credited)?;
    let (invoice, credit_balance) = if net.is_positive() {
        let lines = proration_lines(from, to, credited, charged, covered);
        let (invoice, left) = Invoice::less_credit(to.currency(), lines, change.credit_balance)?;
        (Some(invoice), left)
    } else {
        (None, change.credit_balance.minus(net)?)
    };
    let prepaid = Prepaid { amount: charged, period: covered };
    Ok(Settlement { credited, charged, invoice, credit_balance, prepaid, period, anchor })
}

fn proration_lines(
    from: &RecurringItems,
    to: &RecurringItems,
    credited: Money,
    charged: Money,
    covered: Period,
) -> Vec<InvoiceLine> {
    let mut lines = Vec::new();
    if credited.is_positive() {
        let description = format!("Unused time on {}", from.summary());
        lines.push(InvoiceLine::flat(LineKind::Proration, description, credited.negated(), None));
    }
    let description = format!("Remaining time on {}", to.summary());
    lines.push(InvoiceLine::flat(LineKind::Proration, description, charged, Some(covered)));
    lines
}
