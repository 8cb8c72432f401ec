//! The calendar of billing: periods that are paid for in advance, the trial before them, and calendar months.
//!
//! All of it is UTC. Periods are half-open: the second in which one ends belongs to the next.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Months, NaiveDate, TimeDelta, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub const TRIAL_DAYS: i64 = 14;
pub const MONTHS_PER_YEAR: u32 = 12;

/// How often a subscription is charged; `billing_period` on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interval {
    #[default]
    Monthly,
    Annual,
}

impl Interval {
    #[must_use]
    pub const fn months(self) -> u32 {
        match self {
            Self::Monthly => 1,
            Self::Annual => MONTHS_PER_YEAR,
        }
    }
}

/// A stretch of time, `start` included and `end` not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Period {
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
}

impl Period {
    /// The period that `at` falls into when periods are counted from `anchor`, the moment the first one began.
    ///
    /// Every boundary is computed from the anchor and not from the boundary before it, so that a month that is too
    /// short clamps the day once and not for good: 31 January, 28 February, 31 March. Before the anchor it is the
    /// first period.
    #[must_use]
    pub fn containing(at: DateTime<Utc>, anchor: DateTime<Utc>, interval: Interval) -> Self {
        let step = interval.months();
        // `at`'s own calendar month holds exactly one monthly boundary: the count is this one or one less.
        let elapsed = months_between(anchor, at) / step;
        let count = if boundary(anchor, elapsed * step) > at { elapsed.saturating_sub(1) } else { elapsed };
        Self { start: boundary(anchor, count * step), end: boundary(anchor, (count + 1) * step) }
    }

    /// The period that begins where this one ends.
    #[must_use]
    pub fn following(self, anchor: DateTime<Utc>, interval: Interval) -> Self {
        Self::containing(self.end, anchor, interval)
    }

    /// Whole seconds.
    #[must_use]
    pub fn seconds(self) -> i64 {
        (self.end - self.start).num_seconds().max(0)
    }

    /// Whole seconds left at `at`: all of them before the start, none after the end.
    #[must_use]
    pub fn seconds_left(self, at: DateTime<Utc>) -> i64 {
        Self { start: at.max(self.start), end: self.end }.seconds()
    }

    #[must_use]
    pub fn contains(self, at: DateTime<Utc>) -> bool {
        self.start <= at && at < self.end
    }
}

/// When a trial that begins at `start` is over.
#[must_use]
pub fn trial_end(start: DateTime<Utc>) -> DateTime<Utc> {
    start.checked_add_signed(TimeDelta::days(TRIAL_DAYS)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// `anchor`'s day and time of day, `months` later, on the month's last day where there is no such day.
fn boundary(anchor: DateTime<Utc>, months: u32) -> DateTime<Utc> {
    anchor.checked_add_months(Months::new(months)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Calendar months from `from`'s to `to`'s, 0 if `to` is earlier.
fn months_between(from: DateTime<Utc>, to: DateTime<Utc>) -> u32 {
    let index =
        |at: DateTime<Utc>| i64::from(at.year()) * i64::from(MONTHS_PER_YEAR) + i64::from(at.month0());
    u32::try_from(index(to) - index(from)).unwrap_or(0)
}

/// A calendar month in UTC, `2026-11` on the wire: usage is counted by it, and revenue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Month {
    first_day: NaiveDate,
}

/// A text that is no month.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a month such as 2026-11")]
pub struct NotAMonth;

impl Month {
    #[must_use]
    pub fn of(at: DateTime<Utc>) -> Self {
        let date = at.date_naive();
        Self { first_day: date.with_day(1).unwrap_or(date) }
    }

    #[must_use]
    pub fn start(self) -> DateTime<Utc> {
        self.first_day.and_time(chrono::NaiveTime::MIN).and_utc()
    }

    /// The first moment of the next month.
    #[must_use]
    pub fn end(self) -> DateTime<Utc> {
        self.next().start()
    }

    #[must_use]
    pub fn next(self) -> Self {
        Self { first_day: self.first_day.checked_add_months(Months::new(1)).unwrap_or(self.first_day) }
    }

    #[must_use]
    pub fn previous(self) -> Self {
        Self { first_day: self.first_day.checked_sub_months(Months::new(1)).unwrap_or(self.first_day) }
    }

    /// The `count` months that end with this one, oldest first.
    #[must_use]
    pub fn trailing(self, count: usize) -> Vec<Self> {
        let mut months: Vec<Self> =
            std::iter::successors(Some(self), |month| Some(month.previous())).take(count).collect();
        months.reverse();
        months
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.first_day.year(), self.first_day.month())
    }
}

impl FromStr for Month {
    type Err = NotAMonth;

    fn from_str(text: &str) -> Result<Self, NotAMonth> {
        let month =
            NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d").map(|first_day| Self { first_day });
        // Only the one way of writing it: chrono would take "2026-1" and "+2026-01" too.
        month.ok().filter(|month| month.to_string() == text).ok_or(NotAMonth)
    }
}

impl JsonSchema for Month {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Month".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["2026-11"] })
    }
}

impl From<Month> for String {
    fn from(month: Month) -> Self {
        month.to_string()
    }
}

impl TryFrom<String> for Month {
    type Error = NotAMonth;

    fn try_from(text: String) -> Result<Self, NotAMonth> {
        text.parse()
    }
}
