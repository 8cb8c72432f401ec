//! Read models as platform administrators look after them.

use std::sync::Arc;
use std::time::Duration;

use projections::Projection;
use projections::rebuild::{self, Rebuild, RebuildError};
use projections::shadow::heads;
use projections::status::{self, State, Status};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::{Accepted, Access, Answer, Group, Json, List, Path, Problem, get, group, post};
use crate::{App, Ctx};

/// Larger read models are verified from the command line, which has all the time it takes.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(600);

pub fn routes() -> Group<App> {
    group("Event Store", [
        get("/api/super-admin/projections", "List projections with their lag", Access::Super, list)
            .describe("positions and lags in events are sums over all logs"),
        post(
            "/api/super-admin/projections/{name}/rebuild",
            "Rebuild a projection beside the live one, then swap",
            Access::Super,
            rebuild_one,
        )
        .describe("readers never see a half-built one; an interrupted rebuild is taken up; 409 while it is rebuilt or verified"),
        post(
            "/api/super-admin/projections/{name}/verify",
            "Rebuild into a shadow and compare with the live one",
            Access::Super,
            verify,
        )
        .describe("differences name table, key and columns; 409 while it is rebuilt or verified")
        .timeout(VERIFY_TIMEOUT),
    ])
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ProjectionState {
    Live,
    Rebuilding,
    Paused,
    Failed,
}

#[derive(Serialize, ToSchema)]
struct ProjectionStatus {
    name: String,
    /// Grows by one with each rebuild and rollback.
    version: i64,
    /// `paused`: no process runs it.
    state: ProjectionState,
    position: i64,
    head_position: i64,
    lag_events: i64,
    /// How long the oldest event that it has not seen has been waiting.
    lag_ms: i64,
    error: Option<String>,
    /// Events set aside because they, or earlier ones of their streams, could not be applied.
    parked_events: i64,
    rebuild_progress_pct: Option<f64>,
}

#[derive(Serialize, ToSchema)]
struct RebuildAccepted {
    message: String,
    name: String,
    /// Sum of the logs' positions at this moment; the rebuild goes on to wherever they are when it gets there.
    target_position: i64,
}

#[derive(Serialize, ToSchema)]
struct VerifyReport {
    name: String,
    ok: bool,
    rows_compared: i64,
    /// How many rows differ; `differences` shows the first 100.
    rows_different: i64,
    differences: Vec<Value>,
}

async fn list(ctx: Ctx) -> Answer<List<ProjectionStatus>> {
    let all = status::all(ctx.app.store(), ctx.app.projections()).await?;
    Ok(List(all.into_iter().map(ProjectionStatus::from).collect()))
}

async fn rebuild_one(ctx: Ctx, Path(name): Path<String>) -> Answer<Accepted<RebuildAccepted>> {
    let projection = find(&ctx, &name)?;
    let rebuild = rebuild::start(ctx.app.store(), &projection).await?;
    let target_position = heads(ctx.app.store()).await?.iter().sum();
    tokio::spawn(finish(ctx.app.clone(), projection.name, rebuild));
    let message = format!("{name} is being rebuilt; its progress shows in the list of projections.");
    Ok(Accepted(RebuildAccepted { message, name, target_position }))
}

async fn finish(app: App, name: &'static str, rebuild: Rebuild) {
    let finished = tokio::select! {
        finished = rebuild.finish(|_| ()) => finished,
        // What was filled stays, and the next rebuild takes it up.
        () = app.stopping().cancelled() => return,
    };
    match finished {
        Ok(()) => tracing::info!(projection = name, "rebuilt and switched"),
        Err(error) => tracing::error!(projection = name, %error, "not rebuilt"),
    }
}

async fn verify(ctx: Ctx, Path(name): Path<String>) -> Answer<Json<VerifyReport>> {
    let projection = find(&ctx, &name)?;
    let verified = projections::verify::verify(ctx.app.store(), &projection, |_| ()).await?;
    let differences = verified.differences.iter().map(serde_json::to_value).collect::<Result<_, _>>();
    Ok(Json(VerifyReport {
        name,
        ok: verified.ok,
        rows_compared: verified.rows_compared,
        rows_different: verified.rows_different,
        differences: differences.map_err(Problem::internal)?,
    }))
}

fn find(ctx: &Ctx, name: &str) -> Answer<Arc<Projection>> {
    let found = ctx.app.projections().iter().find(|projection| projection.name == name);
    found.cloned().ok_or_else(|| Problem::not_found("projection"))
}

impl From<Status> for ProjectionStatus {
    fn from(status: Status) -> Self {
        Self {
            name: status.name.to_owned(),
            version: status.generation.into(),
            state: match status.state {
                State::Live => ProjectionState::Live,
                State::Rebuilding => ProjectionState::Rebuilding,
                State::Paused => ProjectionState::Paused,
                State::Failed => ProjectionState::Failed,
            },
            position: status.position,
            head_position: status.head_position,
            lag_events: status.lag_events,
            lag_ms: status.lag_ms,
            error: status.error,
            parked_events: status.parked_events,
            rebuild_progress_pct: status.rebuild_progress_pct,
        }
    }
}

impl From<RebuildError> for Problem {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::NotAReadModel(_) => Self::conflict("not_a_read_model", error.to_string()),
            RebuildError::Busy(_) => Self::conflict("busy", error.to_string()),
            RebuildError::NothingToRollBackTo(_) => {
                Self::conflict("nothing_to_roll_back_to", error.to_string())
            }
            RebuildError::InUse(_) => Self::unavailable(error),
            RebuildError::Database(error) => error.into(),
            RebuildError::Run(_) => Self::internal(error),
        }
    }
}
