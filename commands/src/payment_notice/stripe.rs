//! Stripe's events, and its way of writing amounts.

use domain::money::{Currency, Money};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::Value;

use super::{About, News, Notice, Unreadable, text};

/// Names of the metadata that our orders carry.
pub const TENANT: &str = "tenant_id";
pub const INVOICE: &str = "invoice_id";
/// The order's idempotency key, by which it is found again when Stripe has forgotten the key.
pub const ORDER: &str = "order";
/// Set where the customer was asked to pay on a page: there they can try again with another card.
pub const PAGE: &str = "page";

/// Currencies of which Stripe takes whole units; of the others it takes hundredths, whatever our own decimals are: the
/// rupiah is charged in sen there.
const WHOLE_UNITS: [&str; 15] =
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"];
/// Currencies of which Stripe takes thousandths, the last digit being zero.
const THOUSANDTHS: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

/// Decimals of an amount in Stripe's API.
fn decimals(currency: Currency) -> u32 {
    match currency.code() {
        code if WHOLE_UNITS.contains(&code) => 0,
        code if THOUSANDTHS.contains(&code) => 3,
        _ => 2,
    }
}

/// An amount as Stripe takes it; `None` where Stripe can't take exactly this amount.
#[must_use]
pub fn minor_units(money: Money) -> Option<i64> {
    let decimals = decimals(money.currency());
    let units = money.amount().checked_mul(Decimal::from(10_u32.pow(decimals)))?;
    let exact = units.is_integer() && (decimals < 3 || (units % Decimal::TEN).is_zero());
    exact.then(|| units.to_i64()).flatten()
}

/// The money of an amount that Stripe told.
fn money(units: &Value, currency: &Value) -> Result<Money, Unreadable> {
    let units = units.as_i64().ok_or_else(|| Unreadable::missing("amount"))?;
    let code = currency.as_str().ok_or_else(|| Unreadable::missing("currency"))?.to_uppercase();
    let currency: Currency = code.parse().map_err(|_| Unreadable(format!("{code} is no known currency")))?;
    Ok(Money::rounded(Decimal::new(units, decimals(currency)), currency))
}

/// Reads an event.
///
/// # Errors
/// When an event that matters lacks what it must have.
pub fn read(event: &Value) -> Result<Notice, Unreadable> {
    let kind = text(event, "type")?;
    let object = &event["data"]["object"];
    let news = match kind {
        "payment_intent.succeeded" => News::Paid {
            payment_id: text(object, "id")?.to_owned(),
            amount: money(&object["amount_received"], &object["currency"])?,
        },
        "payment_intent.payment_failed" if object["metadata"][PAGE].is_string() => {
            News::Other("a try on the payment page failed".to_owned())
        }
        "payment_intent.payment_failed" | "payment_intent.canceled" => News::PaymentFailed {
            payment_id: text(object, "id")?.to_owned(),
            reason: object["last_payment_error"]["message"].as_str().unwrap_or("It was canceled.").to_owned(),
        },
        "refund.created" | "refund.updated" | "refund.failed" => refund(object)?,
        other => News::Other(other.to_owned()),
    };
    Ok(Notice { about: about(&object["metadata"]), news })
}

/// A refund is told of again whenever its status changes; only the last word counts.
fn refund(refund: &Value) -> Result<News, Unreadable> {
    let payment_id = text(refund, "payment_intent")?.to_owned();
    let refund_id = text(refund, "id")?.to_owned();
    Ok(match text(refund, "status")? {
        "succeeded" => {
            News::Refunded { payment_id, refund_id, amount: money(&refund["amount"], &refund["currency"])? }
        }
        "failed" | "canceled" => {
            let reason = refund["failure_reason"].as_str().unwrap_or("canceled").replace('_', " ");
            News::RefundFailed {
                payment_id,
                refund_id,
                reason: format!("Stripe could not refund it: {reason}."),
            }
        }
        status => News::Other(format!("refund {status}")),
    })
}

fn about(metadata: &Value) -> Option<About> {
    let id = |name: &str| metadata[name].as_str()?.parse().ok();
    Some(About { tenant_id: id(TENANT)?, invoice_id: id(INVOICE)? })
}
