//! Someone who runs the platform itself. Lives in the platform's tenant.

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
pub enum SuperAdminEvent {
    #[serde(rename = "super_admin.created")]
    Created { email: String, full_name: String, password_hash: Secret },
    #[serde(rename = "super_admin.password_changed")]
    PasswordChanged { password_hash: Secret },
    #[serde(rename = "super_admin.signed_in")]
    SignedIn { session_id: Uuid, expires_at: DateTime<Utc> },
    #[serde(rename = "super_admin.deleted")]
    Deleted,
}

impl EventBody for SuperAdminEvent {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SuperAdmin {
    pub email: String,
    pub full_name: String,
    pub password_hash: Option<Secret>,
    pub sessions: Sessions,
    pub created_at: Option<DateTime<Utc>>,
}

impl Aggregate for SuperAdmin {
    const STREAM: &'static str = "super_admin";
    type Event = SuperAdminEvent;

    fn evolve(&mut self, event: &SuperAdminEvent, context: Context) {
        match event.clone() {
            SuperAdminEvent::Created { email, full_name, password_hash } => {
                self.email = email;
                self.full_name = full_name;
                self.password_hash = Some(password_hash);
                self.created_at = Some(context.at);
            }
            SuperAdminEvent::PasswordChanged { password_hash } => {
                self.password_hash = Some(password_hash);
                self.sessions.end_all();
            }
            SuperAdminEvent::SignedIn { session_id, expires_at } => {
                self.sessions.start(Session { id: session_id, expires_at }, context.at);
            }
            SuperAdminEvent::Deleted => *self = Self::default(),
        }
    }

    fn exists(&self) -> bool {
        self.created_at.is_some()
    }
}
