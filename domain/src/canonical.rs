//! Canonical JSON (RFC 8785) and the hashes over it that make history verifiable.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::event::Recorded;

pub type Hash = [u8; 32];

/// The previous hash of a stream's first event.
pub const GENESIS: Hash = [0; 32];

/// The JSON of a value, and the hash of its canonical form: nearly always of the same text, which is then written once.
#[must_use]
pub fn text_and_hash(value: &Value) -> (String, Hash) {
    let text = value.to_string();
    let hash = if is_written_canonically(value) { sha256(&text) } else { hash(value) };
    (text, hash)
}

/// Whether `serde_json` writes a value as RFC 8785 demands. Both escape strings alike; what can differ is the order of
/// keys beyond ASCII (section 3.2.3) and the spelling of fractions and of integers that a double can't hold (3.2.2.3).
fn is_written_canonically(value: &Value) -> bool {
    /// The largest integer up to which a double has all (ECMAScript, `Number.MAX_SAFE_INTEGER`).
    const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number.as_i64().is_some_and(|n| n.unsigned_abs() <= MAX_SAFE_INTEGER),
        Value::Array(items) => items.iter().all(is_written_canonically),
        Value::Object(object) => {
            object.keys().all(|key| key.is_ascii())
                && object.keys().is_sorted()
                && object.values().all(is_written_canonically)
        }
    }
}

fn sha256(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// RFC 8785 text of a value.
///
/// # Panics
/// Never for values that came from JSON: every `serde_json::Value` has a canonical form.
#[must_use]
pub fn to_string<T: Serialize>(value: &T) -> String {
    serde_json_canonicalizer::to_string(value).expect("a JSON value has a canonical form")
}

/// SHA-256 of the canonical form.
#[must_use]
pub fn hash<T: Serialize>(value: &T) -> Hash {
    sha256(&to_string(value))
}

/// The hash that binds an event to everything before it in its stream (SEMANTICS, "Events").
#[must_use]
pub fn chain(previous: &Hash, event: &Recorded<Value>) -> Hash {
    let (metadata, recorded_at) = (event.metadata.canonical(), timestamp(event.recorded_at));
    Header::of(event, &metadata, &recorded_at).chain(previous, &hash(&event.body))
}

/// What [`chain`] covers beside the payload, for a writer that has its canonical parts already. The fields stand in the
/// order of the canonical form, and none is a number that it would write in another way.
#[derive(Clone, Copy, Serialize)]
pub struct Header<'a> {
    pub event_id: Uuid,
    pub event_type: &'a str,
    /// [`Metadata::canonical`](crate::event::Metadata::canonical).
    pub metadata: &'a RawValue,
    /// [`timestamp`].
    pub recorded_at: &'a str,
    pub schema_version: i16,
    pub stream_id: Uuid,
    pub stream_type: &'a str,
    pub tenant_id: Uuid,
    pub version: i64,
}

impl<'a> Header<'a> {
    pub fn of<B>(event: &'a Recorded<B>, metadata: &'a RawValue, recorded_at: &'a str) -> Self {
        Self {
            event_id: event.event_id,
            event_type: &event.event_type,
            metadata,
            recorded_at,
            schema_version: event.schema_version,
            stream_id: event.stream_id,
            stream_type: &event.stream_type,
            tenant_id: event.tenant_id,
            version: event.version,
        }
    }

    /// The hash that binds an event to everything before it in its stream (SEMANTICS, "Events").
    ///
    /// # Panics
    /// Never: a header has a JSON form.
    #[must_use]
    pub fn chain(&self, previous: &Hash, payload_hash: &Hash) -> Hash {
        let mut digest = Sha256::new();
        digest.update(previous);
        digest.update(payload_hash);
        digest.update(serde_json::to_vec(self).expect("a header is JSON"));
        digest.finalize().into()
    }
}

/// UTC RFC 3339 with exactly six digits: the precision that the database keeps, so that a stored time hashes alike.
#[must_use]
pub fn timestamp(at: chrono::DateTime<chrono::Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::event::{Actor, Metadata};

    /// Any JSON, with keys and numbers that are not written canonically among it.
    fn json() -> impl Strategy<Value = Value> {
        let number = prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i16>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ((1_u64 << 53) - 2..(1 << 53) + 2).prop_map(Value::from),
        ];
        let key = prop_oneof!["[a-cA-C_]{0,3}", "[a\u{e000}-\u{ffff}\u{1f600}]{1,2}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            number,
            any::<String>().prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 20, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..4)
                    .prop_map(|map| Value::from(serde_json::Map::from_iter(map))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_once_has_the_hash_of_the_canonical_form(value in json()) {
            prop_assert_eq!(text_and_hash(&value), (value.to_string(), hash(&value)));
        }

        #[test]
        fn metadata_is_written_in_canonical_form(
            name in proptest::option::of(any::<String>()), ids in any::<[Option<u128>; 2]>(), ip in proptest::option::of(any::<IpAddr>())
        ) {
            let [impersonator, causation_id] = ids.map(|id| id.map(Uuid::from_u128));
            let actor = Actor { name, impersonator, ..Actor::system() };
            let metadata = Metadata { causation_id, ip, ..Metadata::new(actor, Uuid::nil()) };
            let written = metadata.canonical();
            prop_assert_eq!(written.get(), to_string(&metadata));
        }
    }

    /// Most payloads are written but once: nothing in ordinary JSON keeps them from it.
    #[test]
    fn ordinary_json_is_written_canonically() {
        let value = serde_json::json!({ "to": "+62 811", "text": "é 😀 \u{1} \"\\/", "at": -9_007_199_254_740_991_i64, "a": [{}, [], null, true] });
        assert!(is_written_canonically(&value));
        assert_eq!(value.to_string(), to_string(&value));
    }

    #[test]
    fn key_order_and_number_spelling_do_not_matter() {
        let a: Value = serde_json::from_str(r#"{"b":1.0,"a":[true,null,"é"]}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{ "a":[true,null,"\u00e9"], "b":1 }"#).unwrap();
        assert_eq!(hash(&a), hash(&b));
        assert_eq!(to_string(&a), r#"{"a":[true,null,"é"],"b":1}"#);
    }

    /// RFC 8785 sorts by UTF-16 code units, not by code points (section 3.2.3).
    #[test]
    fn keys_sort_by_utf16_units() {
        let value: Value = serde_json::from_str("{\"\u{1f600}\":1,\"\u{fb33}\":2}").unwrap();
        assert_eq!(to_string(&value), "{\"\u{1f600}\":1,\"\u{fb33}\":2}");
    }
}
