//! Service-level agreements: how long a customer may wait for a first answer and for a solution, and whether
//! that promise is being kept.
//!
//! [`policy`] says which promise a conversation gets. [`clock`] is a pure fold over what happened to the
//! conversation: it tells the status at any instant, and which warnings and breaches are due. [`stopwatch`]
//! is the measuring underneath: working time with pauses.

pub mod clock;
pub mod policy;
mod stopwatch;

pub use clock::{MarkKey, SlaFact, SlaMark, SlaState, SlaStatus};
pub use policy::{Policy, Terms, choose};
pub use stopwatch::{ClockStatus, ClockType, MarkLevel};
