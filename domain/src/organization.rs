//! A customer of OmniStream: the tenant. Its id is the tenant id; its stream lives in the platform's tenant.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::billing::Suspension;
use crate::event::{Context, EventBody};
use crate::personal::Secret;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum OrganizationEvent {
    #[serde(rename = "organization.registered")]
    Registered {
        name: String,
        slug: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        country: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limits: Option<Value>,
        admin: FirstAdmin,
    },
    /// Its first admin exists; people can sign in.
    #[serde(rename = "organization.activated")]
    Activated,
    #[serde(rename = "organization.updated")]
    Updated {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limits: Option<Value>,
    },
    #[serde(rename = "organization.suspended")]
    Suspended,
    #[serde(rename = "organization.reactivated")]
    Reactivated,
}

impl EventBody for OrganizationEvent {}

/// Who can sign in first: enough to create the agent again if provisioning was interrupted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FirstAdmin {
    pub agent_id: Uuid,
    pub email: String,
    pub password_hash: Secret,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrganizationStatus {
    #[default]
    Provisioning,
    Active,
    Suspended,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Organization {
    pub name: String,
    pub slug: String,
    pub country: Option<String>,
    pub limits: Option<Value>,
    pub status: OrganizationStatus,
    pub admin: Option<FirstAdmin>,
    pub created_at: Option<DateTime<Utc>>,
}

/// The suspensions in an organization's history that are over, oldest first.
pub fn suspensions<'a>(
    history: impl IntoIterator<Item = (&'a OrganizationEvent, DateTime<Utc>)>,
) -> Vec<Suspension> {
    let (mut since, mut over) = (None, Vec::new());
    for (event, at) in history {
        match event {
            OrganizationEvent::Suspended => since = Some(at),
            OrganizationEvent::Reactivated => {
                over.extend(since.take().map(|from| Suspension { from, until: at }));
            }
            _ => {}
        }
    }
    over
}

impl Aggregate for Organization {
    const STREAM: &'static str = "organization";
    type Event = OrganizationEvent;

    fn evolve(&mut self, event: &OrganizationEvent, context: Context) {
        match event.clone() {
            OrganizationEvent::Registered { name, slug, country, limits, admin } => {
                *self = Self {
                    name,
                    slug,
                    country,
                    limits,
                    status: OrganizationStatus::Provisioning,
                    admin: Some(admin),
                    created_at: Some(context.at),
                };
            }
            OrganizationEvent::Activated | OrganizationEvent::Reactivated => {
                self.status = OrganizationStatus::Active
            }
            OrganizationEvent::Suspended => self.status = OrganizationStatus::Suspended,
            OrganizationEvent::Updated { name, limits } => {
                self.name = name.unwrap_or_else(|| std::mem::take(&mut self.name));
                self.limits = limits.or_else(|| self.limits.take());
            }
        }
    }

    fn exists(&self) -> bool {
        self.created_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspension_is_over_when_the_tenant_is_reactivated() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let suspended = OrganizationEvent::Suspended;
        let reactivated = OrganizationEvent::Reactivated;
        let history = [
            (&OrganizationEvent::Activated, at(1)),
            (&suspended, at(10)),
            (&reactivated, at(20)),
            (&suspended, at(30)),
        ];
        assert_eq!(suspensions(history), [Suspension { from: at(10), until: at(20) }]);
    }
}
