//! Roles: the three system roles and a tenant's own.

use chrono::{DateTime, Utc};
use commands::role::{self, Definition};
use domain::agent::Agent;
use domain::event::PLATFORM_TENANT;
use domain::organization::Organization;
use domain::role::{ADMIN, AGENT, Role, SUPERVISOR};
use garde::Validate;
use projections::documents::{self, Document};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::{
    self, Access, Answer, Body, Created, Group, Json, List, Path, Permission, Problem, Versioned, delete,
    get, group, patch, post,
};
use crate::resource::Deleted;
use crate::{App, Ctx};

pub fn routes() -> Group<App> {
    group(
        "Roles",
        [
            get("/api/roles", "List all roles with permissions", Access::Admin, list),
            post("/api/roles", "Create a custom role", Access::Admin, create)
                .describe("name lower-cased, not a system role's, unique"),
            get("/api/roles/{id}", "Get a single role with permissions", Access::Admin, get_one),
            delete("/api/roles/{id}", "Delete a custom role", Access::Admin, remove)
                .describe("409 for a system role or one in use"),
            patch("/api/roles/{id}", "Update a role", Access::Admin, update)
                .describe("permissions are replaced; a system role's name and permissions are fixed"),
            get("/api/permissions", "List all available permissions", Access::Admin, permissions),
        ],
    )
}

#[derive(Serialize, ToSchema)]
struct RoleWithPermissions {
    id: Uuid,
    name: String,
    description: Option<String>,
    /// Cannot be changed or deleted.
    is_system: bool,
    permissions: Vec<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct CreateRole {
    #[garde(length(min = 1, max = 100))]
    name: String,
    /// Permission codes; see `GET /api/permissions`.
    #[garde(skip)]
    permissions: Vec<String>,
    #[garde(length(max = 1000))]
    description: Option<String>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct UpdateRole {
    #[garde(length(min = 1, max = 100))]
    name: Option<String>,
    #[garde(length(max = 1000))]
    description: Option<String>,
    /// Replaces the whole list.
    #[garde(skip)]
    permissions: Option<Vec<String>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Permission)]
struct PermissionInfo {
    id: Uuid,
    code: &'static str,
    name: &'static str,
    description: &'static str,
    category: &'static str,
}

async fn list(ctx: Ctx) -> Answer<List<RoleWithPermissions>> {
    let mut roles = system_roles(&ctx).await?;
    roles.extend(ctx.documents::<Role>().await?.into_iter().map(shown));
    Ok(List(roles))
}

async fn get_one(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Versioned<RoleWithPermissions>> {
    if let Some(role) = system_roles(&ctx).await?.into_iter().find(|role| role.id == id) {
        return Ok(Versioned { version: 0, value: role });
    }
    let role = ctx.document::<Role>(id).await?;
    Ok(Versioned { version: role.version, value: shown(role) })
}

async fn create(ctx: Ctx, Body(new): Body<CreateRole>) -> Answer<Created<RoleWithPermissions>> {
    let id = ctx.new_id(1);
    let permissions = known_codes("permissions", new.permissions)?;
    let definition = Definition { name: new.name, description: new.description, permissions };
    ctx.execute::<Role>(id, |state| role::create(state, id, &definition)).await?;
    Ok(Created(shown(ctx.document(id).await?)))
}

async fn update(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(change): Body<UpdateRole>,
) -> Answer<Versioned<RoleWithPermissions>> {
    refuse_system_role(id)?;
    let permissions = change.permissions.map(|codes| known_codes("permissions", codes)).transpose()?;
    let (name, description) = (change.name.as_deref(), change.description.as_deref());
    let agents: Vec<(Uuid, i64)> =
        agents_with(&ctx, id).await?.into_iter().map(|agent| (agent.id, agent.version)).collect();
    ctx.execute::<Role>(id, |state| {
        role::update(state, id, name, description, permissions.as_deref(), &agents)
    })
    .await?;
    get_one(ctx, Path(id)).await
}

async fn remove(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    refuse_system_role(id)?;
    let agents = agents_with(&ctx, id).await?.len();
    ctx.execute::<Role>(id, |state| role::delete(state, id, agents)).await?;
    Ok(Json(Deleted::new("role", id)))
}

/// The agents who have a custom role.
async fn agents_with(ctx: &Ctx, role_id: Uuid) -> Answer<Vec<Document<Agent>>> {
    let name = ctx.document::<Role>(role_id).await?.state.name;
    let agents = ctx.documents::<Agent>().await?.into_iter();
    Ok(agents.filter(|agent| agent.state.role == name).collect())
}

async fn permissions(_: Ctx) -> Answer<List<PermissionInfo>> {
    let info = |p: &Permission| PermissionInfo {
        id: p.id(),
        code: p.code(),
        name: p.name(),
        description: p.description(),
        category: p.category(),
    };
    Ok(List(Permission::ALL.iter().map(info).collect()))
}

/// A system role's id is the same in every tenant.
fn system_role_id(name: &str) -> Uuid {
    commands::ids::named_id(PLATFORM_TENANT, &format!("role:{name}"))
}

fn refuse_system_role(id: Uuid) -> Answer<()> {
    if [ADMIN, SUPERVISOR, AGENT].iter().any(|name| system_role_id(name) == id) {
        return Err(Problem::conflict("system_role", "A system role cannot be changed or deleted."));
    }
    Ok(())
}

/// They exist as long as the tenant does.
async fn system_roles(ctx: &Ctx) -> Answer<Vec<RoleWithPermissions>> {
    let mut db = ctx.app.store().pool().acquire().await?;
    let organization: Option<Document<Organization>> =
        documents::get(&mut db, PLATFORM_TENANT, ctx.tenant_id()).await?;
    let since = organization.map(|o| o.created_at).unwrap_or_default();
    let roles = [http::Role::Admin, http::Role::Supervisor, http::Role::Agent];
    Ok(roles
        .into_iter()
        .map(|role| RoleWithPermissions {
            id: system_role_id(role.name()),
            name: role.name().to_owned(),
            description: None,
            is_system: true,
            permissions: role.permissions().iter().map(|p| p.code().to_owned()).collect(),
            created_at: since,
            updated_at: since,
        })
        .collect())
}

fn shown(role: Document<Role>) -> RoleWithPermissions {
    let Role { name, description, permissions, .. } = role.state;
    RoleWithPermissions {
        id: role.id,
        name,
        description,
        is_system: false,
        permissions,
        created_at: role.created_at,
        updated_at: role.updated_at,
    }
}

/// Permission codes, sorted, without doubles.
///
/// # Errors
/// 422 naming the first one that is none.
pub(crate) fn known_codes(field: &str, codes: Vec<String>) -> Answer<Vec<String>> {
    for (index, code) in codes.iter().enumerate() {
        if Permission::from_code(code).is_none() {
            return Err(Problem::invalid(format!("{field}[{index}]"), format!("{code} is not a permission")));
        }
    }
    Ok(codes.into_iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect())
}
