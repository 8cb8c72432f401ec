//! The facts at the moment of an event: the conversation as the event left it, and everyone and everything around it.

use commands::{CommandError, Store};
use domain::agent::Agent;
use domain::aggregate::Aggregate;
use domain::automation::facts::{
    AgentFacts, BusinessHoursFacts, ContactFacts, ConversationFacts, DivisionFacts, MessageFacts, SlaFacts,
};
use domain::automation::{Snapshot, TriggerType, payload_hash};
use domain::automation_item::{Enqueued, ItemSource};
use domain::contact::Contact;
use domain::conversation::{Conversation, ConversationEvent, ConversationStatus, MessageReceived};
use domain::division::Division;
use domain::event::{EventBody, Recorded};
use domain::object_id::object_id;
use domain::personal::Personal;
use domain::sla::{ClockType, SlaMark};
use projections::documents;
use serde_json::Value;
use uuid::Uuid;

/// Events of a conversation read at once.
const PAGE: i64 = 500;

/// The snapshot of an event; nothing once the contact is erased.
pub(super) async fn take(
    store: &Store,
    trigger: TriggerType,
    event: &Recorded<Value>,
) -> Result<Option<Enqueued>, CommandError> {
    let tenant_id = event.tenant_id;
    let (before, state) = around(store, trigger, event).await?;
    let (contact, _): (Contact, _) = store.current(tenant_id, state.contact_id).await?;
    if contact.erased_at.is_some() {
        return Ok(None);
    }
    let body = ConversationEvent::decode(&event.event_type, event.schema_version, &event.body)
        .map_err(CommandError::failed)?;
    let message = match &body {
        ConversationEvent::MessageReceived(message) => Some(message_facts(event, message)),
        ConversationEvent::Opened { .. } => first_message(store, event).await?,
        _ => None,
    };
    let mark = match &body {
        ConversationEvent::SlaBreached(mark) => Some(mark),
        _ => None,
    };
    let hours = crate::sla::hours_of(store, tenant_id, state.division_id).await?;
    let snapshot = Snapshot {
        conversation: conversation_facts(event.stream_id, trigger, before, &state),
        contact: contact_facts(state.contact_id, &contact),
        message,
        agent: agent_facts(store, tenant_id, state.assigned_agent_id).await?,
        division: division_facts(store, tenant_id, state.division_id).await?,
        tags: state.tags.clone(),
        sla: sla_facts(&state, mark),
        business_hours: BusinessHoursFacts { is_open: hours.is_open(event.recorded_at) },
    };
    let payload = serde_json::to_value(&snapshot).map_err(CommandError::failed)?;
    Ok(Some(Enqueued {
        trigger,
        conversation_id: event.stream_id,
        contact_id: state.contact_id,
        source_event_id: event.event_id,
        correlation_id: event.metadata.correlation_id,
        source: ItemSource::Stream,
        payload_hash: payload_hash(&payload),
        payload: Personal::new(state.contact_id, payload),
    }))
}

/// The status before the event, and the conversation after it. Later events do not count: an item made late shows what
/// was so then.
async fn around(
    store: &Store,
    trigger: TriggerType,
    event: &Recorded<Value>,
) -> Result<(ConversationStatus, Conversation), CommandError> {
    // Mostly nothing has happened since, and the state of now is at hand. Only a change of status asks for what was
    // before.
    if trigger != TriggerType::StatusChanged {
        let (state, version) = store.current::<Conversation>(event.tenant_id, event.stream_id).await?;
        if version == event.version {
            return Ok((state.status, state));
        }
    }
    let mut state = Conversation::default();
    let (mut before, mut version) = (state.status, 0);
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
            before = state.status;
            state.evolve(&body, context);
        }
    }
    Ok((before, state))
}

/// What opened the conversation, if that was a message: the next event of the same command.
async fn first_message(
    store: &Store,
    opened: &Recorded<Value>,
) -> Result<Option<MessageFacts>, CommandError> {
    let next = store
        .read_stream(opened.tenant_id, Conversation::STREAM, opened.stream_id, opened.version, 1)
        .await?;
    let Some(mut next) = next.into_iter().find(|next| next.command_id == opened.command_id) else {
        return Ok(None);
    };
    let keys = store.vault().keys_of(std::iter::once((next.tenant_id, &next.body))).await?;
    keys.open(next.tenant_id, &mut next.body);
    let body = ConversationEvent::decode(&next.event_type, next.schema_version, &next.body)
        .map_err(CommandError::failed)?;
    Ok(match body {
        ConversationEvent::MessageReceived(message) => Some(message_facts(&next, &message)),
        _ => None,
    })
}

fn message_facts(event: &Recorded<Value>, message: &MessageReceived) -> MessageFacts {
    let content =
        message.content.known().map(|content| content.to_wire(|media| format!("/api/media/{media}")));
    MessageFacts {
        id: object_id(event.recorded_at, event.position),
        message_type: message.kind.clone(),
        content: content.unwrap_or_else(|| Value::Object(serde_json::Map::new())),
        created_at: event.recorded_at,
    }
}

fn conversation_facts(
    id: Uuid,
    trigger: TriggerType,
    before: ConversationStatus,
    state: &Conversation,
) -> ConversationFacts {
    ConversationFacts {
        id,
        contact_id: state.contact_id,
        status: state.status,
        previous_status: (trigger == TriggerType::StatusChanged).then_some(before),
        contact_channel: state.channel,
        assigned_agent_id: state.assigned_agent_id,
        division_id: state.division_id,
        created_at: state.created_at.unwrap_or_default(),
    }
}

fn contact_facts(id: Uuid, contact: &Contact) -> ContactFacts {
    let profile = contact.profile.known();
    ContactFacts {
        id,
        channel_source: contact.channel,
        tags: contact.tags.clone(),
        name: profile.and_then(|profile| profile.name.clone()),
        phone_number: profile.and_then(|profile| profile.phone_number.clone()),
        email: profile.and_then(|profile| profile.email.clone()),
    }
}

async fn agent_facts(
    store: &Store,
    tenant_id: Uuid,
    id: Option<Uuid>,
) -> Result<Option<AgentFacts>, CommandError> {
    let Some(id) = id else { return Ok(None) };
    let mut db = store.pool().acquire().await?;
    let agent = documents::get::<Agent>(&mut db, tenant_id, id).await?;
    Ok(agent.map(|agent| AgentFacts { id, full_name: agent.state.full_name }))
}

async fn division_facts(
    store: &Store,
    tenant_id: Uuid,
    id: Option<Uuid>,
) -> Result<Option<DivisionFacts>, CommandError> {
    let Some(id) = id else { return Ok(None) };
    let mut db = store.pool().acquire().await?;
    let division = documents::get::<Division>(&mut db, tenant_id, id).await?;
    Ok(division.map(|division| DivisionFacts { id, name: division.state.name }))
}

fn sla_facts(state: &Conversation, mark: Option<&SlaMark>) -> Option<SlaFacts> {
    let terms = state.sla.terms()?;
    Some(SlaFacts {
        policy_id: terms.policy_id,
        policy_name: terms.policy_name.clone(),
        breach_type: mark.map(|mark| match mark.key.clock {
            ClockType::FirstResponse => "first_response".to_owned(),
            ClockType::Resolution => "resolution".to_owned(),
        }),
        threshold_secs: mark.map(|mark| mark.threshold_secs),
        actual_secs: mark.map(|mark| mark.actual_secs),
    })
}
