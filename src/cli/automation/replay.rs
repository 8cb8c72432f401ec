//! An item judged again, with nothing done about it, beside what was recorded.

use std::collections::HashMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use commands::Store;
use commands::automation_cooldown::Cooldowns;
use domain::aggregate::Aggregate;
use domain::automation::{Control, Facts, Rule, RuleOutcome, SkipReason, evaluate};
use domain::automation_control::{self, AutomationControl};
use domain::automation_item::run_id;
use domain::automation_rule::AutomationRule;
use domain::event::EventBody;
use projections::automation::runs::RunRow;
use serde_json::{Value, json};
use uuid::Uuid;
use worker::automation::rules::RuleSet;

use super::{At, Case, case_of};

/// Events of one stream read at once.
const PAGE: i64 = 1_000;

/// The circumstances of an evaluation.
struct Setting {
    rules: Vec<Rule>,
    control: Control,
    at: DateTime<Utc>,
    /// Rules whose cooldown someone else has.
    cooling: Vec<Uuid>,
}

pub(super) async fn judge(store: &Store, event: Uuid, at: At, as_json: bool) -> Result<String> {
    let case = case_of(store, event).await?;
    let payload = case.item.payload.clone().context("the facts of this item are erased")?;
    let facts = Facts::new(case.item.event_type, payload)
        .map_err(|problem| anyhow::anyhow!("{}", problem.message))?;
    let setting = match at {
        At::Now => now(store, &case).await?,
        At::Then => then(store, &case).await?,
    };
    let free = |rule_id: Uuid, _: Uuid| !setting.cooling.contains(&rule_id);
    let outcomes = evaluate(&setting.rules, &facts, setting.at, &setting.control, &free);
    let report = compare(&case, &setting, &outcomes, &facts);
    if as_json { Ok(serde_json::to_string_pretty(&report)?) } else { Ok(in_words(&report)?) }
}

async fn now(store: &Store, case: &Case) -> Result<Setting> {
    let at = store.clock().now();
    let RuleSet { rules, control, .. } = worker::automation::rules::of_tenant(store, case.tenant_id).await?;
    let cooldowns = Cooldowns::of(store, case.tenant_id);
    let mut cooling = Vec::new();
    for rule in &rules {
        if !cooldowns.is_free((rule.id, case.item.conversation_id), Some(case.item.id), at).await? {
            cooling.push(rule.id);
        }
    }
    Ok(Setting { rules, control, at, cooling })
}

/// The rules and the switch as they were, from their streams; of cooldowns, what was recorded.
async fn then(store: &Store, case: &Case) -> Result<Setting> {
    let recorded = case.runs.iter().filter_map(|run| run.result["evaluated_at"].as_str()?.parse().ok()).min();
    let at: DateTime<Utc> = recorded.unwrap_or(case.item.created_at);
    let ids: Vec<Uuid> =
        sqlx::query_scalar("SELECT id FROM read.documents WHERE tenant_id = $1 AND collection = $2")
            .bind(case.tenant_id)
            .bind(AutomationRule::STREAM)
            .fetch_all(store.pool())
            .await?;
    let mut rules = Vec::new();
    for id in ids {
        rules.extend(as_of::<AutomationRule>(store, case.tenant_id, id, at).await?.as_rule(id));
    }
    let switch = automation_control::stream_id(case.tenant_id);
    let control = as_of::<AutomationControl>(store, case.tenant_id, switch, at).await?.control;
    let cooled = |run: &&RunRow| run.result["skip_reason"] == SkipReason::Cooldown.as_str();
    let cooling = first_round(case).filter(cooled).map(|run| run.rule_id).collect();
    Ok(Setting { rules, control, at, cooling })
}

/// A stream's state at a moment.
async fn as_of<A: Aggregate>(store: &Store, tenant_id: Uuid, id: Uuid, at: DateTime<Utc>) -> Result<A> {
    let (mut state, mut version) = (A::default(), 0);
    loop {
        let page = store.read_stream(tenant_id, A::STREAM, id, version, PAGE).await?;
        let full = page.len() as i64 == PAGE;
        for event in page {
            if event.recorded_at > at {
                return Ok(state);
            }
            let context = event.context();
            version = context.version;
            state.evolve(&A::Event::decode(&event.event_type, event.schema_version, &event.body)?, context);
        }
        if !full {
            return Ok(state);
        }
    }
}

fn first_round(case: &Case) -> impl Iterator<Item = &RunRow> {
    case.runs.iter().filter(|run| run.id == run_id(case.item.id, run.rule_id, 0))
}

/// What was recorded first beside what is judged now, for every rule of either.
fn compare(case: &Case, setting: &Setting, outcomes: &[RuleOutcome<'_>], facts: &Facts) -> Value {
    let recorded: HashMap<Uuid, &RunRow> = first_round(case).map(|run| (run.rule_id, run)).collect();
    let judged = outcomes.iter().map(|outcome| {
        let now = json!({
            "acts": outcome.acts(),
            "skip_reason": outcome.skip_reason.map(SkipReason::as_str),
            "actions": if outcome.acts() { json!(outcome.rule.definition.actions) } else { json!([]) },
        });
        let before = recorded.get(&outcome.rule.id).map(|run| was(run));
        let mut row = row(outcome.rule.id, &outcome.rule.definition.name, before, Some(now));
        // Why it is judged so; no part of what differs.
        row["checks"] = json!(outcome.explain(facts));
        row
    });
    let gone = recorded.values().filter(|run| outcomes.iter().all(|outcome| outcome.rule.id != run.rule_id));
    let gone = gone.map(|run| row(run.rule_id, &run.rule_name, Some(was(run)), None));
    json!({ "event": case.item.id, "judged_at": setting.at, "rules": judged.chain(gone).collect::<Vec<_>>() })
}

fn was(run: &RunRow) -> Value {
    let skipped = run.result["skip_reason"].clone();
    let actions = if skipped.is_null() { json!(run.actions) } else { json!([]) };
    json!({ "acts": skipped.is_null(), "skip_reason": skipped, "actions": actions })
}

fn row(rule_id: Uuid, name: &str, recorded: Option<Value>, judged: Option<Value>) -> Value {
    let differs = recorded != judged;
    json!({ "rule_id": rule_id, "name": name, "recorded": recorded, "judged": judged, "differs": differs })
}

fn in_words(report: &Value) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    writeln!(
        out,
        "Item {} judged as of {}; nothing was done",
        text(&report["event"]),
        text(&report["judged_at"])
    )?;
    let mut differences = 0;
    for rule in report["rules"].as_array().into_iter().flatten() {
        writeln!(out, "\n  {} ({})", text(&rule["name"]), text(&rule["rule_id"]))?;
        writeln!(out, "    recorded: {}", in_a_word(&rule["recorded"]))?;
        writeln!(out, "    judged:   {}", in_a_word(&rule["judged"]))?;
        for check in rule["checks"].as_array().into_iter().flatten().filter(|check| check["held"] == false) {
            let (expected, actual) = (&check["expected"], &check["actual"]);
            let condition = text(&check["condition"]);
            writeln!(out, "              {condition} does not hold: asks for {expected}, finds {actual}")?;
        }
        if rule["differs"] == true {
            differences += 1;
            writeln!(out, "    DIFFERS")?;
        }
    }
    match differences {
        0 => writeln!(out, "\nNothing differs")?,
        1 => writeln!(out, "\n1 rule differs")?,
        count => writeln!(out, "\n{count} rules differ")?,
    }
    Ok(out)
}

fn in_a_word(side: &Value) -> String {
    if side.is_null() {
        return "not considered".to_owned();
    }
    if let Some(reason) = side["skip_reason"].as_str() {
        return format!("would not act: {reason}");
    }
    let kinds = side["actions"].as_array().into_iter().flatten().filter_map(|action| action["type"].as_str());
    format!("acts: {}", kinds.collect::<Vec<_>>().join(", "))
}
