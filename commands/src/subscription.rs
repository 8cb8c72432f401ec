//! Decisions about what a tenant is subscribed to. What is charged for is drawn up as an invoice in the same command.

use chrono::{DateTime, Utc};
use domain::addon::AddonTerms;
use domain::billing::invoice::{PeriodCharge, last_invoice, period_invoice};
use domain::billing::lifecycle::{Action, CancelReason};
use domain::billing::overage::{MessageTerms, OverageMeter, Usage};
use domain::billing::proration::{self, Change};
use domain::billing::{
    AddonItem, AppliedCoupon, Interval, Period, Prepaid, RecurringItems, SubscriptionStatus,
};
use domain::invoice::{Amounts, Drafted, Invoice, InvoiceCause, InvoiceEvent};
use domain::money::{Money, MoneyError};
use domain::plan::PlanTerms;
use domain::refusal::Refusal;
use domain::subscription::{
    Contract, ItemsChanged, PeriodBegan, Settled, Started, Subscription, SubscriptionEvent,
};
use uuid::Uuid;

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
}

/// Begins a trial.
///
/// # Errors
/// 409 when the tenant is subscribed; 422 for a plan that is not for sale.
pub fn start(
    state: &Subscription,
    offer: &Offer<'_>,
    coupon: Option<AppliedCoupon>,
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
    Ok(Decision::one(SubscriptionEvent::Started(Box::new(Started { items, coupon }))))
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
    let (change, invoice) = change_items(state, contract, subscription_id, items, moment)?;
    let events = resumed.into_iter().chain([SubscriptionEvent::PlanChanged(Box::new(change))]);
    Ok(with_invoice(Decision::all(events.collect()), invoice))
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
    let (change, invoice) = change_items(state, contract, subscription_id, items, moment)?;
    let attached = SubscriptionEvent::AddonAttached { attachment_id, addon_id, change: Box::new(change) };
    Ok(with_invoice(Decision::one(attached), invoice))
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
    let (change, invoice) = change_items(state, contract, subscription_id, items, moment)?;
    let detached = SubscriptionEvent::AddonDetached { attachment_id, addon_id, change: Box::new(change) };
    Ok(with_invoice(Decision::one(detached), invoice))
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

/// Begins the period that is due, the first one or a further one, and draws up its invoice. Nothing if none is due.
///
/// # Errors
/// When the amounts can't be calculated.
pub fn begin_period(
    state: &Subscription,
    subscription_id: Uuid,
    seats: u32,
    moment: Moment<'_>,
) -> Result<Decision<SubscriptionEvent>, Refusal> {
    let Some(contract) = state.current() else { return Ok(Decision::nothing()) };
    let (period, is_first) = match contract.lifecycle.due(moment.now) {
        Some(Action::EndTrial { period }) => (period, true),
        Some(Action::Renew { period }) => (period, false),
        _ => return Ok(Decision::nothing()),
    };
    let items = RecurringItems { seats, ..contract.items.clone() };
    let (overage, meter) = match &contract.overage {
        Some(meter) if !is_first => meter.charge(message_terms(contract, moment), moment.usage, period.start),
        // What was sent during the trial is free.
        _ => (Vec::new(), OverageMeter::starting(period.start, sent_in_month(moment, period.start))),
    };
    let charge = PeriodCharge {
        items: &items,
        period,
        coupon: contract.coupon_for(items.plan_id),
        overage: &overage,
        credit_balance: state.credit(items.currency()),
    };
    let charged = period_invoice(&charge).map_err(|error| incalculable(&error))?;
    let invoice_id = moment.invoice_id;
    let began = Box::new(PeriodBegan {
        period,
        items,
        invoice_id,
        prepaid: charged.prepaid,
        credit_balance: charged.credit_balance,
        overage: meter,
    });
    let event =
        if is_first { SubscriptionEvent::Activated(began) } else { SubscriptionEvent::Renewed(began) };
    let drafted = draft(invoice_id, subscription_id, InvoiceCause::Period, charged.invoice, period);
    Ok(Decision::one(event).also(drafted))
}

/// Ends it, if that is due: what was not numbered is withdrawn, what was not paid is given up. Who leaves of its own
/// accord is charged for what it used beyond the plan.
///
/// # Errors
/// When the amounts can't be calculated.
pub fn end(
    state: &Subscription,
    subscription_id: Uuid,
    moment: Moment<'_>,
) -> Result<Decision<SubscriptionEvent>, Refusal> {
    let due = state.current().and_then(|contract| Some((contract, contract.lifecycle.due(moment.now)?)));
    let Some((contract, Action::Cancel { reason })) = due else { return Ok(Decision::nothing()) };
    let lifecycle = &contract.lifecycle;
    let given_up = |id| Part::of::<Invoice>(id, Expected::Any, &[InvoiceEvent::MarkedUncollectible]);
    let withdrawn = |id| Part::of::<Invoice>(id, Expected::Any, &[InvoiceEvent::Voided]);
    let unpaid = lifecycle.dunning.iter().map(|dunning| dunning.invoice_id);
    let unpaid = unpaid.chain(lifecycle.awaiting.iter().map(|awaited| awaited.invoice_id));
    let parts = unpaid.map(given_up).chain(lifecycle.drafts.iter().map(|draft| withdrawn(draft.invoice_id)));
    let ended = Decision::one(SubscriptionEvent::Canceled { reason });
    let mut ended = parts.fold(ended, Decision::also);
    let meter = contract.overage.as_ref().filter(|_| reason == CancelReason::Requested);
    let Some(meter) = meter else { return Ok(ended) };
    let used = meter.settle(message_terms(contract, moment), moment.usage, moment.now).accrued;
    let currency = contract.items.currency();
    let last = last_invoice(currency, &used, state.credit(currency)).map_err(|error| incalculable(&error))?;
    Ok(match last {
        None => ended,
        Some((amounts, credit_balance)) => {
            let invoice_id = moment.invoice_id;
            ended.events.push(SubscriptionEvent::UsageInvoiced { invoice_id, credit_balance });
            ended.also(draft(invoice_id, subscription_id, InvoiceCause::End, amounts, lifecycle.period))
        }
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

/// An invoice and what it pays for.
type Drawn = Option<Part>;

/// Settles the difference between what is subscribed to and `items`.
fn change_items(
    state: &Subscription,
    contract: &Contract,
    subscription_id: Uuid,
    items: RecurringItems,
    moment: Moment<'_>,
) -> Result<(ItemsChanged, Drawn), Refusal> {
    let currency = contract.items.currency();
    let same = items.currency() == currency
        && items.addons.iter().all(|addon| addon.prices.monthly.currency() == currency);
    if !same {
        let detail = format!("The subscription is in {currency}; it can't be changed to another currency.");
        return Err(Refusal::conflict("other_currency", detail));
    }
    let lifecycle = &contract.lifecycle;
    let Some(meter) = contract.overage.as_ref().filter(|_| lifecycle.status.is_paying()) else {
        return Ok((ItemsChanged { items, settled: None }, None));
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
    let invoice = settlement.invoice.clone().map(|amounts| {
        let covered = settlement.prepaid.period;
        draft(moment.invoice_id, subscription_id, InvoiceCause::Change, amounts, covered)
    });
    let settled = Settled::of(&settlement, invoice.as_ref().map(|_| moment.invoice_id), overage);
    Ok((ItemsChanged { items, settled: Some(settled) }, invoice))
}

fn with_invoice(decision: Decision<SubscriptionEvent>, invoice: Drawn) -> Decision<SubscriptionEvent> {
    match invoice {
        Some(invoice) => decision.also(invoice),
        None => decision,
    }
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

fn sent_in_month(moment: Moment<'_>, at: DateTime<Utc>) -> u64 {
    moment.usage.get(&domain::billing::Month::of(at)).copied().unwrap_or(0)
}

/// Amounts are bounded where they enter, so this is an operator's price that no one could pay.
fn incalculable(error: &MoneyError) -> Refusal {
    Refusal::conflict("incalculable", format!("The price can't be calculated: {error}."))
}

#[cfg(test)]
mod tests;
