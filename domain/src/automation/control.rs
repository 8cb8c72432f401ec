//! The switch that stops all automation of a tenant, and what it means for one rule.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::fields::{Fields, Problems, boolean, future, settle, text};
use super::rule::Rule;

/// Characters in the reason of a pause.
pub const MAX_REASON_CHARS: usize = 500;

/// Whether automation is paused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    pub is_paused: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_reason: Option<String>,
    /// Ends the pause by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<DateTime<Utc>>,
}

impl Control {
    /// Whether the pause is in force; at `paused_until` it has ended.
    #[must_use]
    pub fn paused_at(&self, now: DateTime<Utc>) -> bool {
        self.is_paused && self.paused_until.is_none_or(|until| now < until)
    }

    /// Reads `UpdateAutomationControl`; the answer is the state that it asks for, a resume has no reason and no end.
    ///
    /// # Errors
    /// Wrong types, an end in the past, a reason or an end without a pause.
    pub fn parse_change(value: &Value, now: DateTime<Utc>) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let change = Self::read(value, now, &mut problems);
        settle(change, problems)
    }

    fn read(value: &Value, now: DateTime<Utc>, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(value, "", problems)?;
        let is_paused = fields.required("is_paused", boolean);
        let pause_reason = fields.optional("pause_reason", text(MAX_REASON_CHARS)).map(str::to_owned);
        let paused_until = fields.optional("paused_until", future(now));
        if is_paused == Some(false) && paused_until.is_some() {
            fields.problem("paused_until", "needs is_paused to be true");
        }
        if is_paused == Some(false) && pause_reason.as_deref().is_some_and(|reason| !reason.is_empty()) {
            fields.problem("pause_reason", "needs is_paused to be true");
        }
        fields.finish();
        Some(Self {
            is_paused: is_paused?,
            pause_reason: pause_reason.filter(|r| !r.is_empty()),
            paused_until,
        })
    }
}

/// Whether a rule would act now, and what keeps it from acting, as far as that does not depend on a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EffectiveState {
    pub rule_id: Uuid,
    pub is_active: bool,
    pub is_snoozed: bool,
    pub global_paused: bool,
    pub schedule_active: bool,
    pub effective_active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snoozed_until: Option<DateTime<Utc>>,
}

impl EffectiveState {
    #[must_use]
    pub fn of(rule: &Rule, control: &Control, now: DateTime<Utc>) -> Self {
        let is_active = rule.definition.is_active;
        let is_snoozed = rule.snoozed_at(now);
        let global_paused = control.paused_at(now);
        let schedule_active = rule.definition.schedule_settings.open_at(now);
        Self {
            rule_id: rule.id,
            is_active,
            is_snoozed,
            global_paused,
            schedule_active,
            effective_active: is_active && !is_snoozed && !global_paused && schedule_active,
            snoozed_until: rule.snoozed_until,
        }
    }
}
