//! When a rule may act: days of the week and hours in a fixed offset from UTC.
//!
//! The gate ([`Schedule::open_at`]) and the preview are one function: the preview asks the gate.

use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc, Weekday};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::{Fields, Problems, boolean, integer, item, items, settle};
use crate::refusal::FieldProblem;

/// Offsets in use on Earth: UTC−12:00 to UTC+14:00, in minutes.
pub const MIN_OFFSET_MINUTES: i64 = -12 * 60;
pub const MAX_OFFSET_MINUTES: i64 = 14 * 60;
/// The longest preview, in hours (30 days).
pub const MAX_PREVIEW_HOURS: i64 = 720;
const HOURS_PER_DAY: i64 = 24;
const DAYS_PER_WEEK: usize = 7;
const HOURS_PER_WEEK: i64 = 7 * HOURS_PER_DAY;

/// `ScheduleSettings`. A disabled schedule is always open.
///
/// The hours are local, in spite of their wire names: local time = UTC + `timezone_offset_minutes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Schedule {
    pub enabled: bool,
    /// 0 = Sunday … 6 = Saturday: the days on which a window starts.
    pub active_weekdays: Vec<u8>,
    /// 0..=23, inclusive.
    pub start_hour_utc: u8,
    /// 0..=24, exclusive. Smaller than the start: the window ends on the next day.
    pub end_hour_utc: u8,
    pub timezone_offset_minutes: i16,
    /// Open exactly when it would be closed.
    pub invert: bool,
}

/// Disabled: a rule works around the clock unless somebody says otherwise.
impl Default for Schedule {
    fn default() -> Self {
        Self {
            enabled: false,
            active_weekdays: (0..7).collect(),
            start_hour_utc: 0,
            end_hour_utc: 24,
            timezone_offset_minutes: 0,
            invert: false,
        }
    }
}

/// A span in which a rule may act; the end is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeWindow {
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
}

impl Schedule {
    /// Reads `ScheduleSettings`; all its fields are required.
    ///
    /// # Errors
    /// Wrong types and ranges, and schedules that contradict themselves: start = end, a day named twice, or one that
    /// would never open.
    pub fn parse(value: &Value) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let schedule = Self::read(value, "schedule_settings", &mut problems);
        settle(schedule, problems)
    }

    pub(super) fn read(value: &Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(value, path, problems)?;
        let enabled = fields.required("enabled", boolean);
        let days = fields.nested_required("active_weekdays", |value, path, problems| {
            items(value, path, DAYS_PER_WEEK, problems, item(|day| integer(0..=6)(day)))
        });
        let start = fields.required("start_hour_utc", integer(0..=23));
        let end = fields.required("end_hour_utc", integer(0..=24));
        let offset = fields
            .required("timezone_offset_minutes", integer(MIN_OFFSET_MINUTES..=MAX_OFFSET_MINUTES))
            .and_then(|offset| i16::try_from(offset).ok());
        let invert = fields.required("invert", boolean);
        fields.finish();
        let schedule = Self {
            enabled: enabled?,
            active_weekdays: small(&days?)?,
            start_hour_utc: u8::try_from(start?).ok()?,
            end_hour_utc: u8::try_from(end?).ok()?,
            timezone_offset_minutes: offset?,
            invert: invert?,
        };
        match schedule.contradiction() {
            Some((name, message)) => {
                problems.push(FieldProblem::new(format!("{path}.{name}"), message));
                None
            }
            None => Some(schedule),
        }
    }

    fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        let days = &self.active_weekdays;
        if self.start_hour_utc == self.end_hour_utc {
            return Some(("end_hour_utc", "must differ from start_hour_utc; a whole day is 0 to 24"));
        }
        if (1..days.len()).any(|n| days[n..].contains(&days[n - 1])) {
            return Some(("active_weekdays", "must not name a day twice"));
        }
        if self.next_open(DateTime::UNIX_EPOCH).is_none() {
            return Some(("active_weekdays", "leaves no time at which the rule could act"));
        }
        None
    }

    /// Whether a rule may act at this moment.
    #[must_use]
    pub fn open_at(&self, now: DateTime<Utc>) -> bool {
        if !self.enabled {
            return true;
        }
        self.in_window(now) != self.invert
    }

    fn in_window(&self, now: DateTime<Utc>) -> bool {
        let local = now.naive_utc() + self.offset();
        let (hour, today) = (local.hour(), local.weekday());
        let (start, end) = (u32::from(self.start_hour_utc), u32::from(self.end_hour_utc));
        if start < end {
            return (start..end).contains(&hour) && self.starts_on(today);
        }
        // Past midnight the window belongs to the day on which it started.
        (hour >= start && self.starts_on(today)) || (hour < end && self.starts_on(today.pred()))
    }

    fn starts_on(&self, day: Weekday) -> bool {
        self.active_weekdays.iter().any(|active| u32::from(*active) == day.num_days_from_sunday())
    }

    fn offset(&self) -> TimeDelta {
        TimeDelta::minutes(i64::from(self.timezone_offset_minutes))
    }

    /// The next full local hour after `time`: the only moments at which the gate can change.
    fn next_edge(&self, time: DateTime<Utc>) -> DateTime<Utc> {
        const HOUR: i64 = 3600;
        let offset = self.offset().num_seconds();
        let local_hour = (time.timestamp() + offset).div_euclid(HOUR) + 1;
        DateTime::from_timestamp(local_hour * HOUR - offset, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// The open windows from `from`, over at most [`MAX_PREVIEW_HOURS`]; clipped to that span.
    #[must_use]
    pub fn preview(&self, from: DateTime<Utc>, hours: i64) -> Vec<TimeWindow> {
        let span = TimeDelta::hours(hours.clamp(0, MAX_PREVIEW_HOURS));
        let until = from.checked_add_signed(span).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let mut windows: Vec<TimeWindow> = Vec::new();
        let mut start = from;
        while start < until {
            let end = self.next_edge(start).min(until);
            if self.open_at(start) {
                match windows.last_mut() {
                    Some(window) if window.end == start => window.end = end,
                    _ => windows.push(TimeWindow { start, end }),
                }
            }
            start = end;
        }
        windows
    }

    /// The first moment from `from` on at which a rule may act; `from` itself if it may now. None: never.
    #[must_use]
    pub fn next_open(&self, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // One hour more than the week, because `from` may lie inside an hour.
        let mut moments = std::iter::successors(Some(from), |time| Some(self.next_edge(*time)))
            .take(HOURS_PER_WEEK as usize + 2);
        moments.find(|time| self.open_at(*time))
    }
}

fn small(days: &[i64]) -> Option<Vec<u8>> {
    days.iter().map(|day| u8::try_from(*day).ok()).collect()
}

#[cfg(test)]
mod tests;
