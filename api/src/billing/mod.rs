//! Billing: what tenants subscribe to and pay for, and what the platform sells and earns.
//!
//! Plans, coupons and add-ons are the platform's; every tenant sees them. Subscriptions, invoices and payment methods
//! are a tenant's own.

mod addons;
mod coupons;
mod invoices;
mod offer;
mod payment_methods;
mod plans;
mod revenue;
mod subscription;
mod usage;
mod wire;

use crate::App;
use crate::http::{Access, Group, Permission, group};

/// Who may see what a tenant pays, and spend its money.
const MANAGE: Access = Access::Permission(Permission::BillingManage);

pub fn routes() -> Group<App> {
    let rows = subscription::routes().into_iter().chain(plans::routes()).chain(usage::routes());
    let rows = rows.chain(invoices::routes()).chain(payment_methods::routes());
    group("Billing", rows.chain(coupons::routes()).chain(addons::routes()))
}

pub fn admin_routes() -> Group<App> {
    let rows = plans::admin_routes().into_iter().chain(coupons::admin_routes()).chain(addons::admin_routes());
    group("Billing Admin", rows.chain(revenue::routes()).chain(invoices::admin_routes()))
}
