//! Counts per day, kept by the event: what rules did, and how the queue fared.

use chrono::{DateTime, NaiveDate, Utc};
use domain::aggregate::Aggregate;
use domain::automation::TriggerType;
use domain::automation_item::{AutomationItem, AutomationItemEvent, ItemStatus, Step};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::event::{Event, FoldError, decode};
use crate::row;
use crate::table::{Fold, Key};

/// The rule under which the counts of all rules are kept.
pub const ALL_RULES: Uuid = Uuid::nil();

row! {
    RuleDayRow in "automation_rule_days" key (tenant_id, rule_id, day) {
        tenant_id: Uuid,
        rule_id: Uuid,
        day: NaiveDate,
        runs: i64,
        matched: i64,
        executed: i64,
    }
}

row! {
    QueueDayRow in "automation_queue_days" key (tenant_id, event_type, day) {
        tenant_id: Uuid,
        event_type: TriggerType,
        day: NaiveDate,
        total: i64,
        pending: i64,
        processing: i64,
        done: i64,
        failed: i64,
        claims: i64,
        retries: i64,
        failures: i64,
    }
}

fn day_of(at: DateTime<Utc>) -> NaiveDate {
    at.date_naive()
}

/// Reads one field of a payload without decoding the rest, which may be long.
fn field<T: serde::de::DeserializeOwned>(event: &Event, pointer: &str) -> Option<T> {
    event.body.pointer(pointer).and_then(|value| serde_json::from_value(value.clone()).ok())
}

/// What counts of a run. Runs hold much more, and each is counted twice.
#[derive(Deserialize)]
struct Judged {
    evaluated_at: DateTime<Utc>,
    repeated: bool,
    matched: bool,
    executed: bool,
}

pub struct RuleDays;

impl Fold for RuleDays {
    type Row = RuleDayRow;

    fn keys(event: &Event) -> Vec<Key> {
        if event.event_type != "automation.rule_ran" {
            return Vec::new();
        }
        let day = field::<DateTime<Utc>>(event, "/evaluated_at").map(day_of);
        let rules = [event.body.get("rule_id").cloned().unwrap_or_default(), json!(ALL_RULES)];
        rules.into_iter().map(|rule| vec![json!(event.tenant_id), rule, json!(day)]).collect()
    }

    fn apply(key: &Key, row: Option<RuleDayRow>, event: &Event) -> Result<Option<RuleDayRow>, FoldError> {
        let run = Judged::deserialize(&event.body)?;
        let rule_id = serde_json::from_value(key.get(1).cloned().unwrap_or_default())?;
        let mut row = row.unwrap_or_else(|| RuleDayRow {
            tenant_id: event.tenant_id,
            rule_id,
            day: day_of(run.evaluated_at),
            runs: 0,
            matched: 0,
            executed: 0,
        });
        if !run.repeated {
            row.runs += 1;
            row.matched += i64::from(run.matched);
        }
        // A run is recorded again only as long as it has not fully executed, so this counts each once.
        row.executed += i64::from(run.executed);
        Ok(Some(row))
    }
}

pub struct QueueDays;

impl Fold for QueueDays {
    type Row = QueueDayRow;

    fn keys(event: &Event) -> Vec<Key> {
        if event.stream_type != AutomationItem::STREAM || event.event_type == "automation.rule_ran" {
            return Vec::new();
        }
        let (trigger, at) = match field::<Step>(event, "/step") {
            Some(step) => (json!(step.trigger), step.enqueued_at),
            None => (event.body.get("trigger").cloned().unwrap_or(Value::Null), event.recorded_at),
        };
        vec![vec![json!(event.tenant_id), trigger, json!(day_of(at))]]
    }

    fn apply(key: &Key, row: Option<QueueDayRow>, event: &Event) -> Result<Option<QueueDayRow>, FoldError> {
        let mut row = match row {
            Some(row) => row,
            None => empty(event, key)?,
        };
        let step = field::<Step>(event, "/step");
        match decode(event)? {
            AutomationItemEvent::Enqueued(_) => {
                row.total += 1;
                row.pending += 1;
            }
            AutomationItemEvent::Started { .. } => {
                row.claims += 1;
                row.moved(step, Some(ItemStatus::Processing));
            }
            AutomationItemEvent::AttemptFailed { .. } => {
                row.retries += 1;
                row.moved(step, Some(ItemStatus::Pending));
            }
            AutomationItemEvent::Processed { .. } => row.moved(step, Some(ItemStatus::Done)),
            AutomationItemEvent::Failed { .. } => {
                row.failures += 1;
                row.moved(step, Some(ItemStatus::Failed));
            }
            AutomationItemEvent::Retried { .. } | AutomationItemEvent::ReprocessRequested { .. } => {
                row.moved(step, Some(ItemStatus::Pending));
            }
            AutomationItemEvent::Held { status, .. } => row.moved(step, Some(status)),
            AutomationItemEvent::Removed { .. } => {
                row.total -= 1;
                row.moved(step, None);
            }
            AutomationItemEvent::RuleRan(_) => {}
        }
        Ok(Some(row))
    }
}

impl QueueDayRow {
    fn moved(&mut self, step: Option<Step>, to: Option<ItemStatus>) {
        if let Some(step) = step {
            *self.count(step.from) -= 1;
        }
        if let Some(to) = to {
            *self.count(to) += 1;
        }
    }

    const fn count(&mut self, status: ItemStatus) -> &mut i64 {
        match status {
            ItemStatus::Pending => &mut self.pending,
            ItemStatus::Processing => &mut self.processing,
            ItemStatus::Done => &mut self.done,
            ItemStatus::Failed => &mut self.failed,
        }
    }
}

fn empty(event: &Event, key: &Key) -> Result<QueueDayRow, FoldError> {
    Ok(QueueDayRow {
        tenant_id: event.tenant_id,
        event_type: serde_json::from_value(key.get(1).cloned().unwrap_or_default())?,
        day: serde_json::from_value(key.get(2).cloned().unwrap_or_default())?,
        total: 0,
        pending: 0,
        processing: 0,
        done: 0,
        failed: 0,
        claims: 0,
        retries: 0,
        failures: 0,
    })
}
