//! Poison events: an event that a projection can't apply parks its stream, later events of the stream wait behind it,
//! and everyone else goes on. Nothing is skipped: the parked are visible and can be replayed after a fix.

use std::collections::HashSet;
use std::sync::Arc;

use commands::store::event_from_row;
use domain::event::Recorded;
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::event::Event;
use crate::runner::{RunError, Runner, apply_tables};
use crate::table::ApplyError;

/// Parked events that are tried in one transaction.
const REPLAY_PAGE: i64 = 500;

/// SQLSTATE classes of what a value can be wrong with: data exceptions, violated constraints, exceeded limits of the
/// server. Everything else, such as a deadlock, a full disk or a lost connection, passes and is nobody's poison.
const POISON_CLASSES: [&str; 3] = ["22", "23", "54"];

/// Whether the event itself can't be applied, now or later.
pub(crate) fn is_poison(error: &ApplyError) -> bool {
    match error {
        ApplyError::Fold(_) => true,
        ApplyError::Database(error) => error
            .as_database_error()
            .and_then(|error| error.code())
            .is_some_and(|code| POISON_CLASSES.iter().any(|class| code.starts_with(class))),
    }
}

/// Parks the events whose streams are parked already; answers the others.
pub(crate) async fn set_aside(
    tx: &mut PgConnection,
    runner: &Runner,
    events: Vec<Event>,
) -> Result<Vec<Event>, RunError> {
    let parked = parked_streams(tx, runner).await?;
    if parked.is_empty() {
        return Ok(events);
    }
    let (waiting, others): (Vec<_>, Vec<_>) = events.into_iter().partition(|e| parked.contains(&e.stream_id));
    for event in &waiting {
        park(tx, runner, event, None).await?;
    }
    Ok(others)
}

/// Applies events one by one and parks the streams of those that fail.
pub(crate) async fn apply_each(
    tx: &mut PgConnection,
    runner: &Runner,
    events: Vec<Event>,
) -> Result<(), RunError> {
    let mut parked = HashSet::new();
    for event in events {
        if parked.contains(&event.stream_id) {
            park(tx, runner, &event, None).await?;
            continue;
        }
        if let Err(error) = apply_one(tx, runner, &event).await? {
            tracing::error!(projection = runner.projection.name, position = event.position, %error, "an event was parked");
            metrics::counter!("projection_parked_total", "projection" => runner.projection.name).increment(1);
            park(tx, runner, &event, Some(&error.to_string())).await?;
            parked.insert(event.stream_id);
        }
    }
    Ok(())
}

/// Tries every parked event again, in order; a stream whose first event still fails stays parked.
/// Answers how many were applied and how many remain.
///
/// # Errors
/// Database errors; what was applied until then stays applied.
pub async fn replay(runner: &Runner) -> Result<(usize, usize), RunError> {
    let (mut applied, mut remaining, mut stuck, mut after) = (0, 0, HashSet::new(), 0);
    loop {
        let mut connection = runner.store.pool().acquire().await?;
        let mut tx = connection.begin().await?;
        // The live runner takes this row before it applies anything, so nothing overtakes the replay.
        sqlx::query("SELECT 1 FROM projections WHERE name = $1 AND slot = $2 AND log_id = $3 FOR UPDATE")
            .bind(runner.projection.name)
            .bind(runner.slot.as_str())
            .bind(runner.log_id)
            .execute(&mut *tx)
            .await?;
        let events = parked_events(&mut tx, runner, after).await?;
        let Some(last) = events.last().map(|e| e.position) else {
            return Ok((applied, remaining));
        };
        for event in events {
            match replay_one(&mut tx, runner, &event, &stuck).await? {
                true => applied += 1,
                false => {
                    stuck.insert(event.stream_id);
                    remaining += 1;
                }
            }
        }
        tx.commit().await?;
        after = last;
    }
}

/// Whether the event was applied.
async fn replay_one(
    tx: &mut PgConnection,
    runner: &Runner,
    event: &Event,
    stuck: &HashSet<Uuid>,
) -> Result<bool, RunError> {
    if stuck.contains(&event.stream_id) {
        return Ok(false);
    }
    match apply_one(tx, runner, event).await? {
        Ok(()) => unpark(tx, runner, event.position).await?,
        Err(error) => {
            park(tx, runner, event, Some(&error.to_string())).await?;
            return Ok(false);
        }
    }
    Ok(true)
}

async fn parked_events(tx: &mut PgConnection, runner: &Runner, after: i64) -> Result<Vec<Event>, RunError> {
    let rows = sqlx::query(
        "SELECT e.log_id, e.position, e.tenant_id, e.stream_type, e.stream_id, e.version, e.event_type,
             e.schema_version, e.event_id, e.command_id, e.metadata, e.recorded_at, e.payload
         FROM parked_events p JOIN events e USING (log_id, position)
         WHERE p.name = $1 AND p.slot = $2 AND p.log_id = $3 AND p.position > $4 ORDER BY p.position LIMIT $5",
    )
    .bind(runner.projection.name)
    .bind(runner.slot.as_str())
    .bind(runner.log_id)
    .bind(after)
    .bind(REPLAY_PAGE)
    .fetch_all(&mut *tx)
    .await?;
    let mut events: Vec<Recorded<Value>> = rows.iter().map(event_from_row).collect::<Result<_, _>>()?;
    let keys = runner.store.vault().keys_of(events.iter().map(|e| (e.tenant_id, &e.body))).await?;
    events.iter_mut().for_each(|e| keys.open(e.tenant_id, &mut e.body));
    Ok(events.into_iter().map(Arc::new).collect())
}

/// The outer error is the system's, the inner one the event's.
async fn apply_one(
    tx: &mut PgConnection,
    runner: &Runner,
    event: &Event,
) -> Result<Result<(), ApplyError>, RunError> {
    let mut attempt = tx.begin().await?;
    match apply_tables(&mut attempt, &runner.projection, runner.schema(), std::slice::from_ref(event)).await {
        Ok(()) => {
            attempt.commit().await?;
            Ok(Ok(()))
        }
        Err(error) if is_poison(&error) => {
            attempt.rollback().await?;
            Ok(Err(error))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether some stream waits for a fix.
pub(crate) async fn is_any_parked(runner: &Runner) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM parked_events WHERE name = $1 AND slot = $2 AND log_id = $3)",
    )
    .bind(runner.projection.name)
    .bind(runner.slot.as_str())
    .bind(runner.log_id)
    .fetch_one(runner.store.pool())
    .await
}

async fn parked_streams(tx: &mut PgConnection, runner: &Runner) -> Result<HashSet<Uuid>, RunError> {
    let streams: Vec<Uuid> = sqlx::query_scalar(
        "SELECT DISTINCT stream_id FROM parked_events WHERE name = $1 AND slot = $2 AND log_id = $3",
    )
    .bind(runner.projection.name)
    .bind(runner.slot.as_str())
    .bind(runner.log_id)
    .fetch_all(tx)
    .await?;
    Ok(streams.into_iter().collect())
}

async fn park(
    tx: &mut PgConnection,
    runner: &Runner,
    event: &Event,
    error: Option<&str>,
) -> Result<(), RunError> {
    sqlx::query(
        "INSERT INTO parked_events (name, slot, log_id, position, stream_id, error) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (name, slot, log_id, position) DO UPDATE SET error = EXCLUDED.error",
    )
    .bind(runner.projection.name)
    .bind(runner.slot.as_str())
    .bind(runner.log_id)
    .bind(event.position)
    .bind(event.stream_id)
    .bind(error)
    .execute(tx)
    .await?;
    Ok(())
}

async fn unpark(tx: &mut PgConnection, runner: &Runner, position: i64) -> Result<(), RunError> {
    sqlx::query("DELETE FROM parked_events WHERE name = $1 AND slot = $2 AND log_id = $3 AND position = $4")
        .bind(runner.projection.name)
        .bind(runner.slot.as_str())
        .bind(runner.log_id)
        .bind(position)
        .execute(tx)
        .await?;
    Ok(())
}
