//! When a tenant works: globally, by division, and in which time zone.

use chrono::{DateTime, Utc};
use commands::{division, tenant_settings};
use domain::division::Division;
use domain::event::PLATFORM_TENANT;
use domain::organization::{Organization, OrganizationStatus};
use domain::tenant_settings::{TenantSettings, stream_id};
use domain::working_hours::{self as rules, DaySchedule as Window};
use garde::Validate;
use projections::documents;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::http::{
    Access, Answer, Body, Group, Json, List, Path, Permission, Problem, Query, delete, get, group, put,
};
use crate::resource::MessageOnly;
use crate::{App, Ctx};

pub fn routes() -> Group<App> {
    let settings = Access::Permission(Permission::SettingsManage);
    let of_division = "/api/divisions/{id}/working-hours";
    group(
        "Working Hours",
        [
            get("/api/working-hours", "List global working hours", Access::Any, list),
            put("/api/working-hours", "Upsert global working hours", settings, set)
                .describe("times HH:MM; end 24:00 allowed; start before end"),
            get(of_division, "List division working hours", Access::Any, list_of_division),
            put(of_division, "Upsert division working hours override", settings, set_of_division),
            delete(of_division, "Delete division working hours override", settings, remove_of_division),
            get("/api/tenant/timezone", "Get tenant timezone", Access::Any, time_zone),
            put("/api/tenant/timezone", "Update tenant timezone", settings, set_time_zone)
                .describe("an IANA name, else 422"),
            get("/api/working-hours/status", "Check working hours status (public)", Access::Public, status)
                .describe("org is the slug"),
        ],
    )
}

#[derive(Serialize, ToSchema)]
struct WorkingHours {
    id: Uuid,
    /// 0 = Sunday.
    day_of_week: i64,
    start_time: String,
    end_time: String,
    is_active: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    division_id: Option<Uuid>,
}

#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DaySchedule {
    /// 0 = Sunday, 6 = Saturday.
    day_of_week: i64,
    /// `HH:MM`, in the tenant's time zone.
    start_time: String,
    /// `HH:MM`, after the start; `24:00` is the end of the day.
    end_time: String,
    is_active: bool,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct UpsertWorkingHours {
    /// The whole week; replaces what was there.
    #[garde(length(max = rules::MAX_WINDOWS))]
    schedule: Vec<DaySchedule>,
}

#[derive(Deserialize, Serialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct TenantTimezone {
    #[garde(length(chars, min = 1, max = 64))]
    timezone: String,
}

#[derive(Deserialize, IntoParams, Validate)]
struct StatusQuery {
    #[garde(length(chars, min = 1, max = 100))]
    org: String,
    #[garde(skip)]
    division_id: Option<Uuid>,
}

#[derive(Serialize, ToSchema)]
struct WorkingStatus {
    is_open: bool,
    timezone: String,
    checked_at: DateTime<Utc>,
    next_open_at: Option<DateTime<Utc>>,
}

async fn list(ctx: Ctx) -> Answer<List<WorkingHours>> {
    let settings = settings_of(&ctx).await?;
    let changed = settings.working_hours_changed_at.unwrap_or_default();
    Ok(List(rows(ctx.tenant_id(), None, &settings.working_hours, changed)))
}

async fn set(ctx: Ctx, Body(new): Body<UpsertWorkingHours>) -> Answer<List<WorkingHours>> {
    let schedule = windows(new);
    let id = stream_id(ctx.tenant_id());
    ctx.execute::<TenantSettings>(id, |state| tenant_settings::set_working_hours(state, &schedule)).await?;
    list(ctx).await
}

async fn list_of_division(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<List<WorkingHours>> {
    let state = ctx.document::<Division>(id).await?.state;
    let changed = state.working_hours_changed_at.unwrap_or_default();
    Ok(List(rows(id, Some(id), &state.working_hours, changed)))
}

async fn set_of_division(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(new): Body<UpsertWorkingHours>,
) -> Answer<List<WorkingHours>> {
    let schedule = windows(new);
    ctx.execute::<Division>(id, |state| division::set_working_hours(state, &schedule)).await?;
    list_of_division(ctx, Path(id)).await
}

async fn remove_of_division(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<MessageOnly>> {
    ctx.execute::<Division>(id, division::remove_working_hours).await?;
    Ok(Json(MessageOnly::new("The tenant's own working hours hold again.")))
}

async fn time_zone(ctx: Ctx) -> Answer<Json<TenantTimezone>> {
    Ok(Json(TenantTimezone { timezone: settings_of(&ctx).await?.time_zone }))
}

async fn set_time_zone(ctx: Ctx, Body(new): Body<TenantTimezone>) -> Answer<Json<TenantTimezone>> {
    let id = stream_id(ctx.tenant_id());
    ctx.execute::<TenantSettings>(id, |state| tenant_settings::set_time_zone(state, &new.timezone)).await?;
    time_zone(ctx).await
}

/// Public: the opening hours that a shop's page shows. The tenant is named by its slug.
async fn status(ctx: Ctx, Query(query): Query<StatusQuery>) -> Answer<Json<WorkingStatus>> {
    let tenant_id = tenant_of(&ctx, &query.org).await?;
    let mut db = ctx.app.store().pool().acquire().await?;
    let settings = documents::get::<TenantSettings>(&mut db, tenant_id, stream_id(tenant_id)).await?;
    let settings = settings.map(|document| document.state).unwrap_or_default();
    let division_hours = match query.division_id {
        Some(id) => {
            let division = documents::get::<Division>(&mut db, tenant_id, id).await?;
            division.ok_or_else(|| Problem::not_found("division"))?.state.working_hours
        }
        None => Vec::new(),
    };
    let zone = rules::parse_time_zone(&settings.time_zone).map_err(Problem::internal)?;
    let hours = rules::WorkingHours::resolve(zone, &division_hours, &settings.working_hours)
        .map_err(Problem::internal)?;
    let now = ctx.app.store().clock().now();
    Ok(Json(WorkingStatus {
        is_open: hours.is_open(now),
        timezone: settings.time_zone,
        checked_at: now,
        next_open_at: hours.next_open(now),
    }))
}

/// The claim on a slug names its organization.
async fn tenant_of(ctx: &Ctx, slug: &str) -> Answer<Uuid> {
    let id = commands::organization::by_slug(ctx.app.store(), slug).await?;
    let id = id.ok_or_else(|| Problem::not_found("organization"))?;
    let mut db = ctx.app.store().pool().acquire().await?;
    let organization = documents::get::<Organization>(&mut db, PLATFORM_TENANT, id).await?;
    match organization.map(|document| document.state.status) {
        Some(OrganizationStatus::Active | OrganizationStatus::Provisioning) => Ok(id),
        Some(OrganizationStatus::Suspended) | None => Err(Problem::not_found("organization")),
    }
}

async fn settings_of(ctx: &Ctx) -> Answer<TenantSettings> {
    let document = ctx.find_document::<TenantSettings>(stream_id(ctx.tenant_id())).await?;
    Ok(document.map(|document| document.state).unwrap_or_default())
}

fn windows(new: UpsertWorkingHours) -> Vec<Window> {
    let window = |day: DaySchedule| Window {
        day_of_week: day.day_of_week,
        start_time: day.start_time,
        end_time: day.end_time,
        is_active: day.is_active,
    };
    new.schedule.into_iter().map(window).collect()
}

/// A schedule is replaced as a whole, so its rows are as old as the last change.
fn rows(
    owner: Uuid,
    division_id: Option<Uuid>,
    schedule: &[Window],
    changed: DateTime<Utc>,
) -> Vec<WorkingHours> {
    let row = |(index, window): (usize, &Window)| WorkingHours {
        id: commands::ids::named_id(owner, &format!("working hours {index}")),
        day_of_week: window.day_of_week,
        start_time: window.start_time.clone(),
        end_time: window.end_time.clone(),
        is_active: window.is_active,
        created_at: changed,
        updated_at: changed,
        division_id,
    };
    schedule.iter().enumerate().map(row).collect()
}
