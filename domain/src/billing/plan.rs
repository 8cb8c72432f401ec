//! What is sold: the prices of plans and add-ons, and what one subscription takes of them each period.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::coupon::{AppliedCoupon, amount_off};
use super::invoice::{InvoiceLine, LineKind};
use super::limits::{LimitName, Limits};
use super::period::{Interval, MONTHS_PER_YEAR, Period};
use crate::money::{Currency, Money, MoneyError};

/// A year costs this many months where no annual price was given.
pub const ANNUAL_PRICE_MONTHS: u32 = 10;

/// A plan's prices, all in one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanPrices {
    pub base_monthly: Money,
    pub base_annual: Money,
    /// For each agent and month, the first one included. A year costs twelve of it: the annual rebate is on the base.
    pub per_agent: Money,
    /// For each message above `max_messages_month`, in the plan's currency, at most
    /// [`RATE_DECIMALS`](crate::money::RATE_DECIMALS) decimals. 0: messages above the limit are refused.
    #[serde(with = "rust_decimal::serde::str")]
    #[schemars(with = "Decimal")]
    pub overage_message: Decimal,
}

impl PlanPrices {
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.base_monthly.currency()
    }

    #[must_use]
    pub const fn base(&self, interval: Interval) -> Money {
        match interval {
            Interval::Monthly => self.base_monthly,
            Interval::Annual => self.base_annual,
        }
    }
}

/// An add-on's prices for one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddonPrices {
    pub monthly: Money,
    pub annual: Money,
}

impl AddonPrices {
    #[must_use]
    pub const fn price(&self, interval: Interval) -> Money {
        match interval {
            Interval::Monthly => self.monthly,
            Interval::Annual => self.annual,
        }
    }
}

/// The annual price of a plan or add-on that was given only a monthly one.
///
/// # Errors
/// [`MoneyError::OutOfRange`].
pub fn default_annual_price(monthly: Money) -> Result<Money, MoneyError> {
    monthly.times(ANNUAL_PRICE_MONTHS.into())
}

/// An add-on as one subscription has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddonItem {
    pub addon_id: Uuid,
    pub name: String,
    pub prices: AddonPrices,
    pub quantity: u32,
}

/// All that a subscription is charged for in advance, every period: plan, seats and add-ons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecurringItems {
    pub plan_id: Uuid,
    pub plan_name: String,
    pub prices: PlanPrices,
    pub interval: Interval,
    /// Agents that are charged for.
    pub seats: u32,
    pub addons: Vec<AddonItem>,
}

impl RecurringItems {
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.prices.currency()
    }

    /// The lines of a whole `period` before any discount. What costs nothing has no line, but for the plan.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`] for an add-on in another currency; [`MoneyError::OutOfRange`].
    pub fn lines(&self, period: Period) -> Result<Vec<InvoiceLine>, MoneyError> {
        let line = |kind, description: &str, quantity: u32, price: Money| {
            InvoiceLine::priced(
                kind,
                description,
                quantity.into(),
                price.amount(),
                price.currency(),
                Some(period),
            )
        };
        let mut lines = vec![line(LineKind::Plan, &self.plan_name, 1, self.prices.base(self.interval))?];
        lines.push(line(LineKind::Seats, "Agents", self.seats, self.seat_price()?)?);
        for addon in &self.addons {
            lines.push(line(
                LineKind::Addon,
                &addon.name,
                addon.quantity,
                addon.prices.price(self.interval),
            )?);
        }
        lines.retain(|line| line.kind == LineKind::Plan || !line.amount.is_zero());
        Ok(lines)
    }

    /// What is charged for, in one line of text: the plan, its agents if they cost anything, the add-ons.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut parts = vec![self.plan_name.clone()];
        if !self.prices.per_agent.is_zero() {
            parts.push(format!("{} {}", self.seats, if self.seats == 1 { "agent" } else { "agents" }));
        }
        parts.extend(self.addons.iter().map(|addon| format!("{} × {}", addon.quantity, addon.name)));
        parts.join(", ")
    }

    /// The price of a whole period after `coupon`, before tax; never negative.
    ///
    /// # Errors
    /// As [`RecurringItems::lines`]; [`MoneyError::CurrencyMismatch`] for a coupon in another currency.
    pub fn price(&self, coupon: Option<&AppliedCoupon>) -> Result<Money, MoneyError> {
        // The price does not depend on when the period is; only the lines' texts do.
        let anytime = Period { start: chrono::DateTime::UNIX_EPOCH, end: chrono::DateTime::UNIX_EPOCH };
        let gross = Money::sum(self.currency(), self.lines(anytime)?.iter().map(|line| line.amount))?;
        gross.minus(amount_off(coupon, gross)?)
    }

    fn seat_price(&self) -> Result<Money, MoneyError> {
        match self.interval {
            Interval::Monthly => Ok(self.prices.per_agent),
            Interval::Annual => self.prices.per_agent.times(MONTHS_PER_YEAR.into()),
        }
    }
}

/// A plan that the platform offers from its first start on, so that a new tenant can subscribe at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedPlan {
    pub name: &'static str,
    pub slug: &'static str,
    pub sort_order: i64,
    pub prices: PlanPrices,
    pub limits: Limits,
}

/// Starter, Growth and Scale in rupiah, cheapest first. Each allows at least what a tenant without a plan has.
///
/// # Errors
/// [`MoneyError::OutOfRange`], with no such prices as these.
pub fn seed_plans() -> Result<Vec<SeedPlan>, MoneyError> {
    let rupiah = |amount: i64| Money::rounded(amount.into(), Currency::IDR);
    let plan = |name,
                slug,
                sort_order,
                [base, per_agent, overage]: [i64; 3],
                [agents, contacts, messages, ai]: [u64; 4]| {
        Ok(SeedPlan {
            name,
            slug,
            sort_order,
            prices: PlanPrices {
                base_monthly: rupiah(base),
                base_annual: default_annual_price(rupiah(base))?,
                per_agent: rupiah(per_agent),
                overage_message: overage.into(),
            },
            limits: Limits::default()
                .with(LimitName::MaxAgents, Some(agents))
                .with(LimitName::MaxContacts, Some(contacts))
                .with(LimitName::MaxMessagesMonth, Some(messages))
                .with(LimitName::MaxChannels, None)
                .with(LimitName::MaxAiAgents, Some(ai)),
        })
    };
    Ok(vec![
        plan("Starter", "starter", 1, [299_000, 25_000, 50], [15, 25_000, 25_000, 2])?,
        plan("Growth", "growth", 2, [899_000, 20_000, 40], [50, 100_000, 100_000, 5])?,
        plan("Scale", "scale", 3, [2_999_000, 15_000, 25], [250, 1_000_000, 500_000, 25])?,
    ])
}
