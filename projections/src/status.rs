//! How far each projection is, over all logs.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use commands::Store;
use serde::Serialize;

use crate::projection::Projection;
use crate::shadow::heads;

/// A projection as an operator sees it. Positions are sums over the logs.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub name: &'static str,
    /// A process manager can't be rebuilt or verified.
    pub is_read_model: bool,
    /// Grows by one with each rebuild and rollback.
    pub generation: i32,
    pub state: State,
    pub position: i64,
    pub head_position: i64,
    pub lag_events: i64,
    /// How long the oldest event that it has not seen has been waiting; 0 when it has seen all.
    pub lag_ms: i64,
    pub error: Option<String>,
    /// Events set aside: poison, and those that wait behind it.
    pub parked_events: i64,
    /// While tables are being filled beside the live ones, or were when their filling was interrupted.
    pub rebuild_progress_pct: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Live,
    Rebuilding,
    /// No process runs it on some log.
    Paused,
    /// It stopped at an error that it keeps trying to pass.
    Failed,
}

#[derive(sqlx::FromRow)]
struct Checkpoint {
    name: String,
    slot: String,
    log_id: i16,
    position: i64,
    generation: i32,
    error: Option<String>,
    leased: bool,
    /// Of the next event that it has not seen.
    waiting_since: Option<DateTime<Utc>>,
}

/// Every projection, in their order.
///
/// # Errors
/// Database errors.
pub async fn all(store: &Store, projections: &[Arc<Projection>]) -> Result<Vec<Status>, sqlx::Error> {
    let heads: HashMap<i16, i64> = store.logs().iter().copied().zip(heads(store).await?).collect();
    let checkpoints: Vec<Checkpoint> = sqlx::query_as(
        "SELECT p.name, p.slot, p.log_id, p.position, p.generation, p.error,
             coalesce(p.lease_until > now(), false) AS leased, e.recorded_at AS waiting_since
         FROM projections p
         LEFT JOIN events e ON p.slot = 'live' AND e.log_id = p.log_id AND e.position = p.position + 1",
    )
    .fetch_all(store.pool())
    .await?;
    let parked: Vec<(String, i64)> =
        sqlx::query_as("SELECT name, count(*) FROM parked_events WHERE slot = 'live' GROUP BY name")
            .fetch_all(store.pool())
            .await?;
    let parked: HashMap<String, i64> = parked.into_iter().collect();
    let now = store.clock().now();
    let status = |projection: &Arc<Projection>| {
        let mine: Vec<&Checkpoint> = checkpoints.iter().filter(|c| c.name == projection.name).collect();
        let parked_events = parked.get(projection.name).copied().unwrap_or(0);
        one(projection, &mine, &heads, parked_events, now)
    };
    Ok(projections.iter().map(status).collect())
}

fn one(
    projection: &Projection,
    checkpoints: &[&Checkpoint],
    heads: &HashMap<i16, i64>,
    parked_events: i64,
    now: DateTime<Utc>,
) -> Status {
    let slot = |name: &str| checkpoints.iter().filter(|c| c.slot == name).copied().collect::<Vec<_>>();
    let (live, rebuild) = (slot("live"), slot("rebuild"));
    // What was appended between the two queries is no lag.
    let position = live.iter().map(|c| c.position.min(heads.get(&c.log_id).copied().unwrap_or(0))).sum();
    let head_position: i64 = heads.values().sum();
    let waited = live.iter().filter_map(|c| Some((now - c.waiting_since?).num_milliseconds())).max();
    let error = live.iter().find_map(|c| c.error.clone());
    let parked = (parked_events > 0).then(|| format!("{parked_events} events are parked"));
    let state = match () {
        () if error.is_some() => State::Failed,
        () if rebuild.iter().any(|c| c.leased) => State::Rebuilding,
        () if live.iter().filter(|c| c.leased).count() < heads.len() => State::Paused,
        () => State::Live,
    };
    Status {
        name: projection.name,
        is_read_model: projection.is_read_model(),
        generation: live.iter().map(|c| c.generation).max().unwrap_or(1),
        state,
        position,
        head_position,
        lag_events: head_position - position,
        lag_ms: waited.unwrap_or(0).max(0),
        error: error.or(parked),
        parked_events,
        rebuild_progress_pct: (!rebuild.is_empty())
            .then(|| percent(rebuild.iter().map(|c| c.position).sum(), head_position)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage is for people")]
fn percent(done: i64, of: i64) -> f64 {
    if of == 0 { 100.0 } else { (100.0 * done as f64 / of as f64).min(100.0) }
}

/// An event that a projection has set aside.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct Parked {
    pub projection: String,
    pub log_id: i16,
    pub position: i64,
    pub tenant_id: uuid::Uuid,
    pub stream_type: String,
    pub stream_id: uuid::Uuid,
    pub version: i64,
    pub event_type: String,
    pub event_id: uuid::Uuid,
    /// Why it was parked; nothing for one that only waits behind it.
    pub error: Option<String>,
    pub parked_at: DateTime<Utc>,
}

/// The first parked events of all projections, in order.
///
/// # Errors
/// Database errors.
pub async fn parked(store: &Store, limit: i64) -> Result<Vec<Parked>, sqlx::Error> {
    sqlx::query_as(
        "SELECT p.name AS projection, e.log_id, e.position, e.tenant_id, e.stream_type, e.stream_id, e.version,
             e.event_type, e.event_id, p.error, p.parked_at
         FROM parked_events p JOIN events e USING (log_id, position)
         WHERE p.slot = 'live' ORDER BY p.name, p.log_id, p.position LIMIT $1",
    )
    .bind(limit)
    .fetch_all(store.pool())
    .await
}
