//! Coupons: a percentage or a fixed amount off every period of a subscription.
//!
//! A coupon comes off what recurs (plan, seats, add-ons), on every invoice for as long as the subscription stays on a
//! plan that the coupon is for. It never touches overage. Its validity window and number of uses concern redeeming it:
//! who redeemed in time keeps the discount.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::money::{AmountError, Currency, Money, MoneyError, parse_percent};
use crate::refusal::{FieldProblem, Refusal};

pub const MAX_CODE_LENGTH: usize = 50;

/// What is taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "discount_type", content = "discount_value", rename_all = "snake_case")]
pub enum Discount {
    /// More than 0, at most 100.
    Percentage(
        #[serde(with = "rust_decimal::serde::str")]
        #[schemars(with = "Decimal")]
        Decimal,
    ),
    /// For each period, monthly or annual; what exceeds the price is lost.
    Fixed(Money),
}

/// `discount_type` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscountType {
    Percentage,
    Fixed,
}

impl Discount {
    /// Reads `discount_value` as `discount_type` means it.
    ///
    /// # Errors
    /// What is wrong with the value.
    pub fn parse(kind: DiscountType, value: &str, currency: Currency) -> Result<Self, AmountError> {
        match kind {
            DiscountType::Percentage => parse_percent(value).map(Self::Percentage),
            DiscountType::Fixed => Money::parse_positive(value, currency).map(Self::Fixed),
        }
    }

    #[must_use]
    pub const fn kind(&self) -> DiscountType {
        match self {
            Self::Percentage(_) => DiscountType::Percentage,
            Self::Fixed(_) => DiscountType::Fixed,
        }
    }

    /// `discount_value` on the wire.
    #[must_use]
    pub const fn value(&self) -> Decimal {
        match self {
            Self::Percentage(percent) => *percent,
            Self::Fixed(money) => money.amount(),
        }
    }

    /// What comes off `price`: from zero to all of it.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`] for a fixed discount in another currency; [`MoneyError::OutOfRange`].
    pub fn off(&self, price: Money) -> Result<Money, MoneyError> {
        match self {
            Self::Percentage(percent) => price.times(*percent / Decimal::ONE_HUNDRED),
            Self::Fixed(fixed) => fixed.min(price),
        }
    }
}

/// A coupon as it can be redeemed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coupon {
    /// As [`normalized_code`] gives it.
    pub code: String,
    pub discount: Discount,
    /// Only for plans in this currency. A fixed discount always has one; a percentage only if the operator said so.
    pub currency: Option<Currency>,
    /// How many subscriptions may redeem it; at least 1.
    pub max_uses: Option<u64>,
    pub valid_from: DateTime<Utc>,
    /// The first moment at which it is no longer valid.
    pub valid_until: Option<DateTime<Utc>>,
    /// Empty: all plans.
    pub applicable_plans: Vec<Uuid>,
    pub is_active: bool,
}

/// The plan that a coupon is to be used on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CouponPlan {
    pub id: Uuid,
    pub currency: Currency,
}

/// A redeemed coupon, as its subscription keeps it: later edits of the coupon do not change what was agreed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppliedCoupon {
    pub coupon_id: Uuid,
    pub code: String,
    pub discount: Discount,
    pub applicable_plans: Vec<Uuid>,
}

impl AppliedCoupon {
    /// Whether it still counts after a change to `plan_id`.
    #[must_use]
    pub fn applies_to(&self, plan_id: Uuid) -> bool {
        covers(&self.applicable_plans, plan_id)
    }
}

/// Why a coupon cannot be redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CouponRefusal {
    #[error("This coupon is not active.")]
    Inactive,
    #[error("This coupon is not valid yet.")]
    NotYetValid,
    #[error("This coupon has expired.")]
    Expired,
    #[error("This coupon has been used as often as it can be.")]
    UsedUp,
    #[error("This coupon is for another plan.")]
    OtherPlan,
    #[error("This coupon is for another currency.")]
    OtherCurrency,
}

impl CouponRefusal {
    /// 409 for a coupon that others used up, which is no fault of the request; else 422 naming `field`.
    #[must_use]
    pub fn at(self, field: &str) -> Refusal {
        match self {
            Self::UsedUp => Refusal::conflict("coupon_used_up", self.to_string()),
            _ => Refusal::invalid(field, self.to_string()),
        }
    }
}

impl Coupon {
    /// Whether one more subscription may redeem it, given how many have. `plan` is `None` when a code is only looked
    /// at, before a plan was chosen.
    ///
    /// # Errors
    /// The first reason against it. That a coupon is used up comes last, so that nobody is told to hurry for a
    /// coupon that would not have fitted.
    pub fn check(
        &self,
        redeemed: u64,
        plan: Option<CouponPlan>,
        now: DateTime<Utc>,
    ) -> Result<(), CouponRefusal> {
        if !self.is_active {
            return Err(CouponRefusal::Inactive);
        }
        if now < self.valid_from {
            return Err(CouponRefusal::NotYetValid);
        }
        if self.valid_until.is_some_and(|until| now >= until) {
            return Err(CouponRefusal::Expired);
        }
        if let Some(plan) = plan {
            if !covers(&self.applicable_plans, plan.id) {
                return Err(CouponRefusal::OtherPlan);
            }
            if self.currency.is_some_and(|currency| currency != plan.currency) {
                return Err(CouponRefusal::OtherCurrency);
            }
        }
        if self.max_uses.is_some_and(|max| redeemed >= max) {
            return Err(CouponRefusal::UsedUp);
        }
        Ok(())
    }

    /// What is wrong with the coupon itself; empty if nothing is.
    #[must_use]
    pub fn problems(&self) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        if self.valid_until.is_some_and(|until| until <= self.valid_from) {
            problems.push(FieldProblem::new("valid_until", "must be after valid_from"));
        }
        if self.max_uses == Some(0) {
            problems.push(FieldProblem::new("max_uses", "must be at least 1"));
        }
        problems
    }
}

/// What `coupon`, if there is one, takes off `price`.
///
/// # Errors
/// As [`Discount::off`].
pub fn amount_off(coupon: Option<&AppliedCoupon>, price: Money) -> Result<Money, MoneyError> {
    coupon.map_or(Ok(Money::zero(price.currency())), |coupon| coupon.discount.off(price))
}

/// A code as it is stored and looked up: upper-case, 1 to [`MAX_CODE_LENGTH`] letters, digits, `-` and `_`.
/// `None` if it cannot be one.
#[must_use]
pub fn normalized_code(text: &str) -> Option<String> {
    let code = text.trim().to_ascii_uppercase();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    ((1..=MAX_CODE_LENGTH).contains(&code.len()) && code.bytes().all(allowed)).then_some(code)
}

fn covers(applicable_plans: &[Uuid], plan_id: Uuid) -> bool {
    applicable_plans.is_empty() || applicable_plans.contains(&plan_id)
}
