//! Removes what was kept long enough: finished payloads, notices, effects and deliveries, and answers to repeated
//! requests.

use std::time::Duration;

use commands::{CommandError, Store, idempotency, inbound, payment_notice};
use tokio_util::sync::CancellationToken;

use crate::{automation, effects, webhooks};

/// How often it looks. Two processes doing it at once only do it twice.
const EVERY: Duration = Duration::from_secs(3600);

/// Cleans up now and then until stopped.
pub async fn run(store: Store, stop: CancellationToken) {
    loop {
        if let Err(error) = clean(&store).await {
            tracing::warn!(%error, "old rows were not removed; trying again later");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn clean(store: &Store) -> Result<(), CommandError> {
    let mut removed = idempotency::forget_old(store.pool(), store.clock().now()).await?;
    removed += automation::forget_old(store).await?;
    removed += webhooks::forget_old(store).await?;
    removed += webhooks::trim(store).await?;
    for log_id in store.logs() {
        removed += inbound::queue::forget_old(store, *log_id).await?;
        removed += payment_notice::queue::forget_old(store, *log_id).await?;
        removed += effects::forget_old(store, *log_id).await?;
    }
    if removed > 0 {
        tracing::info!(removed, "old rows were removed");
    }
    Ok(())
}
