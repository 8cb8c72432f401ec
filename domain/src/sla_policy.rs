//! A promise of how fast customers are answered and helped.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::channel::Channel;
use crate::event::{Context, EventBody};
use crate::sla::Policy;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum SlaPolicyEvent {
    #[serde(rename = "sla_policy.created")]
    Created(Terms),
    /// The whole policy after the change.
    #[serde(rename = "sla_policy.updated")]
    Updated(Terms),
    #[serde(rename = "sla_policy.deleted")]
    Deleted,
}

impl EventBody for SlaPolicyEvent {}

/// All that can be said of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Terms {
    pub name: String,
    pub description: Option<String>,
    /// Working seconds until the first public reply by a human.
    pub first_response_time_secs: i64,
    /// Working seconds until resolved.
    pub resolution_time_secs: i64,
    /// Per cent of a threshold from which on a clock is in warning.
    pub warning_threshold_pct: i64,
    pub priority: i64,
    pub channel: Option<Channel>,
    pub division_id: Option<Uuid>,
    pub is_active: bool,
    pub is_default: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlaPolicy {
    pub terms: Terms,
    pub created_at: Option<DateTime<Utc>>,
}

impl SlaPolicy {
    /// As the choice of a policy looks at it.
    #[must_use]
    pub fn as_policy(&self, id: Uuid) -> Policy {
        let terms = self.terms.clone();
        Policy {
            id,
            name: terms.name,
            first_response_time_secs: terms.first_response_time_secs,
            resolution_time_secs: terms.resolution_time_secs,
            warning_threshold_pct: terms.warning_threshold_pct,
            priority: terms.priority,
            channel: terms.channel,
            division_id: terms.division_id,
            is_active: terms.is_active,
            is_default: terms.is_default,
            created_at: self.created_at.unwrap_or_default(),
        }
    }
}

impl Aggregate for SlaPolicy {
    const STREAM: &'static str = "sla_policy";
    type Event = SlaPolicyEvent;

    fn evolve(&mut self, event: &SlaPolicyEvent, context: Context) {
        match event.clone() {
            SlaPolicyEvent::Created(terms) => *self = Self { terms, created_at: Some(context.at) },
            SlaPolicyEvent::Updated(terms) => self.terms = terms,
            SlaPolicyEvent::Deleted => *self = Self::default(),
        }
    }

    fn exists(&self) -> bool {
        self.created_at.is_some()
    }
}
