//! Payment gateways: whoever moves the money that billing asks for, and what they tell about it afterwards.
//!
//! An order whose answer was lost may have been carried out. It is never given a second time blindly: it carries its
//! idempotency key, and since gateways forget keys after a day, the gateway is asked first whether it knows the order.

mod http;
mod manual;
pub mod notices;
mod stripe;
mod xendit;

use std::sync::Arc;

use commands::clock::Clock;
use commands::payment_gateway::{Gateways, PaymentGateway};

/// Which gateways there are, from configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    pub stripe: Option<Account>,
    pub xendit: Option<Account>,
    /// Where a customer goes after having paid on a gateway's page.
    pub return_url: String,
}

/// Our account at a gateway.
#[derive(Clone)]
pub struct Account {
    pub api_url: String,
    pub secret_key: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("api_url", &self.api_url).finish_non_exhaustive()
    }
}

/// The gateways that are set up. Whoever has no payment method on file is asked to pay through Xendit, which has the
/// ways of paying that are usual in Indonesia, else through Stripe.
///
/// # Errors
/// When no HTTP client can be made.
pub fn gateways(settings: &Settings, clock: &Clock) -> Result<Gateways, reqwest::Error> {
    let is_the_only_one = settings.xendit.is_none() && settings.stripe.is_none();
    let mut all: Vec<Arc<dyn PaymentGateway>> = vec![Arc::new(manual::Manual { is_the_only_one })];
    let mut asking: Option<Arc<dyn PaymentGateway>> = None;
    if let Some(account) = &settings.xendit {
        let xendit: Arc<dyn PaymentGateway> =
            Arc::new(xendit::Xendit::new(account, &settings.return_url, clock)?);
        asking = Some(Arc::clone(&xendit));
        all.push(xendit);
    }
    if let Some(account) = &settings.stripe {
        let stripe: Arc<dyn PaymentGateway> =
            Arc::new(stripe::Stripe::new(account, &settings.return_url, clock)?);
        asking = asking.or_else(|| Some(Arc::clone(&stripe)));
        all.push(stripe);
    }
    let gateways = Gateways::new(all);
    Ok(match asking {
        Some(gateway) => gateways.asking(gateway),
        None => gateways,
    })
}
