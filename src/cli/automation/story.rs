//! The story of one evaluation, as text or JSON.

use std::fmt::Write;

use anyhow::Result;
use commands::Store;
use domain::automation_item::run_id;
use projections::automation::runs::RunRow;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Case, case_of};

/// Parts of the facts that are a person's.
const PERSONAL: [&str; 2] = ["contact", "message"];
const HIDDEN: &str = "hidden; show it with --open";

pub(super) async fn tell(store: &Store, id: Uuid, as_json: bool, open: bool) -> Result<String> {
    let mut case = case_of(store, id).await?;
    // The rules that were judged together with the one that was asked for.
    if let Some(round) = round_of(&case, id) {
        let item_id = case.item.id;
        case.runs.retain(|run| run.id == run_id(item_id, run.rule_id, round));
    }
    let story = story(store, &case, open).await?;
    if as_json {
        return Ok(serde_json::to_string_pretty(&story)?);
    }
    Ok(in_words(&story)?)
}

fn round_of(case: &Case, id: Uuid) -> Option<u32> {
    let asked = case.runs.iter().find(|run| run.id == id)?;
    let rounds = 0..=u32::try_from(case.item.round).unwrap_or(0);
    rounds.into_iter().find(|round| run_id(case.item.id, asked.rule_id, *round) == id)
}

async fn story(store: &Store, case: &Case, open: bool) -> Result<Value> {
    let log_id = store.log_of(case.tenant_id).await?;
    let mut rules = Vec::new();
    for run in &case.runs {
        rules.push(rule(store, log_id, run, open).await?);
    }
    let item = &case.item;
    Ok(json!({
        "item": {
            "id": item.id, "tenant_id": case.tenant_id, "trigger": item.event_type, "source": item.source,
            "status": item.status, "attempts": item.attempts, "error": item.error, "created_at": item.created_at,
            "conversation_id": item.conversation_id, "contact_id": item.contact_id,
            "source_event_id": item.source_event_id, "payload_hash": item.payload_hash,
        },
        "facts": facts(item.payload.as_ref(), open),
        "rules": rules,
    }))
}

fn facts(payload: Option<&Value>, open: bool) -> Value {
    let mut facts: Map<String, Value> = payload.and_then(Value::as_object).cloned().unwrap_or_default();
    if !open {
        for part in PERSONAL {
            facts.entry(part).and_modify(|fact| *fact = json!(HIDDEN));
        }
    }
    Value::Object(facts)
}

async fn rule(store: &Store, log_id: i16, run: &RunRow, open: bool) -> Result<Value> {
    let mut result = if open { run.full_result() } else { run.result.clone() };
    for action in result["actions"].as_array_mut().into_iter().flatten() {
        if let Some(position) = action["event_position"].as_i64() {
            action["event"] = event(store, log_id, position).await?;
        }
    }
    Ok(json!({
        "run_id": run.id, "rule_id": run.rule_id, "name": run.rule_name, "matched": run.matched,
        "executed": run.executed, "attempts": run.attempts, "conditions": run.conditions, "result": result,
    }))
}

async fn event(store: &Store, log_id: i16, position: i64) -> Result<Value> {
    let found: Option<(Uuid, String, Uuid)> = sqlx::query_as(
        "SELECT event_id, event_type, stream_id FROM events WHERE log_id = $1 AND position = $2",
    )
    .bind(log_id)
    .bind(position)
    .fetch_optional(store.pool())
    .await?;
    Ok(found.map_or(Value::Null, |(event_id, event_type, stream_id)| {
        json!({ "event_id": event_id, "event_type": event_type, "stream_id": stream_id })
    }))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn in_words(story: &Value) -> Result<String, std::fmt::Error> {
    let (mut out, item) = (String::new(), &story["item"]);
    writeln!(
        out,
        "{} at {}, {} after {} attempt(s)",
        plain(&item["trigger"]),
        plain(&item["created_at"]),
        plain(&item["status"]),
        item["attempts"]
    )?;
    writeln!(out, "  item {}  set off by event {}", plain(&item["id"]), plain(&item["source_event_id"]))?;
    if let Some(error) = item["error"].as_str() {
        writeln!(out, "  error: {error}")?;
    }
    writeln!(out, "\nFacts")?;
    for (name, fact) in story["facts"].as_object().into_iter().flatten() {
        match fact.as_object() {
            Some(parts) => {
                writeln!(out, "  {name}")?;
                for (part, value) in parts.iter().filter(|(_, value)| !value.is_null()) {
                    writeln!(out, "    {part}: {}", plain(value))?;
                }
            }
            None => writeln!(out, "  {name}: {}", plain(fact))?,
        }
    }
    writeln!(out, "\nRules, in the order in which they were judged")?;
    let rules = story["rules"].as_array().map_or(&[][..], Vec::as_slice);
    if rules.is_empty() {
        writeln!(out, "  none")?;
    }
    for rule in rules {
        one_rule(&mut out, rule)?;
    }
    Ok(out)
}

fn one_rule(out: &mut String, rule: &Value) -> std::fmt::Result {
    let result = &rule["result"];
    let verdict = match result["skip_reason"].as_str() {
        Some(reason) => format!("did not act: {reason}"),
        None if rule["executed"] == true => "acted".to_owned(),
        None => "acted, not everything took effect".to_owned(),
    };
    writeln!(out, "\n  {} {verdict} ({} ms)", plain(&rule["name"]), result["duration_ms"])?;
    writeln!(out, "    rule {}  run {}", plain(&rule["rule_id"]), plain(&rule["run_id"]))?;
    for check in result["checks"].as_array().into_iter().flatten() {
        let sign = if check["held"] == true { "held" } else { "did not hold" };
        writeln!(
            out,
            "    {} {sign}: asked for {}, found {}",
            plain(&check["condition"]),
            check["expected"],
            check["actual"]
        )?;
    }
    for action in result["actions"].as_array().into_iter().flatten() {
        write!(
            out,
            "    {}: {} ({} ms)",
            plain(&action["type"]),
            plain(&action["outcome"]),
            action["duration_ms"]
        )?;
        if let Some(reason) = action["reason"].as_str() {
            write!(out, ", {reason}")?;
        }
        if let Some(event_id) = action["event"]["event_id"].as_str() {
            write!(out, ", event {event_id} {}", plain(&action["event"]["event_type"]))?;
        }
        writeln!(out)?;
        if let Some(done) = action.get("action") {
            writeln!(out, "      {done}")?;
        }
    }
    Ok(())
}
