//! Which policy a conversation gets, and the part of it that is pinned to the conversation.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::channel::Channel;

/// A tenant's SLA policy. Fields are named as on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub id: Uuid,
    pub name: String,
    /// Working seconds until the first public reply by a human.
    pub first_response_time_secs: i64,
    /// Working seconds until resolved.
    pub resolution_time_secs: i64,
    /// Per cent of a threshold from which the clock is in warning.
    pub warning_threshold_pct: i64,
    /// Higher goes first.
    pub priority: i64,
    /// `None`: every channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// `None`: every division, and conversations without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub division_id: Option<Uuid>,
    pub is_active: bool,
    pub is_default: bool,
    pub created_at: DateTime<Utc>,
}

/// What is pinned to a conversation: later edits of the policy do not reach running clocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Terms {
    pub policy_id: Uuid,
    pub policy_name: String,
    pub first_response_time_secs: i64,
    pub resolution_time_secs: i64,
    pub warning_threshold_pct: i64,
}

impl Policy {
    /// The terms as they are today.
    #[must_use]
    pub fn terms(&self) -> Terms {
        Terms {
            policy_id: self.id,
            policy_name: self.name.clone(),
            first_response_time_secs: self.first_response_time_secs,
            resolution_time_secs: self.resolution_time_secs,
            warning_threshold_pct: self.warning_threshold_pct,
        }
    }

    fn matches(&self, channel: Channel, division: Option<Uuid>) -> bool {
        self.channel.is_none_or(|own| own == channel)
            && self.division_id.is_none_or(|own| Some(own) == division)
    }

    /// Channel and division, then division, then channel, then neither.
    fn specificity(&self) -> (bool, bool) {
        (self.division_id.is_some(), self.channel.is_some())
    }

    /// Smallest goes first: higher priority, then older, then id.
    fn precedence(&self) -> (Reverse<i64>, DateTime<Utc>, Uuid) {
        (Reverse(self.priority), self.created_at, self.id)
    }
}

/// The policy for a conversation on `channel` in `division`: the most specific active match; among equals by
/// priority, age and id. When none matches, the active default, whatever its own channel and division say.
/// `None` means that the conversation has no service level.
#[must_use]
pub fn choose(policies: &[Policy], channel: Channel, division: Option<Uuid>) -> Option<&Policy> {
    let active = || policies.iter().filter(|policy| policy.is_active);
    active()
        .filter(|policy| policy.matches(channel, division))
        .min_by_key(|policy| (Reverse(policy.specificity()), policy.precedence()))
        .or_else(|| active().filter(|policy| policy.is_default).min_by_key(|policy| policy.precedence()))
}
