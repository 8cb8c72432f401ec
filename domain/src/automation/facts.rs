//! The facts that a rule is judged by: a snapshot taken when the trigger event happened.
//!
//! [`Snapshot`] writes the payload of a queue item; [`Facts`] reads one and keeps what conditions ask for in a form
//! that costs nothing to compare. All rules of one item see the same facts.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::trigger::TriggerType;
use crate::channel::Channel;
use crate::conversation::ConversationStatus;
use crate::refusal::FieldProblem;

/// Channels and statuses by their wire names.
pub(super) const CHANNELS: &[(&str, Channel)] = &[
    ("whatsapp", Channel::Whatsapp),
    ("instagram", Channel::Instagram),
    ("messenger", Channel::Messenger),
    ("email", Channel::Email),
];
pub(super) const STATUSES: &[(&str, ConversationStatus)] = &[
    ("open", ConversationStatus::Open),
    ("pending", ConversationStatus::Pending),
    ("resolved", ConversationStatus::Resolved),
];

/// The payload of a queue item. Field names are those of the API's own schemas, so that a payload can be copied from
/// a run into a dry run, and written by hand from what the API shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub conversation: ConversationFacts,
    pub contact: ContactFacts,
    /// The message that set it off; only for `message_received_inbound` and a conversation's first message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageFacts>,
    /// The assigned agent, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentFacts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub division: Option<DivisionFacts>,
    /// The conversation's tags.
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sla: Option<SlaFacts>,
    pub business_hours: BusinessHoursFacts,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConversationFacts {
    pub id: Uuid,
    pub contact_id: Uuid,
    pub status: ConversationStatus,
    /// What it was before, for `status_changed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_status: Option<ConversationStatus>,
    pub contact_channel: Channel,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_agent_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub division_id: Option<Uuid>,
    pub created_at: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContactFacts {
    pub id: Uuid,
    pub channel_source: Channel,
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageFacts {
    /// 24 hex digits, as in the messages' API.
    #[serde(rename = "_id")]
    pub id: String,
    #[serde(rename = "type")]
    pub message_type: String,
    pub content: Value,
    pub created_at: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentFacts {
    pub id: Uuid,
    pub full_name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DivisionFacts {
    pub id: Uuid,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlaFacts {
    pub policy_id: Uuid,
    pub policy_name: String,
    /// `first_response` or `resolution`, for `sla_breached`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breach_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold_secs: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual_secs: Option<i64>,
}

/// Whether the working hours (the division's, else the global ones, else always) were open at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BusinessHoursFacts {
    pub is_open: bool,
}

/// Where a fact is found in a payload; the first path that leads to something other than null counts. Hand-written
/// payloads of a dry run may use the shorter forms.
pub(super) mod paths {
    pub(in super::super) const CHANNEL: &[&str] =
        &["conversation.contact_channel", "conversation.channel", "contact.channel_source", "channel"];
    pub(in super::super) const TAGS: &[&str] = &["tags", "conversation.tags"];
    pub(in super::super) const DIVISION_ID: &[&str] =
        &["conversation.division_id", "division.id", "division_id"];
    pub(in super::super) const AGENT_ID: &[&str] =
        &["conversation.assigned_agent_id", "agent.id", "assigned_agent_id"];
    pub(in super::super) const STATUS: &[&str] = &["conversation.status", "status"];
    pub(in super::super) const CONVERSATION_ID: &[&str] = &["conversation.id", "conversation_id"];
    pub(in super::super) const BUSINESS_HOURS: &[&str] = &["business_hours.is_open"];
}

/// A payload made ready for comparing.
#[derive(Clone, Debug)]
pub struct Facts {
    trigger: TriggerType,
    payload: Value,
    pub(super) conversation_id: Option<Uuid>,
    pub(super) channel: Option<Channel>,
    pub(super) status: Option<ConversationStatus>,
    pub(super) agent_id: Option<Uuid>,
    pub(super) division_id: Option<Uuid>,
    /// Folded with [`fold_tag`].
    pub(super) tags: Vec<String>,
    pub(super) business_hours_open: bool,
}

impl Facts {
    /// Reads a payload. A fact that is missing or has another type counts as unknown: no list contains it, nobody is
    /// assigned, and working hours that nobody has set are open.
    ///
    /// # Errors
    /// The payload is not an object.
    pub fn new(trigger: TriggerType, payload: Value) -> Result<Self, FieldProblem> {
        if !payload.is_object() {
            return Err(FieldProblem::new("event_payload", "must be an object"));
        }
        let text = |paths| find(&payload, paths).and_then(Value::as_str);
        let id = |paths| text(paths).and_then(|text| text.parse::<Uuid>().ok());
        let tags = find(&payload, paths::TAGS).and_then(Value::as_array);
        Ok(Self {
            trigger,
            conversation_id: id(paths::CONVERSATION_ID),
            channel: text(paths::CHANNEL).and_then(|name| by_name(CHANNELS, name)),
            status: text(paths::STATUS).and_then(|name| by_name(STATUSES, name)),
            agent_id: id(paths::AGENT_ID),
            division_id: id(paths::DIVISION_ID),
            tags: tags.into_iter().flatten().filter_map(Value::as_str).map(fold_tag).collect(),
            business_hours_open: find(&payload, paths::BUSINESS_HOURS)
                .and_then(Value::as_bool)
                .unwrap_or(true),
            payload,
        })
    }

    #[must_use]
    pub const fn trigger(&self) -> TriggerType {
        self.trigger
    }

    #[must_use]
    pub const fn payload(&self) -> &Value {
        &self.payload
    }

    /// None only for hand-written payloads.
    #[must_use]
    pub const fn conversation_id(&self) -> Option<Uuid> {
        self.conversation_id
    }
}

/// Tags are compared without regard to case: `VIP` and `vip` are one tag to the people who use them.
pub(super) fn fold_tag(tag: &str) -> String {
    tag.trim().to_lowercase()
}

/// The first of the dotted `paths` that leads to a value other than null.
pub(super) fn find<'v>(payload: &'v Value, paths: &[&str]) -> Option<&'v Value> {
    let walk = |path: &&str| path.split('.').try_fold(payload, |value, key| value.get(key));
    paths.iter().filter_map(walk).find(|value| !value.is_null())
}

fn by_name<T: Copy>(names: &[(&str, T)], name: &str) -> Option<T> {
    names.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}
