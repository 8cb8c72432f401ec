//! One piece of news on its way to one webhook, attempt by attempt.
//!
//! Its id follows from webhook and event, so the same event makes no second one. The body is recorded exactly as it is
//! signed and sent, sealed for the person whom it tells about: a retry sends the same bytes, and once the person is
//! forgotten there is nothing left to send.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::event::{Context, EventBody};
use crate::personal::Personal;

pub mod schedule;

/// The event type of a delivery that somebody asked for to try a webhook out.
pub const TEST: &str = "webhook.test";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum WebhookDeliveryEvent {
    #[serde(rename = "webhook_delivery.queued")]
    Queued(Box<Queued>),
    #[serde(rename = "webhook_delivery.succeeded")]
    Succeeded { webhook_id: Uuid, attempt: Attempt },
    /// Another attempt follows.
    #[serde(rename = "webhook_delivery.attempt_failed")]
    AttemptFailed { webhook_id: Uuid, attempt: Attempt, next_at: DateTime<Utc> },
    /// The last attempt failed.
    #[serde(rename = "webhook_delivery.failed")]
    Failed { webhook_id: Uuid, attempt: Attempt },
    /// There is no reason to try any more.
    #[serde(rename = "webhook_delivery.dropped")]
    Dropped { webhook_id: Uuid, reason: String },
}

impl EventBody for WebhookDeliveryEvent {}

/// What is to be delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Queued {
    pub webhook_id: Uuid,
    /// The name of a topic, or [`TEST`].
    pub event_type: String,
    /// The event that this is news of; none for a test.
    pub source_event_id: Option<Uuid>,
    /// The person whom the body tells about.
    pub contact_id: Option<Uuid>,
    /// As it is signed and sent. Sealed for the contact; what tells about nobody is sealed for the webhook itself.
    pub body: Personal<String>,
    pub max_attempts: u32,
}

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    pub http_status: Option<u16>,
    /// The beginning of the answer, which may well repeat what was sent.
    pub response: Option<Personal<String>>,
    /// Why it failed, for a person.
    pub error: Option<String>,
    pub duration_ms: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryStatus {
    #[default]
    Pending,
    Success,
    Failed,
}

impl DeliveryStatus {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failed => "failed",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WebhookDelivery {
    pub queued: Option<Queued>,
    pub status: DeliveryStatus,
    /// So far.
    pub attempts: u32,
    /// Of the stream.
    pub version: i64,
}

impl Aggregate for WebhookDelivery {
    const STREAM: &'static str = "webhook_delivery";
    const HOLDS_PERSONAL_DATA: bool = true;
    type Event = WebhookDeliveryEvent;

    fn evolve(&mut self, event: &WebhookDeliveryEvent, context: Context) {
        self.version = context.version;
        match event {
            WebhookDeliveryEvent::Queued(queued) => {
                self.queued = Some((**queued).clone());
            }
            WebhookDeliveryEvent::AttemptFailed { attempt, .. } => self.attempts = attempt.number,
            WebhookDeliveryEvent::Succeeded { attempt, .. } => {
                (self.attempts, self.status) = (attempt.number, DeliveryStatus::Success);
            }
            WebhookDeliveryEvent::Failed { attempt, .. } => {
                (self.attempts, self.status) = (attempt.number, DeliveryStatus::Failed);
            }
            WebhookDeliveryEvent::Dropped { .. } => self.status = DeliveryStatus::Failed,
        }
    }

    fn exists(&self) -> bool {
        self.queued.is_some()
    }
}
