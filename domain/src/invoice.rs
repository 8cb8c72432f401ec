//! An invoice of a tenant: drawn up, numbered, collected, perhaps given back.
//!
//! What it says about money is [`Amounts`] and never changes once drawn up. Its number comes with finalization; a
//! number, once given, stays on the invoice whatever becomes of it.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Aggregate;
pub use crate::billing::Invoice as Amounts;
use crate::billing::refund::GivenBack;
use crate::billing::{InvoiceStatus, Period};
use crate::event::{Context, EventBody};
use crate::money::Money;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum InvoiceEvent {
    #[serde(rename = "invoice.drafted")]
    Drafted(Box<Drafted>),
    #[serde(rename = "invoice.finalized")]
    Finalized {
        /// The running number that `number` shows.
        sequence: u64,
        number: String,
        bill_to: BillTo,
        due_at: DateTime<Utc>,
    },
    /// A gateway asked the customer to pay; that they did will be told later.
    #[serde(rename = "invoice.payment_requested")]
    PaymentRequested(PaymentRequest),
    #[serde(rename = "invoice.payment_failed")]
    PaymentFailed {
        /// 0 for the first try, then the number of the retry.
        attempt: u32,
        gateway: Option<String>,
        /// For a person to read.
        reason: String,
    },
    #[serde(rename = "invoice.paid")]
    Paid(Payment),
    /// Decided, and on its way to the gateway.
    #[serde(rename = "invoice.refund_requested")]
    RefundRequested(Refund),
    #[serde(rename = "invoice.refunded")]
    Refunded { refund_id: Uuid, amount: Money, gateway_refund_id: Option<String> },
    /// The gateway would not give it back; nothing was.
    #[serde(rename = "invoice.refund_failed")]
    RefundFailed { refund_id: Uuid, reason: String },
    /// Withdrawn: nothing is owed.
    #[serde(rename = "invoice.voided")]
    Voided,
    #[serde(rename = "invoice.marked_uncollectible")]
    MarkedUncollectible,
    /// Less is subscribed to than this paid for: so much of it, before tax, became credit.
    #[serde(rename = "invoice.credited")]
    Credited { net: Money },
}

impl EventBody for InvoiceEvent {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drafted {
    pub subscription_id: Uuid,
    pub cause: InvoiceCause,
    pub amounts: Amounts,
    /// What it mainly pays for.
    pub period: Period,
}

/// Why there is an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceCause {
    /// A period began.
    Period,
    /// What is subscribed to changed within a period.
    Change,
    /// The subscription ended, and something was used that was not charged yet.
    End,
}

/// Who it is made out to, as they were called at the time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BillTo {
    pub name: String,
    /// As given at registration.
    pub country: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentRequest {
    pub attempt: u32,
    pub gateway: String,
    pub gateway_invoice_id: String,
    /// Where the customer can pay.
    pub payment_url: Option<String>,
    pub expires_at: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Payment {
    pub gateway: String,
    /// The gateway's name for the payment; refunds refer to it.
    pub gateway_payment_id: String,
    pub amount: Money,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refund {
    pub refund_id: Uuid,
    pub amount: Money,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Invoice {
    pub draft: Option<Drafted>,
    pub status: InvoiceStatus,
    pub sequence: Option<u64>,
    pub number: Option<String>,
    pub bill_to: BillTo,
    pub created_at: Option<DateTime<Utc>>,
    pub finalized_at: Option<DateTime<Utc>>,
    pub due_at: Option<DateTime<Utc>>,
    pub payment_request: Option<PaymentRequest>,
    /// Tries to collect it after the first one.
    pub retries: u32,
    pub last_retry_at: Option<DateTime<Utc>>,
    /// Why the last try failed.
    pub failure: Option<String>,
    pub payment: Option<Payment>,
    pub paid_at: Option<DateTime<Utc>>,
    /// Given back so far.
    pub refunded: Option<Money>,
    /// Became credit so far, before tax.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credited: Option<Money>,
    /// What the gateway calls the refunds: to tell one that it reports from those that are known.
    pub gateway_refund_ids: Vec<String>,
    /// On its way to the gateway.
    pub pending_refund: Option<Refund>,
}

impl Invoice {
    /// `None` before it was drawn up.
    #[must_use]
    pub fn amounts(&self) -> Option<&Amounts> {
        self.draft.as_ref().map(|draft| &draft.amounts)
    }

    /// What was given back of it; `None` before it was drawn up.
    #[must_use]
    pub fn given_back(&self) -> Option<GivenBack> {
        let zero = Money::zero(self.amounts()?.currency());
        Some(GivenBack { refunded: self.refunded.unwrap_or(zero), credited: self.credited.unwrap_or(zero) })
    }

    fn become_if_possible(&mut self, next: InvoiceStatus) {
        if self.status.can_become(next) {
            self.status = next;
        }
    }

    fn tried(&mut self, attempt: u32, at: DateTime<Utc>) {
        if attempt > 0 {
            self.retries = self.retries.max(attempt);
            self.last_retry_at = Some(at);
        }
    }
}

impl Aggregate for Invoice {
    const STREAM: &'static str = "invoice";
    type Event = InvoiceEvent;
    const SHAPE: u32 = 2;

    fn evolve(&mut self, event: &InvoiceEvent, context: Context) {
        match event.clone() {
            InvoiceEvent::Drafted(draft) => {
                self.draft = Some(*draft);
                self.created_at = Some(context.at);
            }
            InvoiceEvent::Finalized { sequence, number, bill_to, due_at } => {
                (self.sequence, self.number) = (Some(sequence), Some(number));
                (self.bill_to, self.due_at) = (bill_to, Some(due_at));
                self.finalized_at = Some(context.at);
                // A draft that was withdrawn while its number was on the way stays withdrawn.
                self.become_if_possible(InvoiceStatus::Open);
            }
            InvoiceEvent::PaymentRequested(request) => {
                self.tried(request.attempt, context.at);
                self.payment_request = Some(request);
            }
            InvoiceEvent::PaymentFailed { attempt, reason, .. } => {
                self.tried(attempt, context.at);
                self.failure = Some(reason);
            }
            InvoiceEvent::Paid(payment) => {
                self.payment = Some(payment);
                self.paid_at = Some(context.at);
                self.failure = None;
                self.become_if_possible(InvoiceStatus::Paid);
            }
            InvoiceEvent::RefundRequested(refund) => self.pending_refund = Some(refund),
            InvoiceEvent::Refunded { refund_id, amount, gateway_refund_id } => {
                self.gateway_refund_ids.extend(gateway_refund_id);
                // One that was made at the gateway by hand leaves that which is on its way.
                self.pending_refund.take_if(|pending| pending.refund_id == refund_id);
                let so_far = self.refunded.map_or(Ok(amount), |before| before.plus(amount));
                // Refunds are in the invoice's currency and at most its total: the sum exists.
                self.refunded = so_far.ok().or(self.refunded);
                if self.refunded == self.payment.as_ref().map(|payment| payment.amount) {
                    self.become_if_possible(InvoiceStatus::Refunded);
                }
            }
            InvoiceEvent::RefundFailed { .. } => self.pending_refund = None,
            InvoiceEvent::Credited { net } => {
                let so_far = self.credited.map_or(Ok(net), |before| before.plus(net));
                // In the invoice's currency and at most its subtotal: the sum exists.
                self.credited = so_far.ok().or(self.credited);
            }
            InvoiceEvent::Voided => self.become_if_possible(InvoiceStatus::Void),
            InvoiceEvent::MarkedUncollectible => self.become_if_possible(InvoiceStatus::Uncollectible),
        }
    }

    fn exists(&self) -> bool {
        self.draft.is_some()
    }
}
