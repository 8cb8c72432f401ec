//! A connected sender: one WhatsApp number, Instagram account, Messenger page or mailbox.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::channel::Channel;
use crate::event::{Context, EventBody};
use crate::personal::Secret;

/// Configuration keys whose values are credentials: sealed in the log, masked in answers (CONFIG.md).
pub const SECRET_KEYS: [&str; 4] = ["access_token", "app_secret", "verify_token", "smtp_url"];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum IntegrationAccountEvent {
    #[serde(rename = "integration_account.connected")]
    Connected {
        channel: Channel,
        account_key: String,
        display_name: String,
        is_active: bool,
        division_id: Option<Uuid>,
        config: Config,
    },
    /// The whole account as it is after the change.
    #[serde(rename = "integration_account.updated")]
    Updated {
        account_key: String,
        display_name: String,
        is_active: bool,
        division_id: Option<Uuid>,
        config: Config,
    },
    #[serde(rename = "integration_account.made_default")]
    MadeDefault,
    #[serde(rename = "integration_account.no_longer_default")]
    NoLongerDefault,
    #[serde(rename = "integration_account.disconnected")]
    Disconnected,
}

impl EventBody for IntegrationAccountEvent {}

/// Settings of an account: plain ones and sealed ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Config {
    pub plain: BTreeMap<String, Value>,
    pub secrets: BTreeMap<String, Secret>,
    /// The last four characters of each secret, to recognise it by.
    pub hints: BTreeMap<String, String>,
}

impl Config {
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.plain.get(key).and_then(Value::as_str)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IntegrationAccount {
    pub channel: Channel,
    pub account_key: String,
    pub display_name: String,
    pub is_active: bool,
    pub is_default: bool,
    pub division_id: Option<Uuid>,
    pub config: Config,
    pub created_at: Option<DateTime<Utc>>,
}

impl Aggregate for IntegrationAccount {
    const STREAM: &'static str = "integration_account";
    type Event = IntegrationAccountEvent;

    fn evolve(&mut self, event: &IntegrationAccountEvent, context: Context) {
        match event.clone() {
            IntegrationAccountEvent::Connected {
                channel,
                account_key,
                display_name,
                is_active,
                division_id,
                config,
            } => {
                let created_at = Some(context.at);
                *self = Self {
                    channel,
                    account_key,
                    display_name,
                    is_active,
                    is_default: false,
                    division_id,
                    config,
                    created_at,
                };
            }
            IntegrationAccountEvent::Updated {
                account_key,
                display_name,
                is_active,
                division_id,
                config,
            } => {
                self.account_key = account_key;
                self.display_name = display_name;
                self.is_active = is_active;
                self.division_id = division_id;
                self.config = config;
            }
            IntegrationAccountEvent::MadeDefault => self.is_default = true,
            IntegrationAccountEvent::NoLongerDefault => self.is_default = false,
            IntegrationAccountEvent::Disconnected => *self = Self::default(),
        }
    }

    fn exists(&self) -> bool {
        self.created_at.is_some()
    }
}
