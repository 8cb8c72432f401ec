//! Carries out effects: what leaves the system, at most once where a second time would do harm.
//!
//! An effect is claimed, prepared, and marked `sending` in a committed transaction right before anything leaves. Whoever
//! dies after that leaves the mark; when its lease has run out a message is failed with a reason, because nobody can
//! know whether it arrived, and a read receipt, which does no harm twice, is sent again. Whoever dies before it leaves
//! a claim that runs out.

mod queue;
mod send;

use std::sync::Arc;
use std::time::Duration;

use commands::failpoint::{self, Failpoint};
use commands::ports::GraphApi;
use commands::{CommandError, Store};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::delivery;
use queue::{Claimed, Queue};
use send::Prepared;

pub use queue::forget_old;

/// Effects of a log carried out at once by one process: one slow account must not hold up the others.
const CONCURRENCY: usize = 16;
/// How often the queue is looked at without being told to, and leases renewed: well within [`queue::LEASE`].
const POLL: Duration = Duration::from_secs(1);
/// Attempts of an effect that may succeed later.
const MAX_ATTEMPTS: u32 = 6;
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(300);
/// How often the outcome of a call is written down before it is left to the lease.
const MAX_RECORDINGS: u32 = 10;

/// What a person reads when nobody knows whether a message arrived.
const UNKNOWN: &str = "The connection to WhatsApp broke off while this was being sent, so it may or may not have \
     arrived. Check with the customer before sending it again.";
const INTERRUPTED: &str = "The program was interrupted while sending this, so it may or may not have arrived. Check \
     with the customer before sending it again.";

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Attempt {
    /// Done; a message has this id at its channel now.
    Sent(Option<String>),
    /// Certainly not done, for a reason that passes.
    Later {
        code: Option<i64>,
        reason: String,
    },
    Failed {
        code: Option<i64>,
        reason: String,
    },
}

/// What sending needs.
#[derive(Clone)]
pub struct Sender {
    pub store: Store,
    pub graph: Arc<dyn GraphApi>,
    /// Used for accounts without a token of their own.
    pub fallback_token: Option<String>,
    /// Multiplies the waits between attempts.
    pub scale: f64,
}

/// Carries out the effects of one log until stopped; what has begun is finished first.
pub async fn run(sender: Sender, log_id: i16, stop: CancellationToken) {
    let queue = Queue { store: sender.store.clone(), log_id, owner: commands::ids::new_id() };
    let mut news = sender.store.progress().follow_changes(delivery::NAME, log_id);
    let mut running = JoinSet::new();
    let mut cared: Option<Instant> = None;
    while !stop.is_cancelled() {
        news.mark_unchanged();
        // What expires is not looked at for each message.
        if cared.is_none_or(|at| at.elapsed() >= POLL) {
            cared = Some(Instant::now());
            if let Err(error) = care(&sender, &queue, &running).await {
                tracing::error!(log_id, %error, "leases of effects can't be looked after; trying again");
            }
        }
        if let Err(error) = start_due(&sender, &queue, &mut running).await {
            tracing::error!(log_id, %error, "effects can't be looked up; trying again");
        }
        tokio::select! {
            Some(_) = running.join_next() => {}
            _ = tokio::time::timeout(POLL, news.changed()) => {}
            () = stop.cancelled() => {}
        }
    }
    while !running.is_empty() {
        let _ = tokio::time::timeout(POLL, running.join_next()).await;
        if let Err(error) = queue.renew().await {
            tracing::warn!(log_id, %error, "a lease was not renewed");
        }
    }
}

/// Keeps what is being sent, and settles what somebody else was sending when it died.
async fn care(sender: &Sender, queue: &Queue, running: &JoinSet<()>) -> Result<(), CommandError> {
    if !running.is_empty() {
        queue.renew().await?;
    }
    for interrupted in queue.interrupted().await? {
        let failed = Attempt::Failed { code: None, reason: INTERRUPTED.to_owned() };
        settle(sender, queue, &interrupted, failed).await;
    }
    Ok(())
}

async fn start_due(sender: &Sender, queue: &Queue, running: &mut JoinSet<()>) -> Result<(), CommandError> {
    let free = CONCURRENCY - running.len().min(CONCURRENCY);
    for effect in queue.claim(free).await? {
        let (sender, queue) = (sender.clone(), queue.clone());
        running.spawn(async move {
            failpoint::reached(Failpoint::EffectsClaimed).await;
            carry_out(&sender, &queue, &effect).await;
        });
    }
    Ok(())
}

async fn carry_out(sender: &Sender, queue: &Queue, effect: &Claimed) {
    let prepared = send::prepare(sender, effect).await.unwrap_or_else(|error| {
        let reason = format!("It could not be prepared for sending: {error}");
        Prepared::Settled(Attempt::Later { code: None, reason })
    });
    match queue.begin(effect).await {
        Ok(true) => {}
        // Somebody else does it.
        Ok(false) => return,
        Err(error) => {
            tracing::warn!(log_id = queue.log_id, position = effect.position, %error, "an effect was not begun");
            return;
        }
    }
    failpoint::reached(Failpoint::EffectBegun).await;
    let attempt = match prepared {
        Prepared::Call(call) => call.make(sender).await,
        Prepared::Settled(attempt) => attempt,
    };
    failpoint::reached(Failpoint::EffectAttempted).await;
    settle(sender, queue, effect, attempt).await;
}

/// Writes down what came of an effect. If that can't be done, the lease runs out and says that nobody knows.
async fn settle(sender: &Sender, queue: &Queue, effect: &Claimed, attempt: Attempt) {
    let pace = Backoff { base: Duration::from_millis(50), longest: Duration::from_secs(1), scale: 1.0 };
    for failures in 1..=MAX_RECORDINGS {
        match record(sender, queue, effect, attempt.clone()).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(log_id = queue.log_id, position = effect.position, %error, "an outcome was not recorded");
                tokio::time::sleep(pace.after(failures)).await;
            }
        }
    }
}

async fn record(
    sender: &Sender,
    queue: &Queue,
    effect: &Claimed,
    attempt: Attempt,
) -> Result<(), CommandError> {
    match attempt {
        Attempt::Sent(external_id) => {
            if let Some(external_id) = &external_id {
                send::record_sent(&sender.store, effect, external_id).await?;
            }
            failpoint::reached(Failpoint::EffectRecorded).await;
            queue.finish(effect, "done", None).await?;
            if let Some(external_id) = &external_id {
                commands::inbound::queue::now_known(&sender.store, queue.log_id, external_id).await?;
            }
            Ok(())
        }
        Attempt::Later { reason, .. } if effect.failures() < MAX_ATTEMPTS => {
            let pace = Backoff { base: FIRST_RETRY, longest: LONGEST_RETRY, scale: sender.scale };
            queue.again(effect, &reason, pace.after(effect.failures())).await
        }
        Attempt::Later { code, reason } | Attempt::Failed { code, reason } => {
            if effect.message_id.is_some() {
                send::record_failed(&sender.store, effect, code, &reason).await?;
            } else {
                tracing::warn!(
                    log_id = queue.log_id,
                    position = effect.position,
                    reason,
                    "a read receipt was not sent"
                );
            }
            metrics::counter!("effects_failed_total").increment(1);
            queue.finish(effect, "failed", Some(&reason)).await
        }
    }
}
