//! Decisions about automation rules. What a definition may say is checked when it is read (`domain::automation::rule`).

use chrono::{DateTime, Utc};
use domain::aggregate::Aggregate;
use domain::automation::{RuleDefinition, RulePatch};
use domain::automation_rule::{AutomationRule, AutomationRuleEvent};
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::store::Decision;

type Decided = Result<Decision<AutomationRuleEvent>, Refusal>;

/// # Errors
/// None: a rule that exists already is the same request again.
pub fn create(state: &AutomationRule, definition: &RuleDefinition, by: Option<Uuid>) -> Decided {
    if state.exists() {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(AutomationRuleEvent::Created { definition: Box::new(definition.clone()), by }))
}

/// # Errors
/// When there is no such rule.
pub fn update(state: &AutomationRule, patch: &RulePatch, by: Option<Uuid>) -> Decided {
    let before = existing(state)?;
    let after = before.with(patch.clone());
    if after == *before {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(AutomationRuleEvent::Updated { definition: Box::new(after), by }))
}

/// Puts the rule to sleep until then.
///
/// # Errors
/// When there is no such rule.
pub fn snooze(state: &AutomationRule, until: DateTime<Utc>, by: Option<Uuid>) -> Decided {
    existing(state)?;
    if state.snoozed_until == Some(until) {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(AutomationRuleEvent::Snoozed { until, by }))
}

/// # Errors
/// When there is no such rule.
pub fn unsnooze(state: &AutomationRule, by: Option<Uuid>) -> Decided {
    existing(state)?;
    if state.snoozed_until.is_none() {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(AutomationRuleEvent::Unsnoozed { by }))
}

/// # Errors
/// When there is no such rule.
pub fn delete(state: &AutomationRule) -> Decided {
    existing(state)?;
    Ok(Decision::one(AutomationRuleEvent::Deleted))
}

fn existing(state: &AutomationRule) -> Result<&RuleDefinition, Refusal> {
    state.definition.as_ref().ok_or_else(|| Refusal::not_found("automation rule"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn given() -> AutomationRule {
        let written = json!({
            "name": "Greet", "trigger_type": "conversation_created", "actions": [{ "type": "unassign" }],
        });
        let definition = RuleDefinition::parse(&written).unwrap();
        AutomationRule {
            definition: Some(definition),
            created_at: Some(DateTime::UNIX_EPOCH),
            ..AutomationRule::default()
        }
    }

    fn patch(change: serde_json::Value) -> RulePatch {
        RulePatch::parse(&change).unwrap()
    }

    #[test]
    fn a_change_is_recorded_as_the_whole_definition() {
        let decision = update(&given(), &patch(json!({ "priority": 7 })), None).unwrap();
        let [AutomationRuleEvent::Updated { definition, .. }] = &decision.events[..] else { panic!() };
        assert_eq!((definition.priority, definition.name.as_str()), (7, "Greet"));
    }

    #[test]
    fn what_is_already_so_changes_nothing() {
        let until = DateTime::UNIX_EPOCH;
        let asleep = AutomationRule { snoozed_until: Some(until), ..given() };
        let all = [
            create(&given(), &given().definition.unwrap(), None),
            update(&given(), &patch(json!({ "name": "Greet", "priority": 0 })), None),
            snooze(&asleep, until, None),
            unsnooze(&given(), None),
        ];
        assert!(all.into_iter().all(|decided| decided.unwrap().is_nothing()));
    }

    #[test]
    fn what_does_not_exist_can_not_be_changed() {
        let none = AutomationRule::default();
        let all = [
            update(&none, &RulePatch::default(), None),
            snooze(&none, DateTime::UNIX_EPOCH, None),
            unsnooze(&none, None),
            delete(&none),
        ];
        assert!(all.into_iter().all(|decided| decided.unwrap_err().code == "not_found"));
    }
}
