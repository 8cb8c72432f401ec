//! The limits that hold for every request, and the rate limit per caller.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, header};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use uuid::Uuid;

use super::access::{Caller, Means};
use super::problem::{Answer, Problem};

/// Bytes of a request body, unless its route says otherwise.
pub const BODY_LIMIT: usize = 1024 * 1024;
/// Levels of nested lists and objects in a JSON body.
pub const JSON_DEPTH: usize = 64;
/// From the complete request to the head of the answer, unless its route says otherwise.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Characters of an `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_LENGTH: usize = 255;
/// Bytes of an answer that is kept for replay; longer ones are not kept.
pub const KEPT_ANSWER_LIMIT: usize = BODY_LIMIT;
/// Highest page number, so that page times rows per page stays far from overflow.
pub const LAST_PAGE: i64 = 1_000_000_000;

/// How many requests pass between two sweeps of callers who have been quiet long enough to be forgotten.
const SWEEP_EVERY: u32 = 10_000;

/// Reads the whole body.
///
/// # Errors
/// 413 over `limit` bytes, 408 if it does not arrive within `patience`, 400 if the client breaks off.
pub(super) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    patience: Duration,
) -> Answer<Bytes> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(Problem::too_large(limit));
    }
    match tokio::time::timeout(patience, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_over_limit(&error) => Err(Problem::too_large(limit)),
        Ok(Err(_)) => Err(Problem::malformed("The request body broke off.")),
        Err(_) => Err(Problem::slow_request()),
    }
}

/// axum wraps the limit's error in its own, whose type it does not export.
fn is_over_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(|source| source.to_string().contains("length limit exceeded"))
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    ApiKey(Uuid),
    Session(Uuid),
    Address(Option<IpAddr>),
}

impl Counted {
    pub(super) fn of(caller: &Caller, ip: Option<IpAddr>) -> Self {
        match caller {
            Caller::Public => Self::Address(ip),
            Caller::SuperAdmin(admin) => Self::Session(admin.session_id),
            Caller::Member(member) => match member.means {
                Means::Session { id } => Self::Session(id),
                Means::ApiKey { id, .. } => Self::ApiKey(id),
            },
        }
    }
}

/// At most so many requests per caller and minute; a quiet caller may spend a minute's worth at once.
pub(super) struct RequestRate {
    limiter: Option<DefaultKeyedRateLimiter<Counted>>,
    counted: AtomicU32,
}

impl RequestRate {
    /// 0 means no limit.
    pub(super) fn per_minute(requests: u32) -> Self {
        let limiter = NonZeroU32::new(requests).map(|n| RateLimiter::keyed(Quota::per_minute(n)));
        Self { limiter, counted: AtomicU32::new(0) }
    }

    /// # Errors
    /// 429 with the wait until the next request would pass.
    pub(super) fn count(&self, who: Counted) -> Answer<()> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        if self.counted.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            limiter.retain_recent();
        }
        limiter.check_key(&who).map_err(|not_until| {
            Problem::too_many_requests(not_until.wait_time_from(DefaultClock::default().now()))
        })
    }
}
