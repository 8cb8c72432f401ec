//! What the lists, the statistics and the workers ask of automation.
//!
//! A list is walked in one order by one index; see the migration for which filter has which. Counting stops at a limit,
//! so that no list grows slow with a tenant's history.

use chrono::{DateTime, NaiveDate, Utc};
use domain::cursor::Cursor;
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::days::{ALL_RULES, QueueDayRow, RuleDayRow};
use super::queue::ItemRow;
use super::runs::RunRow;

/// Part of a list in its order.
#[derive(Clone, Debug)]
pub struct Page<S> {
    pub sort_by: S,
    pub ascending: bool,
    /// Only with an order by time of creation.
    pub after: Option<Cursor>,
    pub limit: i64,
    pub offset: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ItemSort {
    #[default]
    CreatedAt,
    AvailableAt,
    ProcessedAt,
    Attempts,
    Status,
    EventType,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunSort {
    #[default]
    CreatedAt,
    Matched,
    Executed,
    RuleId,
    EventId,
}

/// A column to sort by.
pub trait Sort: Copy {
    fn column(self) -> &'static str;
}

impl Sort for ItemSort {
    fn column(self) -> &'static str {
        match self {
            Self::CreatedAt => "created_at",
            Self::AvailableAt => "available_at",
            Self::ProcessedAt => "processed_at",
            Self::Attempts => "attempts",
            Self::Status => "status",
            Self::EventType => "event_type",
        }
    }
}

impl Sort for RunSort {
    fn column(self) -> &'static str {
        match self {
            Self::CreatedAt => "created_at",
            Self::Matched => "matched",
            Self::Executed => "executed",
            Self::RuleId => "rule_id",
            Self::EventId => "event_id",
        }
    }
}

#[derive(Clone, Debug, Default, Hash)]
pub struct ItemFilter {
    pub status: Option<String>,
    pub event_type: Option<String>,
    pub source: Option<String>,
    pub payload_hash: Option<String>,
    pub conversation_id: Option<Uuid>,
    /// Items that this rule was judged for.
    pub rule_id: Option<Uuid>,
    /// Created then or later.
    pub from: Option<DateTime<Utc>>,
    /// Created before then.
    pub to: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, Default, Hash)]
pub struct RunFilter {
    pub rule_id: Option<Uuid>,
    pub event_id: Option<Uuid>,
    pub matched: Option<bool>,
    pub executed: Option<bool>,
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
}

impl ItemFilter {
    fn push(&self, tenant_id: Uuid, sql: &mut QueryBuilder<Postgres>) {
        sql.push(" FROM read.automation_queue t WHERE t.tenant_id = ").push_bind(tenant_id);
        equals(sql, "status", self.status.clone());
        equals(sql, "event_type", self.event_type.clone());
        equals(sql, "source", self.source.clone());
        equals(sql, "payload_hash", self.payload_hash.clone());
        equals(sql, "conversation_id", self.conversation_id);
        created_within(sql, self.from, self.to);
        if let Some(rule_id) = self.rule_id {
            sql.push(" AND EXISTS (SELECT FROM read.automation_runs r WHERE r.tenant_id = t.tenant_id AND r.rule_id = ");
            sql.push_bind(rule_id).push(" AND r.event_id = t.id)");
        }
    }
}

impl RunFilter {
    fn push(&self, tenant_id: Uuid, sql: &mut QueryBuilder<Postgres>) {
        sql.push(" FROM read.automation_runs t WHERE t.tenant_id = ").push_bind(tenant_id);
        equals(sql, "rule_id", self.rule_id);
        equals(sql, "event_id", self.event_id);
        equals(sql, "matched", self.matched);
        equals(sql, "executed", self.executed);
        created_within(sql, self.from, self.to);
    }
}

fn equals<'q, T>(sql: &mut QueryBuilder<Postgres>, column: &str, value: Option<T>)
where
    T: 'q + Send + sqlx::Encode<'q, Postgres> + sqlx::Type<Postgres>,
{
    if let Some(value) = value {
        sql.push(format!(" AND t.{column} = ")).push_bind(value);
    }
}

fn created_within(sql: &mut QueryBuilder<Postgres>, from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) {
    if let Some(from) = from {
        sql.push(" AND t.created_at >= ").push_bind(from);
    }
    if let Some(to) = to {
        sql.push(" AND t.created_at < ").push_bind(to);
    }
}

fn paged<S: Sort>(sql: &mut QueryBuilder<Postgres>, page: &Page<S>) {
    let (direction, than) = if page.ascending { ("ASC", ">") } else { ("DESC", "<") };
    if let Some(Cursor { at, id }) = page.after {
        sql.push(format!(" AND (t.created_at, t.id) {than} ("))
            .push_bind(at)
            .push(", ")
            .push_bind(id)
            .push(")");
    }
    let column = page.sort_by.column();
    sql.push(format!(" ORDER BY t.{column} {direction}, t.id {direction} LIMIT ")).push_bind(page.limit);
    sql.push(" OFFSET ").push_bind(page.offset);
}

async fn count(
    db: &mut PgConnection,
    limit: i64,
    push: impl FnOnce(&mut QueryBuilder<Postgres>),
) -> Result<i64, sqlx::Error> {
    let mut sql = QueryBuilder::new("SELECT count(*) FROM (SELECT 1");
    push(&mut sql);
    sql.push(" LIMIT ").push_bind(limit).push(") counted");
    sql.build_query_scalar().fetch_one(db).await
}

/// # Errors
/// Database errors, or a row that does not decode; as with all functions here.
pub async fn items(
    db: &mut PgConnection,
    tenant_id: Uuid,
    filter: &ItemFilter,
    page: &Page<ItemSort>,
) -> Result<Vec<ItemRow>, sqlx::Error> {
    let mut sql = QueryBuilder::new("SELECT to_jsonb(t)");
    filter.push(tenant_id, &mut sql);
    paged(&mut sql, page);
    let rows: Vec<Json<ItemRow>> = sql.build_query_scalar().fetch_all(db).await?;
    Ok(rows.into_iter().map(|Json(row)| row).collect())
}

/// Counts no further than `limit`.
pub async fn count_items(
    db: &mut PgConnection,
    tenant_id: Uuid,
    filter: &ItemFilter,
    limit: i64,
) -> Result<i64, sqlx::Error> {
    count(db, limit, |sql| filter.push(tenant_id, sql)).await
}

pub async fn item(db: &mut PgConnection, tenant_id: Uuid, id: Uuid) -> Result<Option<ItemRow>, sqlx::Error> {
    let row: Option<Json<ItemRow>> = sqlx::query_scalar(
        "SELECT to_jsonb(t) FROM read.automation_queue t WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tenant_id)
    .bind(id)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|Json(row)| row))
}

pub async fn runs(
    db: &mut PgConnection,
    tenant_id: Uuid,
    filter: &RunFilter,
    page: &Page<RunSort>,
) -> Result<Vec<RunRow>, sqlx::Error> {
    let mut sql = QueryBuilder::new("SELECT to_jsonb(t)");
    filter.push(tenant_id, &mut sql);
    paged(&mut sql, page);
    let rows: Vec<Json<RunRow>> = sql.build_query_scalar().fetch_all(db).await?;
    Ok(rows.into_iter().map(|Json(row)| row).collect())
}

/// Counts no further than `limit`.
pub async fn count_runs(
    db: &mut PgConnection,
    tenant_id: Uuid,
    filter: &RunFilter,
    limit: i64,
) -> Result<i64, sqlx::Error> {
    count(db, limit, |sql| filter.push(tenant_id, sql)).await
}

pub async fn run(db: &mut PgConnection, tenant_id: Uuid, id: Uuid) -> Result<Option<RunRow>, sqlx::Error> {
    let row: Option<Json<RunRow>> =
        sqlx::query_scalar("SELECT to_jsonb(t) FROM read.automation_runs t WHERE tenant_id = $1 AND id = $2")
            .bind(tenant_id)
            .bind(id)
            .fetch_optional(db)
            .await?;
    Ok(row.map(|Json(row)| row))
}

/// The tenant of a run or an item, which an operator may not know.
pub async fn tenant_of(db: &mut PgConnection, id: Uuid) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT tenant_id FROM read.automation_runs WHERE id = $1
         UNION ALL SELECT tenant_id FROM read.automation_queue WHERE id = $1 LIMIT 1",
    )
    .bind(id)
    .fetch_optional(db)
    .await
}

/// Counts of runs over days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct RunCounts {
    pub runs: i64,
    pub matched: i64,
    pub executed: i64,
}

const SUM_OF_RUNS: &str =
    "coalesce(sum(runs), 0)::bigint AS runs, coalesce(sum(matched), 0)::bigint AS matched,
    coalesce(sum(executed), 0)::bigint AS executed";

/// The runs of one rule, or of all, since a day.
pub async fn run_counts(
    db: &mut PgConnection,
    tenant_id: Uuid,
    rule_id: Option<Uuid>,
    since: NaiveDate,
) -> Result<RunCounts, sqlx::Error> {
    let sql = format!(
        "SELECT {SUM_OF_RUNS} FROM read.automation_rule_days WHERE tenant_id = $1 AND rule_id = $2 AND day >= $3"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(tenant_id)
        .bind(rule_id.unwrap_or(ALL_RULES))
        .bind(since)
        .fetch_one(db)
        .await
}

/// The runs of every rule that ran, since a day.
pub async fn run_counts_by_rule(
    db: &mut PgConnection,
    tenant_id: Uuid,
    since: NaiveDate,
) -> Result<Vec<(Uuid, RunCounts)>, sqlx::Error> {
    let sql = format!(
        "SELECT rule_id, {SUM_OF_RUNS} FROM read.automation_rule_days
         WHERE tenant_id = $1 AND day >= $2 AND rule_id <> $3 GROUP BY rule_id"
    );
    let rows: Vec<(Uuid, i64, i64, i64)> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(tenant_id)
        .bind(since)
        .bind(ALL_RULES)
        .fetch_all(db)
        .await?;
    let counts = |(rule_id, runs, matched, executed)| (rule_id, RunCounts { runs, matched, executed });
    Ok(rows.into_iter().map(counts).collect())
}

/// The days since then on which one rule, or any, was judged, in order.
pub async fn run_days(
    db: &mut PgConnection,
    tenant_id: Uuid,
    rule_id: Option<Uuid>,
    since: NaiveDate,
) -> Result<Vec<RuleDayRow>, sqlx::Error> {
    let rows: Vec<Json<RuleDayRow>> = sqlx::query_scalar(
        "SELECT to_jsonb(d) FROM read.automation_rule_days d
         WHERE tenant_id = $1 AND rule_id = $2 AND day >= $3 ORDER BY day",
    )
    .bind(tenant_id)
    .bind(rule_id.unwrap_or(ALL_RULES))
    .bind(since)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|Json(row)| row).collect())
}

/// The queue's days since then, of every trigger; since ever without a day.
pub async fn queue_days(
    db: &mut PgConnection,
    tenant_id: Uuid,
    since: Option<NaiveDate>,
) -> Result<Vec<QueueDayRow>, sqlx::Error> {
    let rows: Vec<Json<QueueDayRow>> = sqlx::query_scalar(
        "SELECT to_jsonb(d) FROM read.automation_queue_days d
         WHERE tenant_id = $1 AND ($2::date IS NULL OR day >= $2)",
    )
    .bind(tenant_id)
    .bind(since)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|Json(row)| row).collect())
}
