//! Cuts a range of instants where a zone's UTC offset changes. Inside a run, local time is UTC plus a
//! constant, so that weeks can be counted by arithmetic however long the run is.

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// How far apart the offset is probed, in seconds: one day. A change and its reversal within this distance
/// would be missed; in the time zone database, 1970 to 2045, no zone has two changes within six days.
pub(super) const PROBE_SECONDS: i64 = 86_400;

/// `[start, end)` in microseconds since the epoch, with `offset` microseconds east of UTC throughout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OffsetRun {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) offset: i64,
}

impl OffsetRun {
    pub(super) fn local_start(self) -> i64 {
        self.start + self.offset
    }

    pub(super) fn local_end(self) -> i64 {
        self.end + self.offset
    }
}

/// The runs of a range, in order and without gaps between them.
pub(super) struct OffsetRuns {
    zone: Tz,
    next: i64,
    end: i64,
}

impl OffsetRuns {
    pub(super) fn new(zone: Tz, start: i64, end: i64) -> Self {
        Self { zone, next: start, end }
    }
}

impl Iterator for OffsetRuns {
    type Item = OffsetRun;

    fn next(&mut self) -> Option<OffsetRun> {
        if self.next >= self.end {
            return None;
        }
        let start = self.next;
        let last = self.end.div_euclid(MICROS_PER_SECOND);
        let mut same = start.div_euclid(MICROS_PER_SECOND);
        let offset = offset_seconds(self.zone, same);
        let mut end = self.end;
        while same < last {
            let probe = (same + PROBE_SECONDS).min(last);
            if offset_seconds(self.zone, probe) != offset {
                end = first_change(self.zone, same, probe, offset) * MICROS_PER_SECOND;
                break;
            }
            same = probe;
        }
        self.next = end;
        Some(OffsetRun { start, end, offset: offset * MICROS_PER_SECOND })
    }
}

/// The second in `(same, other]` from which the offset is no longer `offset`.
fn first_change(zone: Tz, mut same: i64, mut other: i64, offset: i64) -> i64 {
    while other - same > 1 {
        let middle = same + (other - same) / 2;
        if offset_seconds(zone, middle) == offset {
            same = middle;
        } else {
            other = middle;
        }
    }
    other
}

/// Microseconds east of UTC at an instant in microseconds since the epoch.
pub(super) fn offset_micros(zone: Tz, at: i64) -> i64 {
    offset_seconds(zone, at.div_euclid(MICROS_PER_SECOND)) * MICROS_PER_SECOND
}

fn offset_seconds(zone: Tz, at: i64) -> i64 {
    let utc = DateTime::from_timestamp(at, 0).expect("a second between two valid instants is valid");
    i64::from(zone.offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc())
}
