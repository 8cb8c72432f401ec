//! Who has ever asked for a plan: a stream of the platform's tenant beside each plan's own.
//!
//! A plan and its subscriptions lie in different logs, which can't commit together. So a tenant is written down here
//! before it subscribes, and a plan is closed here in the same step in which it is deleted: whoever came before that is
//! known to the deletion, and nobody comes after it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::event::{Context, EventBody};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum PlanAccessEvent {
    /// The tenant may be subscribed to the plan from now on.
    #[serde(rename = "plan_access.asked_for")]
    AskedFor { tenant_id: Uuid },
    /// The plan is deleted.
    #[serde(rename = "plan_access.closed")]
    Closed,
}

impl EventBody for PlanAccessEvent {}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanAccess {
    /// How often it was asked for.
    pub asked: u64,
    pub is_closed: bool,
}

impl Aggregate for PlanAccess {
    const STREAM: &'static str = "plan_access";
    type Event = PlanAccessEvent;

    fn evolve(&mut self, event: &PlanAccessEvent, _: Context) {
        match event {
            PlanAccessEvent::AskedFor { .. } => self.asked += 1,
            PlanAccessEvent::Closed => self.is_closed = true,
        }
    }

    fn exists(&self) -> bool {
        self.asked > 0 || self.is_closed
    }
}
