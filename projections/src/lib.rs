//! Read models: what the log means, in tables made for the questions that are asked.
//!
//! A projection is a set of tables; a table is a pure fold from events to rows ([`table::Fold`]). One engine reads the
//! log in order, loads the rows that a batch touches, folds, and writes rows and checkpoint in one transaction, so the
//! same fold serves live, rebuild, verify and replay of parked events.

pub mod activity;
pub mod allocation;
pub mod automation;
pub mod billing;
pub mod chat_expiration;
pub mod counters;
pub mod csat;
pub mod documents;
pub mod event;
mod group;
pub mod history;
pub mod inbox;
pub mod lease;
pub mod parking;
pub mod projection;
pub mod rebuild;
pub mod revenue;
pub mod runner;
pub mod shadow;
pub mod sla;
pub mod standing;
pub mod status;
pub mod table;
pub mod tenant;
pub mod usage;
pub mod verify;
pub mod wait;
pub mod webhooks;

pub use event::Event;
pub use projection::Projection;
pub use wait::Waiter;

/// Every read model there is.
#[must_use]
pub fn all() -> Vec<Projection> {
    vec![
        activity::projection(),
        automation::projection(),
        allocation::projection(),
        billing::projection(),
        chat_expiration::projection(),
        counters::projection(),
        csat::projection(),
        documents::projection(),
        inbox::projection(),
        revenue::projection(),
        sla::projection(),
        webhooks::projection(),
    ]
}
