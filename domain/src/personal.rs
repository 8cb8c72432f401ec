//! Values that must be able to disappear or must never be shown.
//!
//! `Personal` is a person's data: stored sealed with a key of that person, readable until the key is destroyed.
//! `Secret` is a credential: stored sealed, opened only by the code that uses it, never shown.
//! Both are plain JSON markers here; the event store turns the markers into sealed envelopes
//! `{"sealed": …, "subject": …}` and back.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Marks a personal value in the clear, on its way into or out of the store.
pub const PERSONAL: &str = "$personal";
/// Marks a secret in the clear, on its way into the store.
pub const SECRET: &str = "$secret";
/// Holds the ciphertext of an envelope.
pub const SEALED: &str = "sealed";
/// Names the key of an envelope: the contact, or the tenant for secrets.
pub const SUBJECT: &str = "subject";

/// A person's data: known, or erased with the person's key.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Personal<T> {
    Known {
        subject: Uuid,
        value: T,
    },
    #[default]
    Erased,
}

impl<T> Personal<T> {
    pub const fn new(subject: Uuid, value: T) -> Self {
        Self::Known { subject, value }
    }

    #[must_use]
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known { value, .. } => Some(value),
            Self::Erased => None,
        }
    }
}

impl<T: Serialize> Serialize for Personal<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known { subject, value } => {
                let value = serde_json::to_value(value).map_err(serde::ser::Error::custom)?;
                json!({ PERSONAL: value, SUBJECT: subject }).serialize(serializer)
            }
            Self::Erased => json!({ SEALED: null }).serialize(serializer),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Personal<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Map::deserialize(deserializer)?;
        if object.contains_key(SEALED) {
            return Ok(Self::Erased);
        }
        let subject = object.remove(SUBJECT).map(serde_json::from_value).transpose();
        let value = object.remove(PERSONAL).map(serde_json::from_value).transpose();
        match (subject.map_err(serde::de::Error::custom)?, value.map_err(serde::de::Error::custom)?) {
            (Some(subject), Some(value)) => Ok(Self::Known { subject, value }),
            _ => Err(serde::de::Error::custom("not a personal value")),
        }
    }
}

/// The form in which events are written; sealed, the value stands in an envelope.
impl<T: JsonSchema> JsonSchema for Personal<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Personal_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        marked(PERSONAL, &generator.subschema_for::<T>())
    }
}

fn marked(marker: &str, value: &Schema) -> Schema {
    json_schema!({
        "type": "object",
        "properties": { marker: value, SUBJECT: { "type": "string", "format": "uuid" } },
        "required": [marker, SUBJECT],
    })
}

/// A credential. Freshly set it is in the clear; read from the store it is an opaque envelope.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    Clear { subject: Uuid, value: String },
    Sealed { subject: Uuid, sealed: String },
}

impl Secret {
    pub fn new(tenant_id: Uuid, value: impl Into<String>) -> Self {
        Self::Clear { subject: tenant_id, value: value.into() }
    }
}

/// Never prints the value.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Clear { subject, value } => {
                json!({ SECRET: value, SUBJECT: subject }).serialize(serializer)
            }
            Self::Sealed { subject, sealed } => {
                json!({ SEALED: sealed, SUBJECT: subject, "secret": true }).serialize(serializer)
            }
        }
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        marked(SECRET, &generator.subschema_for::<String>())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Map::deserialize(deserializer)?;
        let subject = object.get(SUBJECT).and_then(Value::as_str).and_then(|s| s.parse().ok());
        let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
        match (subject, text(SECRET), text(SEALED)) {
            (Some(subject), Some(value), None) => Ok(Self::Clear { subject, value }),
            (Some(subject), None, Some(sealed)) => Ok(Self::Sealed { subject, sealed }),
            _ => Err(serde::de::Error::custom("not a secret")),
        }
    }
}

/// Walks a payload and replaces each marked object; `replace` sees the object and answers what stands in its place,
/// or nothing to leave it.
pub fn rewrite(value: &mut Value, replace: &mut impl FnMut(&Map<String, Value>) -> Option<Value>) {
    match value {
        Value::Object(object) => {
            if let Some(new) = replace(object) {
                *value = new;
            } else {
                object.values_mut().for_each(|v| rewrite(v, replace));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|v| rewrite(v, replace)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_personal_value_survives_json_and_an_envelope_reads_as_erased() {
        let known = Personal::new(Uuid::from_u128(7), "Ani".to_owned());
        let json = serde_json::to_value(&known).unwrap();
        assert_eq!(serde_json::from_value::<Personal<String>>(json).unwrap(), known);
        let sealed = json!({"sealed": "AAAA", "subject": Uuid::from_u128(7)});
        assert_eq!(serde_json::from_value::<Personal<String>>(sealed).unwrap(), Personal::Erased);
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new(Uuid::nil(), "hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
