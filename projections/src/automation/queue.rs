//! Items of the queue as lists show them, and as workers find what is due.

use chrono::{DateTime, Utc};
use domain::aggregate::Aggregate;
use domain::automation::TriggerType;
use domain::automation_item::{AutomationItem, AutomationItemEvent, Enqueued, ItemSource, ItemStatus};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::event::{Event, FoldError, decode};
use crate::row;
use crate::table::{Fold, Key, Purge};

row! {
    ItemRow in "automation_queue" key (tenant_id, id) {
        tenant_id: Uuid,
        id: Uuid,
        log_id: i16,
        event_type: TriggerType,
        conversation_id: Uuid,
        contact_id: Uuid,
        source_event_id: Uuid,
        payload: Option<Value>,
        payload_hash: String,
        source: ItemSource,
        status: ItemStatus,
        attempts: i64,
        round: i64,
        reprocessing: bool,
        available_at: DateTime<Utc>,
        processed_at: Option<DateTime<Utc>>,
        error: Option<String>,
        created_at: DateTime<Utc>,
    }
}

pub struct Queue;

impl Fold for Queue {
    type Row = ItemRow;

    fn keys(event: &Event) -> Vec<Key> {
        if event.stream_type != AutomationItem::STREAM || event.event_type == "automation.rule_ran" {
            return Vec::new();
        }
        vec![vec![json!(event.tenant_id), json!(event.stream_id)]]
    }

    fn apply(_: &Key, row: Option<ItemRow>, event: &Event) -> Result<Option<ItemRow>, FoldError> {
        let body: AutomationItemEvent = decode(event)?;
        if let AutomationItemEvent::Enqueued(facts) = body {
            return Ok(Some(enqueued(event, *facts)));
        }
        let row = row.ok_or_else(|| {
            FoldError::Inconsistent(format!("automation item {} was never enqueued", event.stream_id))
        })?;
        Ok(next(row, body, event.recorded_at))
    }

    fn purge(event: &Event) -> Option<Purge> {
        (event.event_type == "contact.erased")
            .then_some(Purge::Update("SET payload = NULL WHERE tenant_id = $1 AND contact_id = $2"))
    }
}

fn enqueued(event: &Event, facts: Enqueued) -> ItemRow {
    ItemRow {
        tenant_id: event.tenant_id,
        id: event.stream_id,
        log_id: event.log_id,
        event_type: facts.trigger,
        conversation_id: facts.conversation_id,
        contact_id: facts.contact_id,
        source_event_id: facts.source_event_id,
        payload: facts.payload.known().cloned(),
        payload_hash: facts.payload_hash,
        source: facts.source,
        status: ItemStatus::Pending,
        attempts: 0,
        round: 0,
        reprocessing: false,
        available_at: event.recorded_at,
        processed_at: None,
        error: None,
        created_at: event.recorded_at,
    }
}

fn next(mut row: ItemRow, event: AutomationItemEvent, at: DateTime<Utc>) -> Option<ItemRow> {
    match event {
        AutomationItemEvent::Started { attempt, .. } => {
            row.status = ItemStatus::Processing;
            row.attempts = i64::from(attempt);
        }
        AutomationItemEvent::AttemptFailed { error, next_at, .. } => {
            row.status = ItemStatus::Pending;
            row.available_at = next_at;
            row.error = Some(error);
        }
        AutomationItemEvent::Processed { .. } => {
            row = ItemRow { error: None, processed_at: Some(at), ..settled(row, ItemStatus::Done) };
        }
        AutomationItemEvent::Failed { error, .. } => {
            row = ItemRow { error: Some(error), processed_at: Some(at), ..settled(row, ItemStatus::Failed) };
        }
        AutomationItemEvent::Held { status, .. } => {
            row = settled(row, status);
            if status == ItemStatus::Pending {
                row.attempts = 0;
                row.round += 1;
            }
        }
        AutomationItemEvent::Retried { .. } => row = again(row, at),
        AutomationItemEvent::ReprocessRequested { round, .. } => {
            row = ItemRow { round: i64::from(round), reprocessing: true, ..again(row, at) };
        }
        AutomationItemEvent::Removed { .. } => return None,
        AutomationItemEvent::Enqueued(_) | AutomationItemEvent::RuleRan(_) => {}
    }
    Some(row)
}

fn settled(row: ItemRow, status: ItemStatus) -> ItemRow {
    ItemRow { status, reprocessing: false, ..row }
}

fn again(row: ItemRow, at: DateTime<Utc>) -> ItemRow {
    ItemRow { status: ItemStatus::Pending, attempts: 0, available_at: at, ..row }
}
