//! Rollout: a rule may act on a part of the conversations only.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What a conversation's bucket is taken out of; a percentage counts buckets.
pub const BUCKETS: u64 = 100;

/// The bucket, 0..=99, of a conversation under a rule: the first eight bytes (big-endian) of
/// SHA-256(rule id ‖ conversation id) modulo 100.
///
/// It depends on nothing else and must never change: a conversation that a rule acted on yesterday stays in, and
/// raising the percentage only adds conversations. Each rule draws anew, so that it is not always the same customers
/// who meet every experiment.
#[must_use]
pub fn rollout_bucket(rule_id: Uuid, conversation_id: Uuid) -> u8 {
    let mut digest = Sha256::new();
    digest.update(rule_id.as_bytes());
    digest.update(conversation_id.as_bytes());
    let head = digest.finalize().iter().take(8).fold(0_u64, |head, byte| head << 8 | u64::from(*byte));
    (head % BUCKETS) as u8
}

/// Whether a rule at this percentage (1..=100) acts on the conversation.
#[must_use]
pub fn in_rollout(rule_id: Uuid, conversation_id: Uuid, percentage: u8) -> bool {
    u64::from(percentage) >= BUCKETS || rollout_bucket(rule_id, conversation_id) < percentage
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Computed with another implementation of SHA-256. A change here moves conversations in and out of rollouts.
    #[test]
    fn buckets_are_fixed_for_ever() {
        let bucket =
            |rule, conversation| rollout_bucket(Uuid::from_u128(rule), Uuid::from_u128(conversation));
        assert_eq!(bucket(1, 2), 72);
        assert_eq!(bucket(1, 3), 69);
        assert_eq!(bucket(0, 0), 75);
        assert_eq!(bucket(u128::MAX, 1), 72);
        let rule = "018f2b6e-7c1a-7d3e-9a55-3f1d2c4b5a69".parse().unwrap();
        let conversation = "018f2b6e-7c1a-7d3e-9a55-3f1d2c4b5a70".parse().unwrap();
        assert_eq!(rollout_bucket(rule, conversation), 59);
    }

    #[test]
    fn a_bucket_is_in_only_above_its_number() {
        let (rule, conversation) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert!(!in_rollout(rule, conversation, 72));
        assert!(in_rollout(rule, conversation, 73));
    }

    /// Of 10,000 conversations a quarter, give or take six standard deviations (43 each).
    #[test]
    fn a_percentage_is_about_that_part_of_the_conversations() {
        let inside = |n| in_rollout(Uuid::from_u128(9), Uuid::from_u128(n), 25);
        let count = (0..10_000).filter(|n| inside(*n)).count();
        assert!((2240..=2760).contains(&count), "{count} of 10000");
    }

    proptest! {
        #[test]
        fn raising_the_percentage_only_adds(rule: u128, conversation: u128, low in 1_u8..=100, high in 1_u8..=100) {
            let (low, high) = (low.min(high), low.max(high));
            let inside = |pct| in_rollout(Uuid::from_u128(rule), Uuid::from_u128(conversation), pct);
            prop_assert!(!inside(low) || inside(high));
            prop_assert!(inside(100));
        }
    }
}
