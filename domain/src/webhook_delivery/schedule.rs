//! When a delivery is tried again.

use std::time::Duration;

use chrono::{DateTime, Utc};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// The waits after the first, second … failed attempt.
pub const WAITS: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * MINUTE),
    Duration::from_secs(30 * MINUTE),
    Duration::from_secs(2 * HOUR),
    Duration::from_secs(5 * HOUR),
    Duration::from_secs(10 * HOUR),
    Duration::from_secs(10 * HOUR),
];
pub const MAX_ATTEMPTS: u32 = 8;
/// The part by which a wait is longer or shorter at random, so that what failed together does not return together.
pub const JITTER: f64 = 0.2;
/// A receiver that asks for more patience than this gets this much.
pub const LONGEST_ASKED: Duration = Duration::from_secs(24 * HOUR);
/// Scales above this would make a wait of years.
const MAX_SCALE: f64 = 1_000.0;

/// The wait after `failures` failed attempts (1 = the first); none when there is no further attempt.
///
/// `random` is a fraction in 0..=1: 0 gives 80 %, 0.5 the plain wait, 1 gives 120 %. `scale` multiplies the wait
/// (`OMNISTREAM_RETRY_SCALE`). `asked` is what the receiver wants to be left alone for; it is honoured as it is.
#[must_use]
pub fn wait_after(failures: u32, random: f64, scale: f64, asked: Option<Duration>) -> Option<Duration> {
    let plain = WAITS.get(usize::try_from(failures.checked_sub(1)?).ok()?)?;
    let within = |value: f64, max: f64| if value.is_nan() { 1.0 } else { value.clamp(0.0, max) };
    let jitter = 1.0 - JITTER + 2.0 * JITTER * within(random, 1.0);
    let wait = plain.mul_f64(jitter * within(scale, MAX_SCALE));
    Some(wait.max(asked.unwrap_or_default().min(LONGEST_ASKED)))
}

/// Reads a `Retry-After` (RFC 9110, 10.2.3): seconds, or a date, which may have passed.
#[must_use]
pub fn asked(retry_after: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = retry_after.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(retry_after.trim()).ok()?;
    Some((date.to_utc() - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_waits_are_those_that_are_promised_and_the_eighth_attempt_is_the_last() {
        let waits: Vec<_> = (1..=8).map(|failures| wait_after(failures, 0.5, 1.0, None)).collect();
        let seconds = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000].map(|s| Some(Duration::from_secs(s)));
        assert_eq!((&waits[..7], waits[7]), (&seconds[..], None));
        assert_eq!(WAITS.len() + 1, MAX_ATTEMPTS as usize);
        assert_eq!(wait_after(0, 0.5, 1.0, None), None);
    }

    #[test]
    fn a_receiver_may_ask_for_more_patience_but_not_for_less_nor_for_ever() {
        let asking = |seconds| wait_after(1, 0.5, 1.0, Some(Duration::from_secs(seconds))).unwrap().as_secs();
        assert_eq!((asking(1), asking(60), asking(u64::MAX)), (5, 60, 86_400));
        // The scale is ours and does not shorten what the receiver asks for.
        assert_eq!(wait_after(1, 0.5, 0.001, Some(Duration::from_secs(2))), Some(Duration::from_secs(2)));
        assert_eq!(wait_after(1, 0.5, 0.001, None), Some(Duration::from_millis(5)));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        assert_eq!(asked(" 120 ", now), Some(Duration::from_secs(120)));
        assert_eq!(asked("Fri, 15 Jan 2027 08:01:00 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::ZERO));
        for nonsense in ["", "soon", "-5", "1.5"] {
            assert_eq!(asked(nonsense, now), None, "{nonsense}");
        }
    }

    proptest! {
        #[test]
        fn jitter_is_a_fifth_either_way(failures in 1_u32..MAX_ATTEMPTS, random in 0.0..=1.0) {
            let plain = wait_after(failures, 0.5, 1.0, None).unwrap().as_secs_f64();
            let wait = wait_after(failures, random, 1.0, None).unwrap().as_secs_f64();
            prop_assert!((plain * 0.8 - 1e-6..=plain * 1.2 + 1e-6).contains(&wait));
        }
    }
}
