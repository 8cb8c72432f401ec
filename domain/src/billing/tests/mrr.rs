use super::*;
use crate::billing::mrr::{
    Movement, MovementKind, MrrDrift, MrrMonth, churn_rate_pct, movements, subscription_mrr,
};

fn month() -> Month {
    Month::of(at("2026-11-01"))
}

fn kinds(before: Option<Money>, after: Option<Money>, returning: bool) -> Vec<(MovementKind, Money)> {
    let moved = movements(before, after, returning).unwrap();
    moved.into_iter().map(|movement| (movement.kind, movement.amount)).collect()
}

#[test]
fn what_a_subscription_is_worth_each_month() {
    let mut items = plan("Growth", idr(900_000), Interval::Annual);
    items.prices.per_agent = idr(20_000);
    items.seats = 5;
    items.addons = vec![addon("Extra storage", idr(60_000), 2)];
    let worth =
        |status, coupon: Option<AppliedCoupon>| subscription_mrr(status, &items, coupon.as_ref()).unwrap();
    let full = Some(idr(750_000 + 100_000 + 100_000));
    assert_eq!(worth(SubscriptionStatus::Active, None), full);
    assert_eq!(worth(SubscriptionStatus::PastDue, None), full);
    assert_eq!(worth(SubscriptionStatus::Active, Some(percent("10"))), Some(idr(855_000)));
    assert_eq!(worth(SubscriptionStatus::Active, Some(percent("100"))), Some(idr(0)));
    assert_eq!(worth(SubscriptionStatus::Trialing, None), None);
    assert_eq!(worth(SubscriptionStatus::Canceled, None), None);
}

#[test]
fn each_kind_of_movement() {
    use MovementKind::{Churn, Contraction, Expansion, New, Reactivation};
    let (small, large) = (Some(idr(100)), Some(idr(300)));
    assert_eq!(kinds(None, small, false), [(New, idr(100))]);
    assert_eq!(kinds(None, small, true), [(Reactivation, idr(100))]);
    assert_eq!(kinds(small, large, true), [(Expansion, idr(200))]);
    assert_eq!(kinds(large, small, true), [(Contraction, idr(200))]);
    assert_eq!(kinds(large, None, true), [(Churn, idr(300))]);
    assert_eq!(kinds(large, large, true), []);
    assert_eq!(kinds(None, None, true), []);
    assert_eq!(kinds(Some(idr(0)), None, true), [(Churn, idr(0))], "a customer who pays nothing can leave");
    assert_eq!(kinds(small, Some(usd("7")), true), [(Churn, idr(100)), (Reactivation, usd("7"))]);
}

#[test]
fn a_month_that_does_not_add_up_is_found() {
    let mut november = MrrMonth::open(month(), idr(1_000), 4);
    november.record(Movement { kind: MovementKind::New, amount: idr(300) }).unwrap();
    november.record(Movement { kind: MovementKind::Contraction, amount: idr(50) }).unwrap();
    november.record(Movement { kind: MovementKind::Churn, amount: idr(200) }).unwrap();
    assert_eq!(november.verify(idr(1_050), 4), Ok(()));
    let drift = MrrDrift::Amount { month: month(), computed: idr(1_050), observed: idr(1_049) };
    assert_eq!(november.verify(idr(1_049), 4), Err(drift));
    let drift = MrrDrift::Customers { month: month(), computed: 4, observed: 5 };
    assert_eq!(november.verify(idr(1_050), 5), Err(drift));
    assert_eq!(november.churn_rate_pct(), decimal("25"));
    let dollars = Movement { kind: MovementKind::New, amount: usd("1") };
    let before = november.clone();
    assert!(november.record(dollars).is_err());
    assert_eq!(november, before);
}

#[test]
fn the_churn_rate_is_a_percentage_and_zero_of_nothing() {
    assert_eq!(churn_rate_pct(1, 3), decimal("33.33"));
    assert_eq!(churn_rate_pct(2, 3), decimal("66.67"));
    assert_eq!(churn_rate_pct(0, 7), decimal("0"));
    assert_eq!(churn_rate_pct(5, 0), decimal("0"));
}

proptest! {
    /// Customers that come, grow, shrink, leave and come back, over two years.
    #[test]
    fn every_month_closes_at_what_the_subscriptions_are_worth(
        steps in proptest::collection::vec((0_usize..12, proptest::option::weighted(0.8, 0_i64..1_000_000), proptest::bool::weighted(0.1)), 1..300),
    ) {
        let mut customers = [None::<Money>; 12];
        let mut seen = [false; 12];
        let mut current = MrrMonth::open(month(), idr(0), 0);
        for (customer, mrr, month_ends) in steps {
            let after = mrr.map(idr);
            for movement in movements(customers[customer], after, seen[customer]).unwrap() {
                prop_assert!(!movement.amount.is_negative());
                prop_assert!(movement.kind != MovementKind::New || !seen[customer], "new is only once");
                current.record(movement).unwrap();
            }
            customers[customer] = after;
            seen[customer] |= after.is_some();
            let observed = Money::sum(Currency::IDR, customers.iter().flatten().copied()).unwrap();
            let counting = customers.iter().flatten().count() as u64;
            prop_assert_eq!(current.verify(observed, counting), Ok(()));
            if month_ends {
                let next = current.following().unwrap();
                prop_assert_eq!(next.opening, observed);
                prop_assert_eq!((next.active_at_start, next.month), (counting, current.month.next()));
                current = next;
            }
        }
    }

    #[test]
    fn a_gain_less_a_loss_is_the_change(before in proptest::option::of(0_i64..1_000_000), after in proptest::option::of(0_i64..1_000_000)) {
        let moved: Decimal = movements(before.map(idr), after.map(idr), true).unwrap().iter()
            .map(|movement| if movement.kind.is_gain() { movement.amount.amount() } else { -movement.amount.amount() })
            .sum();
        prop_assert_eq!(moved, Decimal::from(after.unwrap_or(0) - before.unwrap_or(0)));
    }

    #[test]
    fn twelve_months_of_it_are_the_annual_price(
        (items, coupon) in any_currency().prop_flat_map(|c| (any_items(c), any_coupon(c))),
    ) {
        let mrr = subscription_mrr(SubscriptionStatus::Active, &items, coupon.as_ref()).unwrap().unwrap();
        let months = Decimal::from(items.interval.months());
        let difference = (mrr.amount() * months - items.price(coupon.as_ref()).unwrap().amount()).abs();
        prop_assert!(difference * Decimal::TWO <= months * Decimal::new(1, items.currency().decimals()));
    }
}
