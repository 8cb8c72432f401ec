//! The queue of what sets rules off: looking at it, and trying its items again.

use std::time::Duration;

use chrono::TimeDelta;
use commands::automation_item;
use domain::automation_item::{AutomationItem, ItemStatus, run_id};
use domain::automation_rule::AutomationRule;
use domain::conversation::Conversation;
use domain::cursor::Cursor;
use garde::Validate;
use projections::automation::query::{self, ItemFilter, ItemSort, Page, RunFilter, RunSort};
use projections::automation::queue::ItemRow;
use projections::automation::runs::RunRow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::LEADS;
use super::lists::{
    AutomationEventQueueItem, AutomationRuleRun, EventOrder, EventStatus, SortOrder, cut, has_existed, page,
};
use super::wire::TriggerName;
use crate::http::{Answer, Body, Json, List, Paging, Path, PathParam, Problem, Query, Route, get, post};
use crate::{App, Ctx};

/// Items that one request retries or cleans up, unless it says how many.
const DEFAULT_BULK: i64 = 100;
/// Items that one request retries or cleans up at most.
const MAX_BULK: i64 = 1_000;
const DEFAULT_AGE_DAYS: i64 = 30;
const MAX_AGE_DAYS: i64 = 3_650;
/// Items with one fingerprint in one answer.
const MAX_BY_FINGERPRINT: i64 = 100;
/// Hex digits of a SHA-256.
const FINGERPRINT_DIGITS: usize = 64;
/// How long the answer to a reprocessing waits for the worker, and how often it looks.
const REPROCESS_PATIENCE: Duration = Duration::from_secs(15);
const REPROCESS_POLL: Duration = Duration::from_millis(20);
/// Runs of one evaluation that its answer shows.
const MAX_RUNS: i64 = 1_000;

pub(super) fn routes() -> [Route<App>; 9] {
    let order = "cursor is ISO8601|uuid and goes with sort_by created_at";
    [
        get("/api/automation-events", "List automation event queue items", LEADS, list).describe(order),
        post("/api/automation-events/retry-failed", "Retry all failed automation events", LEADS, retry_failed)
            .describe("oldest first, up to limit (100 unless given, at most 1000)"),
        post("/api/automation-events/cleanup", "Clean up old failed automation events", LEADS, clean_up)
            .describe("older_than_days default 30; what they did stays recorded"),
        get(
            "/api/automation-events/by-conversation/{conversation_id}",
            "List automation events for a conversation",
            LEADS,
            by_conversation,
        ),
        get("/api/automation-events/by-rule/{rule_id}", "List automation events for a rule", LEADS, by_rule)
            .describe("events that this rule has run for"),
        get(
            "/api/automation-events/by-fingerprint/{payload_hash}",
            "List automation events by payload fingerprint",
            LEADS,
            by_fingerprint,
        )
        .describe("400 unless 64 hex digits; the newest 100"),
        get("/api/automation-events/{id}", "Get a single automation event by ID", LEADS, get_one),
        post("/api/automation-events/{id}/retry", "Retry a single automation event", LEADS, retry)
            .describe("409 unless failed; does only what was not done"),
        post(
            "/api/automation-events/{id}/reprocess",
            "Reprocess an automation event with the current rule set",
            LEADS,
            reprocess,
        )
        .describe(
            "records new runs and repeats no action that took effect for its rule and index; during a pause nothing is \
             done and the reason recorded; 409 while it is being processed",
        ),
    ]
}

#[derive(Serialize, ToSchema)]
struct QueuePage {
    events: Vec<AutomationEventQueueItem>,
    /// Exact up to 10,000, see `X-Total-Capped`.
    total: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct LimitRequest {
    #[garde(range(min = 1, max = MAX_BULK))]
    limit: Option<i64>,
}

#[derive(Serialize, ToSchema)]
struct RetryFailedResult {
    message: String,
    retried_count: i64,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct CleanupRequest {
    #[garde(range(min = 0, max = MAX_AGE_DAYS))]
    older_than_days: Option<i64>,
    #[garde(range(min = 1, max = MAX_BULK))]
    limit: Option<i64>,
}

#[derive(Serialize, ToSchema)]
struct CleanupResult {
    message: String,
    deleted_count: i64,
}

#[derive(Serialize, ToSchema)]
struct RetryResult {
    message: String,
    id: Uuid,
}

#[derive(Serialize, ToSchema)]
struct ReprocessResult {
    message: String,
    id: Uuid,
    runs: Vec<AutomationRuleRun>,
}

#[derive(Deserialize, IntoParams, Validate)]
#[garde(allow_unvalidated)]
struct ListEvents {
    #[param(inline)]
    status: Option<EventStatus>,
    #[param(inline)]
    event_type: Option<TriggerName>,
    source: Option<String>,
    payload_hash: Option<String>,
    cursor: Option<String>,
    #[serde(default)]
    #[param(inline)]
    sort_by: EventOrder,
    #[param(inline)]
    sort_order: Option<SortOrder>,
}

async fn list(ctx: Ctx, paging: Paging, Query(wanted): Query<ListEvents>) -> Answer<Json<QueuePage>> {
    answer(&ctx, paging, wanted, ItemFilter::default()).await
}

async fn by_conversation(
    ctx: Ctx,
    Path(conversation_id): Path<Uuid>,
    paging: Paging,
    Query(wanted): Query<ListEvents>,
) -> Answer<Json<QueuePage>> {
    has_existed::<Conversation>(&ctx, conversation_id, "conversation").await?;
    let of = ItemFilter { conversation_id: Some(conversation_id), ..ItemFilter::default() };
    answer(&ctx, paging, wanted, of).await
}

async fn by_rule(
    ctx: Ctx,
    Path(rule_id): Path<Uuid>,
    paging: Paging,
    Query(wanted): Query<ListEvents>,
) -> Answer<Json<QueuePage>> {
    has_existed::<AutomationRule>(&ctx, rule_id, "automation rule").await?;
    answer(&ctx, paging, wanted, ItemFilter { rule_id: Some(rule_id), ..ItemFilter::default() }).await
}

async fn answer(ctx: &Ctx, paging: Paging, wanted: ListEvents, of: ItemFilter) -> Answer<Json<QueuePage>> {
    let by_creation = wanted.sort_by == EventOrder::CreatedAt;
    let page = page(paging, wanted.cursor.as_deref(), wanted.sort_by.into(), wanted.sort_order, by_creation)?;
    let filter = ItemFilter {
        status: wanted.status.map(|status| status.as_str().to_owned()),
        event_type: wanted
            .event_type
            .map(|name| domain::automation::TriggerType::from(name).as_str().to_owned()),
        source: wanted.source,
        payload_hash: wanted.payload_hash.map(|hash| hash.to_ascii_lowercase()),
        ..of
    };
    let mut db = ctx.reader().await?;
    let mut rows = query::items(&mut db, ctx.tenant_id(), &filter, &page).await?;
    let count = async |at_most| query::count_items(&mut db, ctx.tenant_id(), &filter, at_most).await;
    let total = ctx.total_of(&filter).counted(count).await?;
    let next_cursor = cut(&mut rows, paging, by_creation, |row| Cursor { at: row.created_at, id: row.id });
    Ok(Json(QueuePage { events: rows.into_iter().map(Into::into).collect(), total, next_cursor }))
}

/// A SHA-256 as hex digits; anything else is 400, which tells a mistyped one from one that nothing has.
#[derive(Deserialize)]
#[serde(transparent)]
struct Fingerprint(String);

impl PathParam for Fingerprint {
    fn schema() -> Value {
        json!({ "type": "string", "pattern": format!("^[0-9a-fA-F]{{{FINGERPRINT_DIGITS}}}$") })
    }
}

async fn by_fingerprint(
    ctx: Ctx,
    Path(Fingerprint(payload_hash)): Path<Fingerprint>,
) -> Answer<List<AutomationEventQueueItem>> {
    let hash = payload_hash.to_ascii_lowercase();
    if hash.len() != FINGERPRINT_DIGITS || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Problem::malformed("A fingerprint is a SHA-256: 64 hex digits."));
    }
    let filter = ItemFilter { payload_hash: Some(hash), ..ItemFilter::default() };
    let rows = query::items(
        &mut *ctx.reader().await?,
        ctx.tenant_id(),
        &filter,
        &newest(ItemSort::CreatedAt, MAX_BY_FINGERPRINT),
    )
    .await?;
    Ok(List(rows.into_iter().map(Into::into).collect()))
}

const fn newest<S>(sort_by: S, limit: i64) -> Page<S> {
    Page { sort_by, ascending: false, after: None, limit, offset: 0 }
}

async fn find(ctx: &Ctx, id: Uuid) -> Answer<ItemRow> {
    let row = query::item(&mut *ctx.reader().await?, ctx.tenant_id(), id).await?;
    row.ok_or_else(|| Problem::not_found("automation event"))
}

async fn get_one(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<AutomationEventQueueItem>> {
    Ok(Json(find(&ctx, id).await?.into()))
}

async fn retry(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<RetryResult>> {
    find(&ctx, id).await?;
    ctx.execute::<AutomationItem>(id, automation_item::retry).await?;
    Ok(Json(RetryResult { message: "The automation event is queued again.".to_owned(), id }))
}

async fn retry_failed(ctx: Ctx, Body(body): Body<LimitRequest>) -> Answer<Json<RetryFailedResult>> {
    let mut retried_count = 0;
    for row in failed(&ctx, body.limit, None).await? {
        let origin = ctx.origin().part(&format!("retry {}", row.id));
        match ctx.execute_as::<AutomationItem>(&origin, row.id, automation_item::retry).await {
            Ok(done) => retried_count += i64::from(done.position > 0),
            // Someone else was faster.
            Err(problem) if problem.code == "not_failed" => {}
            Err(problem) => return Err(problem),
        }
    }
    let message = match retried_count {
        1 => "1 automation event is queued again.".to_owned(),
        count => format!("{count} automation events are queued again."),
    };
    Ok(Json(RetryFailedResult { message, retried_count }))
}

async fn clean_up(ctx: Ctx, Body(body): Body<CleanupRequest>) -> Answer<Json<CleanupResult>> {
    let age = TimeDelta::days(body.older_than_days.unwrap_or(DEFAULT_AGE_DAYS));
    let now = ctx.app.store().clock().now();
    let mut deleted_count = 0;
    for row in failed(&ctx, body.limit, Some(now - age)).await? {
        let origin = ctx.origin().part(&format!("clean up {}", row.id));
        let done = ctx
            .execute_as::<AutomationItem>(&origin, row.id, |state| automation_item::clean_up(state, age, now))
            .await?;
        deleted_count += i64::from(done.position > 0);
    }
    let message = match deleted_count {
        1 => "1 failed automation event was removed.".to_owned(),
        count => format!("{count} failed automation events were removed."),
    };
    Ok(Json(CleanupResult { message, deleted_count }))
}

/// Failed items, oldest first.
async fn failed(
    ctx: &Ctx,
    limit: Option<i64>,
    before: Option<chrono::DateTime<chrono::Utc>>,
) -> Answer<Vec<ItemRow>> {
    let status = Some(ItemStatus::Failed.as_str().to_owned());
    let filter = ItemFilter { status, to: before, ..ItemFilter::default() };
    let page = Page { ascending: true, ..newest(ItemSort::CreatedAt, limit.unwrap_or(DEFAULT_BULK)) };
    Ok(query::items(&mut *ctx.reader().await?, ctx.tenant_id(), &filter, &page).await?)
}

async fn reprocess(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<ReprocessResult>> {
    find(&ctx, id).await?;
    let asked = ctx.execute::<AutomationItem>(id, automation_item::request_reprocess).await?;
    let finished = wait_for_round(&ctx, id, asked.state.round).await?;
    let runs = runs_of_round(&ctx, id, asked.state.round).await?;
    let message = if finished {
        "The automation event was evaluated with the rules of now."
    } else {
        "The automation event will be evaluated with the rules of now."
    };
    Ok(Json(ReprocessResult { message: message.to_owned(), id, runs }))
}

/// True once the worker has been through the round; false when that takes long.
async fn wait_for_round(ctx: &Ctx, id: Uuid, round: u32) -> Answer<bool> {
    let deadline = tokio::time::Instant::now() + REPROCESS_PATIENCE;
    while tokio::time::Instant::now() < deadline {
        let row = find(ctx, id).await?;
        let tried = row.round > i64::from(round) || row.attempts > 0 && row.status != ItemStatus::Processing;
        if !row.reprocessing || tried {
            return Ok(true);
        }
        tokio::time::sleep(REPROCESS_POLL).await;
    }
    Ok(false)
}

/// The runs of the item that belong to this round.
async fn runs_of_round(ctx: &Ctx, id: Uuid, round: u32) -> Answer<Vec<AutomationRuleRun>> {
    let filter = RunFilter { event_id: Some(id), ..RunFilter::default() };
    let page = newest(RunSort::CreatedAt, MAX_RUNS);
    let rows = query::runs(&mut *ctx.reader().await?, ctx.tenant_id(), &filter, &page).await?;
    let of_round = |row: &RunRow| row.id == run_id(id, row.rule_id, round);
    Ok(rows.into_iter().filter(of_round).map(Into::into).collect())
}
