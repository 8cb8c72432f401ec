//! `Idempotency-Key`: a POST that is sent again gets its first answer, and is not done again.
//!
//! The key belongs to its caller for a day. The first request claims it, its answer is kept, and whoever comes with
//! the same key and the same request gets that. A failure of ours gives the key back, so that a retry can succeed.

use std::pin::pin;
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use commands::failpoint::{self, Failpoint};
use commands::idempotency::RENEWAL;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

use super::access::{Caller, Means};
use super::context::Ctx;
use super::input::Incoming;
use super::limits::{IDEMPOTENCY_KEY_LENGTH, KEPT_ANSWER_LIMIT};
use super::problem::{Answer, Problem};
use super::router::Endpoint;
use super::{Host, HttpSettings};

pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Whose keys cannot meet: a caller within a tenant; all who do not sign in share one scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallerScope {
    pub tenant_id: Option<Uuid>,
    /// The API key or the agent, or the super-admin; `None` for public requests.
    pub caller_id: Option<Uuid>,
}

impl CallerScope {
    #[must_use]
    pub fn of(caller: &Caller) -> Self {
        match caller {
            Caller::Public => Self { tenant_id: None, caller_id: None },
            Caller::SuperAdmin(admin) => Self { tenant_id: None, caller_id: Some(admin.id) },
            Caller::Member(member) => {
                let caller_id = match member.means {
                    Means::Session { .. } => member.agent_id,
                    Means::ApiKey { id, .. } => id,
                };
                Self { tenant_id: Some(member.tenant_id), caller_id: Some(caller_id) }
            }
        }
    }
}

/// A claimed key. The same for every attempt at one request, so that ids derived from it are too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    pub scope: CallerScope,
    /// 1 to 255 visible ASCII characters.
    pub key: String,
    /// When the key was first claimed.
    pub started_at: DateTime<Utc>,
}

/// What claiming a key comes to.
#[derive(Debug)]
pub enum Begin {
    New {
        started_at: DateTime<Utc>,
    },
    Replay(StoredAnswer),
    InProgress,
    /// The key was used with another request.
    Mismatch,
}

/// An answer as it went out. It may hold a fresh token or key: seal it at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Bytes,
}

/// The key that the client sent, if the route heeds it.
///
/// # Errors
/// 422 if it is not 1 to 255 visible ASCII characters.
pub(super) fn requested_key(incoming: &Incoming) -> Answer<Option<String>> {
    if incoming.head.method != Method::POST {
        return Ok(None);
    }
    let Some(value) = incoming.head.headers.get(&IDEMPOTENCY_KEY) else { return Ok(None) };
    let bytes = value.as_bytes();
    let fits = (1..=IDEMPOTENCY_KEY_LENGTH).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    match value.to_str() {
        Ok(key) if fits => Ok(Some(key.to_owned())),
        _ => Err(Problem::invalid("Idempotency-Key", "must be 1 to 255 visible ASCII characters")),
    }
}

/// Runs the request unless it was run before. The answer is kept for a retry, should the client have hung up.
pub(super) async fn once<H: Host>(
    endpoint: Arc<Endpoint<H>>,
    mut ctx: Ctx<H>,
    incoming: Incoming,
    key: String,
) -> Answer<Response> {
    let scope = CallerScope::of(&ctx.caller);
    let fingerprint = fingerprint(ctx.app.settings(), &incoming);
    let started_at = match ctx.app.idempotency_begin(scope, &key, fingerprint).await? {
        Begin::New { started_at } => started_at,
        Begin::Replay(answer) => return replay(answer),
        Begin::InProgress => {
            let detail = "A request with this Idempotency-Key is still being worked on.";
            return Err(Problem::conflict("idempotency_in_progress", detail));
        }
        Begin::Mismatch => {
            let detail = "This Idempotency-Key was used with another request.";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail));
        }
    };
    let key = Arc::new(IdempotencyKey { scope, key, started_at });
    ctx.idempotency = Some(Arc::clone(&key));
    failpoint::reached(Failpoint::KeyClaimed).await;
    let (app, request_id) = (ctx.app.clone(), ctx.request_id);
    let answer = holding(&app, &key, endpoint.attempt(ctx, incoming)).await;
    settle(&app, &key, answer.unwrap_or_else(|problem| problem.respond(request_id))).await
}

/// Keeps the key while the work takes.
async fn holding<H: Host, T>(app: &H, key: &IdempotencyKey, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        match tokio::time::timeout(RENEWAL, &mut work).await {
            Ok(done) => return done,
            Err(_) => {
                if let Err(problem) = app.idempotency_renew(key).await {
                    tracing::warn!(cause = problem.cause, "an idempotency key could not be renewed");
                }
            }
        }
    }
}

/// Keyed, since a body may hold a password: from a plain hash it could be guessed by whoever reads the table.
fn fingerprint(settings: &HttpSettings, incoming: &Incoming) -> [u8; 32] {
    let target = incoming.head.uri.path_and_query().map_or("", |target| target.as_str());
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(&settings.fingerprint_key).expect("any key length");
    // Neither a method nor a target can contain a line break.
    mac.update(format!("{}\n{target}\n", incoming.head.method).as_bytes());
    mac.update(&incoming.body);
    mac.finalize().into_bytes().into()
}

/// Keeps the answer, or gives the key back if there is none worth keeping.
async fn settle<H: Host>(app: &H, key: &IdempotencyKey, response: Response) -> Answer<Response> {
    let size = response.body().size_hint().exact();
    let fits = size.is_some_and(|bytes| bytes <= KEPT_ANSWER_LIMIT as u64);
    if response.status().is_server_error() || !fits {
        if let Err(problem) = app.idempotency_abandon(key).await {
            tracing::warn!(cause = problem.cause, "an idempotency key could not be given back");
        }
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    let body = to_bytes(body, KEPT_ANSWER_LIMIT).await.map_err(Problem::internal)?;
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    let answer =
        StoredAnswer { status: head.status.as_u16(), headers: headers.collect(), body: body.clone() };
    failpoint::reached(Failpoint::AnswerReady).await;
    // What was asked for is done: the client gets its answer even if no second one could be given.
    if let Err(problem) = app.idempotency_finish(key, answer).await {
        tracing::warn!(cause = problem.cause, "an answer could not be kept for replay");
    }
    Ok(Response::from_parts(head, Body::from(body)))
}

fn replay(answer: StoredAnswer) -> Answer<Response> {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).map_err(Problem::internal)?;
    for (name, value) in answer.headers {
        let name = HeaderName::try_from(name).map_err(Problem::internal)?;
        response.headers_mut().append(name, HeaderValue::try_from(value).map_err(Problem::internal)?);
    }
    response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}
