//! The people of a tenant, as the platform's support sees them.

use chrono::{DateTime, Utc};
use commands::store::Decision;
use commands::{Refusal, password, staff, tenant_user};
use domain::agent::{Agent, AgentEvent};
use garde::Validate;
use projections::documents::{self, Document};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::tenants;
use crate::Ctx;
use crate::http::{Answer, Body, Json, List, Path, Problem};
use crate::resource::MessageOnly;

/// Someone who works for a tenant.
#[derive(Serialize, ToSchema)]
pub(super) struct TenantUser {
    id: Uuid,
    email: String,
    full_name: String,
    role: String,
    is_online: bool,
    /// Not suspended.
    is_active: bool,
    created_at: DateTime<Utc>,
}

impl From<Document<Agent>> for TenantUser {
    fn from(user: Document<Agent>) -> Self {
        let Agent { email, full_name, role, is_online, is_suspended, .. } = user.state;
        let created_at = user.created_at;
        Self { id: user.id, email, full_name, role, is_online, is_active: !is_suspended, created_at }
    }
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetPassword {
    /// 6 to 256 characters.
    #[garde(skip)]
    new_password: String,
}

impl ResetPassword {
    /// # Errors
    /// 422 for a password that is too short or too long.
    pub(super) async fn hash(self) -> Answer<String> {
        password::check("new_password", &self.new_password)?;
        Ok(password::hash(self.new_password).await?)
    }
}

pub(super) async fn list(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<List<TenantUser>> {
    Ok(List(all(&ctx, id).await?.into_iter().map(TenantUser::from).collect()))
}

pub(super) async fn reset_password(
    ctx: Ctx,
    Path((tenant_id, id)): Path<(Uuid, Uuid)>,
    Body(reset): Body<ResetPassword>,
) -> Answer<Json<MessageOnly>> {
    find(&ctx, tenant_id, id).await?;
    let hash = reset.hash().await?;
    decide(&ctx, tenant_id, id, |user| tenant_user::reset_password(user, tenant_id, &hash)).await?;
    Ok(Json(MessageOnly::new("The password was reset and the user signed out.")))
}

pub(super) async fn suspend(ctx: Ctx, Path((tenant_id, id)): Path<(Uuid, Uuid)>) -> Answer<Json<TenantUser>> {
    find(&ctx, tenant_id, id).await?;
    let (store, origin) = (ctx.app.store(), ctx.origin_in(tenant_id));
    let decided =
        staff::execute(store, &origin, id, |user, staff| tenant_user::suspend(user, id, staff)).await?;
    ctx.settle(decided.log_id, decided.position).await;
    Ok(Json(find(&ctx, tenant_id, id).await?.into()))
}

pub(super) async fn activate(
    ctx: Ctx,
    Path((tenant_id, id)): Path<(Uuid, Uuid)>,
) -> Answer<Json<TenantUser>> {
    find(&ctx, tenant_id, id).await?;
    Ok(Json(decide(&ctx, tenant_id, id, tenant_user::activate).await?.into()))
}

/// A tenant's users, oldest first.
///
/// # Errors
/// 404 without such a tenant.
pub(super) async fn all(ctx: &Ctx, tenant_id: Uuid) -> Answer<Vec<Document<Agent>>> {
    tenants::find(ctx, tenant_id).await?;
    let mut db = projections::tenant::begin(ctx.app.store().pool(), tenant_id).await?;
    Ok(documents::list(&mut db, tenant_id).await?)
}

/// # Errors
/// 404 without such a tenant, or such a user of it.
pub(super) async fn find(ctx: &Ctx, tenant_id: Uuid, id: Uuid) -> Answer<Document<Agent>> {
    tenants::find(ctx, tenant_id).await?;
    let mut db = projections::tenant::begin(ctx.app.store().pool(), tenant_id).await?;
    documents::get(&mut db, tenant_id, id).await?.ok_or_else(|| Problem::not_found("user"))
}

/// Runs a command of the platform in the tenant, and answers the user as it is then.
pub(super) async fn decide(
    ctx: &Ctx,
    tenant_id: Uuid,
    id: Uuid,
    decide: impl Fn(&Agent) -> Result<Decision<AgentEvent>, Refusal> + Send,
) -> Answer<Document<Agent>> {
    ctx.execute_as(&ctx.origin_in(tenant_id), id, decide).await?;
    find(ctx, tenant_id, id).await
}
