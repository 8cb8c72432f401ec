//! A key with which a program acts as the agent who made it, cut down to scopes.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::event::{Context, EventBody};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum ApiKeyEvent {
    #[serde(rename = "api_key.created")]
    Created {
        agent_id: Uuid,
        name: String,
        key_type: KeyType,
        /// The first characters of the key, to tell keys apart.
        prefix: String,
        /// SHA-256 of the key, hex. The key itself has 256 random bits, so a plain hash does not help a guesser.
        key_hash: String,
        scopes: Vec<String>,
        expires_at: Option<DateTime<Utc>>,
    },
    /// Recorded now and then, not at each use.
    #[serde(rename = "api_key.used")]
    Used,
    #[serde(rename = "api_key.revoked")]
    Revoked,
}

impl EventBody for ApiKeyEvent {}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    #[default]
    Live,
    Test,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    pub agent_id: Uuid,
    pub name: String,
    pub key_type: KeyType,
    pub prefix: String,
    pub key_hash: String,
    pub scopes: Vec<String>,
    pub expires_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub created_at: Option<DateTime<Utc>>,
}

impl ApiKey {
    #[must_use]
    pub fn is_usable(&self, at: DateTime<Utc>) -> bool {
        self.exists() && self.revoked_at.is_none() && self.expires_at.is_none_or(|end| end > at)
    }
}

impl Aggregate for ApiKey {
    const STREAM: &'static str = "api_key";
    type Event = ApiKeyEvent;

    fn evolve(&mut self, event: &ApiKeyEvent, context: Context) {
        match event.clone() {
            ApiKeyEvent::Created { agent_id, name, key_type, prefix, key_hash, scopes, expires_at } => {
                let created_at = Some(context.at);
                *self = Self {
                    agent_id,
                    name,
                    key_type,
                    prefix,
                    key_hash,
                    scopes,
                    expires_at,
                    created_at,
                    ..Self::default()
                };
            }
            ApiKeyEvent::Used => self.last_used_at = Some(context.at),
            ApiKeyEvent::Revoked => self.revoked_at = Some(context.at),
        }
    }

    fn exists(&self) -> bool {
        self.created_at.is_some()
    }
}
