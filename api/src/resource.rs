//! Answers that many resources share.

use domain::channel::Channel;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::PathParam;

#[derive(Serialize, ToSchema)]
pub struct Deleted {
    pub message: String,
    pub id: Uuid,
}

impl Deleted {
    /// `what` is the noun, in lower case.
    #[must_use]
    pub fn new(what: &str, id: Uuid) -> Self {
        Self { message: format!("The {what} was deleted."), id }
    }
}

#[derive(Serialize, ToSchema)]
pub struct MessageOnly {
    pub message: String,
}

impl MessageOnly {
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// A channel on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChannelName {
    Whatsapp,
    Instagram,
    Messenger,
    Email,
}

impl PathParam for ChannelName {
    fn schema() -> Value {
        json!({ "type": "string", "enum": Channel::ALL.map(Channel::as_str) })
    }
}

impl From<ChannelName> for Channel {
    fn from(name: ChannelName) -> Self {
        match name {
            ChannelName::Whatsapp => Self::Whatsapp,
            ChannelName::Instagram => Self::Instagram,
            ChannelName::Messenger => Self::Messenger,
            ChannelName::Email => Self::Email,
        }
    }
}

impl From<Channel> for ChannelName {
    fn from(channel: Channel) -> Self {
        match channel {
            Channel::Whatsapp => Self::Whatsapp,
            Channel::Instagram => Self::Instagram,
            Channel::Messenger => Self::Messenger,
            Channel::Email => Self::Email,
        }
    }
}
