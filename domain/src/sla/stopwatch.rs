//! One clock of a conversation: working time measured with pauses, and when it passed its two limits.

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::working_hours::WorkingHours;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Which promise a clock watches. On the wire: `breach_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClockType {
    FirstResponse,
    Resolution,
}

/// What a clock can pass on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MarkLevel {
    Warning,
    Breach,
}

/// Where a clock stands against its threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockStatus {
    Ok,
    Warning,
    Breached,
}

/// When a clock is in warning and in breach, as least working time in microseconds.
///
/// A clock is judged by its whole seconds, as readers see them: `elapsed > threshold` first holds at
/// threshold + 1 s, `elapsed >= threshold × pct / 100` at that product rounded up. So a status never
/// contradicts the seconds printed beside it, and a timer has one exact instant to fire at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    warning: i64,
    breach: i64,
}

impl Limits {
    pub(super) fn new(threshold_secs: i64, warning_pct: i64) -> Self {
        let hundredths = i128::from(threshold_secs) * i128::from(warning_pct);
        let rounded_up = hundredths.div_euclid(100) + i128::from(hundredths.rem_euclid(100) != 0);
        let warning_secs = i64::try_from(rounded_up).unwrap_or(i64::MAX);
        Self {
            warning: warning_secs.saturating_mul(MICROS_PER_SECOND),
            breach: threshold_secs.saturating_add(1).saturating_mul(MICROS_PER_SECOND),
        }
    }

    fn of(self, level: MarkLevel) -> i64 {
        match level {
            MarkLevel::Warning => self.warning,
            MarkLevel::Breach => self.breach,
        }
    }

    pub(super) fn status(self, elapsed_micros: i64) -> ClockStatus {
        if elapsed_micros >= self.breach {
            ClockStatus::Breached
        } else if elapsed_micros >= self.warning {
            ClockStatus::Warning
        } else {
            ClockStatus::Ok
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Stopwatch {
    /// Working time of the runs that have ended. Kept in microseconds, so that many short runs lose nothing.
    measured_micros: i64,
    begun_at: Option<DateTime<Utc>>,
    running_since: Option<DateTime<Utc>>,
    /// When an ended run passed a limit.
    warned_at: Option<DateTime<Utc>>,
    breached_at: Option<DateTime<Utc>>,
}

impl Stopwatch {
    /// Starts or stops the clock at `at`; nothing if it is so already.
    pub(super) fn set_running(
        &mut self,
        running: bool,
        at: DateTime<Utc>,
        hours: &WorkingHours,
        limits: Option<Limits>,
    ) {
        match (self.running_since, running) {
            (None, true) => {
                self.begun_at.get_or_insert(at);
                self.running_since = Some(at);
            }
            (Some(since), false) => {
                self.running_since = None;
                self.measure(since, at, hours, limits);
            }
            _ => {}
        }
    }

    /// Ends what has run so far at `at` and goes on from there, for a change of terms in mid-run.
    pub(super) fn split_run(&mut self, at: DateTime<Utc>, hours: &WorkingHours, limits: Option<Limits>) {
        if let Some(since) = self.running_since {
            self.measure(since, at, hours, limits);
            self.running_since = Some(at.max(since));
        }
    }

    fn measure(
        &mut self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        hours: &WorkingHours,
        limits: Option<Limits>,
    ) {
        let before = self.measured_micros;
        self.measured_micros += micros(hours.elapsed(from, to));
        let Some(limits) = limits else { return };
        for level in [MarkLevel::Warning, MarkLevel::Breach] {
            let limit = limits.of(level);
            if before < limit && limit <= self.measured_micros {
                // A run longer than the search horizon has passed the limit by its end at the latest.
                let passed = hours.deadline(from, TimeDelta::microseconds(limit - before)).unwrap_or(to);
                self.passed_mut(level).get_or_insert(passed);
            }
        }
    }

    /// Judges the clock anew from `at` on, by new limits or in a new cycle. What has run already counts, but
    /// nothing is dated before `at`.
    pub(super) fn judge_anew(&mut self, at: DateTime<Utc>, limits: Option<Limits>) {
        for level in [MarkLevel::Warning, MarkLevel::Breach] {
            let is_past = limits.is_some_and(|limits| self.measured_micros >= limits.of(level));
            *self.passed_mut(level) = (is_past && self.begun_at.is_some()).then_some(at);
        }
    }

    fn passed_mut(&mut self, level: MarkLevel) -> &mut Option<DateTime<Utc>> {
        match level {
            MarkLevel::Warning => &mut self.warned_at,
            MarkLevel::Breach => &mut self.breached_at,
        }
    }

    /// Working time up to `now`, in microseconds.
    pub(super) fn elapsed_micros(&self, now: DateTime<Utc>, hours: &WorkingHours) -> i64 {
        let running = self.running_since.map_or(0, |since| micros(hours.elapsed(since, now)));
        self.measured_micros + running
    }

    /// The instant at which the clock passed the limit, or will if nothing stops it; `None` if it never does.
    pub(super) fn passes(
        &self,
        level: MarkLevel,
        hours: &WorkingHours,
        limits: Limits,
    ) -> Option<DateTime<Utc>> {
        let passed = match level {
            MarkLevel::Warning => self.warned_at,
            MarkLevel::Breach => self.breached_at,
        };
        let remaining = limits.of(level) - self.measured_micros;
        if passed.is_some() || remaining <= 0 {
            // A limit of zero is passed by beginning.
            return passed.or(self.begun_at);
        }
        hours.deadline(self.running_since?, TimeDelta::microseconds(remaining))
    }
}

pub(super) fn whole_seconds(micros: i64) -> i64 {
    micros.div_euclid(MICROS_PER_SECOND)
}

fn micros(duration: TimeDelta) -> i64 {
    duration.num_microseconds().unwrap_or(i64::MAX)
}
