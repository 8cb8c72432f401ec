//! Decisions about coupons. All tenants redeem a coupon on its one stream, so however many try at once, it is used as
//! often as it may be and not once more.

use chrono::{DateTime, Utc};
use domain::aggregate::Aggregate;
use domain::billing::coupon::CouponPlan;
use domain::billing::{Coupon as CouponTerms, Discount};
use domain::coupon::{Coupon, CouponEvent};
use domain::event::PLATFORM_TENANT;
use domain::refusal::{FieldProblem, Refusal};
use uuid::Uuid;

use crate::CommandError;
use crate::store::{Decision, Store};

/// The claim that makes a code unique; its name is the field that a client sent.
const CODE: &str = "code";
/// The claim on one use of a coupon, by coupon and tenant.
pub(crate) const REDEMPTION: &str = "coupon_redemption";

fn code_key(code: &str) -> String {
    format!("coupon:{code}")
}

/// `new.code` is as [`domain::billing::coupon::normalized_code`] gives it.
///
/// # Errors
/// 422 for a coupon that contradicts itself; a taken code is found by the claim.
pub fn create(state: &Coupon, id: Uuid, new: &CouponTerms) -> Result<Decision<CouponEvent>, Refusal> {
    if state.exists() {
        return Ok(Decision::nothing());
    }
    sound(new)?;
    Ok(Decision::one(CouponEvent::Created(new.clone())).claiming(CODE, code_key(&new.code), id))
}

/// `wanted` is the whole coupon as it shall be; its code stays.
///
/// # Errors
/// 422 for a coupon that contradicts itself; when there is no such coupon.
pub fn update(state: &Coupon, wanted: &CouponTerms) -> Result<Decision<CouponEvent>, Refusal> {
    let before = state.terms.as_ref().ok_or_else(|| Refusal::not_found("coupon"))?;
    let wanted = CouponTerms { code: before.code.clone(), ..wanted.clone() };
    sound(&wanted)?;
    Ok(if *before == wanted { Decision::nothing() } else { Decision::one(CouponEvent::Updated(wanted)) })
}

/// Who has redeemed it keeps the discount.
///
/// # Errors
/// When there is no such coupon.
pub fn delete(state: &Coupon, id: Uuid) -> Result<Decision<CouponEvent>, Refusal> {
    let before = state.terms.as_ref().ok_or_else(|| Refusal::not_found("coupon"))?;
    Ok(Decision::one(CouponEvent::Deleted).releasing(CODE, code_key(&before.code), id))
}

/// Gives one use to a tenant. `redemption` names this attempt; a second one of the tenant finds the claim taken.
///
/// # Errors
/// As [`CouponTerms::check`] for the field `coupon_code`; when there is no such coupon any more.
pub fn redeem(
    state: &Coupon,
    id: Uuid,
    tenant_id: Uuid,
    redemption: Uuid,
    plan: CouponPlan,
    now: DateTime<Utc>,
) -> Result<Decision<CouponEvent>, Refusal> {
    let terms = state.terms.as_ref().ok_or_else(unknown)?;
    terms.check(state.redeemed, Some(plan), now).map_err(|refusal| refusal.at("coupon_code"))?;
    let key = redemption_key(id, tenant_id);
    Ok(Decision::one(CouponEvent::Redeemed { tenant_id }).claiming(REDEMPTION, key, redemption))
}

pub(crate) fn redemption_key(coupon_id: Uuid, tenant_id: Uuid) -> String {
    format!("{coupon_id}:{tenant_id}")
}

pub(crate) fn unknown() -> Refusal {
    Refusal::invalid("coupon_code", "There is no such coupon.")
}

/// The coupon of a code, written in any case.
///
/// # Errors
/// Database errors.
pub async fn find(store: &Store, code: &str) -> Result<Option<(Uuid, Coupon)>, CommandError> {
    let Some(code) = domain::billing::coupon::normalized_code(code) else { return Ok(None) };
    let Some(id) = store.claim_owner(PLATFORM_TENANT, CODE, &code_key(&code)).await? else {
        return Ok(None);
    };
    let coupon: Coupon = store.load(PLATFORM_TENANT, id).await?;
    Ok(coupon.exists().then_some((id, coupon)))
}

fn sound(coupon: &CouponTerms) -> Result<(), Refusal> {
    let mut problems = coupon.problems();
    if let Discount::Fixed(amount) = &coupon.discount
        && coupon.currency != Some(amount.currency())
    {
        problems.push(FieldProblem::new("currency", "must be the currency of a fixed discount"));
    }
    if problems.is_empty() { Ok(()) } else { Err(Refusal::invalid_fields(problems)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use domain::event::Context;
    use domain::money::{Currency, Money};

    const ID: Uuid = Uuid::from_u128(1);
    const TENANT: Uuid = Uuid::from_u128(2);
    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;
    const PLAN: CouponPlan = CouponPlan { id: Uuid::from_u128(3), currency: Currency::IDR };

    fn terms(max_uses: Option<u64>) -> CouponTerms {
        CouponTerms {
            code: "WELCOME".to_owned(),
            discount: Discount::Percentage(10.into()),
            currency: None,
            max_uses,
            valid_from: NOW,
            valid_until: None,
            applicable_plans: Vec::new(),
            is_active: true,
        }
    }

    fn existing(max_uses: Option<u64>) -> Coupon {
        Coupon { terms: Some(terms(max_uses)), redeemed: 0, created_at: Some(NOW) }
    }

    fn redeemed(state: &Coupon, attempt: u128) -> Result<Decision<CouponEvent>, Refusal> {
        redeem(state, ID, TENANT, Uuid::from_u128(attempt), PLAN, NOW)
    }

    #[test]
    fn a_coupon_is_redeemed_as_often_as_it_may_be() {
        let mut state = existing(Some(1));
        let first = redeemed(&state, 10).unwrap();
        assert_eq!(first.events, [CouponEvent::Redeemed { tenant_id: TENANT }]);
        state.evolve(&first.events[0], Context { stream_id: ID, version: 2, at: NOW });
        assert_eq!(redeemed(&state, 11).unwrap_err().code, "coupon_used_up");
    }

    #[test]
    fn two_attempts_of_one_tenant_claim_the_same_use() {
        let (first, second) =
            (redeemed(&existing(None), 10).unwrap(), redeemed(&existing(None), 11).unwrap());
        assert_eq!(first.claims[0].key, second.claims[0].key);
        assert_ne!(first.claims[0].owner, second.claims[0].owner);
    }

    #[test]
    fn a_coupon_that_does_not_fit_names_the_field() {
        let mut expired = existing(None);
        expired.terms = Some(CouponTerms { valid_until: Some(NOW), ..terms(None) });
        assert_eq!(redeemed(&expired, 10).unwrap_err().fields[0].field, "coupon_code");
        assert_eq!(redeemed(&Coupon::default(), 10).unwrap_err().fields[0].field, "coupon_code");
    }

    #[test]
    fn a_code_is_claimed_and_given_back_and_never_changes() {
        let created = create(&Coupon::default(), ID, &terms(None)).unwrap();
        assert_eq!(created.claims, delete(&existing(None), ID).unwrap().releases);
        let other = CouponTerms { code: "OTHER".to_owned(), ..terms(None) };
        assert!(update(&existing(None), &other).unwrap().is_nothing());
    }

    #[test]
    fn a_coupon_that_contradicts_itself_is_refused() {
        let backwards = CouponTerms { valid_until: Some(NOW - TimeDelta::days(1)), ..terms(None) };
        assert_eq!(create(&Coupon::default(), ID, &backwards).unwrap_err().fields[0].field, "valid_until");
        assert_eq!(update(&existing(None), &terms(Some(0))).unwrap_err().fields[0].field, "max_uses");
        let discount = Discount::Fixed(Money::rounded(5.into(), Currency::USD));
        let elsewhere = CouponTerms { discount, currency: Some(Currency::IDR), ..terms(None) };
        assert_eq!(create(&Coupon::default(), ID, &elsewhere).unwrap_err().fields[0].field, "currency");
    }
}
