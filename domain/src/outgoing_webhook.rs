//! A tenant's wish to be told: which kinds of news go to which address, signed with which secret.

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::event::{Context, EventBody};
use crate::personal::Secret;

/// For how long a replaced secret still signs beside the new one, so that a receiver can change its own in peace.
pub const SECRET_OVERLAP: TimeDelta = TimeDelta::hours(24);
/// A webhook that fails for this long without a single success is switched off.
pub const GIVEN_UP_AFTER: TimeDelta = TimeDelta::days(5);
/// For how long deliveries are shown.
pub const DELIVERIES_KEPT: TimeDelta = TimeDelta::days(30);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum OutgoingWebhookEvent {
    #[serde(rename = "outgoing_webhook.created")]
    Created {
        name: String,
        url: String,
        topics: Vec<Topic>,
        secret: Secret,
        /// The end of the secret, to tell secrets apart.
        hint: String,
        created_by: Option<Uuid>,
    },
    /// As it is after the change.
    #[serde(rename = "outgoing_webhook.updated")]
    Updated { name: String, url: String, topics: Vec<Topic> },
    #[serde(rename = "outgoing_webhook.secret_replaced")]
    SecretReplaced { secret: Secret, hint: String },
    #[serde(rename = "outgoing_webhook.switched_on")]
    SwitchedOn,
    #[serde(rename = "outgoing_webhook.switched_off")]
    SwitchedOff { reason: SwitchedOff },
    #[serde(rename = "outgoing_webhook.deleted")]
    Deleted,
    /// These deliveries are not shown any more: they are older than [`DELIVERIES_KEPT`].
    #[serde(rename = "outgoing_webhook.log_trimmed")]
    LogTrimmed { deliveries: Vec<Uuid> },
}

impl EventBody for OutgoingWebhookEvent {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SwitchedOff {
    ByHand,
    /// The receiver answered 410: it does not want to be told any more.
    Gone,
    /// Nothing but failures for [`GIVEN_UP_AFTER`].
    NoSuccess,
}

/// What a webhook can be told about: names that stay, however the log's own event types develop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Topic {
    /// A customer wrote.
    #[serde(rename = "message.received")]
    MessageReceived,
    /// The channel has taken a message of ours.
    #[serde(rename = "message.sent")]
    MessageSent,
    /// A message of ours was delivered, read, or failed.
    #[serde(rename = "message.status")]
    MessageStatus,
    #[serde(rename = "conversation.created")]
    ConversationCreated,
    #[serde(rename = "conversation.resolved")]
    ConversationResolved,
    /// Somebody else has it now: assigned, taken over or transferred.
    #[serde(rename = "conversation.assigned")]
    ConversationAssigned,
    #[serde(rename = "contact.created")]
    ContactCreated,
}

impl Topic {
    pub const ALL: [Self; 7] = [
        Self::MessageReceived,
        Self::MessageSent,
        Self::MessageStatus,
        Self::ConversationCreated,
        Self::ConversationResolved,
        Self::ConversationAssigned,
        Self::ContactCreated,
    ];

    /// The wire name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MessageReceived => "message.received",
            Self::MessageSent => "message.sent",
            Self::MessageStatus => "message.status",
            Self::ConversationCreated => "conversation.created",
            Self::ConversationResolved => "conversation.resolved",
            Self::ConversationAssigned => "conversation.assigned",
            Self::ContactCreated => "contact.created",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.as_str() == name)
    }

    /// What an event of the log is news of, if of anything.
    #[must_use]
    pub fn of(event_type: &str, payload: &Value) -> Option<Self> {
        Some(match event_type {
            "message.received" => Self::MessageReceived,
            "message.sent" => Self::MessageSent,
            "message.delivered" | "message.read" | "message.failed" => Self::MessageStatus,
            "conversation.opened" => Self::ConversationCreated,
            "conversation.status_changed" if payload["status"] == "resolved" => Self::ConversationResolved,
            "conversation.assigned" | "conversation.taken_over" => Self::ConversationAssigned,
            "conversation.transferred" if payload["to_agent_id"].is_string() => Self::ConversationAssigned,
            "contact.created" => Self::ContactCreated,
            _ => return None,
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutgoingWebhook {
    pub name: String,
    pub url: String,
    pub topics: Vec<Topic>,
    /// Always there once it exists.
    pub secret: Option<Secret>,
    pub hint: String,
    pub replaced: Option<ReplacedSecret>,
    pub is_active: bool,
    pub created_by: Option<Uuid>,
    pub created_at: Option<DateTime<Utc>>,
}

/// A secret that is on its way out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplacedSecret {
    pub secret: Secret,
    pub until: DateTime<Utc>,
}

impl OutgoingWebhook {
    /// The secrets that sign at a time, the newest first.
    pub fn secrets_at(&self, at: DateTime<Utc>) -> impl Iterator<Item = &Secret> {
        let replaced = self.replaced.as_ref().filter(move |replaced| at < replaced.until);
        self.secret.iter().chain(replaced.map(|replaced| &replaced.secret))
    }
}

impl Aggregate for OutgoingWebhook {
    const STREAM: &'static str = "outgoing_webhook";
    type Event = OutgoingWebhookEvent;

    fn evolve(&mut self, event: &OutgoingWebhookEvent, context: Context) {
        match event.clone() {
            OutgoingWebhookEvent::Created { name, url, topics, secret, hint, created_by } => {
                *self = Self {
                    name,
                    url,
                    topics,
                    secret: Some(secret),
                    hint,
                    replaced: None,
                    is_active: true,
                    created_by,
                    created_at: Some(context.at),
                };
            }
            OutgoingWebhookEvent::Updated { name, url, topics } => {
                *self = Self { name, url, topics, ..self.clone() };
            }
            OutgoingWebhookEvent::SecretReplaced { secret, hint } => {
                let until = context.at + SECRET_OVERLAP;
                self.replaced = self.secret.replace(secret).map(|secret| ReplacedSecret { secret, until });
                self.hint = hint;
            }
            OutgoingWebhookEvent::SwitchedOn => self.is_active = true,
            OutgoingWebhookEvent::SwitchedOff { .. } => self.is_active = false,
            OutgoingWebhookEvent::Deleted => *self = Self::default(),
            OutgoingWebhookEvent::LogTrimmed { .. } => {}
        }
    }

    fn is_seen(event: &OutgoingWebhookEvent) -> bool {
        !matches!(event, OutgoingWebhookEvent::LogTrimmed { .. })
    }

    fn exists(&self) -> bool {
        self.created_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_topic_has_one_name() {
        for topic in Topic::ALL {
            assert_eq!(json!(topic), topic.as_str());
            assert_eq!(Topic::from_name(topic.as_str()), Some(topic));
        }
        assert_eq!(Topic::from_name("message.deleted"), None);
    }

    #[test]
    fn only_what_the_topics_promise_is_news() {
        let none = json!({});
        assert_eq!(Topic::of("conversation.status_changed", &json!({ "status": "pending" })), None);
        let resolved = Topic::of("conversation.status_changed", &json!({ "status": "resolved" }));
        assert_eq!(resolved, Some(Topic::ConversationResolved));
        assert_eq!(Topic::of("conversation.transferred", &json!({ "to_agent_id": null })), None);
        let handed_on = Topic::of("conversation.transferred", &json!({ "to_agent_id": Uuid::nil() }));
        assert_eq!(handed_on, Some(Topic::ConversationAssigned));
        assert_eq!(Topic::of("message.failed", &none), Some(Topic::MessageStatus));
        // It is not sent yet.
        assert_eq!(Topic::of("message.queued", &none), None);
        assert_eq!(Topic::of("contact.updated", &none), None);
    }

    #[test]
    fn a_replaced_secret_signs_for_a_day_beside_the_new_one() {
        let (tenant, now) = (Uuid::nil(), DateTime::UNIX_EPOCH);
        let context = |at| Context { stream_id: Uuid::nil(), version: 1, at };
        let (old, new) = (Secret::new(tenant, "old"), Secret::new(tenant, "new"));
        let mut webhook = OutgoingWebhook { secret: Some(old.clone()), ..OutgoingWebhook::default() };
        let replaced = OutgoingWebhookEvent::SecretReplaced { secret: new.clone(), hint: String::new() };
        webhook.evolve(&replaced, context(now));
        let almost = now + SECRET_OVERLAP - TimeDelta::milliseconds(1);
        assert_eq!(webhook.secrets_at(almost).collect::<Vec<_>>(), [&new, &old]);
        assert_eq!(webhook.secrets_at(now + SECRET_OVERLAP).collect::<Vec<_>>(), [&new]);
    }
}
