//! The 24-hex ids of messages that old clients expect (`_id`): lower-case, ordered by time, and within one moment by
//! the order in the log. The first eight digits are seconds since 1970, as in an ObjectId.

use chrono::{DateTime, Utc};

const POSITION_BITS: i64 = (1 << 48) - 1;

#[must_use]
pub fn object_id(recorded_at: DateTime<Utc>, position: i64) -> String {
    let seconds = recorded_at.timestamp() & 0xffff_ffff;
    format!("{seconds:08x}{:04x}{:012x}", recorded_at.timestamp_subsec_millis(), position & POSITION_BITS)
}

#[must_use]
pub fn is_object_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ordered_as_time_and_position(seconds in 0i64..4_000_000_000, step in 0i64..5_000, a in 1i64..1_000_000, by in 1i64..1_000) {
            let first = DateTime::from_timestamp(seconds, 0).unwrap();
            let second = first + TimeDelta::milliseconds(step);
            let (earlier, later) = (object_id(first, a), object_id(second, a + by));
            prop_assert!(earlier < later);
            prop_assert!(is_object_id(&earlier));
        }
    }
}
