//! Giving money back: decided and written down first, then ordered from the gateway, so that it is given back once.

use domain::invoice::Invoice;
use domain::money::Money;
use domain::refusal::Refusal;
use uuid::Uuid;

use super::{Billing, Done};
use crate::payment_gateway::{GatewayError, RefundOrder, RefundOutcome};
use crate::store::Origin;
use crate::{CommandError, ids, invoice};

impl Billing {
    /// Refunds an invoice of the origin's tenant; no amount means all that is left of it.
    ///
    /// # Errors
    /// As [`invoice::request_refund`]; 422 for an `amount` that is none; 409 `refund_declined` if the gateway will not
    /// give it back, `refund_pending` if it does not answer: then it is asked again until it does.
    pub async fn refund(
        &self,
        origin: &Origin,
        invoice_id: Uuid,
        amount: Option<&str>,
        reason: Option<&str>,
    ) -> Result<Done<Invoice>, CommandError> {
        let tenant_id = origin.tenant_id;
        let refund_id = ids::named_id(origin.command_id, "refund");
        let state: Invoice = self.store.load(tenant_id, invoice_id).await?;
        let draft = state.draft.as_ref().ok_or_else(|| Refusal::not_found("invoice"))?;
        let parsed = amount.map(|text| Money::parse_positive(text, draft.amounts.currency())).transpose();
        let amount = parsed.map_err(|error| Refusal::invalid_fields(vec![error.at("amount")]))?;
        if self.was_repeated(origin).await? {
            return self.nothing_done(tenant_id, state).await;
        }
        let requested = self.store.execute::<Invoice>(origin, invoice_id, |state| {
            invoice::request_refund(state, refund_id, amount, reason)
        });
        let requested = Done::from(requested.await?);
        Ok(self.carry_out_refund(tenant_id, invoice_id).await?.after(&requested))
    }

    /// Orders the refund of an invoice that is pending, if there is one.
    ///
    /// # Errors
    /// As [`Billing::refund`].
    pub async fn carry_out_refund(
        &self,
        tenant_id: Uuid,
        invoice_id: Uuid,
    ) -> Result<Done<Invoice>, CommandError> {
        let state: Invoice = self.store.load(tenant_id, invoice_id).await?;
        let (Some(pending), Some(payment)) = (state.pending_refund.clone(), state.payment.clone()) else {
            return self.nothing_done(tenant_id, state).await;
        };
        let refund_id = pending.refund_id;
        let order = RefundOrder {
            tenant_id,
            invoice_id,
            payment_id: payment.gateway_payment_id,
            amount: pending.amount,
            reason: pending.reason,
            idempotency_key: refund_id.to_string(),
        };
        let outcome = match self.gateways.find(&payment.gateway) {
            Some(gateway) => gateway.refund(&order).await,
            None => Err(GatewayError::Refused(format!("{} is not set up", payment.gateway))),
        };
        let reason = match outcome {
            Ok(RefundOutcome::Refunded { refund_id: gateway_refund_id }) => {
                let origin = Self::own_origin(tenant_id, refund_id, "refunded");
                let refunded = self.store.execute::<Invoice>(&origin, invoice_id, |state| {
                    invoice::refunded(state, invoice_id, refund_id, Some(&gateway_refund_id))
                });
                return Ok(refunded.await?.into());
            }
            Ok(RefundOutcome::Declined { reason }) | Err(GatewayError::Refused(reason)) => reason,
            Err(GatewayError::Unavailable(error)) => {
                tracing::warn!(%tenant_id, %invoice_id, error, "a refund could not be ordered yet");
                let detail =
                    "The payment gateway does not answer; the refund will be made as soon as it does.";
                return Err(Refusal::conflict("refund_pending", detail).into());
            }
        };
        let origin = Self::own_origin(tenant_id, refund_id, "refund failed");
        self.store
            .execute::<Invoice>(&origin, invoice_id, |state| {
                Ok(invoice::refund_failed(state, refund_id, &reason))
            })
            .await?;
        Err(Refusal::conflict("refund_declined", reason).into())
    }

    /// Takes down a refund that a gateway reports, whoever ordered it and however often it is reported.
    ///
    /// # Errors
    /// As [`invoice::refund_reported`].
    pub async fn record_refund(
        &self,
        tenant_id: Uuid,
        invoice_id: Uuid,
        gateway_refund_id: &str,
        amount: Money,
    ) -> Result<Done<()>, CommandError> {
        let refund_id = invoice::reported_refund_id(invoice_id, gateway_refund_id);
        let origin = Self::own_origin(tenant_id, refund_id, "reported");
        let reported = self.store.execute::<Invoice>(&origin, invoice_id, |state| {
            invoice::refund_reported(state, invoice_id, gateway_refund_id, amount)
        });
        Ok(Done::from(reported.await?).with(()))
    }
}
