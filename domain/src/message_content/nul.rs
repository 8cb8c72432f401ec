//! NUL characters, which JSON allows and PostgreSQL's `jsonb` and `text` cannot hold.
//!
//! Who calls our API is told to leave them out. A provider's webhook cannot be told anything, so there they become
//! U+FFFD: a message with a strange character is better than a message lost.

use std::borrow::Cow;

use serde_json::Value;

const NUL: char = '\0';
const REPLACEMENT: &str = "\u{FFFD}";

/// Whether any string or key in the value holds a NUL character.
pub fn contains_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(NUL),
        Value::Array(items) => items.iter().any(contains_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains(NUL) || contains_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The value with every NUL character replaced by U+FFFD; borrowed when there is none.
pub fn without_nul(value: &Value) -> Cow<'_, Value> {
    if contains_nul(value) { Cow::Owned(replaced(value)) } else { Cow::Borrowed(value) }
}

fn replaced(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace(NUL, REPLACEMENT)),
        Value::Array(items) => items.iter().map(replaced).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.replace(NUL, REPLACEMENT), replaced(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}
