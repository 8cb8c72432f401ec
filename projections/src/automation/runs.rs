//! What became of each rule, with the rule as it was.

use chrono::{DateTime, Utc};
use domain::automation::{Action, Conditions, TriggerType};
use domain::automation_item::{AutomationItemEvent, ItemSource, RuleRan};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::event::{Event, FoldError, decode};
use crate::row;
use crate::table::{Fold, Key, Purge};

row! {
    RunRow in "automation_runs" key (tenant_id, id) {
        tenant_id: Uuid,
        id: Uuid,
        event_id: Uuid,
        rule_id: Uuid,
        rule_name: String,
        conditions: Conditions,
        actions: Vec<Action>,
        event_type: TriggerType,
        source: ItemSource,
        conversation_id: Uuid,
        contact_id: Uuid,
        matched: bool,
        executed: bool,
        result: Value,
        rendered: Option<Value>,
        attempts: i64,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
    }
}

impl RunRow {
    /// The result with each action as it was rendered, as far as that may still be known.
    #[must_use]
    pub fn full_result(&self) -> Value {
        let mut result = self.result.clone();
        let rendered = self.rendered.as_ref().and_then(Value::as_array).into_iter().flatten();
        let actions = result.get_mut("actions").and_then(Value::as_array_mut).into_iter().flatten();
        for (action, rendered) in actions.zip(rendered) {
            if let (Value::Object(action), Value::Object(_)) = (action, rendered) {
                action.insert("action".to_owned(), rendered.clone());
            }
        }
        result
    }
}

pub struct Runs;

impl Fold for Runs {
    type Row = RunRow;

    fn keys(event: &Event) -> Vec<Key> {
        if event.event_type != "automation.rule_ran" {
            return Vec::new();
        }
        vec![vec![json!(event.tenant_id), event.body.get("run_id").cloned().unwrap_or_default()]]
    }

    fn apply(_: &Key, row: Option<RunRow>, event: &Event) -> Result<Option<RunRow>, FoldError> {
        let AutomationItemEvent::RuleRan(run) = decode(event)? else { return Ok(row) };
        let attempts = row.as_ref().map_or(1, |row| row.attempts + 1);
        let created_at = row.map_or(event.recorded_at, |row| row.created_at);
        let rendered: Vec<Value> =
            run.actions.iter().map(|action| action.rendered.known().cloned().unwrap_or_default()).collect();
        let rendered = rendered.iter().any(|action| !action.is_null()).then_some(Value::Array(rendered));
        Ok(Some(RunRow {
            tenant_id: event.tenant_id,
            id: run.run_id,
            event_id: event.stream_id,
            rule_id: run.rule_id,
            rule_name: run.rule.name.clone(),
            conditions: run.rule.conditions.clone(),
            actions: run.rule.actions.clone(),
            event_type: run.trigger,
            source: run.source,
            conversation_id: run.conversation_id,
            contact_id: run.contact_id,
            matched: run.matched,
            executed: run.executed,
            result: result(&run),
            rendered,
            attempts,
            created_at,
            updated_at: event.recorded_at,
        }))
    }

    fn purge(event: &Event) -> Option<Purge> {
        (event.event_type == "contact.erased")
            .then_some(Purge::Update("SET rendered = NULL WHERE tenant_id = $1 AND contact_id = $2"))
    }
}

fn result(run: &RuleRan) -> Value {
    let action = |action: &domain::automation_item::ActionRecord| {
        let mut shown = Map::new();
        shown.insert("type".to_owned(), json!(action.kind));
        shown.insert("outcome".to_owned(), json!(action.outcome));
        shown.insert("duration_ms".to_owned(), json!(action.duration_ms));
        if let Some(reason) = &action.reason {
            shown.insert("reason".to_owned(), json!(reason));
        }
        if action.permanent {
            shown.insert("permanent".to_owned(), json!(true));
        }
        if let Some(position) = action.position {
            shown.insert("event_position".to_owned(), json!(position));
        }
        Value::Object(shown)
    };
    json!({
        "skip_reason": run.skip_reason,
        "checks": run.checks,
        "actions": run.actions.iter().map(action).collect::<Vec<_>>(),
        "evaluated_at": run.evaluated_at,
        "duration_ms": run.duration_ms,
    })
}
