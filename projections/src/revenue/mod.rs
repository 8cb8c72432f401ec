//! Revenue of the platform: what subscriptions are worth each month, how that changes, and what was paid.
//!
//! Subscriptions and invoices are their tenants' and lie in several logs, while revenue is over all of them. So each log
//! keeps books of its own, in rows of the platform's tenant, and a question adds the logs up; nothing needs an order
//! between them. There are two books, and each is kept twice: entry by entry and summed per day. A past moment is the
//! sum of the days before its own and of the entries of that day until then, so that time travel costs what today
//! costs, however long the history.
//!
//! An entry is what an event has changed, so it takes the state before the event to make it ([`change`]).

mod change;
mod invoices;
mod payments;
pub mod query;
mod subscriptions;
mod terms;

use chrono::NaiveDate;
use domain::money::Money;

use crate::event::{Event, FoldError};
use crate::projection::Projection;
use crate::table::table;
use change::booked;

/// The name under which its progress is told.
pub const NAME: &str = "revenue";

#[must_use]
pub fn projection() -> Projection {
    // The books come first: they are made from the states as they were before the batch.
    let tables = vec![
        booked::<terms::Terms, subscriptions::Entries>(),
        booked::<terms::Terms, subscriptions::Days>(),
        booked::<invoices::Invoices, payments::Entries>(),
        booked::<invoices::Invoices, payments::Days>(),
        table::<terms::Terms>(),
        table::<invoices::Invoices>(),
    ];
    Projection::read_model(NAME, tables)
}

/// The UTC day in whose sums an event is.
fn day_of(event: &Event) -> NaiveDate {
    event.recorded_at.date_naive()
}

/// An amount as the tables hold it: exact, and summed by the database as a whole number.
fn minor_units(money: Money) -> Result<i64, FoldError> {
    money.minor_units().ok_or_else(|| FoldError::Inconsistent(format!("{money} is too large to be booked")))
}
