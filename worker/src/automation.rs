//! Automation at work: what happens becomes items of a queue, rules are judged over each item's facts, and what they ask
//! for is done, each action once.
//!
//! [`trigger`] turns events into items, [`queue`] hands items to workers, [`plan`] decides what is to be done about one,
//! [`act`] does it. An item is judged over the snapshot of its facts, never over what has changed since.

mod act;
mod crew;
mod failure;
mod plan;
pub(crate) mod queue;
pub mod rules;
mod run;
mod snapshot;
pub mod trigger;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use commands::{CommandError, Store};
use tokio_util::sync::CancellationToken;

pub use trigger::manager;

use crate::outbound::Outbound;
use crew::Crew;
use rules::RuleBook;

/// How often the queue is looked at without being told to, and claims renewed: well within [`queue::LEASE`].
const POLL: Duration = Duration::from_secs(1);
/// Longer than any outage of all workers.
const CALLS_KEPT: TimeDelta = TimeDelta::days(30);

/// What working on items needs.
#[derive(Clone)]
pub struct Engine {
    store: Store,
    outbound: Arc<Outbound>,
    rules: Arc<RuleBook>,
    /// Multiplies the waits between attempts.
    scale: f64,
}

impl Engine {
    #[must_use]
    pub fn new(store: Store, outbound: Arc<Outbound>, scale: f64) -> Self {
        Self { store, outbound, rules: Arc::default(), scale }
    }
}

/// Works on the queue of one log until stopped; what has begun is finished first.
pub async fn run(engine: Engine, log_id: i16, stop: CancellationToken) {
    let mut news = engine.store.progress().follow_changes(projections::automation::NAME, log_id);
    let mut crew = Crew::new(engine, log_id);
    let mut look = true;
    while !stop.is_cancelled() {
        let seen = *news.borrow_and_update();
        let rest = match crew.turn(seen, look).await {
            Ok(rest) => rest,
            Err(error) => {
                tracing::error!(log_id, %error, "the automation queue can't be looked up; trying again");
                POLL
            }
        };
        look = tokio::select! {
            () = crew.finished() => false,
            _ = tokio::time::timeout(rest, news.changed()) => true,
            () = stop.cancelled() => break,
        };
    }
    crew.disband().await;
}

/// Forgets cooldowns that are over, and calls that nobody can be in the middle of any more.
///
/// # Errors
/// Database errors.
pub async fn forget_old(store: &Store) -> Result<u64, CommandError> {
    let now = store.clock().now();
    let over = sqlx::query("DELETE FROM automation_cooldowns WHERE log_id = ANY ($1) AND cooling_until < $2")
        .bind(store.logs())
        .bind(now)
        .execute(store.pool())
        .await?;
    let made = sqlx::query("DELETE FROM automation_calls WHERE log_id = ANY ($1) AND made_at < $2")
        .bind(store.logs())
        .bind(now - CALLS_KEPT)
        .execute(store.pool())
        .await?;
    Ok(over.rows_affected() + made.rows_affected())
}
