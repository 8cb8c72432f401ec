//! What a tenant is subscribed to, and how far it has paid. One stream per tenant, which outlives a cancellation: a
//! tenant that comes back goes on where it was, with its credit and the coupons it has used, and without another trial.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::billing::lifecycle::{Action, CancelReason, Suspension};
use crate::billing::mrr::subscription_mrr;
use crate::billing::overage::OverageMeter;
use crate::billing::proration::Settlement;
use crate::billing::{AppliedCoupon, Lifecycle, Period, Prepaid, RecurringItems, SubscriptionStatus};
use crate::event::{Context, EventBody};
use crate::money::{Currency, Money, MoneyError};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum SubscriptionEvent {
    /// For the first time, so with a trial: nothing is charged yet.
    #[serde(rename = "subscription.started")]
    Started(Box<Started>),
    /// The trial is over, and the first period is charged.
    #[serde(rename = "subscription.activated")]
    Activated(Box<PeriodBegan>),
    #[serde(rename = "subscription.renewed")]
    Renewed(Box<PeriodBegan>),
    #[serde(rename = "subscription.plan_changed")]
    PlanChanged(Box<ItemsChanged>),
    #[serde(rename = "subscription.addon_attached")]
    AddonAttached { attachment_id: Uuid, addon_id: Uuid, change: Box<ItemsChanged> },
    #[serde(rename = "subscription.addon_detached")]
    AddonDetached { attachment_id: Uuid, addon_id: Uuid, change: Box<ItemsChanged> },
    /// It will end with the period.
    #[serde(rename = "subscription.cancellation_requested")]
    CancellationRequested,
    /// It will not end after all.
    #[serde(rename = "subscription.resumed")]
    Resumed,
    #[serde(rename = "subscription.payment_received")]
    PaymentReceived { invoice_id: Uuid },
    /// The gateway asked the customer to pay, and gives them until then.
    #[serde(rename = "subscription.payment_awaited")]
    PaymentAwaited { invoice_id: Uuid, until: DateTime<Utc> },
    #[serde(rename = "subscription.payment_failed")]
    PaymentFailed { invoice_id: Uuid, attempt: u32 },
    /// Part of an invoice was given back, of which `net` was not tax. What was given back can't be credited any more.
    #[serde(rename = "subscription.payment_refunded")]
    PaymentRefunded { invoice_id: Uuid, net: Money },
    #[serde(rename = "subscription.canceled")]
    Canceled { reason: CancelReason },
    /// With the end: what was used and not charged yet is invoiced.
    #[serde(rename = "subscription.usage_invoiced")]
    UsageInvoiced { invoice_id: Uuid, credit_balance: Money },
    /// Again, after an end: a tenant has one trial, so the first period begins at once and is charged.
    #[serde(rename = "subscription.returned")]
    Returned(Box<Returned>),
    /// The tenant was suspended, which held something up: that goes on from `until`.
    #[serde(rename = "subscription.suspension_passed")]
    SuspensionPassed { from: DateTime<Utc>, until: DateTime<Utc> },
    /// What an invoice had become credit for was refunded by the gateway nevertheless: so much of the balance goes, or
    /// all of it.
    #[serde(rename = "subscription.credit_withdrawn")]
    CreditWithdrawn { invoice_id: Uuid, amount: Money },
}

impl EventBody for SubscriptionEvent {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Started {
    pub items: RecurringItems,
    pub coupon: Option<AppliedCoupon>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Returned {
    pub coupon: Option<AppliedCoupon>,
    pub began: PeriodBegan,
}

/// A period, and what follows from charging it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeriodBegan {
    pub period: Period,
    /// With the seats as they are now.
    pub items: RecurringItems,
    pub invoice_id: Uuid,
    pub prepaid: Prepaid,
    pub credit_balance: Money,
    pub overage: OverageMeter,
}

/// What is subscribed to from now on, and what follows from settling the difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ItemsChanged {
    pub items: RecurringItems,
    /// Nothing is settled during the trial.
    pub settled: Option<Settled>,
}

/// A [`Settlement`] but for its invoice, which has a stream of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Settled {
    /// For the unused time.
    pub credited: Money,
    /// For the time left at the new price.
    pub charged: Money,
    /// If the new price is higher.
    pub invoice_id: Option<Uuid>,
    pub credit_balance: Money,
    pub prepaid: Prepaid,
    pub period: Period,
    /// The moment that periods are counted from.
    pub anchor: DateTime<Utc>,
    pub overage: OverageMeter,
}

impl Settled {
    #[must_use]
    pub fn of(settlement: &Settlement, invoice_id: Option<Uuid>, overage: OverageMeter) -> Self {
        Self {
            credited: settlement.credited,
            charged: settlement.charged,
            invoice_id,
            credit_balance: settlement.credit_balance,
            prepaid: settlement.prepaid,
            period: settlement.period,
            anchor: settlement.anchor,
            overage,
        }
    }
}

/// The subscription of a tenant that has ever had one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Subscription {
    /// The one in force, or the one that was canceled last.
    pub contract: Option<Contract>,
    /// What the tenant has to its credit, one amount per currency.
    pub credits: Vec<Money>,
    /// Coupons that were ever redeemed.
    pub redeemed_coupons: Vec<Uuid>,
}

/// What was agreed, and where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contract {
    pub items: RecurringItems,
    pub lifecycle: Lifecycle,
    pub coupon: Option<AppliedCoupon>,
    pub attachments: Vec<Attachment>,
    /// Nothing before the first paid period.
    pub prepaid: Option<Prepaid>,
    /// The invoices that `prepaid` was charged with.
    pub prepaid_by: Vec<Uuid>,
    /// Nothing during the trial.
    pub overage: Option<OverageMeter>,
    pub started_at: DateTime<Utc>,
}

/// An add-on of a subscription; how many there are, and at which price, is among the items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub id: Uuid,
    pub addon_id: Uuid,
    pub attached_at: DateTime<Utc>,
}

impl Contract {
    /// The coupon as far as it is for the plan.
    #[must_use]
    pub fn coupon_for(&self, plan_id: Uuid) -> Option<&AppliedCoupon> {
        self.coupon.as_ref().filter(|coupon| coupon.applies_to(plan_id))
    }

    /// What it adds to the revenue of a month; nothing while it does not count.
    ///
    /// # Errors
    /// As [`subscription_mrr`].
    pub fn mrr(&self) -> Result<Option<Money>, MoneyError> {
        subscription_mrr(self.lifecycle.status, &self.items, self.coupon_for(self.items.plan_id))
    }

    fn period_began(&mut self, began: PeriodBegan) {
        let PeriodBegan { period, items, invoice_id, prepaid, overage, .. } = began;
        self.items = items;
        self.prepaid = Some(prepaid);
        self.prepaid_by = vec![invoice_id];
        self.overage = Some(overage);
        self.lifecycle.period_began(period);
        self.lifecycle.invoice_drafted(invoice_id, period.start);
    }

    fn items_changed(&mut self, change: ItemsChanged, at: DateTime<Utc>) {
        let ItemsChanged { items, settled } = change;
        let lifecycle = &mut self.lifecycle;
        match settled {
            None => lifecycle.plan_changed(items.interval, lifecycle.period, lifecycle.anchor),
            Some(settled) => {
                lifecycle.plan_changed(items.interval, settled.period, settled.anchor);
                if let Some(invoice_id) = settled.invoice_id {
                    lifecycle.invoice_drafted(invoice_id, at);
                    self.prepaid_by.push(invoice_id);
                }
                self.prepaid = Some(settled.prepaid);
                self.overage = Some(settled.overage);
            }
        }
        self.items = items;
    }
}

impl Subscription {
    /// Where it stands, as of a tenant that has or had one.
    #[must_use]
    pub fn status(&self) -> Option<SubscriptionStatus> {
        self.contract.as_ref().map(|contract| contract.lifecycle.status)
    }

    /// What is due now; after the end that is only what was drawn up with it.
    #[must_use]
    pub fn due(&self, now: DateTime<Utc>) -> Option<Action> {
        self.contract.as_ref()?.lifecycle.due(now)
    }

    /// The contract, unless it was canceled.
    #[must_use]
    pub fn current(&self) -> Option<&Contract> {
        self.contract.as_ref().filter(|contract| contract.lifecycle.status.is_current())
    }

    /// What the tenant has to its credit; not negative.
    #[must_use]
    pub fn credit(&self, currency: Currency) -> Money {
        let balance = self.credits.iter().find(|credit| credit.currency() == currency);
        balance.copied().unwrap_or_else(|| Money::zero(currency))
    }

    fn set_credit(&mut self, balance: Money) {
        self.credits.retain(|credit| credit.currency() != balance.currency());
        if !balance.is_zero() {
            self.credits.push(balance);
        }
    }

    fn start(&mut self, started: Started, at: DateTime<Utc>) {
        let Started { items, coupon } = started;
        self.agree(items.clone(), coupon, Lifecycle::trialing(at, items.interval), at);
    }

    fn come_back(&mut self, returned: Returned, at: DateTime<Utc>) {
        let Returned { coupon, began } = returned;
        let mut lifecycle = Lifecycle::active(began.period.start, began.items.interval);
        // What was drawn up with the end, and is not collected yet, is still owed.
        lifecycle.drafts = self.contract.take().map(|ended| ended.lifecycle.drafts).unwrap_or_default();
        self.set_credit(began.credit_balance);
        self.agree(began.items.clone(), coupon, lifecycle, at);
        if let Some(contract) = &mut self.contract {
            contract.period_began(began);
        }
    }

    fn agree(
        &mut self,
        items: RecurringItems,
        coupon: Option<AppliedCoupon>,
        lifecycle: Lifecycle,
        started_at: DateTime<Utc>,
    ) {
        self.redeemed_coupons.extend(coupon.as_ref().map(|coupon| coupon.coupon_id));
        self.contract = Some(Contract {
            items,
            lifecycle,
            coupon,
            attachments: Vec::new(),
            prepaid: None,
            prepaid_by: Vec::new(),
            overage: None,
            started_at,
        });
    }

    fn withdraw_credit(&mut self, amount: Money) {
        let balance = self.credit(amount.currency());
        // Of the same currency, and at most the balance: the difference exists.
        if let Ok(left) = amount.min(balance).and_then(|withdrawn| balance.minus(withdrawn)) {
            self.set_credit(left);
        }
    }
}

impl Aggregate for Subscription {
    const STREAM: &'static str = "subscription";
    type Event = SubscriptionEvent;

    fn evolve(&mut self, event: &SubscriptionEvent, context: Context) {
        let at = context.at;
        match event {
            SubscriptionEvent::Started(started) => return self.start(*started.clone(), at),
            SubscriptionEvent::Returned(returned) => return self.come_back(*returned.clone(), at),
            SubscriptionEvent::CreditWithdrawn { amount, .. } => return self.withdraw_credit(*amount),
            SubscriptionEvent::Activated(began) | SubscriptionEvent::Renewed(began) => {
                self.set_credit(began.credit_balance);
            }
            SubscriptionEvent::PlanChanged(change)
            | SubscriptionEvent::AddonAttached { change, .. }
            | SubscriptionEvent::AddonDetached { change, .. } => {
                if let Some(settled) = &change.settled {
                    self.set_credit(settled.credit_balance);
                }
            }
            SubscriptionEvent::UsageInvoiced { credit_balance, .. } => self.set_credit(*credit_balance),
            _ => {}
        }
        let Some(contract) = &mut self.contract else { return };
        match event.clone() {
            SubscriptionEvent::Started(_)
            | SubscriptionEvent::Returned(_)
            | SubscriptionEvent::CreditWithdrawn { .. } => {}
            SubscriptionEvent::Activated(began) | SubscriptionEvent::Renewed(began) => {
                contract.period_began(*began);
            }
            SubscriptionEvent::PlanChanged(change) => contract.items_changed(*change, at),
            SubscriptionEvent::AddonAttached { attachment_id, addon_id, change } => {
                contract.attachments.push(Attachment { id: attachment_id, addon_id, attached_at: at });
                contract.items_changed(*change, at);
            }
            SubscriptionEvent::AddonDetached { attachment_id, change, .. } => {
                contract.attachments.retain(|attachment| attachment.id != attachment_id);
                contract.items_changed(*change, at);
            }
            SubscriptionEvent::CancellationRequested => contract.lifecycle.cancellation_requested(),
            SubscriptionEvent::Resumed => contract.lifecycle.resumed(),
            SubscriptionEvent::PaymentReceived { invoice_id } => {
                contract.lifecycle.invoice_settled(invoice_id);
            }
            SubscriptionEvent::PaymentAwaited { invoice_id, until } => {
                contract.lifecycle.payment_awaited(invoice_id, until);
            }
            SubscriptionEvent::PaymentFailed { invoice_id, .. } => {
                contract.lifecycle.payment_failed(invoice_id, at);
            }
            SubscriptionEvent::PaymentRefunded { invoice_id, net } => {
                if contract.prepaid_by.contains(&invoice_id) {
                    contract.prepaid = contract.prepaid.map(|prepaid| prepaid.less(net));
                }
            }
            SubscriptionEvent::Canceled { .. } => contract.lifecycle.canceled(at),
            SubscriptionEvent::SuspensionPassed { from, until } => {
                contract.lifecycle.suspension_passed(Suspension { from, until });
            }
            SubscriptionEvent::UsageInvoiced { invoice_id, .. } => {
                contract.lifecycle.invoice_drafted(invoice_id, at);
                contract.overage = None;
            }
        }
    }

    fn exists(&self) -> bool {
        self.contract.is_some()
    }
}
