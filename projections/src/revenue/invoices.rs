//! What the books need to know of each invoice to see what an event changes.

use chrono::{DateTime, NaiveDate, Utc};
use domain::aggregate::Aggregate;
use domain::billing::Month;
use domain::billing::refund::net_of_tax;
use domain::invoice::{Invoice, InvoiceEvent};
use domain::money::{Money, MoneyError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::change::Stated;
use crate::event::{Event, FoldError, decode};
use crate::row;
use crate::table::{Fold, Key};

row! {
    /// An invoice between two events.
    InvoiceRow in "revenue_invoices" key (tenant_id, invoice_id) {
        tenant_id: Uuid,
        invoice_id: Uuid,
        subtotal: Money,
        total: Money,
        paid_at: Option<DateTime<Utc>>,
        /// So far, with tax.
        refunded: Money,
    }
}

/// What an event means for the book of payments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum PaymentChange {
    /// An invoice got its number.
    Finalized(Booking),
    Paid(Booking),
    Refunded(Booking),
}

/// An amount of a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Booking {
    /// The first day of the month that it counts for: a refund comes off the month of its payment.
    pub month: NaiveDate,
    pub amount: Money,
    /// In the amount.
    pub tax: Money,
}

impl InvoiceRow {
    /// The tax in `gross`, which is a part of the total.
    fn tax_in(&self, gross: Money) -> Result<Money, MoneyError> {
        if self.total.is_zero() {
            return Ok(Money::zero(gross.currency()));
        }
        gross.minus(net_of_tax(gross, self.subtotal, self.total)?)
    }
}

pub(super) struct Invoices;

impl Fold for Invoices {
    type Row = InvoiceRow;

    fn keys(event: &Event) -> Vec<Key> {
        if event.stream_type != Invoice::STREAM {
            return Vec::new();
        }
        vec![vec![json!(event.tenant_id), json!(event.stream_id)]]
    }

    fn apply(_: &Key, row: Option<InvoiceRow>, event: &Event) -> Result<Option<InvoiceRow>, FoldError> {
        let body: InvoiceEvent = decode(event)?;
        if let InvoiceEvent::Drafted(draft) = body {
            return Ok(Some(InvoiceRow {
                tenant_id: event.tenant_id,
                invoice_id: event.stream_id,
                subtotal: draft.amounts.subtotal,
                total: draft.amounts.total,
                paid_at: None,
                refunded: Money::zero(draft.amounts.currency()),
            }));
        }
        let mut row =
            row.ok_or_else(|| FoldError::Inconsistent("an invoice that was never drawn up".to_owned()))?;
        match body {
            InvoiceEvent::Paid(_) => row.paid_at = Some(event.recorded_at),
            InvoiceEvent::Refunded { amount, .. } => {
                row.refunded = row.refunded.plus(amount).map_err(unbookable)?
            }
            _ => {}
        }
        Ok(Some(row))
    }
}

impl Stated for Invoices {
    type Change = PaymentChange;

    fn change(
        before: Option<&InvoiceRow>,
        after: Option<&InvoiceRow>,
        event: &Event,
    ) -> Result<Option<PaymentChange>, FoldError> {
        let (Some(before), Some(after)) = (before, after) else { return Ok(None) };
        let month = |at| Month::of(at).start().date_naive();
        let now = month(event.recorded_at);
        Ok(match decode(event)? {
            InvoiceEvent::Finalized { .. } => {
                let zero = Money::zero(after.total.currency());
                Some(PaymentChange::Finalized(Booking { month: now, amount: zero, tax: zero }))
            }
            InvoiceEvent::Paid(payment) => {
                let tax = after.tax_in(payment.amount).map_err(unbookable)?;
                Some(PaymentChange::Paid(Booking { month: now, amount: payment.amount, tax }))
            }
            InvoiceEvent::Refunded { amount, .. } => {
                // The difference of two totals, so that refunds in parts come to what one refund of them all would.
                let (so_far, since) = (before.tax_in(before.refunded), after.tax_in(after.refunded));
                let tax = since.and_then(|since| since.minus(so_far?)).map_err(unbookable)?;
                let month = after.paid_at.map_or(now, month);
                Some(PaymentChange::Refunded(Booking { month, amount, tax }))
            }
            _ => None,
        })
    }
}

fn unbookable(error: MoneyError) -> FoldError {
    FoldError::Inconsistent(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::billing::{InvoiceLine, LineKind, Period};
    use domain::event::{Actor, EventBody, Metadata, Recorded};
    use domain::invoice::{Amounts, BillTo, Drafted, InvoiceCause, Payment};
    use domain::money::Currency;

    use super::*;

    const TENANT: Uuid = Uuid::from_u128(1);
    const INVOICE: Uuid = Uuid::from_u128(2);

    fn idr(amount: i64) -> Money {
        Money::from_minor_units(amount, Currency::IDR)
    }

    fn event(at: &str, body: &InvoiceEvent) -> Event {
        let (event_type, body) = body.encode();
        Arc::new(Recorded {
            log_id: 1,
            position: 1,
            tenant_id: TENANT,
            stream_type: Invoice::STREAM.to_owned(),
            stream_id: INVOICE,
            version: 1,
            event_type,
            schema_version: 1,
            event_id: Uuid::nil(),
            command_id: Uuid::nil(),
            metadata: Metadata::new(Actor::system(), Uuid::nil()),
            recorded_at: format!("{at}T12:00:00Z").parse().unwrap(),
            body,
        })
    }

    fn changes(events: &[Event]) -> Vec<PaymentChange> {
        let (mut row, mut changes) = (None::<InvoiceRow>, Vec::new());
        for event in events {
            let after = Invoices::apply(&Vec::new(), row.clone(), event).unwrap();
            changes.extend(Invoices::change(row.as_ref(), after.as_ref(), event).unwrap());
            row = after;
        }
        changes
    }

    fn drafted() -> InvoiceEvent {
        let line = InvoiceLine::flat(LineKind::Plan, "Starter", idr(99_999), None);
        let amounts = Amounts::of(Currency::IDR, vec![line]).unwrap();
        let period = Period { start: DateTime::UNIX_EPOCH, end: DateTime::UNIX_EPOCH };
        InvoiceEvent::Drafted(Box::new(Drafted {
            subscription_id: TENANT,
            cause: InvoiceCause::Period,
            amounts,
            period,
        }))
    }

    fn refunded(amount: i64) -> InvoiceEvent {
        InvoiceEvent::Refunded { refund_id: Uuid::nil(), amount: idr(amount), gateway_refund_id: None }
    }

    #[test]
    fn refunds_in_parts_come_off_the_month_of_the_payment_and_give_all_of_the_tax_back() {
        let at = event("2026-01-30", &drafted()).recorded_at;
        let number = InvoiceEvent::Finalized {
            sequence: 1,
            number: "INV-000001".to_owned(),
            bill_to: BillTo::default(),
            due_at: at,
        };
        let (gateway, gateway_payment_id) = ("manual".to_owned(), "1".to_owned());
        // 99,999 and 11,000 of tax.
        let paid = InvoiceEvent::Paid(Payment { gateway, gateway_payment_id, amount: idr(110_999) });
        let made = changes(&[
            event("2026-01-30", &drafted()),
            event("2026-01-30", &number),
            event("2026-01-31", &paid),
            event("2026-02-01", &refunded(37_000)),
            event("2026-02-02", &refunded(37_000)),
            event("2026-03-01", &refunded(36_999)),
        ]);
        let month = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
        let booking = |amount, tax| Booking { month, amount: idr(amount), tax: idr(tax) };
        let wanted = [
            PaymentChange::Finalized(booking(0, 0)),
            PaymentChange::Paid(booking(110_999, 11_000)),
            PaymentChange::Refunded(booking(37_000, 3_667)),
            PaymentChange::Refunded(booking(37_000, 3_666)),
            PaymentChange::Refunded(booking(36_999, 3_667)),
        ];
        assert_eq!(made, wanted);
    }

    #[test]
    fn an_invoice_that_nobody_drew_up_is_refused() {
        let orphan = Invoices::apply(&Vec::new(), None, &event("2026-01-30", &refunded(1)));
        assert!(matches!(orphan, Err(FoldError::Inconsistent(_))), "{orphan:?}");
    }
}
