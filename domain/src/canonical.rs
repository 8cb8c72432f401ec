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
    Sha256::digest(to_string(value).as_bytes()).into()
}

/// The hash that binds an event to everything before it in its stream (SEMANTICS, "Events").
#[must_use]
pub fn chain(previous: &Hash, event: &Recorded<Value>) -> Hash {
    chain_prepared(previous, event, &to_string(&event.metadata), &hash(&event.body))
}

/// [`chain`], for a writer that has the canonical metadata and the payload's hash already.
///
/// # Panics
/// Never: `metadata` is JSON.
#[must_use]
pub fn chain_prepared<B>(previous: &Hash, event: &Recorded<B>, metadata: &str, payload_hash: &Hash) -> Hash {
    /// In the order of the canonical form, and without a number that it would write in another way.
    #[derive(Serialize)]
    struct Header<'a> {
        event_id: Uuid,
        event_type: &'a str,
        metadata: &'a RawValue,
        recorded_at: String,
        schema_version: i16,
        stream_id: Uuid,
        stream_type: &'a str,
        tenant_id: Uuid,
        version: i64,
    }
    let header = Header {
        event_id: event.event_id,
        event_type: &event.event_type,
        metadata: serde_json::from_str(metadata).expect("canonical JSON is JSON"),
        recorded_at: timestamp(event.recorded_at),
        schema_version: event.schema_version,
        stream_id: event.stream_id,
        stream_type: &event.stream_type,
        tenant_id: event.tenant_id,
        version: event.version,
    };
    let mut digest = Sha256::new();
    digest.update(previous);
    digest.update(payload_hash);
    digest.update(serde_json::to_vec(&header).expect("a header is JSON"));
    digest.finalize().into()
}

/// UTC RFC 3339 with exactly six digits: the precision that the database keeps, so that a stored time hashes alike.
#[must_use]
pub fn timestamp(at: chrono::DateTime<chrono::Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

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
