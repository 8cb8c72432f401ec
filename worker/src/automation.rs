//! Automation at work: what happens becomes items of a queue, rules are judged over each item's facts, and what they ask
//! for is done, each action once.
//!
//! [`trigger`] turns events into items, [`queue`] hands items to workers, [`plan`] decides what is to be done about one,
//! [`act`] does it. An item is judged over the snapshot of its facts, never over what has changed since.

mod act;
pub mod plan;
mod queue;
mod run;
mod snapshot;
pub mod trigger;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use commands::{CommandError, Store};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use trigger::manager;
pub use webhook::Webhooks;

use queue::Queue;

/// Items of a log worked on at once by one process.
const CONCURRENCY: usize = 16;
/// How often the queue is looked at without being told to, and claims renewed: well within [`queue::LEASE`].
const POLL: Duration = Duration::from_secs(1);
/// The shortest rest, so that an item about to be due does not make the loop spin.
const SHORTEST_REST: Duration = Duration::from_millis(2);

/// What working on items needs.
#[derive(Clone)]
pub struct Engine {
    pub store: Store,
    pub webhooks: Arc<Webhooks>,
    /// Multiplies the waits between attempts.
    pub scale: f64,
}

/// Works on the queue of one log until stopped; what has begun is finished first.
pub async fn run(engine: Engine, log_id: i16, stop: CancellationToken) {
    let queue = Queue { store: engine.store.clone(), log_id, owner: commands::ids::new_id() };
    let mut news = engine.store.progress().follow(projections::automation::NAME, log_id);
    let mut running = JoinSet::new();
    let mut renewed = Instant::now();
    while !stop.is_cancelled() {
        news.mark_unchanged();
        let renew = !running.is_empty() && renewed.elapsed() >= POLL;
        if renew {
            renewed = Instant::now();
        }
        let rest = match take_due(&engine, &queue, &mut running, renew).await {
            Ok(rest) => rest,
            Err(error) => {
                tracing::error!(log_id, %error, "the automation queue can't be looked up; trying again");
                POLL
            }
        };
        tokio::select! {
            Some(_) = running.join_next() => {}
            _ = tokio::time::timeout(rest, news.changed()) => {}
            () = stop.cancelled() => {}
        }
    }
    while !running.is_empty() {
        let _ = tokio::time::timeout(POLL, running.join_next()).await;
        if let Err(error) = queue.renew().await {
            tracing::warn!(log_id, %error, "claims on automation items were not renewed");
        }
    }
}

/// Forgets cooldowns that are over.
///
/// # Errors
/// Database errors.
pub async fn forget_old(store: &Store) -> Result<u64, CommandError> {
    let over = sqlx::query("DELETE FROM automation_cooldowns WHERE log_id = ANY ($1) AND cooling_until < $2")
        .bind(store.logs())
        .bind(store.clock().now())
        .execute(store.pool())
        .await?;
    Ok(over.rows_affected())
}

/// Starts what is due as far as there is room; answers how long to rest.
async fn take_due(
    engine: &Engine,
    queue: &Queue,
    running: &mut JoinSet<()>,
    renew: bool,
) -> Result<Duration, CommandError> {
    if renew {
        queue.renew().await?;
    }
    let free = CONCURRENCY - running.len().min(CONCURRENCY);
    for (tenant_id, item_id) in queue.claim(free).await? {
        let (engine, queue) = (engine.clone(), queue.clone());
        running.spawn(async move {
            match engine.work(tenant_id, item_id).await {
                Ok(position) => queue.release(item_id, position).await,
                Err(error) => {
                    tracing::error!(%item_id, %error, "an automation item could not be worked on; it stays due");
                    tokio::time::sleep(POLL).await;
                    queue.release(item_id, 0).await;
                }
            }
        });
    }
    let next = queue.next_due().await?;
    Ok(next.map_or(POLL, |wait| wait.clamp(SHORTEST_REST, POLL)))
}
