//! How long to wait before trying again.

use std::time::Duration;

/// Doubling waits, spread so that what failed together does not come back together.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub base: Duration,
    pub longest: Duration,
    /// Multiplies every wait; `OMNISTREAM_RETRY_SCALE`.
    pub scale: f64,
}

/// The part of a wait that is left to chance, up and down.
const JITTER: f64 = 0.2;
/// Doublings beyond this make no difference to any longest wait.
const MAX_DOUBLINGS: u32 = 30;

impl Backoff {
    /// The wait after the given number of failures, 1 for the first.
    #[must_use]
    pub fn after(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(MAX_DOUBLINGS);
        let wait =
            (self.base.as_secs_f64() * f64::from(2_u32.pow(doublings))).min(self.longest.as_secs_f64());
        let spread = 1.0 + JITTER * (2.0 * rand::random::<f64>() - 1.0);
        Duration::try_from_secs_f64(wait * spread * self.scale).unwrap_or(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_jitter_up_to_the_longest() {
        let backoff = Backoff { base: Duration::from_secs(2), longest: Duration::from_secs(20), scale: 1.0 };
        for (failures, seconds) in [(1, 2.0), (2, 4.0), (3, 8.0), (4, 16.0), (5, 20.0), (400, 20.0)] {
            let wait = backoff.after(failures).as_secs_f64();
            assert!((seconds * 0.8..=seconds * 1.2).contains(&wait), "{failures}: {wait}");
        }
        let fast = Backoff { scale: 0.001, ..backoff };
        assert!(fast.after(5) <= Duration::from_millis(24));
    }
}
