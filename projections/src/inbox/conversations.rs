//! Conversations as the inbox lists them.

use chrono::{DateTime, Utc};
use domain::aggregate::Aggregate;
use domain::channel::Channel;
use domain::conversation::{Conversation, ConversationEvent, ConversationStatus};
use domain::sla::SlaState;
use serde_json::json;
use uuid::Uuid;

use crate::event::{Event, FoldError, decode};
use crate::row;
use crate::table::{Fold, Key};

row! {
    ConversationRow in "conversations" key (tenant_id, id) {
        tenant_id: Uuid,
        id: Uuid,
        contact_id: Uuid,
        account_id: Uuid,
        channel: Channel,
        status: ConversationStatus,
        assigned_agent_id: Option<Uuid>,
        division_id: Option<Uuid>,
        tags: Vec<String>,
        unread_count: i64,
        ai_stopped: bool,
        last_customer_message_at: Option<DateTime<Utc>>,
        last_message_at: DateTime<Utc>,
        version: i64,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
    }
}

pub struct Conversations;

impl Fold for Conversations {
    type Row = ConversationRow;

    fn keys(event: &Event) -> Vec<Key> {
        if event.stream_type != Conversation::STREAM {
            return Vec::new();
        }
        vec![vec![json!(event.tenant_id), json!(event.stream_id)]]
    }

    fn begins(event: &Event) -> bool {
        event.version == 1
    }

    /// The aggregate's own `evolve` says what an event means; the row only adds what lists need.
    fn apply(
        _: &Key,
        row: Option<ConversationRow>,
        event: &Event,
    ) -> Result<Option<ConversationRow>, FoldError> {
        let body: ConversationEvent = decode(event)?;
        let created_at = row.as_ref().map_or(event.recorded_at, |r| r.created_at);
        // What is not seen here leaves the row's `ETag` alone.
        let (version, updated_at) = match &row {
            Some(row) if !Conversation::is_seen(&body) => (row.version, row.updated_at),
            _ => (event.version, event.recorded_at),
        };
        let mut state = row.map(to_state).unwrap_or_default();
        state.evolve(&body, event.context());
        if !state.exists() {
            return Err(FoldError::Inconsistent(format!(
                "conversation {} was never opened",
                event.stream_id
            )));
        }
        Ok(Some(ConversationRow {
            tenant_id: event.tenant_id,
            id: event.stream_id,
            contact_id: state.contact_id,
            account_id: state.account_id,
            channel: state.channel,
            status: state.status,
            assigned_agent_id: state.assigned_agent_id,
            division_id: state.division_id,
            tags: state.tags,
            unread_count: state.unread_count,
            ai_stopped: state.ai_stopped,
            last_customer_message_at: state.last_customer_message_at,
            last_message_at: state.last_message_at.unwrap_or(created_at),
            version,
            created_at,
            updated_at,
        }))
    }
}

fn to_state(row: ConversationRow) -> Conversation {
    Conversation {
        contact_id: row.contact_id,
        account_id: row.account_id,
        channel: row.channel,
        status: row.status,
        assigned_agent_id: row.assigned_agent_id,
        division_id: row.division_id,
        tags: row.tags,
        unread_count: row.unread_count,
        ai_stopped: row.ai_stopped,
        last_customer_message_at: row.last_customer_message_at,
        last_customer_external_id: None,
        last_message_at: Some(row.last_message_at),
        // Kept in read models of their own.
        sla: SlaState::default(),
        reopened_at: None,
        created_at: Some(row.created_at),
    }
}
