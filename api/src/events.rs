//! The history of a tenant: its events in log order, the history of one stream, its state at any time, and the proof
//! that nothing of it was touched.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use commands::audit;
use domain::event::Recorded;
use domain::personal::{self, PERSONAL, SEALED, SECRET};
use domain::registry::StreamKind;
use garde::Validate;
use projections::history::{self, Filter, Stored, Stream};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::http::{Access, Answer, Group, Json, Path, Permission, Problem, Query, get, group};
use crate::{App, Ctx};

const DEFAULT_EVENTS: i64 = 100;
const MAX_EVENTS: i64 = 1_000;
/// Events of one stream that are folded at once.
const FOLD_PAGE: i64 = 1_000;
/// Events that one request verifies; the next one goes on from there.
const AUDIT_LIMIT: i64 = 500_000;
const AUDIT_TIMEOUT: Duration = Duration::from_secs(300);

pub fn routes() -> Group<App> {
    let auditor = Access::Permission(Permission::AuditView);
    group("Event Store", [
        get("/api/events", "Replay the tenant's event history", auditor, list)
            .describe("in log order; from is inclusive, to is not; next_cursor is the after of the next page"),
        get("/api/events/{event_id}", "Get one stored event", auditor, get_one),
        get("/api/streams/{stream_type}/{stream_id}", "History of one stream", auditor, stream)
            .describe("after and next_cursor are versions"),
        get("/api/streams/{stream_type}/{stream_id}/state", "State of one stream at a version or time", auditor, state)
            .describe("time travel; credentials, and personal data without contacts.manage, are null"),
        get("/api/audit/verify", "Verify payload hashes and hash chains", auditor, verify)
            .describe("of the tenant's events from one position to another; goes on after last_position if not complete")
            .timeout(AUDIT_TIMEOUT),
    ])
}

/// An event as it is stored, with its proof.
#[derive(Clone, Serialize, ToSchema)]
pub struct StoredEvent {
    pub position: i64,
    pub event_id: Uuid,
    pub tenant_id: Uuid,
    pub stream_type: String,
    pub stream_id: Uuid,
    /// 1 for the stream's first event.
    pub version: i64,
    pub event_type: String,
    pub schema_version: i64,
    /// As stored and hashed: personal data as envelopes `{"sealed": …, "subject": …}`.
    #[schema(value_type = Object)]
    pub payload: Value,
    /// The payload in the clear, for callers with contacts.manage.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub opened: Option<Value>,
    /// SHA-256 of the payload's canonical form (RFC 8785), hex.
    pub payload_hash: String,
    /// SHA-256 over the stream's previous chain hash, the payload's hash and the event's header, hex.
    pub chain_hash: String,
    /// `actor`, `correlation_id`, `causation_id`, `ip`.
    #[schema(value_type = Object)]
    pub metadata: Value,
    pub recorded_at: DateTime<Utc>,
}

impl From<Stored> for StoredEvent {
    fn from(stored: Stored) -> Self {
        Self {
            position: stored.position,
            event_id: stored.event_id,
            tenant_id: stored.tenant_id,
            stream_type: stored.stream_type,
            stream_id: stored.stream_id,
            version: stored.version,
            event_type: stored.event_type,
            schema_version: stored.schema_version.into(),
            payload: stored.payload,
            opened: None,
            payload_hash: hex::encode(stored.payload_hash),
            chain_hash: hex::encode(stored.chain_hash),
            metadata: stored.metadata,
            recorded_at: stored.recorded_at,
        }
    }
}

/// Events with their payloads in the clear, as far as the keys exist.
///
/// # Errors
/// When the keys can't be read.
pub async fn opened(
    store: &commands::Store,
    events: Vec<Stored>,
) -> Result<Vec<StoredEvent>, commands::CommandError> {
    let keys = store.vault().keys_of(events.iter().map(|e| (e.tenant_id, &e.payload))).await?;
    let open = |stored: Stored| {
        let mut clear = stored.payload.clone();
        keys.open_plain(stored.tenant_id, &mut clear);
        StoredEvent { opened: Some(clear), ..stored.into() }
    };
    Ok(events.into_iter().map(open).collect())
}

#[derive(Serialize, ToSchema)]
struct EventPage {
    events: Vec<StoredEvent>,
    /// The `after` of the next page; nothing when this is the last one for now.
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct StreamHistory {
    stream_type: String,
    stream_id: Uuid,
    /// The latest version.
    version: i64,
    events: Vec<StoredEvent>,
    /// The `after` of the next page; nothing when this is the last one for now.
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct StreamState {
    stream_type: String,
    stream_id: Uuid,
    version: i64,
    /// When the stream came to this version.
    as_of: DateTime<Utc>,
    /// False once deleted; `state` is empty then.
    exists: bool,
    #[schema(value_type = Object)]
    state: Value,
}

#[derive(Serialize, ToSchema)]
struct AuditReport {
    ok: bool,
    events_checked: i64,
    streams_checked: i64,
    first_position: Option<i64>,
    last_position: Option<i64>,
    /// All of the range was read; otherwise go on from `last_position` + 1.
    complete: bool,
    /// How many there are; `violations` shows the first 100.
    violations_found: i64,
    violations: Vec<AuditViolation>,
}

#[derive(Serialize, ToSchema)]
struct AuditViolation {
    position: i64,
    event_id: Uuid,
    stream_type: String,
    stream_id: Uuid,
    version: i64,
    /// `payload_hash`, `chain_hash`, `missing_version` or `metadata`.
    #[schema(value_type = String)]
    kind: audit::ViolationKind,
    detail: String,
}

#[derive(Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct HistoryQuery {
    /// The position after which to begin.
    #[serde(default)]
    #[param(minimum = 0, default = 0)]
    #[garde(range(min = 0))]
    after: i64,
    #[serde(default = "default_events")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    #[garde(range(min = 1, max = MAX_EVENTS))]
    limit: i64,
    stream_type: Option<String>,
    stream_id: Option<Uuid>,
    event_type: Option<String>,
    actor_id: Option<Uuid>,
    correlation_id: Option<Uuid>,
    /// Recorded then or later.
    from: Option<DateTime<Utc>>,
    /// Recorded before then.
    to: Option<DateTime<Utc>>,
}

#[derive(Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
struct StreamQuery {
    /// The version after which to begin.
    #[serde(default)]
    #[param(minimum = 0, default = 0)]
    #[garde(range(min = 0))]
    after: i64,
    #[serde(default = "default_events")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    #[garde(range(min = 1, max = MAX_EVENTS))]
    limit: i64,
}

#[derive(Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct StateQuery {
    #[param(minimum = 1)]
    #[garde(range(min = 1))]
    version: Option<i64>,
    /// The state as it was then; not together with `version`.
    at: Option<DateTime<Utc>>,
}

#[derive(Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    /// The first position.
    #[param(minimum = 1)]
    #[garde(range(min = 1))]
    from: Option<i64>,
    /// The last position.
    #[param(minimum = 1)]
    #[garde(range(min = 1))]
    to: Option<i64>,
}

const fn default_events() -> i64 {
    DEFAULT_EVENTS
}

async fn list(ctx: Ctx, Query(query): Query<HistoryQuery>) -> Answer<Json<EventPage>> {
    let filter = Filter {
        event_types: event_types(query.event_type, query.stream_type.as_deref()),
        stream_type: query.stream_type,
        stream_id: query.stream_id,
        actor_id: query.actor_id,
        correlation_id: query.correlation_id,
        from: query.from,
        to: query.to,
    };
    let log_id = ctx.app.store().log_of(ctx.tenant_id()).await?;
    let mut db = ctx.reader().await?;
    let mut events =
        history::of_tenant(&mut db, (log_id, ctx.tenant_id()), &filter, query.after, query.limit + 1).await?;
    drop(db);
    let next_cursor = cut(&mut events, query.limit, |event| event.position);
    Ok(Json(EventPage { events: show(&ctx, events).await?, next_cursor }))
}

/// A stream type alone has no index, but the event types that it can have do.
fn event_types(wanted: Option<String>, stream_type: Option<&str>) -> BTreeSet<String> {
    match (wanted, stream_type.and_then(domain::registry::find)) {
        (Some(event_type), _) => BTreeSet::from([event_type]),
        (None, Some(kind)) => kind.event_schemas().into_iter().map(|schema| schema.event_type).collect(),
        (None, None) => BTreeSet::new(),
    }
}

async fn get_one(ctx: Ctx, Path(event_id): Path<Uuid>) -> Answer<Json<StoredEvent>> {
    let log_id = ctx.app.store().log_of(ctx.tenant_id()).await?;
    let found = history::by_id(&mut *ctx.reader().await?, log_id, event_id).await?;
    let shown = show(&ctx, found.into_iter().collect()).await?;
    shown.into_iter().next().map(Json).ok_or_else(|| Problem::not_found("event"))
}

async fn stream(
    ctx: Ctx,
    Path((stream_type, stream_id)): Path<(String, Uuid)>,
    Query(query): Query<StreamQuery>,
) -> Answer<Json<StreamHistory>> {
    let log_id = ctx.app.store().log_of(ctx.tenant_id()).await?;
    let stream = Stream { log_id, tenant_id: ctx.tenant_id(), stream_type: &stream_type, stream_id };
    let mut db = ctx.reader().await?;
    let version = stream.version(&mut db, None).await?.ok_or_else(|| Problem::not_found("stream"))?;
    let mut events = stream.after(&mut db, query.after, query.limit + 1).await?;
    drop(db);
    let next_cursor = cut(&mut events, query.limit, |event| event.version);
    let events = show(&ctx, events).await?;
    Ok(Json(StreamHistory { stream_type, stream_id, version, events, next_cursor }))
}

/// One more than asked for was read, to know whether there is another page.
fn cut(events: &mut Vec<Stored>, limit: i64, cursor: impl Fn(&Stored) -> i64) -> Option<String> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = events.len() > limit;
    events.truncate(limit);
    events.last().filter(|_| more).map(|last| cursor(last).to_string())
}

async fn show(ctx: &Ctx, events: Vec<Stored>) -> Answer<Vec<StoredEvent>> {
    if ctx.member()?.may(Permission::ContactsManage) {
        return Ok(opened(ctx.app.store(), events).await?);
    }
    Ok(events.into_iter().map(StoredEvent::from).collect())
}

async fn state(
    ctx: Ctx,
    Path((stream_type, stream_id)): Path<(String, Uuid)>,
    Query(query): Query<StateQuery>,
) -> Answer<Json<StreamState>> {
    if query.version.is_some() && query.at.is_some() {
        return Err(Problem::invalid("at", "cannot be given together with version"));
    }
    let kind = domain::registry::find(&stream_type).ok_or_else(|| Problem::not_found("stream"))?;
    let log_id = ctx.app.store().log_of(ctx.tenant_id()).await?;
    let stream = Stream { log_id, tenant_id: ctx.tenant_id(), stream_type: &stream_type, stream_id };
    let latest = stream.version(&mut *ctx.reader().await?, query.at).await?;
    let latest = latest.ok_or_else(|| Problem::not_found("stream at that time"))?;
    let version = query.version.unwrap_or(latest);
    if version > latest {
        return Err(Problem::not_found("version of this stream"));
    }
    let (state, as_of) = fold(&ctx, kind, &stream, version).await?;
    let exists = state.is_some();
    let mut state = state.unwrap_or_else(|| Value::Object(Map::new()));
    redact(&mut state);
    Ok(Json(StreamState { stream_type, stream_id, version, as_of, exists, state }))
}

/// The JSON of a stream's state at a version that exists, and when it came to be; read in pages.
async fn fold(
    ctx: &Ctx,
    kind: &StreamKind,
    stream: &Stream<'_>,
    version: i64,
) -> Answer<(Option<Value>, DateTime<Utc>)> {
    let clear = ctx.member()?.may(Permission::ContactsManage);
    let (mut state, mut folded, mut as_of) = (None, 0, DateTime::UNIX_EPOCH);
    while folded < version {
        let page = ctx.app.store().read_stream(
            stream.tenant_id,
            stream.stream_type,
            stream.stream_id,
            folded,
            FOLD_PAGE.min(version - folded),
        );
        let mut events: Vec<Recorded<Value>> = page.await?;
        if clear {
            let keys = ctx.app.store().vault().keys_of(events.iter().map(|e| (e.tenant_id, &e.body))).await?;
            events.iter_mut().for_each(|e| keys.open(e.tenant_id, &mut e.body));
        }
        let Some(last) = events.last() else {
            return Err(Problem::internal(format!(
                "stream {} ends before version {version}",
                stream.stream_id
            )));
        };
        (folded, as_of) = (last.version, last.recorded_at);
        let events: Vec<&Recorded<Value>> = events.iter().collect();
        state = kind.fold(state, &events).map_err(Problem::internal)?.state;
    }
    Ok((state, as_of))
}

/// Personal data as plain values, or null where it is sealed; credentials as null.
fn redact(state: &mut Value) {
    personal::rewrite(state, &mut |object| {
        if object.contains_key(SEALED) || object.contains_key(SECRET) {
            return Some(Value::Null);
        }
        object.get(PERSONAL).cloned()
    });
}

async fn verify(ctx: Ctx, Query(query): Query<AuditQuery>) -> Answer<Json<AuditReport>> {
    let (from, to) = (query.from.unwrap_or(1), query.to.unwrap_or(i64::MAX));
    if to < from {
        return Err(Problem::invalid("to", "must not be before from"));
    }
    let log_id = ctx.app.store().log_of(ctx.tenant_id()).await?;
    let scope = audit::Scope { log_id, tenant_id: Some(ctx.tenant_id()), from, to, limit: AUDIT_LIMIT };
    let report = audit::verify(&mut *ctx.reader().await?, scope, |_| ()).await?;
    Ok(Json(AuditReport {
        ok: report.ok(),
        events_checked: report.events_checked,
        streams_checked: report.streams_checked,
        first_position: report.first_position,
        last_position: report.last_position,
        complete: report.complete,
        violations_found: report.violations_found,
        violations: report.violations.into_iter().map(AuditViolation::from).collect(),
    }))
}

impl From<audit::Violation> for AuditViolation {
    fn from(found: audit::Violation) -> Self {
        let audit::Violation { position, event_id, stream_type, stream_id, version, kind, detail, .. } =
            found;
        Self { position, event_id, stream_type, stream_id, version, kind, detail }
    }
}
