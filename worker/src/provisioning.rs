//! Finishes tenants whose registration was interrupted between the platform's log and their own.

use std::time::Duration;

use chrono::TimeDelta;
use commands::{CommandError, Store, ids, organization};
use domain::aggregate::Aggregate;
use domain::event::{Actor, Metadata, PLATFORM_TENANT};
use domain::organization::Organization;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often interrupted registrations are looked for.
const EVERY: Duration = Duration::from_secs(30);
/// A younger one is most likely still being worked on by the request that began it. Two that work on it do no harm.
const INTERRUPTED_AFTER: TimeDelta = TimeDelta::seconds(5);
/// Tenants that are finished between two looks.
const AT_ONCE: i64 = 100;

/// Runs until `stopping` is cancelled.
pub async fn run(store: Store, stopping: CancellationToken) {
    loop {
        if let Err(error) = finish(&store).await {
            tracing::warn!(%error, "interrupted registrations could not be looked for");
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Finishes what is interrupted now. One that fails is logged, and tried again at the next look.
async fn finish(store: &Store) -> Result<(), CommandError> {
    let interrupted: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM read.documents
         WHERE tenant_id = $1 AND collection = 'organization' AND collection = $2
             AND doc ->> 'status' = 'provisioning' AND created_at < $3
         ORDER BY created_at LIMIT $4",
    )
    .bind(PLATFORM_TENANT)
    .bind(Organization::STREAM)
    .bind(store.clock().now() - INTERRUPTED_AFTER)
    .bind(AT_ONCE)
    .fetch_all(store.pool())
    .await?;
    for id in interrupted {
        let metadata = Metadata::new(Actor::system(), ids::new_id());
        match organization::provision(store, id, &metadata).await {
            Ok(_) => tracing::info!(organization_id = %id, "an interrupted registration is finished"),
            Err(error) => {
                tracing::warn!(organization_id = %id, %error, "a registration could not be finished")
            }
        }
    }
    Ok(())
}
