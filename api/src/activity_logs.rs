//! Who did what: a tenant's activity, newest first.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::{Access, Answer, Group, List, Paging, Permission, get, group};
use crate::{App, Ctx};

pub fn routes() -> Group<App> {
    group(
        "Activity Logs",
        [get(
            "/api/activity-logs",
            "List activity logs",
            Access::Supervisor(Permission::ActivityLogsView),
            list,
        )
        .describe("newest first; projected from the event stream")],
    )
}

#[derive(Serialize, ToSchema, sqlx::FromRow)]
struct ActivityLog {
    /// The event that it tells of.
    id: Uuid,
    /// Nothing for what an API key or a platform administrator did; see `metadata.actor`.
    agent_id: Option<Uuid>,
    /// The event's type.
    action: String,
    target_type: String,
    target_id: String,
    /// `actor`, `correlation_id`, and the `version` that the target came to.
    #[schema(value_type = Object)]
    metadata: Value,
    ip_address: Option<String>,
    created_at: DateTime<Utc>,
}

async fn list(ctx: Ctx, paging: Paging<50, 100>) -> Answer<List<ActivityLog>> {
    let logs = sqlx::query_as(
        "SELECT event_id AS id, agent_id, action, target_type, target_id::text AS target_id, metadata, ip_address, created_at
         FROM read.activity WHERE tenant_id = $1 ORDER BY position DESC LIMIT $2 OFFSET $3",
    )
    .bind(ctx.tenant_id())
    .bind(paging.limit())
    .bind(paging.offset())
    .fetch_all(&mut *ctx.reader().await?)
    .await?;
    Ok(List(logs))
}
