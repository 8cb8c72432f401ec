//! The built-in gateway: money that people move themselves, such as bank transfers. It takes every order as carried
//! out, and so keeps the books right without an account anywhere.

use async_trait::async_trait;
use commands::payment_gateway::{
    Charge, ChargeOutcome, GatewayError, MethodRegistration, PaymentGateway, RefundOrder, RefundOutcome,
};

pub(super) struct Manual;

#[async_trait]
impl PaymentGateway for Manual {
    fn name(&self) -> &'static str {
        "manual"
    }

    async fn register_method(&self, _: &MethodRegistration) -> Result<Option<String>, GatewayError> {
        Ok(None)
    }

    async fn charge(&self, charge: &Charge) -> Result<ChargeOutcome, GatewayError> {
        Ok(ChargeOutcome::Paid { payment_id: charge.idempotency_key.clone() })
    }

    async fn refund(&self, order: &RefundOrder) -> Result<RefundOutcome, GatewayError> {
        Ok(RefundOutcome::Refunded { refund_id: order.idempotency_key.clone() })
    }
}
