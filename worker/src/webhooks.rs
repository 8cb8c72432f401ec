//! Telling other people's servers what happens: events become deliveries, deliveries are sent until they arrive.
//!
//! [`subscriptions`] notes in its checkpoint's transaction which event is news to which webhook, [`notify`] makes a
//! delivery of each note, [`queue`] hands due deliveries to workers, [`send`] makes one attempt and records it. A worker
//! that dies between call and record leaves the delivery due: it goes out again with the same id and the same bytes, by
//! which a receiver tells a repetition. A worker that stalled can't record anything any more.

pub mod notify;
mod payload;
mod queue;
mod send;
mod subscriptions;
mod trim;

use std::sync::Arc;
use std::time::Duration;

use commands::{CommandError, Store};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::outbound::Outbound;
use queue::Queue;

pub use queue::forget_old;
pub use subscriptions::manager;
pub use trim::trim;

/// Deliveries of a log that one process has on their way at once.
const CONCURRENCY: usize = 32;
/// How often the queue is looked at without being told to, and claims renewed: well within [`queue::LEASE`].
const POLL: Duration = Duration::from_secs(1);
/// The shortest rest, so that a delivery about to be due does not make the loop spin.
const SHORTEST_REST: Duration = Duration::from_millis(2);

/// What sending needs.
#[derive(Clone)]
pub struct Sender {
    pub store: Store,
    pub outbound: Arc<Outbound>,
    /// Multiplies the waits between attempts.
    pub scale: f64,
}

/// Sends the deliveries of one log until stopped; what has begun is finished first.
pub async fn run(sender: Sender, log_id: i16, stop: CancellationToken) {
    let queue = Queue { store: sender.store.clone(), log_id, owner: commands::ids::new_id() };
    let mut news = sender.store.progress().follow_changes(projections::webhooks::NAME, log_id);
    let mut running = JoinSet::new();
    let mut renewed = Instant::now();
    while !stop.is_cancelled() {
        news.mark_unchanged();
        let renew = !running.is_empty() && renewed.elapsed() >= POLL;
        if renew {
            renewed = Instant::now();
        }
        let rest = match send_due(&sender, &queue, &mut running, renew).await {
            Ok(rest) => rest,
            Err(error) => {
                tracing::error!(log_id, %error, "webhook deliveries can't be looked up; trying again");
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
            tracing::warn!(log_id, %error, "claims on webhook deliveries were not renewed");
        }
    }
}

/// Starts what is due as far as there is room; answers how long to rest.
async fn send_due(
    sender: &Sender,
    queue: &Queue,
    running: &mut JoinSet<()>,
    renew: bool,
) -> Result<Duration, CommandError> {
    if renew {
        queue.renew().await?;
    }
    let free = CONCURRENCY - running.len().min(CONCURRENCY);
    for (tenant_id, delivery_id) in queue.claim(free).await? {
        let (sender, queue) = (sender.clone(), queue.clone());
        running.spawn(async move {
            match sender.work(tenant_id, delivery_id).await {
                Ok(position) => queue.release(delivery_id, position).await,
                Err(error) => {
                    tracing::error!(%delivery_id, %error, "a webhook delivery could not be worked on; it stays due");
                    tokio::time::sleep(POLL).await;
                    queue.release(delivery_id, 0).await;
                }
            }
        });
    }
    let next = queue.next_due().await?;
    Ok(next.map_or(POLL, |wait| wait.clamp(SHORTEST_REST, POLL)))
}
