//! Billing: what tenants subscribe to and pay for, and what the platform earns.

mod deleted_plans;
mod income;
mod life;
mod offer;
mod refund_or_credit;
mod refunds;
mod rush;
mod suspended;
mod tenant;
mod time;
mod year;
