//! SLA policies.

use chrono::{DateTime, Utc};
use commands::sla_policy::{self, Change};
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
    sla_policy::create(&State::default(), id, &change)?;
    make_room(&ctx, id, change.is_default).await?;
    ctx.execute::<State>(id, |state| sla_policy::create(state, id, &change)).await?;
    Ok(Created(shown(ctx.document(id).await?)))
}

async fn update(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(change): Body<UpdateSlaPolicy>,
) -> Answer<Versioned<SlaPolicy>> {
    let before = ctx.document::<State>(id).await?;
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
    sla_policy::update(&before.state, id, &change)?;
    make_room(&ctx, id, change.is_default).await?;
    let done = ctx.execute::<State>(id, |state| sla_policy::update(state, id, &change)).await?;
    Ok(Versioned { version: done.version, value: shown(ctx.document(id).await?) })
}

async fn remove(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    ctx.execute::<State>(id, sla_policy::delete).await?;
    Ok(Json(Deleted::new("SLA policy", id)))
}

/// There is one default at most: the old one steps down before a new one takes its claim, once it is clear
/// that the new one is not refused.
async fn make_room(ctx: &Ctx, id: Uuid, is_default: Option<bool>) -> Answer<()> {
    if is_default != Some(true) {
        return Ok(());
    }
    let defaults =
        ctx.documents::<State>().await?.into_iter().filter(|d| d.state.terms.is_default && d.id != id);
    for old in defaults {
        let origin = ctx.origin().part(&format!("step down {}", old.id));
        ctx.execute_as::<State>(&origin, old.id, |state| Ok(sla_policy::step_down(state, old.id))).await?;
    }
    Ok(())
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
