//! Rules: writing them, looking at them, and trying them out.

use chrono::{DateTime, Utc};
use commands::automation_rule;
use domain::automation::{
    Action, Control, DryRunRequest, Reference, ReferenceKind, Rule, RuleDefinition, RulePatch, dry_run,
};
use domain::automation_control::{self, AutomationControl};
use domain::automation_rule::AutomationRule as State;
use domain::wa_template::WaTemplate;
use garde::Validate;
use projections::documents;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::LEADS;
use super::wire::{
    AlertSettings, AutomationRule, RuleAction, RuleConditions, ScheduleSettings, TriggerName, Written, shown,
    unreadable,
};
use crate::http::{
    Answer, Body, Created, FieldError, Json, List, Path, Problem, Query, Route, Versioned, delete, get,
    patch, post,
};
use crate::resource::Deleted;
use crate::{App, Ctx};

pub(super) fn routes() -> [Route<App>; 6] {
    [
        get("/api/automation-rules", "List automation rules", LEADS, list).describe("oldest first"),
        post("/api/automation-rules", "Create an automation rule", LEADS, create).describe(
            "422 names what is wrong by its path: unknown types, fields, placeholders, and ids that are not yours",
        ),
        post("/api/automation-rules/test", "Dry-run an automation rule against a test payload", LEADS, test)
            .describe("the evaluation that runs live, and nothing is done; actions_preview has its placeholders filled"),
        get("/api/automation-rules/{id}", "Get an automation rule by ID", LEADS, get_one),
        delete("/api/automation-rules/{id}", "Delete an automation rule", LEADS, remove)
            .describe("what it did stays recorded"),
        patch("/api/automation-rules/{id}", "Update an automation rule", LEADS, update),
    ]
}

#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "documents a body that the domain reads")]
struct CreateAutomationRule {
    name: String,
    trigger_type: TriggerName,
    /// 1 to 20.
    actions: Vec<RuleAction>,
    description: Option<String>,
    /// true unless said otherwise.
    is_active: Option<bool>,
    conditions: Option<RuleConditions>,
    alert_settings: Option<AlertSettings>,
    schedule_settings: Option<ScheduleSettings>,
    priority: Option<i64>,
    rollout_percentage: Option<i64>,
    stop_on_match: Option<bool>,
    cooldown_secs: Option<i64>,
}

#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "documents a body that the domain reads")]
struct UpdateAutomationRule {
    name: Option<String>,
    description: Option<String>,
    is_active: Option<bool>,
    trigger_type: Option<TriggerName>,
    conditions: Option<RuleConditions>,
    /// Replaces all of them.
    actions: Option<Vec<RuleAction>>,
    alert_settings: Option<AlertSettings>,
    schedule_settings: Option<ScheduleSettings>,
    priority: Option<i64>,
    rollout_percentage: Option<i64>,
    stop_on_match: Option<bool>,
    cooldown_secs: Option<i64>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DryRunRequest)]
#[allow(dead_code, reason = "documents a body that the domain reads")]
struct DryRunBody {
    /// The facts, as the payload of a queue item has them.
    #[schema(value_type = Object)]
    event_payload: Value,
    /// A stored rule; what else is given stands in for its own.
    rule_id: Option<Uuid>,
    trigger_type: Option<TriggerName>,
    conditions: Option<RuleConditions>,
    actions: Option<Vec<RuleAction>>,
}

#[derive(Serialize, ToSchema)]
struct DryRunResult {
    /// The trigger is the rule's and the conditions hold, whatever the other gates say.
    matched: bool,
    would_execute: bool,
    actions_preview: Vec<Value>,
    /// The gate that would keep the rule from acting.
    #[serde(skip_serializing_if = "Option::is_none")]
    skip_reason: Option<&'static str>,
    /// Each condition with what it asked for and found.
    conditions: Vec<Value>,
}

#[derive(Deserialize, IntoParams, Validate)]
#[garde(allow_unvalidated)]
struct ListRules {
    is_active: Option<bool>,
    #[param(inline)]
    trigger_type: Option<TriggerName>,
}

async fn list(ctx: Ctx, Query(wanted): Query<ListRules>) -> Answer<List<AutomationRule>> {
    let documents = ctx.documents::<State>().await?.into_iter().filter(|document| {
        document.state.definition.as_ref().is_some_and(|definition| {
            wanted.is_active.is_none_or(|active| definition.is_active == active)
                && wanted.trigger_type.is_none_or(|trigger| definition.trigger_type == trigger.into())
        })
    });
    Ok(List(documents.map(shown).collect::<Answer<_>>()?))
}

async fn get_one(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Versioned<AutomationRule>> {
    let document = ctx.document::<State>(id).await?;
    Ok(Versioned { version: document.version, value: shown(document)? })
}

async fn create(ctx: Ctx, Body(new): Body<Written<CreateAutomationRule>>) -> Answer<Created<AutomationRule>> {
    let definition = RuleDefinition::parse(&new.0).map_err(unreadable)?;
    check_references(&ctx, &definition.references()).await?;
    check_templates(&ctx, &definition.actions).await?;
    check_addresses(&ctx, &definition.actions).await?;
    let (id, by) = (ctx.new_id(1), ctx.member()?.agent_id);
    ctx.execute::<State>(id, |state| automation_rule::create(state, &definition, Some(by))).await?;
    Ok(Created(shown(ctx.document(id).await?)?))
}

async fn update(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(change): Body<Written<UpdateAutomationRule>>,
) -> Answer<Versioned<AutomationRule>> {
    ctx.document::<State>(id).await?;
    let patch = RulePatch::parse(&change.0).map_err(unreadable)?;
    check_references(&ctx, &patch.references()).await?;
    check_templates(&ctx, patch.actions.as_deref().unwrap_or_default()).await?;
    check_addresses(&ctx, patch.actions.as_deref().unwrap_or_default()).await?;
    apply(&ctx, id, &patch).await
}

/// Changes a rule and shows it.
pub(super) async fn apply(ctx: &Ctx, id: Uuid, patch: &RulePatch) -> Answer<Versioned<AutomationRule>> {
    let by = Some(ctx.member()?.agent_id);
    let done = ctx.execute::<State>(id, |state| automation_rule::update(state, patch, by)).await?;
    Ok(Versioned { version: done.version, value: shown(ctx.document(id).await?)? })
}

async fn remove(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    ctx.execute::<State>(id, automation_rule::delete).await?;
    Ok(Json(Deleted::new("automation rule", id)))
}

async fn test(ctx: Ctx, Body(request): Body<Written<DryRunBody>>) -> Answer<Json<DryRunResult>> {
    let request = DryRunRequest::parse(&request.0).map_err(unreadable)?;
    let now = ctx.app.store().clock().now();
    let stored = match request.rule_id {
        Some(id) => ctx.require::<State>("rule_id", id).await?.state.as_rule(id),
        None => None,
    };
    let rule = request.rule(stored, now);
    let facts = request.facts(&rule).map_err(|problem| unreadable(vec![problem]))?;
    let control = control(&ctx).await?;
    let free = match facts.conversation_id() {
        Some(conversation_id) => cooldown_free(&ctx, &rule, conversation_id, now).await?,
        None => true,
    };
    let tried = dry_run(&rule, &facts, now, &control, &|_, _| free);
    Ok(Json(DryRunResult {
        matched: tried.matched,
        would_execute: tried.would_execute,
        actions_preview: tried.actions_preview.iter().map(|action| json!(action)).collect(),
        skip_reason: tried.skip_reason.map(domain::automation::SkipReason::as_str),
        conditions: tried.conditions.iter().map(|report| json!(report)).collect(),
    }))
}

/// The tenant's switch as it stands.
pub(super) async fn control(ctx: &Ctx) -> Answer<Control> {
    let id = automation_control::stream_id(ctx.tenant_id());
    let document = ctx.find_document::<AutomationControl>(id).await?;
    Ok(document.map(|document| document.state.control).unwrap_or_default())
}

async fn cooldown_free(ctx: &Ctx, rule: &Rule, conversation_id: Uuid, now: DateTime<Utc>) -> Answer<bool> {
    let cooldowns = commands::automation_cooldown::Cooldowns::of(ctx.app.store(), ctx.tenant_id());
    Ok(cooldowns.is_free((rule.id, conversation_id), None, now).await?)
}

/// # Errors
/// 422 naming each field whose id is not one of the tenant's.
async fn check_references(ctx: &Ctx, references: &[Reference]) -> Answer<()> {
    let mut db = ctx.reader().await?;
    let mut errors = Vec::new();
    for reference in references {
        let (collection, noun) = match reference.kind {
            ReferenceKind::Agent => ("agent", "agent"),
            ReferenceKind::Division => ("division", "division"),
            ReferenceKind::Template => ("wa_template", "template"),
            ReferenceKind::SlaPolicy => ("sla_policy", "SLA policy"),
            ReferenceKind::AiAgent => ("ai_agent", "AI agent"),
        };
        if !documents::exists(&mut db, ctx.tenant_id(), collection, reference.id).await? {
            errors.push(FieldError::new(reference.field.clone(), format!("names no {noun} of yours")));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(errors)) }
}

/// # Errors
/// 422 naming each variable that a template lacks or does not have.
async fn check_templates(ctx: &Ctx, actions: &[Action]) -> Answer<()> {
    let mut errors = Vec::new();
    for (index, action) in actions.iter().enumerate() {
        let Action::SendTemplate { template_id, variables } = action else { continue };
        let Some(template) = ctx.find_document::<WaTemplate>(*template_id).await? else { continue };
        let values = variables.keys().map(|name| (name.clone(), String::new())).collect();
        errors.extend(template.state.reference().check_variables(&values).into_iter().map(|problem| {
            let field = problem.field.trim_start_matches("content.");
            FieldError::new(format!("actions[{index}].{field}"), problem.message)
        }));
    }
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(errors)) }
}

/// # Errors
/// 422 naming each field whose address leads inside.
async fn check_addresses(ctx: &Ctx, actions: &[Action]) -> Answer<()> {
    let checks = actions.iter().enumerate().map(async |(index, action)| {
        let Action::CallWebhook { url, .. } = action else { return None };
        let refused = ctx.app.guard().check(url).await.err()?;
        Some(FieldError::new(format!("actions[{index}].url"), refused.to_string()))
    });
    let errors: Vec<FieldError> = futures::future::join_all(checks).await.into_iter().flatten().collect();
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(errors)) }
}
