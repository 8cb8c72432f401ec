//! What every handler knows about its request besides its inputs.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use uuid::Uuid;

use super::access::{Caller, Credentials, Member, Realm, SuperAdmin};
use super::idempotency::IdempotencyKey;
use super::problem::{Answer, Problem};
use super::{Host, HttpSettings};

/// Where the session's token is kept for browsers.
pub const SESSION_COOKIE: &str = "access_token";
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const EVENT_POSITION: HeaderName = HeaderName::from_static("x-event-position");
pub const TOTAL_CAPPED: HeaderName = HeaderName::from_static("x-total-capped");

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The context of one request. Cheap to clone.
#[derive(Clone)]
pub struct Ctx<H> {
    pub app: H,
    pub caller: Arc<Caller>,
    /// Also the correlation id of every event that the request causes, and the answer's `x-request-id`.
    pub request_id: Uuid,
    /// W3C trace context as the client sent it.
    pub traceparent: Option<Arc<str>>,
    /// The client's address, as far as it can be trusted.
    pub ip: Option<IpAddr>,
    /// The version that the client believes the resource to have; `If-Match: *` asks for none in particular.
    pub if_match: Option<i64>,
    pub idempotency: Option<Arc<IdempotencyKey>>,
    /// The client does not want to wait until its change can be read (`Prefer: respond-async`).
    pub respond_async: bool,
    credentials: Arc<Credentials>,
    pub(super) document: Bytes,
    answer_headers: Arc<Mutex<HeaderMap>>,
    /// Read models may not have what this request wrote.
    behind: Arc<AtomicBool>,
}

impl<H: Host> Ctx<H> {
    pub(super) fn new(app: H, arrival: Arrival, caller: Caller, document: Bytes) -> Self {
        Self {
            app,
            caller: Arc::new(caller),
            request_id: arrival.request_id,
            traceparent: arrival.traceparent,
            ip: arrival.ip,
            if_match: arrival.if_match,
            idempotency: None,
            respond_async: arrival.respond_async,
            credentials: Arc::new(arrival.credentials),
            document,
            answer_headers: Arc::default(),
            behind: Arc::default(),
        }
    }

    /// Notes that read models may not have what this request wrote, so that nothing of it is taken for missing.
    pub fn set_behind(&self) {
        self.behind.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    /// The agent who calls, in person or through an API key.
    ///
    /// # Errors
    /// 401 on a route that is not for tenants; its access then says something else than its handler expects.
    pub fn member(&self) -> Answer<&Member> {
        match self.caller.as_ref() {
            Caller::Member(member) => Ok(member),
            Caller::Public | Caller::SuperAdmin(_) => Err(Problem::unauthenticated()),
        }
    }

    /// The platform administrator who calls.
    ///
    /// # Errors
    /// 401 on a route that is not for them.
    pub fn super_admin(&self) -> Answer<&SuperAdmin> {
        match self.caller.as_ref() {
            Caller::SuperAdmin(admin) => Ok(admin),
            Caller::Public | Caller::Member(_) => Err(Problem::unauthenticated()),
        }
    }

    /// The member behind a public request, for the few that answer more to who is signed in.
    ///
    /// # Errors
    /// What went wrong on our side; bad credentials are as good as none.
    pub async fn visitor(&self) -> Answer<Option<Member>> {
        match self.app.authenticate(self.credentials.as_ref().clone(), Realm::Tenant).await {
            Ok(Caller::Member(member)) => Ok(Some(member)),
            Err(problem) if problem.is_ours() => Err(problem),
            Ok(Caller::Public | Caller::SuperAdmin(_)) | Err(_) => Ok(None),
        }
    }

    /// Adds a header to the answer.
    pub fn set_header(&self, name: HeaderName, value: HeaderValue) {
        // A holder that panicked cannot have left the map half-written.
        self.answer_headers.lock().unwrap_or_else(PoisonError::into_inner).append(name, value);
    }

    /// Tells the client where in the log its change stands (`X-Event-Position`).
    pub fn set_event_position(&self, position: i64) {
        self.set_header(EVENT_POSITION, HeaderValue::from(position));
    }

    /// Tells the client that counting stopped at the cap (`X-Total-Capped`).
    pub fn set_total_capped(&self) {
        self.set_header(TOTAL_CAPPED, HeaderValue::from_static("true"));
    }

    pub(super) fn take_answer_headers(&self) -> HeaderMap {
        std::mem::take(&mut *self.answer_headers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the head of a request says besides its inputs.
pub(super) struct Arrival {
    pub request_id: Uuid,
    pub traceparent: Option<Arc<str>>,
    pub ip: Option<IpAddr>,
    pub if_match: Option<i64>,
    pub respond_async: bool,
    pub credentials: Credentials,
}

impl Arrival {
    pub(super) fn of(head: &Parts, request_id: Uuid, settings: &HttpSettings) -> Self {
        Self {
            request_id,
            traceparent: text(&head.headers, &TRACEPARENT).map(Arc::from),
            ip: client_address(head, &settings.trusted_proxies),
            if_match: None,
            respond_async: text(&head.headers, &PREFER)
                .is_some_and(|value| value.split(',').any(|preference| preference.trim() == "respond-async")),
            credentials: credentials(head, settings),
        }
    }

    /// Reads `If-Match`; apart, because strangers are told that they are strangers first.
    ///
    /// # Errors
    /// 412 for what is no version.
    pub(super) fn read_condition(&mut self, head: &Parts) -> Answer<()> {
        self.if_match = if_match(&head.headers)?;
        Ok(())
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The request's id: the client's own if it is a UUID, else the trace it belongs to.
pub(super) fn requested_id(headers: &HeaderMap) -> Option<Uuid> {
    let own = text(headers, &REQUEST_ID).and_then(|value| Uuid::try_parse(value).ok());
    own.or_else(|| trace_id(text(headers, &TRACEPARENT)?)).filter(|id| !id.is_nil())
}

/// `version-traceid-parentid-flags`, where the trace id is 32 hex digits.
fn trace_id(traceparent: &str) -> Option<Uuid> {
    let id = traceparent.split('-').nth(1)?;
    (id.len() == 32).then(|| Uuid::try_parse(id).ok())?
}

/// The peer or, behind proxies that are trusted, the last address of the chain that is not one of them: everything
/// further left was written by the client.
fn client_address(head: &Parts, trusted: &[IpAddr]) -> Option<IpAddr> {
    let ConnectInfo(peer) = head.extensions.get::<ConnectInfo<SocketAddr>>()?;
    let peer = peer.ip().to_canonical();
    if !trusted.contains(&peer) {
        return Some(peer);
    }
    let chain = head.headers.get_all(&FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = chain.flat_map(|value| value.split(',')).map(str::trim).collect();
    let client =
        hops.iter().rev().map_while(|hop| hop.parse::<IpAddr>().ok()).find(|hop| !trusted.contains(hop));
    Some(client.unwrap_or(peer))
}

/// `"12"`; the weak form means the same here, since a version names exactly one state.
fn if_match(headers: &HeaderMap) -> Answer<Option<i64>> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let tag = value.to_str().unwrap_or_default().trim();
    if tag == "*" {
        return Ok(None);
    }
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    let version =
        tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).and_then(|tag| tag.parse().ok());
    // A tag that was never given out cannot be the current one.
    version.map(Some).ok_or_else(Problem::stale)
}

fn credentials(head: &Parts, settings: &HttpSettings) -> Credentials {
    if let Some(key) = text(&head.headers, &API_KEY) {
        return Credentials::ApiKey(key.to_owned());
    }
    if let Some((scheme, token)) = text(&head.headers, &header::AUTHORIZATION).and_then(|v| v.split_once(' '))
        && scheme.eq_ignore_ascii_case("bearer")
    {
        return Credentials::Bearer(token.trim().to_owned());
    }
    // A browser sends the cookie along with whatever another site makes it send, so there it proves nothing.
    let forged = !head.method.is_safe() && is_foreign_site(&head.headers, settings);
    match session_cookie(&head.headers) {
        Some(token) if !forged => Credentials::Cookie(token.to_owned()),
        _ => Credentials::None,
    }
}

fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == SESSION_COOKIE).map(|(_, token)| token)
}

fn is_foreign_site(headers: &HeaderMap, settings: &HttpSettings) -> bool {
    let origin = text(headers, &header::ORIGIN).unwrap_or_default();
    text(headers, &FETCH_SITE) == Some("cross-site") && !settings.cors_origins.iter().any(|o| o == origin)
}
