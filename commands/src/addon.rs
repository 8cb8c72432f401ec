//! Decisions about what can be had on top of a plan.

use domain::addon::{Addon, AddonEvent, AddonTerms};
use domain::aggregate::Aggregate;
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::store::Decision;

/// The claim that makes a slug unique; its name is the field that a client sent.
const SLUG: &str = "slug";

/// Organizations and plans have slugs of their own.
fn slug_key(slug: &str) -> String {
    format!("addon:{slug}")
}

/// # Errors
/// None; a taken slug is found by the claim.
pub fn create(state: &Addon, id: Uuid, new: &AddonTerms) -> Result<Decision<AddonEvent>, Refusal> {
    if state.exists() {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(AddonEvent::Created(new.clone())).claiming(SLUG, slug_key(&new.slug), id))
}

/// `wanted` is the whole add-on as it shall be.
///
/// # Errors
/// When there is no such add-on; a taken slug is found by the claim.
pub fn update(state: &Addon, id: Uuid, wanted: &AddonTerms) -> Result<Decision<AddonEvent>, Refusal> {
    let before = state.terms.as_ref().ok_or_else(|| Refusal::not_found("add-on"))?;
    if before == wanted {
        return Ok(Decision::nothing());
    }
    let updated = Decision::one(AddonEvent::Updated(wanted.clone()));
    Ok(if before.slug == wanted.slug {
        updated
    } else {
        updated.claiming(SLUG, slug_key(&wanted.slug), id).releasing(SLUG, slug_key(&before.slug), id)
    })
}

/// Who has it attached keeps it, at the price that they attached it at.
///
/// # Errors
/// When there is no such add-on.
pub fn delete(state: &Addon, id: Uuid) -> Result<Decision<AddonEvent>, Refusal> {
    let before = state.terms.as_ref().ok_or_else(|| Refusal::not_found("add-on"))?;
    Ok(Decision::one(AddonEvent::Deleted).releasing(SLUG, slug_key(&before.slug), id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::billing::AddonPrices;
    use domain::money::{Currency, Money};

    const ID: Uuid = Uuid::from_u128(1);

    fn terms(slug: &str) -> AddonTerms {
        let zero = Money::zero(Currency::IDR);
        AddonTerms {
            name: "Extra number".to_owned(),
            slug: slug.to_owned(),
            description: None,
            prices: AddonPrices { monthly: zero, annual: zero },
            unit: "number".to_owned(),
            is_active: true,
            sort_order: 0,
        }
    }

    fn existing() -> Addon {
        Addon { terms: Some(terms("number")), created_at: Some(chrono::DateTime::UNIX_EPOCH) }
    }

    #[test]
    fn an_add_on_claims_its_slug_and_gives_it_back() {
        let created = create(&Addon::default(), ID, &terms("number")).unwrap();
        assert_eq!(created.claims, delete(&existing(), ID).unwrap().releases);
        let renamed = update(&existing(), ID, &terms("line")).unwrap();
        assert_eq!((renamed.claims[0].key.as_str(), &renamed.releases), ("addon:line", &created.claims));
    }

    #[test]
    fn only_what_exists_changes_and_only_if_something_does() {
        assert!(update(&existing(), ID, &terms("number")).unwrap().is_nothing());
        assert!(create(&existing(), ID, &terms("number")).unwrap().is_nothing());
        assert_eq!(update(&Addon::default(), ID, &terms("number")).unwrap_err().code, "not_found");
        assert_eq!(delete(&Addon::default(), ID).unwrap_err().code, "not_found");
    }
}
