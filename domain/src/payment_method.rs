//! A way in which a tenant pays, as a payment gateway knows it. The card itself is never seen here.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::Aggregate;
use crate::event::{Context, EventBody};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum PaymentMethodEvent {
    #[serde(rename = "payment_method.added")]
    Added {
        gateway: String,
        /// The gateway's name for the method, such as `pm_1N…`.
        gateway_payment_method_id: String,
        /// The gateway's name for the tenant, where it has customers.
        gateway_customer_id: Option<String>,
        /// "card", "bank_transfer", …
        kind: String,
        label: String,
    },
    /// What invoices are charged to.
    #[serde(rename = "payment_method.made_default")]
    MadeDefault,
    #[serde(rename = "payment_method.no_longer_default")]
    NoLongerDefault,
    #[serde(rename = "payment_method.removed")]
    Removed,
}

impl EventBody for PaymentMethodEvent {}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentMethod {
    pub gateway: String,
    pub gateway_payment_method_id: String,
    pub gateway_customer_id: Option<String>,
    pub kind: String,
    pub label: String,
    pub is_default: bool,
    pub created_at: Option<DateTime<Utc>>,
}

impl Aggregate for PaymentMethod {
    const STREAM: &'static str = "payment_method";
    type Event = PaymentMethodEvent;

    fn evolve(&mut self, event: &PaymentMethodEvent, context: Context) {
        match event.clone() {
            PaymentMethodEvent::Added {
                gateway,
                gateway_payment_method_id,
                gateway_customer_id,
                kind,
                label,
            } => {
                *self = Self {
                    gateway,
                    gateway_payment_method_id,
                    gateway_customer_id,
                    kind,
                    label,
                    is_default: false,
                    created_at: Some(context.at),
                };
            }
            PaymentMethodEvent::MadeDefault => self.is_default = true,
            PaymentMethodEvent::NoLongerDefault => self.is_default = false,
            PaymentMethodEvent::Removed => *self = Self::default(),
        }
    }

    fn exists(&self) -> bool {
        self.created_at.is_some()
    }
}
