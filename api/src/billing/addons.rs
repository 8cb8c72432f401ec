//! Add-ons: what can be had besides a plan, by the piece.

use chrono::{DateTime, Utc};
use commands::addon;
use domain::addon::{Addon, AddonTerms};
use domain::billing::AddonPrices;
use domain::billing::plan::default_annual_price;
use domain::refusal::Refusal;
use domain::subscription::{Attachment, Contract, Subscription};
use garde::Validate;
use projections::documents::Document;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::MANAGE;
use super::offer::{Reading, offered};
use super::subscription::own;
use super::wire::{Amount, AmountText, BillingAddon};
use crate::http::{
    Access, Answer, Body, Created, Json, List, Path, Problem, Route, Versioned, delete, get, patch, post,
};
use crate::resource::Deleted;
use crate::{App, Ctx};

/// What an add-on's unit is called unless it is said.
const DEFAULT_UNIT: &str = "flat";
/// Pieces of one add-on.
const MAX_QUANTITY: i64 = 10_000;

pub(super) fn routes() -> [Route<App>; 4] {
    let attached = "/api/billing/subscription/addons";
    [
        get("/api/billing/addons", "List available add-ons", Access::Any, list_available)
            .describe("active ones, by sort_order"),
        get(attached, "List attached add-ons", Access::Any, list_attached).describe("oldest first"),
        post(attached, "Attach an add-on to subscription", MANAGE, attach).describe(
            "the rest of the period is invoiced at once, none of it while trialing; 409 without a subscription, when it is \
             attached already, in another currency than the plan's, or while an invoice is unpaid",
        ),
        delete("/api/billing/subscription/addons/{id}", "Detach an add-on from subscription", MANAGE, detach)
            .describe("what was paid for the rest of the period is carried to the next invoice; 409 as for attaching"),
    ]
}

pub(super) fn admin_routes() -> [Route<App>; 4] {
    let (all, one) = ("/api/super-admin/billing/addons", "/api/super-admin/billing/addons/{id}");
    [
        get(all, "List all add-ons", Access::Super, list).describe("inactive ones too, by sort_order"),
        post(all, "Create an add-on", Access::Super, create).describe(
            "slug unique; currency IDR, price_annual ten times the monthly price, unit flat, sort_order 0 unless given",
        ),
        delete(one, "Delete an add-on", Access::Super, remove)
            .describe("subscriptions that have it keep it at the price that they attached it at"),
        patch(one, "Update an add-on", Access::Super, update)
            .describe("subscriptions that have it keep the price that they attached it at; null removes the description"),
    ]
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct CreateBillingAddon {
    #[garde(length(chars, min = 1, max = 200))]
    name: String,
    /// Lower-case letters and digits, with single hyphens between them; 63 characters at most.
    slug: String,
    /// For one of it.
    price_monthly: AmountText,
    #[garde(length(chars, max = 1000))]
    description: Option<String>,
    /// For one of it.
    price_annual: Option<AmountText>,
    /// What one of it is, such as `flat` or `per agent`; for display.
    #[garde(length(chars, min = 1, max = 50))]
    unit: Option<String>,
    sort_order: Option<i64>,
    /// ISO 4217, in capitals; it goes with plans in this currency.
    currency: Option<String>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct UpdateBillingAddon {
    #[garde(length(chars, min = 1, max = 200))]
    name: Option<String>,
    #[serde(default, deserialize_with = "super::offer::given")]
    #[schema(value_type = Option<String>)]
    #[garde(inner(length(chars, max = 1000)))]
    description: Option<Option<String>>,
    price_monthly: Option<AmountText>,
    price_annual: Option<AmountText>,
    is_active: Option<bool>,
    sort_order: Option<i64>,
}

#[derive(Serialize, ToSchema)]
struct SubscriptionAddonDetail {
    /// Of the attachment, for detaching it.
    id: Uuid,
    addon_id: Uuid,
    name: String,
    /// Empty once the add-on itself is deleted.
    slug: String,
    /// For one of it, as it was when it was attached.
    price_monthly: Amount,
    quantity: i64,
    created_at: DateTime<Utc>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct AttachAddon {
    addon_id: Uuid,
    /// 1 unless given.
    #[garde(range(min = 1, max = MAX_QUANTITY))]
    quantity: Option<i64>,
}

#[derive(Serialize, ToSchema)]
struct SubscriptionAddon {
    /// Of the attachment, for detaching it.
    id: Uuid,
    subscription_id: Uuid,
    addon_id: Uuid,
    quantity: i64,
    created_at: DateTime<Utc>,
}

async fn list_available(ctx: Ctx) -> Answer<List<BillingAddon>> {
    let addons = offered::<Addon>(&ctx).await?.into_iter().filter_map(shown);
    Ok(List(in_order(addons.filter(|addon| addon.is_active).collect())))
}

async fn list(ctx: Ctx) -> Answer<List<BillingAddon>> {
    Ok(List(in_order(offered::<Addon>(&ctx).await?.into_iter().filter_map(shown).collect())))
}

/// Stable: those of the same order stay oldest first.
fn in_order(mut addons: Vec<BillingAddon>) -> Vec<BillingAddon> {
    addons.sort_by_key(|addon| addon.sort_order);
    addons
}

async fn create(ctx: Ctx, Body(new): Body<CreateBillingAddon>) -> Answer<Created<BillingAddon>> {
    let (id, terms) = (ctx.new_id(1), new.terms()?);
    ctx.execute::<Addon>(id, |state| addon::create(state, id, &terms)).await?;
    Ok(Created(one(&ctx, id).await?.value))
}

async fn update(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(change): Body<UpdateBillingAddon>,
) -> Answer<Versioned<BillingAddon>> {
    ctx.execute::<Addon>(id, |state| {
        let before = state.terms.as_ref().ok_or_else(|| Refusal::not_found("add-on"))?;
        addon::update(state, id, &change.applied_to(before)?)
    })
    .await?;
    one(&ctx, id).await
}

async fn remove(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    ctx.execute::<Addon>(id, |state| addon::delete(state, id)).await?;
    Ok(Json(Deleted::new("add-on", id)))
}

async fn one(ctx: &Ctx, id: Uuid) -> Answer<Versioned<BillingAddon>> {
    let addon = ctx.document::<Addon>(id).await?;
    let version = addon.version;
    shown(addon).map(|value| Versioned { version, value }).ok_or_else(|| Problem::not_found("add-on"))
}

async fn list_attached(ctx: Ctx) -> Answer<List<SubscriptionAddonDetail>> {
    let Some(subscription) = own(&ctx).await? else { return Ok(List(Vec::new())) };
    let Some(contract) = subscription.state.current() else { return Ok(List(Vec::new())) };
    let addons = offered::<Addon>(&ctx).await?;
    let slug = |id| {
        let terms = addons.iter().find(|addon| addon.id == id)?.state.terms.as_ref()?;
        Some(terms.slug.clone())
    };
    let detail = |attachment: &Attachment| {
        let item = contract.items.addons.iter().find(|item| item.addon_id == attachment.addon_id)?;
        Some(SubscriptionAddonDetail {
            id: attachment.id,
            addon_id: item.addon_id,
            name: item.name.clone(),
            slug: slug(item.addon_id).unwrap_or_default(),
            price_monthly: item.prices.monthly.into(),
            quantity: item.quantity.into(),
            created_at: attachment.attached_at,
        })
    };
    Ok(List(contract.attachments.iter().filter_map(detail).collect()))
}

async fn attach(ctx: Ctx, Body(wish): Body<AttachAddon>) -> Answer<Created<SubscriptionAddon>> {
    let quantity = u32::try_from(wish.quantity.unwrap_or(1)).map_err(Problem::internal)?;
    let id = ctx.new_id(1);
    let attached = ctx.app.billing().attach_addon(&ctx.origin(), id, wish.addon_id, quantity).await?;
    ctx.settle(attached.log_id, attached.position).await;
    let contract = attached.value.current();
    let shown = contract.and_then(|contract| attachment(contract, id, &ctx));
    shown.map(Created).ok_or_else(|| Problem::not_found("attached add-on"))
}

fn attachment(contract: &Contract, id: Uuid, ctx: &Ctx) -> Option<SubscriptionAddon> {
    let attachment = contract.attachments.iter().find(|attachment| attachment.id == id)?;
    let item = contract.items.addons.iter().find(|item| item.addon_id == attachment.addon_id)?;
    Some(SubscriptionAddon {
        id,
        subscription_id: commands::subscription::id_of(ctx.tenant_id()),
        addon_id: attachment.addon_id,
        quantity: item.quantity.into(),
        created_at: attachment.attached_at,
    })
}

async fn detach(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    let attached = own(&ctx).await?.is_some_and(|subscription: Document<Subscription>| {
        let contract = subscription.state.current();
        contract.is_some_and(|contract| contract.attachments.iter().any(|attachment| attachment.id == id))
    });
    // What does not exist is 404 also for a tenant without a subscription.
    if !attached {
        return Err(Problem::not_found("attached add-on"));
    }
    let detached = ctx.app.billing().detach_addon(&ctx.origin(), id).await?;
    ctx.settle(detached.log_id, detached.position).await;
    Ok(Json(Deleted { message: "The add-on was detached.".to_owned(), id }))
}

impl CreateBillingAddon {
    fn terms(self) -> Result<AddonTerms, Refusal> {
        let mut reading = Reading::default();
        let currency = reading.currency(self.currency.as_deref());
        let monthly = reading.money("price_monthly", &self.price_monthly, currency);
        let annual = match &self.price_annual {
            Some(text) => reading.money("price_annual", text, currency),
            None => default_annual_price(monthly)
                .map_err(|error| Refusal::invalid("price_monthly", error.to_string()))?,
        };
        let terms = AddonTerms {
            name: reading.text("name", &self.name),
            slug: reading.slug(&self.slug),
            description: self.description,
            prices: AddonPrices { monthly, annual },
            unit: self.unit.unwrap_or_else(|| DEFAULT_UNIT.to_owned()),
            is_active: true,
            sort_order: self.sort_order.unwrap_or(0),
        };
        reading.finish()?;
        Ok(terms)
    }
}

impl UpdateBillingAddon {
    /// The whole add-on after the change.
    fn applied_to(&self, before: &AddonTerms) -> Result<AddonTerms, Refusal> {
        let mut reading = Reading::default();
        let currency = before.prices.monthly.currency();
        let mut price = |field: &str, text: &Option<AmountText>, before| {
            reading.money_or(field, text.as_ref(), before, currency)
        };
        let monthly = price("price_monthly", &self.price_monthly, before.prices.monthly);
        let annual = price("price_annual", &self.price_annual, before.prices.annual);
        let terms = AddonTerms {
            name: self.name.as_ref().map_or_else(|| before.name.clone(), |name| reading.text("name", name)),
            description: self.description.clone().unwrap_or_else(|| before.description.clone()),
            prices: AddonPrices { monthly, annual },
            is_active: self.is_active.unwrap_or(before.is_active),
            sort_order: self.sort_order.unwrap_or(before.sort_order),
            ..before.clone()
        };
        reading.finish()?;
        Ok(terms)
    }
}

/// Nothing for one that was deleted.
fn shown(addon: Document<Addon>) -> Option<BillingAddon> {
    let terms = addon.state.terms?;
    Some(BillingAddon {
        id: addon.id,
        name: terms.name,
        slug: terms.slug,
        price_monthly: terms.prices.monthly.into(),
        price_annual: terms.prices.annual.into(),
        currency: terms.prices.monthly.currency().to_string(),
        unit: terms.unit,
        is_active: terms.is_active,
        sort_order: terms.sort_order,
        created_at: addon.created_at,
        updated_at: addon.updated_at,
        description: terms.description,
    })
}
