//! Deliveries are shown for [`DELIVERIES_KEPT`]. Older ones are taken off by an event that names them, so that the log of
//! deliveries stays what follows from the events, and a rebuild does not bring them back.

use commands::outgoing_webhook::trim_log;
use commands::store::Origin;
use commands::{CommandError, Store, ids};
use domain::event::{Actor, Metadata};
use domain::outgoing_webhook::{DELIVERIES_KEPT, OutgoingWebhook};
use uuid::Uuid;

use super::queue::SETTLE;

/// Deliveries that one event names.
const AT_ONCE: i64 = 500;
/// Webhooks looked after at once.
const WEBHOOKS: i64 = 100;
/// What is left after so many rounds waits for the next time.
const MAX_ROUNDS: usize = 100;

#[derive(sqlx::FromRow)]
struct Old {
    tenant_id: Uuid,
    webhook_id: Uuid,
    deliveries: Vec<Uuid>,
}

/// Takes old deliveries off the log; answers how many.
///
/// # Errors
/// Database errors.
pub async fn trim(store: &Store) -> Result<u64, CommandError> {
    let mut trimmed = 0;
    for _ in 0..MAX_ROUNDS {
        let old = find(store).await?;
        if old.is_empty() {
            break;
        }
        for webhook in old {
            // Of processes that find the same at once one does it.
            let command_id = ids::named_id(webhook.webhook_id, &format!("trim {:?}", webhook.deliveries));
            let metadata = Metadata::new(Actor::system(), command_id);
            let origin = Origin { command_id, ..Origin::new(webhook.tenant_id, metadata) };
            let decide = |_: &OutgoingWebhook| trim_log(&webhook.deliveries);
            let done = store.execute::<OutgoingWebhook>(&origin, webhook.webhook_id, decide).await?;
            let mut progress = store.progress().follow(projections::webhooks::NAME, done.log_id);
            let shown = progress.wait_for(|seen| *seen >= done.position);
            if tokio::time::timeout(SETTLE, shown).await.is_err() {
                return Ok(trimmed);
            }
            trimmed += webhook.deliveries.len() as u64;
        }
    }
    Ok(trimmed)
}

/// The oldest deliveries of each webhook that are due to go, by an index that the list has anyway.
async fn find(store: &Store) -> Result<Vec<Old>, CommandError> {
    Ok(sqlx::query_as(
        "SELECT h.tenant_id, h.webhook_id, old.deliveries
         FROM read.webhook_health h
         CROSS JOIN LATERAL (
             SELECT array_agg(d.id) AS deliveries FROM (
                 SELECT id FROM read.webhook_deliveries
                 WHERE tenant_id = h.tenant_id AND webhook_id = h.webhook_id AND created_at < $1
                     AND status <> 'pending'
                 ORDER BY created_at, id LIMIT $2) d) old
         WHERE old.deliveries IS NOT NULL LIMIT $3",
    )
    .bind(store.clock().now() - DELIVERIES_KEPT)
    .bind(AT_ONCE)
    .bind(WEBHOOKS)
    .fetch_all(store.pool())
    .await?)
}
