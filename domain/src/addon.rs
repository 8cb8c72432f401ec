//! Something that can be had on top of a plan, by the piece. Lives in the platform's tenant.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::Aggregate;
use crate::billing::AddonPrices;
use crate::event::{Context, EventBody};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum AddonEvent {
    #[serde(rename = "addon.created")]
    Created(AddonTerms),
    /// The whole add-on after the change. Who has it attached keeps the prices that they attached it at.
    #[serde(rename = "addon.updated")]
    Updated(AddonTerms),
    #[serde(rename = "addon.deleted")]
    Deleted,
}

impl EventBody for AddonEvent {}

/// All that can be said of an add-on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AddonTerms {
    pub name: String,
    /// Unique among add-ons.
    pub slug: String,
    pub description: Option<String>,
    pub prices: AddonPrices,
    /// What one piece is: "number", "GB".
    pub unit: String,
    /// Whether it can be attached.
    pub is_active: bool,
    pub sort_order: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Addon {
    pub terms: Option<AddonTerms>,
    pub created_at: Option<DateTime<Utc>>,
}

impl Aggregate for Addon {
    const STREAM: &'static str = "addon";
    type Event = AddonEvent;

    fn evolve(&mut self, event: &AddonEvent, context: Context) {
        match event.clone() {
            AddonEvent::Created(terms) => {
                *self = Self { terms: Some(terms), created_at: Some(context.at) };
            }
            AddonEvent::Updated(terms) => self.terms = Some(terms),
            AddonEvent::Deleted => *self = Self::default(),
        }
    }

    fn exists(&self) -> bool {
        self.terms.is_some()
    }
}
