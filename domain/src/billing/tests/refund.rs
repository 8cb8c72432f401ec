use super::*;
use crate::billing::invoice::Invoice;
use crate::billing::refund::{
    GivenBack, creditable, decide_refund, net_of_tax, refund_net, refundable, take_credit,
};

fn invoice(subtotal: Money) -> Invoice {
    let line = InvoiceLine::flat(LineKind::Plan, "Growth", subtotal, None);
    Invoice::of(subtotal.currency(), vec![line]).unwrap()
}

fn given(refunded: Money, credited: Money) -> GivenBack {
    GivenBack { refunded, credited }
}

#[test]
fn a_refund_is_of_what_is_left() {
    let decide = |status, left, requested: Option<Money>| {
        decide_refund(status, idr(left), requested).map_err(|refusal| refusal.code)
    };
    assert_eq!(decide(InvoiceStatus::Paid, 111_000, None), Ok(idr(111_000)));
    assert_eq!(decide(InvoiceStatus::Paid, 11_000, Some(idr(11_000))), Ok(idr(11_000)));
    assert_eq!(decide(InvoiceStatus::Paid, 11_000, Some(idr(11_001))), Err("refund_exceeds_paid"));
    assert_eq!(decide(InvoiceStatus::Paid, 111_000, Some(idr(0))), Err("invalid"));
    assert_eq!(decide(InvoiceStatus::Paid, 111_000, Some(idr(-1))), Err("invalid"));
    assert_eq!(decide(InvoiceStatus::Paid, 111_000, Some(usd("1"))), Err("invalid"));
    assert_eq!(decide(InvoiceStatus::Paid, 0, None), Err("already_refunded"));
    assert_eq!(decide(InvoiceStatus::Refunded, 0, None), Err("already_refunded"));
    assert_eq!(decide(InvoiceStatus::Open, 111_000, None), Err("invoice_not_paid"));
}

#[test]
fn what_became_credit_is_not_refunded_and_the_other_way_round() {
    let paid = invoice(idr(100_000));
    assert_eq!(refundable(&paid, given(idr(0), idr(0))), Ok(idr(111_000)));
    assert_eq!(refundable(&paid, given(idr(0), idr(60_000))), Ok(idr(44_400)));
    assert_eq!(refundable(&paid, given(idr(44_400), idr(60_000))), Ok(idr(0)));
    assert_eq!(creditable(&paid, given(idr(44_400), idr(0))), Ok(idr(60_000)));
    // A gateway may have refunded what had become credit.
    assert_eq!(creditable(&paid, given(idr(111_000), idr(60_000))), Ok(idr(0)));
}

#[test]
fn credit_comes_out_of_the_last_invoice_first() {
    let available = [('a', idr(300)), ('b', idr(0)), ('c', idr(500))];
    assert_eq!(take_credit(idr(400), &available), Ok(vec![('c', idr(400))]));
    assert_eq!(take_credit(idr(600), &available), Ok(vec![('c', idr(500)), ('a', idr(100))]));
    // The rest was credit before it paid for anything.
    assert_eq!(take_credit(idr(900), &available), Ok(vec![('c', idr(500)), ('a', idr(300))]));
    assert_eq!(take_credit(idr(0), &available), Ok(Vec::new()));
}

#[test]
fn a_whole_refund_holds_all_of_the_subtotal_however_its_tax_was_rounded() {
    let paid = invoice(idr(900_001));
    assert_eq!(refund_net(paid.total, idr(0), &paid), Ok(idr(900_001)));
    assert_eq!(refund_net(idr(111_000), idr(0), &paid), Ok(idr(100_000)));
}

proptest! {
    #[test]
    fn refunds_in_parts_come_to_what_one_refund_comes_to(
        subtotal in 0_i64..10_000_000, cuts in proptest::collection::vec(0_i64..3_000_000, 1..5),
    ) {
        let paid = invoice(idr(subtotal));
        let (mut net, mut refunded) = (idr(0), idr(0));
        for cut in cuts {
            let refund = idr(cut).min(paid.total.minus(refunded).unwrap()).unwrap();
            net = net.plus(refund_net(refund, refunded, &paid).unwrap()).unwrap();
            refunded = refunded.plus(refund).unwrap();
        }
        prop_assert_eq!(net, refund_net(refunded, idr(0), &paid).unwrap());
    }

    #[test]
    fn refunds_and_credits_together_never_exceed_what_was_paid(
        (currency, subtotal, wishes) in any_currency().prop_flat_map(|currency| {
            let wish = (proptest::bool::ANY, any_price(currency), 0_u32..4);
            (Just(currency), any_price(currency), proptest::collection::vec(wish, 1..12))
        }),
    ) {
        let paid = invoice(subtotal);
        let zero = Money::zero(currency);
        let mut so_far = given(zero, zero);
        for (is_refund, wish, all) in wishes {
            if is_refund {
                let left = refundable(&paid, so_far).unwrap();
                let wish = if all == 0 { None } else { Some(wish) };
                if let Ok(amount) = decide_refund(InvoiceStatus::Paid, left, wish) {
                    so_far.refunded = so_far.refunded.plus(amount).unwrap();
                }
            } else {
                let credit = wish.min(creditable(&paid, so_far).unwrap()).unwrap();
                so_far.credited = so_far.credited.plus(credit).unwrap();
            }
            let net = net_of_tax(so_far.refunded, paid.subtotal, paid.total).unwrap();
            prop_assert!(net.plus(so_far.credited).unwrap().amount() <= paid.subtotal.amount(), "{so_far:?}");
            prop_assert!(so_far.refunded.amount() <= paid.total.amount());
        }
    }
}
