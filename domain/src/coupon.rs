//! A coupon, and how often it was redeemed. Lives in the platform's tenant, since all tenants share its uses.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::billing::Coupon as CouponTerms;
use crate::event::{Context, EventBody};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum CouponEvent {
    #[serde(rename = "coupon.created")]
    Created(CouponTerms),
    /// The whole coupon after the change. Who has redeemed it keeps the discount that they redeemed.
    #[serde(rename = "coupon.updated")]
    Updated(CouponTerms),
    /// One of its uses belongs to this tenant now.
    #[serde(rename = "coupon.redeemed")]
    Redeemed { tenant_id: Uuid },
    #[serde(rename = "coupon.deleted")]
    Deleted,
}

impl EventBody for CouponEvent {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coupon {
    pub terms: Option<CouponTerms>,
    /// How many tenants have redeemed it; `current_uses` on the wire.
    pub redeemed: u64,
    pub created_at: Option<DateTime<Utc>>,
}

impl Aggregate for Coupon {
    const STREAM: &'static str = "coupon";
    type Event = CouponEvent;

    fn evolve(&mut self, event: &CouponEvent, context: Context) {
        match event.clone() {
            CouponEvent::Created(terms) => {
                *self = Self { terms: Some(terms), redeemed: 0, created_at: Some(context.at) };
            }
            CouponEvent::Updated(terms) => self.terms = Some(terms),
            CouponEvent::Redeemed { .. } => self.redeemed += 1,
            CouponEvent::Deleted => *self = Self::default(),
        }
    }

    fn exists(&self) -> bool {
        self.terms.is_some()
    }
}
