//! What billing needs of whoever moves the money; the worker crate implements it over HTTP.
//!
//! Every order carries an idempotency key that stays the same when it is given again: after a crash or an answer that
//! was lost the gateway answers as it did before and moves nothing twice. So a gateway must pass the key on, and answer
//! [`GatewayError::Unavailable`] whenever it does not know what became of an order: it will be given again.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::money::Money;
use uuid::Uuid;

/// A way to pay that a tenant has told us about.
#[derive(Clone, Debug)]
pub struct MethodRegistration {
    pub tenant_id: Uuid,
    pub organization_name: String,
    pub email: Option<String>,
    pub gateway_payment_method_id: String,
    /// The gateway's name for the tenant, if it has met it before.
    pub customer_id: Option<String>,
    pub idempotency_key: String,
}

/// The order to collect an invoice.
#[derive(Clone, Debug)]
pub struct Charge {
    pub tenant_id: Uuid,
    /// To be given back by webhooks: together with the tenant it says what was paid.
    pub invoice_id: Uuid,
    pub invoice_number: String,
    pub amount: Money,
    /// What to charge; nothing where the customer is to be asked to pay.
    pub method: Option<ChargeMethod>,
    pub idempotency_key: String,
}

/// A payment method on file.
#[derive(Clone, Debug)]
pub struct ChargeMethod {
    pub gateway_payment_method_id: String,
    pub customer_id: Option<String>,
}

/// What became of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChargeOutcome {
    Paid {
        payment_id: String,
    },
    /// The customer is asked to pay; a webhook will say that they did.
    Requested {
        gateway_invoice_id: String,
        payment_url: Option<String>,
        expires_at: DateTime<Utc>,
    },
    /// For a person to read.
    Declined {
        reason: String,
    },
}

/// The order to give money back.
#[derive(Clone, Debug)]
pub struct RefundOrder {
    pub tenant_id: Uuid,
    pub invoice_id: Uuid,
    /// The payment to take it from, as [`ChargeOutcome::Paid`] or a webhook named it.
    pub payment_id: String,
    pub amount: Money,
    pub reason: Option<String>,
    /// The refund's own id.
    pub idempotency_key: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundOutcome {
    Refunded {
        refund_id: String,
    },
    /// For a person to read; nothing was given back.
    Declined {
        reason: String,
    },
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum GatewayError {
    /// The gateway said no to the request itself: wrong credentials, an unknown payment method, a malformed order.
    #[error("the payment gateway refused: {0}")]
    Refused(String),
    /// It could not be reached, or nobody knows what became of the order. To be given again under the same key.
    #[error("the payment gateway is not available: {0}")]
    Unavailable(String),
}

/// A payment gateway.
#[async_trait]
pub trait PaymentGateway: Send + Sync {
    /// As payment methods and events name it: `manual`, `stripe`, `xendit`.
    fn name(&self) -> &'static str;

    /// Whether tenants may choose it. One that they may not is not asked to charge them any more, but gives back what
    /// was paid through it.
    fn takes_new_methods(&self) -> bool {
        true
    }

    /// Makes a payment method chargeable. Answers the gateway's name for the tenant, where it has customers.
    ///
    /// # Errors
    /// [`GatewayError`].
    async fn register_method(&self, new: &MethodRegistration) -> Result<Option<String>, GatewayError>;

    /// # Errors
    /// [`GatewayError`]; a payment that was turned down is an outcome and no error.
    async fn charge(&self, charge: &Charge) -> Result<ChargeOutcome, GatewayError>;

    /// # Errors
    /// [`GatewayError`].
    async fn refund(&self, order: &RefundOrder) -> Result<RefundOutcome, GatewayError>;
}

/// The gateways that are set up.
#[derive(Clone, Default)]
pub struct Gateways {
    all: Vec<Arc<dyn PaymentGateway>>,
    asking: Option<Arc<dyn PaymentGateway>>,
}

impl Gateways {
    #[must_use]
    pub fn new(all: Vec<Arc<dyn PaymentGateway>>) -> Self {
        Self { all, asking: None }
    }

    /// The one that asks customers without a payment method to pay; without one such a charge fails.
    #[must_use]
    pub fn asking(mut self, gateway: Arc<dyn PaymentGateway>) -> Self {
        self.asking = Some(gateway);
        self
    }

    #[must_use]
    pub fn find(&self, name: &str) -> Option<&dyn PaymentGateway> {
        self.all.iter().find(|gateway| gateway.name() == name).map(AsRef::as_ref)
    }

    /// The one of this name, if tenants may choose it.
    #[must_use]
    pub fn find_for_new(&self, name: &str) -> Option<&dyn PaymentGateway> {
        self.find(name).filter(|gateway| gateway.takes_new_methods())
    }

    #[must_use]
    pub fn for_asking(&self) -> Option<&dyn PaymentGateway> {
        self.asking.as_deref()
    }

    /// The names of those that tenants may choose, for a message about one that they may not.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let chosen_from = self.all.iter().filter(|gateway| gateway.takes_new_methods());
        chosen_from.map(|gateway| gateway.name()).collect()
    }
}
