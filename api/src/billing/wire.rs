//! Billing on the wire: amounts, and what several of its operations answer.

use chrono::{DateTime, Utc};
use domain::billing::coupon::DiscountType;
use domain::billing::{Interval, InvoiceStatus, SubscriptionStatus};
use domain::money::Money;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

/// A decimal number in a string, never a float: an amount in major units of its currency, such as `149000` rupiah or
/// `29.50` dollars, a price for one message, or a percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(as = Decimal, value_type = String, pattern = r"^-?\d+(\.\d+)?$", examples("149000"))]
pub(super) struct Amount(#[serde(with = "rust_decimal::serde::str")] pub Decimal);

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self(money.amount())
    }
}

impl From<Decimal> for Amount {
    fn from(number: Decimal) -> Self {
        Self(number)
    }
}

// What a request names as an amount, before it is known in which currency. One schema with the answers' needs one text.
/// A decimal number in a string, never a float: an amount in major units of its currency, such as `149000` rupiah or
/// `29.50` dollars, a price for one message, or a percentage.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(as = Decimal, value_type = String, pattern = r"^-?\d+(\.\d+)?$", examples("149000"))]
pub(super) struct AmountText(pub String);

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident for $state:ident { $($variant:ident),+ })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub(super) enum $name { $($variant),+ }

        impl From<$state> for $name {
            fn from(state: $state) -> Self {
                match state { $($state::$variant => Self::$variant),+ }
            }
        }

        impl From<$name> for $state {
            fn from(name: $name) -> Self {
                match name { $($name::$variant => Self::$variant),+ }
            }
        }
    )*};
}

names! {
    BillingPeriod for Interval { Monthly, Annual }
    DiscountTypeName for DiscountType { Percentage, Fixed }
    SubscriptionStatusName for SubscriptionStatus { Trialing, Active, PastDue, Canceled }
    InvoiceStatusName for InvoiceStatus { Draft, Open, Paid, Void, Uncollectible, Refunded }
}

/// Something to subscribe to.
#[derive(Serialize, ToSchema)]
pub(super) struct BillingPlan {
    pub id: Uuid,
    pub name: String,
    pub slug: String,
    /// ISO 4217; of all the plan's prices.
    pub currency: String,
    pub base_price_monthly: Amount,
    pub base_price_annual: Amount,
    /// For each agent and month; twelve of it for a year.
    pub per_agent_price: Amount,
    /// For each message above `max_messages_month`; at 0 such messages are refused instead.
    pub overage_message_price: Amount,
    /// `max_agents`, `max_contacts`, `max_messages_month`, `max_channels`, `max_ai_agents`: whole numbers, null or
    /// absent for no limit.
    #[schema(value_type = Object)]
    pub limits: Map<String, Value>,
    /// What else comes with it, for display, such as `dedicated_support`.
    #[schema(value_type = Object)]
    pub features: Map<String, Value>,
    /// Offered; who has subscribed keeps it either way.
    pub is_active: bool,
    pub sort_order: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Something to have besides the plan.
#[derive(Serialize, ToSchema)]
pub(super) struct BillingAddon {
    pub id: Uuid,
    pub name: String,
    pub slug: String,
    /// For one of it.
    pub price_monthly: Amount,
    /// For one of it.
    pub price_annual: Amount,
    /// ISO 4217; it goes with plans in this currency.
    pub currency: String,
    /// What one of it is, such as `flat` or `per agent`; for display.
    pub unit: String,
    pub is_active: bool,
    pub sort_order: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A percentage or a fixed amount off every period of a subscription that redeemed it.
#[derive(Serialize, ToSchema)]
pub(super) struct BillingCoupon {
    pub id: Uuid,
    /// Upper-case; compared without case.
    pub code: String,
    pub discount_type: DiscountTypeName,
    /// Per cent, or an amount in `currency` off each period.
    pub discount_value: Amount,
    /// ISO 4217; it goes with plans in this currency.
    pub currency: String,
    /// Subscriptions that have redeemed it.
    pub current_uses: i64,
    pub valid_from: DateTime<Utc>,
    pub is_active: bool,
    pub created_at: DateTime<Utc>,
    /// Absent: as many as like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<i64>,
    /// The first moment at which it can't be redeemed any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<DateTime<Utc>>,
    /// Absent: all plans of its currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applicable_plans: Option<Vec<Uuid>>,
}

/// What a tenant has subscribed to.
#[derive(Serialize, ToSchema)]
pub(super) struct Subscription {
    pub id: Uuid,
    pub org_id: Uuid,
    pub plan_id: Uuid,
    pub status: SubscriptionStatusName,
    pub billing_period: BillingPeriod,
    /// It ends with the current period.
    pub cancel_at_period_end: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial_ends_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_period_start: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_period_end: Option<DateTime<Utc>>,
    /// Who collects, such as `manual`, `stripe`, `xendit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_gateway: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_customer_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_subscription_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct BillingInvoice {
    pub id: Uuid,
    pub org_id: Uuid,
    /// Given when the invoice is finalized, without gaps; empty until then.
    pub invoice_number: String,
    pub currency: String,
    pub subtotal: Amount,
    pub tax: Amount,
    pub total: Amount,
    pub status: InvoiceStatusName,
    /// Tries to collect it after the first one failed.
    pub retry_count: i64,
    pub created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<Uuid>,
    /// Absent until there is a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdf_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_invoice_id: Option<String>,
    /// Where to pay it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_retry_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paid_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_date: Option<DateTime<Utc>>,
    /// Given back of what was paid.
    pub amount_refunded: Amount,
    /// Before tax. Of what was paid, it became credit when less was subscribed to, and can't be refunded any more.
    pub amount_credited: Amount,
    /// What is charged for; they add up to the subtotal.
    pub lines: Vec<BillingInvoiceLine>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct BillingInvoiceLine {
    pub description: String,
    pub quantity: i64,
    pub unit_price: Amount,
    /// Negative for credits and discounts.
    pub amount: Amount,
}
