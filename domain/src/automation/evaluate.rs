//! Which rules act on a queue item, and why the others do not.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::action::{Action, RenderedAction};
use super::condition::{Condition, Conditions};
use super::control::Control;
use super::facts::Facts;
use super::fields::{Fields, Problems, one_of, settle, uuid};
use super::rollout::in_rollout;
use super::rule::{Rule, RuleDefinition};
use super::trigger::TriggerType;
use crate::refusal::FieldProblem;

/// The gate that kept a rule from acting: the first closed one, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    Paused,
    Inactive,
    Snoozed,
    Schedule,
    Conditions,
    Rollout,
    Cooldown,
}

impl SkipReason {
    /// The wire name, `result.skip_reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Inactive => "inactive",
            Self::Snoozed => "snoozed",
            Self::Schedule => "schedule",
            Self::Conditions => "conditions",
            Self::Rollout => "rollout",
            Self::Cooldown => "cooldown",
        }
    }
}

/// Whether a cooldown of (rule, conversation) is free. Asked only of rules that have one and passed all other gates;
/// the claim itself is made atomically by whoever carries the outcome out.
pub type CooldownAvailable<'f> = dyn Fn(Uuid, Uuid) -> bool + 'f;

/// One condition and whether it held.
#[derive(Clone, Debug)]
pub struct ConditionCheck<'r> {
    pub condition: &'r Condition,
    pub held: bool,
}

/// A check for people to read, and for the run's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConditionReport {
    /// The condition's name: `status_in`.
    pub condition: String,
    pub expected: Value,
    /// What the facts said; null where they said nothing.
    pub actual: Value,
    pub held: bool,
}

/// What was decided about one rule.
#[derive(Clone, Debug)]
pub struct RuleOutcome<'r> {
    /// The rule as it was judged; serialize it to record it.
    pub rule: &'r Rule,
    /// The conditions were reached and held; a rule stopped by rollout or cooldown still matched.
    pub matched: bool,
    /// None: the rule acts.
    pub skip_reason: Option<SkipReason>,
    /// Every condition; empty if an earlier gate was closed.
    pub checks: Vec<ConditionCheck<'r>>,
    /// The actions of a rule that matched, with their placeholders filled, in order.
    pub actions_preview: Vec<RenderedAction>,
    /// The rule acts and asks that no later rule does.
    pub stopped_here: bool,
}

impl RuleOutcome<'_> {
    /// Whether the actions are to be carried out.
    #[must_use]
    pub const fn acts(&self) -> bool {
        self.skip_reason.is_none()
    }

    /// The checks with what was asked and found.
    #[must_use]
    pub fn explain(&self, facts: &Facts) -> Vec<ConditionReport> {
        let report = |check: &ConditionCheck<'_>| ConditionReport {
            condition: check.condition.name().to_owned(),
            expected: check.condition.expected(),
            actual: check.condition.actual(facts),
            held: check.held,
        };
        self.checks.iter().map(report).collect()
    }
}

/// Judges all rules of the item's trigger over one snapshot, in the order of evaluation: higher priority, then older,
/// then id, whatever the order of `rules`. Rules after one that stops are not considered and have no outcome.
#[must_use]
pub fn evaluate<'r>(
    rules: &'r [Rule],
    facts: &Facts,
    now: DateTime<Utc>,
    control: &Control,
    cooldown_available: &CooldownAvailable<'_>,
) -> Vec<RuleOutcome<'r>> {
    let of_trigger = |rule: &&Rule| rule.definition.trigger_type == facts.trigger();
    let mut considered: Vec<&Rule> = rules.iter().filter(of_trigger).collect();
    considered.sort_unstable_by(|a, b| a.evaluation_order(b));
    let mut outcomes: Vec<RuleOutcome<'r>> = Vec::with_capacity(considered.len());
    for rule in considered {
        outcomes.push(judge(rule, facts, now, control, cooldown_available));
        if outcomes.last().is_some_and(|outcome| outcome.stopped_here) {
            break;
        }
    }
    outcomes
}

fn judge<'r>(
    rule: &'r Rule,
    facts: &Facts,
    now: DateTime<Utc>,
    control: &Control,
    cooldown_available: &CooldownAvailable<'_>,
) -> RuleOutcome<'r> {
    if let Some(reason) = closed_before_conditions(rule, now, control) {
        let (checks, actions_preview) = (Vec::new(), Vec::new());
        let skip_reason = Some(reason);
        return RuleOutcome {
            rule,
            matched: false,
            skip_reason,
            checks,
            actions_preview,
            stopped_here: false,
        };
    }
    let checks: Vec<ConditionCheck<'r>> = rule
        .definition
        .conditions
        .iter()
        .map(|condition| ConditionCheck { condition, held: condition.holds(facts) })
        .collect();
    let matched = checks.iter().all(|check| check.held);
    let skip_reason = if matched {
        closed_after_conditions(rule, facts, cooldown_available)
    } else {
        Some(SkipReason::Conditions)
    };
    let actions_preview = if matched { render(rule, facts) } else { Vec::new() };
    let stopped_here = skip_reason.is_none() && rule.definition.stop_on_match;
    RuleOutcome { rule, matched, skip_reason, checks, actions_preview, stopped_here }
}

fn closed_before_conditions(rule: &Rule, now: DateTime<Utc>, control: &Control) -> Option<SkipReason> {
    if control.paused_at(now) {
        Some(SkipReason::Paused)
    } else if !rule.definition.is_active {
        Some(SkipReason::Inactive)
    } else if rule.snoozed_at(now) {
        Some(SkipReason::Snoozed)
    } else if !rule.definition.schedule_settings.open_at(now) {
        Some(SkipReason::Schedule)
    } else {
        None
    }
}

/// Rollout and cooldown are about a conversation; a hand-written payload that names none passes both.
fn closed_after_conditions(
    rule: &Rule,
    facts: &Facts,
    cooldown_available: &CooldownAvailable<'_>,
) -> Option<SkipReason> {
    let conversation_id = facts.conversation_id()?;
    if !in_rollout(rule.id, conversation_id, rule.definition.rollout_percentage) {
        return Some(SkipReason::Rollout);
    }
    let cooling = rule.definition.cooldown_secs > 0 && !cooldown_available(rule.id, conversation_id);
    cooling.then_some(SkipReason::Cooldown)
}

fn render(rule: &Rule, facts: &Facts) -> Vec<RenderedAction> {
    rule.definition.actions.iter().map(|action| action.render(facts)).collect()
}

/// `DryRunResult`, and beyond the contract why the rule would not act.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DryRun {
    /// The trigger is the rule's and the conditions hold, whatever the other gates say: an author wants to know that
    /// of a rule that is still switched off.
    pub matched: bool,
    /// No gate is closed.
    pub would_execute: bool,
    /// The actions of a rule that matched, placeholders filled.
    pub actions_preview: Vec<RenderedAction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_reason: Option<SkipReason>,
    pub conditions: Vec<ConditionReport>,
}

/// What a rule would do with these facts: the live evaluation, with nothing done about its outcome.
#[must_use]
pub fn dry_run(
    rule: &Rule,
    facts: &Facts,
    now: DateTime<Utc>,
    control: &Control,
    cooldown_available: &CooldownAvailable<'_>,
) -> DryRun {
    let of_trigger = rule.definition.trigger_type == facts.trigger();
    let mut outcome = judge(rule, facts, now, control, cooldown_available);
    if outcome.checks.is_empty() {
        let check = |condition| ConditionCheck { condition, held: Condition::holds(condition, facts) };
        outcome.checks = rule.definition.conditions.iter().map(check).collect();
    }
    let matched = of_trigger && outcome.checks.iter().all(|check| check.held);
    DryRun {
        matched,
        would_execute: of_trigger && outcome.acts(),
        actions_preview: if matched { render(rule, facts) } else { Vec::new() },
        skip_reason: outcome.skip_reason,
        conditions: outcome.explain(facts),
    }
}

/// `DryRunRequest`: a stored rule, a draft, or a stored rule with parts of it changed.
#[derive(Clone, Debug, PartialEq)]
pub struct DryRunRequest {
    pub event_payload: Value,
    pub rule_id: Option<Uuid>,
    /// The trigger to pretend; the rule's own if absent.
    pub trigger_type: Option<TriggerType>,
    pub conditions: Option<Conditions>,
    pub actions: Option<Vec<Action>>,
}

impl DryRunRequest {
    /// # Errors
    /// Everything that is wrong, each by its field; neither a rule nor the trigger of a draft.
    pub fn parse(value: &Value) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let request = Self::read(value, &mut problems);
        settle(request, problems)
    }

    fn read(value: &Value, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(value, "", problems)?;
        let event_payload = fields.nested_required("event_payload", |value, path, problems| {
            if !value.is_object() {
                problems.push(FieldProblem::new(path, "must be an object"));
            }
            Some(value.clone())
        });
        let request = Self {
            event_payload: event_payload.unwrap_or_default(),
            rule_id: fields.optional("rule_id", uuid),
            trigger_type: fields.optional("trigger_type", one_of(TriggerType::NAMES)),
            conditions: fields.nested("conditions", Conditions::read),
            actions: fields.nested("actions", Action::read_all),
        };
        if !fields.has("rule_id") && !fields.has("trigger_type") && !fields.has("conditions") {
            fields.problem("rule_id", "is required unless conditions or a trigger_type are given");
        }
        fields.finish();
        Some(request)
    }

    /// The rule to try: the stored one with the request's parts put in, or a draft of them alone, active and without
    /// gates.
    #[must_use]
    pub fn rule(&self, stored: Option<Rule>, now: DateTime<Utc>) -> Rule {
        let mut rule = stored.unwrap_or_else(|| draft(self.trigger_type, now));
        if let Some(conditions) = &self.conditions {
            rule.definition.conditions = conditions.clone();
        }
        if let Some(actions) = &self.actions {
            rule.definition.actions = actions.clone();
        }
        rule
    }

    /// The facts to try it with.
    ///
    /// # Errors
    /// The payload is not an object, which [`DryRunRequest::parse`] has refused before.
    pub fn facts(&self, rule: &Rule) -> Result<Facts, FieldProblem> {
        Facts::new(self.trigger_type.unwrap_or(rule.definition.trigger_type), self.event_payload.clone())
    }
}

fn draft(trigger_type: Option<TriggerType>, now: DateTime<Utc>) -> Rule {
    let definition = RuleDefinition {
        name: "draft".to_owned(),
        description: String::new(),
        is_active: true,
        trigger_type: trigger_type.unwrap_or(TriggerType::MessageReceivedInbound),
        conditions: Conditions::default(),
        actions: Vec::new(),
        alert_settings: super::AlertSettings::default(),
        schedule_settings: super::Schedule::default(),
        priority: 0,
        rollout_percentage: 100,
        stop_on_match: false,
        cooldown_secs: 0,
    };
    Rule { id: Uuid::nil(), definition, snoozed_until: None, created_at: now }
}

#[cfg(test)]
mod tests;
