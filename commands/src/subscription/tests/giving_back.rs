//! A tenant that changes its plan, renews and is refunded in any order: it never has the same money twice.

use std::collections::BTreeMap;

use domain::billing::refund::{creditable, net_of_tax};
use domain::event::EventBody;
use domain::invoice::{BillTo, Payment};
use proptest::prelude::*;

use super::*;
use crate::invoice;
use crate::store::StreamAppend;

/// What is done next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Wait {
        hours: i64,
    },
    /// To a plan for so much a month.
    Change {
        monthly: i64,
    },
    /// Of one of the invoices, so many quarters of what is left of it.
    Refund {
        which: usize,
        quarters: i64,
    },
    /// As [`Step::Refund`], made at the gateway: it may be of what became credit, too.
    Reported {
        which: usize,
        quarters: i64,
    },
}

struct Books {
    subscription: Subscription,
    invoices: BTreeMap<Uuid, (Invoice, i64)>,
    now: DateTime<Utc>,
    ids: u128,
}

impl Books {
    fn open() -> Self {
        let started = trialing();
        let mut books = Self { subscription: started, invoices: BTreeMap::new(), now: at(14), ids: 1_000 };
        books.go_on();
        books
    }

    fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    fn commit<A: Aggregate>(&mut self, stream_id: Uuid, decision: &Decision<A::Event>) {
        let own = Part::of::<A>(stream_id, Expected::Any, &decision.events);
        for Part(part) in std::iter::once(&own).chain(&decision.also) {
            self.append(part);
        }
    }

    fn append(&mut self, part: &StreamAppend) {
        let context = Context { stream_id: part.stream_id, version: 1, at: self.now };
        for event in &part.events {
            let (kind, payload) = (&event.event_type, event.payload.clone());
            if part.stream_type == Subscription::STREAM {
                self.subscription.evolve(&SubscriptionEvent::decode(kind, 1, &payload).unwrap(), context);
            } else {
                let (invoice, version) = self.invoices.entry(part.stream_id).or_default();
                invoice.evolve(&InvoiceEvent::decode(kind, 1, &payload).unwrap(), context);
                *version += 1;
            }
        }
    }

    /// Begins what is due and pays what was drawn up.
    fn go_on(&mut self) {
        let invoice_id = self.id();
        let (none, subscription) = (Usage::new(), self.subscription.clone());
        let moment = Moment { invoice_id, ..moment(&none, self.now) };
        let began = begin_period(&subscription, SUBSCRIPTION, 0, moment).unwrap();
        self.commit::<Subscription>(SUBSCRIPTION, &began);
        let drafts: Vec<Uuid> = self
            .subscription
            .current()
            .map(|contract| contract.lifecycle.drafts.iter().map(|draft| draft.invoice_id).collect())
            .unwrap_or_default();
        for id in drafts {
            let (draft, _) = self.invoices[&id].clone();
            let finalized = invoice::finalize(&draft, id, 1, &BillTo::default(), self.now).unwrap();
            self.commit::<Invoice>(id, &finalized);
            let (open, _) = self.invoices[&id].clone();
            let amount = open.amounts().unwrap().total;
            let (gateway, gateway_payment_id) = ("manual".to_owned(), id.to_string());
            let paid = invoice::paid(&open, id, &Payment { gateway, gateway_payment_id, amount }).unwrap();
            self.commit::<Invoice>(id, &paid);
        }
    }

    fn change(&mut self, monthly: i64) {
        let invoice_id = self.id();
        let contract = self.subscription.current().unwrap();
        let paid_by = |id: &Uuid| {
            let (invoice, version) = &self.invoices[id];
            let left = creditable(invoice.amounts().unwrap(), invoice.given_back().unwrap()).unwrap();
            PaidInvoice { id: *id, version: *version, creditable: left, is_being_refunded: false }
        };
        let paid: Vec<PaidInvoice> = contract.prepaid_by.iter().map(paid_by).collect();
        let (none, plan_id) = (Usage::new(), self.id());
        let moment = Moment { invoice_id, paid: &paid, ..moment(&none, self.now) };
        let (terms, subscription) = (plan(monthly), self.subscription.clone());
        let changed = change_plan(&subscription, SUBSCRIPTION, &offer(plan_id, &terms), moment).unwrap();
        self.commit::<Subscription>(SUBSCRIPTION, &changed);
        self.go_on();
    }

    fn refund(&mut self, which: usize, quarters: i64, is_reported: bool) {
        let refund_id = self.id();
        let (id, (invoice, _)) = self.invoices.iter().nth(which % self.invoices.len()).unwrap();
        let (id, invoice) = (*id, invoice.clone());
        let total = invoice.amounts().unwrap().total;
        let amount = total.minus(invoice.given_back().unwrap().refunded).unwrap().share(quarters, 4).unwrap();
        if is_reported {
            let name = refund_id.to_string();
            if let Ok(reported) = invoice::refund_reported(&invoice, id, &name, amount) {
                self.commit::<Invoice>(id, &reported);
            }
        } else if let Ok(requested) = invoice::request_refund(&invoice, refund_id, Some(amount), None) {
            self.commit::<Invoice>(id, &requested);
            let (pending, _) = self.invoices[&id].clone();
            let refunded = invoice::refunded(&pending, id, refund_id, None).unwrap();
            self.commit::<Invoice>(id, &refunded);
        }
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Wait { hours } => self.now += TimeDelta::hours(hours),
            Step::Change { monthly } => self.change(monthly),
            Step::Refund { which, quarters } => self.refund(which, quarters, false),
            Step::Reported { which, quarters } => self.refund(which, quarters, true),
        }
        self.go_on();
    }

    /// What was paid without tax, and what of it was refunded.
    fn moved(&self) -> (Money, Money) {
        let (mut paid, mut refunded) = (idr(0), idr(0));
        for (invoice, _) in self.invoices.values() {
            let (amounts, given) = (invoice.amounts().unwrap(), invoice.given_back().unwrap());
            paid = paid.plus(amounts.subtotal).unwrap();
            let net = net_of_tax(given.refunded, amounts.subtotal, amounts.total).unwrap();
            refunded = refunded.plus(net).unwrap();
        }
        (paid, refunded)
    }
}

fn any_step(is_reported: bool) -> impl Strategy<Value = Step> {
    let price = prop_oneof![Just(0_i64), 0_i64..3_000_000];
    let of_invoice = (0_usize..8, 1_i64..=4);
    prop_oneof![
        2 => (0_i64..20 * 24).prop_map(|hours| Step::Wait { hours }),
        3 => price.prop_map(|monthly| Step::Change { monthly }),
        2 => of_invoice.prop_map(move |(which, quarters)| {
            if is_reported { Step::Reported { which, quarters } } else { Step::Refund { which, quarters } }
        }),
    ]
}

#[test]
fn an_upgrade_that_became_credit_is_not_refunded_as_well() {
    let mut books = Books::open();
    books.change(900_000);
    books.change(100_000);
    assert_eq!(books.subscription.credit(Currency::IDR), idr(800_000));
    let (upgrade, _) = books.invoices.values().nth(1).unwrap();
    assert_eq!(upgrade.credited, Some(idr(800_000)));
    books.refund(1, 4, false);
    assert_eq!(books.moved().1, idr(0), "it was refused");
    // What the gateway has given back nevertheless is no credit any more.
    books.refund(1, 4, true);
    assert_eq!((books.moved().1, books.subscription.credit(Currency::IDR)), (idr(800_000), idr(0)));
    assert_eq!(books.subscription.current().unwrap().prepaid.unwrap().amount, idr(100_000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn refunds_and_credits_of_an_invoice_never_exceed_what_was_paid_for_it(
        steps in proptest::collection::vec(any_step(false), 1..25),
    ) {
        let mut books = Books::open();
        for step in steps {
            books.carry_out(step);
            for (invoice, _) in books.invoices.values() {
                let (amounts, given) = (invoice.amounts().unwrap(), invoice.given_back().unwrap());
                let net = net_of_tax(given.refunded, amounts.subtotal, amounts.total).unwrap();
                let both = net.plus(given.credited).unwrap();
                prop_assert!(both.amount() <= amounts.subtotal.amount(), "{both} of {}", amounts.subtotal);
            }
            let (paid, refunded) = books.moved();
            let held = refunded.plus(books.subscription.credit(Currency::IDR)).unwrap();
            prop_assert!(held.amount() <= paid.amount(), "{held} of {paid} after {step:?}");
        }
    }

    #[test]
    fn no_balance_is_below_zero_whatever_a_gateway_refunds(
        steps in proptest::collection::vec(prop_oneof![any_step(false), any_step(true)], 1..25),
    ) {
        let mut books = Books::open();
        for step in steps {
            books.carry_out(step);
            prop_assert!(!books.subscription.credit(Currency::IDR).is_negative());
            let (paid, refunded) = books.moved();
            prop_assert!(refunded.amount() <= paid.amount());
        }
    }
}
