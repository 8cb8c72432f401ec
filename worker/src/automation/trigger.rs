//! From events to items: the process manager notes which events set rules off, and a task makes each an item.
//!
//! What automation itself did sets nothing off, so rules cannot loop. An item's id follows from its trigger and event, so
//! doing this twice makes one item.

use commands::failpoint::{self, Failpoint};
use commands::store::{Append, Expected, Part};
use commands::{CommandError, Store, automation_item, ids};
use domain::aggregate::Aggregate;
use domain::automation::TriggerType;
use domain::automation_item::{AutomationItem, item_id};
use domain::conversation::Conversation;
use domain::event::{Actor, ActorKind, Metadata};
use futures::StreamExt;
use projections::event::{Event, FoldError};
use projections::projection::Projection;
use projections::row;
use projections::table::{Fold, Key, table};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::queue::unsynced;
use super::snapshot;
use crate::lease::Lease;
use crate::put_off::{Failed, put_off};
use crate::rounds::work_off;

/// The name of the process manager, and of its checkpoint.
pub const NAME: &str = "automation_triggers";
/// Events made items in one go, and of those at once: their appends share commits.
const BATCH: i64 = 200;
const CONCURRENCY: usize = 32;

row! {
    TriggerRow in "automation_triggers" key (log_id, position) {
        log_id: i16,
        position: i64,
        tenant_id: Uuid,
    }
}

#[must_use]
pub fn manager() -> Projection {
    Projection::process_manager(NAME, vec![table::<Triggers>()])
}

/// What an event sets off, if anything.
#[must_use]
pub fn trigger_of(event: &Event) -> Option<TriggerType> {
    if event.stream_type != Conversation::STREAM || event.metadata.actor.kind == ActorKind::AutomationRule {
        return None;
    }
    match event.event_type.as_str() {
        "conversation.opened" => Some(TriggerType::ConversationCreated),
        "message.received" => Some(TriggerType::MessageReceivedInbound),
        "conversation.status_changed" => Some(TriggerType::StatusChanged),
        "sla.breached" => Some(TriggerType::SlaBreached),
        _ => None,
    }
}

struct Triggers;

impl Fold for Triggers {
    type Row = TriggerRow;

    fn keys(event: &Event) -> Vec<Key> {
        match trigger_of(event) {
            Some(_) => vec![vec![json!(event.log_id), json!(event.position)]],
            None => Vec::new(),
        }
    }

    fn apply(_: &Key, _: Option<TriggerRow>, event: &Event) -> Result<Option<TriggerRow>, FoldError> {
        let (log_id, position, tenant_id) = (event.log_id, event.position, event.tenant_id);
        Ok(Some(TriggerRow { log_id, position, tenant_id }))
    }
}

/// Makes items of one log's events until stopped. `scale` multiplies the waits after a failure.
pub async fn run(store: Store, log_id: i16, scale: f64, stop: CancellationToken) {
    let lease = Lease::new(store.clone(), NAME, log_id);
    let news = store.progress().follow_changes(NAME, log_id);
    work_off(NAME, news, &stop, || step(&store, &lease, log_id, scale)).await;
    lease.give_back().await;
}

/// Makes items of the next events; false when there are none, or another process does it.
async fn step(store: &Store, lease: &Lease, log_id: i16, scale: f64) -> Result<bool, CommandError> {
    if !lease.hold().await? {
        return Ok(false);
    }
    let due: Vec<(i64, i32)> = sqlx::query_as(
        "SELECT position, attempts FROM automation_triggers WHERE log_id = $1 AND available_at <= now()
         ORDER BY position LIMIT $2",
    )
    .bind(log_id)
    .bind(BATCH)
    .fetch_all(store.pool())
    .await?;
    if due.is_empty() {
        return Ok(false);
    }
    let mut done = Vec::with_capacity(due.len());
    let enqueued = futures::stream::iter(due).map(|(position, attempts)| async move {
        (position, attempts, enqueue(store, log_id, position).await)
    });
    let mut enqueued = enqueued.buffer_unordered(CONCURRENCY);
    while let Some((position, attempts, result)) = enqueued.next().await {
        match result {
            Ok(()) => done.push(position),
            Err(error) => {
                tracing::error!(log_id, position, %error, "an automation trigger could not be enqueued");
                put_off(store, "automation_triggers", Failed { log_id, position, attempts }, scale).await?;
            }
        }
    }
    failpoint::reached(Failpoint::TriggersEnqueued).await;
    // Not synced: what is not deleted after a crash is enqueued again, which makes nothing new.
    let mut tx = unsynced(store.pool()).await?;
    sqlx::query("DELETE FROM automation_triggers WHERE log_id = $1 AND position = ANY ($2)")
        .bind(log_id)
        .bind(&done)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(true)
}

/// Makes an item of the event at this position.
async fn enqueue(store: &Store, log_id: i16, position: i64) -> Result<(), CommandError> {
    let event = event_at(store, log_id, position).await?;
    let Some(trigger) = trigger_of(&event) else { return Ok(()) };
    // Nothing is done about a person who has been forgotten.
    let Some(facts) = snapshot::take(store, trigger, &event).await? else { return Ok(()) };
    let id = item_id(event.tenant_id, trigger, event.event_id);
    let decided = automation_item::enqueue(&AutomationItem::default(), &facts)?;
    // Taken for new without looking: where it is not, its version says so, and nothing is to be done.
    let item = Part::of::<AutomationItem>(id, Expected::Version(0), &decided.events);
    let metadata = Metadata {
        causation_id: Some(event.event_id),
        ..Metadata::new(Actor::system(), event.metadata.correlation_id)
    };
    store
        .append(Append {
            tenant_id: event.tenant_id,
            command_id: ids::named_id(id, "enqueue"),
            metadata,
            streams: vec![item.0],
            claims: Vec::new(),
            releases: Vec::new(),
        })
        .await?;
    Ok(())
}

/// The event at a position, opened.
async fn event_at(store: &Store, log_id: i16, position: i64) -> Result<Event, CommandError> {
    let found = store.read_log(log_id, position - 1, 1).await?.pop();
    found.ok_or_else(|| CommandError::failed(format!("log {log_id} has no event {position}")))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use domain::event::Recorded;

    use super::*;

    fn event(event_type: &str, actor: Actor) -> Event {
        std::sync::Arc::new(Recorded {
            log_id: 1,
            position: 5,
            tenant_id: Uuid::from_u128(1),
            stream_type: Conversation::STREAM.to_owned(),
            stream_id: Uuid::from_u128(2),
            version: 3,
            event_type: event_type.to_owned(),
            schema_version: 1,
            event_id: Uuid::from_u128(3),
            command_id: Uuid::from_u128(4),
            metadata: Metadata::new(actor, Uuid::from_u128(5)),
            recorded_at: DateTime::UNIX_EPOCH,
            body: json!({}),
        })
    }

    #[test]
    fn four_kinds_of_events_set_rules_off() {
        let of = |event_type: &str| trigger_of(&event(event_type, Actor::system()));
        assert_eq!(of("conversation.opened"), Some(TriggerType::ConversationCreated));
        assert_eq!(of("message.received"), Some(TriggerType::MessageReceivedInbound));
        assert_eq!(of("conversation.status_changed"), Some(TriggerType::StatusChanged));
        assert_eq!(of("sla.breached"), Some(TriggerType::SlaBreached));
        assert_eq!(of("message.queued"), None);
    }

    #[test]
    fn what_a_rule_did_sets_nothing_off() {
        let rule = Actor::new(ActorKind::AutomationRule, Uuid::from_u128(9));
        assert_eq!(trigger_of(&event("conversation.status_changed", rule)), None);
    }
}
