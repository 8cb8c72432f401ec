//! A rule of a tenant as it is written, changed and put to sleep. What a rule means is `automation`.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::automation::{Rule, RuleDefinition};
use crate::event::{Context, EventBody};

/// `by` is the agent who did it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum AutomationRuleEvent {
    #[serde(rename = "automation_rule.created")]
    Created { definition: Box<RuleDefinition>, by: Option<Uuid> },
    /// The whole definition after the change.
    #[serde(rename = "automation_rule.updated")]
    Updated { definition: Box<RuleDefinition>, by: Option<Uuid> },
    #[serde(rename = "automation_rule.snoozed")]
    Snoozed { until: DateTime<Utc>, by: Option<Uuid> },
    #[serde(rename = "automation_rule.unsnoozed")]
    Unsnoozed { by: Option<Uuid> },
    #[serde(rename = "automation_rule.deleted")]
    Deleted,
}

impl EventBody for AutomationRuleEvent {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AutomationRule {
    /// None before it is created and after it is deleted.
    pub definition: Option<RuleDefinition>,
    pub snoozed_until: Option<DateTime<Utc>>,
    pub created_by: Option<Uuid>,
    pub updated_by: Option<Uuid>,
    pub created_at: Option<DateTime<Utc>>,
}

impl AutomationRule {
    /// As the engine sees it.
    #[must_use]
    pub fn as_rule(&self, id: Uuid) -> Option<Rule> {
        Some(Rule {
            id,
            definition: self.definition.clone()?,
            snoozed_until: self.snoozed_until,
            created_at: self.created_at?,
        })
    }
}

impl Aggregate for AutomationRule {
    const STREAM: &'static str = "automation_rule";
    type Event = AutomationRuleEvent;

    fn evolve(&mut self, event: &AutomationRuleEvent, context: Context) {
        match event.clone() {
            AutomationRuleEvent::Created { definition, by } => {
                *self = Self {
                    definition: Some(*definition),
                    created_by: by,
                    updated_by: by,
                    created_at: Some(context.at),
                    ..Self::default()
                };
            }
            AutomationRuleEvent::Updated { definition, by } => {
                self.definition = Some(*definition);
                self.updated_by = by;
            }
            AutomationRuleEvent::Snoozed { until, by } => {
                self.snoozed_until = Some(until);
                self.updated_by = by;
            }
            AutomationRuleEvent::Unsnoozed { by } => {
                self.snoozed_until = None;
                self.updated_by = by;
            }
            AutomationRuleEvent::Deleted => *self = Self::default(),
        }
    }

    fn exists(&self) -> bool {
        self.definition.is_some()
    }
}
