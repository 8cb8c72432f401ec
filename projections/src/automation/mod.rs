//! Automation as it is looked at: the queue, what rules did, and the counts of both.

pub mod days;
pub mod query;
pub mod queue;
pub mod runs;

use crate::projection::Projection;
use crate::table::table;

/// The name under which its progress is told.
pub const NAME: &str = "automation";

#[must_use]
pub fn projection() -> Projection {
    Projection::read_model(
        NAME,
        vec![
            table::<queue::Queue>(),
            table::<runs::Runs>(),
            table::<days::RuleDays>(),
            table::<days::QueueDays>(),
        ],
    )
}
