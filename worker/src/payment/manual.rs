//! The built-in gateway: money that people move themselves, such as bank transfers. It takes every order as carried
//! out, and so keeps the books right without an account anywhere. Where there is an account, nobody pays
//! by hand any more: nothing would ever be collected from them.

use async_trait::async_trait;
use commands::payment_gateway::{
    Charge, ChargeOutcome, GatewayError, MethodRegistration, PaymentGateway, RefundOrder, RefundOutcome,
};

pub(super) struct Manual {
    /// There is no account at any other gateway.
    pub is_the_only_one: bool,
}

#[async_trait]
impl PaymentGateway for Manual {
    fn name(&self) -> &'static str {
        "manual"
    }

    fn takes_new_methods(&self) -> bool {
        self.is_the_only_one
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
