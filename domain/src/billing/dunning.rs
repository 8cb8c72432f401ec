//! Dunning: what happens to an invoice whose payment failed.
//!
//! The payment is tried again 1, 3, 5 and 7 days after it first failed; if the last try fails the subscription is
//! canceled. Each day is counted from the first failure, so a late try does not delay the next. Tries that were missed
//! (the worker was down) are not made up for one by one, which would charge a card several times in a row: one try
//! stands for all that are overdue.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::lifecycle::Suspension;

/// Days after the first failure on which payment is tried again.
pub const RETRY_DAYS: [i64; 4] = [1, 3, 5, 7];

/// An invoice that could not be collected so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dunning {
    pub invoice_id: Uuid,
    pub first_failed_at: DateTime<Utc>,
    pub last_failed_at: DateTime<Utc>,
    /// Tries after the first; `retry_count` on the wire.
    pub retries: u32,
}

/// What comes next for the invoice, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DunningStep {
    Retry(DateTime<Utc>),
    GiveUp(DateTime<Utc>),
}

impl Dunning {
    /// Begins when a payment fails for the first time.
    #[must_use]
    pub const fn begin(invoice_id: Uuid, failed_at: DateTime<Utc>) -> Self {
        Self { invoice_id, first_failed_at: failed_at, last_failed_at: failed_at, retries: 0 }
    }

    /// After a further try has failed. A failure reported late, from before the last one, changes no date.
    #[must_use]
    pub fn failed_again(self, at: DateTime<Utc>) -> Self {
        Self { last_failed_at: at.max(self.last_failed_at), retries: self.retries.saturating_add(1), ..self }
    }

    /// After a suspension, whose days do not count.
    #[must_use]
    pub fn held_up_by(self, suspension: Suspension) -> Self {
        let held_up = suspension.until - suspension.from.max(self.first_failed_at);
        if held_up <= TimeDelta::zero() {
            return self;
        }
        let later = |at: DateTime<Utc>| at.checked_add_signed(held_up).unwrap_or(at);
        Self {
            first_failed_at: later(self.first_failed_at),
            last_failed_at: later(self.last_failed_at),
            ..self
        }
    }

    /// The first day of the schedule after the last try; there being none, the last try was the last.
    #[must_use]
    pub fn next_step(&self) -> DunningStep {
        RETRY_DAYS
            .iter()
            .filter_map(|days| self.first_failed_at.checked_add_signed(TimeDelta::days(*days)))
            .find(|day| *day > self.last_failed_at)
            .map_or(DunningStep::GiveUp(self.last_failed_at), DunningStep::Retry)
    }
}
