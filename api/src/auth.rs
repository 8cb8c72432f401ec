//! Signing in and out, and registering an organization.

use axum::http::{HeaderValue, header};
use chrono::TimeDelta;
use commands::agent as agents;
use commands::organization::{self, Registration};
use commands::password;
use commands::sign_in_limit::{Attempt, Realm};
use commands::store::Origin;
use domain::agent::Agent;
use domain::event::{Actor, ActorKind, PLATFORM_TENANT};
use domain::organization::{Organization, OrganizationStatus};
use domain::personal::Secret;
use garde::Validate;
use projections::documents::{self, Document, Lookup};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::agents::{AgentPublic, email_address, required_text};
use crate::http::context::SESSION_COOKIE;
use crate::http::{Access, Answer, Body, Created, Group, Json, Means, Problem, Versioned, get, group, post};
use crate::resource::MessageOnly;
use crate::token::{SESSION_LIFETIME, TOKEN_LIFETIME};
use crate::{App, Ctx};

/// Tenants that one address may be tried in: each costs a password hash.
const MAX_CANDIDATES: usize = 10;

pub fn routes() -> Group<App> {
    group("Auth", [
        post("/api/auth/login", "Login with email and password", Access::Public, login).describe(
            "The JWT comes in the body and as the httpOnly cookie access_token. Failures are limited per account (10) \
             and address (30) in 15 minutes; then 429",
        ),
        get("/api/auth/me", "Get current agent profile", Access::Any, me),
        post("/api/auth/logout", "Logout (clears cookie)", Access::Any, logout)
            .describe("The token's session is revoked, not only the cookie cleared; 403 for an API key, which has none"),
        get("/api/auth/token", "Issue a fresh JWT for the current session", Access::Any, token)
            .describe("403 for an API key: it has no session"),
        post("/api/auth/register", "Register a new tenant organization", Access::Public, register)
            .describe("admin_password has at least 6 characters. The token works at once"),
    ])
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    #[garde(skip)]
    #[schema(format = "email")]
    pub email: String,
    #[garde(skip)]
    pub password: String,
}

#[derive(Serialize, ToSchema)]
struct LoginResponse {
    token: String,
    agent: AgentPublic,
}

#[derive(Serialize, ToSchema)]
struct TokenResponse {
    token: String,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct RegisterRequest {
    #[garde(length(chars, min = 1, max = 200))]
    org_name: String,
    #[garde(skip)]
    #[schema(format = "email")]
    admin_email: String,
    #[garde(skip)]
    admin_password: String,
}

#[derive(Serialize, ToSchema)]
struct RegisterResponse {
    token: String,
    /// Also the tenant's id.
    org_id: Uuid,
    message: String,
}

async fn register(ctx: Ctx, Body(new): Body<RegisterRequest>) -> Answer<Created<RegisterResponse>> {
    let name = required_text("org_name", &new.org_name)?;
    let admin_email = email_address("admin_email", &new.admin_email)?;
    password::check("admin_password", &new.admin_password)?;
    let (org_id, agent_id) = (ctx.new_id(1), ctx.new_id(2));
    let origin = origin_as(&ctx, org_id, agent_id, &admin_email);
    let registration = Registration {
        organization_id: org_id,
        agent_id,
        name,
        slug: None,
        country: None,
        limits: None,
        admin_email,
        admin_password: new.admin_password,
    };
    let made = organization::register(ctx.app.store(), &origin, registration).await?;
    ctx.settle(made.organization.log_id, made.organization.position).await;
    let proven =
        made.admin.state.password_hash.ok_or_else(|| Problem::internal("an agent without a password"))?;
    let (token, _) = start_session(&ctx, &origin, agent_id, &proven).await?;
    let message = "The organization is registered.".to_owned();
    Ok(Created(RegisterResponse { token, org_id, message }))
}

async fn login(ctx: Ctx, Body(credentials): Body<LoginRequest>) -> Answer<Json<LoginResponse>> {
    let store = ctx.app.store();
    let email = email_address("email", &credentials.email)?;
    let attempt = Attempt::new(store, Realm::Tenants, &email, ctx.ip);
    if let Some(wait) = attempt.blocked_for(store).await? {
        return Err(Problem::too_many_requests(wait));
    }
    let Some(found) = find_account(&ctx, &email, &credentials.password).await? else {
        return Err(match attempt.failed(store).await? {
            Some(wait) => Problem::too_many_requests(wait),
            None => Problem::unauthenticated_because("The email or the password is wrong."),
        });
    };
    if let Some(wait) = attempt.succeeded(store).await? {
        return Err(Problem::too_many_requests(wait));
    }
    if !found.may_sign_in {
        return Err(Problem::new(
            axum::http::StatusCode::FORBIDDEN,
            "suspended",
            "The account is suspended.",
        ));
    }
    let origin = origin_as(&ctx, found.tenant_id, found.agent_id, &found.name);
    let (token, agent) = start_session(&ctx, &origin, found.agent_id, &found.proven).await?;
    Ok(Json(LoginResponse { token, agent: AgentPublic::of(found.agent_id, agent) }))
}

async fn me(ctx: Ctx) -> Answer<Versioned<AgentPublic>> {
    let agent = ctx.document::<Agent>(ctx.member()?.agent_id).await?;
    Ok(Versioned { version: agent.version, value: agent.into() })
}

async fn logout(ctx: Ctx) -> Answer<Json<MessageOnly>> {
    let (agent_id, session_id) = session(&ctx)?;
    let now = ctx.app.store().clock().now();
    ctx.execute::<Agent>(agent_id, |state| agents::sign_out(state, session_id, now)).await?;
    set_cookie(&ctx, "", TimeDelta::zero())?;
    Ok(Json(MessageOnly::new("You are signed out.")))
}

async fn token(ctx: Ctx) -> Answer<Json<TokenResponse>> {
    let (agent_id, session_id) = session(&ctx)?;
    let member = ctx.member()?;
    let token = ctx.app.tokens().for_agent(member.tenant_id, agent_id, session_id, member.impersonator)?;
    set_cookie(&ctx, &token, TOKEN_LIFETIME)?;
    Ok(Json(TokenResponse { token }))
}

/// The caller's agent and session; an API key has none.
fn session(ctx: &Ctx) -> Answer<(Uuid, Uuid)> {
    let member = ctx.member()?;
    match member.means {
        Means::Session { id } => Ok((member.agent_id, id)),
        Means::ApiKey { .. } => Err(Problem::forbidden("This needs a session; an API key has none.")),
    }
}

/// Whose password it was.
struct Account {
    tenant_id: Uuid,
    agent_id: Uuid,
    name: String,
    /// The hash that the password fits.
    proven: Secret,
    may_sign_in: bool,
}

/// The first account of this address that the password fits; one that may sign in, if there is any.
async fn find_account(ctx: &Ctx, email: &str, password: &str) -> Answer<Option<Account>> {
    let candidates: Vec<(Uuid, Document<Agent>)> = {
        let mut db = ctx.app.store().pool().acquire().await?;
        documents::find_anywhere(&mut db, Lookup::Email, email).await?
    };
    if candidates.is_empty() {
        password::verify(password.to_owned(), None).await;
    }
    let mut barred = None;
    for (tenant_id, agent) in candidates.into_iter().take(MAX_CANDIDATES) {
        let Some(proven) = agent.state.password_hash else { continue };
        let hash = ctx.app.store().vault().open_secret(tenant_id, &proven).await?;
        if !password::verify(password.to_owned(), Some(hash)).await {
            continue;
        }
        let may_sign_in = !agent.state.is_suspended && is_open(ctx, tenant_id).await?;
        let account =
            Account { tenant_id, agent_id: agent.id, name: agent.state.full_name, proven, may_sign_in };
        if may_sign_in {
            return Ok(Some(account));
        }
        barred.get_or_insert(account);
    }
    Ok(barred)
}

/// Whether the organization is not suspended.
async fn is_open(ctx: &Ctx, tenant_id: Uuid) -> Answer<bool> {
    let mut db = ctx.app.store().pool().acquire().await?;
    let organization: Option<Document<Organization>> =
        documents::get(&mut db, PLATFORM_TENANT, tenant_id).await?;
    Ok(organization.is_some_and(|o| o.state.status != OrganizationStatus::Suspended))
}

/// A public request's command, done by the agent that it proves to come from.
fn origin_as(ctx: &Ctx, tenant_id: Uuid, agent_id: Uuid, name: &str) -> Origin {
    let mut origin = ctx.origin_in(tenant_id);
    origin.metadata.actor = Actor { name: Some(name.to_owned()), ..Actor::new(ActorKind::Agent, agent_id) };
    origin
}

/// Signs an agent in: token and cookie. `proven` is the hash that the password fits.
async fn start_session(
    ctx: &Ctx,
    origin: &Origin,
    agent_id: Uuid,
    proven: &Secret,
) -> Answer<(String, Agent)> {
    let session_id = ctx.new_id(3);
    let expires_at = ctx.app.store().clock().now() + SESSION_LIFETIME;
    let started = ctx
        .execute_as::<Agent>(&origin.part("sign in"), agent_id, |state| {
            agents::sign_in(state, proven, session_id, expires_at)
        })
        .await?;
    let token = ctx.app.tokens().for_agent(origin.tenant_id, agent_id, session_id, None)?;
    set_cookie(ctx, &token, TOKEN_LIFETIME)?;
    Ok((token, started.state))
}

/// For browsers. Scripts can't read it, other sites' forms don't send it.
fn set_cookie(ctx: &Ctx, token: &str, lifetime: TimeDelta) -> Answer<()> {
    let secure = if ctx.app.public_url().starts_with("https://") { "; Secure" } else { "" };
    let age = lifetime.num_seconds();
    let cookie = format!("{SESSION_COOKIE}={token}; HttpOnly; SameSite=Lax; Path=/; Max-Age={age}{secure}");
    ctx.set_header(header::SET_COOKIE, HeaderValue::try_from(cookie).map_err(Problem::internal)?);
    Ok(())
}
