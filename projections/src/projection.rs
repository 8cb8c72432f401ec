//! A reader of the log with a checkpoint of its own.

use crate::event::Event;
use crate::table::Table;

/// Tables that move together: one checkpoint per log, one transaction per batch.
pub struct Projection {
    pub name: &'static str,
    pub tables: Vec<Box<dyn Table>>,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Answers queries; can be dropped and rebuilt at any time.
    ReadModel,
    /// Turns events into work for the worker. Never rebuilt: that would do the work again.
    ProcessManager,
}

/// Where the tables of a live read model are.
pub const LIVE_SCHEMA: &str = "read";
/// Where the rows of process managers are: with the log, not with what can be dropped.
pub const QUEUE_SCHEMA: &str = "public";

impl Projection {
    #[must_use]
    pub fn read_model(name: &'static str, tables: Vec<Box<dyn Table>>) -> Self {
        Self { name, tables, kind: Kind::ReadModel }
    }

    #[must_use]
    pub fn process_manager(name: &'static str, tables: Vec<Box<dyn Table>>) -> Self {
        Self { name, tables, kind: Kind::ProcessManager }
    }

    #[must_use]
    pub fn is_read_model(&self) -> bool {
        self.kind == Kind::ReadModel
    }

    /// Whether the event may change a row.
    #[must_use]
    pub fn concerns(&self, event: &Event) -> bool {
        self.tables.iter().any(|table| table.concerns(event))
    }

    #[must_use]
    pub const fn live_schema(&self) -> &'static str {
        match self.kind {
            Kind::ReadModel => LIVE_SCHEMA,
            Kind::ProcessManager => QUEUE_SCHEMA,
        }
    }
}
