use super::*;
use crate::billing::proration::{Change, Settlement, settle};

/// Thirty days.
fn november() -> Period {
    Period { start: at("2026-11-01"), end: at("2026-12-01") }
}

fn change<'a>(prepaid: Prepaid, from: &'a RecurringItems, to: &'a RecurringItems, when: &str) -> Change<'a> {
    let credit_balance = Money::zero(from.currency());
    let period = november();
    Change { prepaid, from, to, coupon: None, period, anchor: period.start, credit_balance, at: at(when) }
}

fn paid(amount: Money) -> Prepaid {
    Prepaid { amount, period: november() }
}

#[test]
fn an_upgrade_is_invoiced_for_the_difference_and_taxed() {
    let (starter, growth) =
        (plan("Starter", idr(300_000), Interval::Monthly), plan("Growth", idr(900_000), Interval::Monthly));
    let done = settle(&change(paid(idr(300_000)), &starter, &growth, "2026-11-16")).unwrap();
    assert_eq!((done.credited, done.charged), (idr(150_000), idr(450_000)));
    let invoice = done.invoice.unwrap();
    assert_eq!(
        invoice.lines.iter().map(|line| line.amount).collect::<Vec<_>>(),
        [idr(-150_000), idr(450_000)]
    );
    assert_eq!((invoice.subtotal, invoice.tax, invoice.total), (idr(300_000), idr(33_000), idr(333_000)));
    assert_eq!(done.prepaid.amount, idr(450_000));
    assert_eq!(done.prepaid.period, Period { start: at("2026-11-16"), end: at("2026-12-01") });
    assert_eq!((done.period, done.anchor), (november(), at("2026-11-01")));
}

#[test]
fn the_lines_say_what_was_changed_and_not_only_the_plan() {
    let before = plan("Growth", idr(900_000), Interval::Monthly);
    let before =
        RecurringItems { prices: PlanPrices { per_agent: idr(20_000), ..before.prices }, seats: 1, ..before };
    let addons = vec![addon("Extra number", idr(75_000), 3)];
    let after = RecurringItems { seats: 2, addons, ..before.clone() };
    let invoice =
        settle(&change(paid(idr(920_000)), &before, &after, "2026-11-16")).unwrap().invoice.unwrap();
    assert_eq!(
        invoice.lines.iter().map(|line| line.description.as_str()).collect::<Vec<_>>(),
        ["Unused time on Growth, 1 agent", "Remaining time on Growth, 2 agents, 3 × Extra number"]
    );
}

#[test]
fn a_downgrade_is_carried_and_not_invoiced() {
    let (starter, growth) =
        (plan("Starter", idr(300_000), Interval::Monthly), plan("Growth", idr(900_000), Interval::Monthly));
    let done = settle(&change(paid(idr(900_000)), &growth, &starter, "2026-11-16")).unwrap();
    assert_eq!((done.invoice, done.credit_balance), (None, idr(300_000)));
    assert_eq!(done.prepaid.amount, idr(150_000));
    // The next upgrade uses the credit up before it asks for money.
    let again =
        Change { credit_balance: idr(300_000), ..change(done.prepaid, &starter, &growth, "2026-11-16") };
    let done = settle(&again).unwrap();
    assert_eq!((done.invoice.unwrap().total, done.credit_balance), (idr(0), idr(0)));
}

#[test]
fn proration_is_by_the_second() {
    let (starter, growth) =
        (plan("Starter", usd("0"), Interval::Monthly), plan("Growth", usd("25920"), Interval::Monthly));
    let done = settle(&change(paid(usd("0")), &starter, &growth, "2026-11-30T23:59:59")).unwrap();
    assert_eq!(done.invoice.unwrap().total, usd("0.01"), "one second of 2592000 at a cent each");
}

#[test]
fn the_credit_is_of_what_was_charged_and_not_of_the_list_price() {
    let (starter, growth) =
        (plan("Starter", usd("100"), Interval::Monthly), plan("Growth", usd("200"), Interval::Monthly));
    let half_price = percent("50");
    let discounted =
        Change { coupon: Some(&half_price), ..change(paid(usd("50")), &starter, &growth, "2026-11-16") };
    let done = settle(&discounted).unwrap();
    assert_eq!((done.credited, done.charged), (usd("25"), usd("50")));
}

#[test]
fn another_interval_begins_a_period_of_its_own() {
    let monthly = plan("Growth", idr(900_000), Interval::Monthly);
    let annual = plan("Growth", idr(900_000), Interval::Annual);
    let done = settle(&change(paid(idr(900_000)), &monthly, &annual, "2026-11-16T12:00:00")).unwrap();
    let year = Period { start: at("2026-11-16T12:00:00"), end: at("2027-11-16T12:00:00") };
    assert_eq!((done.period, done.anchor, done.prepaid.period), (year, year.start, year));
    assert_eq!((done.credited, done.charged), (idr(435_000), idr(9_000_000)));
}

#[test]
fn at_the_edges_of_the_period() {
    let (starter, growth) =
        (plan("Starter", idr(300_000), Interval::Monthly), plan("Growth", idr(900_000), Interval::Monthly));
    let settle_at = |when| settle(&change(paid(idr(300_000)), &starter, &growth, when)).unwrap();
    let first_second = settle_at("2026-11-01");
    assert_eq!((first_second.credited, first_second.charged), (idr(300_000), idr(900_000)));
    for too_late in ["2026-12-01", "2027-05-01"] {
        let done = settle_at(too_late);
        assert_eq!((done.credited, done.charged, done.invoice), (idr(0), idr(0), None));
    }
}

#[test]
fn currencies_are_not_changed() {
    let (rupiah, dollars) =
        (plan("Starter", idr(300_000), Interval::Monthly), plan("Growth", usd("90"), Interval::Monthly));
    assert!(settle(&change(paid(idr(300_000)), &rupiah, &dollars, "2026-11-16")).is_err());
}

/// Changes of plan, one after the other within a period: price, seconds until the change, coupon.
fn any_changes() -> impl Strategy<Value = (Currency, Vec<(RecurringItems, i64, Option<AppliedCoupon>)>)> {
    any_currency().prop_flat_map(|currency| {
        let change = (any_items(currency), 0_i64..20 * 86_400, any_coupon(currency));
        (Just(currency), proptest::collection::vec(change, 2..7))
    })
}

proptest! {
    #[test]
    fn no_chain_of_changes_credits_more_than_was_charged((currency, changes) in any_changes(), anchor in any_moment()) {
        let zero = Money::zero(currency);
        let (first, _, coupon) = &changes[0];
        let mut from = first.clone();
        let mut now = anchor;
        let period = Period::containing(anchor, anchor, from.interval);
        let mut state = Settlement {
            credited: zero, charged: from.price(coupon.as_ref()).unwrap(), invoice: None, credit_balance: zero,
            prepaid: Prepaid { amount: from.price(coupon.as_ref()).unwrap(), period }, period, anchor,
        };
        let (mut charged, mut credited, mut invoiced) = (state.charged, zero, state.charged);
        for (to, seconds, coupon) in &changes[1..] {
            now += TimeDelta::seconds(*seconds);
            let before = state.clone();
            state = settle(&Change {
                prepaid: before.prepaid, from: &from, to, coupon: coupon.as_ref(), period: before.period,
                anchor: before.anchor, credit_balance: before.credit_balance, at: now,
            }).unwrap();
            prop_assert!(state.credited.amount() <= before.prepaid.amount.amount(), "credit above the charge");
            prop_assert!(!state.credited.is_negative() && !state.charged.is_negative() && !state.credit_balance.is_negative());
            charged = charged.plus(state.charged).unwrap();
            credited = credited.plus(state.credited).unwrap();
            if let Some(invoice) = &state.invoice {
                prop_assert!(!invoice.subtotal.is_negative());
                prop_assert_eq!(invoice.subtotal.plus(invoice.tax).unwrap(), invoice.total);
                invoiced = invoiced.plus(invoice.subtotal).unwrap();
            }
            from = to.clone();
        }
        prop_assert!(credited.amount() <= charged.amount());
        // No money is made or lost: what was invoiced is what was charged less credited, plus the credit still held.
        prop_assert_eq!(invoiced, charged.minus(credited).unwrap().plus(state.credit_balance).unwrap());
    }

    #[test]
    fn a_dearer_plan_is_never_credited_and_a_cheaper_one_never_invoiced(
        (from, to, credit) in any_currency().prop_flat_map(|c| (any_items(c), any_items(c), any_price(c))),
        anchor in any_moment(), seconds in 0_i64..31 * 86_400,
    ) {
        let to = RecurringItems { interval: from.interval, ..to };
        let period = Period::containing(anchor, anchor, from.interval);
        let (old, new) = (from.price(None).unwrap(), to.price(None).unwrap());
        let done = settle(&Change {
            prepaid: Prepaid { amount: old, period }, from: &from, to: &to, coupon: None, period, anchor,
            credit_balance: credit, at: anchor + TimeDelta::seconds(seconds),
        }).unwrap();
        if new.amount() >= old.amount() {
            prop_assert!(done.credit_balance.amount() <= credit.amount());
        }
        if new.amount() <= old.amount() {
            prop_assert_eq!(done.invoice, None);
        }
    }
}
