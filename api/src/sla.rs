//! What became of the promises: breaches of a policy, and the clocks of a conversation.

use chrono::{DateTime, Utc};
use domain::sla::{ClockStatus, ClockType, SlaStatus};
use domain::sla_policy::SlaPolicy;
use projections::sla as read_model;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::{Access, Answer, Group, Json, List, Path, Permission, Problem, get, group};
use crate::sla_policies;
use crate::{App, Ctx};

/// Breaches shown of one policy.
const MAX_BREACHES: i64 = 100;

pub fn routes() -> Group<App> {
    let leads = Access::Supervisor(Permission::SlaManage);
    let rows = [
        get("/api/sla-policies/{id}/breaches", "List SLA breaches for a policy", leads, breaches)
            .describe("up to 100, newest first"),
        get("/api/conversations/{id}/sla", "Get SLA status for a conversation", Access::Any, status)
            .describe("null when no policy matches"),
    ];
    group("SLA", sla_policies::routes().into_iter().chain(rows))
}

#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BreachType {
    FirstResponse,
    Resolution,
}

#[derive(Serialize, ToSchema)]
struct SlaBreachLog {
    id: Uuid,
    conversation_id: Uuid,
    sla_policy_id: Uuid,
    breach_type: BreachType,
    /// Working seconds.
    threshold_secs: i64,
    /// Working seconds on the clock when the breach was recorded.
    actual_secs: i64,
    breached_at: DateTime<Utc>,
}

#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SlaClockStatus {
    Ok,
    Warning,
    Breached,
}

impl From<ClockStatus> for SlaClockStatus {
    fn from(status: ClockStatus) -> Self {
        match status {
            ClockStatus::Ok => Self::Ok,
            ClockStatus::Warning => Self::Warning,
            ClockStatus::Breached => Self::Breached,
        }
    }
}

/// Elapsed times and thresholds are working seconds.
#[derive(Serialize, ToSchema)]
struct ConversationSlaStatus {
    conversation_id: Uuid,
    policy_id: Uuid,
    policy_name: String,
    frt_status: SlaClockStatus,
    frt_elapsed_secs: i64,
    frt_threshold_secs: i64,
    resolution_status: SlaClockStatus,
    resolution_elapsed_secs: i64,
    resolution_threshold_secs: i64,
}

async fn breaches(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<List<SlaBreachLog>> {
    ctx.document::<SlaPolicy>(id).await?;
    let rows = read_model::breaches(&mut *ctx.reader().await?, ctx.tenant_id(), id, MAX_BREACHES).await?;
    let shown = |row: read_model::SlaBreachRow| SlaBreachLog {
        id: row.id,
        conversation_id: row.conversation_id,
        sla_policy_id: row.sla_policy_id,
        breach_type: match row.breach_type {
            ClockType::FirstResponse => BreachType::FirstResponse,
            ClockType::Resolution => BreachType::Resolution,
        },
        threshold_secs: row.threshold_secs,
        actual_secs: row.actual_secs,
        breached_at: row.breached_at,
    };
    Ok(List(rows.into_iter().map(shown).collect()))
}

async fn status(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Option<ConversationSlaStatus>>> {
    let state = read_model::state(&mut *ctx.reader().await?, ctx.tenant_id(), id).await?;
    let state = state.ok_or_else(|| Problem::not_found("conversation"))?;
    let status = state.status_at(ctx.app.store().clock().now());
    Ok(Json(status.map(|status: SlaStatus| ConversationSlaStatus {
        conversation_id: id,
        policy_id: status.policy_id,
        policy_name: status.policy_name,
        frt_status: status.frt_status.into(),
        frt_elapsed_secs: status.frt_elapsed_secs,
        frt_threshold_secs: status.frt_threshold_secs,
        resolution_status: status.resolution_status.into(),
        resolution_elapsed_secs: status.resolution_elapsed_secs,
        resolution_threshold_secs: status.resolution_threshold_secs,
    })))
}
