//! What configuration says about payments: who is paid, through whom, and what their webhooks are verified with.

use api::invoice_pdf::Party;
use api::payment_webhooks::PaymentWebhookSettings;
use commands::clock::Clock;
use commands::payment_gateway::Gateways;
use worker::payment::{self, Account};

use crate::settings::{Payments, Settings};

/// The gateways that are set up.
///
/// # Errors
/// When no HTTP client can be made.
pub fn gateways(settings: &Settings, clock: &Clock) -> Result<Gateways, reqwest::Error> {
    let payments = &settings.payments;
    let account = |api_url: &str, secret_key: Option<&String>| {
        let secret_key = secret_key.filter(|key| !key.is_empty())?.clone();
        Some(Account { api_url: api_url.to_owned(), secret_key })
    };
    let settings = payment::Settings {
        stripe: account(&payments.stripe_api_url, payments.stripe_secret_key.as_ref()),
        xendit: account(&payments.xendit_api_url, payments.xendit_secret_key.as_ref()),
        return_url: settings.public_url.clone().unwrap_or_else(|| format!("http://{}", settings.listen)),
    };
    payment::gateways(&settings, clock)
}

#[must_use]
pub fn webhooks(payments: &Payments) -> PaymentWebhookSettings {
    PaymentWebhookSettings {
        stripe_webhook_secret: payments.stripe_webhook_secret.clone(),
        xendit_callback_token: payments.xendit_callback_token.clone(),
    }
}

/// Who invoices are from.
#[must_use]
pub fn seller(payments: &Payments) -> Party {
    let lines = payments.billing_seller_address.iter().map(|line| line.trim());
    Party {
        name: payments.billing_seller_name.clone(),
        address: lines.filter(|line| !line.is_empty()).map(str::to_owned).collect(),
        tax_id: payments.billing_seller_tax_id.clone(),
        email: payments.billing_seller_email.clone(),
    }
}
