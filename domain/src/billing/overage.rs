//! Overage: messages above the plan's limit, month by month, until they are on an invoice.
//!
//! Messages are counted by the calendar month and charged with the period that begins after the month is over, at the
//! rate of the plan that they were sent on. So the meter has to know three things: from which month on nothing was
//! charged yet, what came together on plans that are no longer the current one, and how many messages of a month that
//! is under way were settled with an earlier plan (or sent during the trial, which is free).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::invoice::MessageOverage;
use super::period::Month;

/// Messages sent and received, by month.
pub type Usage = BTreeMap<Month, u64>;

/// What a plan says about messages.
#[derive(Clone, Copy, Debug)]
pub struct MessageTerms {
    /// `None` is no limit.
    pub allowed: Option<u64>,
    /// For each message above it; 0 where such messages are refused and not charged for.
    pub rate: Decimal,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OverageMeter {
    /// The first month that was not looked at to its end.
    pub since: Month,
    /// Messages of `since` that are settled: at most what the limit covers is left of them to charge for.
    pub settled: u64,
    /// To be charged with the next period.
    pub accrued: Vec<MessageOverage>,
}

impl OverageMeter {
    /// Starts to count at `at`, when so many messages of its month have been sent.
    #[must_use]
    pub fn starting(at: DateTime<Utc>, sent: u64) -> Self {
        Self { since: Month::of(at), settled: sent, accrued: Vec::new() }
    }

    /// The months whose usage a decision at `at` needs.
    #[must_use]
    pub fn months_until(&self, at: DateTime<Utc>) -> Vec<Month> {
        let last = Month::of(at);
        std::iter::successors(Some(self.since), |month| Some(month.next()))
            .take_while(|month| *month <= last)
            .collect()
    }

    /// At the beginning of a period: what is to be charged with it, which is all of the months that are over, and the
    /// meter without it.
    #[must_use]
    pub fn charge(
        &self,
        terms: MessageTerms,
        usage: &Usage,
        at: DateTime<Utc>,
    ) -> (Vec<MessageOverage>, Self) {
        let mut after = self.clone();
        let this_month = Month::of(at);
        while after.since < this_month {
            after.accrue(terms, sent(usage, after.since));
            (after.since, after.settled) = (after.since.next(), 0);
        }
        (std::mem::take(&mut after.accrued), after)
    }

    /// When the plan changes: the meter with what was sent so far settled by the old plan's `terms`.
    #[must_use]
    pub fn settle(&self, terms: MessageTerms, usage: &Usage, at: DateTime<Utc>) -> Self {
        let (accrued, mut after) = self.charge(terms, usage, at);
        after.accrued = accrued;
        let sent = sent(usage, after.since);
        after.accrue(terms, sent);
        after.settled = after.settled.max(sent);
        after
    }

    fn accrue(&mut self, terms: MessageTerms, sent: u64) {
        let covered = terms.allowed.map_or(u64::MAX, |allowed| allowed.max(self.settled));
        let messages = sent.saturating_sub(covered);
        if messages > 0 && terms.rate > Decimal::ZERO {
            self.accrued.push(MessageOverage { month: self.since, messages, rate: terms.rate });
        }
    }
}

fn sent(usage: &Usage, month: Month) -> u64 {
    usage.get(&month).copied().unwrap_or(0)
}
