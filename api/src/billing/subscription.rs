//! A tenant's subscription: what it has, and how it changes.

use chrono::{DateTime, Utc};
use commands::billing::Subscribe;
use domain::event::PLATFORM_TENANT;
use domain::invoice::Invoice;
use domain::payment_method::PaymentMethod;
use domain::plan::Plan;
use domain::subscription::Subscription as State;
use garde::Validate;
use projections::documents::Document;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::MANAGE;
use super::invoices;
use super::offer::{find_offered, limits_object};
use super::wire::{BillingInvoice, BillingPeriod, Subscription};
use crate::http::{Access, Answer, Body, Created, Json, Problem, Route, get, post};
use crate::{App, Ctx};

pub(super) fn routes() -> [Route<App>; 4] {
    [
        get("/api/billing/current", "Get current subscription and plan", Access::Any, current)
            .describe("null without one, and once it was canceled"),
        post("/api/billing/subscribe", "Subscribe to a plan", MANAGE, subscribe).describe(
            "14-day trial, once per tenant: who comes back is invoiced for the first period at once; no plan_id = cheapest \
             active plan; monthly unless given. 409 when subscribed, for a coupon that is used up or that the tenant has \
             redeemed before; 422 for one that is unknown, expired, not valid yet, or for another plan or currency",
        ),
        post("/api/billing/change-plan", "Upgrade or downgrade subscription plan", MANAGE, change_plan).describe(
            "prorated by the second; invoice for the net difference, plus 11 % PPN in IDR; none while trialing; a \
             downgrade's credit is carried to the next invoice, and can't be refunded. Another period begins at once. 409 \
             without a subscription, while an invoice is unpaid or being refunded, and for a plan in another currency. \
             Takes back a cancellation",
        ),
        post("/api/billing/cancel", "Cancel subscription", MANAGE, cancel)
            .describe("at period end, or at the end of the trial; 409 without a subscription"),
    ]
}

/// A subscription, and what its plan allows.
#[derive(Serialize, ToSchema)]
struct CurrentPlan {
    #[serde(flatten)]
    subscription: Subscription,
    plan_name: String,
    /// Of the plan; null is no limit. `GET /api/billing/usage` has the limits in force.
    #[schema(value_type = Object)]
    limits: Map<String, Value>,
    #[schema(value_type = Object)]
    features: Map<String, Value>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct SubscribeRequest {
    plan_id: Option<Uuid>,
    period: Option<BillingPeriod>,
    /// In any case.
    coupon_code: Option<String>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct ChangePlanRequest {
    plan_id: Uuid,
    /// As it is unless given.
    period: Option<BillingPeriod>,
}

#[derive(Serialize, ToSchema)]
struct ChangePlanResponse {
    subscription: Subscription,
    /// If there was something to charge.
    #[serde(skip_serializing_if = "Option::is_none")]
    invoice: Option<BillingInvoice>,
}

async fn current(ctx: Ctx) -> Answer<Json<Option<CurrentPlan>>> {
    let Some(subscription) = own(&ctx).await? else { return Ok(Json(None)) };
    let Some(contract) = subscription.state.current() else { return Ok(Json(None)) };
    let plan = find_offered::<Plan>(&ctx, contract.items.plan_id).await?.and_then(|plan| plan.state.terms);
    let plan_name = plan.as_ref().map_or_else(|| contract.items.plan_name.clone(), |plan| plan.name.clone());
    let limits = plan.as_ref().map(|plan| limits_object(&plan.limits)).unwrap_or_default();
    let features = plan.map(|plan| plan.features).unwrap_or_default();
    let subscription = shown(&ctx, &subscription.state, subscription.updated_at).await?;
    Ok(Json(Some(CurrentPlan { subscription, plan_name, limits, features })))
}

async fn subscribe(ctx: Ctx, Body(wish): Body<SubscribeRequest>) -> Answer<Created<Subscription>> {
    let wish = Subscribe {
        plan_id: wish.plan_id,
        interval: wish.period.map(Into::into).unwrap_or_default(),
        coupon_code: wish.coupon_code,
    };
    let subscribed = ctx.app.billing().subscribe(&ctx.origin(), &wish).await?;
    if wish.coupon_code.is_some() {
        settle_platform(&ctx).await?;
    }
    ctx.settle(subscribed.log_id, subscribed.position).await;
    Ok(Created(shown(&ctx, &subscribed.value, ctx.app.store().clock().now()).await?))
}

async fn change_plan(ctx: Ctx, Body(wish): Body<ChangePlanRequest>) -> Answer<Json<ChangePlanResponse>> {
    let period = wish.period.map(Into::into);
    let changed = ctx.app.billing().change_plan(&ctx.origin(), wish.plan_id, period).await?;
    ctx.settle(changed.log_id, changed.position).await;
    let (state, invoice_id) = changed.value;
    let invoice = match invoice_id {
        Some(id) => ctx.find_document::<Invoice>(id).await?,
        None => None,
    };
    let subscription = shown(&ctx, &state, ctx.app.store().clock().now()).await?;
    let invoice =
        invoice.and_then(|invoice| invoices::shown(&ctx, ctx.tenant_id(), invoice.id, invoice.state));
    Ok(Json(ChangePlanResponse { subscription, invoice }))
}

async fn cancel(ctx: Ctx) -> Answer<Json<Subscription>> {
    let canceled = ctx.app.billing().cancel(&ctx.origin()).await?;
    ctx.settle(canceled.log_id, canceled.position).await;
    Ok(Json(shown(&ctx, &canceled.value, ctx.app.store().clock().now()).await?))
}

/// The tenant's subscription, whatever became of it.
pub(super) async fn own(ctx: &Ctx) -> Answer<Option<Document<State>>> {
    ctx.find_document::<State>(commands::subscription::id_of(ctx.tenant_id())).await
}

/// `changed_at` is for a change that the read models may not have yet.
async fn shown(ctx: &Ctx, state: &State, changed_at: DateTime<Utc>) -> Answer<Subscription> {
    let contract = state.contract.as_ref().ok_or_else(|| Problem::not_found("subscription"))?;
    let methods = ctx.documents::<PaymentMethod>().await?;
    let paying = methods.into_iter().map(|method| method.state).find(|method| method.is_default);
    let (payment_gateway, gateway_customer_id) =
        paying.map(|method| (Some(method.gateway), method.gateway_customer_id)).unwrap_or_default();
    let seen = own(ctx).await?.filter(|document| document.state == *state);
    let lifecycle = &contract.lifecycle;
    Ok(Subscription {
        id: commands::subscription::id_of(ctx.tenant_id()),
        org_id: ctx.tenant_id(),
        plan_id: contract.items.plan_id,
        status: lifecycle.status.into(),
        billing_period: contract.items.interval.into(),
        cancel_at_period_end: lifecycle.cancel_at_period_end,
        created_at: contract.started_at,
        updated_at: seen.map_or(changed_at, |document| document.updated_at),
        trial_ends_at: lifecycle.trial_ends_at,
        current_period_start: Some(lifecycle.period.start),
        current_period_end: Some(lifecycle.period.end),
        payment_gateway,
        gateway_customer_id,
        // The gateways only move money; what recurs is decided here.
        gateway_subscription_id: None,
    })
}

/// Waits until the platform's log, which holds what tenants share, can be read up to now.
async fn settle_platform(ctx: &Ctx) -> Answer<()> {
    let log_id = ctx.app.store().log_of(PLATFORM_TENANT).await?;
    let head: Option<i64> = sqlx::query_scalar("SELECT max(position) FROM events WHERE log_id = $1")
        .bind(log_id)
        .fetch_one(ctx.app.store().pool())
        .await?;
    ctx.settle(log_id, head.unwrap_or(0)).await;
    Ok(())
}
