//! Monthly recurring revenue: what the subscriptions of today are worth each month, and how that changes.
//!
//! A subscription counts while it is active or past due, at its price for one month (a twelfth of an annual one) after
//! recurring discounts and before tax; overage and everything else that is charged once does not count. Each change of
//! that figure is one movement, and a month's closing figure is its opening one plus its movements. Currencies are
//! kept apart throughout.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::coupon::AppliedCoupon;
use super::lifecycle::SubscriptionStatus;
use super::period::Month;
use super::plan::RecurringItems;
use crate::money::{Currency, Money, MoneyError, PERCENT_DECIMALS};

/// What a subscription adds to the revenue of a month; `None` if it does not count. Zero (a coupon for 100 %) does:
/// such a customer can churn.
///
/// # Errors
/// As [`RecurringItems::price`].
pub fn subscription_mrr(
    status: SubscriptionStatus,
    items: &RecurringItems,
    coupon: Option<&AppliedCoupon>,
) -> Result<Option<Money>, MoneyError> {
    if !status.is_paying() {
        return Ok(None);
    }
    items.price(coupon)?.share(1, items.interval.months().into()).map(Some)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    /// A customer that never counted before.
    New,
    /// More from a customer.
    Expansion,
    /// A customer that had churned.
    Reactivation,
    /// Less from a customer.
    Contraction,
    /// A customer that no longer counts.
    Churn,
}

impl MovementKind {
    #[must_use]
    pub const fn is_gain(self) -> bool {
        matches!(self, Self::New | Self::Expansion | Self::Reactivation)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    pub kind: MovementKind,
    /// Not negative: the kind says whether it is a gain.
    pub amount: Money,
}

/// What changes when a customer goes from `before` to `after`, both as [`subscription_mrr`] gives them. `returning`
/// says that the customer had counted at some time before. At most one movement, but for a change of currency: that
/// is a churn in one and a gain in the other.
///
/// # Errors
/// [`MoneyError::OutOfRange`].
pub fn movements(
    before: Option<Money>,
    after: Option<Money>,
    returning: bool,
) -> Result<Vec<Movement>, MoneyError> {
    let churn = |amount| Movement { kind: MovementKind::Churn, amount };
    let gain = |amount, returning| {
        let kind = if returning { MovementKind::Reactivation } else { MovementKind::New };
        Movement { kind, amount }
    };
    Ok(match (before, after) {
        (None, None) => Vec::new(),
        (None, Some(after)) => vec![gain(after, returning)],
        (Some(before), None) => vec![churn(before)],
        (Some(before), Some(after)) if before.currency() != after.currency() => {
            vec![churn(before), gain(after, true)]
        }
        (Some(before), Some(after)) => {
            let change = after.minus(before)?;
            if change.is_positive() {
                vec![Movement { kind: MovementKind::Expansion, amount: change }]
            } else if change.is_negative() {
                vec![Movement { kind: MovementKind::Contraction, amount: change.negated() }]
            } else {
                Vec::new()
            }
        }
    })
}

/// One month of one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MrrMonth {
    pub month: Month,
    pub opening: Money,
    pub new: Money,
    pub expansion: Money,
    pub reactivation: Money,
    pub contraction: Money,
    pub churn: Money,
    /// Customers that counted when the month began.
    pub active_at_start: u64,
    /// Customers won, new or back.
    pub joined: u64,
    /// Customers lost, those won in the same month included.
    pub churned: u64,
}

/// The figures of a month do not add up: a movement was lost, doubled or made up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MrrDrift {
    #[error("MRR of {month}: the movements lead to {computed}, the subscriptions add up to {observed}")]
    Amount { month: Month, computed: Money, observed: Money },
    #[error("customers of {month}: the movements lead to {computed}, there are {observed}")]
    Customers { month: Month, computed: u64, observed: u64 },
    #[error(transparent)]
    Money(#[from] MoneyError),
}

impl MrrMonth {
    /// A month before any movement.
    #[must_use]
    pub fn open(month: Month, opening: Money, active_at_start: u64) -> Self {
        let zero = Money::zero(opening.currency());
        Self {
            month,
            opening,
            new: zero,
            expansion: zero,
            reactivation: zero,
            contraction: zero,
            churn: zero,
            active_at_start,
            joined: 0,
            churned: 0,
        }
    }

    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.opening.currency()
    }

    /// # Errors
    /// [`MoneyError::CurrencyMismatch`] for a movement of another currency; [`MoneyError::OutOfRange`]. Nothing is
    /// recorded then.
    pub fn record(&mut self, movement: Movement) -> Result<(), MoneyError> {
        let total = match movement.kind {
            MovementKind::New => &mut self.new,
            MovementKind::Expansion => &mut self.expansion,
            MovementKind::Reactivation => &mut self.reactivation,
            MovementKind::Contraction => &mut self.contraction,
            MovementKind::Churn => &mut self.churn,
        };
        *total = total.plus(movement.amount)?;
        match movement.kind {
            MovementKind::New | MovementKind::Reactivation => self.joined += 1,
            MovementKind::Churn => self.churned += 1,
            MovementKind::Expansion | MovementKind::Contraction => {}
        }
        Ok(())
    }

    /// Opening + new + expansion + reactivation - contraction - churn.
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`].
    pub fn closing(&self) -> Result<Money, MoneyError> {
        let gained = self.opening.plus(self.new)?.plus(self.expansion)?.plus(self.reactivation)?;
        gained.minus(self.contraction)?.minus(self.churn)
    }

    /// Customers that count when the month ends.
    #[must_use]
    pub const fn active_at_end(&self) -> u64 {
        (self.active_at_start + self.joined).saturating_sub(self.churned)
    }

    /// Checks the month against the subscriptions themselves: their MRR added up, and their number.
    ///
    /// # Errors
    /// [`MrrDrift`] if the figures differ.
    pub fn verify(&self, observed: Money, customers: u64) -> Result<(), MrrDrift> {
        let month = self.month;
        let computed = self.closing()?;
        if computed != observed {
            return Err(MrrDrift::Amount { month, computed, observed });
        }
        let computed = self.active_at_end();
        if computed != customers {
            return Err(MrrDrift::Customers { month, computed, observed: customers });
        }
        Ok(())
    }

    /// The month after this one, which opens where this one closes.
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`].
    pub fn following(&self) -> Result<Self, MoneyError> {
        Ok(Self::open(self.month.next(), self.closing()?, self.active_at_end()))
    }

    /// See [`churn_rate_pct`].
    #[must_use]
    pub fn churn_rate_pct(&self) -> Decimal {
        churn_rate_pct(self.churned, self.active_at_start)
    }
}

/// Customers churned in a month per hundred that were active at its start, to two decimals; 0 when there were none.
#[must_use]
pub fn churn_rate_pct(churned: u64, active_at_start: u64) -> Decimal {
    let rate = Decimal::from(churned).checked_div(active_at_start.into()).unwrap_or(Decimal::ZERO);
    let percent = rate.checked_mul(Decimal::ONE_HUNDRED).unwrap_or(Decimal::MAX);
    percent.round_dp_with_strategy(PERCENT_DECIMALS, rust_decimal::RoundingStrategy::MidpointAwayFromZero)
}
