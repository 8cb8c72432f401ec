//! The service level of one conversation, folded from what happened to it.
//!
//! # The clocks
//! - *First response* runs from the first customer message to the first public reply by a human after it. It
//!   never restarts. While the conversation is resolved nobody waits, so it holds still; pending does not
//!   stop it.
//! - *Resolution* runs from the conversation's first fact while it is open; pending pauses it, resolved stops
//!   it, and reopening goes on with what had run.
//!
//! # Marks
//! A mark is the passing of a warning or breach limit. Each is due once per conversation, policy, clock and
//! cycle. A cycle ends when the conversation is reopened: a resolution clock that is past its threshold by
//! then is in breach again in the new cycle, from the instant of reopening. First response has one cycle.
//!
//! The log is what says that a mark was recorded ([`SlaFact::MarkRecorded`]); until it does, the mark stays in
//! [`SlaState::due`], with the instant at which the limit was passed. It makes no difference whether a timer
//! notices, or the reply that came too late, or a restart a day later. [`SlaState::next_deadline`] is when to
//! look next; set the timer to it after every fact.
//!
//! Status and marks agree: a clock shown as breached has a breach that is recorded or due.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::policy::Terms;
use super::stopwatch::{ClockStatus, ClockType, Limits, MarkLevel, Stopwatch, whole_seconds};
use crate::working_hours::WorkingHours;

/// Something that happened to a conversation and matters to its service level. What is not here (notes,
/// automation, AI, surveys) does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlaFact {
    /// Policy and working hours are pinned. Only the first counts, and it may come after other facts: the
    /// clocks start when those happened. Without a policy the clocks run unjudged.
    Started {
        terms: Option<Terms>,
        hours: WorkingHours,
    },
    /// Another policy was applied. What has run counts towards it; marks under it are dated from now on.
    PolicyApplied {
        terms: Terms,
        hours: WorkingHours,
    },
    CustomerMessage,
    /// A public reply written by a human.
    HumanReply,
    /// The conversation became open; after resolved, that is reopening.
    Open,
    /// The conversation became pending: waiting for the customer.
    Pending,
    /// The conversation became resolved.
    Resolved,
    /// A warning or breach of this conversation was written to the log.
    MarkRecorded(MarkKey),
}

/// What makes a warning or breach the same one. Its text form suits as an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct MarkKey {
    pub policy_id: Uuid,
    pub clock: ClockType,
    pub level: MarkLevel,
    /// From 1; each reopening begins the next. Always 1 for first response.
    pub cycle: u32,
}

impl fmt::Display for MarkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = match self.clock {
            ClockType::FirstResponse => "first_response",
            ClockType::Resolution => "resolution",
        };
        let level = match self.level {
            MarkLevel::Warning => "warning",
            MarkLevel::Breach => "breach",
        };
        write!(f, "{}:{clock}:{level}:{}", self.policy_id, self.cycle)
    }
}

/// A warning or breach that is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlaMark {
    pub key: MarkKey,
    pub threshold_secs: i64,
    /// Working seconds on the clock when looked at, or when it stopped if that was before.
    pub actual_secs: i64,
    /// The instant at which the limit was passed, whenever it is noticed.
    pub passed_at: DateTime<Utc>,
}

/// When a conversation's service level is to be looked at next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlaDeadline {
    pub clock: ClockType,
    pub level: MarkLevel,
    /// In the past if the mark is overdue.
    pub at: DateTime<Utc>,
}

/// Both clocks as readers see them; elapsed times are whole working seconds, rounded down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlaStatus {
    pub policy_id: Uuid,
    pub policy_name: String,
    pub frt_status: ClockStatus,
    pub frt_elapsed_secs: i64,
    pub frt_threshold_secs: i64,
    pub resolution_status: ClockStatus,
    pub resolution_elapsed_secs: i64,
    pub resolution_threshold_secs: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Open,
    Pending,
    Resolved,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pinned {
    terms: Option<Terms>,
    hours: WorkingHours,
}

impl Terms {
    fn threshold_secs(&self, clock: ClockType) -> i64 {
        match clock {
            ClockType::FirstResponse => self.first_response_time_secs,
            ClockType::Resolution => self.resolution_time_secs,
        }
    }

    fn limits(&self, clock: ClockType) -> Limits {
        Limits::new(self.threshold_secs(clock), self.warning_threshold_pct)
    }
}

impl Pinned {
    fn limits(&self, clock: ClockType) -> Option<Limits> {
        self.terms.as_ref().map(|terms| terms.limits(clock))
    }
}

/// How many facts are kept while nothing is pinned. Pinning is meant to come with the first facts of a
/// conversation; beyond this a change of status takes the place of the one before, and only the first
/// customer message and the first reply to it are still added.
pub const MAX_EARLY_FACTS: usize = 256;

const CLOCKS: [ClockType; 2] = [ClockType::FirstResponse, ClockType::Resolution];

/// The fold. Starts as `SlaState::default()`; facts are given in the order of the conversation's stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SlaState {
    pinned: Option<Pinned>,
    /// `None` until the first fact.
    phase: Option<Phase>,
    /// A customer has written.
    asked: bool,
    /// A human has replied since.
    answered: bool,
    reopenings: u32,
    first_response: Stopwatch,
    resolution: Stopwatch,
    /// Marks of the current cycle that the log holds.
    recorded: BTreeSet<MarkKey>,
    /// Marks of an earlier cycle or policy that the log does not hold yet.
    owed: Vec<SlaMark>,
    /// What happened before anything was pinned, told again once it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    early: Vec<(SlaFact, DateTime<Utc>)>,
}

impl SlaState {
    /// Takes in one fact. `at` is when it happened, by the log's clock; one that lies before an earlier fact
    /// measures no time.
    pub fn evolve(&mut self, fact: &SlaFact, at: DateTime<Utc>) {
        match fact {
            SlaFact::MarkRecorded(key) => return self.record(*key),
            SlaFact::Started { terms, hours } => self.start(terms.as_ref(), hours),
            SlaFact::PolicyApplied { terms, hours } => self.apply(terms, hours, at),
            early if self.pinned.is_none() => return self.remember(early, at),
            SlaFact::CustomerMessage => self.asked = true,
            SlaFact::HumanReply => self.answered |= self.asked,
            SlaFact::Open => self.enter(Phase::Open, at),
            SlaFact::Pending => self.enter(Phase::Pending, at),
            SlaFact::Resolved => self.enter(Phase::Resolved, at),
        }
        let phase = *self.phase.get_or_insert(Phase::Open);
        let waits = self.asked && !self.answered && phase != Phase::Resolved;
        self.set_running(ClockType::FirstResponse, waits, at);
        self.set_running(ClockType::Resolution, phase == Phase::Open, at);
    }

    /// Both clocks at `now`, which is not before the last fact; `None` while no policy is pinned.
    #[must_use]
    pub fn status_at(&self, now: DateTime<Utc>) -> Option<SlaStatus> {
        let terms = self.terms()?;
        let read = |clock| {
            let elapsed = self.elapsed_micros(clock, now);
            (terms.limits(clock).status(elapsed), whole_seconds(elapsed))
        };
        let (frt_status, frt_elapsed_secs) = read(ClockType::FirstResponse);
        let (resolution_status, resolution_elapsed_secs) = read(ClockType::Resolution);
        Some(SlaStatus {
            policy_id: terms.policy_id,
            policy_name: terms.policy_name.clone(),
            frt_status,
            frt_elapsed_secs,
            frt_threshold_secs: terms.first_response_time_secs,
            resolution_status,
            resolution_elapsed_secs,
            resolution_threshold_secs: terms.resolution_time_secs,
        })
    }

    /// The warnings and breaches whose limit was passed by `now` and which the log does not hold yet, in the
    /// order in which they were passed.
    #[must_use]
    pub fn due(&self, now: DateTime<Utc>) -> Vec<SlaMark> {
        let passed = CLOCKS.into_iter().flat_map(|clock| self.ahead(clock)).filter(|(_, at)| *at <= now);
        let current = passed.filter_map(|(key, passed_at)| {
            Some(SlaMark {
                key,
                threshold_secs: self.terms()?.threshold_secs(key.clock),
                actual_secs: whole_seconds(self.elapsed_micros(key.clock, now)),
                passed_at,
            })
        });
        let mut due: Vec<_> = self.owed.iter().cloned().chain(current).collect();
        due.sort_by_key(|mark| (mark.passed_at, mark.key));
        due
    }

    /// The earliest mark that the log does not hold, passed or to come if nothing happens; `None` when no
    /// limit can be passed. Depends on the facts alone.
    #[must_use]
    pub fn next_deadline(&self) -> Option<SlaDeadline> {
        let owed = self.owed.iter().map(|mark| (mark.key, mark.passed_at));
        let current = CLOCKS.into_iter().flat_map(|clock| self.ahead(clock));
        let (key, at) = owed.chain(current).min_by_key(|(key, at)| (*at, *key))?;
        Some(SlaDeadline { clock: key.clock, level: key.level, at })
    }

    /// The terms in force, if any.
    #[must_use]
    pub fn terms(&self) -> Option<&Terms> {
        self.pinned.as_ref()?.terms.as_ref()
    }

    /// Whether working hours are pinned, with or without a policy.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.pinned.is_some()
    }

    /// The current cycle of the resolution clock, from 1.
    #[must_use]
    pub fn cycle(&self) -> u32 {
        self.reopenings + 1
    }

    fn start(&mut self, terms: Option<&Terms>, hours: &WorkingHours) {
        if self.pinned.is_none() {
            self.pinned = Some(Pinned { terms: terms.cloned(), hours: hours.clone() });
            for (fact, at) in std::mem::take(&mut self.early) {
                self.evolve(&fact, at);
            }
        }
    }

    fn apply(&mut self, terms: &Terms, hours: &WorkingHours, at: DateTime<Utc>) {
        self.start(None, hours);
        let next = Pinned { terms: Some(terms.clone()), hours: hours.clone() };
        if self.pinned.as_ref() == Some(&next) {
            return;
        }
        for clock in CLOCKS {
            self.settle(clock, at);
            let (stopwatch, pinned) = self.parts(clock);
            if let Some(pinned) = pinned {
                stopwatch.split_run(at, &pinned.hours, pinned.limits(clock));
            }
            stopwatch.judge_anew(at, next.limits(clock));
        }
        self.pinned = Some(next);
    }

    /// Keeps a fact for when something is pinned, unless it would change nothing then either.
    fn remember(&mut self, fact: &SlaFact, at: DateTime<Utc>) {
        let is_message = |fact: &SlaFact| matches!(fact, SlaFact::CustomerMessage | SlaFact::HumanReply);
        let last_status = self.early.iter().rposition(|(fact, _)| !is_message(fact));
        let asked = self.early.iter().position(|(fact, _)| *fact == SlaFact::CustomerMessage);
        let is_news = match fact {
            SlaFact::CustomerMessage => asked.is_none(),
            SlaFact::HumanReply => asked.is_some_and(|asked| {
                self.early[asked..].iter().all(|(fact, _)| *fact != SlaFact::HumanReply)
            }),
            status => last_status.is_none_or(|last| self.early[last].0 != *status),
        };
        // The very first fact is when the resolution clock starts, whatever it is.
        if !is_news && !self.early.is_empty() {
            return;
        }
        if let Some(last) = last_status.filter(|_| !is_message(fact) && self.early.len() >= MAX_EARLY_FACTS) {
            self.early.remove(last);
        }
        self.early.push((fact.clone(), at));
    }

    fn enter(&mut self, phase: Phase, at: DateTime<Utc>) {
        if self.phase == Some(Phase::Resolved) && phase != Phase::Resolved {
            self.settle(ClockType::Resolution, at);
            self.reopenings += 1;
            let cycle = self.cycle();
            self.recorded.retain(|key| key.clock == ClockType::FirstResponse || key.cycle == cycle);
            let (stopwatch, pinned) = self.parts(ClockType::Resolution);
            let limits = pinned.and_then(|pinned| pinned.limits(ClockType::Resolution));
            stopwatch.judge_anew(at, limits);
        }
        self.phase = Some(phase);
    }

    fn record(&mut self, key: MarkKey) {
        self.owed.retain(|mark| mark.key != key);
        if key.cycle == self.cycle_of(key.clock) {
            self.recorded.insert(key);
        }
    }

    /// Keeps the marks that are due on a clock before its policy or cycle changes.
    fn settle(&mut self, clock: ClockType, at: DateTime<Utc>) {
        let due = self.due(at);
        let fresh = due.into_iter().filter(|mark| mark.key.clock == clock && !self.is_known(&mark.key));
        let fresh: Vec<_> = fresh.collect();
        self.owed.extend(fresh);
    }

    /// The marks of the current policy and cycle that the log does not hold, with the instants at which their
    /// limits are passed. A warning that would come no earlier than its breach is none.
    fn ahead(&self, clock: ClockType) -> Vec<(MarkKey, DateTime<Utc>)> {
        let Some(Pinned { terms: Some(terms), hours }) = &self.pinned else { return Vec::new() };
        let limits = terms.limits(clock);
        let passes = |level| self.stopwatch(clock).passes(level, hours, limits);
        let breach = passes(MarkLevel::Breach);
        let warning = passes(MarkLevel::Warning).filter(|at| breach.is_none_or(|breach| *at < breach));
        let cycle = self.cycle_of(clock);
        [(MarkLevel::Warning, warning), (MarkLevel::Breach, breach)]
            .into_iter()
            .filter_map(|(level, at)| {
                Some((MarkKey { policy_id: terms.policy_id, clock, level, cycle }, at?))
            })
            .filter(|(key, _)| !self.is_known(key))
            .collect()
    }

    fn is_known(&self, key: &MarkKey) -> bool {
        self.recorded.contains(key) || self.owed.iter().any(|mark| mark.key == *key)
    }

    fn cycle_of(&self, clock: ClockType) -> u32 {
        match clock {
            ClockType::FirstResponse => 1,
            ClockType::Resolution => self.cycle(),
        }
    }

    fn elapsed_micros(&self, clock: ClockType, now: DateTime<Utc>) -> i64 {
        self.pinned.as_ref().map_or(0, |pinned| self.stopwatch(clock).elapsed_micros(now, &pinned.hours))
    }

    fn set_running(&mut self, clock: ClockType, running: bool, at: DateTime<Utc>) {
        if let (stopwatch, Some(pinned)) = self.parts(clock) {
            stopwatch.set_running(running, at, &pinned.hours, pinned.limits(clock));
        }
    }

    fn stopwatch(&self, clock: ClockType) -> &Stopwatch {
        match clock {
            ClockType::FirstResponse => &self.first_response,
            ClockType::Resolution => &self.resolution,
        }
    }

    fn parts(&mut self, clock: ClockType) -> (&mut Stopwatch, Option<&Pinned>) {
        let stopwatch = match clock {
            ClockType::FirstResponse => &mut self.first_response,
            ClockType::Resolution => &mut self.resolution,
        };
        (stopwatch, self.pinned.as_ref())
    }
}
