//! Errors as a client sees them: RFC 9457 problem details, one JSON shape for every refusal and failure.
//!
//! `code` is stable and meant for programs, `detail` for people. What went wrong inside is logged, never sent.

use std::fmt::Display;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// What a handler answers.
pub type Answer<T> = Result<T, Problem>;

pub const PROBLEM_JSON: &str = "application/problem+json";

/// How long to wait before trying again when the server is the one that is busy.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// How long to wait before trying again when the database is away.
const OUTAGE_RETRY: Duration = Duration::from_secs(5);

/// Why a request was not fulfilled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub detail: String,
    pub errors: Vec<FieldError>,
    pub retry_after: Option<Duration>,
    /// For the log only.
    pub cause: Option<String>,
}

/// One wrong field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Path of the field, such as `content.text` or `actions[2].agent_id`; the name of a query parameter or header.
    pub field: String,
    pub message: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Problem details (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// `urn:omnistream:problem:` and the code.
    r#type: String,
    /// The meaning of the status.
    title: &'a str,
    status: u16,
    /// What happened, for a person.
    detail: &'a str,
    /// Stable name of the problem, for a program.
    code: &'a str,
    /// The same as the header `x-request-id`; quote it when asking for help.
    #[schema(value_type = Uuid)]
    request_id: Uuid,
    /// The fields at fault.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<FieldError>, required = false)]
    errors: &'a [FieldError],
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), retry_after: None, cause: None }
    }

    /// 400: not even readable as what it should be.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// 401: no credentials, or ones that no longer hold.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::unauthenticated_because("Sign in, or send a valid token or API key.")
    }

    pub fn unauthenticated_because(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    /// 401: a webhook whose signature does not match its bytes.
    #[must_use]
    pub fn bad_signature() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "bad_signature", "The signature does not match the body.")
    }

    /// 403.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404. `what` is the noun: "agent", "conversation". Also for what belongs to another tenant.
    pub fn not_found(what: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("There is no such {what}."))
    }

    /// 405.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let detail = "This resource does not take that method; see the Allow header.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    /// 408: the body did not arrive in time.
    #[must_use]
    pub fn slow_request() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "The request body did not arrive in time.")
    }

    /// 409: does not fit the current state.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 412: `If-Match` names another version.
    #[must_use]
    pub fn stale() -> Self {
        let detail = "The resource has changed since the version in If-Match.";
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail)
    }

    /// 413. `limit` in bytes.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        let detail = format!("The request body may have at most {limit} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// 415. `expected` is the media type that would do.
    #[must_use]
    pub fn unsupported_media_type(expected: &str) -> Self {
        let detail = format!("The request body must be sent as {expected}.");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    }

    /// 422: well-formed, but one field will not do.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid_fields(vec![FieldError::new(field, message)])
    }

    /// 422: well-formed, but these fields will not do.
    #[must_use]
    pub fn invalid_fields(errors: Vec<FieldError>) -> Self {
        let sentences: Vec<String> = errors.iter().map(|e| format!("{} {}", e.field, e.message)).collect();
        let detail = format!("{}.", sentences.join("; "));
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail) }
    }

    /// 429.
    #[must_use]
    pub fn too_many_requests(retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests; slow down.")
            .retry_after(retry_after)
    }

    /// 500. The cause is logged and never sent.
    pub fn internal(cause: impl Display) -> Self {
        let detail = "Something went wrong on our side; the request id identifies it.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).caused_by(cause)
    }

    /// 502: a provider that the answer needs did not do its part. `detail` must be fit for the client.
    pub fn bad_gateway(detail: impl Into<String>, cause: impl Display) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "provider_failed", detail).caused_by(cause)
    }

    /// 503: too busy, or not ready yet. Nothing was done.
    pub fn unavailable(cause: impl Display) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The service is busy; try again.")
            .retry_after(BUSY_RETRY)
            .caused_by(cause)
    }

    /// 503: the database is away. What was asked for may have been done, if it broke off in the middle.
    pub fn outage(cause: impl Display) -> Self {
        let detail = "The service can't reach its database; try again. Retry with an Idempotency-Key.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
            .retry_after(OUTAGE_RETRY)
            .caused_by(cause)
    }

    /// 504: no answer within the limit; what was asked for may yet happen.
    #[must_use]
    pub fn timeout(limit: Duration) -> Self {
        let detail = "The request took too long; it may still take effect. Retry with an Idempotency-Key.";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail)
            .caused_by(format!("no answer within {limit:?}"))
    }

    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    #[must_use]
    pub fn caused_by(mut self, cause: impl Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Whether the server is at fault, so that trying again may help.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.status.is_server_error()
    }

    /// The response, with its cause logged if the server is at fault.
    #[must_use]
    pub fn respond(&self, request_id: Uuid) -> Response {
        if self.is_ours() {
            let cause = self.cause.as_deref().unwrap_or_default();
            tracing::error!(%request_id, code = self.code, cause, "request failed");
        }
        let body = ProblemBody {
            r#type: format!("urn:omnistream:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            request_id,
            errors: &self.errors,
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            // Whole seconds, rounded up: a client that comes back on the dot must not be refused again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

impl From<garde::Report> for Problem {
    fn from(report: garde::Report) -> Self {
        let errors = report.into_inner().into_iter();
        Self::invalid_fields(
            errors.map(|(path, error)| FieldError::new(path.to_string(), error.to_string())).collect(),
        )
    }
}
