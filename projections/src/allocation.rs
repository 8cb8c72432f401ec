//! What handing out conversations looks at: who is online, how busy, and idle for how long; and the transfers.

use chrono::{DateTime, Utc};
use domain::agent::Agent;
use domain::aggregate::Aggregate;
use domain::allocation::Candidate;
use domain::conversation::{ConversationEvent, Transfer};
use domain::division::Division;
use serde_json::json;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::event::{Event, FoldError, decode};
use crate::projection::Projection;
use crate::row;
use crate::table::{Fold, Key, Purge, table};

row! {
    AgentTurnRow in "agent_turns" key (tenant_id, agent_id) {
        tenant_id: Uuid,
        agent_id: Uuid,
        last_assigned_at: DateTime<Utc>,
    }
}

row! {
    TransferRow in "transfers" key (tenant_id, id) {
        tenant_id: Uuid,
        id: Uuid,
        conversation_id: Uuid,
        transferred_by: Uuid,
        from_agent_id: Option<Uuid>,
        to_agent_id: Option<Uuid>,
        to_division_id: Option<Uuid>,
        note: Option<String>,
        created_at: DateTime<Utc>,
        contact_id: Uuid,
    }
}

#[must_use]
pub fn projection() -> Projection {
    Projection::read_model("allocation", vec![table::<Turns>(), table::<Transfers>()])
}

struct Turns;

impl Fold for Turns {
    type Row = AgentTurnRow;

    fn keys(event: &Event) -> Vec<Key> {
        let field = match event.event_type.as_str() {
            "conversation.assigned" | "conversation.taken_over" => "agent_id",
            "conversation.transferred" => "to_agent_id",
            _ => return Vec::new(),
        };
        let agent_id = event.body.get(field).filter(|id| id.is_string());
        agent_id.map(|id| vec![json!(event.tenant_id), id.clone()]).into_iter().collect()
    }

    fn apply(key: &Key, _: Option<AgentTurnRow>, event: &Event) -> Result<Option<AgentTurnRow>, FoldError> {
        let agent_id = serde_json::from_value(key.get(1).cloned().unwrap_or_default())?;
        Ok(Some(AgentTurnRow { tenant_id: event.tenant_id, agent_id, last_assigned_at: event.recorded_at }))
    }
}

struct Transfers;

impl TransferRow {
    #[must_use]
    pub fn of(tenant_id: Uuid, conversation_id: Uuid, created_at: DateTime<Utc>, transfer: Transfer) -> Self {
        Self {
            tenant_id,
            id: transfer.transfer_id,
            conversation_id,
            transferred_by: transfer.transferred_by,
            from_agent_id: transfer.from_agent_id,
            to_agent_id: transfer.to_agent_id,
            to_division_id: transfer.to_division_id,
            note: transfer.note.and_then(|note| note.known().cloned()),
            created_at,
            contact_id: transfer.contact_id,
        }
    }
}

impl Fold for Transfers {
    type Row = TransferRow;

    fn keys(event: &Event) -> Vec<Key> {
        let id = event.body.get("transfer_id").filter(|_| event.event_type == "conversation.transferred");
        id.map(|id| vec![json!(event.tenant_id), id.clone()]).into_iter().collect()
    }

    fn apply(_: &Key, _: Option<TransferRow>, event: &Event) -> Result<Option<TransferRow>, FoldError> {
        let ConversationEvent::Transferred(transfer) = decode(event)? else {
            return Err(FoldError::Inconsistent("not a transfer".to_owned()));
        };
        Ok(Some(TransferRow::of(event.tenant_id, event.stream_id, event.recorded_at, *transfer)))
    }

    fn purge(event: &Event) -> Option<Purge> {
        (event.event_type == "contact.erased")
            .then_some(Purge::Update("SET note = NULL WHERE tenant_id = $1 AND contact_id = $2"))
    }
}

/// These agents as allocation sees them; those that don't exist or are suspended are left out.
///
/// # Errors
/// Database errors.
pub async fn candidates(
    db: &mut PgConnection,
    tenant_id: Uuid,
    agents: &[Uuid],
) -> Result<Vec<Candidate>, sqlx::Error> {
    let rows: Vec<(Uuid, bool, i64, Option<DateTime<Utc>>)> = sqlx::query_as(
        "SELECT a.id, (a.doc ->> 'is_online')::boolean,
             (SELECT count(*) FROM read.conversations c
              WHERE c.tenant_id = $1 AND c.assigned_agent_id = a.id AND c.status = 'open'),
             t.last_assigned_at
         FROM read.documents a LEFT JOIN read.agent_turns t ON t.tenant_id = $1 AND t.agent_id = a.id
         WHERE a.tenant_id = $1 AND a.collection = $2 AND a.id = ANY($3) AND a.doc IS NOT NULL
             AND NOT (a.doc ->> 'is_suspended')::boolean",
    )
    .bind(tenant_id)
    .bind(Agent::STREAM)
    .bind(agents)
    .fetch_all(db)
    .await?;
    let candidate = |(agent_id, is_online, open, last_assigned_at)| Candidate {
        agent_id,
        is_online,
        open_conversations: u32::try_from(open).unwrap_or(u32::MAX),
        last_assigned_at,
    };
    Ok(rows.into_iter().map(candidate).collect())
}

/// The conversations that wait for an agent in the divisions of this one that hand them out, the oldest first.
///
/// # Errors
/// Database errors.
pub async fn waiting_for(
    db: &mut PgConnection,
    tenant_id: Uuid,
    agent_id: Uuid,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT c.id FROM read.conversations c
         JOIN read.documents d ON d.tenant_id = c.tenant_id AND d.collection = $2 AND d.id = c.division_id
         WHERE c.tenant_id = $1 AND c.status = 'open' AND c.assigned_agent_id IS NULL
             AND d.doc -> 'agents' @> to_jsonb($3::text) AND (d.doc ->> 'is_active')::boolean
             AND d.doc ->> 'allocation_method' <> 'manual'
         ORDER BY c.created_at, c.id LIMIT $4",
    )
    .bind(tenant_id)
    .bind(Division::STREAM)
    .bind(agent_id.to_string())
    .bind(limit)
    .fetch_all(db)
    .await
}

/// A conversation's transfers, newest first.
///
/// # Errors
/// Database errors.
pub async fn transfers(
    db: &mut PgConnection,
    tenant_id: Uuid,
    conversation_id: Uuid,
    limit: i64,
) -> Result<Vec<TransferRow>, sqlx::Error> {
    let rows: Vec<Json<TransferRow>> = sqlx::query_scalar(
        "SELECT to_jsonb(t) FROM read.transfers t WHERE tenant_id = $1 AND conversation_id = $2
         ORDER BY created_at DESC, id LIMIT $3",
    )
    .bind(tenant_id)
    .bind(conversation_id)
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|Json(row)| row).collect())
}
