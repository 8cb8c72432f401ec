//! Everything that one customer and one of our accounts ever said to each other.
//!
//! There is one conversation per contact and account: a message to a resolved one reopens it. Messages are events of
//! this stream, so that their order, the messaging window and the unread count are decided on one consistent state;
//! what happens to an outbound message after it was queued is the stream of that message (`message.rs`).

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::channel::Channel;
use crate::chat_expiration_rule::ChatExpirationRule;
use crate::event::{Context, EventBody};
use crate::message_content::MessageContent;
use crate::personal::Personal;
use crate::sla::{SlaFact, SlaMark, SlaState, Terms};
use crate::working_hours::WorkingHours;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum ConversationEvent {
    #[serde(rename = "conversation.opened")]
    Opened { contact_id: Uuid, account_id: Uuid, channel: Channel, division_id: Option<Uuid> },
    #[serde(rename = "conversation.assigned")]
    Assigned { agent_id: Uuid },
    #[serde(rename = "conversation.unassigned")]
    Unassigned,
    #[serde(rename = "conversation.status_changed")]
    StatusChanged { status: ConversationStatus },
    /// Why a change of status to resolved follows: the channel's rule for silent customers.
    #[serde(rename = "conversation.expired")]
    Expired { window_hours: i64, silent_since: DateTime<Utc> },
    #[serde(rename = "conversation.read")]
    Read {
        /// The channel's id of the newest customer message, for the read receipt.
        external_id: Option<String>,
    },
    /// The whole set after the change.
    #[serde(rename = "conversation.tagged")]
    Tagged { tags: Vec<String> },
    #[serde(rename = "conversation.moved_to_division")]
    MovedToDivision { division_id: Option<Uuid> },
    /// From here on AI answers stay away.
    #[serde(rename = "conversation.taken_over")]
    TakenOver { agent_id: Uuid },
    #[serde(rename = "conversation.transferred")]
    Transferred(Box<Transfer>),
    /// Policy and working hours are pinned from here on, whatever is edited later. No policy: no service level.
    #[serde(rename = "sla.started")]
    SlaStarted { terms: Option<Terms>, hours: WorkingHours },
    #[serde(rename = "sla.policy_applied")]
    SlaPolicyApplied { terms: Terms, hours: WorkingHours },
    #[serde(rename = "sla.warned")]
    SlaWarned(SlaMark),
    #[serde(rename = "sla.breached")]
    SlaBreached(SlaMark),
    #[serde(rename = "message.received")]
    MessageReceived(Box<MessageReceived>),
    #[serde(rename = "message.queued")]
    MessageQueued(Box<MessageQueued>),
    /// For the team only; the customer never sees it.
    #[serde(rename = "conversation.note_added")]
    NoteAdded {
        note_id: Uuid,
        content: Personal<String>,
        /// The agent who wrote it; none when a rule did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent_id: Option<Uuid>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule_id: Option<Uuid>,
    },
    /// AI may answer from here on; without an agent, the one that is assigned to the channel and division.
    #[serde(rename = "conversation.ai_started")]
    AiStarted { ai_agent_id: Option<Uuid> },
    /// AI answers stay away until started again.
    #[serde(rename = "conversation.ai_stopped")]
    AiStopped,
}

impl EventBody for ConversationEvent {}

impl ConversationEvent {
    /// What the event means for the service level.
    #[must_use]
    pub fn sla_fact(&self) -> Option<SlaFact> {
        Some(match self {
            Self::Opened { .. } => SlaFact::Open,
            Self::StatusChanged { status } => match status {
                ConversationStatus::Open => SlaFact::Open,
                ConversationStatus::Pending => SlaFact::Pending,
                ConversationStatus::Resolved => SlaFact::Resolved,
            },
            Self::MessageReceived(_) => SlaFact::CustomerMessage,
            Self::MessageQueued(message) if message.author == Author::Human => SlaFact::HumanReply,
            Self::SlaStarted { terms, hours } => {
                SlaFact::Started { terms: terms.clone(), hours: hours.clone() }
            }
            Self::SlaPolicyApplied { terms, hours } => {
                SlaFact::PolicyApplied { terms: terms.clone(), hours: hours.clone() }
            }
            Self::SlaWarned(mark) | Self::SlaBreached(mark) => SlaFact::MarkRecorded(mark.key),
            _ => return None,
        })
    }
}

/// A conversation was handed on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Transfer {
    pub transfer_id: Uuid,
    pub transferred_by: Uuid,
    pub contact_id: Uuid,
    pub from_agent_id: Option<Uuid>,
    /// Nobody: it waits in the division's queue.
    pub to_agent_id: Option<Uuid>,
    pub to_division_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Personal<String>>,
}

/// A customer wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageReceived {
    pub message_id: Uuid,
    pub contact_id: Uuid,
    pub account_id: Uuid,
    pub channel: Channel,
    /// The channel's id of the message.
    pub external_id: String,
    /// The content's type, which stays known when the content is erased.
    pub kind: String,
    pub sender: Personal<String>,
    pub content: Personal<MessageContent>,
    /// When the customer sent it, by the channel's clock.
    pub sent_at: DateTime<Utc>,
    /// The channel's id of the message that this one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forwarded: bool,
    /// The advertisement that the customer came from, as the channel describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referral: Option<Value>,
}

/// We want to write: the worker sends it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageQueued {
    pub message_id: Uuid,
    pub contact_id: Uuid,
    pub account_id: Uuid,
    pub channel: Channel,
    /// The content's type, which stays known when the content is erased.
    pub kind: String,
    pub content: Personal<MessageContent>,
    pub author: Author,
    /// The channel's id of the message that a reaction or an answer refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refers_to: Option<String>,
}

/// Who wrote an outbound message: only a human's answer counts as a first response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    #[default]
    Human,
    Automation,
    AiAgent,
    Campaign,
    Survey,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConversationStatus {
    #[default]
    Open,
    /// Waiting for the customer.
    Pending,
    Resolved,
}

impl ConversationStatus {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Pending => "pending",
            Self::Resolved => "resolved",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    pub contact_id: Uuid,
    pub account_id: Uuid,
    pub channel: Channel,
    pub status: ConversationStatus,
    pub assigned_agent_id: Option<Uuid>,
    pub division_id: Option<Uuid>,
    pub tags: Vec<String>,
    pub unread_count: i64,
    pub ai_stopped: bool,
    pub last_customer_message_at: Option<DateTime<Utc>>,
    pub last_customer_external_id: Option<String>,
    pub last_message_at: Option<DateTime<Utc>>,
    pub sla: SlaState,
    /// When it last stopped being resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reopened_at: Option<DateTime<Utc>>,
    pub created_at: Option<DateTime<Utc>>,
}

impl Conversation {
    /// Whether free text may be sent, given the rule of the channel. At exactly the window's length after the customer's
    /// message it is closed.
    #[must_use]
    pub fn window_open(&self, rule: &ChatExpirationRule, at: DateTime<Utc>) -> bool {
        let Some(hours) = rule.text_hours(self.channel) else {
            return true;
        };
        self.last_customer_message_at.is_some_and(|last| at < last + TimeDelta::hours(hours))
    }

    /// Since when the customer owes an answer: the last message, or, where someone of us opened the conversation again
    /// after that, the opening. `None` while resolved.
    #[must_use]
    pub fn silent_since(&self) -> Option<DateTime<Utc>> {
        if self.status == ConversationStatus::Resolved {
            return None;
        }
        self.last_customer_message_at.max(self.reopened_at).or(self.created_at)
    }
}

impl Aggregate for Conversation {
    const STREAM: &'static str = "conversation";
    type Event = ConversationEvent;
    const SHAPE: u32 = 2;

    fn evolve(&mut self, event: &ConversationEvent, context: Context) {
        if let Some(fact) = event.sla_fact() {
            self.sla.evolve(&fact, context.at);
        }
        match event {
            ConversationEvent::SlaStarted { .. }
            | ConversationEvent::SlaPolicyApplied { .. }
            | ConversationEvent::SlaWarned(_)
            | ConversationEvent::SlaBreached(_)
            | ConversationEvent::Expired { .. }
            | ConversationEvent::NoteAdded { .. } => {}
            ConversationEvent::AiStarted { .. } => self.ai_stopped = false,
            ConversationEvent::AiStopped => self.ai_stopped = true,
            ConversationEvent::Opened { contact_id, account_id, channel, division_id } => {
                self.contact_id = *contact_id;
                self.account_id = *account_id;
                self.channel = *channel;
                self.division_id = *division_id;
                self.created_at = Some(context.at);
                self.last_message_at = Some(context.at);
            }
            ConversationEvent::Assigned { agent_id } => self.assigned_agent_id = Some(*agent_id),
            ConversationEvent::Unassigned => self.assigned_agent_id = None,
            ConversationEvent::StatusChanged { status } => {
                if self.status == ConversationStatus::Resolved && *status != ConversationStatus::Resolved {
                    self.reopened_at = Some(context.at);
                }
                self.status = *status;
            }
            ConversationEvent::Read { .. } => self.unread_count = 0,
            ConversationEvent::Tagged { tags } => self.tags.clone_from(tags),
            ConversationEvent::MovedToDivision { division_id } => self.division_id = *division_id,
            ConversationEvent::Transferred(transfer) => {
                self.assigned_agent_id = transfer.to_agent_id;
                self.division_id = transfer.to_division_id.or(self.division_id);
            }
            ConversationEvent::TakenOver { agent_id } => {
                self.assigned_agent_id = Some(*agent_id);
                self.ai_stopped = true;
            }
            ConversationEvent::MessageReceived(message) => {
                self.unread_count += 1;
                self.last_message_at = Some(context.at);
                // A late delivery must not open the window again, nor must the channel's clock running ahead.
                let sent_at = message.sent_at.min(context.at);
                self.last_customer_message_at = self.last_customer_message_at.max(Some(sent_at));
                self.last_customer_external_id = Some(message.external_id.clone());
            }
            ConversationEvent::MessageQueued(_) => self.last_message_at = Some(context.at),
        }
    }

    /// Service level and notes are resources of their own.
    fn is_seen(event: &ConversationEvent) -> bool {
        !matches!(
            event,
            ConversationEvent::SlaStarted { .. }
                | ConversationEvent::SlaPolicyApplied { .. }
                | ConversationEvent::SlaWarned(_)
                | ConversationEvent::SlaBreached(_)
                | ConversationEvent::NoteAdded { .. }
        )
    }

    fn exists(&self) -> bool {
        self.created_at.is_some()
    }
}
