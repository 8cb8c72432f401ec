//! Tests of billing: worked examples first, then properties that hold for any prices and dates.

mod charges;
mod coupon;
mod lifecycle;
mod limits;
mod mrr;
mod overage;
mod period;
mod proration;
mod refund;
mod standing;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::*;
use crate::money::{Currency, Money};

fn at(text: &str) -> DateTime<Utc> {
    let text = if text.contains('T') { format!("{text}Z") } else { format!("{text}T00:00:00Z") };
    text.parse().unwrap()
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn idr(amount: i64) -> Money {
    Money::rounded(amount.into(), Currency::IDR)
}

fn usd(text: &str) -> Money {
    Money::rounded(decimal(text), Currency::USD)
}

/// A plan without seats or add-ons whose year costs ten months.
fn plan(name: &str, base_monthly: Money, interval: Interval) -> RecurringItems {
    let zero = Money::zero(base_monthly.currency());
    let base_annual = super::plan::default_annual_price(base_monthly).unwrap();
    let prices = PlanPrices { base_monthly, base_annual, per_agent: zero, overage_message: Decimal::ZERO };
    let plan_id = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
    RecurringItems { plan_id, plan_name: name.to_owned(), prices, interval, seats: 0, addons: Vec::new() }
}

fn addon(name: &str, monthly: Money, quantity: u32) -> AddonItem {
    let prices = AddonPrices { monthly, annual: super::plan::default_annual_price(monthly).unwrap() };
    AddonItem { addon_id: Uuid::from_u128(1), name: name.to_owned(), prices, quantity }
}

fn applied(discount: Discount) -> AppliedCoupon {
    AppliedCoupon {
        coupon_id: Uuid::nil(),
        code: "WELCOME".to_owned(),
        discount,
        applicable_plans: Vec::new(),
    }
}

fn percent(value: &str) -> AppliedCoupon {
    applied(Discount::Percentage(decimal(value)))
}

fn any_currency() -> impl Strategy<Value = Currency> {
    prop_oneof![Just(Currency::IDR), Just(Currency::USD), Just("KWD".parse().unwrap())]
}

fn any_interval() -> impl Strategy<Value = Interval> {
    prop_oneof![Just(Interval::Monthly), Just(Interval::Annual)]
}

/// From nothing to ten million major units.
fn any_price(currency: Currency) -> impl Strategy<Value = Money> {
    let minor = 0_i64..10_000_000;
    prop_oneof![1 => Just(Money::zero(currency)), 9 => minor.prop_map(move |units| {
        Money::rounded(Decimal::new(units, currency.decimals()), currency)
    })]
}

fn any_items(currency: Currency) -> impl Strategy<Value = RecurringItems> {
    let addons = proptest::collection::vec((any_price(currency), any_price(currency), 1_u32..5), 0..3);
    let prices = (any_price(currency), any_price(currency), any_price(currency));
    (prices, any_interval(), 0_u32..60, addons).prop_map(
        move |((base, annual, per_agent), interval, seats, addons)| {
            let mut items = plan("Some plan", base, interval);
            items.prices.base_annual = annual;
            items.prices.per_agent = per_agent;
            items.seats = seats;
            let item = |(monthly, annual, quantity)| AddonItem {
                addon_id: Uuid::nil(),
                name: "Some add-on".to_owned(),
                prices: AddonPrices { monthly, annual },
                quantity,
            };
            items.addons = addons.into_iter().map(item).collect();
            items
        },
    )
}

fn any_coupon(currency: Currency) -> impl Strategy<Value = Option<AppliedCoupon>> {
    let percentage =
        (1_i64..=10_000).prop_map(|hundredths| Discount::Percentage(Decimal::new(hundredths, 2)));
    let fixed = any_price(currency).prop_map(Discount::Fixed);
    proptest::option::of(prop_oneof![percentage, fixed].prop_map(applied))
}

/// Any second from 2024 to 2033.
fn any_moment() -> impl Strategy<Value = DateTime<Utc>> {
    (0_i64..10 * 365 * 86_400).prop_map(|seconds| at("2024-01-01") + TimeDelta::seconds(seconds))
}
