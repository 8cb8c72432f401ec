use super::*;
use crate::billing::mrr::MovementKind;
use crate::billing::standing::{Posting, Standing, StandingChange};

fn standing(status: SubscriptionStatus, plan: &str, mrr: Money) -> Standing {
    let plan_id = Uuid::new_v5(&Uuid::NAMESPACE_OID, plan.as_bytes());
    Standing { status, plan_id, plan_name: plan.to_owned(), mrr }
}

fn postings(before: Option<Standing>, after: Standing, returning: bool) -> Vec<Posting> {
    StandingChange { before, after, returning }.postings().unwrap()
}

/// Plan, counts of trialing, active and past due, MRR, movement.
fn shown(posting: &Posting) -> (&str, [i64; 3], Money, Option<(MovementKind, Money)>) {
    let counts = [posting.trialing, posting.active, posting.past_due];
    let movement = posting.movement.map(|movement| (movement.kind, movement.amount));
    (&posting.plan_name, counts, posting.mrr, movement)
}

#[test]
fn a_trial_counts_as_a_trial_and_is_worth_nothing() {
    let begun = postings(None, standing(SubscriptionStatus::Trialing, "Starter", idr(0)), false);
    assert_eq!(begun.iter().map(shown).collect::<Vec<_>>(), [("Starter", [1, 0, 0], idr(0), None)]);
}

#[test]
fn the_first_payment_makes_a_customer() {
    let trial = standing(SubscriptionStatus::Trialing, "Starter", idr(0));
    let active = standing(SubscriptionStatus::Active, "Starter", idr(299_000));
    let paid = postings(Some(trial), active, false);
    let new = Some((MovementKind::New, idr(299_000)));
    assert_eq!(paid.iter().map(shown).collect::<Vec<_>>(), [("Starter", [-1, 1, 0], idr(299_000), new)]);
    assert_eq!((paid[0].joined(), paid[0].churned()), (1, 0));
}

#[test]
fn an_upgrade_leaves_one_plan_and_enters_another() {
    let small = standing(SubscriptionStatus::PastDue, "Starter", idr(300));
    let large = standing(SubscriptionStatus::PastDue, "Scale", idr(1_000));
    let up = postings(Some(small.clone()), large.clone(), true);
    let expansion = Some((MovementKind::Expansion, idr(700)));
    assert_eq!(
        up.iter().map(shown).collect::<Vec<_>>(),
        [("Starter", [0, 0, -1], idr(-300), None), ("Scale", [0, 0, 1], idr(1_000), expansion)]
    );
    let down = postings(Some(large), small, true);
    assert_eq!(down[1].movement.unwrap().kind, MovementKind::Contraction);
}

#[test]
fn churn_takes_the_subscription_out_of_the_books() {
    let paying = standing(SubscriptionStatus::PastDue, "Starter", idr(300));
    let gone = postings(Some(paying), standing(SubscriptionStatus::Canceled, "Starter", idr(0)), true);
    let churn = Some((MovementKind::Churn, idr(300)));
    assert_eq!(gone.iter().map(shown).collect::<Vec<_>>(), [("Starter", [0, 0, -1], idr(-300), churn)]);
}

#[test]
fn who_comes_back_on_another_plan_has_left_the_old_one_before() {
    let gone = standing(SubscriptionStatus::Canceled, "Starter", idr(0));
    let back = postings(Some(gone), standing(SubscriptionStatus::Trialing, "Scale", idr(0)), true);
    assert_eq!(back.iter().map(shown).collect::<Vec<_>>(), [("Scale", [1, 0, 0], idr(0), None)]);
}

#[test]
fn a_change_of_currency_is_a_loss_in_one_and_a_gain_in_the_other() {
    let rupiah = standing(SubscriptionStatus::Active, "Starter", idr(300));
    let dollars = standing(SubscriptionStatus::Active, "Starter", usd("9"));
    let changed = postings(Some(rupiah), dollars, true);
    assert_eq!(
        changed.iter().map(shown).collect::<Vec<_>>(),
        [
            ("Starter", [0, -1, 0], idr(-300), Some((MovementKind::Churn, idr(300)))),
            ("Starter", [0, 1, 0], usd("9"), Some((MovementKind::Reactivation, usd("9")))),
        ]
    );
}

#[test]
fn what_does_not_change_is_not_posted() {
    let active = standing(SubscriptionStatus::Active, "Starter", idr(300));
    assert_eq!(postings(Some(active.clone()), active, true), []);
}

fn any_standing() -> impl Strategy<Value = Standing> {
    let status = prop_oneof![
        Just(SubscriptionStatus::Trialing),
        Just(SubscriptionStatus::Active),
        Just(SubscriptionStatus::PastDue),
        Just(SubscriptionStatus::Canceled)
    ];
    (status, prop_oneof![Just("Starter"), Just("Scale")], any_currency().prop_flat_map(any_price)).prop_map(
        |(status, plan, price)| {
            let mrr = if status.is_paying() { price } else { Money::zero(price.currency()) };
            standing(status, plan, mrr)
        },
    )
}

proptest! {
    /// Whatever one subscription goes through, its postings add up to what it is now.
    #[test]
    fn postings_add_up_to_the_last_standing(life in proptest::collection::vec(any_standing(), 1..30)) {
        let mut books: Vec<Posting> = Vec::new();
        let (mut before, mut counted) = (None::<Standing>, false);
        for after in &life {
            books.extend(postings(before.take(), after.clone(), counted));
            counted |= after.status.is_paying();
            before = Some(after.clone());
        }
        let last = &life[life.len() - 1];
        for plan in [standing(SubscriptionStatus::Active, "Starter", idr(0)).plan_id, standing(SubscriptionStatus::Active, "Scale", idr(0)).plan_id] {
            for currency in [Currency::IDR, Currency::USD, "KWD".parse().unwrap()] {
                let of_plan: Vec<&Posting> = books.iter().filter(|p| p.plan_id == plan && p.currency() == currency).collect();
                let is_now = last.plan_id == plan && last.mrr.currency() == currency;
                let sum = |of: fn(&Posting) -> i64| of_plan.iter().map(|p| of(p)).sum::<i64>();
                let count = |status| i64::from(is_now && last.status == status);
                prop_assert_eq!(sum(|p| p.trialing), count(SubscriptionStatus::Trialing));
                prop_assert_eq!(sum(|p| p.active), count(SubscriptionStatus::Active));
                prop_assert_eq!(sum(|p| p.past_due), count(SubscriptionStatus::PastDue));
                let worth = Money::sum(currency, of_plan.iter().map(|p| p.mrr)).unwrap();
                prop_assert_eq!(worth, if is_now { last.mrr } else { Money::zero(currency) });
            }
        }
        for currency in [Currency::IDR, Currency::USD, "KWD".parse().unwrap()] {
            let of_currency = || books.iter().filter(|p| p.currency() == currency);
            let moved = |kind| Money::sum(currency, of_currency().map(|p| p.moved(kind))).unwrap();
            let gains = moved(MovementKind::New).plus(moved(MovementKind::Expansion)).unwrap().plus(moved(MovementKind::Reactivation)).unwrap();
            let losses = moved(MovementKind::Contraction).plus(moved(MovementKind::Churn)).unwrap();
            let worth = Money::sum(currency, of_currency().map(|p| p.mrr)).unwrap();
            prop_assert_eq!(gains.minus(losses).unwrap(), worth);
            let customers: i64 = of_currency().map(|p| p.joined() - p.churned()).sum();
            prop_assert_eq!(customers, of_currency().map(|p| p.active + p.past_due).sum::<i64>());
        }
    }
}
