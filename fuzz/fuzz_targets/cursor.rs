//! The ids that messages are paged by: whatever is taken for one has the form, and made ones are taken for one and
//! keep the order of time and position.
#![no_main]

use chrono::DateTime;
use domain::object_id::{is_object_id, object_id};
use libfuzzer_sys::fuzz_target;

/// Positions that fit into an id, and seconds up to the year 2106.
const POSITIONS: i64 = 1 << 48;
const SECONDS: u32 = u32::MAX;

fuzz_target!(|input: (&str, u32, u16, u64, u64)| {
    let (text, seconds, millis, one, other) = input;
    if is_object_id(text) {
        assert_eq!(text.len(), 24);
        assert_eq!(text.to_ascii_lowercase(), text);
    }
    let nanos = u32::from(millis % 1_000) * 1_000_000;
    let at = DateTime::from_timestamp(i64::from(seconds % SECONDS), nanos).expect("a time");
    let position = |n: u64| i64::try_from(n % POSITIONS.unsigned_abs()).expect("it fits");
    let (a, b) = (object_id(at, position(one)), object_id(at, position(other)));
    assert!(is_object_id(&a) && is_object_id(&b));
    assert_eq!(a.cmp(&b), position(one).cmp(&position(other)));
});
