//! A rule: what a supervisor writes, and what the engine knows of it.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::action::{Action, Reference, ReferenceKind};
use super::alerts::AlertSettings;
use super::condition::{Condition, Conditions};
use super::fields::{
    Fields, Problems, boolean, filled_text, future, integer, item, items, one_of, settle, text, uuid,
};
use super::schedule::Schedule;
use super::trigger::TriggerType;
use crate::refusal::FieldProblem;

pub const MAX_NAME_CHARS: usize = 200;
pub const MAX_DESCRIPTION_CHARS: usize = 2000;
/// Priorities are 32-bit numbers, either sign; higher goes first.
pub const MIN_PRIORITY: i64 = i32::MIN as i64;
pub const MAX_PRIORITY: i64 = i32::MAX as i64;
/// The longest cooldown: a year, in seconds.
pub const MAX_COOLDOWN_SECS: i64 = 365 * 24 * 3600;
/// Rules in one bulk snooze.
pub const MAX_BULK: usize = 100;

/// All of a rule that can be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RuleDefinition {
    pub name: String,
    pub description: String,
    pub is_active: bool,
    pub trigger_type: TriggerType,
    pub conditions: Conditions,
    pub actions: Vec<Action>,
    pub alert_settings: AlertSettings,
    pub schedule_settings: Schedule,
    pub priority: i64,
    /// 1..=100.
    pub rollout_percentage: u8,
    pub stop_on_match: bool,
    /// Seconds for which a rule that acted on a conversation leaves it alone; 0 = none.
    pub cooldown_secs: i64,
}

/// A rule as the engine sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub id: Uuid,
    #[serde(flatten)]
    pub definition: RuleDefinition,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snoozed_until: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

impl Rule {
    /// At `snoozed_until` the rule is awake again.
    #[must_use]
    pub fn snoozed_at(&self, now: DateTime<Utc>) -> bool {
        self.snoozed_until.is_some_and(|until| now < until)
    }

    /// The order of evaluation: higher priority, then older, then the smaller id. No two rules are equal in it.
    #[must_use]
    pub fn evaluation_order(&self, other: &Self) -> Ordering {
        let by_priority = other.definition.priority.cmp(&self.definition.priority);
        by_priority.then(self.created_at.cmp(&other.created_at)).then(self.id.cmp(&other.id))
    }
}

impl RuleDefinition {
    /// Reads `CreateAutomationRule`: name, trigger and actions are required, the rest has defaults (active, no
    /// conditions, balanced alerts, no schedule, priority 0, rollout 100 %, no cooldown).
    ///
    /// # Errors
    /// Everything that is wrong, each by its field.
    pub fn parse(value: &Value) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let definition = Self::read(value, &mut problems);
        settle(definition, problems)
    }

    fn read(value: &Value, problems: &mut Problems) -> Option<Self> {
        let patch = RulePatch::read(value, problems)?;
        for name in ["name", "trigger_type", "actions"] {
            if value.get(name).is_none() {
                problems.push(FieldProblem::new(name, "is required"));
            }
        }
        Some(Self {
            name: patch.name?,
            description: patch.description.unwrap_or_default(),
            is_active: patch.is_active.unwrap_or(true),
            trigger_type: patch.trigger_type?,
            conditions: patch.conditions.unwrap_or_default(),
            actions: patch.actions?,
            alert_settings: patch.alert_settings.unwrap_or_default(),
            schedule_settings: patch.schedule_settings.unwrap_or_default(),
            priority: patch.priority.unwrap_or_default(),
            rollout_percentage: patch.rollout_percentage.unwrap_or(100),
            stop_on_match: patch.stop_on_match.unwrap_or_default(),
            cooldown_secs: patch.cooldown_secs.unwrap_or_default(),
        })
    }

    /// The definition after a change; equal to the old one when the change changes nothing.
    #[must_use]
    pub fn with(&self, patch: RulePatch) -> Self {
        let old = self.clone();
        Self {
            name: patch.name.unwrap_or(old.name),
            description: patch.description.unwrap_or(old.description),
            is_active: patch.is_active.unwrap_or(old.is_active),
            trigger_type: patch.trigger_type.unwrap_or(old.trigger_type),
            conditions: patch.conditions.unwrap_or(old.conditions),
            actions: patch.actions.unwrap_or(old.actions),
            alert_settings: patch.alert_settings.unwrap_or(old.alert_settings),
            schedule_settings: patch.schedule_settings.unwrap_or(old.schedule_settings),
            priority: patch.priority.unwrap_or(old.priority),
            rollout_percentage: patch.rollout_percentage.unwrap_or(old.rollout_percentage),
            stop_on_match: patch.stop_on_match.unwrap_or(old.stop_on_match),
            cooldown_secs: patch.cooldown_secs.unwrap_or(old.cooldown_secs),
        }
    }

    /// Every id that must exist in the tenant, by the path of its field.
    #[must_use]
    pub fn references(&self) -> Vec<Reference> {
        references(&self.conditions, &self.actions)
    }
}

fn references(conditions: &Conditions, actions: &[Action]) -> Vec<Reference> {
    let divisions = conditions.iter().filter_map(|condition| match condition {
        Condition::DivisionIdIn(ids) => Some(ids),
        _ => None,
    });
    let divisions = divisions.flatten().enumerate().map(|(n, id)| Reference {
        field: format!("conditions.division_id_in[{n}]"),
        kind: ReferenceKind::Division,
        id: *id,
    });
    let in_actions = actions.iter().enumerate().filter_map(|(n, action)| {
        let (field, kind, id) = action.reference()?;
        Some(Reference { field: format!("actions[{n}].{field}"), kind, id })
    });
    divisions.chain(in_actions).collect()
}

/// A change of a rule; what is None stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RulePatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_active: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger_type: Option<TriggerType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Conditions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions: Option<Vec<Action>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert_settings: Option<AlertSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_settings: Option<Schedule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout_percentage: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_on_match: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_secs: Option<i64>,
}

impl RulePatch {
    /// Reads `UpdateAutomationRule`.
    ///
    /// # Errors
    /// Everything that is wrong, each by its field.
    pub fn parse(value: &Value) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let patch = Self::read(value, &mut problems);
        settle(patch, problems)
    }

    /// The new ids of this change that must exist in the tenant. Ids that stay are not judged again.
    #[must_use]
    pub fn references(&self) -> Vec<Reference> {
        let none = Conditions::default();
        references(self.conditions.as_ref().unwrap_or(&none), self.actions.as_deref().unwrap_or_default())
    }

    fn read(value: &Value, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(value, "", problems)?;
        let patch = Self {
            name: fields.optional("name", filled_text(MAX_NAME_CHARS)).map(|name| name.trim().to_owned()),
            description: fields.optional("description", text(MAX_DESCRIPTION_CHARS)).map(str::to_owned),
            is_active: fields.optional("is_active", boolean),
            trigger_type: fields.optional("trigger_type", one_of(TriggerType::NAMES)),
            conditions: fields.nested("conditions", Conditions::read),
            actions: fields.nested("actions", Action::read_all),
            alert_settings: fields.nested("alert_settings", AlertSettings::read),
            schedule_settings: fields.nested("schedule_settings", Schedule::read),
            priority: fields.optional("priority", integer(MIN_PRIORITY..=MAX_PRIORITY)),
            rollout_percentage: fields.optional("rollout_percentage", rollout_percentage),
            stop_on_match: fields.optional("stop_on_match", boolean),
            cooldown_secs: fields.optional("cooldown_secs", integer(0..=MAX_COOLDOWN_SECS)),
        };
        fields.finish();
        Some(patch)
    }

    /// Reads the body of an operation that changes one part of a rule: `ToggleRule`, `UpdateRollout`,
    /// `UpdateScheduleSettings`. `UpdateAlertSettings` has a reader of its own.
    ///
    /// # Errors
    /// The field is missing or wrong, or there is another one.
    pub fn parse_only(field: &'static str, value: &Value) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        if let Value::Object(object) = value {
            let others = object.keys().filter(|name| name.as_str() != field);
            problems.extend(others.map(|name| FieldProblem::new(name, "is not a known field here")));
            if !object.contains_key(field) {
                problems.push(FieldProblem::new(field, "is required"));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Self::parse(value)
    }
}

fn rollout_percentage(value: &Value) -> Result<u8, String> {
    let percentage = integer(1..=100)(value)?;
    u8::try_from(percentage).map_err(|error| error.to_string())
}

/// Reads `SnoozeRule`: the time until which a rule sleeps.
///
/// # Errors
/// Not a time, or one that is not after `now`.
pub fn parse_snooze(value: &Value, now: DateTime<Utc>) -> Result<DateTime<Utc>, Problems> {
    let mut problems = Problems::new();
    let until = Fields::open(value, "", &mut problems).and_then(|mut fields| {
        let until = fields.required("snoozed_until", future(now));
        fields.finish();
        until
    });
    settle(until, problems)
}

/// Reads `SnoozeBulk`: the rules, at least one, and the time until which they sleep.
///
/// # Errors
/// As [`parse_snooze`]; no rules, or more than [`MAX_BULK`].
pub fn parse_snooze_bulk(value: &Value, now: DateTime<Utc>) -> Result<(Vec<Uuid>, DateTime<Utc>), Problems> {
    let mut problems = Problems::new();
    let bulk = Fields::open(value, "", &mut problems).and_then(|mut fields| {
        let ids = fields.nested_required("rule_ids", |value, path, problems| {
            items(value, path, MAX_BULK, problems, item(uuid))
        });
        if ids.as_ref().is_some_and(Vec::is_empty) {
            fields.problem("rule_ids", "must name at least one rule");
        }
        let until = fields.required("snoozed_until", future(now));
        fields.finish();
        Some((ids?, until?))
    });
    settle(bulk, problems)
}

#[cfg(test)]
mod tests;
