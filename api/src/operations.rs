//! What operators and load balancers ask: is it alive, is it ready, what does it count.

use std::sync::OnceLock;

use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{Access, Answer, Group, Json, Listener, Problem, Text, get, group, serve_document};
use crate::{App, Ctx};

/// The program's recorder, set once at start.
pub static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// A process whose read models lag further than this is not ready.
pub(crate) const READY_LAG_MS: i64 = 10_000;

pub fn health() -> Group<App> {
    group("Health", [get("/health", "API Gateway health check", Access::Public, check)])
}

pub fn routes() -> Group<App> {
    group(
        "Event Store",
        [
            get("/ready", "Readiness", Access::Public, ready)
                .describe("503 until migrated and caught up")
                .on(Listener::Both),
            get("/metrics", "Prometheus metrics", Access::Public, metrics)
                .describe("bound to the operator address")
                .on(Listener::Operator),
            get("/openapi.json", "This API's OpenAPI 3.1 document", Access::Public, serve_document),
        ],
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum HealthStatus {
    Ok,
    Degraded,
}

#[derive(Serialize, ToSchema)]
struct HealthResponse {
    status: HealthStatus,
    version: &'static str,
    /// `ok`, or what is wrong with it.
    database: String,
    /// How long the oldest event that some read model has not seen has been waiting; 0 when all have seen everything.
    projection_lag_ms: i64,
}

async fn check(ctx: Ctx) -> Answer<Json<HealthResponse>> {
    let (database, lag) = match lag_ms(&ctx).await {
        Ok(lag) => ("ok".to_owned(), lag),
        Err(error) => {
            tracing::warn!(%error, "the database does not answer");
            ("unreachable".to_owned(), 0)
        }
    };
    let ok = database == "ok" && lag < READY_LAG_MS;
    let status = if ok { HealthStatus::Ok } else { HealthStatus::Degraded };
    Ok(Json(HealthResponse { status, version: env!("CARGO_PKG_VERSION"), database, projection_lag_ms: lag }))
}

async fn ready(ctx: Ctx) -> Answer<Json<HealthResponse>> {
    let health = check(ctx).await?;
    match health.0.status {
        HealthStatus::Ok => Ok(health),
        HealthStatus::Degraded => Err(Problem::unavailable("the database or a read model lags behind")),
    }
}

async fn metrics(_: Ctx) -> Answer<Text> {
    Ok(Text(METRICS.get().map(PrometheusHandle::render).unwrap_or_default()))
}

/// From checkpoints and heads: independent of the log's length.
pub(crate) async fn lag_ms(ctx: &Ctx) -> Result<i64, sqlx::Error> {
    let lag: Option<i64> = sqlx::query_scalar(
        "SELECT max((extract(epoch FROM now() - waiting.recorded_at) * 1000)::bigint)
         FROM logs
         CROSS JOIN LATERAL (
             SELECT min(p.position) AS position FROM projections p WHERE p.log_id = logs.log_id AND p.slot = 'live') seen
         JOIN LATERAL (
             SELECT e.recorded_at FROM events e WHERE e.log_id = logs.log_id AND e.position = coalesce(seen.position, 0) + 1
         ) waiting ON true",
    )
    .fetch_one(ctx.app.store().pool())
    .await?;
    Ok(lag.unwrap_or(0).max(0))
}
