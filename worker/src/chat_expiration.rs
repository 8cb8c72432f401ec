//! Ends conversations whose customers have been silent for as long as the channel's rule says.
//!
//! The timers are rows of the read model, so they survive restarts, and what fell due while nothing ran is found at the
//! next start. Several processes may look: whoever comes second finds the conversation resolved.

use std::time::Duration;

use commands::store::Origin;
use commands::{CommandError, Store, chat_expiration_rule as rules};
use domain::channel::Channel;
use domain::chat_expiration_rule::ChatExpirationRule;
use domain::conversation::Conversation;
use domain::event::{Actor, Metadata};
use futures::StreamExt;
use projections::chat_expiration as read_model;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Conversations looked at in one go.
const BATCH: i64 = 200;
/// Of those, at the same time: their commands share commits.
const CONCURRENT: usize = 32;
/// How often it looks. Windows are whole hours, so nobody misses these seconds.
const EVERY: Duration = Duration::from_secs(5);
/// Between full batches, for the read model to take in what was just decided.
const REST: Duration = Duration::from_millis(50);

/// Ends the conversations of one log until stopped.
pub async fn run(store: Store, log_id: i16, stopping: CancellationToken) {
    while !stopping.is_cancelled() {
        let pause = match end_due(&store, log_id).await {
            Ok(count) if count as i64 == BATCH => REST,
            Ok(_) => EVERY,
            Err(error) => {
                tracing::error!(log_id, %error, "conversations could not be expired; trying again");
                EVERY
            }
        };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Looks at every conversation that is due; answers how many there were.
async fn end_due(store: &Store, log_id: i16) -> Result<usize, CommandError> {
    let due = {
        let mut db = store.pool().acquire().await?;
        read_model::due(&mut db, log_id, store.clock().now(), BATCH).await?
    };
    let count = due.len();
    let ends = due.into_iter().map(|(tenant_id, id, channel)| end(store, tenant_id, id, channel));
    let mut results = futures::stream::iter(ends).buffer_unordered(CONCURRENT);
    while let Some(result) = results.next().await {
        if let Err(error) = result {
            tracing::error!(log_id, %error, "a conversation could not be expired; it stays due");
        }
    }
    Ok(count)
}

async fn end(
    store: &Store,
    tenant_id: Uuid,
    conversation_id: Uuid,
    channel: String,
) -> Result<(), CommandError> {
    let channel = Channel::ALL.into_iter().find(|known| known.as_str() == channel);
    let channel = channel.ok_or_else(|| CommandError::failed("a rule for a channel that is not known"))?;
    let rule: ChatExpirationRule = rules::of_channel(store, tenant_id, channel).await?;
    let now = store.clock().now();
    let origin = Origin::new(tenant_id, Metadata::new(Actor::system(), commands::ids::new_id()));
    let decide = |state: &Conversation| rules::expire(state, &rule, now);
    store.execute::<Conversation>(&origin, conversation_id, decide).await?;
    Ok(())
}
