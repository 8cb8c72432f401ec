//! What rules did, newest first, and what each was when it did.

use chrono::{DateTime, Utc};
use domain::automation_item::AutomationItem;
use domain::automation_rule::AutomationRule;
use domain::cursor::Cursor;
use garde::Validate;
use projections::automation::query::{self, RunFilter};
use projections::automation::runs::RunRow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::LEADS;
use super::lists::{AutomationRuleRun, RunOrder, SortOrder, cut, has_existed, page, source_name};
use super::wire::{RuleAction, RuleConditions};
use crate::http::{Answer, Json, Paging, Path, Problem, Query, Route, get};
use crate::{App, Ctx};

pub(super) fn routes() -> [Route<App>; 5] {
    let order = "cursor is ISO8601|uuid and goes with sort_by created_at";
    [
        get("/api/automation-runs", "List automation rule runs", LEADS, list).describe(order),
        get(
            "/api/automation-runs/by-rule/{rule_id}",
            "List automation runs for a specific rule",
            LEADS,
            by_rule,
        )
        .describe(order),
        get(
            "/api/automation-runs/by-event/{event_id}",
            "List automation runs for a specific event",
            LEADS,
            by_event,
        )
        .describe(order),
        get("/api/automation-runs/{id}", "Get a single automation run by ID", LEADS, get_one),
        get(
            "/api/automation-runs/{id}/replay-context",
            "Get replay context for an automation run",
            LEADS,
            replay_context,
        )
        .describe("conditions and actions as they were when the run happened, whatever the rule says now"),
    ]
}

#[derive(Serialize, ToSchema)]
struct RunPage {
    runs: Vec<AutomationRuleRun>,
    /// Exact up to 10,000, see `X-Total-Capped`.
    total: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct AutomationRunDetail {
    id: Uuid,
    event_id: Uuid,
    rule_id: Uuid,
    conversation_id: Uuid,
    matched: bool,
    executed: bool,
    #[schema(value_type = Object)]
    result: Value,
    created_at: DateTime<Utc>,
    rule_name: Option<String>,
    event_type: Option<String>,
    event_source: Option<String>,
    /// None once the event is cleaned up.
    event_status: Option<String>,
    contact_id: Option<Uuid>,
    channel_source: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct ReplayContext {
    run: AutomationRuleRun,
    /// Empty once the contact is erased or the event cleaned up.
    #[schema(value_type = Object)]
    event_payload: Value,
    #[schema(value_type = RuleConditions)]
    rule_conditions: Value,
    #[schema(value_type = Vec<RuleAction>)]
    rule_actions: Value,
}

#[derive(Deserialize, IntoParams, Validate)]
#[garde(allow_unvalidated)]
struct ListRuns {
    rule_id: Option<Uuid>,
    event_id: Option<Uuid>,
    cursor: Option<String>,
    #[serde(default)]
    #[param(inline)]
    sort_by: RunOrder,
    #[param(inline)]
    sort_order: Option<SortOrder>,
}

#[derive(Deserialize, IntoParams, Validate)]
#[garde(allow_unvalidated)]
struct ListRunsOfRule {
    event_id: Option<Uuid>,
    cursor: Option<String>,
    #[serde(default)]
    #[param(inline)]
    sort_by: RunOrder,
    #[param(inline)]
    sort_order: Option<SortOrder>,
}

#[derive(Deserialize, IntoParams, Validate)]
#[garde(allow_unvalidated)]
struct ListRunsOfEvent {
    rule_id: Option<Uuid>,
    cursor: Option<String>,
    #[serde(default)]
    #[param(inline)]
    sort_by: RunOrder,
    #[param(inline)]
    sort_order: Option<SortOrder>,
}

async fn list(ctx: Ctx, paging: Paging, Query(wanted): Query<ListRuns>) -> Answer<Json<RunPage>> {
    answer(&ctx, paging, wanted).await
}

async fn by_rule(
    ctx: Ctx,
    Path(rule_id): Path<Uuid>,
    paging: Paging,
    Query(wanted): Query<ListRunsOfRule>,
) -> Answer<Json<RunPage>> {
    has_existed::<AutomationRule>(&ctx, rule_id, "automation rule").await?;
    let ListRunsOfRule { event_id, cursor, sort_by, sort_order } = wanted;
    answer(&ctx, paging, ListRuns { rule_id: Some(rule_id), event_id, cursor, sort_by, sort_order }).await
}

async fn by_event(
    ctx: Ctx,
    Path(event_id): Path<Uuid>,
    paging: Paging,
    Query(wanted): Query<ListRunsOfEvent>,
) -> Answer<Json<RunPage>> {
    has_existed::<AutomationItem>(&ctx, event_id, "automation event").await?;
    let ListRunsOfEvent { rule_id, cursor, sort_by, sort_order } = wanted;
    answer(&ctx, paging, ListRuns { rule_id, event_id: Some(event_id), cursor, sort_by, sort_order }).await
}

async fn answer(ctx: &Ctx, paging: Paging, wanted: ListRuns) -> Answer<Json<RunPage>> {
    let by_creation = wanted.sort_by == RunOrder::CreatedAt;
    let page = page(paging, wanted.cursor.as_deref(), wanted.sort_by.into(), wanted.sort_order, by_creation)?;
    let filter = RunFilter { rule_id: wanted.rule_id, event_id: wanted.event_id, ..RunFilter::default() };
    let mut db = ctx.reader().await?;
    let mut rows = query::runs(&mut db, ctx.tenant_id(), &filter, &page).await?;
    let count = async |at_most| query::count_runs(&mut db, ctx.tenant_id(), &filter, at_most).await;
    let total = ctx.total_of(&filter).counted(count).await?;
    let next_cursor = cut(&mut rows, paging, by_creation, |row| Cursor { at: row.created_at, id: row.id });
    Ok(Json(RunPage { runs: rows.into_iter().map(Into::into).collect(), total, next_cursor }))
}

async fn find(ctx: &Ctx, id: Uuid) -> Answer<RunRow> {
    let row = query::run(&mut *ctx.reader().await?, ctx.tenant_id(), id).await?;
    row.ok_or_else(|| Problem::not_found("automation run"))
}

async fn get_one(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<AutomationRunDetail>> {
    let row = find(&ctx, id).await?;
    let mut db = ctx.reader().await?;
    let item = query::item(&mut db, ctx.tenant_id(), row.event_id).await?;
    let contact = projections::inbox::query::contact(&mut db, ctx.tenant_id(), row.contact_id).await?;
    let (event_type, source, contact_id) = (row.event_type, row.source, row.contact_id);
    let run = AutomationRuleRun::from(row);
    Ok(Json(AutomationRunDetail {
        id: run.id,
        event_id: run.event_id,
        rule_id: run.rule_id,
        conversation_id: run.conversation_id,
        matched: run.matched,
        executed: run.executed,
        result: run.result,
        created_at: run.created_at,
        rule_name: run.rule_name,
        event_type: Some(event_type.as_str().to_owned()),
        event_source: Some(source_name(source).to_owned()),
        event_status: item.map(|item| item.status.as_str().to_owned()),
        contact_id: Some(contact_id),
        channel_source: contact.map(|contact| contact.channel.as_str().to_owned()),
    }))
}

async fn replay_context(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<ReplayContext>> {
    let row = find(&ctx, id).await?;
    let item = query::item(&mut *ctx.reader().await?, ctx.tenant_id(), row.event_id).await?;
    Ok(Json(ReplayContext {
        event_payload: item.and_then(|item| item.payload).unwrap_or_else(|| json!({})),
        rule_conditions: json!(row.conditions),
        rule_actions: json!(row.actions),
        run: row.into(),
    }))
}
