//! Runs and the queue as CSV, read and sent page by page, so that memory does not grow with the file.

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use domain::automation::TriggerType;
use domain::cursor::Cursor;
use futures::{Stream, TryStreamExt};
use garde::Validate;
use projections::automation::query::{self, ItemFilter, ItemSort, Page, RunFilter, RunSort};
use projections::automation::queue::ItemRow;
use projections::automation::runs::RunRow;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::LEADS;
use super::lists::{EventStatus, SortOrder, source_name};
use crate::http::{Answer, Csv, Problem, Query, Route, get};
use crate::{App, Ctx};

/// Rows read and sent at once.
const CHUNK: i64 = 1_000;
/// Rows of one file.
const MAX_ROWS: i64 = 1_000_000;

const RUN_COLUMNS: [&str; 11] = [
    "id",
    "event_id",
    "rule_id",
    "rule_name",
    "event_type",
    "conversation_id",
    "matched",
    "executed",
    "skip_reason",
    "result",
    "created_at",
];
const EVENT_COLUMNS: [&str; 13] = [
    "id",
    "event_type",
    "conversation_id",
    "contact_id",
    "payload",
    "payload_hash",
    "source",
    "status",
    "attempts",
    "available_at",
    "created_at",
    "processed_at",
    "error",
];

pub(super) fn routes() -> [Route<App>; 2] {
    let streamed =
        "streamed; newest first by created_at unless sort_order says otherwise; limit up to 1,000,000 rows";
    [
        get("/api/automation-runs/export", "Export automation runs as CSV", LEADS, runs).describe(streamed),
        get("/api/automation-events/export", "Export automation events as CSV", LEADS, events)
            .describe(streamed),
    ]
}

#[derive(Deserialize, IntoParams, Validate)]
#[garde(allow_unvalidated)]
struct ExportRuns {
    #[garde(range(min = 1, max = MAX_ROWS))]
    limit: Option<i64>,
    rule_id: Option<Uuid>,
    event_id: Option<Uuid>,
    matched: Option<bool>,
    executed: Option<bool>,
    /// `created_at`: the only order in which a file of any length can be read in pieces.
    sort_by: Option<String>,
    #[param(inline)]
    sort_order: Option<SortOrder>,
    created_from: Option<DateTime<Utc>>,
    /// Not included.
    created_to: Option<DateTime<Utc>>,
}

#[derive(Deserialize, IntoParams, Validate)]
#[garde(allow_unvalidated)]
struct ExportEvents {
    #[garde(range(min = 1, max = MAX_ROWS))]
    limit: Option<i64>,
    #[param(inline)]
    status: Option<EventStatus>,
    event_type: Option<String>,
    source: Option<String>,
    payload_hash: Option<String>,
    /// `created_at`: the only order in which a file of any length can be read in pieces.
    sort_by: Option<String>,
    #[param(inline)]
    sort_order: Option<SortOrder>,
    created_from: Option<DateTime<Utc>>,
    /// Not included.
    created_to: Option<DateTime<Utc>>,
}

async fn runs(ctx: Ctx, Query(wanted): Query<ExportRuns>) -> Answer<Csv> {
    check_order(wanted.sort_by.as_deref())?;
    let filter = RunFilter {
        rule_id: wanted.rule_id,
        event_id: wanted.event_id,
        matched: wanted.matched,
        executed: wanted.executed,
        from: wanted.created_from,
        to: wanted.created_to,
    };
    let rows = move |ctx: Ctx, page: Page<RunSort>, filter: RunFilter| async move {
        query::runs(&mut *ctx.reader().await?, ctx.tenant_id(), &filter, &page).await.map_err(Problem::from)
    };
    let chunks = chunks(Walk::new(wanted.limit, wanted.sort_order), &RUN_COLUMNS, run_record, move |walk| {
        rows(ctx.clone(), walk.page(RunSort::CreatedAt), filter.clone())
    });
    Ok(Csv::new("automation-runs.csv", chunks))
}

async fn events(ctx: Ctx, Query(wanted): Query<ExportEvents>) -> Answer<Csv> {
    check_order(wanted.sort_by.as_deref())?;
    if wanted.event_type.as_deref().is_some_and(|name| TriggerType::from_name(name).is_none()) {
        return Err(Problem::invalid("event_type", "is not a known trigger"));
    }
    let filter = ItemFilter {
        status: wanted.status.map(|status| status.as_str().to_owned()),
        event_type: wanted.event_type,
        source: wanted.source,
        payload_hash: wanted.payload_hash.map(|hash| hash.to_ascii_lowercase()),
        from: wanted.created_from,
        to: wanted.created_to,
        ..ItemFilter::default()
    };
    let rows = move |ctx: Ctx, page: Page<ItemSort>, filter: ItemFilter| async move {
        query::items(&mut *ctx.reader().await?, ctx.tenant_id(), &filter, &page).await.map_err(Problem::from)
    };
    let chunks =
        chunks(Walk::new(wanted.limit, wanted.sort_order), &EVENT_COLUMNS, event_record, move |walk| {
            rows(ctx.clone(), walk.page(ItemSort::CreatedAt), filter.clone())
        });
    Ok(Csv::new("automation-events.csv", chunks))
}

fn check_order(sort_by: Option<&str>) -> Answer<()> {
    match sort_by {
        None | Some("created_at") => Ok(()),
        Some(_) => Err(Problem::invalid("sort_by", "must be created_at")),
    }
}

/// How far a file has got.
#[derive(Clone, Copy)]
struct Walk {
    left: i64,
    ascending: bool,
    after: Option<Cursor>,
    begun: bool,
}

impl Walk {
    fn new(limit: Option<i64>, order: Option<SortOrder>) -> Self {
        let ascending = order == Some(SortOrder::Asc);
        Self { left: limit.unwrap_or(MAX_ROWS), ascending, after: None, begun: false }
    }

    fn page<S>(&self, sort_by: S) -> Page<S> {
        Page { sort_by, ascending: self.ascending, after: self.after, limit: self.left.min(CHUNK), offset: 0 }
    }
}

/// A row that a file walks over.
trait Place {
    fn place(&self) -> Cursor;
}

impl Place for RunRow {
    fn place(&self) -> Cursor {
        Cursor { at: self.created_at, id: self.id }
    }
}

impl Place for ItemRow {
    fn place(&self) -> Cursor {
        Cursor { at: self.created_at, id: self.id }
    }
}

/// The header and then page after page, each read when the one before it is sent.
fn chunks<R, F>(
    walk: Walk,
    columns: &'static [&'static str],
    record: fn(&R) -> Vec<String>,
    read: impl Fn(Walk) -> F + Send + 'static,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static
where
    R: Place + Send + 'static,
    F: Future<Output = Answer<Vec<R>>> + Send + 'static,
{
    futures::stream::try_unfold((walk, read), move |(mut walk, read)| async move {
        if walk.left == 0 && walk.begun {
            return Ok(None);
        }
        let rows = read(walk).await?;
        let mut writer = csv::Writer::from_writer(Vec::new());
        if !walk.begun {
            writer.write_record(columns).map_err(Problem::internal)?;
        }
        for row in &rows {
            writer.write_record(record(row)).map_err(Problem::internal)?;
        }
        walk.begun = true;
        let full = rows.len() as i64 == walk.left.min(CHUNK);
        walk.left = if full { walk.left - rows.len() as i64 } else { 0 };
        walk.after = rows.last().map(Place::place);
        let bytes = writer.into_inner().map_err(Problem::internal)?;
        Ok(Some((Bytes::from(bytes), (walk, read))))
    })
    .map_err(|problem: Problem| std::io::Error::other(problem.cause.unwrap_or(problem.detail)))
}

fn run_record(row: &RunRow) -> Vec<String> {
    let result = row.full_result();
    let skipped = result.get("skip_reason").and_then(|reason| reason.as_str()).unwrap_or_default().to_owned();
    vec![
        row.id.to_string(),
        row.event_id.to_string(),
        row.rule_id.to_string(),
        row.rule_name.clone(),
        row.event_type.as_str().to_owned(),
        row.conversation_id.to_string(),
        row.matched.to_string(),
        row.executed.to_string(),
        skipped,
        result.to_string(),
        time(row.created_at),
    ]
}

fn event_record(row: &ItemRow) -> Vec<String> {
    vec![
        row.id.to_string(),
        row.event_type.as_str().to_owned(),
        row.conversation_id.to_string(),
        row.contact_id.to_string(),
        row.payload.as_ref().map_or_else(|| "{}".to_owned(), ToString::to_string),
        row.payload_hash.clone(),
        source_name(row.source).to_owned(),
        row.status.as_str().to_owned(),
        row.attempts.to_string(),
        time(row.available_at),
        time(row.created_at),
        row.processed_at.map(time).unwrap_or_default(),
        row.error.clone().unwrap_or_default(),
    ]
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
