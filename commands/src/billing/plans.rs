//! Deleting a plan that nobody is subscribed to, however many are subscribing at the same moment.
//!
//! A plan lies in the platform's log and its subscriptions in their tenants'. So a tenant asks for the plan in the
//! platform's log before it subscribes ([`Billing::ask_for_plan`]), and holds a claim on it in its own log while it is
//! subscribed. A deletion takes that claim itself in the log of everybody who has asked, and then deletes the plan, if
//! nobody has asked since: either a subscription has the claim, and the plan stays, or it finds the claim taken. A
//! deletion that dies in between keeps those who have asked from the plan until it is repeated.

use domain::event::{Metadata, PLATFORM_TENANT};
use domain::plan::Plan;
use domain::plan_access::{PlanAccess, PlanAccessEvent};
use domain::refusal::Refusal;
use uuid::Uuid;

use super::{Billing, Done};
use crate::plan;
use crate::store::{Append, Claim, Decided, Decision, Expected, Origin, Outcome, Part};
use crate::subscription::{self, PLAN};
use crate::{CommandError, ids};

/// The claim of a tenant that has asked for a plan, in the platform's log. It is never given back: the list may be longer
/// than it need be.
const ASKED: &str = "plan_asked_for";
/// How often a deletion looks again after somebody has asked meanwhile.
const TRIES: u32 = 5;

fn access_of(plan_id: Uuid) -> Uuid {
    ids::named_id(plan_id, "access")
}

impl Billing {
    /// Writes down that the origin's tenant may be subscribed to a plan from now on.
    ///
    /// # Errors
    /// 422 naming `plan_id` if the plan was deleted.
    pub(super) async fn ask_for_plan(&self, origin: &Origin, plan_id: Uuid) -> Result<(), CommandError> {
        let tenant_id = origin.tenant_id;
        let key = format!("{plan_id}:{tenant_id}");
        if self.store.claim_owner(PLATFORM_TENANT, ASKED, &key).await?.is_some() {
            return Ok(());
        }
        let own = Self::platform(origin, &format!("ask for {plan_id}"));
        let asked = self.store.execute::<PlanAccess>(&own, access_of(plan_id), |access| {
            if access.is_closed {
                return Err(no_such_plan());
            }
            let asked = Decision::one(PlanAccessEvent::AskedFor { tenant_id });
            Ok(asked.claiming(ASKED, key.clone(), tenant_id))
        });
        asked.await.map(drop)
    }

    /// Deletes a plan.
    ///
    /// # Errors
    /// 404 when there is no such plan, 409 `in_use` while a tenant is subscribed to it.
    pub async fn delete_plan(&self, origin: &Origin, plan_id: Uuid) -> Result<Done<Plan>, CommandError> {
        // Who has subscribed before there were claims is in the read model.
        let mut is_in_use = self.figures.is_plan_in_use(plan_id).await?;
        for _ in 0..TRIES {
            let (_, version) = self.store.current::<PlanAccess>(PLATFORM_TENANT, access_of(plan_id)).await?;
            let tenants = self.who_asked_for(plan_id).await?;
            is_in_use = is_in_use || !self.close_to(&tenants, plan_id, &origin.metadata).await?;
            let closed = Part::of::<PlanAccess>(
                access_of(plan_id),
                Expected::Version(version),
                &[PlanAccessEvent::Closed],
            );
            let deleted: Result<Decided<Plan>, _> = self
                .store
                .execute(origin, plan_id, |state| {
                    Ok(plan::delete(state, plan_id, is_in_use)?.also(closed.clone()))
                })
                .await;
            match deleted {
                Err(CommandError::Refused(refusal)) if refusal.is_contended() => {}
                Err(error) => {
                    self.open_to(&tenants, plan_id, &origin.metadata).await?;
                    return Err(error);
                }
                Ok(deleted) => return Ok(deleted.into()),
            }
        }
        self.open_to(&self.who_asked_for(plan_id).await?, plan_id, &origin.metadata).await?;
        Err(Refusal::contended().into())
    }

    async fn who_asked_for(&self, plan_id: Uuid) -> Result<Vec<Uuid>, CommandError> {
        Ok(sqlx::query_scalar(
            "SELECT owner FROM claims
             WHERE log_id = $1 AND tenant_id = $2 AND scope = $3 AND starts_with(key, $4)",
        )
        .bind(self.store.log_of(PLATFORM_TENANT).await?)
        .bind(PLATFORM_TENANT)
        .bind(ASKED)
        .bind(format!("{plan_id}:"))
        .fetch_all(self.store.pool())
        .await?)
    }

    /// Takes the tenants' claims on a plan for the deletion; false, and not all of them, if a subscription has one.
    async fn close_to(
        &self,
        tenants: &[Uuid],
        plan_id: Uuid,
        metadata: &Metadata,
    ) -> Result<bool, CommandError> {
        for tenant_id in tenants {
            let holder = self.store.claim_owner(*tenant_id, PLAN, &plan_id.to_string()).await?;
            if holder == Some(subscription::id_of(*tenant_id)) {
                return Ok(false);
            }
        }
        for tenant_id in tenants {
            let append = of_claims(*tenant_id, metadata, vec![held_by_plan(plan_id)], Vec::new());
            if let Outcome::Taken { .. } = self.store.append(append).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Gives back what [`Billing::close_to`] has taken.
    async fn open_to(
        &self,
        tenants: &[Uuid],
        plan_id: Uuid,
        metadata: &Metadata,
    ) -> Result<(), CommandError> {
        for tenant_id in tenants {
            let append = of_claims(*tenant_id, metadata, Vec::new(), vec![held_by_plan(plan_id)]);
            self.store.append(append).await?;
        }
        Ok(())
    }
}

fn held_by_plan(plan_id: Uuid) -> Claim {
    Claim { scope: PLAN, key: plan_id.to_string(), owner: plan_id }
}

fn of_claims(tenant_id: Uuid, metadata: &Metadata, claims: Vec<Claim>, releases: Vec<Claim>) -> Append {
    let (command_id, metadata) = (ids::new_id(), metadata.clone());
    Append { tenant_id, command_id, metadata, streams: Vec::new(), claims, releases }
}

/// What is said of a plan that is gone, or is going in this moment.
pub(super) fn no_such_plan() -> Refusal {
    Refusal::invalid("plan_id", "There is no such plan.")
}
