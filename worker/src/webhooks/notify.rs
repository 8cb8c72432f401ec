//! From news to deliveries: each note of the process manager becomes a delivery with its body. The id follows from
//! webhook and event, so doing this twice makes one.

use std::time::Duration;

use commands::store::Origin;
use commands::{CommandError, Store, ids, webhook_delivery};
use domain::event::{Actor, Metadata};
use domain::outgoing_webhook::Topic;
use domain::personal::Personal;
use domain::webhook_delivery::schedule::MAX_ATTEMPTS;
use domain::webhook_delivery::{Queued, WebhookDelivery};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::payload::{self, News};
use super::subscriptions::NAME;
use crate::backoff::Backoff;
use crate::lease::Lease;
use crate::rounds::work_off;

/// Notes made deliveries in one go, and of those at once: their appends share commits.
const BATCH: i64 = 200;
const CONCURRENCY: usize = 32;
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// An event that is news to a webhook.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
struct Note {
    position: i64,
    webhook_id: Uuid,
    /// How often it could not be made a delivery.
    attempts: i32,
}

/// Makes deliveries of one log's news until stopped. `scale` multiplies the waits after a failure.
pub async fn run(store: Store, log_id: i16, scale: f64, stop: CancellationToken) {
    let lease = Lease::new(store.clone(), NAME, log_id);
    let news = store.progress().follow_changes(NAME, log_id);
    work_off(NAME, news, &stop, || step(&store, &lease, log_id, scale)).await;
    lease.give_back().await;
}

/// Makes deliveries of the next notes; false when there are none, or another process does it.
async fn step(store: &Store, lease: &Lease, log_id: i16, scale: f64) -> Result<bool, CommandError> {
    if !lease.hold().await? {
        return Ok(false);
    }
    let due: Vec<Note> = sqlx::query_as(
        "SELECT position, webhook_id, attempts FROM webhook_triggers WHERE log_id = $1 AND available_at <= now()
         ORDER BY position, webhook_id LIMIT $2",
    )
    .bind(log_id)
    .bind(BATCH)
    .fetch_all(store.pool())
    .await?;
    if due.is_empty() {
        return Ok(false);
    }
    let queued =
        futures::stream::iter(due).map(|note| async move { (note, enqueue(store, log_id, note).await) });
    let mut queued = queued.buffer_unordered(CONCURRENCY);
    let mut done = Vec::new();
    while let Some((note, result)) = queued.next().await {
        match result {
            Ok(()) => done.push(note),
            Err(error) => {
                tracing::error!(log_id, position = note.position, %error, "a webhook could not be notified");
                put_off(store, log_id, note, scale).await?;
            }
        }
    }
    forget(store, log_id, &done).await?;
    Ok(true)
}

/// Not synced: what is not deleted after a crash is enqueued again, which makes nothing new.
async fn forget(store: &Store, log_id: i16, done: &[Note]) -> Result<(), CommandError> {
    let mut tx = super::queue::unsynced(store.pool()).await?;
    sqlx::query(
        "DELETE FROM webhook_triggers t USING unnest($2::bigint[], $3::uuid[]) AS done (position, webhook_id)
         WHERE t.log_id = $1 AND t.position = done.position AND t.webhook_id = done.webhook_id",
    )
    .bind(log_id)
    .bind(done.iter().map(|note| note.position).collect::<Vec<_>>())
    .bind(done.iter().map(|note| note.webhook_id).collect::<Vec<_>>())
    .execute(&mut *tx)
    .await?;
    Ok(tx.commit().await?)
}

async fn put_off(store: &Store, log_id: i16, note: Note, scale: f64) -> Result<(), CommandError> {
    let pace = Backoff { base: FIRST_RETRY, longest: LONGEST_RETRY, scale };
    let wait = pace.after(u32::try_from(note.attempts + 1).unwrap_or(1));
    sqlx::query(
        "UPDATE webhook_triggers SET attempts = attempts + 1, available_at = now() + $4 * interval '1 second'
         WHERE log_id = $1 AND position = $2 AND webhook_id = $3",
    )
    .bind(log_id)
    .bind(note.position)
    .bind(note.webhook_id)
    .bind(wait.as_secs_f64())
    .execute(store.pool())
    .await?;
    Ok(())
}

async fn enqueue(store: &Store, log_id: i16, note: Note) -> Result<(), CommandError> {
    let event = store.read_log(log_id, note.position - 1, 1).await?.pop();
    let event =
        event.ok_or_else(|| CommandError::failed(format!("log {log_id} has no event {}", note.position)))?;
    let Some(topic) = Topic::of(&event.event_type, &event.body) else { return Ok(()) };
    // Nothing is told about a person who has been forgotten.
    let Some(News { contact_id, data }) = payload::of(store, topic, &event).await? else { return Ok(()) };
    let body = payload::body(event.event_id, topic.as_str(), event.recorded_at, &data);
    let queued = Queued {
        webhook_id: note.webhook_id,
        event_type: topic.as_str().to_owned(),
        source_event_id: Some(event.event_id),
        contact_id: Some(contact_id),
        body: Personal::new(contact_id, body),
        max_attempts: MAX_ATTEMPTS,
    };
    let id = webhook_delivery::id_of(note.webhook_id, event.event_id);
    let metadata = Metadata {
        causation_id: Some(event.event_id),
        ..Metadata::new(Actor::system(), event.metadata.correlation_id)
    };
    let origin =
        Origin { command_id: ids::named_id(id, "enqueue"), ..Origin::new(event.tenant_id, metadata) };
    store.execute::<WebhookDelivery>(&origin, id, |state| webhook_delivery::queue(state, &queued)).await?;
    Ok(())
}
