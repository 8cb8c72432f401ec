//! Service levels: the clocks of each conversation, and the breaches.

use chrono::{DateTime, Utc};
use domain::aggregate::Aggregate;
use domain::conversation::{Conversation, ConversationEvent};
use domain::sla::{ClockType, SlaState};
use serde_json::json;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::event::{Event, FoldError, decode};
use crate::projection::Projection;
use crate::row;
use crate::table::{Fold, Key, table};

row! {
    SlaStatusRow in "sla_status" key (tenant_id, conversation_id) {
        tenant_id: Uuid,
        conversation_id: Uuid,
        policy_id: Option<Uuid>,
        state: SlaState,
        next_due_at: Option<DateTime<Utc>>,
    }
}

row! {
    SlaBreachRow in "sla_breaches" key (tenant_id, id) {
        tenant_id: Uuid,
        id: Uuid,
        conversation_id: Uuid,
        sla_policy_id: Uuid,
        breach_type: ClockType,
        threshold_secs: i64,
        actual_secs: i64,
        breached_at: DateTime<Utc>,
    }
}

/// The name under which its progress is told.
pub const NAME: &str = "sla";

#[must_use]
pub fn projection() -> Projection {
    Projection::read_model(NAME, vec![table::<Statuses>(), table::<Breaches>()])
}

/// Event types that move a clock.
fn concerns_sla(event: &Event) -> bool {
    const TYPES: [&str; 8] = [
        "conversation.opened",
        "conversation.status_changed",
        "message.received",
        "message.queued",
        "sla.started",
        "sla.policy_applied",
        "sla.warned",
        "sla.breached",
    ];
    event.stream_type == Conversation::STREAM && TYPES.contains(&event.event_type.as_str())
}

struct Statuses;

impl Fold for Statuses {
    type Row = SlaStatusRow;

    fn keys(event: &Event) -> Vec<Key> {
        if concerns_sla(event) {
            vec![vec![json!(event.tenant_id), json!(event.stream_id)]]
        } else {
            Vec::new()
        }
    }

    fn begins(event: &Event) -> bool {
        event.version == 1
    }

    fn apply(_: &Key, row: Option<SlaStatusRow>, event: &Event) -> Result<Option<SlaStatusRow>, FoldError> {
        let mut state = row.map(|row| row.state).unwrap_or_default();
        let body: ConversationEvent = decode(event)?;
        if let Some(fact) = body.sla_fact() {
            state.evolve(&fact, event.recorded_at);
        }
        let next_due_at = if state.is_started() {
            state.next_deadline().map(|deadline| deadline.at)
        } else {
            Some(event.recorded_at)
        };
        Ok(Some(SlaStatusRow {
            tenant_id: event.tenant_id,
            conversation_id: event.stream_id,
            policy_id: state.terms().map(|terms| terms.policy_id),
            state,
            next_due_at,
        }))
    }
}

struct Breaches;

impl Fold for Breaches {
    type Row = SlaBreachRow;

    fn keys(event: &Event) -> Vec<Key> {
        if event.event_type != "sla.breached" {
            return Vec::new();
        }
        vec![vec![json!(event.tenant_id), json!(event.event_id)]]
    }

    fn apply(_: &Key, _: Option<SlaBreachRow>, event: &Event) -> Result<Option<SlaBreachRow>, FoldError> {
        let ConversationEvent::SlaBreached(mark) = decode(event)? else {
            return Err(FoldError::Inconsistent("not a breach".to_owned()));
        };
        Ok(Some(SlaBreachRow {
            tenant_id: event.tenant_id,
            id: event.event_id,
            conversation_id: event.stream_id,
            sla_policy_id: mark.key.policy_id,
            breach_type: mark.key.clock,
            threshold_secs: mark.threshold_secs,
            actual_secs: mark.actual_secs,
            breached_at: mark.passed_at,
        }))
    }
}

/// The clocks of a conversation.
///
/// # Errors
/// Database errors.
pub async fn state(
    db: &mut PgConnection,
    tenant_id: Uuid,
    conversation_id: Uuid,
) -> Result<Option<SlaState>, sqlx::Error> {
    let state: Option<Json<SlaState>> =
        sqlx::query_scalar("SELECT state FROM read.sla_status WHERE tenant_id = $1 AND conversation_id = $2")
            .bind(tenant_id)
            .bind(conversation_id)
            .fetch_optional(db)
            .await?;
    Ok(state.map(|Json(state)| state))
}

/// A policy's breaches, newest first.
///
/// # Errors
/// Database errors.
pub async fn breaches(
    db: &mut PgConnection,
    tenant_id: Uuid,
    policy_id: Uuid,
    limit: i64,
) -> Result<Vec<SlaBreachRow>, sqlx::Error> {
    let rows: Vec<Json<SlaBreachRow>> = sqlx::query_scalar(
        "SELECT to_jsonb(b) FROM read.sla_breaches b WHERE tenant_id = $1 AND sla_policy_id = $2
         ORDER BY breached_at DESC, id LIMIT $3",
    )
    .bind(tenant_id)
    .bind(policy_id)
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|Json(row)| row).collect())
}

/// Conversations of some tenants of a log that are due for a look, most overdue first.
///
/// # Errors
/// Database errors.
pub async fn due(
    db: &mut PgConnection,
    log_id: i16,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<(Uuid, Uuid)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT s.tenant_id, s.conversation_id FROM read.sla_status s JOIN tenant_logs l USING (tenant_id)
         WHERE s.next_due_at <= $2 AND l.log_id = $1 ORDER BY s.next_due_at LIMIT $3",
    )
    .bind(log_id)
    .bind(now)
    .bind(limit)
    .fetch_all(db)
    .await
}

/// When the next conversation of any tenant is due.
///
/// # Errors
/// Database errors.
pub async fn next_due(db: &mut PgConnection) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar("SELECT min(next_due_at) FROM read.sla_status WHERE next_due_at IS NOT NULL")
        .fetch_one(db)
        .await
}
