//! Around every request: its id, its span and metrics, the last net under a panic, and the headers that protect
//! browsers. Bodies, tokens and query values are never logged.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt;
use tokio::time::Instant;
use tracing::Instrument;
use uuid::Uuid;

use super::Host;
use super::context::{REQUEST_ID, requested_id};
use super::docs;
use super::problem::Problem;
use super::router::Core;

/// The id of a request, in its extensions.
#[derive(Clone, Copy, Default)]
pub(super) struct RequestId(pub Uuid);

/// The route that answered, in its response's extensions.
#[derive(Clone, Copy)]
pub(super) struct RoutePattern(pub &'static str);

/// What requests that no route answers are counted under: their paths are anybody's invention.
const NO_ROUTE: &str = "none";

/// An API answer is no page: nothing in it may run, and nobody may frame it.
const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

pub(super) async fn observe<H: Host>(
    State(core): State<Arc<Core<H>>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = requested_id(request.headers()).unwrap_or_else(|| core.host.new_id());
    request.extensions_mut().insert(RequestId(id));
    let method = request.method().clone();
    let is_page = docs::is_page(request.uri().path());
    let span = tracing::info_span!("request", %method, request_id = %id);
    let started = Instant::now();

    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let mut response =
        answer.unwrap_or_else(|panic| Problem::internal(panic_message(panic.as_ref())).respond(id));

    let RoutePattern(route) = response.extensions().get().copied().unwrap_or(RoutePattern(NO_ROUTE));
    span.in_scope(|| record(&method, route, response.status(), started));
    protect(&mut response, is_page);
    if let Ok(value) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Latency runs to the head of the answer; a stream may go on for hours.
fn record(method: &Method, route: &'static str, status: StatusCode, started: Instant) {
    let latency = started.elapsed();
    let method = method_label(method);
    metrics::counter!("http_requests_total", "method" => method, "route" => route, "status" => status.as_str().to_owned())
        .increment(1);
    metrics::histogram!("http_request_duration_seconds", "method" => method, "route" => route)
        .record(latency.as_secs_f64());
    tracing::info!(route, status = status.as_u16(), latency_ms = latency.as_secs_f64() * 1e3, "answered");
}

/// Clients can invent methods; metrics have one label for those.
const fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn protect(response: &mut Response, is_page: bool) {
    let policy = if is_page { docs::PAGE_POLICY } else { API_POLICY };
    let headers = response.headers_mut();
    let mut default = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    default(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    default(header::REFERRER_POLICY, "no-referrer");
    default(header::CONTENT_SECURITY_POLICY, policy);
    if !is_page {
        default(header::CACHE_CONTROL, "no-store");
    }
}

pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("without a message"))
}
