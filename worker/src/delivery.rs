//! Process manager: a queued message has to be sent, and what an agent has read gets its ticks.

use domain::aggregate::Aggregate;
use domain::conversation::{Conversation, ConversationEvent};
use projections::event::{Event, FoldError, decode};
use projections::projection::Projection;
use projections::row;
use projections::table::{Fold, Key, table};
use serde_json::json;
use uuid::Uuid;

/// The name of the process manager, and of its checkpoint.
pub const NAME: &str = "delivery";
pub const SEND_MESSAGE: &str = "send_message";
pub const READ_RECEIPT: &str = "read_receipt";

row! {
    EffectRow in "effects" key (log_id, position, n) {
        log_id: i16,
        position: i64,
        n: i16,
        tenant_id: Uuid,
        kind: String,
        order_key: String,
        conversation_id: Uuid,
        message_id: Option<Uuid>,
        account_id: Option<Uuid>,
    }
}

#[must_use]
pub fn manager() -> Projection {
    Projection::process_manager(NAME, vec![table::<Effects>()])
}

struct Effects;

impl Fold for Effects {
    type Row = EffectRow;

    fn keys(event: &Event) -> Vec<Key> {
        let concerned = event.stream_type == Conversation::STREAM
            && matches!(event.event_type.as_str(), "message.queued" | "conversation.read");
        if concerned { vec![vec![json!(event.log_id), json!(event.position), json!(0)]] } else { Vec::new() }
    }

    fn apply(_: &Key, row: Option<EffectRow>, event: &Event) -> Result<Option<EffectRow>, FoldError> {
        if row.is_some() {
            return Ok(row);
        }
        let effect = |kind: &str, order_key: String, message: Option<(Uuid, Uuid)>| EffectRow {
            log_id: event.log_id,
            position: event.position,
            n: 0,
            tenant_id: event.tenant_id,
            kind: kind.to_owned(),
            order_key,
            conversation_id: event.stream_id,
            message_id: message.map(|(message_id, _)| message_id),
            account_id: message.map(|(_, account_id)| account_id),
        };
        Ok(match decode(event)? {
            ConversationEvent::MessageQueued(message) => {
                let ids = Some((message.message_id, message.account_id));
                Some(effect(SEND_MESSAGE, event.stream_id.to_string(), ids))
            }
            // Apart from the messages, which must not wait for a receipt.
            ConversationEvent::Read { external_id: Some(_) } => {
                Some(effect(READ_RECEIPT, format!("receipt {}", event.stream_id), None))
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use domain::channel::Channel;
    use domain::conversation::{Author, MessageQueued};
    use domain::event::{Actor, EventBody, Metadata, Recorded};
    use domain::personal::Personal;

    fn event(body: &ConversationEvent) -> Event {
        let (event_type, payload) = body.encode();
        std::sync::Arc::new(Recorded {
            log_id: 1,
            position: 5,
            tenant_id: Uuid::from_u128(1),
            stream_type: Conversation::STREAM.to_owned(),
            stream_id: Uuid::from_u128(2),
            version: 3,
            event_type,
            schema_version: 1,
            event_id: Uuid::from_u128(3),
            command_id: Uuid::from_u128(4),
            metadata: Metadata::new(Actor::system(), Uuid::from_u128(5)),
            recorded_at: DateTime::UNIX_EPOCH,
            body: payload,
        })
    }

    fn effect(body: &ConversationEvent) -> Option<EffectRow> {
        let event = event(body);
        Effects::keys(&event).iter().find_map(|key| Effects::apply(key, None, &event).unwrap())
    }

    #[test]
    fn a_queued_message_is_to_be_sent_even_when_its_content_is_erased() {
        let queued = MessageQueued {
            message_id: Uuid::from_u128(7),
            contact_id: Uuid::from_u128(8),
            account_id: Uuid::from_u128(9),
            channel: Channel::Whatsapp,
            kind: "text".to_owned(),
            content: Personal::Erased,
            author: Author::Human,
            refers_to: None,
        };
        let effect = effect(&ConversationEvent::MessageQueued(Box::new(queued))).unwrap();
        assert_eq!((effect.kind.as_str(), effect.message_id), (SEND_MESSAGE, Some(Uuid::from_u128(7))));
    }

    #[test]
    fn reading_is_shown_only_where_there_is_something_to_show() {
        let read = |id: Option<&str>| ConversationEvent::Read { external_id: id.map(str::to_owned) };
        assert_eq!(effect(&read(Some("wamid.1"))).map(|e| e.kind).as_deref(), Some(READ_RECEIPT));
        assert_eq!(effect(&read(None)), None);
        assert_eq!(effect(&ConversationEvent::Unassigned), None);
    }
}
