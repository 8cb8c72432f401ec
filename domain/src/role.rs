//! What agents may do: three fixed system roles, and custom ones that combine permission codes.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::Aggregate;
use crate::event::{Context, EventBody};

pub const ADMIN: &str = "admin";
pub const SUPERVISOR: &str = "supervisor";
pub const AGENT: &str = "agent";
pub const SYSTEM_ROLES: [&str; 3] = [ADMIN, SUPERVISOR, AGENT];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum RoleEvent {
    #[serde(rename = "role.created")]
    Created { name: String, description: Option<String>, permissions: Vec<String> },
    #[serde(rename = "role.updated")]
    Updated { name: String, description: Option<String>, permissions: Vec<String> },
    #[serde(rename = "role.deleted")]
    Deleted,
}

impl EventBody for RoleEvent {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Role {
    pub name: String,
    pub description: Option<String>,
    pub permissions: Vec<String>,
    pub created_at: Option<DateTime<Utc>>,
}

impl Aggregate for Role {
    const STREAM: &'static str = "role";
    type Event = RoleEvent;

    fn evolve(&mut self, event: &RoleEvent, context: Context) {
        match event.clone() {
            RoleEvent::Created { name, description, permissions } => {
                *self = Self { name, description, permissions, created_at: Some(context.at) };
            }
            RoleEvent::Updated { name, description, permissions } => {
                *self = Self { name, description, permissions, created_at: self.created_at };
            }
            RoleEvent::Deleted => *self = Self::default(),
        }
    }

    fn exists(&self) -> bool {
        self.created_at.is_some()
    }
}
