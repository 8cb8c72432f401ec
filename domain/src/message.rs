//! What became of an outbound message after it was queued.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::event::{Context, EventBody};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum MessageEvent {
    /// The channel has taken it.
    #[serde(rename = "message.sent")]
    Sent { conversation_id: Uuid, external_id: String },
    #[serde(rename = "message.delivered")]
    Delivered { conversation_id: Uuid, at: DateTime<Utc>, pricing: Option<Value> },
    #[serde(rename = "message.read")]
    Read { conversation_id: Uuid, at: DateTime<Utc> },
    #[serde(rename = "message.failed")]
    Failed {
        conversation_id: Uuid,
        /// The channel's error code, if the channel said so.
        code: Option<i64>,
        /// A reason that a person can act on.
        reason: String,
    },
}

impl EventBody for MessageEvent {}

impl MessageEvent {
    #[must_use]
    pub const fn conversation_id(&self) -> Uuid {
        match self {
            Self::Sent { conversation_id, .. }
            | Self::Delivered { conversation_id, .. }
            | Self::Read { conversation_id, .. }
            | Self::Failed { conversation_id, .. } => *conversation_id,
        }
    }

    #[must_use]
    pub const fn status(&self) -> MessageStatus {
        match self {
            Self::Sent { .. } => MessageStatus::Sent,
            Self::Delivered { .. } => MessageStatus::Delivered,
            Self::Read { .. } => MessageStatus::Read,
            Self::Failed { .. } => MessageStatus::Failed,
        }
    }
}

/// Ordered as a message goes through them; failed is final.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageStatus {
    /// Inbound.
    Received,
    #[default]
    Pending,
    Sent,
    Delivered,
    Read,
    Failed,
}

impl MessageStatus {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub conversation_id: Uuid,
    pub status: MessageStatus,
    pub external_id: Option<String>,
    pub error: Option<String>,
}

impl Aggregate for Message {
    const STREAM: &'static str = "message";
    type Event = MessageEvent;

    fn evolve(&mut self, event: &MessageEvent, _context: Context) {
        self.conversation_id = event.conversation_id();
        self.status = event.status();
        match event {
            MessageEvent::Sent { external_id, .. } => self.external_id = Some(external_id.clone()),
            MessageEvent::Failed { reason, .. } => self.error = Some(reason.clone()),
            MessageEvent::Delivered { .. } | MessageEvent::Read { .. } => {}
        }
    }

    fn exists(&self) -> bool {
        self.status != MessageStatus::Pending
    }
}
