//! A plan that tenants can subscribe to: its prices, and what it allows. Lives in the platform's tenant.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::aggregate::Aggregate;
use crate::billing::{Limits, PlanPrices};
use crate::event::{Context, EventBody};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum PlanEvent {
    #[serde(rename = "plan.created")]
    Created(PlanTerms),
    /// The whole plan after the change. Who is subscribed keeps the prices that they subscribed at.
    #[serde(rename = "plan.updated")]
    Updated(PlanTerms),
    #[serde(rename = "plan.deleted")]
    Deleted,
}

impl EventBody for PlanEvent {}

/// All that can be said of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanTerms {
    pub name: String,
    /// Unique among plans.
    pub slug: String,
    pub prices: PlanPrices,
    pub limits: Limits,
    /// For the operator's own use; the program gives it no meaning.
    pub features: Map<String, Value>,
    /// Whether it can be subscribed to.
    pub is_active: bool,
    pub sort_order: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub terms: Option<PlanTerms>,
    pub created_at: Option<DateTime<Utc>>,
}

impl Aggregate for Plan {
    const STREAM: &'static str = "plan";
    type Event = PlanEvent;

    fn evolve(&mut self, event: &PlanEvent, context: Context) {
        match event.clone() {
            PlanEvent::Created(terms) => {
                *self = Self { terms: Some(terms), created_at: Some(context.at) };
            }
            PlanEvent::Updated(terms) => self.terms = Some(terms),
            PlanEvent::Deleted => *self = Self::default(),
        }
    }

    fn exists(&self) -> bool {
        self.terms.is_some()
    }
}
