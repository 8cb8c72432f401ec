//! What time does to a subscription: periods that begin and are charged, the end, and suspensions that are over.

use domain::billing::invoice::{MessageOverage, PeriodCharge, last_invoice, period_invoice};
use domain::billing::lifecycle::{Action, CancelReason};
use domain::billing::overage::OverageMeter;
use domain::billing::{AppliedCoupon, Month, Period, RecurringItems, Suspension};
use domain::invoice::{Invoice, InvoiceCause, InvoiceEvent};
use domain::refusal::Refusal;
use domain::subscription::{PeriodBegan, Returned, Subscription, SubscriptionEvent};
use uuid::Uuid;

use super::{Moment, PLAN, draft, incalculable, message_terms};
use crate::store::{Decision, Expected, Part};

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
    let metered = match &contract.overage {
        Some(meter) if !is_first => meter.charge(message_terms(contract, moment), moment.usage, period.start),
        // What was sent during the trial is free.
        _ => (Vec::new(), counting_from(period, moment)),
    };
    let next = NewPeriod { items, period, coupon: contract.coupon_for(contract.items.plan_id), metered };
    let (began, invoice) = next.draw_up(state, subscription_id, moment)?;
    let began = Box::new(began);
    let event =
        if is_first { SubscriptionEvent::Activated(began) } else { SubscriptionEvent::Renewed(began) };
    Ok(Decision::one(event).also(invoice))
}

/// Begins the first period of a tenant that was subscribed before, and draws up its invoice.
pub(super) fn come_back(
    state: &Subscription,
    subscription_id: Uuid,
    items: RecurringItems,
    coupon: Option<AppliedCoupon>,
    moment: Moment<'_>,
) -> Result<Decision<SubscriptionEvent>, Refusal> {
    let period = Period::containing(moment.now, moment.now, items.interval);
    let applied = coupon.as_ref().filter(|coupon| coupon.applies_to(items.plan_id));
    // What was sent without a plan is free.
    let next =
        NewPeriod { items, period, coupon: applied, metered: (Vec::new(), counting_from(period, moment)) };
    let (began, invoice) = next.draw_up(state, subscription_id, moment)?;
    let returned = SubscriptionEvent::Returned(Box::new(Returned { coupon, began }));
    Ok(Decision::one(returned).also(invoice))
}

fn counting_from(period: Period, moment: Moment<'_>) -> OverageMeter {
    let sent = moment.usage.get(&Month::of(period.start)).copied().unwrap_or(0);
    OverageMeter::starting(period.start, sent)
}

/// A period that begins, and what it is charged for.
struct NewPeriod<'a> {
    items: RecurringItems,
    period: Period,
    coupon: Option<&'a AppliedCoupon>,
    /// What was used beyond the plan in months that are over, and the meter without it.
    metered: (Vec<MessageOverage>, OverageMeter),
}

impl NewPeriod<'_> {
    fn draw_up(
        self,
        state: &Subscription,
        subscription_id: Uuid,
        moment: Moment<'_>,
    ) -> Result<(PeriodBegan, Part), Refusal> {
        let Self { items, period, coupon, metered: (used, overage) } = self;
        let credit_balance = state.credit(items.currency());
        let charge = PeriodCharge { items: &items, period, coupon, overage: &used, credit_balance };
        let charged = period_invoice(&charge).map_err(|error| incalculable(&error))?;
        let invoice_id = moment.invoice_id;
        let invoice = draft(invoice_id, subscription_id, InvoiceCause::Period, charged.invoice, period);
        let (prepaid, credit_balance) = (charged.prepaid, charged.credit_balance);
        Ok((PeriodBegan { period, items, invoice_id, prepaid, credit_balance, overage }, invoice))
    }
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
    let plan_id = contract.items.plan_id.to_string();
    let ended =
        Decision::one(SubscriptionEvent::Canceled { reason }).releasing(PLAN, plan_id, subscription_id);
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

/// Lets what a suspension of the tenant has held up go on from its end; nothing if it held up nothing.
#[must_use]
pub fn take_suspension_into_account(
    state: &Subscription,
    suspension: Suspension,
) -> Decision<SubscriptionEvent> {
    let Suspension { from, until } = suspension;
    match state.current() {
        Some(contract) if contract.lifecycle.was_held_up_by(suspension) => {
            Decision::one(SubscriptionEvent::SuspensionPassed { from, until })
        }
        _ => Decision::nothing(),
    }
}
