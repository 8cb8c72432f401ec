//! Allocation: which agent of a division gets a conversation that nobody holds.

#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How a division hands out conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AllocationMethod {
    /// People pick from the queue themselves.
    #[default]
    Manual,
    /// Everyone in turn.
    RoundRobin,
    /// Whoever has the fewest open conversations.
    LeastBusy,
}

/// A member of the division, as far as allocation looks at them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub agent_id: Uuid,
    pub is_online: bool,
    pub open_conversations: u32,
    /// When a conversation was last given to them, whoever gave it; `None` if never.
    pub last_assigned_at: Option<DateTime<Utc>>,
}

/// The agent to assign, or `None`: the conversation stays in the division's queue, because people pick for
/// themselves or nobody is online.
///
/// Round robin is "longest idle first": with every assignment an agent goes to the end of the line, so turns
/// stay fair while people come and go, and no cursor has to be kept. It also breaks ties between equally busy
/// agents; the id breaks what ties are left, so that the same facts always give the same answer.
#[must_use]
pub fn choose(method: AllocationMethod, candidates: &[Candidate]) -> Option<Uuid> {
    let online = candidates.iter().filter(|candidate| candidate.is_online);
    // `None` sorts before any instant: who never had a conversation has been idle longest.
    let idle = |candidate: &&Candidate| (candidate.last_assigned_at, candidate.agent_id);
    let chosen = match method {
        AllocationMethod::Manual => None,
        AllocationMethod::RoundRobin => online.min_by_key(idle),
        AllocationMethod::LeastBusy => {
            online.min_by_key(|candidate| (candidate.open_conversations, idle(candidate)))
        }
    };
    chosen.map(|candidate| candidate.agent_id)
}
