//! Decisions about the plans that are for sale.

use domain::aggregate::Aggregate;
use domain::billing::plan::seed_plans;
use domain::event::{Actor, Metadata, PLATFORM_TENANT};
use domain::plan::{Plan, PlanEvent, PlanTerms};
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::store::{Decision, Origin, Store};
use crate::{CommandError, ids};

/// The claim that makes a slug unique; its name is the field that a client sent.
const SLUG: &str = "slug";
/// The claim that lets the first plans be made once, even if all of them are deleted later.
const SEEDED: &str = "seeded_plans";

/// Organizations and add-ons have slugs of their own.
fn slug_key(slug: &str) -> String {
    format!("plan:{slug}")
}

/// # Errors
/// None; a taken slug is found by the claim.
pub fn create(state: &Plan, id: Uuid, new: &PlanTerms) -> Result<Decision<PlanEvent>, Refusal> {
    if state.exists() {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(PlanEvent::Created(new.clone())).claiming(SLUG, slug_key(&new.slug), id))
}

/// `wanted` is the whole plan as it shall be.
///
/// # Errors
/// When there is no such plan; a taken slug is found by the claim.
pub fn update(state: &Plan, id: Uuid, wanted: &PlanTerms) -> Result<Decision<PlanEvent>, Refusal> {
    let before = state.terms.as_ref().ok_or_else(|| Refusal::not_found("plan"))?;
    if before == wanted {
        return Ok(Decision::nothing());
    }
    let updated = Decision::one(PlanEvent::Updated(wanted.clone()));
    Ok(if before.slug == wanted.slug {
        updated
    } else {
        updated.claiming(SLUG, slug_key(&wanted.slug), id).releasing(SLUG, slug_key(&before.slug), id)
    })
}

/// # Errors
/// When there is no such plan, or a tenant is subscribed to it.
pub fn delete(state: &Plan, id: Uuid, is_in_use: bool) -> Result<Decision<PlanEvent>, Refusal> {
    let before = state.terms.as_ref().ok_or_else(|| Refusal::not_found("plan"))?;
    if is_in_use {
        return Err(Refusal::conflict(
            "in_use",
            "Tenants are subscribed to this plan; deactivate it instead.",
        ));
    }
    Ok(Decision::one(PlanEvent::Deleted).releasing(SLUG, slug_key(&before.slug), id))
}

/// Makes the plans that a platform begins with, unless that was ever done.
///
/// # Errors
/// Database errors.
pub async fn seed(store: &Store) -> Result<(), CommandError> {
    if store.claim_owner(PLATFORM_TENANT, SEEDED, SEEDED).await?.is_some() {
        return Ok(());
    }
    let seeds = seed_plans().map_err(CommandError::failed)?;
    let last = seeds.len().saturating_sub(1);
    for (index, seed) in seeds.into_iter().enumerate() {
        // Fixed, so that several processes that start at once make the same plans.
        let id = ids::named_id(PLATFORM_TENANT, &format!("plan:{}", seed.slug));
        let terms = PlanTerms {
            name: seed.name.to_owned(),
            slug: seed.slug.to_owned(),
            prices: seed.prices,
            limits: seed.limits,
            features: serde_json::Map::new(),
            is_active: true,
            sort_order: seed.sort_order,
        };
        let metadata = Metadata::new(Actor::system(), ids::new_id());
        let origin =
            Origin { command_id: ids::named_id(id, "seed"), ..Origin::new(PLATFORM_TENANT, metadata) };
        let created = store.execute::<Plan>(&origin, id, |state| {
            let created = create(state, id, &terms)?;
            // With the last one it is done.
            Ok(if index == last && !created.is_nothing() {
                created.claiming(SEEDED, SEEDED, id)
            } else {
                created
            })
        });
        match created.await {
            Err(CommandError::Refused(refusal)) if refusal.code == "already_taken" => {}
            settled => drop(settled?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::billing::plan::default_annual_price;
    use domain::billing::{Limits, PlanPrices};
    use domain::money::{Currency, Money};

    const ID: Uuid = Uuid::from_u128(1);

    fn terms(slug: &str) -> PlanTerms {
        let monthly = Money::rounded(100_000.into(), Currency::IDR);
        PlanTerms {
            name: "Starter".to_owned(),
            slug: slug.to_owned(),
            prices: PlanPrices {
                base_monthly: monthly,
                base_annual: default_annual_price(monthly).unwrap(),
                per_agent: Money::zero(Currency::IDR),
                overage_message: 0.into(),
            },
            limits: Limits::default(),
            features: serde_json::Map::new(),
            is_active: true,
            sort_order: 0,
        }
    }

    fn existing(slug: &str) -> Plan {
        Plan { terms: Some(terms(slug)), created_at: Some(chrono::DateTime::UNIX_EPOCH) }
    }

    #[test]
    fn a_plan_claims_its_slug_and_gives_it_back() {
        let created = create(&Plan::default(), ID, &terms("starter")).unwrap();
        let deleted = delete(&existing("starter"), ID, false).unwrap();
        assert_eq!(created.claims, deleted.releases);
        let renamed = update(&existing("starter"), ID, &terms("basic")).unwrap();
        assert_eq!((renamed.claims[0].key.as_str(), &renamed.releases), ("plan:basic", &created.claims));
    }

    #[test]
    fn an_update_that_changes_nothing_is_no_event() {
        assert!(update(&existing("starter"), ID, &terms("starter")).unwrap().is_nothing());
        assert_eq!(update(&Plan::default(), ID, &terms("starter")).unwrap_err().code, "not_found");
    }

    #[test]
    fn a_plan_in_use_stays() {
        assert_eq!(delete(&existing("starter"), ID, true).unwrap_err().code, "in_use");
        assert_eq!(delete(&Plan::default(), ID, false).unwrap_err().code, "not_found");
    }
}
