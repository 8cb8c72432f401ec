//! A small table of routes, and a host that lives in memory: books on shelves.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::http::*;

pub(super) type TestCtx = Ctx<Library>;

pub(super) const BOOK: Uuid = Uuid::from_u128(7);
pub(super) const TENANT: Uuid = Uuid::from_u128(1);
pub(super) const SESSION_LIMIT: u32 = 5;

/// What a key is claimed for, and its answer once there is one.
pub(super) type Claim = ([u8; 32], Option<StoredAnswer>);

#[derive(Clone)]
pub(super) struct Library {
    pub(super) settings: Arc<HttpSettings>,
    pub(super) claims: Arc<Mutex<HashMap<(CallerScope, String), Claim>>>,
    /// How often `create` ran.
    pub(super) created: Arc<AtomicU32>,
    /// How often a running request said that it lives.
    pub(super) renewals: Arc<AtomicU32>,
    /// Lets a waiting `create` go on.
    pub(super) gate: Arc<Notify>,
}

impl Library {
    pub(super) fn new() -> Self {
        Self::with(HttpSettings {
            cors_origins: vec!["https://app.example.com".to_owned()],
            trusted_proxies: vec!["10.0.0.1".parse().unwrap()],
            rate_limit_per_minute: 0,
            fingerprint_key: [7; 32],
        })
    }

    fn with(settings: HttpSettings) -> Self {
        let (claims, created, renewals, gate) = Default::default();
        Self { settings: Arc::new(settings), claims, created, renewals, gate }
    }

    pub(super) fn limited() -> Self {
        let settings = Self::new().settings.as_ref().clone();
        Self::with(HttpSettings { rate_limit_per_minute: SESSION_LIMIT, ..settings })
    }

    pub(super) fn api(&self) -> Api<Self> {
        Api::new("Library", "1.0.0", self.clone(), table()).unwrap()
    }
}

pub(super) fn member(role: Role, agent: u128, means: Means) -> Caller {
    let agent_id = Uuid::from_u128(agent);
    Caller::Member(Member {
        tenant_id: TENANT,
        agent_id,
        name: "Ada".into(),
        role,
        means,
        impersonator: None,
    })
}

/// Tokens are role names; keys are `key:` and scopes.
pub(super) fn caller(token: &str) -> Option<Caller> {
    let session = |n| Means::Session { id: Uuid::from_u128(n) };
    Some(match token {
        "admin" => member(Role::Admin, 10, session(110)),
        "supervisor" => member(Role::Supervisor, 11, session(111)),
        "agent" => member(Role::Agent, 12, session(112)),
        "sla" => {
            let permissions = Permissions::of(&[Permission::SlaManage]);
            member(Role::Custom { name: "sla".into(), permissions }, 13, session(113))
        }
        "super" => {
            let (id, session_id) = (Uuid::from_u128(20), Uuid::from_u128(120));
            Caller::SuperAdmin(SuperAdmin { id, session_id, name: "Root".into() })
        }
        key => {
            let codes = key.strip_prefix("key:")?;
            let scopes =
                if codes == "*" { Permissions::ALL } else { Permissions::from_codes(codes.split(',')) };
            member(Role::Admin, 10, Means::ApiKey { id: Uuid::from_u128(210), scopes })
        }
    })
}

impl Host for Library {
    fn settings(&self) -> &HttpSettings {
        &self.settings
    }

    fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }

    async fn authenticate(&self, credentials: Credentials, realm: Realm) -> Answer<Caller> {
        let (Credentials::ApiKey(token) | Credentials::Bearer(token) | Credentials::Cookie(token)) =
            credentials
        else {
            return Err(Problem::unauthenticated());
        };
        let found =
            caller(&token).filter(|c| matches!(c, Caller::SuperAdmin(_)) == (realm == Realm::SuperAdmin));
        found.ok_or_else(Problem::unauthenticated)
    }

    async fn idempotency_begin(&self, scope: CallerScope, key: &str, print: [u8; 32]) -> Answer<Begin> {
        let mut claims = self.claims.lock().unwrap();
        Ok(match claims.get(&(scope, key.to_owned())) {
            Some((other, _)) if *other != print => Begin::Mismatch,
            Some((_, Some(answer))) => Begin::Replay(answer.clone()),
            Some((_, None)) => Begin::InProgress,
            None => {
                claims.insert((scope, key.to_owned()), (print, None));
                Begin::New { started_at: chrono::DateTime::UNIX_EPOCH }
            }
        })
    }

    async fn idempotency_renew(&self, _: &IdempotencyKey) -> Answer<()> {
        self.renewals.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn idempotency_finish(&self, key: &IdempotencyKey, answer: StoredAnswer) -> Answer<()> {
        let mut claims = self.claims.lock().unwrap();
        claims.get_mut(&(key.scope, key.key.clone())).unwrap().1 = Some(answer);
        Ok(())
    }

    async fn idempotency_abandon(&self, key: &IdempotencyKey) -> Answer<()> {
        self.claims.lock().unwrap().remove(&(key.scope, key.key.clone()));
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shelf {
    Fiction,
    Science,
}

impl PathParam for Shelf {
    fn schema() -> Value {
        serde_json::to_value(<Self as utoipa::PartialSchema>::schema()).unwrap()
    }
}

/// A book on a shelf.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Book {
    id: Uuid,
    title: String,
    shelf: Option<Shelf>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub(super) struct NewBook {
    #[garde(length(min = 1, max = 20))]
    title: String,
    shelf: Option<Shelf>,
    #[serde(default)]
    pages: u32,
    #[serde(default)]
    #[garde(dive)]
    authors: Vec<Author>,
    /// Makes the handler misbehave: `panic`, `fail`, `wait`, `conflict`.
    mood: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct Author {
    #[garde(length(min = 2))]
    name: String,
}

#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub(super) struct BookFilter {
    #[param(inline)]
    shelf: Option<Shelf>,
    #[garde(range(min = 1, max = 9))]
    days: Option<i64>,
    #[serde(rename = "lent.to")]
    lent_to: Option<Uuid>,
    overdue: Option<bool>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct BookPage {
    books: Vec<Book>,
    #[serde(flatten)]
    numbers: PageNumbers,
}

pub(super) fn book(id: Uuid, title: &str) -> Book {
    Book { id, title: title.to_owned(), shelf: Some(Shelf::Science) }
}

pub(super) async fn list(
    _: TestCtx,
    Query(filter): Query<BookFilter>,
    paging: Paging,
) -> Answer<Json<BookPage>> {
    let title = format!("{:?} {:?} {:?} {:?}", filter.shelf, filter.days, filter.lent_to, filter.overdue);
    Ok(Json(BookPage { books: vec![book(BOOK, &title)], numbers: paging.numbers(41) }))
}

pub(super) async fn create(ctx: TestCtx, Body(new): Body<NewBook>) -> Answer<Created<Book>> {
    ctx.app.created.fetch_add(1, Ordering::SeqCst);
    match new.mood.as_deref() {
        Some("panic") => panic!("out of paper"),
        Some("fail") => return Err(Problem::internal("the database password is hunter2")),
        Some("conflict") => return Err(Problem::conflict("title_taken", "There is such a book.")),
        Some("wait") => ctx.app.gate.notified().await,
        _ => {}
    }
    ctx.set_event_position(12);
    Ok(Created(Book { id: BOOK, title: new.title, shelf: new.shelf }))
}

pub(super) async fn read(_: TestCtx, Path(id): Path<Uuid>) -> Answer<Versioned<Book>> {
    if id == BOOK {
        Ok(Versioned { version: 3, value: book(id, "x") })
    } else {
        Err(Problem::not_found("book"))
    }
}

pub(super) async fn change(
    ctx: TestCtx,
    Path(id): Path<Uuid>,
    OptionalBody(new): OptionalBody<NewBook>,
) -> Answer<Text> {
    Ok(Text(format!("{id} {:?} {:?} {}", ctx.if_match, new.map(|n| n.title), ctx.respond_async)))
}

pub(super) async fn shelved(_: TestCtx, Path((shelf, number)): Path<(Shelf, i64)>) -> Answer<List<Book>> {
    Ok(List(vec![book(BOOK, &format!("{shelf:?} {number}"))]))
}

pub(super) async fn whoami(ctx: TestCtx) -> Answer<Text> {
    Ok(Text(format!("{} {:?}", ctx.member()?.role.name(), ctx.ip)))
}

pub(super) async fn nothing(_: TestCtx) -> Answer<Text> {
    Ok(Text("done".into()))
}

pub(super) async fn hook(_: TestCtx, Headers(headers): Headers, RawBody(bytes): RawBody) -> Answer<Text> {
    if headers.contains_key("x-signature") {
        Ok(Text(format!("{}", bytes.len())))
    } else {
        Err(Problem::bad_signature())
    }
}

pub(super) async fn cover(_: TestCtx, Path(_): Path<Uuid>, file: Upload) -> Answer<Accepted<Value>> {
    Ok(Accepted(
        serde_json::json!({"name": file.file_name, "type": file.content_type, "size": file.bytes.len()}),
    ))
}

pub(super) async fn import(_: TestCtx, Body(all): Body<Vec<NewBook>>) -> Answer<Text> {
    Ok(Text(all.len().to_string()))
}

pub(super) async fn export(_: TestCtx) -> Answer<Csv> {
    let rows = ["id,title\n", "7,x\n"].map(|row| Ok::<_, Infallible>(Bytes::from(row)));
    Ok(Csv::new("bücher.csv", futures::stream::iter(rows)))
}

pub(super) async fn scan(_: TestCtx, Path(_): Path<Uuid>) -> Answer<File> {
    Ok(File { content_type: "application/pdf".into(), download_as: None, body: "%PDF".into() })
}

pub(super) async fn live(
    _: TestCtx,
) -> Answer<EventStream<impl futures::Stream<Item = Result<Event, Infallible>>>> {
    Ok(EventStream(futures::stream::iter([Ok(Event::default().data("hello"))])))
}

pub(super) async fn odd(_: TestCtx) -> Answer<Response> {
    Ok(StatusCode::IM_A_TEAPOT.into_response())
}

pub(super) async fn welcome(ctx: TestCtx) -> Answer<Text> {
    let name = ctx.visitor().await?.map_or_else(|| "stranger".to_owned(), |member| member.name);
    Ok(Text(format!("Welcome, {name}")))
}

pub(super) async fn slow(_: TestCtx) -> Answer<Text> {
    std::future::pending().await
}

pub(super) fn table() -> Vec<Group<Library>> {
    use Access::{Admin, Any, Public, Signature, Super, Supervisor};
    vec![
        group(
            "Books",
            [
                get("/api/books", "List books", Any, list),
                post("/api/books", "Add a book", Access::Permission(Permission::ContactsManage), create)
                    .describe("Once."),
                get("/api/books/{id}", "Get a book", Any, read),
                patch("/api/books/{book_id}", "Change a book", Any, change),
                get("/api/books/{id}/scan", "Scan", Any, scan).answers(StatusCode::OK, "application/pdf"),
                post("/api/books/{id}/cover", "Set the cover", Any, cover),
                post("/api/books/import", "Import", Any, import),
                get("/api/books/export", "Export", Any, export),
                get("/api/shelves/{shelf}/{number}", "Books of a shelf", Any, shelved),
            ],
        ),
        group(
            "Odds",
            [
                get("/api/me", "Who am I", Any, whoami),
                get("/api/sla", "SLA", Supervisor(Permission::SlaManage), nothing),
                delete("/api/everything", "Burn down", Admin, nothing),
                get("/api/super", "Platform", Super, nothing),
                get("/api/live", "Live", Any, live),
                get("/api/odd", "Odd", Public, odd).answers(StatusCode::IM_A_TEAPOT, "text/plain"),
                get("/api/welcome", "Welcome", Public, welcome),
                get("/api/slow", "Slow", Public, slow).timeout(Duration::from_millis(20)),
                post("/hook", "Webhook", Signature, hook).reads::<Book>("application/json").body_limit(64),
                post("/api/public-books", "Suggest a book", Public, create),
                get("/health", "Health", Public, nothing).unlimited(),
                get("/metrics", "Metrics", Public, nothing).on(Listener::Operator),
                get("/openapi.json", "This document", Public, serve_document::<Library>),
            ],
        ),
    ]
}
