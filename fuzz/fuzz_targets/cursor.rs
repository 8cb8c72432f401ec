//! What pages are asked for by: the cursors of automation's lists, and the ids of messages. Whatever is taken for one is
//! written as one that reads the same; made ones are taken for what they are, and ids keep the order of time and
//! position.
#![no_main]

use chrono::{DateTime, SubsecRound};
use domain::cursor::Cursor;
use domain::object_id::{is_object_id, object_id};
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

/// Positions that fit into an id.
const POSITIONS: u64 = 1 << 48;
/// The digits of a cursor's fraction of a second.
const MICROSECONDS: u16 = 6;

fuzz_target!(|input: (u32, u16, u64, u64, u128, &str)| {
    let (seconds, millis, one, other, id, text) = input;
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }
    if is_object_id(text) {
        assert_eq!(text.len(), 24);
        assert_eq!(text.to_ascii_lowercase(), text);
    }
    let nanos = u32::from(millis % 1_000) * 1_000_000;
    let at = DateTime::from_timestamp(seconds.into(), nanos).expect("a time");
    let cursor = Cursor { at: at.trunc_subsecs(MICROSECONDS), id: Uuid::from_u128(id) };
    assert_eq!(cursor.to_string().parse(), Ok(cursor));

    let position = |n: u64| i64::try_from(n % POSITIONS).expect("it fits");
    let (a, b) = (object_id(at, position(one)), object_id(at, position(other)));
    assert!(is_object_id(&a) && is_object_id(&b));
    assert_eq!(a.cmp(&b), position(one).cmp(&position(other)));
    let later = object_id(at + chrono::TimeDelta::milliseconds(1), 0);
    assert!(seconds == u32::MAX || later > a);
});
