//! What time makes necessary, carried out: by the worker's timer, and before anything that depends on it.

use domain::billing::Period;
use domain::billing::lifecycle::Action;
use domain::subscription::Subscription;
use uuid::Uuid;

use super::{Billing, Done};
use crate::failpoint::{self, Failpoint};
use crate::subscription::{self, Moment};
use crate::{CommandError, ids};

/// Far more than a subscription can have due after any standstill; more would be the same things for ever.
const MAX_ACTIONS: u32 = 1_000;

impl Billing {
    /// Carries out everything that is due for a tenant's subscription, in the order in which it was due; nothing while the
    /// tenant is suspended.
    ///
    /// # Errors
    /// When a gateway is not available: what is left stays due. Database errors.
    pub async fn run_due(&self, tenant_id: Uuid) -> Result<Done<()>, CommandError> {
        if self.is_suspended(tenant_id).await? {
            return self.nothing_done(tenant_id, ()).await;
        }
        let mut done = self.take_suspensions_into_account(tenant_id).await?;
        for _ in 0..MAX_ACTIONS {
            let state: Subscription = self.store.load(tenant_id, subscription::id_of(tenant_id)).await?;
            let now = self.store.clock().now();
            let Some(action) = state.due(now) else { return Ok(done) };
            let carried_out = self.carry_out(tenant_id, &state, action).await?;
            // Nobody else has done it either, or it would not be due: doing it for ever would charge for ever.
            if carried_out.position == 0 && self.is_due_still(tenant_id, action).await? {
                return Err(CommandError::failed(format!("nothing came of {action:?} for {tenant_id}")));
            }
            done = carried_out.after(&done);
        }
        Err(CommandError::failed(format!("the subscription of {tenant_id} does not come to rest")))
    }

    /// As [`Billing::run_due`], for a command that depends on it: what can't be done now is for the timer.
    pub(super) async fn try_due(&self, tenant_id: Uuid) -> Result<Done<()>, CommandError> {
        match self.run_due(tenant_id).await {
            Err(error) => {
                tracing::warn!(%tenant_id, %error, "what is due for a subscription could not be carried out");
                self.nothing_done(tenant_id, ()).await
            }
            done => done,
        }
    }

    async fn is_due_still(&self, tenant_id: Uuid, action: Action) -> Result<bool, CommandError> {
        let state: Subscription = self.store.load(tenant_id, subscription::id_of(tenant_id)).await?;
        Ok(state.due(self.store.clock().now()) == Some(action))
    }

    async fn carry_out(
        &self,
        tenant_id: Uuid,
        state: &Subscription,
        action: Action,
    ) -> Result<Done<()>, CommandError> {
        match action {
            Action::EndTrial { period } | Action::Renew { period } => {
                self.begin_period(tenant_id, state, period).await
            }
            Action::Finalize { invoice_id } => {
                let finalized = self.finalize(tenant_id, invoice_id).await?;
                Ok(self.collect(tenant_id, invoice_id, 0).await?.after(&finalized))
            }
            Action::GiveUpWaiting { invoice_id } => self.give_up_waiting(tenant_id, invoice_id).await,
            Action::RetryPayment { invoice_id, attempt } => {
                failpoint::reached(Failpoint::RetryBegun).await;
                self.collect(tenant_id, invoice_id, attempt).await
            }
            Action::Cancel { .. } => self.end(tenant_id, state).await,
        }
    }

    async fn end(&self, tenant_id: Uuid, state: &Subscription) -> Result<Done<()>, CommandError> {
        let id = subscription::id_of(tenant_id);
        let usage = self.usage(tenant_id, state).await?;
        let allowed = self.allowed_messages(tenant_id, state).await?;
        let origin = Self::own_origin(tenant_id, ids::new_id(), "end");
        let (now, invoice_id) = (self.store.clock().now(), ids::named_id(origin.command_id, "invoice"));
        let ended = self.store.execute::<Subscription>(&origin, id, |state| {
            subscription::end(state, id, Moment { now, usage: &usage, allowed, invoice_id, paid: &[] })
        });
        Ok(Done::from(ended.await?).with(()))
    }

    async fn begin_period(
        &self,
        tenant_id: Uuid,
        state: &Subscription,
        period: Period,
    ) -> Result<Done<()>, CommandError> {
        let id = subscription::id_of(tenant_id);
        let usage = self.usage(tenant_id, state).await?;
        let allowed = self.allowed_messages(tenant_id, state).await?;
        let seats = self.seats(tenant_id).await?;
        // A subscription has one invoice for a period that begins then, whoever draws it up.
        let name = format!("period {}", period.start.timestamp_micros());
        let invoice_id = ids::named_id(id, &name);
        let origin = Self::own_origin(tenant_id, id, &name);
        let now = self.store.clock().now();
        let began = self.store.execute::<Subscription>(&origin, id, |state| {
            let moment = Moment { now, usage: &usage, allowed, invoice_id, paid: &[] };
            subscription::begin_period(state, id, seats, moment)
        });
        let began = began.await?;
        failpoint::reached(Failpoint::PeriodBegun).await;
        Ok(Done::from(began).with(()))
    }
}
