//! Arithmetic on the week as the wall clock shows it, where every day has 24 hours: daylight saving is the
//! business of [`super::offset_runs`]. Local times are microseconds since 1970-01-01 00:00 on the wall.

pub(super) const MINUTES_PER_DAY: u16 = 24 * 60;
const MINUTES_PER_WEEK: u16 = 7 * MINUTES_PER_DAY;
const MICROS_PER_MINUTE: i64 = 60_000_000;
const WEEK: i64 = MINUTES_PER_WEEK as i64 * MICROS_PER_MINUTE;
/// 1970-01-01 was a Thursday, four days into a week that begins on Sunday.
const EPOCH_IN_WEEK: i64 = 4 * MINUTES_PER_DAY as i64 * MICROS_PER_MINUTE;

/// The open spans of a week, in microseconds since Sunday 00:00.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Week {
    /// Half-open, ascending; never touching, because touching spans are joined.
    spans: Vec<(i64, i64)>,
    total: i64,
}

/// Whether spans are non-empty, ascending, disjoint (they may touch) and end within the week.
pub(super) fn are_ordered(minutes: &[(u16, u16)]) -> bool {
    minutes.iter().all(|(start, end)| start < end && *end <= MINUTES_PER_WEEK)
        && minutes.windows(2).all(|pair| pair[0].1 <= pair[1].0)
}

impl Week {
    /// `minutes` are ordered as by [`are_ordered`].
    pub(super) fn new(minutes: Vec<(u16, u16)>) -> Self {
        debug_assert!(are_ordered(&minutes));
        let mut spans: Vec<(i64, i64)> = Vec::with_capacity(minutes.len());
        for (start, end) in minutes {
            let (start, end) = (i64::from(start) * MICROS_PER_MINUTE, i64::from(end) * MICROS_PER_MINUTE);
            match spans.last_mut() {
                Some(last) if last.1 == start => last.1 = end,
                _ => spans.push((start, end)),
            }
        }
        let total = spans.iter().map(|(start, end)| end - start).sum();
        Self { spans, total }
    }

    pub(super) fn minutes(&self) -> Vec<(u16, u16)> {
        // Built from u16 minutes, so the way back fits.
        let minute = |micros: i64| (micros / MICROS_PER_MINUTE) as u16;
        self.spans.iter().map(|(start, end)| (minute(*start), minute(*end))).collect()
    }

    /// Open time of one week.
    pub(super) fn total(&self) -> i64 {
        self.total
    }

    pub(super) fn is_full(&self) -> bool {
        self.total == WEEK
    }

    pub(super) fn is_open(&self, local: i64) -> bool {
        let (_, position) = split(local);
        self.spans.iter().any(|(start, end)| (*start..*end).contains(&position))
    }

    /// Open time from a fixed origin up to `local`: a running total whose differences are durations.
    pub(super) fn worked_before(&self, local: i64) -> i64 {
        let (week, position) = split(local);
        let in_week: i64 = self.spans.iter().map(|(start, end)| (position.min(*end) - start).max(0)).sum();
        week * self.total + in_week
    }

    /// The inverse of [`Self::worked_before`]: the earliest local time at which the running total is `worked`.
    /// Requires an open span.
    pub(super) fn when_worked(&self, worked: i64) -> i64 {
        debug_assert!(self.total > 0);
        // Earliest: a total reached at the end of a week's last span belongs to that week, hence 1..=total.
        let week = (worked - 1).div_euclid(self.total);
        let mut rest = worked - week * self.total;
        let mut position = 0;
        for (start, end) in &self.spans {
            let length = end - start;
            if rest <= length {
                position = start + rest;
                break;
            }
            rest -= length;
        }
        week * WEEK + position - EPOCH_IN_WEEK
    }

    /// The first local time after `local` where a span begins or ends, or a week begins.
    pub(super) fn next_edge(&self, local: i64) -> i64 {
        let (_, position) = split(local);
        let edge = self
            .spans
            .iter()
            .flat_map(|(start, end)| [*start, *end])
            .find(|edge| *edge > position)
            .unwrap_or(WEEK);
        local + edge - position
    }
}

/// The week's number and the position in it.
fn split(local: i64) -> (i64, i64) {
    let since_sunday = local + EPOCH_IN_WEEK;
    (since_sunday.div_euclid(WEEK), since_sunday.rem_euclid(WEEK))
}
