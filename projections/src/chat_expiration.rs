//! Chat expiration: the rules that resolve, and since when the customer of each conversation has been silent. Together
//! they are the timers; a rule that changes moves all of its timers without touching a row of theirs.

use chrono::{DateTime, TimeDelta, Utc};
use domain::aggregate::Aggregate;
use domain::channel::Channel;
use domain::chat_expiration_rule::{ChatExpirationRule, ChatExpirationRuleEvent};
use domain::conversation::{Conversation, ConversationEvent, ConversationStatus};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::event::{Event, FoldError, decode};
use crate::projection::Projection;
use crate::row;
use crate::table::{Fold, Key, table};

row! {
    ResolvingRuleRow in "resolving_rules" key (tenant_id, channel) {
        tenant_id: Uuid,
        channel: Channel,
        after_hours: i64,
    }
}

row! {
    SilenceRow in "silences" key (tenant_id, conversation_id) {
        tenant_id: Uuid,
        conversation_id: Uuid,
        channel: Channel,
        status: ConversationStatus,
        last_customer_message_at: Option<DateTime<Utc>>,
        reopened_at: Option<DateTime<Utc>>,
        created_at: DateTime<Utc>,
        silent_since: Option<DateTime<Utc>>,
    }
}

/// The name under which its progress is told.
pub const NAME: &str = "chat_expiration";

#[must_use]
pub fn projection() -> Projection {
    Projection::read_model(NAME, vec![table::<ResolvingRules>(), table::<Silences>()])
}

struct ResolvingRules;

impl Fold for ResolvingRules {
    type Row = ResolvingRuleRow;

    fn keys(event: &Event) -> Vec<Key> {
        if event.stream_type != ChatExpirationRule::STREAM {
            return Vec::new();
        }
        vec![vec![json!(event.tenant_id), event.body["channel"].clone()]]
    }

    fn apply(
        _: &Key,
        _: Option<ResolvingRuleRow>,
        event: &Event,
    ) -> Result<Option<ResolvingRuleRow>, FoldError> {
        let body: ChatExpirationRuleEvent = decode(event)?;
        let mut rule = ChatExpirationRule::default();
        rule.evolve(&body, event.context());
        Ok(rule.resolves_after().map(|after| ResolvingRuleRow {
            tenant_id: event.tenant_id,
            channel: rule.terms.channel,
            after_hours: after.num_hours(),
        }))
    }
}

struct Silences;

impl Fold for Silences {
    type Row = SilenceRow;

    fn keys(event: &Event) -> Vec<Key> {
        const TYPES: [&str; 3] = ["conversation.opened", "conversation.status_changed", "message.received"];
        if event.stream_type != Conversation::STREAM || !TYPES.contains(&event.event_type.as_str()) {
            return Vec::new();
        }
        vec![vec![json!(event.tenant_id), json!(event.stream_id)]]
    }

    fn begins(event: &Event) -> bool {
        event.version == 1
    }

    /// The aggregate's own `evolve` says what an event means.
    fn apply(_: &Key, row: Option<SilenceRow>, event: &Event) -> Result<Option<SilenceRow>, FoldError> {
        let body: ConversationEvent = decode(event)?;
        let mut state = row.map(to_state).unwrap_or_default();
        state.evolve(&body, event.context());
        let unknown =
            || FoldError::Inconsistent(format!("conversation {} was never opened", event.stream_id));
        Ok(Some(SilenceRow {
            tenant_id: event.tenant_id,
            conversation_id: event.stream_id,
            channel: state.channel,
            status: state.status,
            last_customer_message_at: state.last_customer_message_at,
            reopened_at: state.reopened_at,
            created_at: state.created_at.ok_or_else(unknown)?,
            silent_since: state.silent_since(),
        }))
    }
}

fn to_state(row: SilenceRow) -> Conversation {
    Conversation {
        channel: row.channel,
        status: row.status,
        last_customer_message_at: row.last_customer_message_at,
        reopened_at: row.reopened_at,
        created_at: Some(row.created_at),
        ..Conversation::default()
    }
}

/// Conversations of any tenant of a log whose window has passed, each with its tenant and channel.
///
/// # Errors
/// Database errors.
pub async fn due(
    db: &mut PgConnection,
    log_id: i16,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<(Uuid, Uuid, String)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT r.tenant_id, s.conversation_id, r.channel
         FROM read.resolving_rules r JOIN tenant_logs l USING (tenant_id) CROSS JOIN LATERAL (
             SELECT conversation_id, silent_since FROM read.silences
             WHERE tenant_id = r.tenant_id AND channel = r.channel
                 AND silent_since <= $2 - make_interval(hours => r.after_hours::int)
             ORDER BY silent_since LIMIT $3
         ) s
         WHERE l.log_id = $1 ORDER BY s.silent_since LIMIT $3",
    )
    .bind(log_id)
    .bind(now)
    .bind(limit)
    .fetch_all(db)
    .await
}

/// A tenant's conversations on a channel whose customers have been silent for so long, the longest first.
///
/// # Errors
/// Database errors.
pub async fn silent_for(
    db: &mut PgConnection,
    (tenant_id, channel): (Uuid, Channel),
    silence: TimeDelta,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT conversation_id FROM read.silences
         WHERE tenant_id = $1 AND channel = $2 AND silent_since <= $3 ORDER BY silent_since LIMIT $4",
    )
    .bind(tenant_id)
    .bind(channel.as_str())
    .bind(now - silence)
    .bind(limit)
    .fetch_all(db)
    .await
}
