//! What rules look like on the wire, and bodies that the domain reads itself, naming every bad field by its path.

use std::marker::PhantomData;

use chrono::{DateTime, Utc};
use domain::automation::TriggerType;
use domain::automation_rule::AutomationRule as State;
use garde::Validate;
use projections::documents::Document;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use crate::http::Problem;

/// A JSON body as it came; `T` documents it.
pub(super) struct Written<T>(pub Value, PhantomData<fn() -> T>);

impl<'de, T> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Value::deserialize(deserializer)?, PhantomData))
    }
}

impl<T: ToSchema> PartialSchema for Written<T> {
    fn schema() -> RefOr<Schema> {
        T::schema()
    }
}

impl<T: ToSchema> ToSchema for Written<T> {
    fn name() -> std::borrow::Cow<'static, str> {
        T::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}

/// The domain's reader judges it.
impl<T> Validate for Written<T> {
    type Context = ();

    fn validate_into(&self, (): &(), _: &mut dyn FnMut() -> garde::Path, _: &mut garde::Report) {}
}

/// What a reader of the domain found wrong.
pub(super) fn unreadable(problems: Vec<domain::refusal::FieldProblem>) -> Problem {
    domain::refusal::Refusal::invalid_fields(problems).into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TriggerName {
    ConversationCreated,
    MessageReceivedInbound,
    StatusChanged,
    SlaBreached,
}

impl From<TriggerType> for TriggerName {
    fn from(trigger: TriggerType) -> Self {
        match trigger {
            TriggerType::ConversationCreated => Self::ConversationCreated,
            TriggerType::MessageReceivedInbound => Self::MessageReceivedInbound,
            TriggerType::StatusChanged => Self::StatusChanged,
            TriggerType::SlaBreached => Self::SlaBreached,
        }
    }
}

impl From<TriggerName> for TriggerType {
    fn from(name: TriggerName) -> Self {
        match name {
            TriggerName::ConversationCreated => Self::ConversationCreated,
            TriggerName::MessageReceivedInbound => Self::MessageReceivedInbound,
            TriggerName::StatusChanged => Self::StatusChanged,
            TriggerName::SlaBreached => Self::SlaBreached,
        }
    }
}

/// All that are given must hold; none means always.
#[derive(Serialize, ToSchema)]
pub(super) struct RuleConditions {
    channel_in: Option<Vec<String>>,
    status_in: Option<Vec<String>>,
    /// true: nobody is assigned; false: somebody is.
    assigned_is_null: Option<bool>,
    /// Compared without regard to case.
    has_any_tags: Option<Vec<String>>,
    division_id_in: Option<Vec<Uuid>>,
    business_hours_only: Option<bool>,
}

/// By type: assign_agent {agent_id}; assign_division {division_id}; set_status {status}; add_tags, remove_tags {tags};
/// send_message {content: {text}}; send_template {template_id, variables}; add_note {content}; call_webhook {url,
/// headers?}; apply_sla {policy_id}; start_ai {ai_agent_id?}; unassign, send_csat and stop_ai have no fields. Text may
/// hold placeholders such as `{{contact.name}}`.
#[derive(Serialize, ToSchema)]
pub(super) struct RuleAction {
    r#type: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct AlertSettings {
    enabled: bool,
    min_matched_runs: i64,
    /// Per cent of the matched runs that did not fully execute, from which on the level is reached.
    medium_threshold_pct: f64,
    high_threshold_pct: f64,
}

/// Local time is UTC plus the offset, also for the hours in spite of their names.
#[derive(Serialize, ToSchema)]
pub(super) struct ScheduleSettings {
    enabled: bool,
    /// 0 = Sunday: the days on which a window starts.
    active_weekdays: Vec<i64>,
    /// 0 to 23, inclusive.
    start_hour_utc: i64,
    /// 0 to 24, exclusive; smaller than the start: on the next day.
    end_hour_utc: i64,
    timezone_offset_minutes: i64,
    /// Open exactly when it would be closed.
    invert: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct AutomationRule {
    id: Uuid,
    name: String,
    description: String,
    is_active: bool,
    trigger_type: TriggerName,
    #[schema(value_type = RuleConditions)]
    conditions: Value,
    #[schema(value_type = Vec<RuleAction>)]
    actions: Value,
    #[schema(value_type = AlertSettings)]
    alert_settings: Value,
    #[schema(value_type = ScheduleSettings)]
    schedule_settings: Value,
    /// Higher goes first.
    priority: i64,
    /// Per cent of the conversations, 1 to 100.
    rollout_percentage: i64,
    /// Once it acts, no later rule does.
    stop_on_match: bool,
    /// Seconds for which a rule that acted on a conversation leaves it alone.
    cooldown_secs: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snoozed_until: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_by: Option<Uuid>,
}

/// A rule as clients see it.
///
/// # Errors
/// 404 for a document without a definition: it was deleted.
pub(super) fn shown(document: Document<State>) -> Result<AutomationRule, Problem> {
    let Document { id, created_at, updated_at, state, .. } = document;
    let definition = state.definition.ok_or_else(|| Problem::not_found("automation rule"))?;
    Ok(AutomationRule {
        id,
        conditions: json!(definition.conditions),
        actions: json!(definition.actions),
        alert_settings: json!(definition.alert_settings),
        schedule_settings: json!(definition.schedule_settings),
        trigger_type: definition.trigger_type.into(),
        rollout_percentage: definition.rollout_percentage.into(),
        name: definition.name,
        description: definition.description,
        is_active: definition.is_active,
        priority: definition.priority,
        stop_on_match: definition.stop_on_match,
        cooldown_secs: definition.cooldown_secs,
        created_at,
        updated_at,
        snoozed_until: state.snoozed_until,
        created_by: state.created_by,
        updated_by: state.updated_by,
    })
}
