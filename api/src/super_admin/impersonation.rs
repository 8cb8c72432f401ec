//! Acting as someone of a tenant, for support: a short session whose every event names the super-admin behind it.

use chrono::{DateTime, SubsecRound, Utc};
use commands::tenant_user;
use domain::organization::{Organization, OrganizationStatus};
use domain::role;
use projections::documents::Document;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{tenants, users};
use crate::Ctx;
use crate::agents::AgentPublic;
use crate::http::{Answer, Json, Path, Problem};
use crate::token::IMPERSONATION_LIFETIME;

#[derive(Serialize, ToSchema)]
pub(super) struct ImpersonationToken {
    /// For the tenant's own API; not for this one.
    token: String,
    expires_at: DateTime<Utc>,
    agent: AgentPublic,
}

pub(super) async fn tenant_admin(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<ImpersonationToken>> {
    let tenant = tenants::find(&ctx, id).await?;
    refuse_suspended(&tenant)?;
    let users = users::all(&ctx, id).await?;
    let admin = users.into_iter().find(|user| user.state.role == role::ADMIN && !user.state.is_suspended);
    let admin =
        admin.ok_or_else(|| Problem::conflict("no_active_admin", "The tenant has no active admin."))?;
    start(&ctx, id, admin.id).await
}

pub(super) async fn user(
    ctx: Ctx,
    Path((tenant_id, id)): Path<(Uuid, Uuid)>,
) -> Answer<Json<ImpersonationToken>> {
    let tenant = tenants::find(&ctx, tenant_id).await?;
    let user = users::find(&ctx, tenant_id, id).await?;
    refuse_suspended(&tenant)?;
    start(&ctx, tenant_id, user.id).await
}

fn refuse_suspended(tenant: &Document<Organization>) -> Answer<()> {
    if tenant.state.status == OrganizationStatus::Suspended {
        return Err(Problem::conflict("tenant_suspended", "The tenant is suspended."));
    }
    Ok(())
}

async fn start(ctx: &Ctx, tenant_id: Uuid, id: Uuid) -> Answer<Json<ImpersonationToken>> {
    let session_id = ctx.new_id(1);
    // Whole seconds, as tokens count: the session ends when the answer says, and no token outlives it.
    let expires_at = (ctx.app.store().clock().now() + IMPERSONATION_LIFETIME).trunc_subsecs(0);
    let impersonator = ctx.super_admin()?.id;
    let impersonated =
        users::decide(ctx, tenant_id, id, |user| tenant_user::impersonate(user, session_id, expires_at))
            .await?;
    let token = ctx.app.tokens().for_agent(tenant_id, id, session_id, Some(impersonator))?;
    Ok(Json(ImpersonationToken { token, expires_at, agent: impersonated.into() }))
}
