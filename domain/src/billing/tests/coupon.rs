use super::*;
use crate::billing::coupon::{CouponPlan, DiscountType, MAX_CODE_LENGTH, normalized_code};
use crate::money::AmountError;
use crate::refusal::Reason;

const STARTER: Uuid = Uuid::from_u128(11);
const GROWTH: Uuid = Uuid::from_u128(12);

fn coupon() -> Coupon {
    Coupon {
        code: "WELCOME".to_owned(),
        discount: Discount::Fixed(idr(50_000)),
        currency: Some(Currency::IDR),
        max_uses: Some(3),
        valid_from: at("2026-11-01"),
        valid_until: Some(at("2026-12-01")),
        applicable_plans: vec![STARTER],
        is_active: true,
    }
}

fn on(id: Uuid, currency: Currency) -> Option<CouponPlan> {
    Some(CouponPlan { id, currency })
}

#[test]
fn each_reason_against_a_coupon() {
    let starter = on(STARTER, Currency::IDR);
    let mid = at("2026-11-15");
    assert_eq!(coupon().check(2, starter, mid), Ok(()));
    assert_eq!(coupon().check(3, starter, mid), Err(CouponRefusal::UsedUp));
    assert_eq!(coupon().check(0, on(GROWTH, Currency::IDR), mid), Err(CouponRefusal::OtherPlan));
    assert_eq!(coupon().check(0, on(STARTER, Currency::USD), mid), Err(CouponRefusal::OtherCurrency));
    let inactive = Coupon { is_active: false, ..coupon() };
    assert_eq!(inactive.check(0, starter, mid), Err(CouponRefusal::Inactive));
    assert_eq!(coupon().check(0, None, mid), Ok(()), "looked at before a plan is chosen");
}

#[test]
fn the_window_is_half_open() {
    let check = |moment| coupon().check(0, None, at(moment));
    assert_eq!(check("2026-10-31T23:59:59"), Err(CouponRefusal::NotYetValid));
    assert_eq!(check("2026-11-01"), Ok(()));
    assert_eq!(check("2026-11-30T23:59:59"), Ok(()));
    assert_eq!(check("2026-12-01"), Err(CouponRefusal::Expired));
    let endless = Coupon { valid_until: None, max_uses: None, ..coupon() };
    assert_eq!(endless.check(u64::MAX, None, at("2099-01-01")), Ok(()));
}

#[test]
fn no_plans_named_means_all_of_them() {
    let any_plan = Coupon { applicable_plans: Vec::new(), ..coupon() };
    assert_eq!(any_plan.check(0, on(GROWTH, Currency::IDR), at("2026-11-15")), Ok(()));
    let agreed = AppliedCoupon { applicable_plans: vec![STARTER], ..percent("10") };
    assert!(agreed.applies_to(STARTER) && !agreed.applies_to(GROWTH));
}

#[test]
fn a_refusal_names_the_field_unless_others_were_faster() {
    let used_up = CouponRefusal::UsedUp.at("coupon_code");
    assert_eq!((used_up.reason, used_up.code), (Reason::Conflict, "coupon_used_up"));
    let expired = CouponRefusal::Expired.at("coupon_code");
    assert_eq!((expired.reason, expired.fields[0].field.as_str()), (Reason::Invalid, "coupon_code"));
}

#[test]
fn discounts_are_read_as_their_type_means_them() {
    let parse = |kind, value| Discount::parse(kind, value, Currency::IDR);
    assert_eq!(parse(DiscountType::Percentage, "12.5"), Ok(Discount::Percentage(decimal("12.5"))));
    assert_eq!(parse(DiscountType::Fixed, "50000"), Ok(Discount::Fixed(idr(50_000))));
    assert_eq!(parse(DiscountType::Fixed, "12.5"), Err(AmountError::TooManyDecimals { allowed: 0 }));
    assert_eq!(parse(DiscountType::Fixed, "0"), Err(AmountError::NotPositive));
    assert_eq!(
        parse(DiscountType::Percentage, "101"),
        Err(AmountError::TooLarge { max: Decimal::ONE_HUNDRED })
    );
    assert_eq!(parse(DiscountType::Percentage, "-5"), Err(AmountError::Negative));
}

#[test]
fn a_coupon_that_can_never_be_used_is_a_problem() {
    assert_eq!(coupon().problems(), []);
    let hopeless = Coupon { max_uses: Some(0), valid_until: Some(at("2026-11-01")), ..coupon() };
    let fields: Vec<String> = hopeless.problems().into_iter().map(|problem| problem.field).collect();
    assert_eq!(fields, ["valid_until", "max_uses"]);
}

#[test]
fn codes_are_upper_case() {
    assert_eq!(normalized_code(" welcome-10_x ").as_deref(), Some("WELCOME-10_X"));
    for bad in ["", "  ", "TEN %", "ÜBER", &"A".repeat(MAX_CODE_LENGTH + 1)] {
        assert_eq!(normalized_code(bad), None, "{bad}");
    }
}

#[test]
fn stored_with_the_names_of_the_wire() {
    let json = serde_json::to_value(Discount::Percentage(decimal("10"))).unwrap();
    assert_eq!(json, serde_json::json!({"discount_type": "percentage", "discount_value": "10"}));
    let fixed = Discount::Fixed(usd("5"));
    let json = serde_json::to_string(&fixed).unwrap();
    assert_eq!(serde_json::from_str::<Discount>(&json).unwrap(), fixed);
}

proptest! {
    #[test]
    fn a_discount_is_from_nothing_to_everything(
        (price, coupon) in any_currency().prop_flat_map(|c| (any_price(c), any_coupon(c))),
    ) {
        let off = crate::billing::coupon::amount_off(coupon.as_ref(), price).unwrap();
        prop_assert!(!off.is_negative() && off.amount() <= price.amount());
    }

    #[test]
    fn one_after_the_other_no_more_redeem_than_may(max in 1_u64..20, tries in 1_u64..60) {
        let coupon = Coupon { max_uses: Some(max), ..coupon() };
        let redeemed = (0..tries).fold(0, |done, _| done + u64::from(coupon.check(done, None, at("2026-11-15")).is_ok()));
        prop_assert_eq!(redeemed, max.min(tries));
    }
}
