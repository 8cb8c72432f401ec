//! Divisions and who is in them.

use chrono::{DateTime, Utc};
use commands::division::{self, Change};
use domain::agent::Agent;
use domain::allocation::AllocationMethod;
use domain::division::Division as State;
use garde::Validate;
use projections::documents::Document;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::agents::AgentPublic;
use crate::http::{
    Access, Answer, Body, Created, Group, Json, List, Path, Permission, Versioned, delete, get, group, patch,
    post,
};
use crate::resource::Deleted;
use crate::{App, Ctx};

/// Agents named in one request.
const MAX_IDS: usize = 100;

pub fn routes() -> Group<App> {
    let leads = Access::Supervisor(Permission::DivisionsManage);
    group(
        "Divisions",
        [
            get("/api/divisions", "List divisions", leads, list),
            post("/api/divisions", "Create a division", leads, create).describe("name unique per tenant"),
            get("/api/divisions/{id}", "Get a division with agents", leads, get_one),
            delete("/api/divisions/{id}", "Delete a division", leads, remove),
            patch("/api/divisions/{id}", "Update a division", leads, update),
            get("/api/divisions/{id}/agents", "List agents in a division", leads, agents),
            post("/api/divisions/{id}/agents", "Assign agents to a division", leads, add_agents),
            delete("/api/divisions/{id}/agents", "Remove agents from a division", leads, remove_agents),
        ],
    )
}

#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Allocation {
    /// Agents take conversations themselves.
    Manual,
    /// Online agents in turn, the longest idle first.
    RoundRobin,
    /// The online agent with the fewest open conversations.
    LeastBusy,
}

impl From<Allocation> for AllocationMethod {
    fn from(method: Allocation) -> Self {
        match method {
            Allocation::Manual => Self::Manual,
            Allocation::RoundRobin => Self::RoundRobin,
            Allocation::LeastBusy => Self::LeastBusy,
        }
    }
}

impl From<AllocationMethod> for Allocation {
    fn from(method: AllocationMethod) -> Self {
        match method {
            AllocationMethod::Manual => Self::Manual,
            AllocationMethod::RoundRobin => Self::RoundRobin,
            AllocationMethod::LeastBusy => Self::LeastBusy,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct Division {
    id: Uuid,
    name: String,
    description: String,
    allocation_method: Allocation,
    is_active: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
struct DivisionWithCount {
    #[serde(flatten)]
    division: Division,
    agent_count: i64,
}

#[derive(Serialize, ToSchema)]
struct DivisionWithAgents {
    #[serde(flatten)]
    division: Division,
    agents: Vec<AgentPublic>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct CreateDivision {
    #[garde(length(chars, min = 1, max = 100))]
    name: String,
    #[garde(length(chars, max = 1000))]
    description: Option<String>,
    #[garde(skip)]
    allocation_method: Option<Allocation>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct UpdateDivision {
    #[garde(length(chars, min = 1, max = 100))]
    name: Option<String>,
    #[garde(length(chars, max = 1000))]
    description: Option<String>,
    #[garde(skip)]
    allocation_method: Option<Allocation>,
    #[garde(skip)]
    is_active: Option<bool>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct AgentIds {
    #[garde(length(min = 1, max = MAX_IDS))]
    agent_ids: Vec<Uuid>,
}

#[derive(Serialize, ToSchema)]
struct DivisionAgentsResult {
    message: String,
    /// Agents in the division after the change.
    agent_count: i64,
}

async fn list(ctx: Ctx) -> Answer<List<DivisionWithCount>> {
    let divisions = ctx.documents::<State>().await?;
    let agents = ctx.documents::<Agent>().await?;
    let counted = |division: Document<State>| DivisionWithCount {
        agent_count: count(&division.state, &agents),
        division: shown(division),
    };
    Ok(List(divisions.into_iter().map(counted).collect()))
}

async fn create(ctx: Ctx, Body(new): Body<CreateDivision>) -> Answer<Created<Division>> {
    let id = ctx.new_id(1);
    let change = Change {
        name: Some(new.name),
        description: new.description,
        allocation_method: new.allocation_method.map(Into::into),
        is_active: None,
    };
    ctx.execute::<State>(id, |state| division::create(state, id, &change)).await?;
    Ok(Created(shown(ctx.document(id).await?)))
}

async fn get_one(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Versioned<DivisionWithAgents>> {
    let document = ctx.document::<State>(id).await?;
    let agents = members(&ctx, &document.state).await?;
    let version = document.version;
    Ok(Versioned { version, value: DivisionWithAgents { division: shown(document), agents } })
}

async fn update(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(change): Body<UpdateDivision>,
) -> Answer<Versioned<Division>> {
    let change = Change {
        name: change.name,
        description: change.description,
        allocation_method: change.allocation_method.map(Into::into),
        is_active: change.is_active,
    };
    let done = ctx.execute::<State>(id, |state| division::update(state, id, &change)).await?;
    Ok(Versioned { version: done.version, value: shown(ctx.document(id).await?) })
}

async fn remove(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    ctx.execute::<State>(id, |state| division::delete(state, id)).await?;
    Ok(Json(Deleted::new("division", id)))
}

async fn agents(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<List<AgentPublic>> {
    let document = ctx.document::<State>(id).await?;
    Ok(List(members(&ctx, &document.state).await?))
}

async fn add_agents(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(new): Body<AgentIds>,
) -> Answer<Json<DivisionAgentsResult>> {
    ctx.document::<State>(id).await?;
    for (index, agent_id) in new.agent_ids.iter().enumerate() {
        ctx.require::<Agent>(&format!("agent_ids[{index}]"), *agent_id).await?;
    }
    let done = ctx.execute::<State>(id, |state| division::add_agents(state, &new.agent_ids)).await?;
    result(&ctx, "The agents are in the division.", &done.state).await
}

async fn remove_agents(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(gone): Body<AgentIds>,
) -> Answer<Json<DivisionAgentsResult>> {
    let division = ctx.document::<State>(id).await?.state;
    for (index, agent_id) in gone.agent_ids.iter().enumerate() {
        // Whoever was deleted may still be taken off the list.
        if !division.agents.contains(agent_id) {
            ctx.require::<Agent>(&format!("agent_ids[{index}]"), *agent_id).await?;
        }
    }
    let done = ctx.execute::<State>(id, |state| division::remove_agents(state, &gone.agent_ids)).await?;
    result(&ctx, "The agents are no longer in the division.", &done.state).await
}

async fn result(ctx: &Ctx, message: &str, division: &State) -> Answer<Json<DivisionAgentsResult>> {
    let agent_count = count(division, &ctx.documents::<Agent>().await?);
    Ok(Json(DivisionAgentsResult { message: message.to_owned(), agent_count }))
}

async fn members(ctx: &Ctx, division: &State) -> Answer<Vec<AgentPublic>> {
    let agents = ctx.documents::<Agent>().await?;
    Ok(members_of(division, &agents).cloned().map(AgentPublic::from).collect())
}

fn count(division: &State, agents: &[Document<Agent>]) -> i64 {
    i64::try_from(members_of(division, agents).count()).unwrap_or(i64::MAX)
}

/// Those that still exist: a deleted agent stays in the list of ids, and is neither shown nor counted.
fn members_of<'a>(
    division: &'a State,
    agents: &'a [Document<Agent>],
) -> impl Iterator<Item = &'a Document<Agent>> {
    agents.iter().filter(|agent| division.agents.contains(&agent.id))
}

fn shown(document: Document<State>) -> Division {
    let State { name, description, allocation_method, is_active, .. } = document.state;
    Division {
        id: document.id,
        name,
        description,
        allocation_method: allocation_method.into(),
        is_active,
        created_at: document.created_at,
        updated_at: document.updated_at,
    }
}

/// Refuses a division id in a body that names nothing.
pub(crate) async fn require_division(ctx: &Ctx, field: &str, id: Option<Uuid>) -> Answer<()> {
    if let Some(id) = id {
        ctx.require::<State>(field, id).await?;
    }
    Ok(())
}
