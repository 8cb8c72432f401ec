//! The table folded into an axum router, and the way of a request through it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, FromRequestParts, RawPathParams, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter};
use serde_json::Value;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowHeaders, CorsLayer};
use tracing::Instrument;

use super::access::Caller;
use super::context::{self, Arrival, Ctx};
use super::idempotency::{self, IDEMPOTENCY_REPLAYED};
use super::input::{self, Incoming, QueryParameter};
use super::limits::{self, Counted, RequestRate};
use super::observe::{RequestId, RoutePattern, observe, panic_message};
use super::openapi::Document;
use super::problem::{Answer, FieldError, Problem};
use super::route::{Group, Listener, Route};
use super::{Host, HttpSettings, docs};

/// How long a browser may remember that a foreign origin is welcome.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// The whole API: the table bound to its host.
pub struct Api<H> {
    core: Arc<Core<H>>,
    groups: Vec<(&'static str, Vec<Arc<Endpoint<H>>>)>,
    document: Value,
}

/// What all endpoints share.
pub(super) struct Core<H> {
    pub host: H,
    rate: RequestRate,
    document: Bytes,
}

/// A route with what is known about it once the table is complete.
pub(super) struct Endpoint<H> {
    route: Route<H>,
    query: Arc<[QueryParameter]>,
}

/// The table contradicts itself; found when the program starts, and by any test that builds the table.
#[derive(Debug, thiserror::Error)]
#[error("the route table is faulty: {}", .0.join("; "))]
pub struct FaultyTable(pub Vec<String>);

impl<H: Host> Api<H> {
    /// # Errors
    /// What is wrong with the table: doubled routes, clashing schema names, parameters that do not fit the path.
    pub fn new(title: &str, version: &str, host: H, groups: Vec<Group<H>>) -> Result<Self, FaultyTable> {
        let document = Document::of(title, version, &groups);
        if !document.faults.is_empty() {
            return Err(FaultyTable(document.faults));
        }
        let mut queries = document.queries.into_iter();
        let mut bind = |route| Arc::new(Endpoint { route, query: queries.next().unwrap_or_default().into() });
        let groups =
            groups.into_iter().map(|g| (g.tag, g.routes.into_iter().map(&mut bind).collect())).collect();
        let core = Core {
            rate: RequestRate::per_minute(host.settings().rate_limit_per_minute),
            host,
            document: document.json.to_string().into_bytes().into(),
        };
        Ok(Self { core: Arc::new(core), groups, document: document.json })
    }

    /// The OpenAPI document.
    #[must_use]
    pub const fn document(&self) -> &Value {
        &self.document
    }

    /// The table's rows, with their tags.
    pub fn routes(&self) -> impl Iterator<Item = (&'static str, &Route<H>)> {
        self.groups.iter().flat_map(|(tag, rows)| rows.iter().map(move |row| (*tag, &row.route)))
    }

    /// What the public address serves. Serve it with connect info, so that peers have addresses.
    pub fn router(&self) -> Router {
        let router = self.fold(&[Listener::Public, Listener::Both]).merge(docs::router());
        let router = match cors(self.core.host.settings()) {
            Some(cors) => router.layer(cors),
            None => router,
        };
        self.observed(router.layer(CompressionLayer::new()))
    }

    /// What the operator's address serves.
    pub fn operator_router(&self) -> Router {
        self.observed(self.fold(&[Listener::Operator, Listener::Both]))
    }

    fn fold(&self, listeners: &[Listener]) -> Router {
        let mut paths: BTreeMap<String, MethodRouter> = BTreeMap::new();
        for endpoint in self.groups.iter().flat_map(|(_, rows)| rows) {
            let route = &endpoint.route;
            if !listeners.contains(&route.listener) {
                continue;
            }
            let (core, endpoint) = (Arc::clone(&self.core), Arc::clone(endpoint));
            let serve = move |request: Request| answer(Arc::clone(&core), Arc::clone(&endpoint), request);
            let methods = paths.remove(&pattern(route.path)).unwrap_or_default();
            paths.insert(pattern(route.path), methods.on(method_filter(&route.method), serve));
        }
        // The fallbacks belong to the table, so that what is layered on it holds for them as well.
        paths
            .into_iter()
            .fold(Router::new(), |router, (path, methods)| router.route(&path, methods))
            .fallback(|Extension(RequestId(id)): Extension<RequestId>| async move {
                Problem::not_found("resource").respond(id)
            })
            .method_not_allowed_fallback(|Extension(RequestId(id)): Extension<RequestId>| async move {
                Problem::method_not_allowed().respond(id)
            })
    }

    fn observed(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(Arc::clone(&self.core), observe))
    }
}

/// The path with its parameters numbered: two routes may name the same place differently, axum's router may not.
pub(super) fn pattern(path: &str) -> String {
    let mut count = 0;
    let mut number = |part: &str| {
        if !part.starts_with('{') {
            return part.to_owned();
        }
        count += 1;
        format!("{{p{count}}}")
    };
    path.split('/').map(&mut number).collect::<Vec<_>>().join("/")
}

fn method_filter(method: &Method) -> MethodFilter {
    match *method {
        Method::POST => MethodFilter::POST,
        Method::PUT => MethodFilter::PUT,
        Method::PATCH => MethodFilter::PATCH,
        Method::DELETE => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    }
}

/// `None` if no foreign origin is welcome.
fn cors(settings: &HttpSettings) -> Option<CorsLayer> {
    const READABLE: [HeaderName; 6] = [
        header::ETAG,
        header::RETRY_AFTER,
        context::REQUEST_ID,
        context::EVENT_POSITION,
        context::TOTAL_CAPPED,
        IDEMPOTENCY_REPLAYED,
    ];
    let origins: Vec<HeaderValue> = settings.cors_origins.iter().filter_map(|o| o.parse().ok()).collect();
    let layer = CorsLayer::new()
        .allow_origin(origins.clone())
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(READABLE)
        .max_age(PREFLIGHT_AGE);
    (!origins.is_empty()).then_some(layer)
}

async fn answer<H: Host>(core: Arc<Core<H>>, endpoint: Arc<Endpoint<H>>, request: Request) -> Response {
    let RequestId(request_id) = request.extensions().get().copied().unwrap_or_default();
    let pattern = RoutePattern(endpoint.route.path);
    // In a task of its own, which goes on when the client hangs up: what is begun is finished, and no connection goes
    // back to the pool in the middle of a transaction.
    let work = admit_and_run(core, endpoint, request, request_id).in_current_span();
    let mut response = match tokio::spawn(work).await.unwrap_or_else(|error| Err(Problem::internal(error))) {
        Ok(response) => response,
        Err(problem) => problem.respond(request_id),
    };
    response.extensions_mut().insert(pattern);
    response
}

/// Who calls comes before what they say: nothing of a request is read before its caller is let in.
async fn admit_and_run<H: Host>(
    core: Arc<Core<H>>,
    endpoint: Arc<Endpoint<H>>,
    request: Request,
    request_id: uuid::Uuid,
) -> Answer<Response> {
    let (mut head, body) = request.into_parts();
    let route = &endpoint.route;
    let mut arrival = Arrival::of(&head, request_id, core.host.settings());
    let caller = admit(&core, route, &arrival).await?;
    arrival.read_condition(&head)?;

    let params = RawPathParams::from_request_parts(&mut head, &()).await;
    let path = input::path_values(&params.map_err(|error| Problem::malformed(error.body_text()))?)?;
    let query = input::query_values(head.uri.query().unwrap_or_default())?;
    if !route.tolerant {
        refuse_unknown(&query, &endpoint.query)?;
    }
    let body = limits::read_body(&head.headers, body, route.body_limit, route.timeout).await?;

    let if_none_match = head.headers.get(header::IF_NONE_MATCH).filter(|_| head.method.is_safe()).cloned();
    let incoming = Incoming { head, body, path, query, declared: Arc::clone(&endpoint.query) };
    let ctx = Ctx::new(core.host.clone(), arrival, caller, core.document.clone());
    let response = match idempotency::requested_key(&incoming)? {
        Some(key) => idempotency::once(endpoint, ctx, incoming, key).await?,
        None => endpoint.attempt(ctx, incoming).await?,
    };
    Ok(unless_known(response, if_none_match.as_ref()))
}

/// # Errors
/// 401, 403, 429.
async fn admit<H: Host>(core: &Core<H>, route: &Route<H>, arrival: &Arrival) -> Answer<Caller> {
    let caller = match route.access.realm() {
        None => Ok(Caller::Public),
        Some(realm) => core.host.authenticate(arrival.credentials.clone(), realm).await,
    };
    if route.rate_limited {
        // Whoever guesses at tokens is counted by address.
        core.rate.count(Counted::of(caller.as_ref().unwrap_or(&Caller::Public), arrival.ip))?;
    }
    let caller = caller?;
    route.access.admit(&caller)?;
    Ok(caller)
}

fn refuse_unknown(query: &[(String, String)], known: &[QueryParameter]) -> Answer<()> {
    let unknown = query.iter().filter(|(name, _)| known.iter().all(|parameter| parameter.name != *name));
    let errors: Vec<FieldError> =
        unknown.map(|(name, _)| FieldError::new(name, "is not a known query parameter")).collect();
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(errors)) }
}

/// 304 if the client has this version already.
fn unless_known(mut response: Response, if_none_match: Option<&HeaderValue>) -> Response {
    let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
    let known = if_none_match.and_then(|known| known.to_str().ok());
    let is_known = tag.zip(known).is_some_and(|(tag, known)| {
        known.split(',').map(str::trim).any(|k| k == "*" || k.strip_prefix("W/").unwrap_or(k) == tag)
    });
    if is_known && response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = axum::body::Body::empty();
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}

fn ended_because(ended: tokio::task::JoinError) -> String {
    ended.try_into_panic().map_or_else(|error| error.to_string(), |panic| panic_message(panic.as_ref()))
}

impl<H: Host> Endpoint<H> {
    /// Waits for the handler as long as it may take; it goes on after that. A panic is a failure like any other.
    pub(super) async fn attempt(&self, ctx: Ctx<H>, incoming: Incoming) -> Answer<Response> {
        let run = tokio::spawn((self.route.run)(ctx.clone(), incoming).in_current_span());
        let mut response = match tokio::time::timeout(self.route.timeout, run).await {
            Ok(Ok(answer)) => answer?,
            Ok(Err(ended)) => return Err(Problem::internal(ended_because(ended))),
            Err(_) => return Err(Problem::timeout(self.route.timeout)),
        };
        for (name, value) in &ctx.take_answer_headers() {
            response.headers_mut().append(name, value.clone());
        }
        Ok(response)
    }
}
