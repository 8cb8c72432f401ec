//! The few shapes that Meta's payloads are made of. Failures are reasons that name the field.

use chrono::{DateTime, Utc};
use serde_json::Value;

/// Longest identifier accepted from Meta, whose own are below 150 characters: ids become keys in the database.
pub(super) const ID_MAX_CHARS: usize = 512;

/// The last second of the year 9999, the last that RFC 3339 can write.
const LATEST_UNIX_SECOND: i64 = 253_402_300_799;

/// An identifier: a non-empty string, or a whole number where Meta writes one.
pub(super) fn id(value: &Value, key: &str) -> Result<String, String> {
    let id = match value.get(key) {
        Some(Value::String(id)) if !id.trim().is_empty() => id.clone(),
        Some(Value::Number(id)) if id.is_u64() => id.to_string(),
        None | Some(Value::Null) => return Err(format!("{key}: missing")),
        Some(_) => return Err(format!("{key}: not an id")),
    };
    if id.chars().count() > ID_MAX_CHARS {
        return Err(format!("{key}: longer than {ID_MAX_CHARS} characters"));
    }
    Ok(id)
}

pub(super) fn optional_id(value: &Value, key: &str) -> Option<String> {
    id(value, key).ok()
}

pub(super) fn text(value: &Value, key: &str) -> Result<String, String> {
    match value.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        None | Some(Value::Null) => Err(format!("{key}: missing")),
        Some(_) => Err(format!("{key}: not a string")),
    }
}

/// A text that may be absent; of the wrong type it is worth less than the message around it, so it counts as absent.
pub(super) fn optional_text(value: &Value, key: &str) -> Option<String> {
    text(value, key).ok()
}

pub(super) fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// An object in a field of the same name as a message type.
pub(super) fn object<'a>(value: &'a Value, key: &str) -> Result<&'a Value, String> {
    match value.get(key) {
        Some(object) if object.is_object() => Ok(object),
        None | Some(Value::Null) => Err(format!("{key}: missing")),
        Some(_) => Err(format!("{key}: not an object")),
    }
}

/// A time in whole seconds since 1970, as a string of digits (Meta's way) or a number.
pub(super) fn timestamp(value: &Value, key: &str) -> Result<DateTime<Utc>, String> {
    let seconds = match value.get(key) {
        Some(Value::String(digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse::<i64>().ok()
        }
        Some(Value::Number(number)) => number.as_i64(),
        None | Some(Value::Null) => return Err(format!("{key}: missing")),
        Some(_) => None,
    };
    seconds
        .filter(|seconds| (0..=LATEST_UNIX_SECOND).contains(seconds))
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .ok_or_else(|| format!("{key}: not a time in seconds since 1970"))
}
