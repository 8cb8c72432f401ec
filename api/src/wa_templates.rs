//! WhatsApp message templates: submitted to Meta, kept as Meta last described them.

mod submit;
mod sync;

use std::time::Duration;

use chrono::{DateTime, Utc};
use commands::ports::GraphAccess;
use commands::wa_template::{self, NAME_MAX_CHARS};
use domain::channel::Channel;
use domain::integration_account::IntegrationAccount;
use domain::message_content::URL_MAX_CHARS;
use domain::wa_template::{Category, Status, WaTemplate as State};
use garde::Validate;
use projections::documents::Document;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::http::{
    Access, Answer, Body, Group, Json, List, Path, Permission, Problem, Query, Versioned, delete, get, group,
    patch, post,
};
use crate::resource::Deleted;
use crate::{App, Ctx, meta};

/// The kinds of components that there are, with room for repetition to be told.
const COMPONENTS_MAX: usize = 12;
const LANGUAGE_MAX_CHARS: usize = 10;
/// A whole business account is read page by page.
const SYNC_TIMEOUT: Duration = Duration::from_secs(300);
/// Longer than a call to Meta may take, so that its outcome is always written down.
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(60);

pub fn routes() -> Group<App> {
    let manager = Access::Permission(Permission::TemplatesManage);
    group("WA Templates", [
        get("/api/wa-templates", "List WhatsApp message templates", Access::Any, list).describe("oldest first"),
        post("/api/wa-templates", "Create a WhatsApp message template", manager, submit::create)
            .describe(
                "Submitted to Meta and stored; Meta's verdict follows by webhook. 422 refused_by_provider: Meta will not \
                 have it, and says why. 409 exists_at_provider: Meta has one of this name and language that is not \
                 known here; a sync brings it. 502: Meta failed; where it did not answer, a sync tells whether it took \
                 the template.",
            )
            .timeout(SUBMIT_TIMEOUT),
        post("/api/wa-templates/sync", "Sync templates from Meta", manager, sync::run)
            .describe(
                "Upserts, follows Meta's paging. Without an account: every business account of the tenant. Nothing is \
                 stored of a business account whose list could not be read to its end. A template that Meta no longer \
                 lists becomes DISABLED; one that was deleted here comes back while Meta lists it.",
            )
            .timeout(SYNC_TIMEOUT),
        get("/api/wa-templates/{id}", "Get a WhatsApp template by ID", Access::Any, get_one),
        delete("/api/wa-templates/{id}", "Delete a WhatsApp template (local only)", manager, remove)
            .describe("Meta keeps its original: the next sync brings it back. What is still queued with it fails."),
        patch("/api/wa-templates/{id}", "Update template header media URL", manager, set_header_media)
            .describe("for templates whose header is a picture, film or document; Meta fetches it with each message"),
    ])
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
enum TemplateCategoryName {
    Marketing,
    Utility,
    Authentication,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
enum TemplateStatusName {
    Pending,
    /// The only one in which it can be sent.
    Approved,
    Rejected,
    /// For some hours, because customers did not like it.
    Paused,
    Disabled,
}

#[derive(Serialize, ToSchema)]
struct WaTemplate {
    id: Uuid,
    /// The WhatsApp Business Account.
    waba_id: String,
    name: String,
    /// Meta's code, such as `id` or `en_US`.
    language: String,
    category: TemplateCategoryName,
    status: TemplateStatusName,
    /// Header, body, footer and buttons, in Meta's form.
    #[schema(value_type = Vec<Object>)]
    components: Vec<Value>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta_template_id: Option<String>,
    /// Public address of the picture, film or document in the header.
    #[serde(skip_serializing_if = "Option::is_none")]
    header_media_url: Option<String>,
    /// Why the status is what it is, in Meta's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<String>,
    /// Meta's rating: `GREEN`, `YELLOW`, `RED` or `UNKNOWN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<String>,
}

#[derive(Deserialize, IntoParams, Validate)]
#[garde(allow_unvalidated)]
struct ListTemplates {
    #[param(inline)]
    status: Option<TemplateStatusName>,
    #[param(inline)]
    category: Option<TemplateCategoryName>,
    waba_id: Option<String>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct CreateWaTemplate {
    /// Lower-case letters, digits and underscores.
    #[garde(length(chars, min = 1, max = NAME_MAX_CHARS))]
    name: String,
    /// HEADER, BODY, FOOTER, BUTTONS, as Meta describes them, with Meta's `example` for each variable.
    #[garde(length(min = 1, max = COMPONENTS_MAX))]
    #[schema(value_type = Vec<Object>)]
    components: Vec<Value>,
    /// Meta's code; `id` unless said otherwise.
    #[garde(length(chars, min = 2, max = LANGUAGE_MAX_CHARS))]
    language: Option<String>,
    /// UTILITY unless said otherwise. Meta may find another one right.
    #[garde(skip)]
    category: Option<TemplateCategoryName>,
    /// Of which business account; the default WhatsApp account's unless said otherwise.
    #[garde(skip)]
    integration_account_id: Option<Uuid>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct UpdateTemplateMedia {
    #[garde(length(chars, min = 1, max = URL_MAX_CHARS))]
    #[schema(format = "uri")]
    header_media_url: String,
}

async fn list(ctx: Ctx, Query(wanted): Query<ListTemplates>) -> Answer<List<WaTemplate>> {
    let (status, category) = (wanted.status.map(Status::from), wanted.category.map(Category::from));
    let documents = ctx.documents::<State>().await?.into_iter().filter(|document| {
        let listing = &document.state.listing;
        status.is_none_or(|status| listing.status == status)
            && category.is_none_or(|category| listing.category == category)
            && wanted.waba_id.as_ref().is_none_or(|waba_id| listing.waba_id == *waba_id)
    });
    Ok(List(documents.map(shown).collect()))
}

async fn get_one(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Versioned<WaTemplate>> {
    let document = ctx.document::<State>(id).await?;
    Ok(Versioned { version: document.version, value: shown(document) })
}

async fn remove(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    ctx.execute::<State>(id, wa_template::delete).await?;
    Ok(Json(Deleted::new("template", id)))
}

async fn set_header_media(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(wanted): Body<UpdateTemplateMedia>,
) -> Answer<Versioned<WaTemplate>> {
    let url = wanted.header_media_url.as_str();
    ctx.execute::<State>(id, |state| wa_template::set_header_media(state, url)).await?;
    get_one(ctx, Path(id)).await
}

/// A WhatsApp Business Account and the token to speak for it.
struct Business {
    waba_id: String,
    access: GraphAccess,
}

/// # Errors
/// 409 when the account lacks what it takes.
async fn business(ctx: &Ctx, account: &IntegrationAccount) -> Answer<Business> {
    let lacks = |what: &str| {
        let detail = format!("The account {} has no {what}.", account.display_name);
        Problem::conflict("not_configured", detail)
    };
    let waba_id = meta::business_of(ctx, account).ok_or_else(|| lacks("waba_id"))?.to_owned();
    let access = meta::access(ctx, account).await?.ok_or_else(|| lacks("access token"))?;
    Ok(Business { waba_id, access })
}

/// The account named, or all WhatsApp accounts, the default one first.
///
/// # Errors
/// 422 when the id names none, 409 when there is none.
async fn accounts(ctx: &Ctx, id: Option<Uuid>) -> Answer<Vec<IntegrationAccount>> {
    const FIELD: &str = "integration_account_id";
    if let Some(id) = id {
        let account = ctx.require::<IntegrationAccount>(FIELD, id).await?.state;
        return match account.channel {
            Channel::Whatsapp => Ok(vec![account]),
            _ => Err(Problem::invalid(FIELD, "must be a WhatsApp account")),
        };
    }
    let all = ctx.documents::<IntegrationAccount>().await?.into_iter().map(|document| document.state);
    let mut accounts: Vec<_> = all.filter(|account| account.channel == Channel::Whatsapp).collect();
    accounts.sort_by_key(|account| !account.is_default);
    if accounts.is_empty() {
        return Err(Problem::conflict("not_configured", "No WhatsApp account is connected."));
    }
    Ok(accounts)
}

fn shown(document: Document<State>) -> WaTemplate {
    let State { listing, header_media_url, .. } = document.state;
    WaTemplate {
        id: document.id,
        waba_id: listing.waba_id,
        name: listing.name,
        language: listing.language,
        category: listing.category.into(),
        status: listing.status.into(),
        components: listing.components,
        created_at: document.created_at,
        updated_at: document.updated_at,
        meta_template_id: listing.meta_template_id,
        header_media_url,
        status_reason: listing.reason,
        quality: listing.quality,
    }
}

impl From<TemplateCategoryName> for Category {
    fn from(name: TemplateCategoryName) -> Self {
        match name {
            TemplateCategoryName::Marketing => Self::Marketing,
            TemplateCategoryName::Utility => Self::Utility,
            TemplateCategoryName::Authentication => Self::Authentication,
        }
    }
}

impl From<Category> for TemplateCategoryName {
    fn from(category: Category) -> Self {
        match category {
            Category::Marketing => Self::Marketing,
            Category::Utility => Self::Utility,
            Category::Authentication => Self::Authentication,
        }
    }
}

impl From<TemplateStatusName> for Status {
    fn from(name: TemplateStatusName) -> Self {
        match name {
            TemplateStatusName::Pending => Self::Pending,
            TemplateStatusName::Approved => Self::Approved,
            TemplateStatusName::Rejected => Self::Rejected,
            TemplateStatusName::Paused => Self::Paused,
            TemplateStatusName::Disabled => Self::Disabled,
        }
    }
}

impl From<Status> for TemplateStatusName {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Approved => Self::Approved,
            Status::Rejected => Self::Rejected,
            Status::Paused => Self::Paused,
            Status::Disabled => Self::Disabled,
        }
    }
}
