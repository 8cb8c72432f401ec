//! Subscribing, and changing what is subscribed to.

use domain::addon::Addon;
use domain::aggregate::Aggregate;
use domain::billing::coupon::CouponPlan;
use domain::billing::refund::creditable;
use domain::billing::{AppliedCoupon, Interval};
use domain::coupon::Coupon;
use domain::event::PLATFORM_TENANT;
use domain::invoice::Invoice;
use domain::plan::{Plan, PlanTerms};
use domain::refusal::Refusal;
use domain::subscription::{Subscription, SubscriptionEvent};
use uuid::Uuid;

use super::plans::no_such_plan;
use super::{Billing, Done};
use crate::coupon::{self, REDEMPTION};
use crate::store::{Decision, Origin};
use crate::subscription::{self, AddonWish, Moment, Offer, PaidInvoice};
use crate::{CommandError, ids};

/// How often a change is decided again after an invoice that it makes credit of has changed meanwhile.
const CHANGE_TRIES: u32 = 3;

/// How a tenant wants to subscribe.
#[derive(Clone, Debug, Default)]
pub struct Subscribe {
    /// The cheapest one that is for sale if it does not say.
    pub plan_id: Option<Uuid>,
    pub interval: Interval,
    pub coupon_code: Option<String>,
}

impl Billing {
    /// Subscribes a tenant: for the first time with a trial; again with a period that is invoiced and, if the gateway
    /// answers, collected at once.
    ///
    /// # Errors
    /// 409 `already_subscribed`, `no_plan`, `coupon_used_up`, `coupon_already_redeemed`; 422 naming `plan_id` or
    /// `coupon_code`.
    pub async fn subscribe(
        &self,
        origin: &Origin,
        wish: &Subscribe,
    ) -> Result<Done<Subscription>, CommandError> {
        let tenant_id = origin.tenant_id;
        let id = subscription::id_of(tenant_id);
        let (plan_id, plan) = self.plan(wish.plan_id).await?;
        let seats = self.seats(tenant_id).await?;
        let offer = Offer { plan_id, plan: &plan, interval: wish.interval, seats };
        let before: Subscription = self.store.load(tenant_id, id).await?;
        if self.was_repeated(origin).await? {
            return self.nothing_done(tenant_id, before).await;
        }
        let usage = self.usage(tenant_id, &before).await?;
        let invoice_id = ids::named_id(origin.command_id, "invoice");
        let start = |state: &Subscription, coupon| {
            let now = self.store.clock().now();
            let moment = Moment { now, usage: &usage, allowed: None, invoice_id, paid: &[] };
            subscription::start(state, id, &offer, coupon, moment)
        };
        // Before a coupon is used up for nothing.
        start(&before, None)?;
        self.ask_for_plan(origin, plan_id).await?;
        let coupon = match &wish.coupon_code {
            Some(code) => Some(self.redeem(origin, code, &before, &offer).await?),
            None => None,
        };
        let started = self.store.execute::<Subscription>(origin, id, |state| start(state, coupon.clone()));
        let started = Done::from(started.await.map_err(gone_if_taken)?);
        self.collect_if_drawn_up(tenant_id, invoice_id, started).await
    }

    /// Changes plan or interval; what that costs is invoiced and, if the gateway answers, collected at once. Answers
    /// the invoice's id.
    ///
    /// # Errors
    /// As [`subscription::change_plan`].
    pub async fn change_plan(
        &self,
        origin: &Origin,
        plan_id: Uuid,
        interval: Option<Interval>,
    ) -> Result<Done<(Subscription, Option<Uuid>)>, CommandError> {
        let (plan_id, plan) = self.plan(Some(plan_id)).await?;
        self.ask_for_plan(origin, plan_id).await?;
        self.change(origin, |state, seats, moment| {
            let interval = interval.or_else(|| Some(state.current()?.items.interval)).unwrap_or_default();
            let offer = Offer { plan_id, plan: &plan, interval, seats };
            subscription::change_plan(state, subscription::id_of(origin.tenant_id), &offer, moment)
        })
        .await
    }

    /// # Errors
    /// As [`subscription::attach_addon`].
    pub async fn attach_addon(
        &self,
        origin: &Origin,
        attachment_id: Uuid,
        addon_id: Uuid,
        quantity: u32,
    ) -> Result<Done<Subscription>, CommandError> {
        let addon: Addon = self.store.load(PLATFORM_TENANT, addon_id).await?;
        let addon = addon.terms.ok_or_else(|| Refusal::invalid("addon_id", "There is no such add-on."))?;
        let attached = self.change(origin, |state, _, moment| {
            let wish = AddonWish { attachment_id, addon_id, addon: &addon, quantity };
            subscription::attach_addon(state, subscription::id_of(origin.tenant_id), wish, moment)
        });
        let attached = attached.await?;
        let state = attached.value.0.clone();
        Ok(attached.with(state))
    }

    /// # Errors
    /// As [`subscription::detach_addon`].
    pub async fn detach_addon(
        &self,
        origin: &Origin,
        attachment_id: Uuid,
    ) -> Result<Done<Subscription>, CommandError> {
        let detached = self.change(origin, |state, _, moment| {
            subscription::detach_addon(state, subscription::id_of(origin.tenant_id), attachment_id, moment)
        });
        let detached = detached.await?;
        let state = detached.value.0.clone();
        Ok(detached.with(state))
    }

    /// Lets the subscription end with its period.
    ///
    /// # Errors
    /// 409 `not_subscribed`.
    pub async fn cancel(&self, origin: &Origin) -> Result<Done<Subscription>, CommandError> {
        let due = self.try_due(origin.tenant_id).await?;
        let id = subscription::id_of(origin.tenant_id);
        let canceled = self.store.execute::<Subscription>(origin, id, subscription::cancel).await?;
        Ok(Done::from(canceled).after(&due))
    }

    /// Changes what is subscribed to, after all that is due, and collects what that costs.
    async fn change(
        &self,
        origin: &Origin,
        decide: impl Fn(&Subscription, u32, Moment<'_>) -> Result<Decision<SubscriptionEvent>, Refusal>
        + Send
        + Sync,
    ) -> Result<Done<(Subscription, Option<Uuid>)>, CommandError> {
        let tenant_id = origin.tenant_id;
        let id = subscription::id_of(tenant_id);
        let invoice_id = ids::named_id(origin.command_id, "invoice");
        let due = self.try_due(tenant_id).await?;
        let state: Subscription = self.store.load(tenant_id, id).await?;
        let usage = self.usage(tenant_id, &state).await?;
        let allowed = self.allowed_messages(tenant_id, &state).await?;
        let seats = self.seats(tenant_id).await?;
        let mut tries = 0;
        let changed = loop {
            tries += 1;
            let paid = self.paid_with(tenant_id, &state).await?;
            let changed = self.store.execute::<Subscription>(origin, id, |state| {
                let now = self.store.clock().now();
                decide(state, seats, Moment { now, usage: &usage, allowed, invoice_id, paid: &paid })
            });
            match changed.await {
                Err(CommandError::Refused(refusal)) if refusal.is_contended() && tries < CHANGE_TRIES => {}
                changed => break Done::from(changed.map_err(gone_if_taken)?).after(&due),
            }
        };
        let done = self.collect_if_drawn_up(tenant_id, invoice_id, changed).await?;
        let invoice: Invoice = self.store.load(tenant_id, invoice_id).await?;
        let state = done.value.clone();
        Ok(done.with((state, invoice.exists().then_some(invoice_id))))
    }

    /// Collects the invoice that was drawn up with a change, if there is one. Answers what became of the subscription.
    async fn collect_if_drawn_up(
        &self,
        tenant_id: Uuid,
        invoice_id: Uuid,
        changed: Done<Subscription>,
    ) -> Result<Done<Subscription>, CommandError> {
        let is_draft = changed.value.current().is_some_and(|contract| {
            contract.lifecycle.drafts.iter().any(|draft| draft.invoice_id == invoice_id)
        });
        let done = if is_draft {
            self.finalize_and_collect(tenant_id, invoice_id).await?.after(&changed)
        } else {
            changed.with(())
        };
        let state = self.store.load(tenant_id, subscription::id_of(tenant_id)).await?;
        Ok(done.with(state))
    }

    /// The invoices that the time which is left was paid with, and what can become credit of them.
    async fn paid_with(
        &self,
        tenant_id: Uuid,
        state: &Subscription,
    ) -> Result<Vec<PaidInvoice>, CommandError> {
        let ids = state.current().map_or(&[][..], |contract| &contract.prepaid_by);
        let mut paid = Vec::with_capacity(ids.len());
        for id in ids {
            let (invoice, version) = self.store.current::<Invoice>(tenant_id, *id).await?;
            let (Some(amounts), Some(given)) = (invoice.amounts(), invoice.given_back()) else { continue };
            paid.push(PaidInvoice {
                id: *id,
                version,
                creditable: creditable(amounts, given).map_err(CommandError::failed)?,
                is_being_refunded: invoice.pending_refund.is_some(),
            });
        }
        Ok(paid)
    }

    /// A plan that exists.
    async fn plan(&self, wanted: Option<Uuid>) -> Result<(Uuid, PlanTerms), CommandError> {
        let id = match wanted {
            Some(id) => id,
            None => self.figures.cheapest_plan().await?.ok_or_else(|| {
                Refusal::conflict("no_plan", "There is no plan to subscribe to; ask who runs the platform.")
            })?,
        };
        let plan: Plan = self.store.load(PLATFORM_TENANT, id).await?;
        let terms = plan.terms.ok_or_else(no_such_plan)?;
        Ok((id, terms))
    }

    /// Takes one use of a coupon for the tenant. The use stays the tenant's even if it does not come to subscribe: it
    /// finds it again the next time, and nobody can have given it to someone else meanwhile.
    async fn redeem(
        &self,
        origin: &Origin,
        code: &str,
        before: &Subscription,
        offer: &Offer<'_>,
    ) -> Result<AppliedCoupon, CommandError> {
        let tenant_id = origin.tenant_id;
        let (id, _) = coupon::find(&self.store, code).await?.ok_or_else(coupon::unknown)?;
        if before.redeemed_coupons.contains(&id) {
            let detail = "You have redeemed this coupon before.";
            return Err(Refusal::conflict("coupon_already_redeemed", detail).into());
        }
        let plan = CouponPlan { id: offer.plan_id, currency: offer.plan.prices.currency() };
        let now = self.store.clock().now();
        let own = Self::platform(origin, &format!("redeem {id}"));
        let key = coupon::redemption_key(id, tenant_id);
        let held = self.store.claim_owner(PLATFORM_TENANT, REDEMPTION, &key).await?.is_some();
        let coupon: Coupon = if held {
            self.store.load(PLATFORM_TENANT, id).await?
        } else {
            let redeemed = self.store.execute::<Coupon>(&own, id, |state| {
                coupon::redeem(state, id, tenant_id, own.command_id, plan, now)
            });
            match redeemed.await {
                Err(CommandError::Refused(refusal)) if refusal.code == "already_taken" => {
                    let detail = "You are redeeming this coupon in another request.";
                    return Err(Refusal::conflict("coupon_already_redeemed", detail).into());
                }
                redeemed => redeemed?.state,
            }
        };
        let terms = coupon.terms.ok_or_else(coupon::unknown)?;
        if held {
            // The use is the tenant's, but the coupon must still be good, and for this plan.
            terms.check(0, Some(plan), now).map_err(|refusal| refusal.at("coupon_code"))?;
        }
        Ok(AppliedCoupon {
            coupon_id: id,
            code: terms.code,
            discount: terms.discount,
            applicable_plans: terms.applicable_plans,
        })
    }
}

/// The one claim of a subscription is that on its plan; taken, it is because the plan is being deleted.
fn gone_if_taken(error: CommandError) -> CommandError {
    match error {
        CommandError::Refused(refusal) if refusal.code == "already_taken" => no_such_plan().into(),
        other => other,
    }
}
