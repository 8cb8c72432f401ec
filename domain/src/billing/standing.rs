//! What a subscription stands for in the platform's books, and what each change of it posts there.
//!
//! A change is posted in double entry: the plan that is left loses what the plan that is entered gains, so sums per
//! plan, per currency and over all of them agree at any moment. Beside the amounts a posting names the movement of
//! recurring revenue ([`mrr`](super::mrr)), if it is one: what was lost where it was lost, the rest where it is now.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::coupon::AppliedCoupon;
use super::lifecycle::SubscriptionStatus;
use super::mrr::{Movement, MovementKind, movements, subscription_mrr};
use super::plan::RecurringItems;
use crate::money::{Currency, Money, MoneyError};

/// A subscription at one moment, as far as revenue is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub status: SubscriptionStatus,
    pub plan_id: Uuid,
    pub plan_name: String,
    /// Of one month; zero in the plan's currency while the subscription does not count.
    pub mrr: Money,
}

impl Standing {
    /// # Errors
    /// As [`subscription_mrr`].
    pub fn of(
        status: SubscriptionStatus,
        items: &RecurringItems,
        coupon: Option<&AppliedCoupon>,
    ) -> Result<Self, MoneyError> {
        let mrr = subscription_mrr(status, items, coupon)?.unwrap_or(Money::zero(items.currency()));
        Ok(Self { status, plan_id: items.plan_id, plan_name: items.plan_name.clone(), mrr })
    }

    /// What counts of it, as [`movements`] understands it.
    #[must_use]
    pub fn counted(&self) -> Option<Money> {
        self.status.is_paying().then_some(self.mrr)
    }
}

/// A change of what a subscription stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingChange {
    /// `None` when it begins.
    pub before: Option<Standing>,
    pub after: Standing,
    /// The tenant had counted at some time before.
    pub returning: bool,
}

/// One side of a change in the books: what is added to a plan's sums, negative for what leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    pub plan_id: Uuid,
    pub plan_name: String,
    /// Subscriptions.
    pub trialing: i64,
    pub active: i64,
    pub past_due: i64,
    pub mrr: Money,
    pub movement: Option<Movement>,
}

impl StandingChange {
    /// At most two: for the plan that is left and for the one that is entered. None if nothing has changed.
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`].
    pub fn postings(&self) -> Result<Vec<Posting>, MoneyError> {
        let left = self.before.as_ref().map(|before| Posting::of(before, -1));
        let mut entered = Posting::of(&self.after, 1);
        let counted = self.before.as_ref().and_then(Standing::counted);
        let mut movements = movements(counted, self.after.counted(), self.returning)?;
        let Some(mut left) = left else {
            entered.movement = movements.pop();
            return Ok(vec![entered]);
        };
        if left.plan_id == entered.plan_id && left.currency() == entered.currency() {
            let mut both = entered.plus(&left)?;
            both.movement = movements.pop();
            return Ok(if both.is_empty() { Vec::new() } else { vec![both] });
        }
        for movement in movements {
            if movement.kind == MovementKind::Churn {
                left.movement = Some(movement);
            } else {
                entered.movement = Some(movement);
            }
        }
        // Who had left the books already leaves them only once.
        Ok([left, entered].into_iter().filter(|posting| !posting.is_empty()).collect())
    }
}

impl Posting {
    fn of(standing: &Standing, sign: i64) -> Self {
        let count = |status| if standing.status == status { sign } else { 0 };
        Self {
            plan_id: standing.plan_id,
            plan_name: standing.plan_name.clone(),
            trialing: count(SubscriptionStatus::Trialing),
            active: count(SubscriptionStatus::Active),
            past_due: count(SubscriptionStatus::PastDue),
            mrr: if sign < 0 { standing.mrr.negated() } else { standing.mrr },
            movement: None,
        }
    }

    fn plus(&self, other: &Self) -> Result<Self, MoneyError> {
        Ok(Self {
            plan_id: self.plan_id,
            plan_name: self.plan_name.clone(),
            trialing: self.trialing + other.trialing,
            active: self.active + other.active,
            past_due: self.past_due + other.past_due,
            mrr: self.mrr.plus(other.mrr)?,
            movement: self.movement.or(other.movement),
        })
    }

    fn is_empty(&self) -> bool {
        let counts = [self.trialing, self.active, self.past_due];
        counts == [0; 3] && self.mrr.is_zero() && self.movement.is_none()
    }

    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.mrr.currency()
    }

    /// Customers won, new or back.
    #[must_use]
    pub fn joined(&self) -> i64 {
        let won = |kind| matches!(kind, MovementKind::New | MovementKind::Reactivation);
        i64::from(self.movement.is_some_and(|movement| won(movement.kind)))
    }

    /// Customers lost.
    #[must_use]
    pub fn churned(&self) -> i64 {
        i64::from(self.movement.is_some_and(|movement| movement.kind == MovementKind::Churn))
    }

    /// The movement's amount if it is of this kind, else zero.
    #[must_use]
    pub fn moved(&self, kind: MovementKind) -> Money {
        let of_kind = self.movement.filter(|movement| movement.kind == kind);
        of_kind.map_or(Money::zero(self.currency()), |movement| movement.amount)
    }
}
