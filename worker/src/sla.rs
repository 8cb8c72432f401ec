//! Fires the service level's timers: pins a policy to each new conversation, and records warnings and breaches on time.
//!
//! The timers are rows of the read model, so they survive restarts, and a rebuild makes the same ones. A deadline that
//! passed while nothing ran is found at the next start; a reply that came too late leaves its mark due until recorded.

use std::time::Duration;

use commands::store::Origin;
use commands::{CommandError, Store, sla};
use domain::aggregate::Aggregate;
use domain::conversation::Conversation;
use domain::division::Division;
use domain::event::{Actor, Metadata};
use domain::sla::Policy;
use domain::sla_policy::SlaPolicy;
use domain::tenant_settings::{TenantSettings, stream_id};
use domain::working_hours::{WorkingHours, parse_time_zone};
use futures::StreamExt;
use projections::documents;
use projections::sla as read_model;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Conversations looked at in one go.
const BATCH: i64 = 200;
/// Of those, at the same time: their commands share commits.
const CONCURRENT: usize = 32;
/// The loop never sleeps longer, so that a timer set by another process is late by this at most.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// After news, until more of them have come: each message is some, and few make anything due before its time.
const GATHER: Duration = Duration::from_millis(50);
/// After a failure, and while marks just recorded have not reached the read model.
const REST: Duration = Duration::from_millis(20);

/// Runs the timers of one log until stopped.
pub async fn run(store: Store, log_id: i16, stopping: CancellationToken) {
    let mut progress = store.progress().follow_changes(read_model::NAME, log_id);
    while !stopping.is_cancelled() {
        let pause = match fire(&store, log_id).await {
            Ok(0) => until_next(&store).await,
            Ok(_) => REST,
            Err(error) => {
                tracing::error!(log_id, %error, "service level timers failed; trying again");
                LONGEST_SLEEP
            }
        };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
            _ = progress.changed() => {
                tokio::time::sleep(GATHER).await;
                progress.mark_unchanged();
            }
        }
    }
}

async fn until_next(store: &Store) -> Duration {
    let next = match store.pool().acquire().await {
        Ok(mut db) => read_model::next_due(&mut db).await.ok().flatten(),
        Err(_) => None,
    };
    let wait = next.and_then(|at| (at - store.clock().now()).to_std().ok());
    wait.unwrap_or(LONGEST_SLEEP).clamp(REST, LONGEST_SLEEP)
}

/// Looks at every conversation that is due; answers how many there were.
async fn fire(store: &Store, log_id: i16) -> Result<usize, CommandError> {
    let due = {
        let mut db = store.pool().acquire().await?;
        read_model::due(&mut db, log_id, store.clock().now(), BATCH).await?
    };
    let count = due.len();
    let looks = due.into_iter().map(|(tenant_id, id)| look(store, tenant_id, id));
    let mut results = futures::stream::iter(looks).buffer_unordered(CONCURRENT);
    while let Some(result) = results.next().await {
        if let Err(error) = result {
            tracing::error!(log_id, %error, "a service level could not be looked at; it stays due");
        }
    }
    Ok(count)
}

/// Does what is due for one conversation.
async fn look(store: &Store, tenant_id: Uuid, conversation_id: Uuid) -> Result<(), CommandError> {
    let state: Conversation = store.load(tenant_id, conversation_id).await?;
    let metadata = Metadata::new(Actor::system(), commands::ids::new_id());
    let origin = Origin::new(tenant_id, metadata);
    let now = store.clock().now();
    if state.exists() && !state.sla.is_started() {
        let policies = policies(store, tenant_id).await?;
        let hours = hours_of(store, tenant_id, state.division_id).await?;
        store
            .execute::<Conversation>(&origin, conversation_id, |state| {
                sla::start(state, &policies, &hours, now)
            })
            .await?;
    } else {
        store
            .execute::<Conversation>(&origin, conversation_id, |state| sla::record_marks(state, now))
            .await?;
    }
    Ok(())
}

async fn policies(store: &Store, tenant_id: Uuid) -> Result<Vec<Policy>, CommandError> {
    let mut db = store.pool().acquire().await?;
    let documents = documents::list::<SlaPolicy>(&mut db, tenant_id).await?;
    Ok(documents.iter().map(|document| document.state.as_policy(document.id)).collect())
}

/// The hours that hold for a conversation of this division now.
///
/// # Errors
/// Database errors, or stored hours that contradict themselves.
pub async fn hours_of(
    store: &Store,
    tenant_id: Uuid,
    division_id: Option<Uuid>,
) -> Result<WorkingHours, CommandError> {
    let mut db = store.pool().acquire().await?;
    let settings = documents::get::<TenantSettings>(&mut db, tenant_id, stream_id(tenant_id)).await?;
    let settings = settings.map(|document| document.state).unwrap_or_default();
    let division = match division_id {
        Some(id) => documents::get::<Division>(&mut db, tenant_id, id).await?.map(|document| document.state),
        None => None,
    };
    let zone = parse_time_zone(&settings.time_zone).map_err(CommandError::failed)?;
    let of_division = division.map(|division| division.working_hours).unwrap_or_default();
    WorkingHours::resolve(zone, &of_division, &settings.working_hours).map_err(CommandError::failed)
}
