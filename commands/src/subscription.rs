//! Decisions about what a tenant is subscribed to. What is charged for is drawn up as an invoice in the same command.

mod periods;

use chrono::{DateTime, Utc};
use domain::addon::AddonTerms;
use domain::billing::overage::{MessageTerms, Usage};
use domain::billing::proration::{self, Change, Settlement};
use domain::billing::refund::take_credit;
use domain::billing::{
    AddonItem, AppliedCoupon, Interval, Period, Prepaid, RecurringItems, SubscriptionStatus,
};
use domain::invoice::{Amounts, Drafted, Invoice, InvoiceCause, InvoiceEvent};
use domain::money::{Money, MoneyError};
use domain::plan::PlanTerms;
use domain::refusal::Refusal;
use domain::subscription::{Contract, ItemsChanged, Settled, Started, Subscription, SubscriptionEvent};
use uuid::Uuid;

pub use periods::{begin_period, end, take_suspension_into_account};

/// The claim on a plan in the log of the tenant that is subscribed to it: held by the subscription, or by the plan itself
/// once it is deleted. So of a subscription and a deletion at the same moment one fails.
pub const PLAN: &str = "subscribed_plan";

use crate::ids;
use crate::store::{Decision, Expected, Part};

/// The stream of a tenant's subscription. Also its id for clients.
#[must_use]
pub fn id_of(tenant_id: Uuid) -> Uuid {
    ids::named_id(tenant_id, "subscription")
}

/// A plan as a tenant wants it.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    pub plan_id: Uuid,
    pub plan: &'a PlanTerms,
    pub interval: Interval,
    /// Agents that there are now.
    pub seats: u32,
}

/// What a decision about money needs to know of the moment at which it is taken.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    pub now: DateTime<Utc>,
    /// Messages of the months that the meter asks for.
    pub usage: &'a Usage,
    /// Messages a month that the plan so far allows; `None` is no limit.
    pub allowed: Option<u64>,
    /// The id of the invoice, should there be one.
    pub invoice_id: Uuid,
    /// What the time that is left was paid with, oldest first.
    pub paid: &'a [PaidInvoice],
}

/// An invoice that a change of plan may make credit of.
#[derive(Clone, Copy, Debug)]
pub struct PaidInvoice {
    pub id: Uuid,
    /// At which the rest was found.
    pub version: i64,
    /// The most that can become credit.
    pub creditable: Money,
    /// A refund is on its way, of which nobody knows yet whether it will be made.
    pub is_being_refunded: bool,
}

/// Subscribes a tenant: with a trial if it never was before, else with a first period that is charged at once.
///
/// # Errors
/// 409 when the tenant is subscribed; 422 for a plan that is not for sale.
pub fn start(
    state: &Subscription,
    subscription_id: Uuid,
    offer: &Offer<'_>,
    coupon: Option<AppliedCoupon>,
    moment: Moment<'_>,
) -> Result<Decision<SubscriptionEvent>, Refusal> {
    if state.current().is_some() {
        return Err(Refusal::conflict(
            "already_subscribed",
            "You are subscribed already; change the plan instead.",
        ));
    }
    for_sale(offer.plan)?;
    let items = RecurringItems {
        plan_id: offer.plan_id,
        plan_name: offer.plan.name.clone(),
        prices: offer.plan.prices,
        interval: offer.interval,
        seats: offer.seats,
        addons: Vec::new(),
    };
    let started = if state.contract.is_none() {
        Decision::one(SubscriptionEvent::Started(Box::new(Started { items, coupon })))
    } else {
        periods::come_back(state, subscription_id, items, coupon, moment)?
    };
    Ok(started.claiming(PLAN, offer.plan_id.to_string(), subscription_id))
}

/// Changes plan or interval, and takes back a cancellation that was requested. Without a change only the latter.
///
/// # Errors
/// 409 without a subscription, with an unpaid invoice, or for another currency; 422 for a plan that is not for sale.
pub fn change_plan(
    state: &Subscription,
    subscription_id: Uuid,
    offer: &Offer<'_>,
    moment: Moment<'_>,
) -> Result<Decision<SubscriptionEvent>, Refusal> {
    let contract = subscribed(state)?;
    let before = &contract.items;
    let resumed = contract.lifecycle.cancel_at_period_end.then_some(SubscriptionEvent::Resumed);
    if offer.plan_id == before.plan_id && offer.interval == before.interval {
        return Ok(Decision::all(resumed.into_iter().collect()));
    }
    settled_up(contract, moment.now)?;
    let items = if offer.plan_id == before.plan_id {
        RecurringItems { interval: offer.interval, seats: offer.seats, ..before.clone() }
    } else {
        for_sale(offer.plan)?;
        RecurringItems {
            plan_id: offer.plan_id,
            plan_name: offer.plan.name.clone(),
            prices: offer.plan.prices,
            interval: offer.interval,
            seats: offer.seats,
            addons: before.addons.clone(),
        }
    };
    let (change, invoices) = change_items(state, contract, subscription_id, items, moment)?;
    let events = resumed.into_iter().chain([SubscriptionEvent::PlanChanged(Box::new(change))]);
    let changed = with_invoices(Decision::all(events.collect()), invoices);
    Ok(if offer.plan_id == before.plan_id {
        changed
    } else {
        changed.claiming(PLAN, offer.plan_id.to_string(), subscription_id).releasing(
            PLAN,
            before.plan_id.to_string(),
            subscription_id,
        )
    })
}

/// An add-on that a tenant wants to have.
#[derive(Clone, Copy, Debug)]
pub struct AddonWish<'a> {
    pub attachment_id: Uuid,
    pub addon_id: Uuid,
    pub addon: &'a AddonTerms,
    /// At least 1.
    pub quantity: u32,
}

/// # Errors
/// 409 without a subscription, with an unpaid invoice, for another currency, or if it is attached already; 422 for an
/// add-on that is not for sale.
pub fn attach_addon(
    state: &Subscription,
    subscription_id: Uuid,
    wish: AddonWish<'_>,
    moment: Moment<'_>,
) -> Result<Decision<SubscriptionEvent>, Refusal> {
    let contract = subscribed(state)?;
    let AddonWish { attachment_id, addon_id, addon, quantity } = wish;
    if contract.attachments.iter().any(|attachment| attachment.id == attachment_id) {
        return Ok(Decision::nothing());
    }
    if contract.attachments.iter().any(|attachment| attachment.addon_id == addon_id) {
        return Err(Refusal::conflict("already_attached", "This add-on is attached already."));
    }
    if !addon.is_active {
        return Err(Refusal::invalid("addon_id", "is not for sale"));
    }
    if quantity == 0 {
        return Err(Refusal::invalid("quantity", "must be at least 1"));
    }
    settled_up(contract, moment.now)?;
    let mut items = contract.items.clone();
    items.addons.push(AddonItem { addon_id, name: addon.name.clone(), prices: addon.prices, quantity });
    let (change, invoices) = change_items(state, contract, subscription_id, items, moment)?;
    let attached = SubscriptionEvent::AddonAttached { attachment_id, addon_id, change: Box::new(change) };
    Ok(with_invoices(Decision::one(attached), invoices))
}

/// # Errors
/// 404 when it is not attached; 409 without a subscription or with an unpaid invoice.
pub fn detach_addon(
    state: &Subscription,
    subscription_id: Uuid,
    attachment_id: Uuid,
    moment: Moment<'_>,
) -> Result<Decision<SubscriptionEvent>, Refusal> {
    let contract = subscribed(state)?;
    let attachment = contract.attachments.iter().find(|attachment| attachment.id == attachment_id);
    let addon_id = attachment.ok_or_else(|| Refusal::not_found("attached add-on"))?.addon_id;
    settled_up(contract, moment.now)?;
    let mut items = contract.items.clone();
    items.addons.retain(|item| item.addon_id != addon_id);
    let (change, invoices) = change_items(state, contract, subscription_id, items, moment)?;
    let detached = SubscriptionEvent::AddonDetached { attachment_id, addon_id, change: Box::new(change) };
    Ok(with_invoices(Decision::one(detached), invoices))
}

/// Lets it end with the period, or the trial.
///
/// # Errors
/// 409 without a subscription.
pub fn cancel(state: &Subscription) -> Result<Decision<SubscriptionEvent>, Refusal> {
    let contract = subscribed(state)?;
    Ok(if contract.lifecycle.cancel_at_period_end {
        Decision::nothing()
    } else {
        Decision::one(SubscriptionEvent::CancellationRequested)
    })
}

fn subscribed(state: &Subscription) -> Result<&Contract, Refusal> {
    state.current().ok_or_else(|| Refusal::conflict("not_subscribed", "You are not subscribed to a plan."))
}

fn for_sale(plan: &PlanTerms) -> Result<(), Refusal> {
    if plan.is_active { Ok(()) } else { Err(Refusal::invalid("plan_id", "is not for sale")) }
}

/// A change is settled against what was charged; so what was charged must have been paid, and be up to date.
fn settled_up(contract: &Contract, now: DateTime<Utc>) -> Result<(), Refusal> {
    let lifecycle = &contract.lifecycle;
    if lifecycle.status == SubscriptionStatus::PastDue {
        return Err(Refusal::conflict("past_due", "An invoice is overdue; it has to be paid first."));
    }
    if lifecycle.is_collecting() || lifecycle.due(now).is_some() {
        let detail = "An invoice is being collected; try again when it is paid.";
        return Err(Refusal::conflict("payment_pending", detail));
    }
    Ok(())
}

/// Settles the difference between what is subscribed to and `items`: what follows for invoices comes with it.
fn change_items(
    state: &Subscription,
    contract: &Contract,
    subscription_id: Uuid,
    items: RecurringItems,
    moment: Moment<'_>,
) -> Result<(ItemsChanged, Vec<Part>), Refusal> {
    let currency = contract.items.currency();
    let same = items.currency() == currency
        && items.addons.iter().all(|addon| addon.prices.monthly.currency() == currency);
    if !same {
        let detail = format!("The subscription is in {currency}; it can't be changed to another currency.");
        return Err(Refusal::conflict("other_currency", detail));
    }
    let lifecycle = &contract.lifecycle;
    let Some(meter) = contract.overage.as_ref().filter(|_| lifecycle.status.is_paying()) else {
        return Ok((ItemsChanged { items, settled: None }, Vec::new()));
    };
    let nothing = Prepaid { amount: Money::zero(currency), period: lifecycle.period };
    let settlement = proration::settle(&Change {
        prepaid: contract.prepaid.unwrap_or(nothing),
        from: &contract.items,
        to: &items,
        coupon: contract.coupon_for(items.plan_id),
        period: lifecycle.period,
        anchor: lifecycle.anchor,
        credit_balance: state.credit(currency),
        at: moment.now,
    })
    .map_err(|error| incalculable(&error))?;
    let overage = meter.settle(message_terms(contract, moment), moment.usage, moment.now);
    let invoice_id = settlement.invoice.is_some().then_some(moment.invoice_id);
    let settled = Settled::of(&settlement, invoice_id, overage);
    let mut invoices = credited(&settlement, moment.paid)?;
    invoices.extend(settlement.invoice.map(|amounts| {
        let covered = settlement.prepaid.period;
        draft(moment.invoice_id, subscription_id, InvoiceCause::Change, amounts, covered)
    }));
    Ok((ItemsChanged { items, settled: Some(settled) }, invoices))
}

/// The invoices out of which a settlement makes credit are told, at the version at which they were seen: a refund at the
/// same moment can't give the same money back.
fn credited(settlement: &Settlement, paid: &[PaidInvoice]) -> Result<Vec<Part>, Refusal> {
    let granted = settlement.granted().map_err(|error| incalculable(&error))?;
    if !granted.is_positive() {
        return Ok(Vec::new());
    }
    if paid.iter().any(|invoice| invoice.is_being_refunded) {
        let detail = "A refund of what was paid is on its way; try again when it is made.";
        return Err(Refusal::conflict("refund_pending", detail));
    }
    let creditable: Vec<_> =
        paid.iter().map(|invoice| ((invoice.id, invoice.version), invoice.creditable)).collect();
    let taken = take_credit(granted, &creditable).map_err(|error| incalculable(&error))?;
    let told = |((id, version), net)| {
        Part::of::<Invoice>(id, Expected::Version(version), &[InvoiceEvent::Credited { net }])
    };
    Ok(taken.into_iter().map(told).collect())
}

fn with_invoices(decision: Decision<SubscriptionEvent>, invoices: Vec<Part>) -> Decision<SubscriptionEvent> {
    invoices.into_iter().fold(decision, Decision::also)
}

fn draft(
    invoice_id: Uuid,
    subscription_id: Uuid,
    cause: InvoiceCause,
    amounts: Amounts,
    period: Period,
) -> Part {
    let drafted = InvoiceEvent::Drafted(Box::new(Drafted { subscription_id, cause, amounts, period }));
    Part::of::<Invoice>(invoice_id, Expected::Version(0), &[drafted])
}

fn message_terms(contract: &Contract, moment: Moment<'_>) -> MessageTerms {
    MessageTerms { allowed: moment.allowed, rate: contract.items.prices.overage_message }
}

/// Amounts are bounded where they enter, so this is an operator's price that no one could pay.
fn incalculable(error: &MoneyError) -> Refusal {
    Refusal::conflict("incalculable", format!("The price can't be calculated: {error}."))
}

#[cfg(test)]
mod tests;
