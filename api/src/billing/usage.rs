//! How much a tenant uses of what its plan allows.

use domain::agent::Agent;
use domain::billing::LimitName;
use domain::integration_account::IntegrationAccount;
use projections::counters::{self, CONTACTS, MESSAGES};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::{Access, Answer, Json, Problem, Route, get};
use crate::{App, Ctx};

pub(super) fn routes() -> [Route<App>; 1] {
    [get("/api/billing/usage", "Get current month's usage", Access::Any, of_this_month)
        .describe(
            "limits are those in force: the tenant's own, else the plan's, else the free tier's; null is no limit. What \
             customers send is never refused, so contacts and messages can be above theirs: over_limit names them",
        )]
}

#[derive(Serialize, ToSchema)]
struct BillingUsage {
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
    /// `max_agents`, `max_contacts`, `max_messages_month`, `max_channels`, `max_ai_agents`.
    #[schema(value_type = Object)]
    limits: serde_json::Value,
    /// The names of the limits that are exceeded, by what customers sent or since a change to a smaller plan.
    over_limit: Vec<&'static str>,
}

async fn of_this_month(ctx: Ctx) -> Answer<Json<BillingUsage>> {
    let tenant_id = ctx.tenant_id();
    let usage_month = counters::month_of(ctx.app.store().clock().now());
    let limits = ctx.limits().await?;
    let agents = ctx.documents::<Agent>().await?.len();
    let accounts = ctx.documents::<IntegrationAccount>().await?;
    let mut db = ctx.reader().await?;
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let contacts = counters::read(&mut db, tenant_id, CONTACTS, "").await?;
    let messages = counters::read(&mut db, tenant_id, MESSAGES, &usage_month).await?;
    let used = [
        (LimitName::MaxAgents, count(agents)),
        (LimitName::MaxContacts, contacts),
        (LimitName::MaxMessagesMonth, messages),
        (LimitName::MaxChannels, count(accounts.len())),
    ];
    let exceeded =
        used.iter().filter(|(name, used)| limits.overage(*name, u64::try_from(*used).unwrap_or(0)) > 0);
    Ok(Json(BillingUsage {
        org_id: tenant_id,
        agent_count: count(agents),
        contact_count: contacts,
        messages_this_month: messages,
        active_integrations: count(accounts.iter().filter(|account| account.state.is_active).count()),
        usage_month,
        over_limit: exceeded.map(|(name, _)| name.as_str()).collect(),
        limits: serde_json::to_value(limits).map_err(Problem::internal)?,
    }))
}
