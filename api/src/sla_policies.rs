//! SLA policies.

use chrono::{DateTime, Utc};
use commands::sla_policy::{self, Change, CurrentDefault, in_place_of};
use domain::sla_policy::SlaPolicy as State;
use garde::Validate;
use projections::documents::Document;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::divisions::require_division;
use crate::http::{
    Access, Answer, Body, Created, Json, List, Path, Permission, Route, Versioned, delete, get, patch, post,
};
use crate::resource::{ChannelName, Deleted};
use crate::{App, Ctx};

/// The rows of the policies; those of what became of them are in `sla.rs`.
pub fn routes() -> [Route<App>; 4] {
    let leads = Access::Supervisor(Permission::SlaManage);
    [
        get("/api/sla-policies", "List SLA policies", leads, list),
        post("/api/sla-policies", "Create an SLA policy", leads, create).describe(
            "defaults 300 s, 3600 s, 80 %, priority 0; a new default takes the place of the old one",
        ),
        delete("/api/sla-policies/{id}", "Delete an SLA policy", leads, remove)
            .describe("the default policy cannot be deleted (409)"),
        patch("/api/sla-policies/{id}", "Update an SLA policy", leads, update)
            .describe("running clocks keep the terms that they started with"),
    ]
}

#[derive(Serialize, ToSchema)]
struct SlaPolicy {
    id: Uuid,
    name: String,
    description: Option<String>,
    /// Working seconds.
    first_response_time_secs: i64,
    /// Working seconds.
    resolution_time_secs: i64,
    warning_threshold_pct: i64,
    priority: i64,
    channel: Option<ChannelName>,
    division_id: Option<Uuid>,
    is_active: bool,
    is_default: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct CreateSlaPolicy {
    name: String,
    #[garde(length(chars, max = 1000))]
    description: Option<String>,
    first_response_time_secs: Option<i64>,
    resolution_time_secs: Option<i64>,
    warning_threshold_pct: Option<i64>,
    priority: Option<i64>,
    channel: Option<ChannelName>,
    division_id: Option<Uuid>,
    is_default: Option<bool>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct UpdateSlaPolicy {
    name: Option<String>,
    #[garde(length(chars, max = 1000))]
    description: Option<String>,
    first_response_time_secs: Option<i64>,
    resolution_time_secs: Option<i64>,
    warning_threshold_pct: Option<i64>,
    priority: Option<i64>,
    channel: Option<ChannelName>,
    division_id: Option<Uuid>,
    is_active: Option<bool>,
    is_default: Option<bool>,
}

async fn list(ctx: Ctx) -> Answer<List<SlaPolicy>> {
    Ok(List(ctx.documents::<State>().await?.into_iter().map(shown).collect()))
}

async fn create(ctx: Ctx, Body(new): Body<CreateSlaPolicy>) -> Answer<Created<SlaPolicy>> {
    require_division(&ctx, "division_id", new.division_id).await?;
    let change = Change {
        name: Some(new.name),
        description: new.description,
        first_response_time_secs: new.first_response_time_secs,
        resolution_time_secs: new.resolution_time_secs,
        warning_threshold_pct: new.warning_threshold_pct,
        priority: new.priority,
        channel: new.channel.map(Into::into),
        division_id: new.division_id,
        is_active: None,
        is_default: new.is_default,
    };
    let id = ctx.new_id(1);
    let old = default_besides(&ctx, id).await?;
    let create = |state: &State| Ok(in_place_of(old.as_ref(), sla_policy::create(state, id, &change)?));
    ctx.execute::<State>(id, create).await?;
    Ok(Created(shown(ctx.document(id).await?)))
}

async fn update(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(change): Body<UpdateSlaPolicy>,
) -> Answer<Versioned<SlaPolicy>> {
    ctx.document::<State>(id).await?;
    require_division(&ctx, "division_id", change.division_id).await?;
    let change = Change {
        name: change.name,
        description: change.description,
        first_response_time_secs: change.first_response_time_secs,
        resolution_time_secs: change.resolution_time_secs,
        warning_threshold_pct: change.warning_threshold_pct,
        priority: change.priority,
        channel: change.channel.map(Into::into),
        division_id: change.division_id,
        is_active: change.is_active,
        is_default: change.is_default,
    };
    let old = default_besides(&ctx, id).await?;
    let update = |state: &State| Ok(in_place_of(old.as_ref(), sla_policy::update(state, id, &change)?));
    let done = ctx.execute::<State>(id, update).await?;
    Ok(Versioned { version: done.version, value: shown(ctx.document(id).await?) })
}

async fn remove(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    ctx.execute::<State>(id, sla_policy::delete).await?;
    Ok(Json(Deleted::new("SLA policy", id)))
}

/// There is one default at most: it steps down in the same moment in which another policy takes its place.
async fn default_besides(ctx: &Ctx, id: Uuid) -> Answer<Option<CurrentDefault>> {
    let mut policies = ctx.documents::<State>().await?.into_iter();
    let old = policies.find(|policy| policy.state.terms.is_default && policy.id != id);
    Ok(old.map(|old| CurrentDefault { id: old.id, version: old.version, terms: old.state.terms }))
}

fn shown(document: Document<State>) -> SlaPolicy {
    let terms = document.state.terms;
    SlaPolicy {
        id: document.id,
        name: terms.name,
        description: terms.description,
        first_response_time_secs: terms.first_response_time_secs,
        resolution_time_secs: terms.resolution_time_secs,
        warning_threshold_pct: terms.warning_threshold_pct,
        priority: terms.priority,
        channel: terms.channel.map(Into::into),
        division_id: terms.division_id,
        is_active: terms.is_active,
        is_default: terms.is_default,
        created_at: document.created_at,
        updated_at: document.updated_at,
    }
}
