//! Numbering invoices, collecting them, and taking down what came of it, whoever tells.

use domain::aggregate::Aggregate;
use domain::billing::InvoiceStatus;
use domain::event::PLATFORM_TENANT;
use domain::invoice::{BillTo, Invoice, InvoiceEvent, Payment, PaymentRequest};
use domain::invoice_numbers::{InvoiceNumbers, InvoiceNumbersEvent};
use domain::organization::Organization;
use domain::payment_method::PaymentMethod;
use domain::refusal::Refusal;
use domain::subscription::{Subscription, SubscriptionEvent};
use uuid::Uuid;

use super::{Billing, Done};
use crate::failpoint::{self, Failpoint};
use crate::payment_gateway::{Charge, ChargeMethod, ChargeOutcome, GatewayError, PaymentGateway};
use crate::payment_method::DEFAULT;
use crate::store::{Decided, Decision, Origin};
use crate::{CommandError, ids, invoice};

/// What a person reads when there is nothing to charge.
const NO_METHOD: &str = "There is no payment method on file.";
/// What a person reads when a request to pay ran out.
const NOT_PAID_IN_TIME: &str = "The invoice was not paid in time.";

impl Billing {
    /// Numbers a draft and tries to collect it. That the gateway is not available is no error here: the invoice stays
    /// due, and is tried again.
    pub(super) async fn finalize_and_collect(
        &self,
        tenant_id: Uuid,
        invoice_id: Uuid,
    ) -> Result<Done<()>, CommandError> {
        let finalized = self.finalize(tenant_id, invoice_id).await?;
        match self.collect(tenant_id, invoice_id, 0).await {
            Ok(collected) => Ok(collected.after(&finalized)),
            Err(error) if error.refusal().is_none() => {
                tracing::warn!(%tenant_id, %invoice_id, %error, "an invoice could not be collected yet");
                Ok(finalized.with(()))
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a draft its number; nothing if it has one.
    ///
    /// # Errors
    /// When there is no such invoice; database errors.
    pub async fn finalize(&self, tenant_id: Uuid, invoice_id: Uuid) -> Result<Done<Invoice>, CommandError> {
        let state: Invoice = self.store.load(tenant_id, invoice_id).await?;
        if !state.exists() {
            return Err(Refusal::not_found("invoice").into());
        }
        if state.number.is_some() {
            return self.nothing_done(tenant_id, state).await;
        }
        let sequence = self.number_for(tenant_id, invoice_id).await?;
        failpoint::reached(Failpoint::InvoiceNumbered).await;
        let organization: Organization = self.store.load(PLATFORM_TENANT, tenant_id).await?;
        let bill_to = BillTo { name: organization.name, country: organization.country };
        let origin = Self::own_origin(tenant_id, invoice_id, "finalize");
        let now = self.store.clock().now();
        let finalized = self.store.execute::<Invoice>(&origin, invoice_id, |state| {
            invoice::finalize(state, invoice_id, sequence, &bill_to, now)
        });
        Ok(finalized.await?.into())
    }

    /// The invoice's running number: the next one, or the one that it has been given before. Asking again under the
    /// same command finds what it was answered the first time.
    async fn number_for(&self, tenant_id: Uuid, invoice_id: Uuid) -> Result<u64, CommandError> {
        let origin = Self::own_origin(PLATFORM_TENANT, invoice_id, "number");
        let numbers = ids::named_id(PLATFORM_TENANT, "invoice numbers");
        let assigned = self.store.execute::<InvoiceNumbers>(&origin, numbers, |state| {
            let sequence = state.last + 1;
            Ok(Decision::one(InvoiceNumbersEvent::Assigned { sequence, tenant_id, invoice_id }))
        });
        let assigned = assigned.await?;
        let sequence: Option<i64> = sqlx::query_scalar(
            "SELECT (payload ->> 'sequence')::bigint FROM events WHERE log_id = $1 AND position = $2",
        )
        .bind(assigned.log_id)
        .bind(assigned.position)
        .fetch_optional(self.store.pool())
        .await?;
        let sequence = sequence.and_then(|sequence| u64::try_from(sequence).ok());
        sequence.ok_or_else(|| CommandError::failed("an invoice number was given and can't be found"))
    }

    /// Tries to collect an invoice; `attempt` 0 is the first time.
    ///
    /// # Errors
    /// When the gateway is not available: the same attempt is to be made again. Database errors.
    pub async fn collect(
        &self,
        tenant_id: Uuid,
        invoice_id: Uuid,
        attempt: u32,
    ) -> Result<Done<()>, CommandError> {
        let state: Invoice = self.store.load(tenant_id, invoice_id).await?;
        let Some(draft) = state.draft.as_ref().filter(|_| state.status == InvoiceStatus::Open) else {
            return self.no_longer_due(tenant_id, invoice_id, &state).await;
        };
        let method = self.default_method(tenant_id).await?.filter(|method| self.is_offered(&method.gateway));
        let gateway = match &method {
            Some(method) => self.gateways.find(&method.gateway),
            None => self.gateways.for_asking(),
        };
        let Some(gateway) = gateway else {
            let reason = method.map_or_else(
                || NO_METHOD.to_owned(),
                |method| format!("The payment gateway {} is not set up.", method.gateway),
            );
            return self.failed(tenant_id, invoice_id, attempt, None, &reason).await;
        };
        let charge = Charge {
            tenant_id,
            invoice_id,
            invoice_number: state.number.clone().unwrap_or_default(),
            amount: draft.amounts.total,
            method: method.map(|method| ChargeMethod {
                gateway_payment_method_id: method.gateway_payment_method_id,
                customer_id: method.gateway_customer_id,
            }),
            idempotency_key: format!("{invoice_id}-{attempt}"),
        };
        self.charge(gateway, &charge, attempt).await
    }

    async fn charge(
        &self,
        gateway: &dyn PaymentGateway,
        charge: &Charge,
        attempt: u32,
    ) -> Result<Done<()>, CommandError> {
        let (tenant_id, invoice_id) = (charge.tenant_id, charge.invoice_id);
        let answer = gateway.charge(charge).await;
        failpoint::reached(Failpoint::ChargeAnswered).await;
        let reason = match answer {
            Ok(ChargeOutcome::Paid { payment_id }) => {
                let gateway = gateway.name().to_owned();
                let payment = Payment { gateway, gateway_payment_id: payment_id, amount: charge.amount };
                let paid = self.record_payment(tenant_id, invoice_id, &payment).await?;
                return Ok(paid.with(()));
            }
            Ok(ChargeOutcome::Requested { gateway_invoice_id, payment_url, expires_at }) => {
                let gateway = gateway.name().to_owned();
                let request =
                    PaymentRequest { attempt, gateway, gateway_invoice_id, payment_url, expires_at };
                let name = format!("request {attempt}");
                return self
                    .invoice_command(tenant_id, invoice_id, &name, |state| {
                        invoice::payment_requested(state, invoice_id, &request)
                    })
                    .await;
            }
            Ok(ChargeOutcome::Declined { reason }) | Err(GatewayError::Refused(reason)) => reason,
            Err(error @ GatewayError::Unavailable(_)) => return Err(CommandError::failed(error)),
        };
        self.failed(tenant_id, invoice_id, attempt, Some(gateway.name()), &reason).await
    }

    /// Takes down a payment for a whole invoice, whoever tells of it and however often. Answers whether the invoice is
    /// paid by this payment.
    ///
    /// # Errors
    /// As [`invoice::paid`].
    pub async fn record_payment(
        &self,
        tenant_id: Uuid,
        invoice_id: Uuid,
        payment: &Payment,
    ) -> Result<Done<bool>, CommandError> {
        let name = format!("paid {} {}", payment.gateway, payment.gateway_payment_id);
        let origin = Self::own_origin(tenant_id, invoice_id, &name);
        let paid: Decided<Invoice> = self
            .store
            .execute(&origin, invoice_id, |state| invoice::paid(state, invoice_id, payment))
            .await?;
        let is_this = paid.state.payment.as_ref() == Some(payment);
        if !is_this {
            tracing::warn!(%tenant_id, %invoice_id, payment = payment.gateway_payment_id, "an invoice was paid twice");
        }
        Ok(Done::from(paid).with(is_this))
    }

    /// Takes down that a gateway reports a failed payment, for the try that is under way.
    ///
    /// # Errors
    /// When there is no such invoice; database errors.
    pub async fn record_payment_failure(
        &self,
        tenant_id: Uuid,
        invoice_id: Uuid,
        gateway: &str,
        reason: &str,
    ) -> Result<Done<()>, CommandError> {
        // Only the first try leaves an invoice waiting; the later ones have been counted as failed already.
        self.failed(tenant_id, invoice_id, 0, Some(gateway), reason).await
    }

    pub(super) async fn give_up_waiting(
        &self,
        tenant_id: Uuid,
        invoice_id: Uuid,
    ) -> Result<Done<()>, CommandError> {
        self.failed(tenant_id, invoice_id, 0, None, NOT_PAID_IN_TIME).await
    }

    async fn failed(
        &self,
        tenant_id: Uuid,
        invoice_id: Uuid,
        attempt: u32,
        gateway: Option<&str>,
        reason: &str,
    ) -> Result<Done<()>, CommandError> {
        let name = format!("failed {attempt}");
        self.invoice_command(tenant_id, invoice_id, &name, |state| {
            invoice::payment_failed(state, invoice_id, attempt, gateway, reason)
        })
        .await
    }

    async fn invoice_command(
        &self,
        tenant_id: Uuid,
        invoice_id: Uuid,
        name: &str,
        decide: impl Fn(&Invoice) -> Result<Decision<InvoiceEvent>, Refusal> + Send,
    ) -> Result<Done<()>, CommandError> {
        let origin = Self::own_origin(tenant_id, invoice_id, name);
        let decided = self.store.execute::<Invoice>(&origin, invoice_id, decide).await?;
        Ok(Done::from(decided).with(()))
    }

    /// An invoice that needs no collecting, though the subscription may still think so: it is told.
    async fn no_longer_due(
        &self,
        tenant_id: Uuid,
        invoice_id: Uuid,
        state: &Invoice,
    ) -> Result<Done<()>, CommandError> {
        let Some(draft) = state.draft.as_ref().filter(|_| state.status != InvoiceStatus::Draft) else {
            return Err(Refusal::not_found("finalized invoice").into());
        };
        let origin = Self::own_origin(tenant_id, invoice_id, "settled");
        let told = self.store.execute::<Subscription>(&origin, draft.subscription_id, |subscription| {
            let lifecycle = subscription.contract.as_ref().map(|contract| &contract.lifecycle);
            let expects = lifecycle.is_some_and(|lifecycle| lifecycle.expects(invoice_id));
            Ok(if expects {
                Decision::one(SubscriptionEvent::PaymentReceived { invoice_id })
            } else {
                Decision::nothing()
            })
        });
        Ok(Done::from(told.await?).with(()))
    }

    /// Whoever pays through a gateway that is no longer offered is asked to pay like one who has no method. One that is
    /// not set up at all is somebody's mistake, and told as that.
    fn is_offered(&self, gateway: &str) -> bool {
        self.gateways.find(gateway).is_none_or(PaymentGateway::takes_new_methods)
    }

    /// What invoices are charged to.
    async fn default_method(&self, tenant_id: Uuid) -> Result<Option<PaymentMethod>, CommandError> {
        let Some(id) = self.store.claim_owner(tenant_id, DEFAULT, DEFAULT).await? else { return Ok(None) };
        let method: PaymentMethod = self.store.load(tenant_id, id).await?;
        Ok(method.exists().then_some(method))
    }

    /// Whether a command is in its tenant's log.
    pub(super) async fn was_repeated(&self, origin: &Origin) -> Result<bool, CommandError> {
        Ok(sqlx::query_scalar("SELECT EXISTS (SELECT FROM events WHERE log_id = $1 AND command_id = $2)")
            .bind(self.store.log_of(origin.tenant_id).await?)
            .bind(origin.command_id)
            .fetch_one(self.store.pool())
            .await?)
    }
}
