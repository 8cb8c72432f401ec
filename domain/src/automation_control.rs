//! The switch that pauses all automation of a tenant. There is one per tenant.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::automation::Control;
use crate::event::{Context, EventBody};

/// `by` is the agent who did it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum AutomationControlEvent {
    #[serde(rename = "automation_control.paused")]
    Paused {
        reason: Option<String>,
        /// The pause ends by itself then.
        until: Option<DateTime<Utc>>,
        by: Option<Uuid>,
    },
    #[serde(rename = "automation_control.resumed")]
    Resumed { by: Option<Uuid> },
}

impl EventBody for AutomationControlEvent {}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutomationControl {
    pub control: Control,
    pub updated_by: Option<Uuid>,
}

/// The stream of a tenant's switch. Other streams of a tenant already bear the tenant's own id.
#[must_use]
pub fn stream_id(tenant_id: Uuid) -> Uuid {
    Uuid::new_v5(&tenant_id, b"automation_control")
}

impl Aggregate for AutomationControl {
    const STREAM: &'static str = "automation_control";
    type Event = AutomationControlEvent;

    fn evolve(&mut self, event: &AutomationControlEvent, _: Context) {
        match event.clone() {
            AutomationControlEvent::Paused { reason, until, by } => {
                self.control = Control { is_paused: true, pause_reason: reason, paused_until: until };
                self.updated_by = by;
            }
            AutomationControlEvent::Resumed { by } => *self = Self { updated_by: by, ..Self::default() },
        }
    }

    /// Every tenant has the switch, if only untouched.
    fn exists(&self) -> bool {
        true
    }
}
