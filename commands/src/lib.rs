//! Decisions and the event store: a command loads a stream, decides, and appends what follows.

pub mod clock;
pub mod idempotency;
pub mod ids;
pub mod password;
pub mod ports;
pub mod refusal;
pub mod role;
pub mod store;
pub mod super_admin;
pub mod vault;

pub use refusal::{CommandError, FieldProblem, Refusal};
pub use store::Store;
