//! What is to be done about an item: which rules act, and why the others do not.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use commands::automation_cooldown::Cooldowns;
use commands::{CommandError, Store};
use domain::automation::evaluate::ConditionReport;
use domain::automation::{Control, Facts, RenderedAction, Rule, RuleOutcome, SkipReason, evaluate};
use domain::automation_item::{ActionOutcome, AutomationItem, Enqueued, RecordedRule, RuleRan};
use uuid::Uuid;

use super::rules::RuleSet;

/// What is to be done about an item.
pub(super) enum Plan {
    Run(Vec<Planned>),
    /// A person asked for it during a pause: the reason is recorded, and nothing happens.
    Hold(Vec<Planned>),
    /// Automation has been paused since the item was claimed.
    Wait,
    /// The facts can't be read any more.
    Erased,
}

/// A rule that was judged, with what it wants done.
pub(super) struct Planned {
    pub rule_id: Uuid,
    pub rule: RecordedRule,
    pub evaluated_at: DateTime<Utc>,
    /// A further attempt of a run that is recorded.
    pub repeated: bool,
    pub matched: bool,
    pub skip_reason: Option<SkipReason>,
    pub checks: Vec<ConditionReport>,
    /// In order; empty unless the rule acts.
    pub actions: Vec<RenderedAction>,
}

/// Where an item stands.
pub(super) struct Standing<'s> {
    pub store: &'s Store,
    pub set: &'s RuleSet,
    pub tenant_id: Uuid,
    pub item_id: Uuid,
    pub item: &'s AutomationItem,
    pub facts: &'s Enqueued,
    pub now: DateTime<Utc>,
}

pub(super) async fn make(standing: &Standing<'_>) -> Result<Plan, CommandError> {
    let Standing { set: RuleSet { rules, control, .. }, item, facts: enqueued, now, .. } = standing;
    let Some(payload) = enqueued.payload.known() else { return Ok(Plan::Erased) };
    let facts = Facts::new(enqueued.trigger, payload.clone())
        .map_err(|problem| CommandError::failed(format!("{} {}", problem.field, problem.message)))?;
    let planned = |outcomes: &[RuleOutcome<'_>]| -> Vec<Planned> {
        outcomes.iter().map(|outcome| planned(outcome, &facts, *now)).collect()
    };
    if control.paused_at(*now) {
        if item.reprocessed_from.is_none() || !item.runs.is_empty() {
            return Ok(Plan::Wait);
        }
        return Ok(Plan::Hold(planned(&evaluate(rules, &facts, *now, control, &|_, _| true))));
    }
    if !item.runs.is_empty() {
        return Ok(Plan::Run(unfinished(item, &facts)));
    }
    let lost = claim_cooldowns(standing, rules, &facts, control).await?;
    let outcomes = evaluate(rules, &facts, *now, control, &|rule_id, _| !lost.contains(&rule_id));
    Ok(Plan::Run(planned(&outcomes)))
}

/// The runs of this round in which an action failed, as they were judged then.
fn unfinished(item: &AutomationItem, facts: &Facts) -> Vec<Planned> {
    let failed = |run: &&RuleRan| run.actions.iter().any(|action| action.outcome == ActionOutcome::Failed);
    let runs = item.order.iter().filter_map(|rule_id| item.runs.get(rule_id)).filter(failed);
    let again = |run: &RuleRan| Planned {
        rule_id: run.rule_id,
        evaluated_at: run.evaluated_at,
        repeated: true,
        matched: run.matched,
        skip_reason: run.skip_reason,
        checks: run.checks.clone(),
        actions: run.rule.actions.iter().map(|action| action.render(facts)).collect(),
        rule: run.rule.clone(),
    };
    runs.map(again).collect()
}

fn planned(outcome: &RuleOutcome<'_>, facts: &Facts, now: DateTime<Utc>) -> Planned {
    let definition = &outcome.rule.definition;
    Planned {
        rule_id: outcome.rule.id,
        rule: RecordedRule {
            name: definition.name.clone(),
            conditions: definition.conditions.clone(),
            actions: definition.actions.clone(),
        },
        evaluated_at: now,
        repeated: false,
        matched: outcome.matched,
        skip_reason: outcome.skip_reason,
        checks: outcome.explain(facts),
        actions: if outcome.acts() { outcome.actions_preview.clone() } else { Vec::new() },
    }
}

/// Claims the cooldown of every rule that would act; answers the rules that did not get it. Losing one may let a later
/// rule act that the loser would have stopped, so this goes on until every rule that acts has its claim.
async fn claim_cooldowns(
    standing: &Standing<'_>,
    rules: &[Rule],
    facts: &Facts,
    control: &Control,
) -> Result<Vec<Uuid>, CommandError> {
    let Standing { store, tenant_id, item_id, now, .. } = standing;
    let Some(conversation_id) = facts.conversation_id() else { return Ok(Vec::new()) };
    let cooldowns = Cooldowns::of(store, *tenant_id);
    let mut known: HashMap<Uuid, bool> = HashMap::new();
    loop {
        let free = |rule_id: Uuid, _: Uuid| known.get(&rule_id).copied().unwrap_or(true);
        let outcomes = evaluate(rules, facts, *now, control, &free);
        let wants = outcomes.iter().find(|outcome| {
            outcome.acts()
                && outcome.rule.definition.cooldown_secs > 0
                && !known.contains_key(&outcome.rule.id)
        });
        let Some(rule) = wants.map(|outcome| outcome.rule) else { break };
        let until = *now + TimeDelta::seconds(rule.definition.cooldown_secs);
        let got = cooldowns.claim((rule.id, conversation_id), *item_id, *now, until).await?;
        known.insert(rule.id, got);
    }
    Ok(known.into_iter().filter(|(_, got)| !got).map(|(rule_id, _)| rule_id).collect())
}
