//! Whether all parts of the system do their work, each asked for real.

use std::time::Duration;

use commands::store::Pool;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::Ctx;
use crate::http::{Answer, Json};
use crate::operations::{READY_LAG_MS, lag_ms};

/// A component that has not answered by then is down.
const CHECK_LIMIT: Duration = Duration::from_secs(2);
/// Work that is due and has waited longer than this means that nobody gets round to it.
const QUEUE_PATIENCE_SECS: f64 = 60.0;
/// Rows of a queue that are looked at in each log; a longer queue counts as this long.
const QUEUE_COUNTED: i64 = 10_000;

#[derive(Serialize, ToSchema)]
pub(super) struct SystemHealth {
    /// That of the worst component.
    status: ComponentStatus,
    components: Vec<ComponentHealth>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ComponentStatus {
    Ok,
    /// Works, but late or in part.
    Degraded,
    Down,
}

#[derive(Serialize, ToSchema)]
struct ComponentHealth {
    /// `database`, `event_log`, `projections`, `worker`, `inbound_queue` or `effects_queue`.
    name: &'static str,
    status: ComponentStatus,
    /// How long the component took to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

type Found = Result<(ComponentStatus, String), sqlx::Error>;

pub(super) async fn check(ctx: Ctx) -> Answer<Json<SystemHealth>> {
    let pool = ctx.app.store().pool();
    let (database, event_log, projections, worker, inbound, effects) = tokio::join!(
        asked("database", database(pool)),
        asked("event_log", event_log(pool)),
        asked("projections", projections(&ctx)),
        asked("worker", worker(pool)),
        asked("inbound_queue", queue(pool, INBOUND)),
        asked("effects_queue", queue(pool, EFFECTS)),
    );
    let components = vec![database, event_log, projections, worker, inbound, effects];
    let status = components.iter().map(|c| c.status).max().unwrap_or(ComponentStatus::Ok);
    Ok(Json(SystemHealth { status, components }))
}

async fn asked(name: &'static str, check: impl Future<Output = Found>) -> ComponentHealth {
    let started = Instant::now();
    let (status, detail) = match tokio::time::timeout(CHECK_LIMIT, check).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            tracing::warn!(component = name, %error, "a health check failed");
            (ComponentStatus::Down, "does not answer".to_owned())
        }
        Err(_) => (ComponentStatus::Down, format!("no answer within {} s", CHECK_LIMIT.as_secs())),
    };
    let latency_ms = i64::try_from(started.elapsed().as_millis()).ok();
    ComponentHealth { name, status, latency_ms, detail: Some(detail) }
}

async fn database(pool: &Pool) -> Found {
    let version: String = sqlx::query_scalar("SHOW server_version").fetch_one(pool).await?;
    Ok((ComponentStatus::Ok, format!("PostgreSQL {version}")))
}

/// The head of each log.
async fn event_log(pool: &Pool) -> Found {
    let heads: Vec<(i16, i64)> = sqlx::query_as(
        "SELECT l.log_id, coalesce((SELECT max(e.position) FROM events e WHERE e.log_id = l.log_id), 0)
         FROM logs l ORDER BY l.log_id",
    )
    .fetch_all(pool)
    .await?;
    let heads: Vec<String> = heads.iter().map(|(log, head)| format!("log {log} at {head}")).collect();
    Ok((ComponentStatus::Ok, heads.join(", ")))
}

/// How far the read models are behind, and whether any of them stumbled.
async fn projections(ctx: &Ctx) -> Found {
    let pool = ctx.app.store().pool();
    let lag = lag_ms(ctx).await?;
    let failing: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT name FROM projections WHERE slot = 'live' AND error IS NOT NULL ORDER BY name",
    )
    .fetch_all(pool)
    .await?;
    let parked: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT FROM parked_events WHERE slot = 'live' LIMIT $1) AS parked",
    )
    .bind(QUEUE_COUNTED)
    .fetch_one(pool)
    .await?;
    let mut detail = format!("{lag} ms behind, {parked} events parked");
    if !failing.is_empty() {
        detail = format!("{detail}, failing: {}", failing.join(", "));
    }
    let well = lag < READY_LAG_MS && parked == 0 && failing.is_empty();
    Ok((if well { ComponentStatus::Ok } else { ComponentStatus::Degraded }, detail))
}

/// Whoever works renews the leases of what it works on.
async fn worker(pool: &Pool) -> Found {
    let (held, all): (i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE lease_until > now()), count(*) FROM projections WHERE slot = 'live'",
    )
    .fetch_one(pool)
    .await?;
    let status = match held {
        0 => ComponentStatus::Down,
        _ if held < all => ComponentStatus::Degraded,
        _ => ComponentStatus::Ok,
    };
    Ok((status, format!("{held} of {all} readers of the log are running")))
}

/// Open rows, how long the longest due one has waited (seconds), and failed ones. Bounded by $1 in each log.
const INBOUND: &str = "
    SELECT count(*), coalesce(max(extract(epoch FROM now() - open.available_at))
            FILTER (WHERE open.status = 'pending'), 0)::float8,
        (SELECT count(*) FROM (SELECT FROM inbound WHERE status = 'failed' LIMIT $1) AS failed)
    FROM logs CROSS JOIN LATERAL (
        SELECT i.status, i.available_at FROM inbound i
        WHERE i.log_id = logs.log_id AND i.status IN ('pending', 'waiting') ORDER BY i.id LIMIT $1) AS open";

/// As [`INBOUND`].
const EFFECTS: &str = "
    SELECT count(*), coalesce(max(extract(epoch FROM now() - open.available_at))
            FILTER (WHERE open.status = 'pending'), 0)::float8,
        (SELECT count(*) FROM (SELECT FROM effects WHERE status = 'failed' LIMIT $1) AS failed)
    FROM logs CROSS JOIN LATERAL (
        SELECT e.status, e.available_at FROM effects e
        WHERE e.log_id = logs.log_id AND e.status IN ('pending', 'sending')
        ORDER BY e.order_key, e.position, e.n LIMIT $1) AS open";

/// What failed for good is told but is no illness of the queue: it waits for a person.
async fn queue(pool: &Pool, sql: &'static str) -> Found {
    let (open, waited, failed): (i64, f64, i64) =
        sqlx::query_as(sql).bind(QUEUE_COUNTED).fetch_one(pool).await?;
    let waited = waited.max(0.0);
    let status = if waited > QUEUE_PATIENCE_SECS { ComponentStatus::Degraded } else { ComponentStatus::Ok };
    Ok((status, format!("{open} open, the longest due for {waited:.0} s, {failed} failed")))
}
