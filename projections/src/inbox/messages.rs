//! Messages of both directions, with what became of them.

use chrono::{DateTime, Utc};
use domain::aggregate::Aggregate;
use domain::channel::Channel;
use domain::conversation::{Conversation, ConversationEvent, MessageQueued, MessageReceived};
use domain::message::{Message, MessageEvent, MessageStatus};
use domain::message_content::MessageContent;
use domain::object_id::object_id;
use domain::personal::Personal;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::event::{Event, FoldError, decode};
use crate::row;
use crate::table::{Fold, Key, Purge};

row! {
    MessageRow in "messages" key (tenant_id, id) {
        tenant_id: Uuid,
        id: Uuid,
        object_id: String,
        conversation_id: Uuid,
        contact_id: Uuid,
        account_id: Uuid,
        channel: Channel,
        direction: Direction,
        kind: String,
        content: Option<MessageContent>,
        search_text: String,
        status: MessageStatus,
        external_id: Option<String>,
        sender_phone: Option<String>,
        error_message: Option<String>,
        created_at: DateTime<Utc>,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Inbound,
    Outbound,
}

pub struct Messages;

impl Fold for Messages {
    type Row = MessageRow;

    fn keys(event: &Event) -> Vec<Key> {
        let id = match event.event_type.as_str() {
            "message.received" | "message.queued" => {
                event.body.get("message_id").cloned().unwrap_or_default()
            }
            _ if event.stream_type == Message::STREAM => json!(event.stream_id),
            _ => return Vec::new(),
        };
        vec![vec![json!(event.tenant_id), id]]
    }

    fn begins(event: &Event) -> bool {
        matches!(event.event_type.as_str(), "message.received" | "message.queued")
    }

    fn apply(_: &Key, row: Option<MessageRow>, event: &Event) -> Result<Option<MessageRow>, FoldError> {
        if event.stream_type == Conversation::STREAM {
            return match decode(event)? {
                ConversationEvent::MessageReceived(message) => Ok(Some(received(event, *message))),
                ConversationEvent::MessageQueued(message) => Ok(Some(queued(event, *message))),
                _ => Ok(row),
            };
        }
        let mut row =
            row.ok_or_else(|| FoldError::Inconsistent(format!("message {} is unknown", event.stream_id)))?;
        let body: MessageEvent = decode(event)?;
        row.status = body.status();
        match body {
            MessageEvent::Sent { external_id, .. } => row.external_id = Some(external_id),
            MessageEvent::Failed { reason, .. } => row.error_message = Some(reason),
            MessageEvent::Delivered { .. } | MessageEvent::Read { .. } => {}
        }
        Ok(Some(row))
    }

    fn purge(event: &Event) -> Option<Purge> {
        (event.event_type == "contact.erased").then_some(Purge::Update(
            "SET content = NULL, search_text = '', sender_phone = NULL WHERE tenant_id = $1 AND contact_id = $2",
        ))
    }
}

fn received(event: &Event, message: MessageReceived) -> MessageRow {
    let text = search_text(&message.content);
    MessageRow {
        tenant_id: event.tenant_id,
        id: message.message_id,
        object_id: object_id(event.recorded_at, event.position),
        conversation_id: event.stream_id,
        contact_id: message.contact_id,
        account_id: message.account_id,
        channel: message.channel,
        direction: Direction::Inbound,
        kind: message.kind,
        content: message.content.known().cloned(),
        search_text: text,
        status: MessageStatus::Received,
        external_id: Some(message.external_id),
        sender_phone: message.sender.known().cloned(),
        error_message: None,
        created_at: event.recorded_at,
    }
}

fn queued(event: &Event, message: MessageQueued) -> MessageRow {
    let text = search_text(&message.content);
    MessageRow {
        tenant_id: event.tenant_id,
        id: message.message_id,
        object_id: object_id(event.recorded_at, event.position),
        conversation_id: event.stream_id,
        contact_id: message.contact_id,
        account_id: message.account_id,
        channel: message.channel,
        direction: Direction::Outbound,
        kind: message.kind,
        content: message.content.known().cloned(),
        search_text: text,
        status: MessageStatus::Pending,
        external_id: None,
        sender_phone: None,
        error_message: None,
        created_at: event.recorded_at,
    }
}

fn search_text(content: &Personal<MessageContent>) -> String {
    content.known().map(MessageContent::searchable_text).unwrap_or_default()
}
