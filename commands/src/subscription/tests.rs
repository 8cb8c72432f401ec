mod giving_back;

use chrono::TimeDelta;
use domain::aggregate::Aggregate;
use domain::billing::lifecycle::{Action, CancelReason};
use domain::billing::plan::default_annual_price;
use domain::billing::{AddonPrices, Discount, Limits, PlanPrices, Suspension};
use domain::event::Context;
use domain::money::Currency;

use super::*;

const SUBSCRIPTION: Uuid = Uuid::from_u128(1);
const INVOICE: Uuid = Uuid::from_u128(2);
const SMALL: Uuid = Uuid::from_u128(3);
const LARGE: Uuid = Uuid::from_u128(4);
const ADDON: Uuid = Uuid::from_u128(5);

fn at(days: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap() + TimeDelta::days(days)
}

fn money(amount: i64, currency: Currency) -> Money {
    Money::rounded(amount.into(), currency)
}

fn plan_in(monthly: i64, currency: Currency) -> PlanTerms {
    let base_monthly = money(monthly, currency);
    PlanTerms {
        name: format!("Plan for {monthly}"),
        slug: monthly.to_string(),
        prices: PlanPrices {
            base_monthly,
            base_annual: default_annual_price(base_monthly).unwrap(),
            per_agent: Money::zero(currency),
            overage_message: 5.into(),
        },
        limits: Limits::default(),
        features: serde_json::Map::new(),
        is_active: true,
        sort_order: 0,
    }
}

fn plan(monthly: i64) -> PlanTerms {
    plan_in(monthly, Currency::IDR)
}

fn offer(plan_id: Uuid, plan: &PlanTerms) -> Offer<'_> {
    Offer { plan_id, plan, interval: Interval::Monthly, seats: 2 }
}

fn after(
    mut state: Subscription,
    decision: &Decision<SubscriptionEvent>,
    now: DateTime<Utc>,
) -> Subscription {
    for event in &decision.events {
        state.evolve(event, Context { stream_id: SUBSCRIPTION, version: 1, at: now });
    }
    state
}

fn moment(usage: &Usage, now: DateTime<Utc>) -> Moment<'_> {
    Moment { now, usage, allowed: Some(100), invoice_id: INVOICE, paid: &[] }
}

fn subscribe(
    state: &Subscription,
    plan_id: Uuid,
    plan: &PlanTerms,
    coupon: Option<AppliedCoupon>,
    now: DateTime<Utc>,
) -> Result<Decision<SubscriptionEvent>, Refusal> {
    start(state, SUBSCRIPTION, &offer(plan_id, plan), coupon, moment(&Usage::new(), now))
}

fn trialing() -> Subscription {
    let started = subscribe(&Subscription::default(), SMALL, &plan(100_000), None, at(0)).unwrap();
    after(Subscription::default(), &started, at(0))
}

/// In its first paid period, which is paid.
fn active() -> Subscription {
    let state = trialing();
    let began = begin_period(&state, SUBSCRIPTION, 2, moment(&Usage::new(), at(14))).unwrap();
    let paid = Decision::one(SubscriptionEvent::PaymentReceived { invoice_id: INVOICE });
    after(after(state, &began, at(14)), &paid, at(14))
}

/// Ends it if that is due, with nothing used beyond the plan.
fn ended(state: &Subscription, now: DateTime<Utc>) -> Decision<SubscriptionEvent> {
    end(state, SUBSCRIPTION, moment(&Usage::new(), now)).unwrap()
}

fn status(state: &Subscription) -> SubscriptionStatus {
    state.status().unwrap()
}

fn drawn(decision: &Decision<SubscriptionEvent>) -> Amounts {
    let part = &decision.also.first().expect("an invoice").0;
    assert_eq!((part.stream_type, part.expected), ("invoice", Expected::Version(0)));
    serde_json::from_value(part.events[0].payload["amounts"].clone()).unwrap()
}

fn idr(amount: i64) -> Money {
    money(amount, Currency::IDR)
}

#[test]
fn a_tenant_subscribes_once() {
    let state = trialing();
    assert_eq!(status(&state), SubscriptionStatus::Trialing);
    let again = subscribe(&state, LARGE, &plan(300_000), None, at(1)).unwrap_err();
    assert_eq!(again.code, "already_subscribed");
    let off = PlanTerms { is_active: false, ..plan(1) };
    let refused = subscribe(&Subscription::default(), SMALL, &off, None, at(0)).unwrap_err();
    assert_eq!(refused.fields[0].field, "plan_id");
}

#[test]
fn the_end_of_the_trial_charges_the_first_period() {
    let none = Usage::new();
    assert!(begin_period(&trialing(), SUBSCRIPTION, 2, moment(&none, at(13))).unwrap().is_nothing());
    let began = begin_period(&trialing(), SUBSCRIPTION, 2, moment(&none, at(14))).unwrap();
    assert!(matches!(&began.events[..], [SubscriptionEvent::Activated(_)]), "{began:?}");
    let amounts = drawn(&began);
    assert_eq!((amounts.subtotal, amounts.tax), (idr(100_000), idr(11_000)));
    assert_eq!(status(&after(trialing(), &began, at(14))), SubscriptionStatus::Active);
}

#[test]
fn a_renewal_charges_the_next_period_and_what_was_sent_beyond_the_plan() {
    // The paid period began on 15 January; of that month's messages, those of the trial are free.
    let usage = Usage::from([("2026-01".parse().unwrap(), 130), ("2026-02".parse().unwrap(), 500)]);
    let renewed = begin_period(&active(), SUBSCRIPTION, 2, moment(&usage, at(14 + 31))).unwrap();
    assert!(matches!(&renewed.events[..], [SubscriptionEvent::Renewed(_)]), "{renewed:?}");
    assert_eq!(drawn(&renewed).subtotal, idr(100_000 + 30 * 5));
}

#[test]
fn an_upgrade_is_charged_by_the_time_left() {
    let state = active();
    let halfway = at(14) + TimeDelta::hours(31 * 24 / 2);
    let larger = plan(300_000);
    let none = Usage::new();
    let changed = change_plan(&state, SUBSCRIPTION, &offer(LARGE, &larger), moment(&none, halfway)).unwrap();
    assert_eq!(drawn(&changed).subtotal, idr(100_000));
    let state = after(state, &changed, halfway);
    let contract = state.current().unwrap();
    assert_eq!((contract.items.plan_id, contract.prepaid.unwrap().amount), (LARGE, idr(150_000)));
    assert!(contract.lifecycle.is_collecting());
}

#[test]
fn a_downgrades_credit_pays_for_the_next_period() {
    let state = active();
    let smaller = plan(40_000);
    let none = Usage::new();
    let changed = change_plan(&state, SUBSCRIPTION, &offer(LARGE, &smaller), moment(&none, at(14))).unwrap();
    assert!(changed.also.is_empty());
    let state = after(state, &changed, at(14));
    assert_eq!(state.credit(Currency::IDR), idr(60_000));
    let renewed = begin_period(&state, SUBSCRIPTION, 2, moment(&none, at(14 + 31))).unwrap();
    assert_eq!(drawn(&renewed).total, idr(0));
    assert_eq!(after(state, &renewed, at(45)).credit(Currency::IDR), idr(20_000));
}

#[test]
fn a_change_during_the_trial_is_free() {
    let larger = plan(300_000);
    let none = Usage::new();
    let changed =
        change_plan(&trialing(), SUBSCRIPTION, &offer(LARGE, &larger), moment(&none, at(3))).unwrap();
    assert!(changed.also.is_empty());
    let state = after(trialing(), &changed, at(3));
    assert_eq!(
        (status(&state), state.current().unwrap().items.plan_id),
        (SubscriptionStatus::Trialing, LARGE)
    );
}

#[test]
fn no_plan_changes_while_an_invoice_is_not_paid() {
    let larger = plan(300_000);
    let none = Usage::new();
    let failed = Decision::one(SubscriptionEvent::PaymentFailed { invoice_id: INVOICE, attempt: 0 });
    let overdue = after(active(), &failed, at(15));
    let refused = change_plan(&overdue, SUBSCRIPTION, &offer(LARGE, &larger), moment(&none, at(15)));
    assert_eq!(refused.unwrap_err().code, "past_due");
    let began = begin_period(&trialing(), SUBSCRIPTION, 2, moment(&none, at(14))).unwrap();
    let collecting = after(trialing(), &began, at(14));
    let refused = change_plan(&collecting, SUBSCRIPTION, &offer(LARGE, &larger), moment(&none, at(14)));
    assert_eq!(refused.unwrap_err().code, "payment_pending");
}

#[test]
fn a_subscription_stays_in_its_currency() {
    let dollars = plan_in(20, Currency::USD);
    let none = Usage::new();
    for state in [trialing(), active()] {
        let now = state.current().unwrap().lifecycle.period.start;
        let refused = change_plan(&state, SUBSCRIPTION, &offer(LARGE, &dollars), moment(&none, now));
        assert_eq!(refused.unwrap_err().code, "other_currency");
    }
}

#[test]
fn changing_to_the_same_plan_changes_nothing_but_takes_a_cancellation_back() {
    let same = plan(100_000);
    let none = Usage::new();
    let change = |state: &Subscription| {
        change_plan(state, SUBSCRIPTION, &offer(SMALL, &same), moment(&none, at(15))).unwrap()
    };
    assert!(change(&active()).is_nothing());
    let leaving = after(active(), &cancel(&active()).unwrap(), at(15));
    assert!(cancel(&leaving).unwrap().is_nothing());
    assert_eq!(change(&leaving).events, [SubscriptionEvent::Resumed]);
}

#[test]
fn a_canceled_subscription_ends_with_its_period() {
    let leaving = after(active(), &cancel(&active()).unwrap(), at(15));
    assert!(ended(&leaving, at(44)).is_nothing());
    let end = ended(&leaving, at(45));
    assert_eq!(end.events, [SubscriptionEvent::Canceled { reason: CancelReason::Requested }]);
    let gone = after(leaving, &end, at(45));
    assert_eq!(cancel(&gone).unwrap_err().code, "not_subscribed");
}

/// Canceled at the end of its trial, or of its first paid period.
fn gone(state: Subscription) -> Subscription {
    let end = state.current().unwrap().lifecycle.period.end;
    let leaving = after(state.clone(), &cancel(&state).unwrap(), end);
    let ended = ended(&leaving, end);
    after(leaving, &ended, end)
}

#[test]
fn who_comes_back_has_no_second_trial_and_is_charged_at_once() {
    for left in [gone(trialing()), gone(active())] {
        // Another plan is no other trial.
        let again = subscribe(&left, LARGE, &plan(300_000), None, at(50)).unwrap();
        assert!(matches!(&again.events[..], [SubscriptionEvent::Returned(_)]), "{again:?}");
        assert_eq!(drawn(&again).subtotal, idr(300_000));
        let state = after(left, &again, at(50));
        let contract = state.current().unwrap();
        assert_eq!((status(&state), contract.started_at), (SubscriptionStatus::Active, at(50)));
        assert_eq!(contract.lifecycle.period, Period { start: at(50), end: at(78) });
        assert_eq!(contract.lifecycle.trial_ends_at, None);
        assert_eq!(state.due(at(50)), Some(Action::Finalize { invoice_id: INVOICE }));
    }
}

#[test]
fn who_comes_back_still_has_its_credit_and_still_owes_what_was_drawn_up() {
    let credited = Decision::one(SubscriptionEvent::UsageInvoiced {
        invoice_id: Uuid::from_u128(8),
        credit_balance: idr(30_000),
    });
    let left = after(gone(active()), &credited, at(45));
    let again = subscribe(&left, SMALL, &plan(100_000), None, at(50)).unwrap();
    assert_eq!(drawn(&again).subtotal, idr(70_000));
    let state = after(left, &again, at(50));
    assert_eq!(state.credit(Currency::IDR), idr(0));
    let drafts = state.current().unwrap().lifecycle.drafts.iter().map(|draft| draft.invoice_id);
    assert_eq!(drafts.collect::<Vec<_>>(), [Uuid::from_u128(8), INVOICE]);
}

#[test]
fn the_plan_is_claimed_for_as_long_as_it_is_subscribed_to() {
    let claims = |decision: &Decision<SubscriptionEvent>| {
        let keys = |claims: &[crate::store::Claim]| {
            claims.iter().map(|claim| (claim.scope, claim.key.clone(), claim.owner)).collect::<Vec<_>>()
        };
        (keys(&decision.claims), keys(&decision.releases))
    };
    let on = |plan_id: Uuid| vec![(PLAN, plan_id.to_string(), SUBSCRIPTION)];
    let started = subscribe(&Subscription::default(), SMALL, &plan(1), None, at(0)).unwrap();
    assert_eq!(claims(&started), (on(SMALL), Vec::new()));
    let (none, larger) = (Usage::new(), plan(300_000));
    let changed = change_plan(&trialing(), SUBSCRIPTION, &offer(LARGE, &larger), moment(&none, at(3)));
    assert_eq!(claims(&changed.unwrap()), (on(LARGE), on(SMALL)));
    let same = plan(100_000);
    let annual = Offer { interval: Interval::Annual, ..offer(SMALL, &same) };
    let changed = change_plan(&trialing(), SUBSCRIPTION, &annual, moment(&none, at(3)));
    assert_eq!(claims(&changed.unwrap()), (Vec::new(), Vec::new()));
    let leaving = after(active(), &cancel(&active()).unwrap(), at(15));
    assert_eq!(claims(&ended(&leaving, at(45))), (Vec::new(), on(SMALL)));
}

#[test]
fn a_suspension_over_the_end_of_the_period_charges_the_next_one_from_its_own_end() {
    let suspension = Suspension { from: at(20), until: at(90) };
    let passed = take_suspension_into_account(&active(), suspension);
    assert_eq!(passed.events, [SubscriptionEvent::SuspensionPassed { from: at(20), until: at(90) }]);
    let state = after(active(), &passed, at(90));
    assert!(take_suspension_into_account(&state, suspension).is_nothing());
    let renewed = begin_period(&state, SUBSCRIPTION, 2, moment(&Usage::new(), at(90))).unwrap();
    assert_eq!(drawn(&renewed).subtotal, idr(100_000));
    let state = after(state, &renewed, at(90));
    assert_eq!(state.current().unwrap().lifecycle.period.start, at(90));
    let short = Suspension { from: at(20), until: at(30) };
    assert!(take_suspension_into_account(&active(), short).is_nothing(), "it has paid for that time");
    assert!(take_suspension_into_account(&gone(active()), suspension).is_nothing());
}

#[test]
fn a_downgrade_tells_the_invoices_that_it_makes_credit_of() {
    let (none, smaller) = (Usage::new(), plan(40_000));
    let paid = |is_being_refunded| {
        let paid = |id, creditable| PaidInvoice {
            id: Uuid::from_u128(id),
            version: 4,
            creditable: idr(creditable),
            is_being_refunded,
        };
        [paid(20, 50_000), paid(21, 30_000)]
    };
    let downgrade = |paid: &[PaidInvoice]| {
        let moment = Moment { paid, ..moment(&none, at(14)) };
        change_plan(&active(), SUBSCRIPTION, &offer(LARGE, &smaller), moment)
    };
    let changed = downgrade(&paid(false)).unwrap();
    let told: Vec<_> = changed
        .also
        .iter()
        .map(|Part(part)| {
            assert_eq!((part.stream_type, part.expected), ("invoice", Expected::Version(4)));
            (part.stream_id.as_u128(), part.events[0].payload["net"]["amount"].clone())
        })
        .collect();
    assert_eq!(told, [(21, serde_json::json!("30000")), (20, serde_json::json!("30000"))]);
    assert_eq!(downgrade(&paid(true)).unwrap_err().code, "refund_pending");
}

#[test]
fn who_leaves_is_charged_for_what_was_used_beyond_the_plan() {
    let leaving = after(active(), &cancel(&active()).unwrap(), at(15));
    let usage = Usage::from([("2026-01".parse().unwrap(), 130), ("2026-02".parse().unwrap(), 110)]);
    let end = end(&leaving, SUBSCRIPTION, moment(&usage, at(45))).unwrap();
    assert_eq!(drawn(&end).subtotal, idr(40 * 5));
    let gone = after(leaving, &end, at(45));
    assert_eq!((gone.current(), gone.due(at(45))), (None, Some(Action::Finalize { invoice_id: INVOICE })));
    let paid = Decision::one(SubscriptionEvent::PaymentReceived { invoice_id: INVOICE });
    assert_eq!(after(gone, &paid, at(45)).due(at(400)), None);
}

#[test]
fn after_the_last_retry_it_ends_and_the_invoice_is_given_up() {
    let mut state = active();
    for (attempt, day) in [(0, 20), (1, 21), (2, 23), (3, 25)] {
        let failed = Decision::one(SubscriptionEvent::PaymentFailed { invoice_id: INVOICE, attempt });
        state = after(state, &failed, at(day));
        assert!(ended(&state, at(day)).is_nothing(), "day {day}");
    }
    let failed = Decision::one(SubscriptionEvent::PaymentFailed { invoice_id: INVOICE, attempt: 4 });
    let end = ended(&after(state, &failed, at(27)), at(27));
    assert_eq!(end.events, [SubscriptionEvent::Canceled { reason: CancelReason::PaymentFailed }]);
    let part = &end.also[0].0;
    assert_eq!(
        (part.stream_id, part.events[0].event_type.as_str()),
        (INVOICE, "invoice.marked_uncollectible")
    );
}

fn addon(monthly: i64) -> AddonTerms {
    let monthly = idr(monthly);
    AddonTerms {
        name: "Extra number".to_owned(),
        slug: "number".to_owned(),
        description: None,
        prices: AddonPrices { monthly, annual: default_annual_price(monthly).unwrap() },
        unit: "number".to_owned(),
        is_active: true,
        sort_order: 0,
    }
}

#[test]
fn an_add_on_is_charged_for_the_time_left_and_credited_when_it_goes() {
    let none = Usage::new();
    let (terms, attachment_id) = (addon(50_000), Uuid::from_u128(9));
    let wish = AddonWish { attachment_id, addon_id: ADDON, addon: &terms, quantity: 2 };
    let attached = attach_addon(&active(), SUBSCRIPTION, wish, moment(&none, at(14))).unwrap();
    assert_eq!(drawn(&attached).subtotal, idr(100_000));
    let state = after(active(), &attached, at(14));
    let repeated = attach_addon(&state, SUBSCRIPTION, wish, moment(&none, at(14))).unwrap();
    assert!(repeated.is_nothing());
    let other = AddonWish { attachment_id: Uuid::from_u128(10), ..wish };
    let twice = attach_addon(&state, SUBSCRIPTION, other, moment(&none, at(14))).unwrap_err();
    assert_eq!(twice.code, "already_attached");
    let paid = Decision::one(SubscriptionEvent::PaymentReceived { invoice_id: INVOICE });
    let state = after(state, &paid, at(14));
    let detached = detach_addon(&state, SUBSCRIPTION, attachment_id, moment(&none, at(14))).unwrap();
    let state = after(state, &detached, at(14));
    assert_eq!(state.credit(Currency::IDR), idr(100_000));
    let unknown = detach_addon(&state, SUBSCRIPTION, attachment_id, moment(&none, at(14))).unwrap_err();
    assert_eq!(unknown.code, "not_found");
}

#[test]
fn a_coupon_comes_off_for_as_long_as_the_plan_is_one_of_its_plans() {
    let coupon = AppliedCoupon {
        coupon_id: Uuid::from_u128(7),
        code: "HALF".to_owned(),
        discount: Discount::Percentage(50.into()),
        applicable_plans: vec![SMALL],
    };
    let small = plan(100_000);
    let started = subscribe(&Subscription::default(), SMALL, &small, Some(coupon), at(0)).unwrap();
    let state = after(Subscription::default(), &started, at(0));
    assert_eq!(state.redeemed_coupons, [Uuid::from_u128(7)]);
    let none = Usage::new();
    let began = begin_period(&state, SUBSCRIPTION, 2, moment(&none, at(14))).unwrap();
    assert_eq!(drawn(&began).subtotal, idr(50_000));
    let paid = Decision::one(SubscriptionEvent::PaymentReceived { invoice_id: INVOICE });
    let state = after(after(state, &began, at(14)), &paid, at(14));
    let larger = plan(100_000);
    let changed = change_plan(&state, SUBSCRIPTION, &offer(LARGE, &larger), moment(&none, at(14))).unwrap();
    assert_eq!(drawn(&changed).subtotal, idr(50_000), "the full price, less what was paid");
}
