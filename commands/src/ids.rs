//! The only place that makes identifiers.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// A new id, ordered by time (UUIDv7, RFC 9562).
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the id port")]
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// The same id for the same seed and time: what a repeated command makes again instead of something new.
#[must_use]
pub fn derived_id(at: DateTime<Utc>, seed: &str, ordinal: u32) -> Uuid {
    let digest = Sha256::new().chain_update(seed).chain_update(ordinal.to_be_bytes()).finalize();
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// A name-based id (UUIDv5): the same for the same namespace and name, whenever it is asked.
#[must_use]
pub fn named_id(namespace: Uuid, name: &str) -> Uuid {
    Uuid::new_v5(&namespace, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_id_repeats_and_is_a_v7() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        assert_eq!(derived_id(at, "key", 1), derived_id(at, "key", 1));
        assert_ne!(derived_id(at, "key", 1), derived_id(at, "key", 2));
        assert_eq!(derived_id(at, "key", 1).get_version_num(), 7);
    }
}
