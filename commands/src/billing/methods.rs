//! Payment methods: made known to their gateway before they are written down.

use domain::event::PLATFORM_TENANT;
use domain::organization::Organization;
use domain::payment_method::PaymentMethod;
use domain::refusal::Refusal;
use uuid::Uuid;

use super::{Billing, Done};
use crate::CommandError;
use crate::payment_gateway::{GatewayError, MethodRegistration};
use crate::payment_method::{self, DEFAULT, METHOD, NewMethod};
use crate::store::Origin;

/// How often the default is moved again after someone else moved it at the same moment.
const DEFAULT_TRIES: u32 = 5;

impl Billing {
    /// Adds a way to pay. `customer_id` is what the gateway calls the tenant, if the tenant has a method of it already.
    ///
    /// # Errors
    /// 422 naming `gateway` for one that is not set up, `gateway_payment_method_id` for one that the gateway refuses;
    /// 409 `already_taken` for one that is on file, `gateway_unavailable`.
    pub async fn add_payment_method(
        &self,
        origin: &Origin,
        id: Uuid,
        new: &NewMethod,
        customer_id: Option<String>,
    ) -> Result<Done<PaymentMethod>, CommandError> {
        let tenant_id = origin.tenant_id;
        let Some(gateway) = self.gateways.find_for_new(&new.gateway) else {
            let known = self.gateways.names().join(", ");
            return Err(Refusal::invalid("gateway", format!("is not set up here; there is {known}")).into());
        };
        let organization: Organization = self.store.load(PLATFORM_TENANT, tenant_id).await?;
        let registration = MethodRegistration {
            tenant_id,
            organization_name: organization.name,
            email: organization.admin.map(|admin| admin.email),
            gateway_payment_method_id: new.gateway_payment_method_id.clone(),
            customer_id,
            idempotency_key: id.to_string(),
        };
        let customer_id = gateway.register_method(&registration).await.map_err(|error| match error {
            GatewayError::Refused(reason) => Refusal::invalid("gateway_payment_method_id", reason),
            GatewayError::Unavailable(_) => Refusal::conflict(
                "gateway_unavailable",
                "The payment gateway does not answer; try again in a while.",
            ),
        })?;
        for _ in 0..DEFAULT_TRIES {
            let key = payment_method::key(&new.gateway, &new.gateway_payment_method_id);
            if self.store.claim_owner(tenant_id, METHOD, &key).await?.is_some_and(|owner| owner != id) {
                return Err(payment_method::on_file().into());
            }
            let holder = self.store.claim_owner(tenant_id, DEFAULT, DEFAULT).await?;
            let added = self.store.execute::<PaymentMethod>(origin, id, |state| {
                payment_method::add(state, id, new, customer_id.clone(), holder)
            });
            match added.await {
                Err(CommandError::Refused(refusal)) if refusal.code == "already_taken" => {}
                settled => return Ok(settled?.into()),
            }
        }
        Err(Refusal::conflict("contended", "The default is being changed by others; try again.").into())
    }

    /// Removes a way to pay. `heir` becomes the default if this was it, at the version at which it was chosen.
    ///
    /// # Errors
    /// When there is no such payment method.
    pub async fn remove_payment_method(
        &self,
        origin: &Origin,
        id: Uuid,
        heir: Option<(Uuid, i64)>,
    ) -> Result<Done<()>, CommandError> {
        let removed =
            self.store.execute::<PaymentMethod>(origin, id, |state| payment_method::remove(state, id, heir));
        Ok(Done::from(removed.await?).with(()))
    }
}
