//! What payment gateways tell by webhook: that a payment came in or failed, that money was given back.
//!
//! A notice is only news of what has happened elsewhere. It may come twice, late, or before the news that it follows;
//! it is kept before the gateway is answered ([`queue`]) and applied afterwards. This file and the two beside it only
//! read; who sent it was checked before.

pub mod queue;
pub mod stripe;
#[cfg(test)]
mod tests;
pub mod xendit;

use domain::money::Money;
use serde_json::Value;
use uuid::Uuid;

/// Gateways that send webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Stripe,
    Xendit,
}

impl Sender {
    /// As payment methods and events name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stripe => "stripe",
            Self::Xendit => "xendit",
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Stripe, Self::Xendit].into_iter().find(|sender| sender.name() == name)
    }

    /// What a webhook body says; the signature has been checked.
    ///
    /// # Errors
    /// What is wrong with it, for support.
    pub fn read(self, body: &[u8]) -> Result<Notice, Unreadable> {
        let body: Value = serde_json::from_slice(body).map_err(|error| Unreadable(error.to_string()))?;
        match self {
            Self::Stripe => stripe::read(&body),
            Self::Xendit => xendit::read(&body),
        }
    }
}

/// A webhook that is not what the gateway's documentation says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

impl Unreadable {
    fn missing(field: &str) -> Self {
        Self(format!("{field} is missing or of the wrong type"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Which invoice it is about, as we had asked the gateway to remember; a refund made at the gateway knows its
    /// payment only.
    pub about: Option<About>,
    pub news: News,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    pub tenant_id: Uuid,
    pub invoice_id: Uuid,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Paid {
        payment_id: String,
        amount: Money,
    },
    /// Of a payment that had been on its way.
    PaymentFailed {
        payment_id: String,
        reason: String,
    },
    Refunded {
        payment_id: String,
        refund_id: String,
        amount: Money,
    },
    RefundFailed {
        payment_id: String,
        refund_id: String,
        reason: String,
    },
    /// Of no consequence here; its kind.
    Other(String),
}

/// What an order is called at a gateway, so that what is told about it later can be told apart: tenant, invoice and
/// the order's idempotency key.
#[must_use]
pub fn reference(tenant_id: Uuid, invoice_id: Uuid, key: &str) -> String {
    format!("{tenant_id}:{invoice_id}:{key}")
}

/// What a [`reference`] is about; nothing if it isn't one.
#[must_use]
pub fn about(reference: &str) -> Option<About> {
    let mut parts = reference.splitn(3, ':');
    Some(About { tenant_id: parts.next()?.parse().ok()?, invoice_id: parts.next()?.parse().ok()? })
}

fn text<'a>(object: &'a Value, field: &str) -> Result<&'a str, Unreadable> {
    object[field].as_str().filter(|text| !text.is_empty()).ok_or_else(|| Unreadable::missing(field))
}
