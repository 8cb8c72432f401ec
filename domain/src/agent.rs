//! Someone who works in a tenant's inbox.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::event::{Context, EventBody};
use crate::personal::Secret;
use crate::session::{Session, Sessions};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum AgentEvent {
    #[serde(rename = "agent.created")]
    Created { email: String, full_name: String, role: String, password_hash: Secret },
    #[serde(rename = "agent.renamed")]
    Renamed { full_name: String },
    #[serde(rename = "agent.email_changed")]
    EmailChanged { email: String },
    #[serde(rename = "agent.role_changed")]
    RoleChanged { role: String },
    /// Ends every session.
    #[serde(rename = "agent.password_changed")]
    PasswordChanged { password_hash: Secret },
    #[serde(rename = "agent.went_online")]
    WentOnline,
    #[serde(rename = "agent.went_offline")]
    WentOffline,
    #[serde(rename = "agent.signed_in")]
    SignedIn { session_id: Uuid, expires_at: DateTime<Utc> },
    #[serde(rename = "agent.signed_out")]
    SignedOut { session_id: Uuid },
    /// Ends every session.
    #[serde(rename = "agent.suspended")]
    Suspended,
    #[serde(rename = "agent.activated")]
    Activated,
    #[serde(rename = "agent.deleted")]
    Deleted,
}

impl EventBody for AgentEvent {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    pub email: String,
    pub full_name: String,
    /// The name of a system role or of a custom role of the tenant.
    pub role: String,
    pub password_hash: Option<Secret>,
    pub is_online: bool,
    pub is_suspended: bool,
    pub sessions: Sessions,
    pub created_at: Option<DateTime<Utc>>,
}

impl Aggregate for Agent {
    const STREAM: &'static str = "agent";
    type Event = AgentEvent;

    fn evolve(&mut self, event: &AgentEvent, context: Context) {
        match event.clone() {
            AgentEvent::Created { email, full_name, role, password_hash } => {
                self.email = email;
                self.full_name = full_name;
                self.role = role;
                self.password_hash = Some(password_hash);
                self.created_at = Some(context.at);
            }
            AgentEvent::Renamed { full_name } => self.full_name = full_name,
            AgentEvent::EmailChanged { email } => self.email = email,
            AgentEvent::RoleChanged { role } => self.role = role,
            AgentEvent::PasswordChanged { password_hash } => {
                self.password_hash = Some(password_hash);
                self.sessions.end_all();
            }
            AgentEvent::WentOnline => self.is_online = true,
            AgentEvent::WentOffline => self.is_online = false,
            AgentEvent::SignedIn { session_id, expires_at } => {
                self.sessions.start(Session { id: session_id, expires_at }, context.at);
            }
            AgentEvent::SignedOut { session_id } => self.sessions.end(session_id),
            AgentEvent::Suspended => {
                self.is_suspended = true;
                self.is_online = false;
                self.sessions.end_all();
            }
            AgentEvent::Activated => self.is_suspended = false,
            AgentEvent::Deleted => *self = Self::default(),
        }
    }

    fn exists(&self) -> bool {
        self.created_at.is_some()
    }
}
