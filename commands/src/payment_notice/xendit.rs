//! Xendit's callbacks: of payments and refunds in an envelope, of hosted invoices as they are.

use domain::money::{Currency, Money};
use rust_decimal::Decimal;
use serde_json::Value;

use super::{News, Notice, Unreadable, about, text};

/// Reads a callback.
///
/// # Errors
/// When one that matters lacks what it must have.
pub fn read(callback: &Value) -> Result<Notice, Unreadable> {
    if callback["event"].is_null() && callback["external_id"].is_string() {
        return hosted_invoice(callback);
    }
    let kind = text(callback, "event")?;
    // Callbacks about refunds are documented with one envelope more than they are seen with.
    let data = &callback["data"];
    let data = if data["data"].is_object() { &data["data"] } else { data };
    let news = match kind {
        "payment.succeeded" => News::Paid { payment_id: payment_id(data)?, amount: money(data, "amount")? },
        "payment.failed" => News::PaymentFailed {
            payment_id: payment_id(data)?,
            reason: explain(data["failure_code"].as_str().unwrap_or_default()),
        },
        "refund.succeeded" => News::Refunded {
            payment_id: payment_id(data)?,
            refund_id: text(data, "id")?.to_owned(),
            amount: money(data, "amount")?,
        },
        "refund.failed" => News::RefundFailed {
            payment_id: payment_id(data)?,
            refund_id: text(data, "id")?.to_owned(),
            reason: explain(data["failure_code"].as_str().unwrap_or_default()),
        },
        other => News::Other(other.to_owned()),
    };
    Ok(Notice { about: data["reference_id"].as_str().and_then(about), news })
}

/// The page on which a customer was asked to pay. That it expired is no news: dunning has its own dates.
fn hosted_invoice(callback: &Value) -> Result<Notice, Unreadable> {
    let news = match text(callback, "status")? {
        "PAID" | "SETTLED" => {
            let field = if callback["paid_amount"].is_number() { "paid_amount" } else { "amount" };
            News::Paid { payment_id: text(callback, "id")?.to_owned(), amount: money(callback, field)? }
        }
        other => News::Other(format!("invoice {}", other.to_lowercase())),
    };
    Ok(Notice { about: about(text(callback, "external_id")?), news })
}

/// What a payment is called when it is to be refunded: the payment request, or the hosted invoice.
fn payment_id(data: &Value) -> Result<String, Unreadable> {
    let request = data["payment_request_id"].as_str().or_else(|| data["invoice_id"].as_str());
    request.map(str::to_owned).ok_or_else(|| Unreadable::missing("payment_request_id"))
}

/// Amounts are numbers in major units.
fn money(data: &Value, field: &str) -> Result<Money, Unreadable> {
    let number = data[field].as_number().ok_or_else(|| Unreadable::missing(field))?.to_string();
    let amount: Decimal = number.parse().map_err(|_| Unreadable::missing(field))?;
    let code = text(data, "currency")?;
    let currency: Currency = code.parse().map_err(|_| Unreadable(format!("{code} is no known currency")))?;
    Ok(Money::rounded(amount, currency))
}

/// Xendit's failure codes in words.
#[must_use]
pub fn explain(code: &str) -> String {
    match code {
        "INSUFFICIENT_BALANCE" => "There is not enough money on the account.".to_owned(),
        "CARD_DECLINED" | "DO_NOT_HONOR" | "DECLINED_BY_ISSUER" => {
            "The bank declined the payment.".to_owned()
        }
        "EXPIRED_CARD" | "CARD_EXPIRED" => "The card has expired.".to_owned(),
        "STOLEN_CARD" | "INACTIVE_OR_UNAUTHORIZED_CARD" | "ACCOUNT_ACCESS_BLOCKED" => {
            "The card or account is blocked.".to_owned()
        }
        "USER_DECLINED_PAYMENT" | "USER_DID_NOT_AUTHORIZE_THE_PAYMENT" => {
            "The payment was not confirmed.".to_owned()
        }
        "INVALID_PAYMENT_METHOD" | "INVALID_TOKEN" | "PAYMENT_METHOD_EXPIRED" => {
            "The payment method is no longer valid.".to_owned()
        }
        "CHANNEL_UNAVAILABLE" | "TEMPORARILY_UNAVAILABLE" | "ISSUER_UNAVAILABLE" => {
            "The bank or wallet was not available.".to_owned()
        }
        "" => "The gateway gave no reason.".to_owned(),
        other => format!("The gateway declined it: {}.", other.to_lowercase().replace('_', " ")),
    }
}
