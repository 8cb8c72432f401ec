//! How much each tenant uses.

use chrono::{DateTime, Utc};
use domain::event::PLATFORM_TENANT;
use projections::counters::{CONTACTS, MESSAGES};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::tenants::{MAX_TENANTS, Tenant, TenantRow, capped};
use crate::Ctx;
use crate::http::{Answer, List};

#[derive(Serialize, ToSchema)]
pub(super) struct TenantWithUsage {
    #[serde(flatten)]
    tenant: Tenant,
    usage: TenantUsage,
}

#[derive(Serialize, ToSchema)]
struct TenantUsage {
    /// The same for the same tenant and month.
    id: Uuid,
    org_id: Uuid,
    /// Suspended ones included.
    agent_count: i64,
    contact_count: i64,
    /// In both directions.
    messages_this_month: i64,
    /// Connected accounts that are active.
    active_integrations: i64,
    /// `2026-11`, in UTC.
    usage_month: String,
    /// When this was counted: now.
    updated_at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    tenant: TenantRow,
    agents: i64,
    integrations: i64,
    contacts: i64,
    messages: i64,
}

pub(super) async fn list(ctx: Ctx) -> Answer<List<TenantWithUsage>> {
    let now = ctx.app.store().clock().now();
    let month = now.format("%Y-%m").to_string();
    let rows = read(&ctx, &month).await?;
    let shown = |row: Row| {
        let usage = TenantUsage {
            id: commands::ids::named_id(row.tenant.id, &format!("usage:{month}")),
            org_id: row.tenant.id,
            agent_count: row.agents,
            contact_count: row.contacts,
            messages_this_month: row.messages,
            active_integrations: row.integrations,
            usage_month: month.clone(),
            updated_at: now,
        };
        TenantWithUsage { tenant: row.tenant.into(), usage }
    };
    Ok(List(capped(&ctx, rows.into_iter().map(shown).collect())))
}

/// All tenants in one query: what a tenant has few of is counted, the rest was counted by the event.
async fn read(ctx: &Ctx, month: &str) -> Answer<Vec<Row>> {
    let rows = sqlx::query_as(
        "SELECT o.id, o.version, o.created_at, o.updated_at, o.doc,
             (SELECT count(*) FROM read.documents a
              WHERE a.tenant_id = o.id AND a.collection = 'agent' AND a.doc IS NOT NULL) AS agents,
             (SELECT count(*) FROM read.documents i
              WHERE i.tenant_id = o.id AND i.collection = 'integration_account'
                  AND (i.doc ->> 'is_active')::boolean) AS integrations,
             coalesce(contacts.value, 0) AS contacts,
             coalesce(messages.value, 0) AS messages
         FROM (SELECT * FROM read.documents
               WHERE tenant_id = $1 AND collection = 'organization' AND doc IS NOT NULL
               ORDER BY created_at, id LIMIT $2) o
         LEFT JOIN read.counters contacts
             ON contacts.tenant_id = o.id AND contacts.name = $3 AND contacts.period = ''
         LEFT JOIN read.counters messages
             ON messages.tenant_id = o.id AND messages.name = $4 AND messages.period = $5
         ORDER BY o.created_at, o.id",
    )
    .bind(PLATFORM_TENANT)
    .bind(MAX_TENANTS + 1)
    .bind(CONTACTS)
    .bind(MESSAGES)
    .bind(month)
    .fetch_all(ctx.app.store().pool())
    .await?;
    Ok(rows)
}
