//! The canonical form of a JSON text is JSON, means the same, and is its own canonical form: otherwise a hash over what
//! was written would not hold over what is read back. The order in which keys come changes nothing, and two documents
//! have one hash only if they are the same.
//!
//! The input is one document after another.
#![no_main]

use domain::canonical;
use libfuzzer_sys::fuzz_target;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// A value whose objects are written from the last key to the first.
struct Backwards<'v>(&'v Value);

impl Serialize for Backwards<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(object) => {
                let mut map = serializer.serialize_map(Some(object.len()))?;
                for (key, value) in object.iter().rev() {
                    map.serialize_entry(key, &Backwards(value))?;
                }
                map.end()
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Backwards)),
            other => other.serialize(serializer),
        }
    }
}

/// Equal as RFC 8785 sees it, where every number is a double.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fuzz_target!(|text: &[u8]| {
    let documents: Vec<Value> =
        serde_json::Deserializer::from_slice(text).into_iter().map_while(Result::ok).collect();
    for value in &documents {
        let canonical = canonical::to_string(value);
        let again: Value = serde_json::from_str(&canonical).expect("the canonical form is JSON");
        assert!(same(&again, value), "{canonical}");
        assert_eq!(canonical::to_string(&again), canonical);
        assert_eq!(canonical::hash(&again), canonical::hash(value));
        assert_eq!(canonical::hash(&Backwards(value)), canonical::hash(value));
        assert_eq!(canonical::text_and_hash(value), (value.to_string(), canonical::hash(value)));
    }
    for pair in documents.windows(2) {
        assert_eq!(canonical::hash(&pair[0]) == canonical::hash(&pair[1]), same(&pair[0], &pair[1]));
    }
});
