//! Where a list goes on: after the row of this time and id, in the order of the list. A page ends with one, and the
//! client gives it back for the next page, written as `2026-11-21T08:30:00.123456Z|0190f5c8-…`.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, SecondsFormat, SubsecRound, Utc};
use thiserror::Error;
use uuid::Uuid;

/// Between the time and the id; neither contains it.
const SEPARATOR: char = '|';
/// Digits of a second's fraction: what the database keeps.
const FRACTION_DIGITS: u16 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub at: DateTime<Utc>,
    pub id: Uuid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be the next_cursor of another answer")]
pub struct NotACursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.to_rfc3339_opts(SecondsFormat::Micros, true);
        write!(f, "{at}{SEPARATOR}{}", self.id)
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let (at, id) = text.split_once(SEPARATOR).ok_or(NotACursor)?;
        let at =
            DateTime::parse_from_rfc3339(at).map_err(|_| NotACursor)?.to_utc().trunc_subsecs(FRACTION_DIGITS);
        let id = id.parse().map_err(|_| NotACursor)?;
        // An offset can carry a time over the edge of the years that RFC 3339 can write.
        if (0..=9999).contains(&at.year()) { Ok(Self { at, id }) } else { Err(NotACursor) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0190f5c8-1111-7000-8000-000000000007";

    #[test]
    fn reads_back_to_the_microsecond() {
        let at = DateTime::from_timestamp_micros(1_800_000_000_123_456).unwrap();
        let cursor = Cursor { at, id: ID.parse().unwrap() };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in ["", "|", "2026-11-21T08:30:00Z", "yesterday|0190f5c8-1111-7000-8000-000000000007"] {
            assert_eq!(bad.parse::<Cursor>(), Err(NotACursor), "{bad}");
        }
    }

    /// Written again, they must be read as what they were: a finer fraction, another zone, a leap second.
    #[test]
    fn other_spellings_of_a_time_settle() {
        for at in ["2026-11-21T08:30:00.123456789Z", "2026-11-21T15:30:00+07:00", "2016-12-31T23:59:60.5Z"] {
            let cursor: Cursor = format!("{at}|{ID}").parse().unwrap();
            assert_eq!(cursor.to_string().parse(), Ok(cursor), "{at}");
        }
    }

    #[test]
    fn times_beyond_the_years_that_can_be_written_are_refused() {
        for at in ["0000-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"] {
            assert_eq!(format!("{at}|{ID}").parse::<Cursor>(), Err(NotACursor), "{at}");
        }
    }
}
