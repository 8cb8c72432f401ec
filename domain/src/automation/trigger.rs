//! What sets a rule off.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The events of the log that make a queue item. What automation itself does makes none, so rules cannot loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TriggerType {
    ConversationCreated,
    MessageReceivedInbound,
    StatusChanged,
    SlaBreached,
}

impl TriggerType {
    /// Wire names, in the contract's order.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("conversation_created", Self::ConversationCreated),
        ("message_received_inbound", Self::MessageReceivedInbound),
        ("status_changed", Self::StatusChanged),
        ("sla_breached", Self::SlaBreached),
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConversationCreated => "conversation_created",
            Self::MessageReceivedInbound => "message_received_inbound",
            Self::StatusChanged => "status_changed",
            Self::SlaBreached => "sla_breached",
        }
    }

    /// The trigger of a wire name (`event_type` of a queue item, `trigger_type` of a rule).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, trigger)| *trigger)
    }
}

impl std::fmt::Display for TriggerType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
