//! Billing: what tenants subscribe to and pay for, and what the platform earns.

mod income;
mod life;
mod offer;
mod refunds;
mod rush;
mod tenant;
mod time;
mod year;
