//! What a webhook is told: the message, conversation or contact as the event left it.

use chrono::{DateTime, Utc};
use commands::store::{Decision, Origin};
use commands::{CommandError, Store};
use domain::aggregate::Aggregate;
use domain::contact::Contact;
use domain::conversation::{Conversation, ConversationEvent, MessageReceived};
use domain::event::EventBody;
use domain::message::{MessageEvent, MessageStatus};
use domain::object_id::object_id;
use domain::outgoing_webhook::Topic;
use projections::Event;
use projections::inbox::query;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Events of a conversation read at once.
const PAGE: i64 = 500;

/// News of a person.
pub(super) struct News {
    pub contact_id: Uuid,
    pub data: Value,
}

/// The body of a delivery, in the form that Standard Webhooks recommends; `id` is the event's, as the API shows it.
pub(super) fn body(id: Uuid, event_type: &str, at: DateTime<Utc>, data: &Value) -> String {
    domain::canonical::to_string(&json!({ "id": id, "type": event_type, "timestamp": at, "data": data }))
}

/// What an event of the log is to be told as; nothing once its contact is erased.
pub(super) async fn of(store: &Store, topic: Topic, event: &Event) -> Result<Option<News>, CommandError> {
    let (contact_id, mut data) = match topic {
        Topic::MessageReceived => received(event)?,
        Topic::MessageSent | Topic::MessageStatus => sent(store, event).await?,
        Topic::ConversationCreated | Topic::ConversationResolved | Topic::ConversationAssigned => {
            conversation(store, event).await?
        }
        Topic::ContactCreated => (event.stream_id, json!({})),
    };
    let contact: Contact = store.load(event.tenant_id, contact_id).await?;
    if contact.erased_at.is_some() {
        return Ok(None);
    }
    let shown = contact_data(contact_id, &contact);
    if topic == Topic::ContactCreated {
        data = shown;
    } else {
        data["contact"] = shown;
    }
    Ok(Some(News { contact_id, data }))
}

fn contact_data(id: Uuid, contact: &Contact) -> Value {
    let profile = contact.profile.known();
    json!({
        "id": id,
        "channel_source": contact.channel,
        "name": profile.and_then(|profile| profile.name.as_ref()),
        "phone_number": profile.and_then(|profile| profile.phone_number.as_ref()),
        "email": profile.and_then(|profile| profile.email.as_ref()),
        "tags": contact.tags,
        "created_at": contact.created_at,
    })
}

fn decoded<E: EventBody>(event: &Event) -> Result<E, CommandError> {
    E::decode(&event.event_type, event.schema_version, &event.body).map_err(CommandError::failed)
}

fn media_url(id: &str) -> String {
    format!("/api/media/{id}")
}

fn nothing() -> Value {
    Value::Object(Map::new())
}

fn received(event: &Event) -> Result<(Uuid, Value), CommandError> {
    let ConversationEvent::MessageReceived(message) = decoded(event)? else {
        return Err(CommandError::failed(format!("event {} is no message", event.event_id)));
    };
    let MessageReceived { contact_id, channel, external_id, kind, content, sender, .. } = *message;
    let content = content.known().map_or_else(nothing, |content| content.to_wire(media_url));
    Ok((
        contact_id,
        json!({
            "_id": object_id(event.recorded_at, event.position),
            "conversation_id": event.stream_id,
            "channel": channel,
            "direction": "inbound",
            "type": kind,
            "content": content,
            "status": MessageStatus::Received,
            "external_id": external_id,
            "sender_phone": sender.known(),
            "created_at": event.recorded_at,
        }),
    ))
}

/// A message of ours, with what this event says about it whatever has become of it since.
async fn sent(store: &Store, event: &Event) -> Result<(Uuid, Value), CommandError> {
    let body: MessageEvent = decoded(event)?;
    let row = {
        let mut db = store.pool().acquire().await?;
        query::message(&mut db, event.tenant_id, event.stream_id).await?
    };
    // The read model may be behind; this is tried again.
    let row =
        row.ok_or_else(|| CommandError::failed(format!("message {} is not there yet", event.stream_id)))?;
    let content = row.content.as_ref().map_or_else(nothing, |content| content.to_wire(media_url));
    let (external_id, error) = match &body {
        MessageEvent::Sent { external_id, .. } => (Some(external_id), None),
        MessageEvent::Failed { reason, .. } => (row.external_id.as_ref(), Some(reason)),
        MessageEvent::Delivered { .. } | MessageEvent::Read { .. } => (row.external_id.as_ref(), None),
    };
    let data = json!({
        "_id": row.object_id,
        "conversation_id": row.conversation_id,
        "channel": row.channel,
        "direction": row.direction,
        "type": row.kind,
        "content": content,
        "status": body.status(),
        "external_id": external_id,
        "error_message": error,
        "created_at": row.created_at,
    });
    Ok((row.contact_id, data))
}

async fn conversation(store: &Store, event: &Event) -> Result<(Uuid, Value), CommandError> {
    let state = conversation_at(store, event).await?;
    let data = json!({
        "id": event.stream_id,
        "integration_account_id": state.account_id,
        "channel": state.channel,
        "status": state.status,
        "assigned_agent_id": state.assigned_agent_id,
        "division_id": state.division_id,
        "tags": state.tags,
        "created_at": state.created_at,
    });
    Ok((state.contact_id, data))
}

/// The conversation as an event left it. Mostly nothing has happened since, and the state of now is at hand.
async fn conversation_at(store: &Store, event: &Event) -> Result<Conversation, CommandError> {
    let origin = Origin::new(event.tenant_id, event.metadata.clone());
    let now = store.execute::<Conversation>(&origin, event.stream_id, |_| Ok(Decision::nothing())).await?;
    if now.version == event.version {
        return Ok(now.state);
    }
    let (mut state, mut version) = (Conversation::default(), 0);
    while version < event.version {
        let limit = PAGE.min(event.version - version);
        let page =
            store.read_stream(event.tenant_id, Conversation::STREAM, event.stream_id, version, limit).await?;
        let Some(last) = page.last() else {
            return Err(CommandError::failed(format!("conversation {} ends too early", event.stream_id)));
        };
        version = last.version;
        for one in page {
            let context = one.context();
            let body = ConversationEvent::decode(&one.event_type, one.schema_version, &one.body)
                .map_err(CommandError::failed)?;
            state.evolve(&body, context);
        }
    }
    Ok(state)
}
