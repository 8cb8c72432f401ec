//! What was sent beyond the plan is charged once, at the rate of the plan it was sent on.

use super::*;
use crate::billing::overage::{MessageTerms, OverageMeter, Usage};

fn terms(allowed: u64, rate: i64) -> MessageTerms {
    MessageTerms { allowed: Some(allowed), rate: rate.into() }
}

fn month(text: &str) -> Month {
    text.parse().unwrap()
}

fn usage(months: &[(&str, u64)]) -> Usage {
    months.iter().map(|(name, sent)| (month(name), *sent)).collect()
}

#[test]
fn months_are_charged_once_they_are_over() {
    let meter = OverageMeter::starting(at("2026-01-20"), 0);
    let sent = usage(&[("2026-01", 130), ("2026-02", 90), ("2026-03", 500)]);
    let (charged, after) = meter.charge(terms(100, 5), &sent, at("2026-03-20"));
    let of: Vec<_> = charged.iter().map(|c| (c.month, c.messages)).collect();
    assert_eq!(of, [(month("2026-01"), 30)]);
    assert_eq!(after, OverageMeter::starting(at("2026-03-20"), 0));
    assert_eq!(meter.months_until(at("2026-03-20")).len(), 3);
}

#[test]
fn what_was_sent_during_the_trial_is_free() {
    let meter = OverageMeter::starting(at("2026-01-20"), 120);
    let (charged, _) = meter.charge(terms(100, 5), &usage(&[("2026-01", 150)]), at("2026-02-20"));
    assert_eq!(charged[0].messages, 30);
}

#[test]
fn each_plan_charges_for_what_was_sent_on_it() {
    let meter = OverageMeter::starting(at("2026-01-01"), 0);
    let after = meter.settle(terms(100, 5), &usage(&[("2026-01", 140)]), at("2026-01-10"));
    assert_eq!((after.accrued[0].messages, after.accrued[0].rate), (40, 5.into()));
    let bigger = terms(200, 3);
    let (charged, _) = after.charge(bigger, &usage(&[("2026-01", 250)]), at("2026-02-01"));
    assert_eq!(charged.iter().map(|c| c.messages).collect::<Vec<_>>(), [40, 50]);
    let smaller = terms(10, 3);
    let (charged, _) = after.charge(smaller, &usage(&[("2026-01", 250)]), at("2026-02-01"));
    assert_eq!(charged.iter().map(|c| c.messages).collect::<Vec<_>>(), [40, 110]);
}

#[test]
fn without_a_rate_or_a_limit_nothing_is_charged() {
    let meter = OverageMeter::starting(at("2026-01-01"), 0);
    let sent = usage(&[("2026-01", 1_000_000)]);
    let unlimited = MessageTerms { allowed: None, rate: 5.into() };
    for terms in [terms(10, 0), unlimited] {
        assert_eq!(meter.charge(terms, &sent, at("2026-02-01")).0, []);
    }
}

proptest! {
    /// However often the plan changes between equal ones, no message is charged twice or lost.
    #[test]
    fn changes_between_equal_plans_change_nothing(steps in proptest::collection::vec(0_u64..80, 1..12)) {
        let same = terms(100, 2);
        let mut meter = OverageMeter::starting(at("2026-01-01"), 0);
        let mut sent = 0;
        for (day, more) in steps.iter().enumerate() {
            sent += more;
            let now = at("2026-01-02") + TimeDelta::days(day as i64);
            meter = meter.settle(same, &Usage::from([(month("2026-01"), sent)]), now);
        }
        let (charged, _) = meter.charge(same, &Usage::from([(month("2026-01"), sent)]), at("2026-02-01"));
        let total: u64 = charged.iter().map(|c| c.messages).sum();
        prop_assert_eq!(total, sent.saturating_sub(100));
    }
}
