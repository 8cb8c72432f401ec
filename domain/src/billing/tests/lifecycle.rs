//! Subscriptions as time passes: the timer's side (dunning included) played against a clock that only jumps.

use super::*;
use crate::billing::dunning::{Dunning, DunningStep, RETRY_DAYS};
use crate::billing::lifecycle::{Action, CancelReason, Due};

/// What happened, with the moment at which it was carried out.
type History = Vec<(DateTime<Utc>, Action)>;

/// Carries out what is due at each of `ticks`, as the process manager does; `pays` decides each collection.
fn play(
    subscription: &mut Lifecycle,
    ticks: impl IntoIterator<Item = DateTime<Utc>>,
    mut pays: impl FnMut() -> bool,
) -> History {
    let mut history = History::new();
    for now in ticks {
        while let Some(action) = subscription.due(now) {
            history.push((now, action));
            assert!(history.len() < 1_000, "the same things are due for ever");
            match action {
                Action::EndTrial { period } | Action::Renew { period } => {
                    subscription.period_began(period);
                    subscription.invoice_drafted(Uuid::from_u128(history.len() as u128), now);
                }
                Action::Finalize { invoice_id } => {
                    subscription.invoice_finalized(invoice_id);
                    if !pays() {
                        subscription.payment_failed(invoice_id, now);
                    }
                }
                Action::GiveUpWaiting { invoice_id } => subscription.payment_failed(invoice_id, now),
                Action::RetryPayment { invoice_id, .. } if pays() => subscription.invoice_settled(invoice_id),
                Action::RetryPayment { invoice_id, .. } => subscription.payment_failed(invoice_id, now),
                Action::Cancel { .. } => subscription.canceled(now),
            }
        }
    }
    history
}

fn every(step: TimeDelta, from: DateTime<Utc>, days: i64) -> impl Iterator<Item = DateTime<Utc>> {
    let end = from + TimeDelta::days(days);
    std::iter::successors(Some(from), move |now| Some(*now + step)).take_while(move |now| *now <= end)
}

fn count(history: &History, wanted: fn(&Action) -> bool) -> usize {
    history.iter().filter(|(_, action)| wanted(action)).count()
}

#[test]
fn a_year_of_a_customer_who_pays() {
    let start = at("2026-01-17T09:00:00");
    let mut subscription = Lifecycle::trialing(start, Interval::Monthly);
    assert_eq!(subscription.due(start), None);
    let history = play(&mut subscription, every(TimeDelta::hours(1), start, 14 + 364), || true);
    assert_eq!(count(&history, |action| matches!(action, Action::EndTrial { .. })), 1);
    assert_eq!(count(&history, |action| matches!(action, Action::Renew { .. })), 11);
    assert_eq!(count(&history, |action| matches!(action, Action::Finalize { .. })), 12);
    assert_eq!(history.len(), 24);
    assert_eq!(subscription.status, SubscriptionStatus::Active);
    assert_eq!(subscription.anchor, at("2026-01-31T09:00:00"));
    assert_eq!(
        subscription.period,
        Period { start: at("2026-12-31T09:00:00"), end: at("2027-01-31T09:00:00") }
    );
}

#[test]
fn a_customer_who_never_pays_is_canceled_on_day_seven() {
    let start = at("2026-03-01");
    let mut subscription = Lifecycle::trialing(start, Interval::Monthly);
    let history = play(&mut subscription, every(TimeDelta::hours(1), start, 60), || false);
    let charged = at("2026-03-15");
    let retries: Vec<_> = history
        .iter()
        .filter_map(|(when, action)| match action {
            Action::RetryPayment { attempt, .. } => Some(((*when - charged).num_hours(), *attempt)),
            _ => None,
        })
        .collect();
    assert_eq!(retries, [(24, 1), (72, 2), (120, 3), (168, 4)]);
    let end = (charged + TimeDelta::days(7), Action::Cancel { reason: CancelReason::PaymentFailed });
    assert_eq!(history.last(), Some(&end));
    assert_eq!((subscription.status, subscription.next_action()), (SubscriptionStatus::Canceled, None));
    assert_eq!(subscription.dunning.len(), 1, "what is uncollectible stays listed");
}

#[test]
fn a_payment_on_the_third_day_saves_it() {
    let start = at("2026-03-01");
    let mut subscription = Lifecycle::trialing(start, Interval::Monthly);
    let mut tries = 0;
    let pays = || {
        tries += 1;
        tries >= 3
    };
    play(&mut subscription, every(TimeDelta::hours(1), start, 16), pays);
    assert_eq!(subscription.status, SubscriptionStatus::PastDue);
    assert_eq!(subscription.dunning[0].retries, 1);
    play(&mut subscription, [at("2026-03-18")], || true);
    assert_eq!((subscription.status, subscription.dunning.len()), (SubscriptionStatus::Active, 0));
}

#[test]
fn missed_retries_are_one_retry() {
    let failed = at("2026-03-15");
    let dunning = Dunning::begin(Uuid::nil(), failed);
    let after = |days: i64| dunning.failed_again(failed + TimeDelta::days(days)).next_step();
    assert_eq!(dunning.next_step(), DunningStep::Retry(failed + TimeDelta::days(1)));
    assert_eq!(after(0), DunningStep::Retry(failed + TimeDelta::days(1)), "the customer tried at once");
    assert_eq!(after(4), DunningStep::Retry(failed + TimeDelta::days(5)), "days 1 and 3 were missed");
    assert_eq!(after(7), DunningStep::GiveUp(failed + TimeDelta::days(7)));
    assert_eq!(after(30), DunningStep::GiveUp(failed + TimeDelta::days(30)));
    let late_report = dunning.failed_again(failed + TimeDelta::days(3)).failed_again(failed);
    assert_eq!(late_report.next_step(), DunningStep::Retry(failed + TimeDelta::days(5)));
}

#[test]
fn two_unpaid_invoices_are_both_needed() {
    let mut subscription = Lifecycle::active(at("2026-03-01"), Interval::Monthly);
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    subscription.payment_failed(first, at("2026-03-01"));
    subscription.payment_failed(second, at("2026-03-02"));
    subscription.invoice_settled(first);
    assert_eq!(subscription.status, SubscriptionStatus::PastDue);
    assert_eq!(subscription.next_action().map(|due| due.at), Some(at("2026-03-03")));
    subscription.invoice_settled(second);
    assert_eq!(subscription.status, SubscriptionStatus::Active);
}

#[test]
fn a_cancellation_takes_effect_when_what_was_paid_for_is_over() {
    let requested = Action::Cancel { reason: CancelReason::Requested };
    let start = at("2026-03-01");
    let mut trial = Lifecycle::trialing(start, Interval::Monthly);
    trial.cancellation_requested();
    let history = play(&mut trial, every(TimeDelta::hours(1), start, 60), || true);
    assert_eq!(history, [(at("2026-03-15"), requested)], "a canceled trial is never charged");

    let mut paying = Lifecycle::active(start, Interval::Annual);
    paying.cancellation_requested();
    let history = play(&mut paying, every(TimeDelta::days(1), start, 400), || true);
    assert_eq!(history, [(at("2027-03-01"), requested)]);
    assert_eq!(paying.canceled_at, Some(at("2027-03-01")));
}

#[test]
fn an_annual_change_moves_the_renewal() {
    let mut subscription = Lifecycle::active(at("2026-03-01"), Interval::Monthly);
    let (change, year) = (at("2026-03-10"), Period { start: at("2026-03-10"), end: at("2027-03-10") });
    subscription.plan_changed(Interval::Annual, year, change);
    let due = subscription.next_action().unwrap();
    let next = Period { start: at("2027-03-10"), end: at("2028-03-10") };
    assert_eq!((due.at, due.action), (at("2027-03-10"), Action::Renew { period: next }));
}

fn suspension(from: &str, until: &str) -> Suspension {
    Suspension { from: at(from), until: at(until) }
}

#[test]
fn what_runs_out_during_a_suspension_ends_with_it() {
    let start = at("2026-03-01");
    for mut subscription in
        [Lifecycle::trialing(start, Interval::Monthly), Lifecycle::active(start, Interval::Monthly)]
    {
        let gone = suspension("2026-03-10", "2026-05-20");
        assert!(subscription.was_held_up_by(gone));
        subscription.suspension_passed(gone);
        assert!(!subscription.was_held_up_by(gone), "it counts once");
        let next = Period { start: at("2026-05-20"), end: at("2026-06-20") };
        let action = match subscription.status {
            SubscriptionStatus::Trialing => Action::EndTrial { period: next },
            _ => Action::Renew { period: next },
        };
        assert_eq!(subscription.next_action(), Some(Due { at: next.start, action }));
    }
    let paid_for_longer = Lifecycle::active(start, Interval::Annual);
    assert!(!paid_for_longer.was_held_up_by(suspension("2026-03-10", "2026-05-20")));
}

#[test]
fn the_days_of_a_suspension_do_not_count_for_dunning() {
    let mut subscription = Lifecycle::active(at("2026-03-01"), Interval::Annual);
    subscription.payment_failed(Uuid::nil(), at("2026-03-01"));
    subscription.payment_failed(Uuid::nil(), at("2026-03-02"));
    subscription.suspension_passed(suspension("2026-03-03", "2026-04-03"));
    // A day of it was left until the third.
    assert_eq!(subscription.next_action().map(|due| due.at), Some(at("2026-04-04")));
    let mut later = Lifecycle::active(at("2026-03-01"), Interval::Annual);
    later.payment_failed(Uuid::nil(), at("2026-05-01"));
    assert!(!later.was_held_up_by(suspension("2026-03-03", "2026-04-03")), "it was over before");
}

#[test]
fn who_counts() {
    use SubscriptionStatus::{Active, Canceled, PastDue, Trialing};
    assert_eq!(
        [Trialing, Active, PastDue, Canceled].map(SubscriptionStatus::is_paying),
        [false, true, true, false]
    );
    assert_eq!(
        [Trialing, Active, PastDue, Canceled].map(SubscriptionStatus::is_current),
        [true, true, true, false]
    );
    assert_eq!(serde_json::to_string(&PastDue).unwrap(), "\"past_due\"");
}

proptest! {
    #[test]
    fn whatever_the_payments_and_outages_the_books_hold(
        start in any_moment(), interval in any_interval(),
        gaps in proptest::collection::vec(1_i64..20 * 86_400, 1..120),
        payments in proptest::collection::vec(proptest::bool::weighted(0.7), 1..50),
        cancel in proptest::bool::weighted(0.2),
    ) {
        let mut subscription = Lifecycle::trialing(start, interval);
        if cancel {
            subscription.cancellation_requested();
        }
        let mut payments = payments.into_iter().cycle();
        let mut now = start;
        let mut charged: Vec<Period> = Vec::new();
        for gap in gaps {
            now += TimeDelta::seconds(gap);
            let retries_before: u32 = subscription.dunning.iter().map(|dunning| dunning.retries).sum();
            let history = play(&mut subscription, [now], || payments.next().unwrap());
            charged.extend(history.iter().filter_map(|(_, action)| match action {
                Action::EndTrial { period } | Action::Renew { period } => Some(*period),
                _ => None,
            }));
            let retries: u32 = subscription.dunning.iter().map(|dunning| dunning.retries).sum();
            prop_assert!(retries <= retries_before + subscription.dunning.len() as u32, "no burst of charges");
            prop_assert!(subscription.dunning.iter().all(|dunning| dunning.retries as usize <= RETRY_DAYS.len()));
            if subscription.status.is_paying() {
                prop_assert_eq!(subscription.status == SubscriptionStatus::PastDue, !subscription.dunning.is_empty());
                prop_assert!(subscription.period.end > now, "every period that has begun was charged");
            }
            prop_assert_eq!(subscription.next_action().is_none(), subscription.status == SubscriptionStatus::Canceled);
            prop_assert!(subscription.next_action().is_none_or(|due| due.at > now));
        }
        // The periods charged follow each other from the trial's end on: none twice, none left out.
        let ends = std::iter::once(subscription.anchor).chain(charged.iter().map(|period| period.end));
        prop_assert!(charged.iter().map(|period| period.start).eq(ends.take(charged.len())));
        prop_assert!(!cancel || charged.is_empty());
    }
}
