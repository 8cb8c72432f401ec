//! Working hours: when a team is at work, and so when service-level clocks run.
//!
//! A tenant has one weekly schedule, a division may have its own, and both are read in the tenant's IANA
//! time zone. Which one holds: the division's, else the tenant's, else the team is always at work.
//!
//! # Meaning
//! An instant is working time exactly when the wall clock in the zone shows, at that instant, a weekday and
//! time inside an active window. Windows are half-open: 09:00–17:00 is open at 09:00:00 and closed at
//! 17:00:00. From that one rule daylight saving follows, without special cases:
//! - local times skipped in spring have no instants, so a window that covers the gap is shorter that day;
//! - local times repeated in autumn count both times, so a window that covers the overlap is longer;
//! - a window that begins or ends inside the repeated hour is open on both passes of the part it covers.
//!
//! A window lies in one day; work past midnight is two windows, one to `24:00` and one from `00:00`.
//! The resolution is one microsecond, that of the event log; finer digits of an instant are cut off.

mod offset_runs;
mod schedule;
mod week;

#[cfg(test)]
pub(crate) mod tests;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use offset_runs::OffsetRuns;
pub use schedule::{DaySchedule, MAX_WINDOWS, ScheduleError, TimeField};
use week::Week;

/// How far ahead [`WorkingHours::deadline`] and [`WorkingHours::next_change`] look, in days: 20 years.
/// Further off is as good as never, and it bounds the search.
pub const HORIZON_DAYS: i64 = 20 * 366;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// The name is not one of the IANA time zone database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an IANA time zone")]
pub struct UnknownTimeZone(pub String);

/// Reads an IANA time zone name such as `Asia/Jakarta`.
///
/// # Errors
/// [`UnknownTimeZone`] if the database has no zone of exactly that name.
pub fn parse_time_zone(name: &str) -> Result<Tz, UnknownTimeZone> {
    name.parse().map_err(|_| UnknownTimeZone(name.to_owned()))
}

/// A weekly schedule in a time zone, ready to be asked. Stored with a conversation, it keeps answering the
/// same after the tenant edits its schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "StoredHours", into = "StoredHours")]
pub struct WorkingHours {
    zone: Tz,
    /// `None`: always at work.
    week: Option<Week>,
}

impl WorkingHours {
    /// Hours of a team that is always at work.
    #[must_use]
    pub fn always(zone: Tz) -> Self {
        Self { zone, week: None }
    }

    /// Hours of one schedule. Without an active window the team is never at work.
    ///
    /// # Errors
    /// [`ScheduleError`] for the first entry that is malformed or overlaps another.
    pub fn weekly(zone: Tz, schedule: &[DaySchedule]) -> Result<Self, ScheduleError> {
        Ok(Self { zone, week: Some(Week::new(schedule::open_minutes(schedule)?)) })
    }

    /// The hours that hold for a conversation: the division's schedule, else the tenant's, else always.
    /// An empty schedule is none at all; closed days are written as inactive entries.
    ///
    /// # Errors
    /// [`ScheduleError`] as for [`Self::weekly`].
    pub fn resolve(
        zone: Tz,
        division: &[DaySchedule],
        global: &[DaySchedule],
    ) -> Result<Self, ScheduleError> {
        match [division, global].into_iter().find(|schedule| !schedule.is_empty()) {
            Some(schedule) => Self::weekly(zone, schedule),
            None => Ok(Self::always(zone)),
        }
    }

    /// The zone the schedule is read in.
    #[must_use]
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// True if the schedule has no working time at all: clocks stand still and deadlines do not exist.
    #[must_use]
    pub fn is_never_open(&self) -> bool {
        self.week.as_ref().is_some_and(|week| week.total() == 0)
    }

    /// True if no instant of the week is outside working time.
    #[must_use]
    pub fn is_always_open(&self) -> bool {
        self.week.as_ref().is_none_or(Week::is_full)
    }

    /// Whether `at` is working time.
    #[must_use]
    pub fn is_open(&self, at: DateTime<Utc>) -> bool {
        let at = at.timestamp_micros();
        match &self.week {
            None => true,
            Some(week) => week.is_open(at + offset_runs::offset_micros(self.zone, at)),
        }
    }

    /// The working time in `[from, to)`; zero if `to` is not after `from`.
    /// Takes one zone lookup per day of the range, whatever the schedule.
    #[must_use]
    pub fn elapsed(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> TimeDelta {
        let (from, to) = (from.timestamp_micros(), to.timestamp_micros());
        if to <= from {
            return TimeDelta::zero();
        }
        let micros = match &self.week {
            None => to - from,
            Some(week) if week.is_full() => to - from,
            Some(week) if week.total() == 0 => 0,
            Some(week) => OffsetRuns::new(self.zone, from, to)
                .map(|run| week.worked_before(run.local_end()) - week.worked_before(run.local_start()))
                .sum(),
        };
        TimeDelta::microseconds(micros)
    }

    /// The earliest instant by which `working` time has passed since `from`, so that
    /// `elapsed(from, deadline) == working`. A deadline used up exactly at closing time is closing time, not
    /// the next opening. For zero or less it is `from`.
    ///
    /// `None` when the team is never at work, or not enough within [`HORIZON_DAYS`].
    #[must_use]
    pub fn deadline(&self, from: DateTime<Utc>, working: TimeDelta) -> Option<DateTime<Utc>> {
        let start = from.timestamp_micros();
        let mut remaining = working.num_microseconds()?;
        if self.is_never_open() {
            return None;
        }
        if remaining <= 0 {
            return Some(from);
        }
        let end = horizon(start);
        let week = match &self.week {
            Some(week) if !week.is_full() => week,
            _ => {
                let at = start.checked_add(remaining).filter(|at| *at <= end)?;
                return DateTime::from_timestamp_micros(at);
            }
        };
        for run in OffsetRuns::new(self.zone, start, end) {
            let before = week.worked_before(run.local_start());
            let in_run = week.worked_before(run.local_end()) - before;
            if in_run >= remaining {
                let local = week.when_worked(before + remaining);
                return DateTime::from_timestamp_micros(local - run.offset);
            }
            remaining -= in_run;
        }
        None
    }

    /// The first instant after `at` at which working time begins or ends; `None` if it never does within
    /// [`HORIZON_DAYS`].
    #[must_use]
    pub fn next_change(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let week = self.week.as_ref().filter(|week| !week.is_full() && week.total() > 0)?;
        let was_open = self.is_open(at);
        let start = at.timestamp_micros();
        for run in OffsetRuns::new(self.zone, start, horizon(start)) {
            // The clock change at the start of a run can open or close the team by itself.
            let mut local = run.local_start();
            while local < run.local_end() {
                if week.is_open(local) != was_open {
                    return DateTime::from_timestamp_micros(local - run.offset);
                }
                local = week.next_edge(local);
            }
        }
        None
    }

    /// When a team that is closed at `at` opens next; `None` if it is open or never opens.
    #[must_use]
    pub fn next_open(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if self.is_open(at) { None } else { self.next_change(at) }
    }
}

/// The last instant a search from `start` may reach.
fn horizon(start: i64) -> i64 {
    start.saturating_add(HORIZON_DAYS * MICROS_PER_DAY).min(DateTime::<Utc>::MAX_UTC.timestamp_micros())
}

/// The document form: spans in minutes since Sunday 00:00, `null` for always.
#[derive(Serialize, Deserialize, JsonSchema)]
struct StoredHours {
    time_zone: String,
    open_minutes: Option<Vec<(u16, u16)>>,
}

impl From<WorkingHours> for StoredHours {
    fn from(hours: WorkingHours) -> Self {
        Self { time_zone: hours.zone.name().to_owned(), open_minutes: hours.week.map(|week| week.minutes()) }
    }
}

impl TryFrom<StoredHours> for WorkingHours {
    type Error = InvalidHours;

    fn try_from(stored: StoredHours) -> Result<Self, Self::Error> {
        let zone = parse_time_zone(&stored.time_zone)?;
        let week = match stored.open_minutes {
            None => None,
            Some(minutes) if week::are_ordered(&minutes) => Some(Week::new(minutes)),
            Some(_) => return Err(InvalidHours::Minutes),
        };
        Ok(Self { zone, week })
    }
}

/// A stored document is not one of ours.
#[derive(Debug, thiserror::Error)]
enum InvalidHours {
    #[error(transparent)]
    Zone(#[from] UnknownTimeZone),
    #[error("open_minutes must be ascending, disjoint and within one week")]
    Minutes,
}
