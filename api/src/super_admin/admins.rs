//! The accounts of the platform's administrators.

use chrono::{DateTime, Utc};
use commands::{password, super_admin};
use domain::super_admin::SuperAdmin;
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::users::ResetPassword;
use crate::Ctx;
use crate::agents::{email_address, required_text};
use crate::http::{Answer, Body, Created, Json, List, Path};
use crate::resource::{Deleted, MessageOnly};

/// An administrator of the platform.
#[derive(Serialize, ToSchema)]
#[schema(as = SuperAdmin)]
pub(super) struct Account {
    id: Uuid,
    email: String,
    full_name: String,
    /// Always true: an account that is not wanted any more is deleted.
    is_active: bool,
    created_at: DateTime<Utc>,
}

impl Account {
    pub(super) fn new(id: Uuid, admin: SuperAdmin) -> Self {
        let SuperAdmin { email, full_name, created_at, .. } = admin;
        Self { id, email, full_name, is_active: true, created_at: created_at.unwrap_or_default() }
    }
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateSuperAdmin {
    /// Compared without case.
    #[garde(skip)]
    #[schema(format = "email")]
    email: String,
    /// 6 to 256 characters.
    #[garde(skip)]
    password: String,
    #[garde(length(chars, min = 1, max = 200))]
    full_name: String,
}

pub(super) async fn list(ctx: Ctx) -> Answer<List<Account>> {
    let admins = ctx.documents::<SuperAdmin>().await?.into_iter();
    Ok(List(admins.map(|admin| Account::new(admin.id, admin.state)).collect()))
}

pub(super) async fn create(ctx: Ctx, Body(new): Body<CreateSuperAdmin>) -> Answer<Created<Account>> {
    let email = email_address("email", &new.email)?;
    let full_name = required_text("full_name", &new.full_name)?;
    password::check("password", &new.password)?;
    let id = ctx.new_id(1);
    let hash = password::hash(new.password).await?;
    let created = ctx
        .execute::<SuperAdmin>(id, |state| super_admin::decide_create(state, id, &email, &full_name, &hash));
    Ok(Created(Account::new(id, created.await?.state)))
}

pub(super) async fn remove(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    let by = ctx.super_admin()?.id;
    let deleted = super_admin::delete(ctx.app.store(), &ctx.origin(), id, by).await?;
    ctx.settle(deleted.log_id, deleted.position).await;
    Ok(Json(Deleted::new("super-admin", id)))
}

pub(super) async fn reset_password(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(reset): Body<ResetPassword>,
) -> Answer<Json<MessageOnly>> {
    ctx.document::<SuperAdmin>(id).await?;
    let hash = reset.hash().await?;
    ctx.execute::<SuperAdmin>(id, |state| super_admin::decide_password(state, &hash)).await?;
    Ok(Json(MessageOnly::new("The password was reset; all sessions of the account have ended.")))
}
