//! The channels on which customers write.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    #[default]
    Whatsapp,
    Instagram,
    Messenger,
    Email,
}

impl Channel {
    pub const ALL: [Self; 4] = [Self::Whatsapp, Self::Instagram, Self::Messenger, Self::Email];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whatsapp => "whatsapp",
            Self::Instagram => "instagram",
            Self::Messenger => "messenger",
            Self::Email => "email",
        }
    }

    /// How long after a customer's message free text may be sent, in hours; email has no such window.
    /// Source: Meta's customer service window (WhatsApp) and standard messaging window (Messenger, Instagram).
    #[must_use]
    pub const fn window_hours(self) -> Option<i64> {
        match self {
            Self::Whatsapp | Self::Instagram | Self::Messenger => Some(24),
            Self::Email => None,
        }
    }
}

impl std::fmt::Display for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
