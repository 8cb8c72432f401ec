//! The weekly schedule as a tenant writes it, and what is wrong with it when it is wrong.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::week::{MINUTES_PER_DAY, are_ordered};

/// The most entries a schedule may have: six windows on each day of the week.
pub const MAX_WINDOWS: usize = 42;

/// One window of a weekly schedule. A day may have several, such as before and after lunch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DaySchedule {
    /// 0 = Sunday … 6 = Saturday.
    pub day_of_week: i64,
    /// Local time `HH:MM`, first minute that is open.
    pub start_time: String,
    /// Local time `HH:MM`, first minute that is closed again; `24:00` is the end of the day.
    pub end_time: String,
    /// An inactive window is kept for the reader but is not working time.
    pub is_active: bool,
}

/// Which of the two times of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeField {
    Start,
    End,
}

/// Why a schedule is refused. `index` is the entry's place in the list, from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("a schedule has at most {MAX_WINDOWS} windows")]
    TooMany,
    #[error("must be 0 (Sunday) to 6 (Saturday)")]
    DayOfWeek { index: usize },
    #[error("must be a time HH:MM")]
    Time { index: usize, field: TimeField },
    #[error("must be after start_time")]
    EndNotAfterStart { index: usize },
    #[error("overlaps another window of the same day")]
    Overlap { index: usize },
}

impl ScheduleError {
    /// The request field at fault, such as `schedule[2].start_time`.
    #[must_use]
    pub fn field(&self) -> String {
        match self {
            Self::TooMany => "schedule".to_owned(),
            Self::DayOfWeek { index } => format!("schedule[{index}].day_of_week"),
            Self::Time { index, field: TimeField::Start } | Self::Overlap { index } => {
                format!("schedule[{index}].start_time")
            }
            Self::Time { index, field: TimeField::End } | Self::EndNotAfterStart { index } => {
                format!("schedule[{index}].end_time")
            }
        }
    }
}

/// The open spans of the week in minutes since Sunday 00:00, ascending and disjoint. Inactive entries are
/// checked like the others but leave no span.
pub(super) fn open_minutes(schedule: &[DaySchedule]) -> Result<Vec<(u16, u16)>, ScheduleError> {
    if schedule.len() > MAX_WINDOWS {
        return Err(ScheduleError::TooMany);
    }
    let mut spans = Vec::with_capacity(schedule.len());
    for (index, window) in schedule.iter().enumerate() {
        let span = minutes_of_week(index, window)?;
        if window.is_active {
            spans.push((span, index));
        }
    }
    spans.sort_unstable();
    if let Some(pair) = spans.windows(2).find(|pair| !are_ordered(&[pair[0].0, pair[1].0])) {
        return Err(ScheduleError::Overlap { index: pair[0].1.max(pair[1].1) });
    }
    Ok(spans.into_iter().map(|(span, _)| span).collect())
}

fn minutes_of_week(index: usize, window: &DaySchedule) -> Result<(u16, u16), ScheduleError> {
    let day = u16::try_from(window.day_of_week)
        .ok()
        .filter(|day| *day <= 6)
        .ok_or(ScheduleError::DayOfWeek { index })?;
    let start =
        minute_of_day(&window.start_time).ok_or(ScheduleError::Time { index, field: TimeField::Start })?;
    let end = minute_of_day(&window.end_time).ok_or(ScheduleError::Time { index, field: TimeField::End })?;
    if end <= start {
        return Err(ScheduleError::EndNotAfterStart { index });
    }
    Ok((day * MINUTES_PER_DAY + start, day * MINUTES_PER_DAY + end))
}

/// `HH:MM` with two digits each, `00:00` to `24:00`. A start of `24:00` is caught by start before end.
fn minute_of_day(text: &str) -> Option<u16> {
    let &[h1, h2, b':', m1, m2] = text.as_bytes() else { return None };
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let (hour, minute) = (digit(h1)? * 10 + digit(h2)?, digit(m1)? * 10 + digit(m2)?);
    let total = hour * 60 + minute;
    (minute < 60 && total <= MINUTES_PER_DAY).then_some(total)
}
