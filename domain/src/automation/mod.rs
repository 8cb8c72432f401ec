//! Automation: rules that act on a conversation when something happens to it.
//!
//! A trigger event of the log makes one queue item with a snapshot of the facts at that moment. [`evaluate`] decides
//! over that snapshot which rules act; it is the same function for live runs, dry runs, reprocessing and previews.
//! Everything here is pure: the caller brings the time, the random fraction of a retry's jitter and the answer
//! whether a cooldown is free, and carries out what the outcomes say.
//!
//! A rule passes through three files: [`rule`] reads what a supervisor writes and refuses what cannot work,
//! [`evaluate`] runs the gates, [`action`] says what is to be done with the placeholders filled in.

pub mod action;
pub mod alerts;
pub mod condition;
pub mod control;
pub mod evaluate;
pub mod facts;
mod fields;
pub mod placeholder;
pub mod retry;
pub mod rollout;
pub mod rule;
pub mod schedule;
pub mod trigger;

pub use action::{Action, Reference, ReferenceKind, RenderedAction};
pub use alerts::{AlertLevel, AlertPreset, AlertSettings};
pub use condition::{Condition, Conditions};
pub use control::{Control, EffectiveState};
pub use evaluate::{DryRun, DryRunRequest, RuleOutcome, SkipReason, dry_run, evaluate};
pub use facts::{Facts, Snapshot};
pub use placeholder::Template;
pub use rule::{Rule, RuleDefinition, RulePatch};
pub use schedule::{Schedule, TimeWindow};
pub use trigger::TriggerType;

/// The fingerprint of a queue item's payload: hex SHA-256 of its canonical form (RFC 8785), 64 lower-case digits.
/// It does not depend on the order of keys or on how a number was spelled.
#[must_use]
pub fn payload_hash(payload: &serde_json::Value) -> String {
    hex::encode(crate::canonical::hash(payload))
}

#[cfg(test)]
mod tests;
