//! Plans: what tenants can subscribe to.

use commands::plan;
use domain::billing::PlanPrices;
use domain::billing::plan::default_annual_price;
use domain::money::Money;
use domain::plan::{Plan, PlanTerms};
use domain::refusal::Refusal;
use garde::Validate;
use projections::documents::Document;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::offer::{Reading, limits_object, offered};
use super::wire::{AmountText, BillingPlan};
use crate::http::{
    Access, Answer, Body, Created, Json, List, Path, Problem, Route, Versioned, delete, get, patch, post,
};
use crate::resource::Deleted;
use crate::{App, Ctx};

pub(super) fn routes() -> [Route<App>; 1] {
    [get("/api/billing/plans", "List available billing plans", Access::Any, list_available)
        .describe("active ones, by sort_order")]
}

pub(super) fn admin_routes() -> [Route<App>; 5] {
    let (all, one) = ("/api/super-admin/billing/plans", "/api/super-admin/billing/plans/{id}");
    [
        get(all, "List all billing plans", Access::Super, list).describe("inactive ones too"),
        post(all, "Create a billing plan", Access::Super, create).describe(
            "slug unique; currency IDR, base_price_annual ten times the monthly price, other prices 0, sort_order 0 \
             unless given",
        ),
        get(one, "Get a billing plan by ID", Access::Super, get_one),
        delete(one, "Delete a billing plan", Access::Super, remove).describe(
            "409 while anyone is subscribed to it; PATCH is_active false takes it off the market instead",
        ),
        patch(one, "Update a billing plan", Access::Super, update).describe(
            "limits and features are replaced as a whole; subscriptions keep the prices that they were made at",
        ),
    ]
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct CreateBillingPlan {
    #[garde(length(chars, min = 1, max = 200))]
    name: String,
    /// Lower-case letters and digits, with single hyphens between them; 63 characters at most.
    slug: String,
    base_price_monthly: AmountText,
    /// For each agent and month; 0 unless given.
    per_agent_price: Option<AmountText>,
    /// For each message above `max_messages_month`, up to 6 decimals; at 0 such messages are refused instead.
    overage_message_price: Option<AmountText>,
    /// See the answer for their names.
    #[schema(value_type = Option<Object>)]
    limits: Option<Map<String, Value>>,
    #[schema(value_type = Option<Object>)]
    features: Option<Map<String, Value>>,
    /// ISO 4217, in capitals; of all the plan's prices.
    currency: Option<String>,
    base_price_annual: Option<AmountText>,
    sort_order: Option<i64>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct UpdateBillingPlan {
    #[garde(length(chars, min = 1, max = 200))]
    name: Option<String>,
    slug: Option<String>,
    /// ISO 4217, in capitals. Prices that are not given as well keep their numbers.
    currency: Option<String>,
    base_price_monthly: Option<AmountText>,
    base_price_annual: Option<AmountText>,
    per_agent_price: Option<AmountText>,
    overage_message_price: Option<AmountText>,
    /// Replaces all limits; see the answer for their names.
    #[schema(value_type = Option<Object>)]
    limits: Option<Map<String, Value>>,
    /// Replaces all features.
    #[schema(value_type = Option<Object>)]
    features: Option<Map<String, Value>>,
    is_active: Option<bool>,
    sort_order: Option<i64>,
}

async fn list_available(ctx: Ctx) -> Answer<List<BillingPlan>> {
    let plans = offered::<Plan>(&ctx).await?.into_iter().filter_map(shown);
    Ok(List(in_order(plans.filter(|plan| plan.is_active).collect())))
}

async fn list(ctx: Ctx) -> Answer<List<BillingPlan>> {
    Ok(List(in_order(offered::<Plan>(&ctx).await?.into_iter().filter_map(shown).collect())))
}

/// Stable: those of the same order stay oldest first.
fn in_order(mut plans: Vec<BillingPlan>) -> Vec<BillingPlan> {
    plans.sort_by_key(|plan| plan.sort_order);
    plans
}

async fn get_one(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Versioned<BillingPlan>> {
    let plan = ctx.document::<Plan>(id).await?;
    let version = plan.version;
    shown(plan).map(|value| Versioned { version, value }).ok_or_else(|| Problem::not_found("plan"))
}

async fn create(ctx: Ctx, Body(new): Body<CreateBillingPlan>) -> Answer<Created<BillingPlan>> {
    let (id, terms) = (ctx.new_id(1), new.terms()?);
    ctx.execute::<Plan>(id, |state| plan::create(state, id, &terms)).await?;
    Ok(Created(get_one(ctx, Path(id)).await?.value))
}

async fn update(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(change): Body<UpdateBillingPlan>,
) -> Answer<Versioned<BillingPlan>> {
    ctx.execute::<Plan>(id, |state| {
        let before = state.terms.as_ref().ok_or_else(|| Refusal::not_found("plan"))?;
        plan::update(state, id, &change.applied_to(before)?)
    })
    .await?;
    get_one(ctx, Path(id)).await
}

async fn remove(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    let deleted = ctx.app.billing().delete_plan(&ctx.origin(), id).await?;
    ctx.settle(deleted.log_id, deleted.position).await;
    Ok(Json(Deleted::new("plan", id)))
}

impl CreateBillingPlan {
    fn terms(self) -> Result<PlanTerms, Refusal> {
        let mut reading = Reading::default();
        let currency = reading.currency(self.currency.as_deref());
        let base_monthly = reading.money("base_price_monthly", &self.base_price_monthly, currency);
        let base_annual = match &self.base_price_annual {
            Some(text) => reading.money("base_price_annual", text, currency),
            None => default_annual_price(base_monthly)
                .map_err(|error| Refusal::invalid("base_price_monthly", error.to_string()))?,
        };
        let zero = Money::zero(currency);
        let terms = PlanTerms {
            name: reading.text("name", &self.name),
            slug: reading.slug(&self.slug),
            prices: PlanPrices {
                base_monthly,
                base_annual,
                per_agent: reading.money_or("per_agent_price", self.per_agent_price.as_ref(), zero, currency),
                overage_message: self
                    .overage_message_price
                    .map(|text| reading.rate("overage_message_price", &text))
                    .unwrap_or_default(),
            },
            limits: self.limits.map(|object| reading.limits("limits", &object)).unwrap_or_default(),
            features: self.features.map(|object| reading.features("features", &object)).unwrap_or_default(),
            is_active: true,
            sort_order: self.sort_order.unwrap_or(0),
        };
        reading.finish()?;
        Ok(terms)
    }
}

impl UpdateBillingPlan {
    /// The whole plan after the change.
    fn applied_to(&self, before: &PlanTerms) -> Result<PlanTerms, Refusal> {
        let mut reading = Reading::default();
        let prices = before.prices;
        let currency = match &self.currency {
            Some(code) => reading.currency(Some(code)),
            None => prices.currency(),
        };
        let mut price = |field: &str, text: &Option<AmountText>, before| {
            reading.money_or(field, text.as_ref(), before, currency)
        };
        let base_monthly = price("base_price_monthly", &self.base_price_monthly, prices.base_monthly);
        let base_annual = price("base_price_annual", &self.base_price_annual, prices.base_annual);
        let per_agent = price("per_agent_price", &self.per_agent_price, prices.per_agent);
        let overage_message = match &self.overage_message_price {
            Some(text) => reading.rate("overage_message_price", text),
            None => prices.overage_message,
        };
        let terms = PlanTerms {
            name: self.name.as_ref().map_or_else(|| before.name.clone(), |name| reading.text("name", name)),
            slug: self.slug.as_ref().map_or_else(|| before.slug.clone(), |slug| reading.slug(slug)),
            prices: PlanPrices { base_monthly, base_annual, per_agent, overage_message },
            limits: match &self.limits {
                Some(object) => reading.limits("limits", object),
                None => before.limits.clone(),
            },
            features: match &self.features {
                Some(object) => reading.features("features", object),
                None => before.features.clone(),
            },
            is_active: self.is_active.unwrap_or(before.is_active),
            sort_order: self.sort_order.unwrap_or(before.sort_order),
        };
        reading.finish()?;
        Ok(terms)
    }
}

/// Nothing for one that was deleted.
fn shown(plan: Document<Plan>) -> Option<BillingPlan> {
    let terms = plan.state.terms?;
    Some(BillingPlan {
        id: plan.id,
        currency: terms.prices.currency().to_string(),
        base_price_monthly: terms.prices.base_monthly.into(),
        base_price_annual: terms.prices.base_annual.into(),
        per_agent_price: terms.prices.per_agent.into(),
        overage_message_price: terms.prices.overage_message.into(),
        limits: limits_object(&terms.limits),
        name: terms.name,
        slug: terms.slug,
        features: terms.features,
        is_active: terms.is_active,
        sort_order: terms.sort_order,
        created_at: plan.created_at,
        updated_at: plan.updated_at,
    })
}
