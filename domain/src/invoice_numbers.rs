//! The running number of the platform's invoices: one stream in the platform's tenant, whose order is their order.
//!
//! A number is given once to one invoice and never taken back, so there are no gaps and no doubles: the invoice is
//! finalized with it afterwards, in its tenant's log, however long that takes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::event::{Context, EventBody};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum InvoiceNumbersEvent {
    #[serde(rename = "invoice_numbers.assigned")]
    Assigned {
        /// Counted from 1, without gaps.
        sequence: u64,
        tenant_id: Uuid,
        invoice_id: Uuid,
    },
}

impl EventBody for InvoiceNumbersEvent {}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceNumbers {
    /// The last number given; 0 before the first.
    pub last: u64,
}

impl Aggregate for InvoiceNumbers {
    const STREAM: &'static str = "invoice_numbers";
    type Event = InvoiceNumbersEvent;

    fn evolve(&mut self, event: &InvoiceNumbersEvent, _: Context) {
        let InvoiceNumbersEvent::Assigned { sequence, .. } = event;
        self.last = *sequence;
    }

    fn exists(&self) -> bool {
        self.last > 0
    }
}
