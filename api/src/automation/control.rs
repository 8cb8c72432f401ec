//! The switch that pauses all automation of a tenant, and what its workers did.

use chrono::{DateTime, Utc};
use commands::automation_control;
use domain::automation::Control;
use domain::automation_control::{AutomationControl as State, stream_id};
use domain::event::PLATFORM_TENANT;
use domain::organization::Organization;
use projections::documents;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::LEADS;
use super::wire::{Written, unreadable};
use crate::http::{Answer, Body, Route, Versioned, get, patch};
use crate::{App, Ctx};

pub(super) fn routes() -> [Route<App>; 2] {
    [
        get("/api/automation-control", "Get global automation control state", LEADS, get_one),
        patch("/api/automation-control", "Update global automation control state", LEADS, update).describe(
            "While paused, events wait as pending. paused_until ends the pause by itself. What has waited for more than \
             24 hours then no longer writes to customers.",
        ),
    ]
}

#[derive(Serialize, ToSchema)]
struct AutomationControl {
    /// Always true: there is one per tenant.
    singleton: bool,
    is_paused: bool,
    updated_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_until: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_by: Option<Uuid>,
}

#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "documents a body that the domain reads")]
struct UpdateAutomationControl {
    is_paused: bool,
    /// Only with a pause.
    pause_reason: Option<String>,
    /// Only with a pause; in the future.
    paused_until: Option<DateTime<Utc>>,
}

async fn get_one(ctx: Ctx) -> Answer<Versioned<AutomationControl>> {
    let document = ctx.find_document::<State>(stream_id(ctx.tenant_id())).await?;
    let Some(document) = document else {
        let value = AutomationControl {
            singleton: true,
            is_paused: false,
            updated_at: tenant_since(&ctx).await?,
            pause_reason: None,
            paused_until: None,
            updated_by: None,
        };
        return Ok(Versioned { version: 0, value });
    };
    // A pause that has ended by itself shows as ended.
    let paused = document.state.control.paused_at(ctx.app.store().clock().now());
    let Control { pause_reason, paused_until, .. } = document.state.control;
    let value = AutomationControl {
        singleton: true,
        is_paused: paused,
        updated_at: document.updated_at,
        pause_reason: pause_reason.filter(|_| paused),
        paused_until: paused_until.filter(|_| paused),
        updated_by: document.state.updated_by,
    };
    Ok(Versioned { version: document.version, value })
}

async fn update(
    ctx: Ctx,
    Body(body): Body<Written<UpdateAutomationControl>>,
) -> Answer<Versioned<AutomationControl>> {
    let wanted = Control::parse_change(&body.0, ctx.app.store().clock().now()).map_err(unreadable)?;
    let by = Some(ctx.member()?.agent_id);
    let id = stream_id(ctx.tenant_id());
    ctx.execute::<State>(id, |state| automation_control::set(state, &wanted, by)).await?;
    get_one(ctx).await
}

/// The switch is as old as its tenant until somebody touches it.
async fn tenant_since(ctx: &Ctx) -> Answer<DateTime<Utc>> {
    let mut db = ctx.app.store().pool().acquire().await?;
    let organization = documents::get::<Organization>(&mut db, PLATFORM_TENANT, ctx.tenant_id()).await?;
    Ok(organization.map(|organization| organization.created_at).unwrap_or_default())
}
