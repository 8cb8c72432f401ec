//! The people who work in a tenant's inbox.

use commands::agent::{self, Change, NewAgent};
use commands::{password, staff};
use domain::agent::Agent;
use domain::conversation::{Conversation, ConversationEvent, ConversationStatus};
use domain::personal::Secret;
use domain::role::{ADMIN, AGENT, Role, SYSTEM_ROLES};
use garde::Validate;
use projections::documents::Document;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::{
    self, Access, Answer, Body, Created, Group, Json, List, Means, Member, Path, Permission, Permissions,
    Problem, Versioned, delete, get, group, patch, post,
};
use crate::resource::Deleted;
use crate::{App, Ctx};

/// Characters of an address (RFC 5321, section 4.5.3.1.3).
const MAX_EMAIL_LENGTH: usize = 254;
/// Conversations that are unassigned between two looks at what is left.
const UNASSIGNED_AT_ONCE: i64 = 100;

pub fn routes() -> Group<App> {
    let manage = Access::Permission(Permission::AgentsManage);
    group("Agents", [
        get("/api/agents", "List all agents", Access::Any, list),
        post("/api/agents", "Create a new agent", manage, create).describe(
            "email unique per tenant; role defaults to agent; plan limit max_agents. Only an admin makes an admin",
        ),
        get("/api/agents/{id}", "Get an agent by ID", Access::Any, get_one),
        delete("/api/agents/{id}", "Delete an agent", manage, remove).describe(
            "An agent cannot delete itself; the last admin cannot be deleted; only an admin deletes an admin. \
             Open and pending conversations become unassigned",
        ),
        patch("/api/agents/{id}", "Update an agent", Access::Any, update).describe(
            "Own full_name and password; everything else needs agents.manage, and to be an admin where the agent is \
             one or becomes one. The last admin keeps that role. A new password ends every session",
        ),
        patch("/api/agents/{id}/status", "Toggle agent online/offline status", Access::Any, set_status)
            .describe("own status; another's needs agents.manage"),
    ])
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AgentPublic {
    pub id: Uuid,
    pub email: String,
    pub full_name: String,
    pub role: String,
    pub is_online: bool,
}

impl AgentPublic {
    #[must_use]
    pub fn of(id: Uuid, agent: Agent) -> Self {
        let Agent { email, full_name, role, is_online, .. } = agent;
        Self { id, email, full_name, role, is_online }
    }
}

impl From<Document<Agent>> for AgentPublic {
    fn from(agent: Document<Agent>) -> Self {
        Self::of(agent.id, agent.state)
    }
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct CreateAgent {
    #[garde(skip)]
    #[schema(format = "email")]
    email: String,
    #[garde(skip)]
    password: String,
    #[garde(length(chars, min = 1, max = 200))]
    full_name: String,
    /// A system role or the name of a custom one.
    #[garde(skip)]
    role: Option<String>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct UpdateAgent {
    #[garde(skip)]
    #[schema(format = "email")]
    email: Option<String>,
    #[garde(length(chars, min = 1, max = 200))]
    full_name: Option<String>,
    /// A system role or the name of a custom one.
    #[garde(skip)]
    role: Option<String>,
    #[garde(skip)]
    password: Option<String>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct UpdateAgentStatus {
    #[garde(skip)]
    is_online: bool,
}

async fn list(ctx: Ctx) -> Answer<List<AgentPublic>> {
    Ok(List(ctx.documents::<Agent>().await?.into_iter().map(AgentPublic::from).collect()))
}

async fn get_one(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Versioned<AgentPublic>> {
    let agent = ctx.document::<Agent>(id).await?;
    Ok(Versioned { version: agent.version, value: agent.into() })
}

async fn create(ctx: Ctx, Body(new): Body<CreateAgent>) -> Answer<Created<AgentPublic>> {
    let email = email_address("email", &new.email)?;
    let full_name = required_text("full_name", &new.full_name)?;
    let role = known_role(&ctx, new.role.as_deref().unwrap_or(AGENT)).await?;
    if role == ADMIN {
        require_admin(ctx.member()?)?;
    }
    password::check("password", &new.password)?;
    let password_hash = Secret::new(ctx.tenant_id(), password::hash(new.password).await?);
    let new = NewAgent { email, full_name, role, password_hash };
    let (id, origin, limits) = (ctx.new_id(1), ctx.origin(), ctx.limits().await?);
    let created = staff::execute(ctx.app.store(), &origin, id, |state, staff| {
        agent::create(state, id, &new, &limits, staff)
    })
    .await?;
    ctx.settle(created.log_id, created.position).await;
    Ok(Created(AgentPublic::of(id, created.state)))
}

async fn update(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(new): Body<UpdateAgent>,
) -> Answer<Versioned<AgentPublic>> {
    let agent = ctx.document::<Agent>(id).await?.state;
    may_update(ctx.member()?, id, &agent, &new)?;
    let role = match new.role {
        Some(role) => Some(known_role(&ctx, &role).await?),
        None => None,
    };
    if role.as_deref() == Some(ADMIN) && agent.role != ADMIN {
        require_admin(ctx.member()?)?;
    }
    let email = new.email.map(|email| email_address("email", &email)).transpose()?;
    let full_name = new.full_name.map(|name| required_text("full_name", &name)).transpose()?;
    let password_hash = match new.password {
        Some(password) => {
            password::check("password", &password)?;
            Some(Secret::new(ctx.tenant_id(), password::hash(password).await?))
        }
        None => None,
    };
    let change = Change { email, full_name, role, password_hash };
    let origin = ctx.origin();
    let updated =
        staff::execute(ctx.app.store(), &origin, id, |state, staff| agent::update(state, id, &change, staff))
            .await?;
    ctx.settle(updated.log_id, updated.position).await;
    Ok(Versioned { version: updated.version, value: AgentPublic::of(id, updated.state) })
}

async fn set_status(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(status): Body<UpdateAgentStatus>,
) -> Answer<Versioned<AgentPublic>> {
    ctx.document::<Agent>(id).await?;
    let member = ctx.member()?;
    if member.agent_id != id {
        member.require(Permission::AgentsManage)?;
    }
    let changed = ctx.execute::<Agent>(id, |state| agent::set_online(state, status.is_online)).await?;
    Ok(Versioned { version: changed.version, value: AgentPublic::of(id, changed.state) })
}

async fn remove(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    let doomed = ctx.document::<Agent>(id).await?;
    if ctx.member()?.agent_id == id {
        return Err(Problem::conflict("own_account", "You cannot delete yourself."));
    }
    if doomed.state.role == ADMIN {
        require_admin(ctx.member()?)?;
    }
    let (store, origin) = (ctx.app.store(), ctx.origin());
    if origin.if_version.is_some_and(|version| version != doomed.version) {
        return Err(Problem::stale());
    }
    // Refused before anything is taken away; decided again when it happens.
    agent::delete(&doomed.state, id, &staff::Staff::read(store, &origin).await?)?;
    // First, so that a repetition finishes what was interrupted.
    unassign_conversations(&ctx, id).await?;
    let deleted = staff::execute(store, &origin, id, |state, staff| agent::delete(state, id, staff)).await?;
    ctx.settle(deleted.log_id, deleted.position).await;
    // Again, for what was assigned in between; after the deletion nothing more is.
    unassign_conversations(&ctx, id).await?;
    Ok(Json(Deleted::new("agent", id)))
}

/// Takes the conversations that are not resolved off an agent.
async fn unassign_conversations(ctx: &Ctx, agent_id: Uuid) -> Answer<()> {
    let mut after = Uuid::nil();
    loop {
        let page: Vec<Uuid> = sqlx::query_scalar(
            "SELECT id FROM read.conversations
             WHERE tenant_id = $1 AND assigned_agent_id = $2 AND status <> $3 AND id > $4 ORDER BY id LIMIT $5",
        )
        .bind(ctx.tenant_id())
        .bind(agent_id)
        .bind(ConversationStatus::Resolved.as_str())
        .bind(after)
        .bind(UNASSIGNED_AT_ONCE)
        .fetch_all(&mut *ctx.reader().await?)
        .await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = *last;
        for id in page {
            let origin = ctx.origin().part(&format!("unassign {id}"));
            ctx.execute_as::<Conversation>(&origin, id, |state| {
                let is_theirs = state.assigned_agent_id == Some(agent_id);
                Ok(if is_theirs { vec![ConversationEvent::Unassigned] } else { Vec::new() }.into())
            })
            .await?;
        }
    }
}

/// Own name and password are everyone's; an admin's account is other admins' only, whoever manages agents: otherwise
/// that permission would lead to every other one.
fn may_update(member: &Member, id: Uuid, agent: &Agent, new: &UpdateAgent) -> Answer<()> {
    // A key that was cut down must not become a session that is not.
    let is_self = member.agent_id == id && (new.password.is_none() || acts_in_full(member));
    if is_self && new.email.is_none() && new.role.is_none() {
        return Ok(());
    }
    member.require(Permission::AgentsManage)?;
    if agent.role == ADMIN { require_admin(member) } else { Ok(()) }
}

/// # Errors
/// 403 unless the caller administers, in person or with a key that was not cut down.
fn require_admin(member: &Member) -> Answer<()> {
    if member.role == http::Role::Admin && acts_in_full(member) {
        return Ok(());
    }
    Err(Problem::forbidden("Only an admin decides about admins."))
}

fn acts_in_full(member: &Member) -> bool {
    match member.means {
        Means::Session { .. } => true,
        Means::ApiKey { scopes, .. } => scopes == Permissions::ALL,
    }
}

/// The role's name as it is kept.
async fn known_role(ctx: &Ctx, name: &str) -> Answer<String> {
    let name = name.trim().to_lowercase();
    let is_known = SYSTEM_ROLES.contains(&name.as_str())
        || ctx.documents::<Role>().await?.iter().any(|role| role.state.name == name);
    if is_known { Ok(name) } else { Err(Problem::invalid("role", "names no role of yours")) }
}

/// An address as it is kept: trimmed, in lower case.
///
/// # Errors
/// 422 naming the field.
pub fn email_address(field: &str, text: &str) -> Answer<String> {
    let email = text.trim().to_lowercase();
    if email.chars().count() > MAX_EMAIL_LENGTH {
        return Err(Problem::invalid(field, format!("must have at most {MAX_EMAIL_LENGTH} characters")));
    }
    match garde::rules::email::parse_email(&email) {
        Ok(()) => Ok(email),
        Err(_) => Err(Problem::invalid(field, "is not an email address")),
    }
}

/// Text without the spaces around it.
///
/// # Errors
/// 422 naming the field, if nothing is left.
pub fn required_text(field: &str, text: &str) -> Answer<String> {
    match text.trim() {
        "" => Err(Problem::invalid(field, "must not be blank")),
        text => Ok(text.to_owned()),
    }
}
