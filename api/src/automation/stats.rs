//! How rules and the queue fare, from counts per UTC day that the events keep.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate};
use domain::automation::{AlertLevel as Level, TriggerType, alerts};
use domain::automation_rule::AutomationRule as State;
use garde::Validate;
use projections::automation::days::{QueueDayRow, RuleDayRow};
use projections::automation::query::{self, RunCounts};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::LEADS;
use super::wire::TriggerName;
use crate::http::{Answer, Json, List, Path, Query, Route, get};
use crate::{App, Ctx};

const DEFAULT_WINDOW_DAYS: i64 = 7;
const MAX_WINDOW_DAYS: i64 = 365;
const MAX_BUCKET_DAYS: i64 = 30;

pub(super) fn routes() -> [Route<App>; 7] {
    [
        get("/api/automation-rules/stats/overview", "Automation stats overview", LEADS, overview)
            .describe("rules as they are now; the rest over the last window_days UTC days, today included"),
        get("/api/automation-rules/stats/timeseries", "Automation stats time series", LEADS, timeseries),
        get("/api/automation-rules/stats/alerts", "Automation alert stats", LEADS, alert_stats).describe(
            "rules that ran in the window, the worst first, each judged by its own alert settings; min_matched_runs takes \
             the place of theirs, and failure_rate_threshold_pct hides rules below it",
        ),
        get("/api/automation-rules/{id}/stats", "Get stats for a specific automation rule", LEADS, of_rule),
        get(
            "/api/automation-rules/{id}/stats/timeseries",
            "Get time series stats for a specific automation rule",
            LEADS,
            timeseries_of_rule,
        ),
        get("/api/automation-events/stats", "Automation event queue stats", LEADS, queue)
            .describe("events enqueued in the window, by what they are now"),
        get("/api/automation-worker/metrics", "Get automation worker metrics", LEADS, worker)
            .describe("over all time: attempts begun, attempts that had to be repeated, events that failed for good"),
    ]
}

#[derive(Serialize, ToSchema)]
struct AutomationOverview {
    total_rules: i64,
    active_rules: i64,
    snoozed_rules: i64,
    total_events: i64,
    total_runs: i64,
    matched_runs: i64,
    executed_runs: i64,
    failed_events: i64,
}

#[derive(Serialize, ToSchema)]
struct RunBucket {
    /// Its first day, UTC.
    bucket: NaiveDate,
    total_runs: i64,
    matched_runs: i64,
    executed_runs: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum AlertLevel {
    Ok,
    Medium,
    High,
}

#[derive(Serialize, ToSchema)]
struct RuleAlert {
    rule_id: Uuid,
    rule_name: String,
    matched_runs: i64,
    executed_runs: i64,
    /// Matched runs that did not fully execute, per cent of the matched ones.
    failure_rate_pct: f64,
    alert_level: AlertLevel,
}

#[derive(Serialize, ToSchema)]
struct RuleStats {
    rule_id: Uuid,
    total_runs: i64,
    matched_runs: i64,
    executed_runs: i64,
    failure_rate_pct: f64,
}

#[derive(Serialize, ToSchema)]
struct QueueStats {
    total_events: i64,
    pending_events: i64,
    processing_events: i64,
    done_events: i64,
    failed_events: i64,
}

#[derive(Serialize, ToSchema)]
struct WorkerMetric {
    event_type: TriggerName,
    claimed_events: i64,
    retried_events: i64,
    failed_events: i64,
}

#[derive(Deserialize, IntoParams, Validate)]
struct Window {
    #[serde(default = "default_window")]
    #[param(minimum = 1, maximum = 365, default = 7)]
    #[garde(range(min = 1, max = MAX_WINDOW_DAYS))]
    window_days: i64,
}

#[derive(Deserialize, IntoParams, Validate)]
struct Series {
    #[serde(default = "default_window")]
    #[param(minimum = 1, maximum = 365, default = 7)]
    #[garde(range(min = 1, max = MAX_WINDOW_DAYS))]
    window_days: i64,
    #[serde(default = "default_bucket")]
    #[param(minimum = 1, maximum = 30, default = 1)]
    #[garde(range(min = 1, max = MAX_BUCKET_DAYS))]
    bucket_days: i64,
}

#[derive(Deserialize, IntoParams, Validate)]
struct AlertQuery {
    #[serde(default = "default_window")]
    #[param(minimum = 1, maximum = 365, default = 7)]
    #[garde(range(min = 1, max = MAX_WINDOW_DAYS))]
    window_days: i64,
    #[garde(range(min = 0))]
    min_matched_runs: Option<i64>,
    #[garde(range(min = 0.0, max = 100.0))]
    failure_rate_threshold_pct: Option<f64>,
}

const fn default_window() -> i64 {
    DEFAULT_WINDOW_DAYS
}

const fn default_bucket() -> i64 {
    1
}

/// The first day of a window that ends today.
fn since(ctx: &Ctx, window_days: i64) -> NaiveDate {
    let today = ctx.app.store().clock().now().date_naive();
    let earlier = Days::new(u64::try_from(window_days - 1).unwrap_or(0));
    today.checked_sub_days(earlier).unwrap_or(NaiveDate::MIN)
}

async fn overview(ctx: Ctx, Query(window): Query<Window>) -> Answer<Json<AutomationOverview>> {
    let (since, now) = (since(&ctx, window.window_days), ctx.app.store().clock().now());
    let documents = ctx.documents::<State>().await?;
    let rules: Vec<_> = documents.iter().filter_map(|document| document.state.as_rule(document.id)).collect();
    let mut db = ctx.reader().await?;
    let runs = query::run_counts(&mut db, ctx.tenant_id(), None, since).await?;
    let days = query::queue_days(&mut db, ctx.tenant_id(), Some(since)).await?;
    Ok(Json(AutomationOverview {
        total_rules: count(rules.len()),
        active_rules: count(rules.iter().filter(|rule| rule.definition.is_active).count()),
        snoozed_rules: count(rules.iter().filter(|rule| rule.snoozed_at(now)).count()),
        total_events: days.iter().map(|day| day.total).sum(),
        total_runs: runs.runs,
        matched_runs: runs.matched,
        executed_runs: runs.executed,
        failed_events: days.iter().map(|day| day.failed).sum(),
    }))
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

async fn timeseries(ctx: Ctx, Query(series): Query<Series>) -> Answer<List<RunBucket>> {
    buckets(&ctx, None, &series).await
}

async fn timeseries_of_rule(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(series): Query<Series>,
) -> Answer<List<RunBucket>> {
    ctx.document::<State>(id).await?;
    buckets(&ctx, Some(id), &series).await
}

async fn buckets(ctx: &Ctx, rule_id: Option<Uuid>, series: &Series) -> Answer<List<RunBucket>> {
    let since = since(ctx, series.window_days);
    let days = query::run_days(&mut *ctx.reader().await?, ctx.tenant_id(), rule_id, since).await?;
    Ok(List(in_buckets(since, series.window_days, series.bucket_days, &days)))
}

/// Every bucket of the window, also those in which nothing ran.
fn in_buckets(since: NaiveDate, window_days: i64, bucket_days: i64, days: &[RuleDayRow]) -> Vec<RunBucket> {
    let size = u64::try_from(bucket_days.max(1)).unwrap_or(1);
    let starts = (0..u64::try_from(window_days).unwrap_or(0)).step_by(usize::try_from(size).unwrap_or(1));
    let starts = starts.filter_map(|offset| since.checked_add_days(Days::new(offset)));
    let bucket = |start: NaiveDate| {
        let end = start.checked_add_days(Days::new(size)).unwrap_or(NaiveDate::MAX);
        let inside = days.iter().filter(|day| (start..end).contains(&day.day));
        let empty = RunBucket { bucket: start, total_runs: 0, matched_runs: 0, executed_runs: 0 };
        inside.fold(empty, |sum, day| RunBucket {
            bucket: sum.bucket,
            total_runs: sum.total_runs + day.runs,
            matched_runs: sum.matched_runs + day.matched,
            executed_runs: sum.executed_runs + day.executed,
        })
    };
    starts.map(bucket).collect()
}

async fn alert_stats(ctx: Ctx, Query(wanted): Query<AlertQuery>) -> Answer<List<RuleAlert>> {
    let since = since(&ctx, wanted.window_days);
    let documents = ctx.documents::<State>().await?;
    let counts = query::run_counts_by_rule(&mut *ctx.reader().await?, ctx.tenant_id(), since).await?;
    let counts: BTreeMap<Uuid, RunCounts> = counts.into_iter().collect();
    let alert = |document: &projections::documents::Document<State>| {
        let (definition, counts) = (document.state.definition.as_ref()?, counts.get(&document.id)?);
        let mut settings = definition.alert_settings;
        settings.min_matched_runs = wanted.min_matched_runs.unwrap_or(settings.min_matched_runs);
        Some(RuleAlert {
            rule_id: document.id,
            rule_name: definition.name.clone(),
            matched_runs: counts.matched,
            executed_runs: counts.executed,
            failure_rate_pct: alerts::failure_rate_pct(counts.matched, counts.executed),
            alert_level: settings.level(counts.matched, counts.executed).into(),
        })
    };
    let mut alerts: Vec<RuleAlert> = documents
        .iter()
        .filter_map(alert)
        .filter(|alert| wanted.min_matched_runs.is_none_or(|least| alert.matched_runs >= least))
        .filter(|alert| wanted.failure_rate_threshold_pct.is_none_or(|least| alert.failure_rate_pct >= least))
        .collect();
    alerts.sort_by(|a, b| {
        let by_level = b.alert_level.cmp(&a.alert_level);
        by_level.then(b.failure_rate_pct.total_cmp(&a.failure_rate_pct)).then(a.rule_id.cmp(&b.rule_id))
    });
    Ok(List(alerts))
}

impl From<Level> for AlertLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Ok => Self::Ok,
            Level::Medium => Self::Medium,
            Level::High => Self::High,
        }
    }
}

async fn of_rule(ctx: Ctx, Path(id): Path<Uuid>, Query(window): Query<Window>) -> Answer<Json<RuleStats>> {
    ctx.document::<State>(id).await?;
    let since = since(&ctx, window.window_days);
    let counts = query::run_counts(&mut *ctx.reader().await?, ctx.tenant_id(), Some(id), since).await?;
    Ok(Json(RuleStats {
        rule_id: id,
        total_runs: counts.runs,
        matched_runs: counts.matched,
        executed_runs: counts.executed,
        failure_rate_pct: alerts::failure_rate_pct(counts.matched, counts.executed),
    }))
}

async fn queue(ctx: Ctx, Query(window): Query<Window>) -> Answer<Json<QueueStats>> {
    let since = since(&ctx, window.window_days);
    let days = query::queue_days(&mut *ctx.reader().await?, ctx.tenant_id(), Some(since)).await?;
    let sum = |of: fn(&QueueDayRow) -> i64| days.iter().map(of).sum();
    Ok(Json(QueueStats {
        total_events: sum(|day| day.total),
        pending_events: sum(|day| day.pending),
        processing_events: sum(|day| day.processing),
        done_events: sum(|day| day.done),
        failed_events: sum(|day| day.failed),
    }))
}

async fn worker(ctx: Ctx) -> Answer<List<WorkerMetric>> {
    let days = query::queue_days(&mut *ctx.reader().await?, ctx.tenant_id(), None).await?;
    let metric = |(_, trigger): &(&str, TriggerType)| {
        let of_trigger = || days.iter().filter(|day| day.event_type == *trigger);
        WorkerMetric {
            event_type: (*trigger).into(),
            claimed_events: of_trigger().map(|day| day.claims).sum(),
            retried_events: of_trigger().map(|day| day.retries).sum(),
            failed_events: of_trigger().map(|day| day.failures).sum(),
        }
    };
    Ok(List(TriggerType::NAMES.iter().map(metric).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: u32, runs: i64) -> RuleDayRow {
        let day = NaiveDate::from_ymd_opt(2026, 11, day).unwrap();
        RuleDayRow { tenant_id: Uuid::nil(), rule_id: Uuid::nil(), day, runs, matched: 0, executed: 0 }
    }

    #[test]
    fn every_bucket_of_the_window_is_there() {
        let since = NaiveDate::from_ymd_opt(2026, 11, 1).unwrap();
        let buckets = in_buckets(since, 7, 3, &[day(1, 1), day(3, 2), day(7, 4)]);
        let shown: Vec<_> = buckets.iter().map(|b| (b.bucket.to_string(), b.total_runs)).collect();
        assert_eq!(
            shown,
            [("2026-11-01".to_owned(), 3), ("2026-11-04".to_owned(), 0), ("2026-11-07".to_owned(), 4)]
        );
    }
}
