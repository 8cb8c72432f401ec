//! How administrators of the platform sign in: apart from tenants, with tokens that are good for nothing else.

use std::time::Duration;

use commands::sign_in_limit::{Attempt, Realm};
use commands::{CommandError, password, super_admin};
use domain::event::{Actor, ActorKind, PLATFORM_TENANT};
use domain::personal::Secret;
use domain::super_admin::SuperAdmin;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::admins::Account;
use crate::Ctx;
use crate::agents::email_address;
use crate::auth::LoginRequest;
use crate::http::{Answer, Body, Json, Problem};
use crate::token::TOKEN_LIFETIME;

#[derive(Serialize, ToSchema)]
pub(super) struct SuperLoginResponse {
    /// For this API only, for an hour; there is no renewing it, only signing in again.
    token: String,
    admin: Account,
}

pub(super) async fn login(ctx: Ctx, Body(request): Body<LoginRequest>) -> Answer<Json<SuperLoginResponse>> {
    let store = ctx.app.store();
    let email = email_address("email", &request.email)?;
    let attempt = Attempt::new(store, Realm::Platform, &email, ctx.ip);
    refuse_blocked(attempt.blocked_for(store).await?)?;
    let Some((id, admin, verified)) = proven(&ctx, &email, request.password).await? else {
        refuse_blocked(attempt.failed(store).await?)?;
        return Err(wrong());
    };
    refuse_blocked(attempt.succeeded(store).await?)?;
    let session_id = start_session(&ctx, id, &admin, &verified).await?;
    let token = ctx.app.tokens().for_super_admin(id, session_id)?;
    Ok(Json(SuperLoginResponse { token, admin: Account::new(id, admin) }))
}

/// The account of the address, if the password is its; with the hash that it fits.
async fn proven(ctx: &Ctx, email: &str, password: String) -> Answer<Option<(Uuid, SuperAdmin, Secret)>> {
    let store = ctx.app.store();
    let found = super_admin::find_by_email(store, email).await?;
    let stored = found.as_ref().and_then(|(_, admin)| admin.password_hash.clone());
    let hash = match &stored {
        Some(secret) => Some(store.vault().open_secret(PLATFORM_TENANT, secret).await?),
        None => None,
    };
    // Also without an account: it must take as long.
    let fits = password::verify(password, hash).await;
    Ok(found.zip(stored).filter(|_| fits).map(|((id, admin), verified)| (id, admin, verified)))
}

async fn start_session(ctx: &Ctx, id: Uuid, admin: &SuperAdmin, verified: &Secret) -> Answer<Uuid> {
    let session_id = ctx.new_id(1);
    let expires_at = ctx.app.store().clock().now() + TOKEN_LIFETIME;
    let mut origin = ctx.origin();
    origin.metadata.actor =
        Actor { name: Some(admin.full_name.clone()), ..Actor::new(ActorKind::SuperAdmin, id) };
    let started = ctx.app.store().execute::<SuperAdmin>(&origin, id, |state| {
        super_admin::decide_sign_in(state, verified, session_id, expires_at)
    });
    let started = match started.await {
        // Deleted, or given another password, in this moment.
        Err(CommandError::Refused(_)) => return Err(wrong()),
        settled => settled?,
    };
    ctx.settle(started.log_id, started.position).await;
    Ok(session_id)
}

fn refuse_blocked(wait: Option<Duration>) -> Answer<()> {
    wait.map_or(Ok(()), |wait| Err(Problem::too_many_requests(wait)))
}

/// The same for every reason: an answer that tells them apart tells who has an account.
fn wrong() -> Problem {
    Problem::unauthenticated_because("The email or the password is wrong.")
}
