//! A tenant's events as they happen (server-sent events).
//!
//! One reader per log and process follows the log for all streams of that log, and sends an event on once every read
//! model has it: whoever asks for a resource because of an event sees what the event says. A stream that is new, or
//! could not keep up, reads what it lacks from the log itself, so nothing is lost or told twice.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::Event as SseEvent;
use chrono::TimeDelta;
use commands::store::HEAD;
use futures::Stream;
use garde::Validate;
use projections::history::{self, Filter, Stored};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio::time::Instant;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::events::{self, StoredEvent};
use crate::http::{
    Access, Answer, Caller, EventStream, Group, Headers, Means, Permission, Problem, Query, get, group,
};
use crate::{App, Ctx};

/// Streams of one process.
const MAX_STREAMS: usize = 10_000;
/// Events that a slow stream may lag behind the reader before it reads the log itself.
const FEED_CAPACITY: usize = 1_024;
/// Events read at once.
const PAGE: i64 = 200;
/// Events on their way to one client.
const CLIENT_BUFFER: usize = 32;
/// How often a stream asks whether its caller may still listen; events about the caller make it ask at once.
const AUTHORIZATION_CHECK: Duration = Duration::from_secs(30);
/// How often the reader looks by itself, should every wake-up be lost.
const POLL: Duration = Duration::from_secs(1);
/// How far back a stream resumes for callers who may not read the history (`audit.view`).
const RESUME_WINDOW: TimeDelta = TimeDelta::hours(1);
const LAST_EVENT_ID: &str = "last-event-id";

pub fn routes() -> Group<App> {
    let feeds = Arc::new(Feeds::default());
    let open = move |ctx: Ctx, query: Query<LiveQuery>, headers: Headers| {
        open(Arc::clone(&feeds), ctx, query, headers)
    };
    group("Event Store", [get("/api/stream", "Live events (server-sent events)", Access::Any, open).describe(
        "resumes with Last-Event-ID, without audit.view at most an hour back; an event named gap says that there is more",
    )])
}

#[derive(Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
struct LiveQuery {
    /// Event types, separated by commas; all when left out.
    #[garde(length(chars, max = 4000))]
    types: Option<String>,
}

/// An event in both forms, rendered once for all streams.
struct Live {
    tenant_id: Uuid,
    stream_id: Uuid,
    position: i64,
    event_type: String,
    sealed: String,
    opened: String,
}

/// The readers of this process, by log.
struct Feeds {
    by_log: Mutex<HashMap<i16, broadcast::Sender<Arc<Live>>>>,
    streams: Arc<Semaphore>,
}

impl Default for Feeds {
    fn default() -> Self {
        Self { by_log: Mutex::default(), streams: Arc::new(Semaphore::new(MAX_STREAMS)) }
    }
}

impl Feeds {
    /// What happens from now on; the log's reader is started if nobody listens yet.
    async fn join(self: &Arc<Self>, app: &App, log_id: i16) -> Answer<broadcast::Receiver<Arc<Live>>> {
        let mut by_log = self.by_log.lock().await;
        if let Some(feed) = by_log.get(&log_id) {
            return Ok(feed.subscribe());
        }
        let head: i64 = sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM events WHERE log_id = $1")
            .bind(log_id)
            .fetch_one(app.store().pool())
            .await?;
        let (feed, listener) = broadcast::channel(FEED_CAPACITY);
        by_log.insert(log_id, feed.clone());
        tokio::spawn(Arc::clone(self).read(app.clone(), log_id, head, feed));
        Ok(listener)
    }

    /// Follows the log until nobody listens any more.
    async fn read(
        self: Arc<Self>,
        app: App,
        log_id: i16,
        mut position: i64,
        feed: broadcast::Sender<Arc<Live>>,
    ) {
        let mut head = app.store().progress().follow(HEAD, log_id);
        while !app.stopping().is_cancelled() {
            if feed.receiver_count() == 0 {
                let mut by_log = self.by_log.lock().await;
                // Someone may have joined in between.
                if feed.receiver_count() == 0 {
                    by_log.remove(&log_id);
                    return;
                }
            }
            head.mark_unchanged();
            match next(&app, log_id, position).await {
                Ok(events) if events.is_empty() => {
                    let _ = tokio::time::timeout(POLL, head.changed()).await;
                }
                Ok(events) => {
                    position = events.last().map_or(position, |event| event.position);
                    for event in events {
                        let _ = feed.send(Arc::new(event)); // nobody listens: noticed above
                    }
                }
                Err(error) => {
                    tracing::warn!(log_id, %error, "the live stream can't read the log; trying again");
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }
}

async fn next(app: &App, log_id: i16, after: i64) -> Result<Vec<Live>, commands::CommandError> {
    let events = {
        let mut db = app.store().pool().acquire().await?;
        history::of_log(&mut db, log_id, after, PAGE).await?
    };
    readable(app, log_id, events).await
}

/// Rendered, once the read models have them.
async fn readable(app: &App, log_id: i16, events: Vec<Stored>) -> Result<Vec<Live>, commands::CommandError> {
    if let Some(last) = events.last() {
        app.waiter().wait(log_id, last.position).await;
    }
    events::opened(app.store(), events).await?.into_iter().map(render).collect()
}

fn render(opened: StoredEvent) -> Result<Live, commands::CommandError> {
    let json = |event: &StoredEvent| serde_json::to_string(event).map_err(commands::CommandError::failed);
    let clear = json(&opened)?;
    let sealed = StoredEvent { opened: None, ..opened };
    Ok(Live {
        tenant_id: sealed.tenant_id,
        stream_id: sealed.stream_id,
        position: sealed.position,
        sealed: json(&sealed)?,
        opened: clear,
        event_type: sealed.event_type,
    })
}

async fn open(
    feeds: Arc<Feeds>,
    ctx: Ctx,
    Query(query): Query<LiveQuery>,
    Headers(headers): Headers,
) -> Answer<EventStream<impl Stream<Item = Result<SseEvent, Infallible>>>> {
    let resume: Option<i64> = match headers.get(LAST_EVENT_ID) {
        Some(id) => {
            let position = id.to_str().ok().and_then(|id| id.parse().ok()).filter(|position| *position >= 0);
            Some(position.ok_or_else(|| {
                Problem::invalid("Last-Event-ID", "must be the id of an event of this stream")
            })?)
        }
        None => None,
    };
    let permit = Arc::clone(&feeds.streams).try_acquire_owned().map_err(Problem::unavailable)?;
    let log_id = ctx.app.store().log_of(ctx.tenant_id()).await?;
    let feed = feeds.join(&ctx.app, log_id).await?;
    let (client, events) = mpsc::channel(CLIENT_BUFFER);
    let listener = Listener {
        log_id,
        seen: history::last_position(&mut *ctx.reader().await?, log_id, ctx.tenant_id()).await?,
        types: query
            .types
            .unwrap_or_default()
            .split(',')
            .filter(|t| !t.is_empty())
            .map(|t| t.trim().to_owned())
            .collect(),
        reads_personal_data: ctx.member()?.may(Permission::ContactsManage),
        client,
        ctx,
        _permit: permit,
    };
    tokio::spawn(listener.run(feed, resume));
    Ok(EventStream(futures::stream::unfold(events, |mut events| async move {
        events.recv().await.map(|event| (Ok(event), events))
    })))
}

/// The client hung up, or may no longer listen.
struct Gone;

/// One client's stream.
struct Listener {
    ctx: Ctx,
    log_id: i16,
    /// The last position that needs no telling.
    seen: i64,
    types: BTreeSet<String>,
    reads_personal_data: bool,
    client: mpsc::Sender<SseEvent>,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    async fn run(mut self, feed: broadcast::Receiver<Arc<Live>>, resume: Option<i64>) {
        let stopping = self.ctx.app.stopping().clone();
        tokio::select! {
            () = stopping.cancelled() => {}
            ended = self.listen(feed, resume) => if let Err(error) = ended {
                // The client comes back with Last-Event-ID, so nothing is lost.
                tracing::warn!(error = error.cause, "a live stream ended early");
            }
        }
    }

    async fn listen(&mut self, mut feed: broadcast::Receiver<Arc<Live>>, resume: Option<i64>) -> Answer<()> {
        if let Some(position) = resume
            && (self.resume(position).await?.is_err() || self.catch_up().await?.is_err())
        {
            return Ok(());
        }
        let hung_up = self.client.clone();
        let mut checks = tokio::time::interval_at(Instant::now() + AUTHORIZATION_CHECK, AUTHORIZATION_CHECK);
        loop {
            let told = tokio::select! {
                biased;
                () = hung_up.closed() => return Ok(()),
                _ = checks.tick() => self.check().await?,
                heard = feed.recv() => match heard {
                    Ok(event) => {
                        let may_listen = if self.is_about_caller(&event) { self.check().await? } else { Ok(()) };
                        if may_listen.is_ok() { self.tell(&event).await } else { may_listen }
                    }
                    Err(RecvError::Lagged(_)) => self.catch_up().await?,
                    Err(RecvError::Closed) => return Ok(()),
                },
            };
            if told.is_err() {
                return Ok(());
            }
        }
    }

    /// Whether the caller may still listen, and to what.
    async fn check(&mut self) -> Answer<Result<(), Gone>> {
        let Some(member) = self.ctx.visitor().await? else { return Ok(Err(Gone)) };
        self.reads_personal_data = member.may(Permission::ContactsManage);
        Ok(Ok(()))
    }

    /// An event that may have ended the caller's session or changed what the caller may see.
    fn is_about_caller(&self, event: &Live) -> bool {
        let Caller::Member(member) = self.ctx.caller.as_ref() else { return true };
        let own_key = matches!(member.means, Means::ApiKey { id, .. } if id == event.stream_id);
        let own = event.stream_id == member.agent_id || own_key || event.event_type.starts_with("role.");
        own && event.tenant_id == member.tenant_id
    }

    /// Where a stream goes on that was cut off at a position: there, or as far back as its caller may see.
    async fn resume(&mut self, position: i64) -> Answer<Result<(), Gone>> {
        // A position from the future would silence the stream.
        let position = position.min(self.seen);
        if self.ctx.member()?.may(Permission::AuditView) {
            self.seen = position;
            return Ok(Ok(()));
        }
        let since = self.ctx.app.store().clock().now() - RESUME_WINDOW;
        let tenant_id = self.ctx.tenant_id();
        let first =
            history::first_since(&mut *self.ctx.reader().await?, (self.log_id, tenant_id), since).await?;
        self.seen = position.max(first - 1);
        if position == self.seen {
            return Ok(Ok(()));
        }
        let gap = json!({ "after": position, "until": self.seen }).to_string();
        Ok(self.client.send(SseEvent::default().event("gap").data(gap)).await.map_err(|_| Gone))
    }

    /// Reads from the log what the feed did not bring.
    async fn catch_up(&mut self) -> Answer<Result<(), Gone>> {
        let filter = Filter { event_types: self.types.clone(), ..Filter::default() };
        let of = (self.log_id, self.ctx.tenant_id());
        loop {
            let mut db = self.ctx.reader().await?;
            let page = history::of_tenant(&mut db, of, &filter, self.seen, PAGE).await?;
            drop(db);
            let is_last = i64::try_from(page.len()).unwrap_or(PAGE) < PAGE;
            for event in readable(&self.ctx.app, self.log_id, page).await? {
                if self.tell(&event).await.is_err() {
                    return Ok(Err(Gone));
                }
            }
            if is_last {
                return Ok(Ok(()));
            }
        }
    }

    async fn tell(&mut self, event: &Live) -> Result<(), Gone> {
        if event.tenant_id != self.ctx.tenant_id() || event.position <= self.seen {
            return Ok(());
        }
        self.seen = event.position;
        if !self.types.is_empty() && !self.types.contains(&event.event_type) {
            return Ok(());
        }
        let data = if self.reads_personal_data { &event.opened } else { &event.sealed };
        let sse = SseEvent::default().id(event.position.to_string()).event(&event.event_type).data(data);
        self.client.send(sse).await.map_err(|_| Gone)
    }
}
