//! A customer who wrote to us, or whom we write to: one per channel and address within a tenant.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::Aggregate;
use crate::channel::Channel;
use crate::event::{Context, EventBody};
use crate::personal::Personal;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum ContactEvent {
    #[serde(rename = "contact.created")]
    Created { channel: Channel, profile: Personal<Profile> },
    /// The profile as it is after the change.
    #[serde(rename = "contact.updated")]
    Updated { profile: Personal<Profile> },
    #[serde(rename = "contact.tagged")]
    Tagged { tags: Vec<String> },
    /// The person's key is destroyed with this: nothing personal can be read any more, wherever it stands in history.
    #[serde(rename = "contact.erased")]
    Erased,
}

impl EventBody for ContactEvent {}

/// What we know about the person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Profile {
    /// The channel's own address of the person: WhatsApp id, page-scoped id, email address.
    pub address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Contact {
    pub channel: Channel,
    pub profile: Personal<Profile>,
    pub tags: Vec<String>,
    pub created_at: Option<DateTime<Utc>>,
    pub erased_at: Option<DateTime<Utc>>,
}

impl Aggregate for Contact {
    const STREAM: &'static str = "contact";
    const HOLDS_PERSONAL_DATA: bool = true;
    type Event = ContactEvent;

    fn evolve(&mut self, event: &ContactEvent, context: Context) {
        match event.clone() {
            ContactEvent::Created { channel, profile } => {
                *self = Self { channel, profile, created_at: Some(context.at), ..Self::default() };
            }
            ContactEvent::Updated { profile } => self.profile = profile,
            ContactEvent::Tagged { tags } => self.tags = tags,
            ContactEvent::Erased => {
                self.profile = Personal::Erased;
                self.erased_at = Some(context.at);
            }
        }
    }

    fn exists(&self) -> bool {
        self.created_at.is_some()
    }
}
