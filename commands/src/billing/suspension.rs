//! Suspended tenants: nothing is charged while they can't work, and what ran out meanwhile goes on from when they can.
//!
//! The platform's log says who is suspended. The timers leave such a tenant alone; what was held up is taken into account
//! the next time that something is due for it.

use domain::aggregate::Aggregate;
use domain::billing::Suspension;
use domain::event::{EventBody, PLATFORM_TENANT};
use domain::organization::{Organization, OrganizationEvent, OrganizationStatus, suspensions};
use domain::subscription::Subscription;
use uuid::Uuid;

use super::{Billing, Done};
use crate::{CommandError, subscription};

/// Events of an organization that are read at once.
const PAGE: i64 = 500;

impl Billing {
    /// Whether nothing may be charged at the moment.
    pub(super) async fn is_suspended(&self, tenant_id: Uuid) -> Result<bool, CommandError> {
        let organization: Organization = self.store.load(PLATFORM_TENANT, tenant_id).await?;
        Ok(organization.status == OrganizationStatus::Suspended)
    }

    /// Lets what suspensions have held up go on from their ends.
    pub(super) async fn take_suspensions_into_account(
        &self,
        tenant_id: Uuid,
    ) -> Result<Done<()>, CommandError> {
        let id = subscription::id_of(tenant_id);
        let mut done = self.nothing_done(tenant_id, ()).await?;
        for suspension in self.suspensions(tenant_id).await? {
            let name = format!("suspension until {}", suspension.until.timestamp_micros());
            let origin = Self::own_origin(tenant_id, id, &name);
            let taken = self.store.execute::<Subscription>(&origin, id, |state| {
                Ok(subscription::take_suspension_into_account(state, suspension))
            });
            done = Done::from(taken.await?).with(()).after(&done);
        }
        Ok(done)
    }

    /// A tenant's suspensions that are over, oldest first.
    async fn suspensions(&self, tenant_id: Uuid) -> Result<Vec<Suspension>, CommandError> {
        let mut history = Vec::new();
        loop {
            let known = history.len() as i64;
            let page =
                self.store.read_stream(PLATFORM_TENANT, Organization::STREAM, tenant_id, known, PAGE).await?;
            let is_last = (page.len() as i64) < PAGE;
            for event in page {
                let at = event.recorded_at;
                let body = OrganizationEvent::decode(&event.event_type, event.schema_version, &event.body);
                history.push((body.map_err(CommandError::failed)?, at));
            }
            if is_last {
                break;
            }
        }
        Ok(suspensions(history.iter().map(|(event, at)| (event, *at))))
    }
}
