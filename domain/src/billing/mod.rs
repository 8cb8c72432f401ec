//! Billing: what a tenant is charged, when, and what that makes of the platform's revenue.
//!
//! Everything here is a pure function of what was agreed (plan, interval, seats, add-ons, coupon), what was used and
//! what time it is. Reading from the outside in:
//!
//! - [`period`]: the calendar. [`lifecycle`] and [`dunning`]: what becomes of a subscription as time passes and
//!   payments succeed or fail; a timer asks [`lifecycle::Lifecycle::next_action`] what to do and when.
//! - [`plan`]: what is sold. [`coupon`]: what is taken off. [`limits`]: how much may be used.
//! - [`overage`]: what was used beyond the limits. [`invoice`]: what is charged for a whole period. [`proration`]: what
//!   is charged or credited within one. [`refund`]: what can be given back of it.
//! - [`mrr`]: what it all amounts to each month. [`standing`]: how that is booked.

pub mod coupon;
pub mod dunning;
pub mod invoice;
pub mod lifecycle;
pub mod limits;
pub mod mrr;
pub mod overage;
pub mod period;
pub mod plan;
pub mod proration;
pub mod refund;
pub mod standing;

#[cfg(test)]
mod tests;

pub use coupon::{AppliedCoupon, Coupon, CouponRefusal, Discount};
pub use invoice::{Invoice, InvoiceLine, InvoiceStatus, LineKind};
pub use lifecycle::{Lifecycle, SubscriptionStatus, Suspension};
pub use limits::{LimitName, LimitReached, Limits};
pub use period::{Interval, Month, Period};
pub use plan::{AddonItem, AddonPrices, PlanPrices, RecurringItems};
pub use proration::Prepaid;
