//! An event as the log holds it: what happened, to which stream, and who caused it.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{tagged, upcast};

/// The tenant that owns what belongs to no customer: organizations, super-admins, plans.
pub const PLATFORM_TENANT: Uuid = Uuid::from_u128(1);

/// Who caused an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    pub id: Uuid,
    /// The super-admin behind an impersonated session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impersonator: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(rename = "type")]
    pub kind: ActorKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    Agent,
    ApiKey,
    AutomationRule,
    AiAgent,
    Contact,
    SuperAdmin,
    System,
}

impl Actor {
    #[must_use]
    pub const fn new(kind: ActorKind, id: Uuid) -> Self {
        Self { kind, id, name: None, impersonator: None }
    }

    #[must_use]
    pub const fn system() -> Self {
        Self::new(ActorKind::System, Uuid::nil())
    }
}

/// The circumstances of an event; part of what the chain hash covers. Its fields and those of what is in it stand in
/// the order of their names, so that they are written in canonical form ([`Metadata::canonical`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    pub actor: Actor,
    /// The event or command that led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<Uuid>,
    /// One per request; the response's request id and the trace id.
    pub correlation_id: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
}

impl Metadata {
    #[must_use]
    pub const fn new(actor: Actor, correlation_id: Uuid) -> Self {
        Self { actor, causation_id: None, correlation_id, ip: None }
    }

    /// RFC 8785 text.
    ///
    /// # Panics
    /// Never: it holds nothing but text.
    #[must_use]
    pub fn canonical(&self) -> Box<RawValue> {
        serde_json::value::to_raw_value(self).expect("metadata has a JSON form")
    }
}

/// An event in its place in the log. `B` is the JSON payload or the typed event.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded<B> {
    pub log_id: i16,
    /// Gapless from 1 within the log, in commit order.
    pub position: i64,
    pub tenant_id: Uuid,
    pub stream_type: String,
    pub stream_id: Uuid,
    /// 1 for the stream's first event.
    pub version: i64,
    pub event_type: String,
    pub schema_version: i16,
    pub event_id: Uuid,
    pub command_id: Uuid,
    pub metadata: Metadata,
    pub recorded_at: DateTime<Utc>,
    pub body: B,
}

impl<B> Recorded<B> {
    pub fn with<C>(&self, body: C) -> Recorded<C> {
        Recorded {
            log_id: self.log_id,
            position: self.position,
            tenant_id: self.tenant_id,
            stream_type: self.stream_type.clone(),
            stream_id: self.stream_id,
            version: self.version,
            event_type: self.event_type.clone(),
            schema_version: self.schema_version,
            event_id: self.event_id,
            command_id: self.command_id,
            metadata: self.metadata.clone(),
            recorded_at: self.recorded_at,
            body,
        }
    }

    /// What `evolve` may know besides the event itself.
    #[must_use]
    pub const fn context(&self) -> Context {
        Context { stream_id: self.stream_id, version: self.version, at: self.recorded_at }
    }
}

/// Where and when an event happened, for `evolve`.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    pub stream_id: Uuid,
    pub version: i64,
    pub at: DateTime<Utc>,
}

/// The events of one aggregate: an enum with `#[serde(tag = "type", content = "data")]`.
pub trait EventBody: Serialize + DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static {
    /// The schema version in which an event type is written now; 1 unless it ever changed.
    #[must_use]
    fn schema_version(_event_type: &str) -> i16 {
        1
    }

    /// Event type and payload, as the log stores them.
    fn encode(&self) -> (String, Value) {
        match serde_json::to_value(self) {
            Ok(Value::Object(mut tagged)) => {
                let kind =
                    tagged.remove("type").and_then(|t| t.as_str().map(str::to_owned)).unwrap_or_default();
                (kind, tagged.remove("data").unwrap_or_else(|| json!({})))
            }
            _ => unreachable!("events are adjacently tagged enums"),
        }
    }

    /// Reads a stored payload, after upcasting to today's schema version.
    ///
    /// # Errors
    /// When the payload does not fit the event type: the event is poison for whoever reads it.
    fn decode(event_type: &str, schema_version: i16, payload: &Value) -> Result<Self, serde_json::Error> {
        let payload = upcast::upcast(event_type, schema_version, payload);
        let unit = payload.as_object().is_some_and(serde_json::Map::is_empty);
        tagged::read(event_type, Some(&payload))
            .or_else(|e| if unit { tagged::read(event_type, None) } else { Err(e) })
    }
}
