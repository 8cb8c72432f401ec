//! The life of a subscription: trial, paid periods, failed payments, the end.
//!
//! ```text
//! trialing ──trial end──▶ active ◀──paid── past_due ──last retry failed──▶ canceled
//!     │                   │  └──payment failed──▶ │                            ▲
//!     └───────────────────┴─────── canceled at period end ─────────────────────┘
//! ```
//!
//! [`Lifecycle`] is the part of a subscription's state that time acts on. It never acts itself: [`next_action`] says
//! what is to be done next and when. A durable timer is set to that moment; when it rings, the action is carried out
//! as a command, its events change the state, and the question is asked again. After a standstill the actions come out
//! in the order in which they were due.
//!
//! While its tenant is suspended nothing is done: no period begins, and nothing is charged or dunned; its status stays,
//! and so does its place in the revenue. What ran out in that time goes on from its end ([`suspension_passed`]): a trial
//! or period that would have ended meanwhile ends with the suspension, the next one is counted from there, and dunning
//! goes on where it was.
//!
//! [`next_action`]: Lifecycle::next_action
//! [`suspension_passed`]: Lifecycle::suspension_passed

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::dunning::{Dunning, DunningStep};
use super::period::{Interval, Period, trial_end};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    Trialing,
    Active,
    /// An invoice is overdue; everything still works while payment is tried again.
    PastDue,
    Canceled,
}

impl SubscriptionStatus {
    /// Whether the tenant has its plan, and so cannot subscribe a second time.
    #[must_use]
    pub const fn is_current(self) -> bool {
        !matches!(self, Self::Canceled)
    }

    /// Whether it counts as revenue and for churn: not while it is free.
    #[must_use]
    pub const fn is_paying(self) -> bool {
        matches!(self, Self::Active | Self::PastDue)
    }
}

/// An invoice that was drawn up, and of which it is not known yet whether it could be collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    pub invoice_id: Uuid,
    pub drafted_at: DateTime<Utc>,
}

/// An invoice that the gateway asked the customer to pay, and that they have not paid yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    pub invoice_id: Uuid,
    /// Counts as failed from then on.
    pub until: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    pub status: SubscriptionStatus,
    pub interval: Interval,
    /// When the first paid period begins; all periods are counted from it.
    pub anchor: DateTime<Utc>,
    pub trial_ends_at: Option<DateTime<Utc>>,
    /// The trial, then the paid period.
    pub period: Period,
    pub cancel_at_period_end: bool,
    pub canceled_at: Option<DateTime<Utc>>,
    pub drafts: Vec<Draft>,
    pub awaiting: Vec<Awaited>,
    /// Invoices whose payment failed; past due as long as there is one.
    pub dunning: Vec<Dunning>,
    /// The end of the last suspension that was taken into account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_until: Option<DateTime<Utc>>,
}

/// A time in which the tenant was suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspension {
    pub from: DateTime<Utc>,
    pub until: DateTime<Utc>,
}

/// What time makes necessary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The trial is over: charge `period`, the first one.
    EndTrial { period: Period },
    /// Charge `period`, which follows the current one.
    Renew { period: Period },
    /// Give a draft its number, unless it has one, and try to collect it.
    Finalize { invoice_id: Uuid },
    /// The customer did not pay in time what the gateway had asked for.
    GiveUpWaiting { invoice_id: Uuid },
    /// Try to collect an open invoice for the `attempt`-th time after the first failure.
    RetryPayment { invoice_id: Uuid, attempt: u32 },
    /// End the subscription.
    Cancel { reason: CancelReason },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// The tenant had asked for it, and what it paid for is over.
    Requested,
    /// Dunning has ended without a payment.
    PaymentFailed,
}

/// An action and the moment from which on it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub at: DateTime<Utc>,
    pub action: Action,
}

impl Lifecycle {
    /// A subscription that begins with a trial.
    #[must_use]
    pub fn trialing(start: DateTime<Utc>, interval: Interval) -> Self {
        let end = trial_end(start);
        Self {
            status: SubscriptionStatus::Trialing,
            interval,
            anchor: end,
            trial_ends_at: Some(end),
            period: Period { start, end },
            cancel_at_period_end: false,
            canceled_at: None,
            drafts: Vec::new(),
            awaiting: Vec::new(),
            dunning: Vec::new(),
            suspended_until: None,
        }
    }

    /// A subscription that is charged from its first day on.
    #[must_use]
    pub fn active(start: DateTime<Utc>, interval: Interval) -> Self {
        let period = Period::containing(start, start, interval);
        let status = SubscriptionStatus::Active;
        Self { status, anchor: start, trial_ends_at: None, period, ..Self::trialing(start, interval) }
    }

    /// The earliest thing to be done; after the end that is only to collect what was drawn up with it. What is due at the
    /// same moment comes in the order: first tries to collect, requests that ran out, dunning, the period's end.
    #[must_use]
    pub fn next_action(&self) -> Option<Due> {
        let drafts = self.drafts.iter().map(|draft| Due {
            at: draft.drafted_at,
            action: Action::Finalize { invoice_id: draft.invoice_id },
        });
        if !self.status.is_current() {
            return drafts.min_by_key(|due| due.at);
        }
        let awaiting = self.awaiting.iter().map(|awaited| Due {
            at: awaited.until,
            action: Action::GiveUpWaiting { invoice_id: awaited.invoice_id },
        });
        let dunning = self.dunning.iter().map(dunning_due);
        drafts.chain(awaiting).chain(dunning).chain([self.period_end()]).min_by_key(|due| due.at)
    }

    /// [`Lifecycle::next_action`] if its time has come.
    #[must_use]
    pub fn due(&self, now: DateTime<Utc>) -> Option<Action> {
        self.next_action().filter(|due| due.at <= now).map(|due| due.action)
    }

    fn period_end(&self) -> Due {
        let action = if self.cancel_at_period_end {
            Action::Cancel { reason: CancelReason::Requested }
        } else {
            let period = self.period.following(self.anchor, self.interval);
            match self.status {
                SubscriptionStatus::Trialing => Action::EndTrial { period },
                _ => Action::Renew { period },
            }
        };
        Due { at: self.period.end, action }
    }

    /// A paid period has begun: after the trial, or by renewal.
    pub fn period_began(&mut self, period: Period) {
        self.period = period;
        if self.status == SubscriptionStatus::Trialing {
            self.status = SubscriptionStatus::Active;
        }
    }

    /// Plan or interval have changed. During the trial, period and anchor stay as they are.
    pub fn plan_changed(&mut self, interval: Interval, period: Period, anchor: DateTime<Utc>) {
        self.interval = interval;
        self.period = period;
        self.anchor = anchor;
    }

    pub fn cancellation_requested(&mut self) {
        self.cancel_at_period_end = true;
    }

    /// A cancellation that had been requested was taken back.
    pub fn resumed(&mut self) {
        self.cancel_at_period_end = false;
    }

    /// Whether an invoice is out of which nobody knows yet whether it will be paid at the first try.
    #[must_use]
    pub fn is_collecting(&self) -> bool {
        !self.drafts.is_empty() || !self.awaiting.is_empty()
    }

    /// Whether it is still to be learnt what becomes of an invoice.
    #[must_use]
    pub fn expects(&self, invoice_id: Uuid) -> bool {
        let drafts = self.drafts.iter().map(|draft| draft.invoice_id);
        let awaiting = self.awaiting.iter().map(|awaited| awaited.invoice_id);
        drafts
            .chain(awaiting)
            .chain(self.dunning.iter().map(|dunning| dunning.invoice_id))
            .any(|id| id == invoice_id)
    }

    /// The first try to collect an invoice ended with a request to the customer.
    pub fn payment_awaited(&mut self, invoice_id: Uuid, until: DateTime<Utc>) {
        self.invoice_finalized(invoice_id);
        self.awaiting.push(Awaited { invoice_id, until });
    }

    pub fn invoice_drafted(&mut self, invoice_id: Uuid, drafted_at: DateTime<Utc>) {
        self.drafts.push(Draft { invoice_id, drafted_at });
    }

    pub fn invoice_finalized(&mut self, invoice_id: Uuid) {
        self.drafts.retain(|draft| draft.invoice_id != invoice_id);
    }

    /// A try to collect an invoice has failed, the first or a further one.
    pub fn payment_failed(&mut self, invoice_id: Uuid, at: DateTime<Utc>) {
        self.no_longer_first_tried(invoice_id);
        match self.dunning.iter_mut().find(|dunning| dunning.invoice_id == invoice_id) {
            Some(dunning) => *dunning = dunning.failed_again(at),
            None => self.dunning.push(Dunning::begin(invoice_id, at)),
        }
        if self.status == SubscriptionStatus::Active {
            self.status = SubscriptionStatus::PastDue;
        }
    }

    /// An invoice needs no collecting any more: it was paid or withdrawn.
    pub fn invoice_settled(&mut self, invoice_id: Uuid) {
        self.no_longer_first_tried(invoice_id);
        self.dunning.retain(|dunning| dunning.invoice_id != invoice_id);
        if self.dunning.is_empty() && self.status == SubscriptionStatus::PastDue {
            self.status = SubscriptionStatus::Active;
        }
    }

    fn no_longer_first_tried(&mut self, invoice_id: Uuid) {
        self.invoice_finalized(invoice_id);
        self.awaiting.retain(|awaited| awaited.invoice_id != invoice_id);
    }

    /// Whether a suspension that is over held something up, and was not taken into account yet.
    #[must_use]
    pub fn was_held_up_by(&self, suspension: Suspension) -> bool {
        let is_news = self.suspended_until.is_none_or(|known| known < suspension.until);
        let ran_out = self.period.end < suspension.until;
        let was_dunned = self.dunning.iter().any(|dunning| dunning.first_failed_at < suspension.until);
        self.status.is_current() && is_news && (ran_out || was_dunned)
    }

    /// A suspension is over: what ran out meanwhile goes on from its end.
    pub fn suspension_passed(&mut self, suspension: Suspension) {
        let Suspension { until, .. } = suspension;
        if self.period.end < until {
            self.period.end = until;
            self.anchor = until;
            if self.status == SubscriptionStatus::Trialing {
                self.trial_ends_at = Some(until);
            }
        }
        for dunning in &mut self.dunning {
            *dunning = dunning.held_up_by(suspension);
        }
        self.suspended_until = Some(until);
    }

    /// The end. Its drafts are withdrawn; its unpaid invoices are uncollectible and stay listed here.
    pub fn canceled(&mut self, at: DateTime<Utc>) {
        self.drafts.clear();
        self.status = SubscriptionStatus::Canceled;
        self.canceled_at = Some(at);
    }
}

fn dunning_due(dunning: &Dunning) -> Due {
    match dunning.next_step() {
        DunningStep::Retry(at) => {
            let (invoice_id, attempt) = (dunning.invoice_id, dunning.retries.saturating_add(1));
            Due { at, action: Action::RetryPayment { invoice_id, attempt } }
        }
        DunningStep::GiveUp(at) => Due { at, action: Action::Cancel { reason: CancelReason::PaymentFailed } },
    }
}
