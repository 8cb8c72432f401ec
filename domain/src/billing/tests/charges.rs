//! Invoices for whole periods, and tax.

use super::*;
use crate::billing::invoice::{Invoice, MessageOverage, PeriodCharge, invoice_number, period_invoice};
use crate::billing::plan::seed_plans;

const NOVEMBER: &str = "2026-11-01";

fn november() -> Period {
    Period { start: at(NOVEMBER), end: at("2026-12-01") }
}

fn charge(items: &RecurringItems) -> PeriodCharge<'_> {
    let credit_balance = Money::zero(items.currency());
    PeriodCharge { items, period: november(), coupon: None, overage: &[], credit_balance }
}

fn amounts(invoice: &Invoice) -> Vec<(LineKind, Money)> {
    invoice.lines.iter().map(|line| (line.kind, line.amount)).collect()
}

#[test]
fn a_rupiah_invoice_with_everything_on_it() {
    let mut items = plan("Growth", idr(899_000), Interval::Monthly);
    items.prices.per_agent = idr(20_000);
    items.seats = 7;
    items.addons = vec![addon("Extra storage", idr(50_000), 2)];
    let overage =
        [MessageOverage { month: Month::of(at("2026-10-05")), messages: 1_501, rate: decimal("12.5") }];
    let coupon = percent("12.5");
    let billed = period_invoice(&PeriodCharge {
        coupon: Some(&coupon),
        overage: &overage,
        credit_balance: idr(100_000),
        ..charge(&items)
    })
    .unwrap();
    let lines = [
        (LineKind::Plan, idr(899_000)),
        (LineKind::Seats, idr(140_000)),
        (LineKind::Addon, idr(100_000)),
        (LineKind::Discount, idr(-142_375)),
        (LineKind::Overage, idr(18_763)),
        (LineKind::Credit, idr(-100_000)),
    ];
    assert_eq!(amounts(&billed.invoice), lines, "1501 x 12.5 = 18762.5 is rounded up");
    assert_eq!(billed.invoice.subtotal, idr(915_388));
    assert_eq!(billed.invoice.tax, idr(100_693), "11 % is 100692.68");
    assert_eq!(billed.invoice.total, idr(1_016_081));
    assert_eq!(billed.credit_balance, idr(0));
    assert_eq!(billed.prepaid.amount, idr(996_625), "overage and credit are not prepaid time");
}

#[test]
fn dollars_have_cents_and_no_tax() {
    let mut items = plan("Growth", usd("59.90"), Interval::Annual);
    items.prices.per_agent = usd("4.99");
    items.seats = 3;
    let billed = period_invoice(&charge(&items)).unwrap();
    assert_eq!(amounts(&billed.invoice), [(LineKind::Plan, usd("599.00")), (LineKind::Seats, usd("179.64"))]);
    assert_eq!((billed.invoice.tax, billed.invoice.total), (usd("0"), usd("778.64")));
}

#[test]
fn credit_beyond_the_invoice_stays_for_the_next() {
    let items = plan("Starter", idr(299_000), Interval::Monthly);
    let billed = period_invoice(&PeriodCharge { credit_balance: idr(500_000), ..charge(&items) }).unwrap();
    assert_eq!((billed.invoice.subtotal, billed.invoice.total), (idr(0), idr(0)));
    assert_eq!(billed.credit_balance, idr(201_000));
}

#[test]
fn a_coupon_never_makes_an_invoice_negative_and_leaves_overage_alone() {
    let mut items = plan("Starter", usd("10"), Interval::Monthly);
    items.prices.overage_message = decimal("0.004");
    let overage =
        [MessageOverage { month: Month::of(at("2026-10-05")), messages: 1_000, rate: decimal("0.004") }];
    let coupon = applied(Discount::Fixed(usd("25")));
    let billed =
        period_invoice(&PeriodCharge { coupon: Some(&coupon), overage: &overage, ..charge(&items) }).unwrap();
    assert_eq!(billed.invoice.total, usd("4.00"));
    assert_eq!(billed.prepaid.amount, usd("0"));
}

#[test]
fn what_is_in_another_currency_is_refused() {
    let items = plan("Starter", usd("10"), Interval::Monthly);
    let coupon = applied(Discount::Fixed(idr(5_000)));
    assert!(period_invoice(&PeriodCharge { coupon: Some(&coupon), ..charge(&items) }).is_err());
    assert!(period_invoice(&PeriodCharge { credit_balance: idr(5_000), ..charge(&items) }).is_err());
    let mut items = items;
    items.addons = vec![addon("Extra storage", idr(50_000), 1)];
    assert!(period_invoice(&charge(&items)).is_err());
}

#[test]
fn numbers_sort_as_they_were_given() {
    assert_eq!(invoice_number(1), "INV-000001");
    assert_eq!(invoice_number(1_234_567), "INV-1234567");
}

#[test]
fn an_invoice_goes_forward_only() {
    use InvoiceStatus::{Draft, Open, Paid, Refunded, Uncollectible, Void};
    let all = [Draft, Open, Paid, Void, Uncollectible, Refunded];
    let allowed: Vec<_> = all
        .iter()
        .flat_map(|from| all.map(|to| (*from, to)))
        .filter(|(from, to)| from.can_become(*to))
        .collect();
    let expected = [
        (Draft, Open),
        (Draft, Void),
        (Open, Paid),
        (Open, Void),
        (Open, Uncollectible),
        (Paid, Refunded),
        (Uncollectible, Paid),
        (Uncollectible, Void),
    ];
    assert_eq!(allowed, expected);
}

#[test]
fn the_seeded_plans_never_allow_less_than_no_plan() {
    let plans = seed_plans().unwrap();
    assert_eq!(plans.iter().map(|plan| plan.name).collect::<Vec<_>>(), ["Starter", "Growth", "Scale"]);
    assert!(plans.is_sorted_by_key(|plan| plan.prices.base_monthly.amount()));
    for plan in plans {
        assert_eq!(plan.prices.currency(), Currency::IDR);
        for name in LimitName::ALL {
            let (free, paid) = (name.free_tier(), plan.limits.get(name));
            assert!(paid.is_none() || free.is_some_and(|free| Some(free) <= paid), "{} {name}", plan.name);
        }
    }
}

fn any_overage() -> impl Strategy<Value = Vec<MessageOverage>> {
    let one = (any_moment(), 0_u64..1_000_000, 0_i64..5_000_000).prop_map(|(moment, messages, rate)| {
        MessageOverage { month: Month::of(moment), messages, rate: Decimal::new(rate, 6) }
    });
    proptest::collection::vec(one, 0..4)
}

proptest! {
    #[test]
    fn an_invoice_adds_up(
        (items, coupon, credit_balance) in any_currency().prop_flat_map(|c| (any_items(c), any_coupon(c), any_price(c))),
        overage in any_overage(),
    ) {
        let charge = PeriodCharge { items: &items, period: november(), coupon: coupon.as_ref(), overage: &overage, credit_balance };
        let billed = period_invoice(&charge).unwrap();
        let invoice = &billed.invoice;
        let lines: Decimal = invoice.lines.iter().map(|line| line.amount.amount()).sum();
        prop_assert_eq!(lines, invoice.subtotal.amount());
        prop_assert_eq!(invoice.subtotal.plus(invoice.tax).unwrap(), invoice.total);
        prop_assert!(!invoice.subtotal.is_negative() && !invoice.tax.is_negative());
        let expected_rate = if items.currency() == Currency::IDR { decimal("0.11") } else { Decimal::ZERO };
        let exact_tax = invoice.subtotal.amount() * expected_rate;
        prop_assert!((invoice.tax.amount() - exact_tax).abs() <= Decimal::new(5, items.currency().decimals() + 1));

        let of = |kind| invoice.lines.iter().filter(|line| line.kind == kind).map(|line| line.amount.amount()).sum::<Decimal>();
        prop_assert_eq!(credit_balance.amount() + of(LineKind::Credit), billed.credit_balance.amount());
        prop_assert!(!billed.credit_balance.is_negative());
        prop_assert!(billed.credit_balance.is_zero() || invoice.total.is_zero(), "credit is used before money");
        let recurring = of(LineKind::Plan) + of(LineKind::Seats) + of(LineKind::Addon) + of(LineKind::Discount);
        prop_assert_eq!(recurring, billed.prepaid.amount.amount());
        prop_assert_eq!(items.price(coupon.as_ref()).unwrap(), billed.prepaid.amount);
        prop_assert!(!billed.prepaid.amount.is_negative());
    }
}
