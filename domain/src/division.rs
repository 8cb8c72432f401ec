//! A part of a tenant's team, with its own queue: sales, support, a branch.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::allocation::AllocationMethod;
use crate::event::{Context, EventBody};
use crate::working_hours::DaySchedule;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum DivisionEvent {
    #[serde(rename = "division.created")]
    Created { name: String, description: String, allocation_method: AllocationMethod },
    /// The whole definition after the change.
    #[serde(rename = "division.updated")]
    Updated { name: String, description: String, allocation_method: AllocationMethod, is_active: bool },
    #[serde(rename = "division.agents_added")]
    AgentsAdded { agent_ids: Vec<Uuid> },
    #[serde(rename = "division.agents_removed")]
    AgentsRemoved { agent_ids: Vec<Uuid> },
    /// Replaces the tenant's own hours for this division.
    #[serde(rename = "division.working_hours_set")]
    WorkingHoursSet { schedule: Vec<DaySchedule> },
    /// The tenant's own hours hold again.
    #[serde(rename = "division.working_hours_removed")]
    WorkingHoursRemoved,
    #[serde(rename = "division.deleted")]
    Deleted,
}

impl EventBody for DivisionEvent {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Division {
    pub name: String,
    pub description: String,
    pub allocation_method: AllocationMethod,
    pub is_active: bool,
    pub agents: BTreeSet<Uuid>,
    /// Empty: the tenant's own hours hold.
    pub working_hours: Vec<DaySchedule>,
    pub working_hours_changed_at: Option<DateTime<Utc>>,
    pub created_at: Option<DateTime<Utc>>,
}

impl Aggregate for Division {
    const STREAM: &'static str = "division";
    type Event = DivisionEvent;

    fn evolve(&mut self, event: &DivisionEvent, context: Context) {
        match event.clone() {
            DivisionEvent::Created { name, description, allocation_method } => {
                let created_at = Some(context.at);
                *self = Self {
                    name,
                    description,
                    allocation_method,
                    is_active: true,
                    created_at,
                    ..Self::default()
                };
            }
            DivisionEvent::Updated { name, description, allocation_method, is_active } => {
                self.name = name;
                self.description = description;
                self.allocation_method = allocation_method;
                self.is_active = is_active;
            }
            DivisionEvent::AgentsAdded { agent_ids } => self.agents.extend(agent_ids),
            DivisionEvent::AgentsRemoved { agent_ids } => self.agents.retain(|id| !agent_ids.contains(id)),
            DivisionEvent::WorkingHoursSet { schedule } => {
                self.working_hours = schedule;
                self.working_hours_changed_at = Some(context.at);
            }
            DivisionEvent::WorkingHoursRemoved => {
                self.working_hours = Vec::new();
                self.working_hours_changed_at = None;
            }
            DivisionEvent::Deleted => *self = Self::default(),
        }
    }

    fn exists(&self) -> bool {
        self.created_at.is_some()
    }
}
