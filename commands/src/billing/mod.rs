//! Billing as a whole: what takes more than one stream, the platform's log and a tenant's, or a payment gateway.
//!
//! Plans, add-ons, coupons and the running number live in the platform's log; subscription, invoices and payment
//! methods in the tenant's. The two can't commit together, so every step that crosses over is one that can be taken
//! again: a coupon's use stays its tenant's, a number stays its invoice's, and a gateway knows an order by its key.
//! What is left undone is due, and [`Billing::run_due`] takes it up again.

mod collecting;
mod due;
mod methods;
mod plans;
mod refunds;
mod subscribing;
mod suspension;

use std::sync::Arc;

use async_trait::async_trait;
use domain::billing::overage::Usage;
use domain::billing::{LimitName, Limits, Month};
use domain::event::{Actor, Metadata, PLATFORM_TENANT};
use domain::organization::Organization;
use domain::plan::Plan;
use domain::subscription::Subscription;
use uuid::Uuid;

use crate::payment_gateway::Gateways;
use crate::store::{Decided, Origin, Store};
use crate::{CommandError, ids, staff};

pub use subscribing::Subscribe;

/// What only read models tell.
#[async_trait]
pub trait Figures: Send + Sync {
    /// Messages sent and received in these months.
    ///
    /// # Errors
    /// Database errors.
    async fn messages(&self, tenant_id: Uuid, months: &[Month]) -> Result<Usage, CommandError>;

    /// The cheapest plan that is for sale: in the default currency if there is one.
    ///
    /// # Errors
    /// Database errors.
    async fn cheapest_plan(&self) -> Result<Option<Uuid>, CommandError>;

    /// Whether a tenant is subscribed to a plan, on trial or paying.
    ///
    /// # Errors
    /// Database errors.
    async fn is_plan_in_use(&self, plan_id: Uuid) -> Result<bool, CommandError>;
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Billing {
    store: Store,
    gateways: Gateways,
    figures: Arc<dyn Figures>,
}

/// What came of commands in a tenant's log, and the last position that they wrote; 0 if they wrote nothing.
#[derive(Clone, Debug)]
pub struct Done<T> {
    pub value: T,
    pub log_id: i16,
    pub position: i64,
}

impl<T> Done<T> {
    fn with<U>(self, value: U) -> Done<U> {
        Done { value, log_id: self.log_id, position: self.position }
    }

    fn after<U>(mut self, earlier: &Done<U>) -> Self {
        self.position = self.position.max(earlier.position);
        self
    }
}

impl<A> From<Decided<A>> for Done<A> {
    fn from(decided: Decided<A>) -> Self {
        Self { value: decided.state, log_id: decided.log_id, position: decided.position }
    }
}

impl Billing {
    #[must_use]
    pub fn new(store: Store, gateways: Gateways, figures: Arc<dyn Figures>) -> Self {
        Self { store, gateways, figures }
    }

    #[must_use]
    pub fn gateways(&self) -> &Gateways {
        &self.gateways
    }

    /// A command that time asks for, and nobody else. The same name is the same command.
    fn own_origin(tenant_id: Uuid, subject: Uuid, name: &str) -> Origin {
        let metadata = Metadata::new(Actor::system(), ids::new_id());
        Origin { command_id: ids::named_id(subject, name), ..Origin::new(tenant_id, metadata) }
    }

    fn platform(origin: &Origin, part: &str) -> Origin {
        Origin { tenant_id: PLATFORM_TENANT, ..origin.part(part) }
    }

    async fn nothing_done<T>(&self, tenant_id: Uuid, value: T) -> Result<Done<T>, CommandError> {
        Ok(Done { value, log_id: self.store.log_of(tenant_id).await?, position: 0 })
    }

    /// Agents that a subscription is charged for.
    async fn seats(&self, tenant_id: Uuid) -> Result<u32, CommandError> {
        Ok(u32::try_from(staff::count(&self.store, tenant_id).await?).unwrap_or(u32::MAX))
    }

    /// The usage that a decision about the subscription at this moment needs.
    async fn usage(&self, tenant_id: Uuid, state: &Subscription) -> Result<Usage, CommandError> {
        let now = self.store.clock().now();
        let meter = state.current().and_then(|contract| contract.overage.as_ref());
        let trial_over = state.current().map_or(now, |contract| contract.lifecycle.period.end);
        let mut months = meter.map_or_else(Vec::new, |meter| meter.months_until(now));
        months.extend([Month::of(now), Month::of(trial_over)]);
        months.sort_unstable();
        months.dedup();
        self.figures.messages(tenant_id, &months).await
    }

    /// Messages a month that the tenant's plan allows; `None` is no limit.
    async fn allowed_messages(
        &self,
        tenant_id: Uuid,
        state: &Subscription,
    ) -> Result<Option<u64>, CommandError> {
        let Some(contract) = state.current() else { return Ok(None) };
        let plan: Plan = self.store.load(PLATFORM_TENANT, contract.items.plan_id).await?;
        let organization: Organization = self.store.load(PLATFORM_TENANT, tenant_id).await?;
        let own = organization.limits.map(serde_json::from_value::<Limits>).transpose();
        let own = own.map_err(CommandError::failed)?;
        let limits = Limits::effective(own.as_ref(), plan.terms.as_ref().map(|terms| &terms.limits));
        Ok(limits.get(LimitName::MaxMessagesMonth))
    }
}
