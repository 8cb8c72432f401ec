//! How often and when a queue item is tried again, and when it is too late to bother a customer.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// An item fails for good after this many attempts.
pub const MAX_ATTEMPTS: u32 = 5;
/// The wait after the first failed attempt; it doubles each time: 2, 4, 8, 16 s.
pub const FIRST_DELAY: Duration = Duration::from_secs(2);
/// The part by which a wait is longer or shorter at random, so that items that failed together do not return
/// together.
pub const JITTER: f64 = 0.2;
/// After this a late message to a customer does more harm than none.
pub const STALE_AFTER: TimeDelta = TimeDelta::hours(24);
/// The reason recorded for an action skipped for that.
pub const STALE: &str = "stale";

/// The wait after `attempts` failed attempts (1 = the first); None when there is no further attempt.
///
/// `random` is a fraction in 0..=1 of the caller's making: 0 gives 80 %, 0.5 the plain delay, 1 gives 120 %. `scale`
/// multiplies the result (`OMNISTREAM_RETRY_SCALE`); both are brought into range if they are not.
#[must_use]
pub fn retry_delay(attempts: u32, random: f64, scale: f64) -> Option<Duration> {
    if attempts >= MAX_ATTEMPTS {
        return None;
    }
    let plain = FIRST_DELAY * 2_u32.pow(attempts.saturating_sub(1));
    let jitter = 1.0 - JITTER + 2.0 * JITTER * in_range(random, 1.0, 0.5);
    Some(plain.mul_f64(jitter * in_range(scale, MAX_SCALE, 1.0)))
}

/// Scales above this would make a wait of years.
const MAX_SCALE: f64 = 10_000.0;

fn in_range(value: f64, max: f64, otherwise: f64) -> f64 {
    if value.is_nan() { otherwise } else { value.clamp(0.0, max) }
}

/// Whether an item made at `created_at` is too old at `now` for customer-facing actions. At exactly 24 h it is not.
#[must_use]
pub fn is_stale(created_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    now - created_at > STALE_AFTER
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_and_end_with_the_fifth_attempt() {
        let waits: Vec<_> = (1..=5).map(|attempts| retry_delay(attempts, 0.5, 1.0)).collect();
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(waits, [seconds(2), seconds(4), seconds(8), seconds(16), None]);
    }

    #[test]
    fn scale_and_bad_input_stay_in_range() {
        assert_eq!(retry_delay(2, 0.5, 0.001), Some(Duration::from_millis(4)));
        assert_eq!(retry_delay(1, f64::NAN, f64::NAN), Some(Duration::from_secs(2)));
        assert_eq!(retry_delay(0, -3.0, 1.0), Some(Duration::from_millis(1600)));
        assert_eq!(retry_delay(u32::MAX, 0.5, 1.0), None);
    }

    #[test]
    fn an_item_is_stale_only_after_24_hours() {
        let made = DateTime::UNIX_EPOCH;
        assert!(!is_stale(made, made + STALE_AFTER));
        assert!(is_stale(made, made + STALE_AFTER + TimeDelta::milliseconds(1)));
        assert!(!is_stale(made + STALE_AFTER, made), "an item of the future is not old");
    }

    proptest! {
        #[test]
        fn jitter_is_a_fifth_either_way(attempts in 1_u32..MAX_ATTEMPTS, random in 0.0..=1.0) {
            let plain = retry_delay(attempts, 0.5, 1.0).unwrap().as_secs_f64();
            let wait = retry_delay(attempts, random, 1.0).unwrap().as_secs_f64();
            prop_assert!((plain * 0.8 - 1e-9..=plain * 1.2 + 1e-9).contains(&wait));
        }
    }
}
