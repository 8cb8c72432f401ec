//! When and how much a rule works: switch, snooze, schedule, rollout, alerts.

use chrono::{DateTime, Utc};
use commands::automation_rule;
use domain::automation::{
    AlertSettings as Alerts, EffectiveState as Effective, RulePatch, TimeWindow as Window, rule,
};
use domain::automation_rule::AutomationRule as State;
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::LEADS;
use super::rules::{apply, control};
use super::wire::{AlertSettings, AutomationRule, ScheduleSettings, TriggerName, Written, shown, unreadable};
use crate::http::{
    Answer, Body, FieldError, Json, List, Paging, Path, Problem, Query, Route, Versioned, get, patch, post,
};
use crate::resource::Deleted;
use crate::{App, Ctx};

const DEFAULT_PREVIEW_HOURS: i64 = 48;
const MAX_PREVIEW_HOURS: i64 = domain::automation::schedule::MAX_PREVIEW_HOURS;

pub(super) fn routes() -> [Route<App>; 10] {
    let alerts = "/api/automation-rules/{id}/alert-settings";
    let schedule = "/api/automation-rules/{id}/schedule-settings";
    [
        get("/api/automation-rules/snoozed", "List snoozed automation rules", LEADS, snoozed),
        post("/api/automation-rules/snooze-bulk", "Snooze multiple automation rules", LEADS, snooze_bulk)
            .describe("all or none; up to 100"),
        post("/api/automation-rules/{id}/toggle", "Toggle automation rule active state", LEADS, toggle),
        post(
            "/api/automation-rules/{id}/snooze",
            "Snooze an automation rule until a given time",
            LEADS,
            snooze,
        ),
        post("/api/automation-rules/{id}/unsnooze", "Unsnooze an automation rule", LEADS, unsnooze),
        get(
            "/api/automation-rules/{id}/effective-state",
            "Get the effective state of an automation rule",
            LEADS,
            effective_state,
        ),
        patch(alerts, "Update alert settings for an automation rule", LEADS, set_alerts)
            .describe("a preset or settings of your own, not both"),
        patch(schedule, "Update schedule settings for an automation rule", LEADS, set_schedule),
        patch(
            "/api/automation-rules/{id}/rollout",
            "Update rollout percentage for an automation rule",
            LEADS,
            set_rollout,
        )
        .describe("raising it only adds conversations"),
        get(
            "/api/automation-rules/{id}/schedule-preview",
            "Preview upcoming schedule windows for an automation rule",
            LEADS,
            preview,
        )
        .describe("by the function that decides live; windows are cut to the span asked for"),
    ]
}

#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "documents a body that the domain reads")]
struct SnoozeBulk {
    rule_ids: Vec<Uuid>,
    snoozed_until: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
struct SnoozeBulkResult {
    message: String,
    snoozed_count: i64,
}

#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "documents a body that the domain reads")]
struct ToggleRule {
    is_active: bool,
}

#[derive(Serialize, ToSchema)]
struct ToggleRuleResult {
    message: String,
    id: Uuid,
    is_active: bool,
}

#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "documents a body that the domain reads")]
struct SnoozeRule {
    /// In the future.
    snoozed_until: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
struct SnoozeRuleResult {
    message: String,
    id: Uuid,
    snoozed_until: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
struct EffectiveState {
    rule_id: Uuid,
    is_active: bool,
    is_snoozed: bool,
    global_paused: bool,
    schedule_active: bool,
    effective_active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    snoozed_until: Option<DateTime<Utc>>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "documents a body that the domain reads")]
enum PresetName {
    Conservative,
    Balanced,
    Aggressive,
}

#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "documents a body that the domain reads")]
struct UpdateAlertSettings {
    preset: Option<PresetName>,
    alert_settings: Option<AlertSettings>,
}

#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "documents a body that the domain reads")]
struct UpdateScheduleSettings {
    schedule_settings: ScheduleSettings,
}

#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "documents a body that the domain reads")]
struct UpdateRollout {
    /// 1 to 100.
    rollout_percentage: i64,
}

#[derive(Serialize, ToSchema)]
struct TimeWindow {
    start: DateTime<Utc>,
    /// Not part of it.
    end: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
struct SchedulePreview {
    rule_id: Uuid,
    windows: Vec<TimeWindow>,
}

#[derive(Deserialize, IntoParams, Validate)]
#[garde(allow_unvalidated)]
struct ListSnoozed {
    #[param(inline)]
    trigger_type: Option<TriggerName>,
    is_active: Option<bool>,
}

#[derive(Deserialize, IntoParams, Validate)]
struct PreviewQuery {
    #[serde(default = "default_hours")]
    #[param(minimum = 1, maximum = 720, default = 48)]
    #[garde(range(min = 1, max = MAX_PREVIEW_HOURS))]
    hours: i64,
    /// Now unless given.
    #[garde(skip)]
    start_at: Option<DateTime<Utc>>,
}

const fn default_hours() -> i64 {
    DEFAULT_PREVIEW_HOURS
}

async fn snoozed(
    ctx: Ctx,
    paging: Paging,
    Query(wanted): Query<ListSnoozed>,
) -> Answer<List<AutomationRule>> {
    let now = ctx.app.store().clock().now();
    let asleep = ctx.documents::<State>().await?.into_iter().filter(|document| {
        document.state.as_rule(document.id).is_some_and(|rule| {
            rule.snoozed_at(now)
                && wanted.trigger_type.is_none_or(|trigger| rule.definition.trigger_type == trigger.into())
                && wanted.is_active.is_none_or(|active| rule.definition.is_active == active)
        })
    });
    let (offset, limit) = (at_most(paging.offset()), at_most(paging.limit()));
    Ok(List(asleep.skip(offset).take(limit).map(shown).collect::<Answer<_>>()?))
}

fn at_most(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

async fn snooze_bulk(ctx: Ctx, Body(body): Body<Written<SnoozeBulk>>) -> Answer<Json<SnoozeBulkResult>> {
    let now = ctx.app.store().clock().now();
    let (mut ids, until) = rule::parse_snooze_bulk(&body.0, now).map_err(unreadable)?;
    let mut errors = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        if ctx.find_document::<State>(*id).await?.is_none() {
            errors.push(FieldError::new(format!("rule_ids[{index}]"), "names no automation rule of yours"));
        }
    }
    if !errors.is_empty() {
        return Err(Problem::invalid_fields(errors));
    }
    ids.sort_unstable();
    ids.dedup();
    let by = Some(ctx.member()?.agent_id);
    for id in &ids {
        let origin = ctx.origin().part(&format!("snooze {id}"));
        ctx.execute_as::<State>(&origin, *id, |state| automation_rule::snooze(state, until, by)).await?;
    }
    let snoozed_count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    Ok(Json(SnoozeBulkResult { message: "The automation rules are snoozed.".to_owned(), snoozed_count }))
}

async fn toggle(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(body): Body<Written<ToggleRule>>,
) -> Answer<Json<ToggleRuleResult>> {
    let patch = RulePatch::parse_only("is_active", &body.0).map_err(unreadable)?;
    apply(&ctx, id, &patch).await?;
    let is_active = patch.is_active.unwrap_or_default();
    let message = format!("The automation rule is {}.", if is_active { "active" } else { "inactive" });
    Ok(Json(ToggleRuleResult { message, id, is_active }))
}

async fn snooze(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(body): Body<Written<SnoozeRule>>,
) -> Answer<Json<SnoozeRuleResult>> {
    let now = ctx.app.store().clock().now();
    let snoozed_until = rule::parse_snooze(&body.0, now).map_err(unreadable)?;
    let by = Some(ctx.member()?.agent_id);
    ctx.execute::<State>(id, |state| automation_rule::snooze(state, snoozed_until, by)).await?;
    Ok(Json(SnoozeRuleResult { message: "The automation rule is snoozed.".to_owned(), id, snoozed_until }))
}

async fn unsnooze(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    let by = Some(ctx.member()?.agent_id);
    ctx.execute::<State>(id, |state| automation_rule::unsnooze(state, by)).await?;
    Ok(Json(Deleted { message: "The automation rule is no longer snoozed.".to_owned(), id }))
}

async fn effective_state(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<EffectiveState>> {
    let rule = ctx.document::<State>(id).await?.state.as_rule(id);
    let rule = rule.ok_or_else(|| Problem::not_found("automation rule"))?;
    let state = Effective::of(&rule, &control(&ctx).await?, ctx.app.store().clock().now());
    Ok(Json(EffectiveState {
        rule_id: state.rule_id,
        is_active: state.is_active,
        is_snoozed: state.is_snoozed,
        global_paused: state.global_paused,
        schedule_active: state.schedule_active,
        effective_active: state.effective_active,
        snoozed_until: state.snoozed_until,
    }))
}

async fn set_alerts(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(body): Body<Written<UpdateAlertSettings>>,
) -> Answer<Versioned<AutomationRule>> {
    let alert_settings = Some(Alerts::parse_update(&body.0).map_err(unreadable)?);
    apply(&ctx, id, &RulePatch { alert_settings, ..RulePatch::default() }).await
}

async fn set_schedule(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(body): Body<Written<UpdateScheduleSettings>>,
) -> Answer<Versioned<AutomationRule>> {
    let patch = RulePatch::parse_only("schedule_settings", &body.0).map_err(unreadable)?;
    apply(&ctx, id, &patch).await
}

async fn set_rollout(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(body): Body<Written<UpdateRollout>>,
) -> Answer<Versioned<AutomationRule>> {
    let patch = RulePatch::parse_only("rollout_percentage", &body.0).map_err(unreadable)?;
    apply(&ctx, id, &patch).await
}

async fn preview(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(wanted): Query<PreviewQuery>,
) -> Answer<Json<SchedulePreview>> {
    let rule = ctx.document::<State>(id).await?.state.as_rule(id);
    let rule = rule.ok_or_else(|| Problem::not_found("automation rule"))?;
    let from = wanted.start_at.unwrap_or_else(|| ctx.app.store().clock().now());
    let windows = rule.definition.schedule_settings.preview(from, wanted.hours);
    let windows = windows.into_iter().map(|Window { start, end }| TimeWindow { start, end }).collect();
    Ok(Json(SchedulePreview { rule_id: id, windows }))
}
