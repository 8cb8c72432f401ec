//! Tenants, as the platform sees them.

use chrono::{DateTime, Utc};
use commands::organization::{self, Provisioned, Registration};
use commands::organization_admin::{self, Change};
use commands::password;
use commands::store::Decided;
use domain::billing::Limits;
use domain::event::PLATFORM_TENANT;
use domain::organization::{Organization, OrganizationStatus};
use garde::Validate;
use projections::documents::{self, Document};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Ctx;
use crate::agents::{email_address, required_text};
use crate::http::{Answer, Body, Created, FieldError, Json, List, Path, Problem, Versioned};
use crate::resource::Deleted;

/// Tenants in one list.
pub(super) const MAX_TENANTS: i64 = 10_000;
/// The layout in which a tenant's events are stored. Raised when stored events have to be converted; how events of
/// older releases are read is no matter of this.
const SCHEMA_VERSION: i64 = 1;

/// A customer of the platform.
#[derive(Serialize, ToSchema)]
#[schema(as = Organization)]
pub(super) struct Tenant {
    id: Uuid,
    name: String,
    slug: String,
    status: TenantStatus,
    /// The tenant's storage namespace: `omnistream_` and the slug with underscores.
    mongo_database: String,
    /// Version of the layout in which the tenant's events are stored.
    schema_version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// `max_agents`, `max_contacts`, `max_messages_month`, `max_channels`, `max_ai_agents`: whole numbers, null for no
    /// limit. What is not there is as in the tenant's plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    limits: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
}

#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum TenantStatus {
    /// Its first admin is being created.
    Provisioning,
    Active,
    /// Nobody can sign in; tokens and API keys are refused.
    Suspended,
}

impl From<Document<Organization>> for Tenant {
    fn from(tenant: Document<Organization>) -> Self {
        let Organization { name, slug, country, limits, status, .. } = tenant.state;
        Self {
            id: tenant.id,
            mongo_database: format!("omnistream_{}", slug.replace('-', "_")),
            name,
            slug,
            status: match status {
                OrganizationStatus::Provisioning => TenantStatus::Provisioning,
                OrganizationStatus::Active => TenantStatus::Active,
                OrganizationStatus::Suspended => TenantStatus::Suspended,
            },
            schema_version: SCHEMA_VERSION,
            created_at: tenant.created_at,
            updated_at: tenant.updated_at,
            limits,
            country,
        }
    }
}

/// A tenant's document among those of all tenants.
#[derive(sqlx::FromRow)]
pub(super) struct TenantRow {
    pub id: Uuid,
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    doc: sqlx::types::Json<Organization>,
}

impl From<TenantRow> for Tenant {
    fn from(row: TenantRow) -> Self {
        let TenantRow { id, version, created_at, updated_at, doc } = row;
        Document { id, version, created_at, updated_at, state: doc.0 }.into()
    }
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateOrganization {
    #[garde(length(chars, min = 1, max = 200))]
    name: String,
    /// Lower-case letters and digits, with single hyphens between them; 63 characters at most.
    #[garde(skip)]
    slug: String,
    #[garde(skip)]
    #[schema(format = "email")]
    admin_email: String,
    /// 6 to 256 characters.
    #[garde(skip)]
    admin_password: String,
    /// See the answer for their names.
    #[garde(skip)]
    #[schema(value_type = Option<Object>)]
    limits: Option<Map<String, Value>>,
    #[garde(length(chars, min = 1, max = 100))]
    country: Option<String>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateOrganization {
    #[garde(length(chars, min = 1, max = 200))]
    name: Option<String>,
    /// Replaces all limits; see the answer for their names.
    #[garde(skip)]
    #[schema(value_type = Option<Object>)]
    limits: Option<Map<String, Value>>,
    #[garde(skip)]
    status: Option<RequestedStatus>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum RequestedStatus {
    Active,
    Suspended,
}

pub(super) async fn list(ctx: Ctx) -> Answer<List<Tenant>> {
    let rows: Vec<TenantRow> = sqlx::query_as(
        "SELECT id, version, created_at, updated_at, doc FROM read.documents
         WHERE tenant_id = $1 AND collection = 'organization' AND doc IS NOT NULL ORDER BY created_at, id LIMIT $2",
    )
    .bind(PLATFORM_TENANT)
    .bind(MAX_TENANTS + 1)
    .fetch_all(ctx.app.store().pool())
    .await?;
    Ok(List(capped(&ctx, rows.into_iter().map(Tenant::from).collect())))
}

/// Drops what is beyond [`MAX_TENANTS`], and says so.
pub(super) fn capped<T>(ctx: &Ctx, mut tenants: Vec<T>) -> Vec<T> {
    let limit = usize::try_from(MAX_TENANTS).unwrap_or(usize::MAX);
    if tenants.len() > limit {
        tenants.truncate(limit);
        ctx.set_total_capped();
    }
    tenants
}

pub(super) async fn create(ctx: Ctx, Body(new): Body<CreateOrganization>) -> Answer<Created<Tenant>> {
    let name = required_text("name", &new.name)?;
    let admin_email = email_address("admin_email", &new.admin_email)?;
    organization_admin::check_slug(&new.slug)?;
    password::check("admin_password", &new.admin_password)?;
    let id = ctx.new_id(1);
    let registration = Registration {
        organization_id: id,
        agent_id: ctx.new_id(2),
        name,
        slug: Some(new.slug),
        country: new.country,
        limits: new.limits.as_ref().map(parse_limits).transpose()?,
        admin_email,
        admin_password: new.admin_password,
    };
    let Provisioned { organization, admin } =
        organization::register(ctx.app.store(), &ctx.origin(), registration).await?;
    if !ctx.respond_async {
        ctx.app.waiter().wait(admin.log_id, admin.position).await;
    }
    ctx.settle(organization.log_id, organization.position).await;
    // Whoever does not want to wait may ask before the read model knows.
    let seen = lookup(&ctx, id).await?;
    Ok(Created(seen.unwrap_or_else(|| unseen(id, organization)).into()))
}

pub(super) async fn get_one(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Versioned<Tenant>> {
    let tenant = find(&ctx, id).await?;
    Ok(Versioned { version: tenant.version, value: tenant.into() })
}

pub(super) async fn update(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(change): Body<UpdateOrganization>,
) -> Answer<Versioned<Tenant>> {
    let limits = change.limits.as_ref().map(parse_limits).transpose()?;
    let suspended = change.status.map(|status| status == RequestedStatus::Suspended);
    let change = Change { name: change.name, limits, suspended };
    ctx.execute::<Organization>(id, |state| organization_admin::update(state, &change)).await?;
    get_one(ctx, Path(id)).await
}

pub(super) async fn suspend(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    ctx.execute::<Organization>(id, organization_admin::suspend).await?;
    Ok(Json(Deleted { message: "The tenant was suspended.".to_owned(), id }))
}

fn unseen(id: Uuid, organization: Decided<Organization>) -> Document<Organization> {
    let Decided { state, version, .. } = organization;
    let created_at = state.created_at.unwrap_or_default();
    Document { id, version, created_at, updated_at: created_at, state }
}

/// # Errors
/// 404 without such a tenant.
pub(super) async fn find(ctx: &Ctx, id: Uuid) -> Answer<Document<Organization>> {
    lookup(ctx, id).await?.ok_or_else(|| Problem::not_found("tenant"))
}

async fn lookup(ctx: &Ctx, id: Uuid) -> Answer<Option<Document<Organization>>> {
    let mut db = ctx.app.store().pool().acquire().await?;
    Ok(documents::get(&mut db, PLATFORM_TENANT, id).await?)
}

/// # Errors
/// 422 naming each limit that is not known or not a whole number from 0.
fn parse_limits(limits: &Map<String, Value>) -> Answer<Limits> {
    Limits::parse("limits", limits).map_err(|problems| {
        Problem::invalid_fields(problems.into_iter().map(|p| FieldError::new(p.field, p.message)).collect())
    })
}
