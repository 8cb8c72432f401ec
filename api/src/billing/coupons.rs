//! Coupons: a discount for whoever knows the code.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use commands::coupon;
use domain::billing::Coupon as Terms;
use domain::billing::coupon::{CouponPlan, Discount, DiscountType, normalized_code};
use domain::coupon::Coupon;
use domain::money::AmountError;
use domain::plan::Plan;
use domain::refusal::Refusal;
use domain::subscription::Subscription;
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::offer::{Reading, find_offered, offered};
use super::wire::{AmountText, BillingCoupon, DiscountTypeName};
use crate::http::{
    Access, Answer, Body, Created, Json, List, Path, Problem, Route, Versioned, delete, get, patch, post,
};
use crate::resource::Deleted;
use crate::{App, Ctx};

pub(super) fn routes() -> [Route<App>; 1] {
    [post("/api/billing/coupons/validate", "Validate a coupon code", Access::Any, validate).describe(
        "200 either way: valid says whether it could be redeemed now, reason why not; nothing is redeemed or reserved. \
         Without plan_id only what holds for all plans is looked at",
    )]
}

pub(super) fn admin_routes() -> [Route<App>; 4] {
    let (all, one) = ("/api/super-admin/billing/coupons", "/api/super-admin/billing/coupons/{id}");
    [
        get(all, "List all coupons", Access::Super, list),
        post(all, "Create a coupon", Access::Super, create)
            .describe("code upper-cased, unique; currency IDR unless given, valid from now on unless given"),
        delete(one, "Delete a coupon", Access::Super, remove)
            .describe("its code is free again; subscriptions that redeemed it keep the discount"),
        patch(one, "Update a coupon", Access::Super, update).describe(
            "subscriptions that redeemed it keep the discount as it was; null lifts max_uses or valid_until",
        ),
    ]
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct CreateBillingCoupon {
    /// 1 to 50 letters, digits, `-` and `_`.
    code: String,
    discount_type: DiscountTypeName,
    /// More than 0. Per cent: at most 100, with 2 decimals; fixed: an amount of the currency.
    discount_value: AmountText,
    /// ISO 4217, in capitals; the coupon goes with plans in this currency.
    currency: Option<String>,
    /// How many subscriptions may redeem it; as many as like unless given.
    #[garde(range(min = 1))]
    max_uses: Option<i64>,
    valid_from: Option<DateTime<Utc>>,
    /// The first moment at which it can't be redeemed any more.
    valid_until: Option<DateTime<Utc>>,
    /// All plans of its currency unless given.
    applicable_plans: Option<Vec<Uuid>>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct UpdateBillingCoupon {
    /// With `discount_value` only.
    discount_type: Option<DiscountTypeName>,
    discount_value: Option<AmountText>,
    /// Not less than 1; null for as many as like. Less than were redeemed: no more can.
    #[serde(default, deserialize_with = "super::offer::given")]
    #[schema(value_type = Option<i64>)]
    #[garde(inner(range(min = 1)))]
    max_uses: Option<Option<i64>>,
    valid_from: Option<DateTime<Utc>>,
    /// Null for no end.
    #[serde(default, deserialize_with = "super::offer::given")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    valid_until: Option<Option<DateTime<Utc>>>,
    /// Replaces the list; empty or null for all plans of its currency.
    #[serde(default, deserialize_with = "super::offer::given")]
    #[schema(value_type = Option<Vec<Uuid>>)]
    applicable_plans: Option<Option<Vec<Uuid>>>,
    is_active: Option<bool>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct ValidateCoupon {
    /// In any case.
    code: String,
    plan_id: Option<Uuid>,
}

#[derive(Serialize, ToSchema)]
struct CouponValidation {
    valid: bool,
    /// Of a valid one.
    #[serde(skip_serializing_if = "Option::is_none")]
    coupon: Option<BillingCoupon>,
    /// Why it is not valid, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

async fn list(ctx: Ctx) -> Answer<List<BillingCoupon>> {
    Ok(List(ctx.documents::<Coupon>().await?.into_iter().filter_map(|c| shown(c.id, c.state)).collect()))
}

async fn create(ctx: Ctx, Body(new): Body<CreateBillingCoupon>) -> Answer<Created<BillingCoupon>> {
    require_plans(&ctx, new.applicable_plans.as_deref()).await?;
    let (id, terms) = (ctx.new_id(1), new.terms(ctx.app.store().clock().now())?);
    ctx.execute::<Coupon>(id, |state| coupon::create(state, id, &terms)).await?;
    Ok(Created(one(&ctx, id).await?.value))
}

async fn update(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(change): Body<UpdateBillingCoupon>,
) -> Answer<Versioned<BillingCoupon>> {
    ctx.document::<Coupon>(id).await?;
    require_plans(&ctx, change.applicable_plans.as_ref().and_then(Option::as_deref)).await?;
    ctx.execute::<Coupon>(id, |state| {
        let before = state.terms.as_ref().ok_or_else(|| Refusal::not_found("coupon"))?;
        coupon::update(state, &change.applied_to(before)?)
    })
    .await?;
    one(&ctx, id).await
}

async fn remove(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    ctx.execute::<Coupon>(id, |state| coupon::delete(state, id)).await?;
    Ok(Json(Deleted::new("coupon", id)))
}

async fn one(ctx: &Ctx, id: Uuid) -> Answer<Versioned<BillingCoupon>> {
    let coupon = ctx.document::<Coupon>(id).await?;
    let version = coupon.version;
    let value = shown(id, coupon.state).ok_or_else(|| Problem::not_found("coupon"))?;
    Ok(Versioned { version, value })
}

/// # Errors
/// 422 naming each plan that there is not.
async fn require_plans(ctx: &Ctx, ids: Option<&[Uuid]>) -> Answer<()> {
    let Some(ids) = ids.filter(|ids| !ids.is_empty()) else { return Ok(()) };
    let known: HashSet<Uuid> = offered::<Plan>(ctx).await?.into_iter().map(|plan| plan.id).collect();
    let mut reading = Reading::default();
    for (index, _) in ids.iter().enumerate().filter(|(_, id)| !known.contains(id)) {
        reading.problem(format!("applicable_plans[{index}]"), "names no plan");
    }
    Ok(reading.finish()?)
}

async fn validate(ctx: Ctx, Body(asked): Body<ValidateCoupon>) -> Answer<Json<CouponValidation>> {
    let plan = match asked.plan_id {
        Some(id) => Some(plan_of(&ctx, id).await?),
        None => None,
    };
    let refused =
        |reason: String| Json(CouponValidation { valid: false, coupon: None, reason: Some(reason) });
    let Some((id, state)) = coupon::find(ctx.app.store(), &asked.code).await? else {
        return Ok(refused("There is no such coupon.".to_owned()));
    };
    let Some(terms) = &state.terms else { return Ok(refused("There is no such coupon.".to_owned())) };
    let subscription = ctx.documents::<Subscription>().await?;
    if subscription.iter().any(|document| document.state.redeemed_coupons.contains(&id)) {
        return Ok(refused("You have redeemed this coupon before.".to_owned()));
    }
    if let Err(refusal) = terms.check(state.redeemed, plan, ctx.app.store().clock().now()) {
        return Ok(refused(refusal.to_string()));
    }
    Ok(Json(CouponValidation { valid: true, coupon: shown(id, state), reason: None }))
}

async fn plan_of(ctx: &Ctx, id: Uuid) -> Answer<CouponPlan> {
    let plan = find_offered::<Plan>(ctx, id).await?.and_then(|plan| plan.state.terms);
    let plan = plan.ok_or_else(|| Problem::invalid("plan_id", "names no plan"))?;
    Ok(CouponPlan { id, currency: plan.prices.currency() })
}

impl CreateBillingCoupon {
    fn terms(self, now: DateTime<Utc>) -> Result<Terms, Refusal> {
        let mut reading = Reading::default();
        let code = normalized_code(&self.code);
        if code.is_none() {
            reading.problem("code", "must be 1 to 50 letters, digits, - and _");
        }
        let currency = reading.currency(self.currency.as_deref());
        let discount = Discount::parse(self.discount_type.into(), &self.discount_value.0, currency);
        let discount = reading.or_problem("discount_value", discount);
        reading.finish()?;
        let (Some(code), Some(discount)) = (code, discount) else {
            return Err(Refusal::invalid("discount_value", "is not valid"));
        };
        Ok(Terms {
            code,
            discount,
            currency: Some(currency),
            max_uses: self.max_uses.and_then(|uses| u64::try_from(uses).ok()),
            valid_from: self.valid_from.unwrap_or(now),
            valid_until: self.valid_until,
            applicable_plans: self.applicable_plans.unwrap_or_default(),
            is_active: true,
        })
    }
}

impl UpdateBillingCoupon {
    /// The whole coupon after the change.
    fn applied_to(&self, before: &Terms) -> Result<Terms, Refusal> {
        let mut wanted = before.clone();
        match (self.discount_type, &self.discount_value) {
            (None, None) => {}
            (Some(kind), None) if DiscountType::from(kind) == before.discount.kind() => {}
            (Some(_), None) => {
                return Err(Refusal::invalid("discount_value", "must be given with another discount_type"));
            }
            (kind, Some(value)) => {
                let kind = kind.map_or(before.discount.kind(), Into::into);
                let read = Discount::parse(kind, &value.0, before.currency.unwrap_or_default());
                let problem = |error: AmountError| Refusal::invalid_fields(vec![error.at("discount_value")]);
                wanted.discount = read.map_err(problem)?;
            }
        }
        if let Some(max_uses) = self.max_uses {
            wanted.max_uses = max_uses.and_then(|uses| u64::try_from(uses).ok());
        }
        wanted.valid_from = self.valid_from.unwrap_or(before.valid_from);
        wanted.valid_until = self.valid_until.unwrap_or(before.valid_until);
        if let Some(plans) = &self.applicable_plans {
            wanted.applicable_plans = plans.clone().unwrap_or_default();
        }
        wanted.is_active = self.is_active.unwrap_or(before.is_active);
        Ok(wanted)
    }
}

/// Nothing for one that was deleted.
fn shown(id: Uuid, coupon: Coupon) -> Option<BillingCoupon> {
    let terms = coupon.terms?;
    Some(BillingCoupon {
        id,
        code: terms.code,
        discount_type: terms.discount.kind().into(),
        discount_value: terms.discount.value().into(),
        currency: terms.currency.unwrap_or_default().to_string(),
        current_uses: i64::try_from(coupon.redeemed).unwrap_or(i64::MAX),
        valid_from: terms.valid_from,
        is_active: terms.is_active,
        created_at: coupon.created_at.unwrap_or_default(),
        max_uses: terms.max_uses.map(|uses| i64::try_from(uses).unwrap_or(i64::MAX)),
        valid_until: terms.valid_until,
        applicable_plans: Some(terms.applicable_plans).filter(|plans| !plans.is_empty()),
    })
}
