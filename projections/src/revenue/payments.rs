//! The book of payments: invoices that were finalized and paid, and what was given back, by the month it counts for.

use chrono::{DateTime, NaiveDate, Utc};
use domain::event::PLATFORM_TENANT;
use domain::money::Currency;
use serde_json::{Value, json};
use uuid::Uuid;

use super::change::change_in;
use super::invoices::{Booking, Invoices, PaymentChange};
use super::{day_of, minor_units};
use crate::event::{Event, FoldError};
use crate::row;
use crate::table::{Fold, Key};

row! {
    /// Amounts in minor units.
    PaymentEntryRow in "revenue_payment_entries" key (log_id, position) {
        log_id: i16,
        position: i64,
        tenant_id: Uuid,
        org_id: Uuid,
        invoice_id: Uuid,
        recorded_at: DateTime<Utc>,
        day: NaiveDate,
        currency: Currency,
        month: NaiveDate,
        invoices: i64,
        payments: i64,
        collected: i64,
        refunded: i64,
        tax: i64,
    }
}

row! {
    /// What the entries of a day for a month come to; amounts in minor units.
    PaymentDayRow in "revenue_payment_days" key (log_id, currency, month, day) {
        log_id: i16,
        currency: Currency,
        month: NaiveDate,
        day: NaiveDate,
        tenant_id: Uuid,
        invoices: i64,
        payments: i64,
        collected: i64,
        refunded: i64,
        tax: i64,
    }
}

/// What a change adds to the sums.
struct Sums {
    currency: Currency,
    month: NaiveDate,
    invoices: i64,
    payments: i64,
    collected: i64,
    refunded: i64,
    tax: i64,
}

impl Sums {
    fn of(event: &Event) -> Result<Self, FoldError> {
        let change = change_in::<Invoices>(event)?;
        let (PaymentChange::Finalized(booking)
        | PaymentChange::Paid(booking)
        | PaymentChange::Refunded(booking)) = change;
        let Booking { month, amount, tax } = booking;
        let (units, tax) = (minor_units(amount)?, minor_units(tax)?);
        let currency = amount.currency();
        let none = Self { currency, month, invoices: 0, payments: 0, collected: 0, refunded: 0, tax: 0 };
        Ok(match change {
            PaymentChange::Finalized(_) => Self { invoices: 1, ..none },
            PaymentChange::Paid(_) => Self { payments: 1, collected: units, tax, ..none },
            PaymentChange::Refunded(_) => Self { refunded: units, tax: -tax, ..none },
        })
    }
}

pub(super) struct Entries;

impl Fold for Entries {
    type Row = PaymentEntryRow;

    fn keys(event: &Event) -> Vec<Key> {
        vec![vec![json!(event.log_id), json!(event.position)]]
    }

    fn apply(
        _: &Key,
        _: Option<PaymentEntryRow>,
        event: &Event,
    ) -> Result<Option<PaymentEntryRow>, FoldError> {
        let Sums { currency, month, invoices, payments, collected, refunded, tax } = Sums::of(event)?;
        Ok(Some(PaymentEntryRow {
            log_id: event.log_id,
            position: event.position,
            tenant_id: PLATFORM_TENANT,
            org_id: event.tenant_id,
            invoice_id: event.stream_id,
            recorded_at: event.recorded_at,
            day: day_of(event),
            currency,
            month,
            invoices,
            payments,
            collected,
            refunded,
            tax,
        }))
    }
}

pub(super) struct Days;

impl Fold for Days {
    type Row = PaymentDayRow;

    fn keys(event: &Event) -> Vec<Key> {
        let sums = Sums::of(event);
        // What can't be read touches a row as well: it is refused there, and not passed over.
        let (currency, month) =
            sums.map_or((Value::Null, Value::Null), |sums| (json!(sums.currency), json!(sums.month)));
        vec![vec![json!(event.log_id), currency, month, json!(day_of(event))]]
    }

    fn apply(_: &Key, row: Option<PaymentDayRow>, event: &Event) -> Result<Option<PaymentDayRow>, FoldError> {
        let sums = Sums::of(event)?;
        let mut row = row.unwrap_or_else(|| PaymentDayRow {
            log_id: event.log_id,
            currency: sums.currency,
            month: sums.month,
            day: day_of(event),
            tenant_id: PLATFORM_TENANT,
            invoices: 0,
            payments: 0,
            collected: 0,
            refunded: 0,
            tax: 0,
        });
        row.invoices += sums.invoices;
        row.payments += sums.payments;
        row.collected += sums.collected;
        row.refunded += sums.refunded;
        row.tax += sums.tax;
        Ok(Some(row))
    }
}
