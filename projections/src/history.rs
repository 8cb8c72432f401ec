//! The log itself, as auditors read it: events with their proof, in order, by page.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

/// An event as it is stored: personal data sealed, with the hashes that prove it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Stored {
    pub log_id: i16,
    pub position: i64,
    pub tenant_id: Uuid,
    pub stream_type: String,
    pub stream_id: Uuid,
    /// 1 for the stream's first event.
    pub version: i64,
    pub event_type: String,
    pub schema_version: i16,
    pub event_id: Uuid,
    pub metadata: Value,
    pub recorded_at: DateTime<Utc>,
    pub payload: Value,
    /// SHA-256.
    pub payload_hash: Vec<u8>,
    /// SHA-256.
    pub chain_hash: Vec<u8>,
}

const SELECT: &str =
    "SELECT log_id, position, tenant_id, stream_type, stream_id, version, event_type, schema_version,
     event_id, metadata, recorded_at, payload, payload_hash, chain_hash FROM events";

/// Which events are wanted; all that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub stream_type: Option<String>,
    pub stream_id: Option<Uuid>,
    /// Any of these; an empty set means all.
    pub event_types: BTreeSet<String>,
    pub actor_id: Option<Uuid>,
    pub correlation_id: Option<Uuid>,
    /// Recorded then or later.
    pub from: Option<DateTime<Utc>>,
    /// Recorded before then.
    pub to: Option<DateTime<Utc>>,
}

/// A tenant's events after a position, in log order.
///
/// # Errors
/// Database errors.
pub async fn of_tenant(
    db: &mut PgConnection,
    (log_id, tenant_id): (i16, Uuid),
    filter: &Filter,
    after: i64,
    limit: i64,
) -> Result<Vec<Stored>, sqlx::Error> {
    let mut sql = after_position(log_id, after);
    sql.push(" AND tenant_id = ").push_bind(tenant_id);
    if let Some(stream_type) = &filter.stream_type {
        sql.push(" AND stream_type = ").push_bind(stream_type.clone());
    }
    if let Some(stream_id) = filter.stream_id {
        sql.push(" AND stream_id = ").push_bind(stream_id);
    }
    match filter.event_types.len() {
        0 => {}
        // Equality, so that the index gives the order too.
        1 => {
            sql.push(" AND event_type = ").push_bind(filter.event_types.first().cloned());
        }
        _ => {
            let types: Vec<String> = filter.event_types.iter().cloned().collect();
            sql.push(" AND event_type = ANY(").push_bind(types).push(")");
        }
    }
    if let Some(id) = filter.actor_id {
        // What the system caused by itself has no actor.
        if id.is_nil() {
            sql.push(" AND actor_id IS NULL")
        } else {
            sql.push(" AND actor_id = ").push_bind(id)
        };
    }
    if let Some(id) = filter.correlation_id {
        sql.push(" AND correlation_id = ").push_bind(id);
    }
    // Times only grow with the position, so a time is a position.
    if let Some(from) = filter.from {
        let position = first_since(db, (log_id, tenant_id), from).await?;
        sql.push(" AND position >= ").push_bind(position);
    }
    if let Some(to) = filter.to {
        let position = first_since(db, (log_id, tenant_id), to).await?;
        sql.push(" AND position < ").push_bind(position);
    }
    in_order(db, sql, limit).await
}

/// The events of all tenants of a log after a position.
///
/// # Errors
/// Database errors.
pub async fn of_log(
    db: &mut PgConnection,
    log_id: i16,
    after: i64,
    limit: i64,
) -> Result<Vec<Stored>, sqlx::Error> {
    in_order(db, after_position(log_id, after), limit).await
}

fn after_position(log_id: i16, after: i64) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new(SELECT);
    sql.push(" WHERE log_id = ").push_bind(log_id).push(" AND position > ").push_bind(after);
    sql
}

async fn in_order(
    db: &mut PgConnection,
    mut sql: QueryBuilder<Postgres>,
    limit: i64,
) -> Result<Vec<Stored>, sqlx::Error> {
    sql.push(" ORDER BY position LIMIT ").push_bind(limit);
    // Planned for these very values: a frequent event type is found by walking the log, a rare one by its index, and
    // a plan for any value would be the wrong one for half of them.
    sql.build_query_as().persistent(false).fetch_all(db).await
}

/// One event, of any tenant that the transaction may see.
///
/// # Errors
/// Database errors.
pub async fn by_id(
    db: &mut PgConnection,
    log_id: i16,
    event_id: Uuid,
) -> Result<Option<Stored>, sqlx::Error> {
    let mut sql = QueryBuilder::new(SELECT);
    sql.push(" WHERE log_id = ").push_bind(log_id).push(" AND event_id = ").push_bind(event_id);
    sql.build_query_as().fetch_optional(db).await
}

/// A stream within a tenant's log.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    pub log_id: i16,
    pub tenant_id: Uuid,
    pub stream_type: &'a str,
    pub stream_id: Uuid,
}

impl Stream<'_> {
    /// Its events after a version.
    ///
    /// # Errors
    /// Database errors.
    pub async fn after(
        &self,
        db: &mut PgConnection,
        version: i64,
        limit: i64,
    ) -> Result<Vec<Stored>, sqlx::Error> {
        let mut sql = QueryBuilder::new(SELECT);
        self.push(&mut sql);
        sql.push(" AND version > ").push_bind(version).push(" ORDER BY version LIMIT ").push_bind(limit);
        sql.build_query_as().fetch_all(db).await
    }

    /// Its latest version up to a time, or of all; `None` where there is no event.
    ///
    /// # Errors
    /// Database errors.
    pub async fn version(
        &self,
        db: &mut PgConnection,
        at: Option<DateTime<Utc>>,
    ) -> Result<Option<i64>, sqlx::Error> {
        let mut sql = QueryBuilder::new("SELECT version FROM events");
        self.push(&mut sql);
        if let Some(at) = at {
            sql.push(" AND recorded_at <= ").push_bind(at);
        }
        sql.push(" ORDER BY version DESC LIMIT 1");
        sql.build_query_scalar().fetch_optional(db).await
    }

    fn push(&self, sql: &mut QueryBuilder<Postgres>) {
        sql.push(" WHERE log_id = ").push_bind(self.log_id);
        sql.push(" AND stream_id = ").push_bind(self.stream_id);
        sql.push(" AND tenant_id = ").push_bind(self.tenant_id);
        sql.push(" AND stream_type = ").push_bind(self.stream_type.to_owned());
    }
}

/// The position of a tenant's last event; 0 where there is none.
///
/// # Errors
/// Database errors.
pub async fn last_position(db: &mut PgConnection, log_id: i16, tenant_id: Uuid) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM events WHERE log_id = $1 AND tenant_id = $2")
        .bind(log_id)
        .bind(tenant_id)
        .fetch_one(db)
        .await
}

/// From which position on a tenant's events were recorded at a time or later.
///
/// # Errors
/// Database errors.
pub async fn first_since(
    db: &mut PgConnection,
    (log_id, tenant_id): (i16, Uuid),
    since: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT first_position_since($1, $2, $3)")
        .bind(log_id)
        .bind(tenant_id)
        .bind(since)
        .fetch_one(db)
        .await
}

/// The latest events of a log, of one tenant or all, in log order.
///
/// # Errors
/// Database errors.
pub async fn latest(
    db: &mut PgConnection,
    log_id: i16,
    tenant_id: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Stored>, sqlx::Error> {
    let mut sql = QueryBuilder::new(SELECT);
    sql.push(" WHERE log_id = ").push_bind(log_id);
    if let Some(tenant_id) = tenant_id {
        sql.push(" AND tenant_id = ").push_bind(tenant_id);
    }
    sql.push(" ORDER BY position DESC LIMIT ").push_bind(limit);
    let mut events: Vec<Stored> = sql.build_query_as().fetch_all(db).await?;
    events.reverse();
    Ok(events)
}
