//! Decisions about the ways in which a tenant pays. One of them is the default: what invoices are charged to.

use domain::aggregate::Aggregate;
use domain::payment_method::{PaymentMethod, PaymentMethodEvent};
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::store::{Decision, Expected, Part};

/// The claim on being the default; its owner is the payment method.
pub const DEFAULT: &str = "default_payment_method";

/// The claim on what a gateway knows as one payment method; its owner is ours.
pub const METHOD: &str = "payment_method";

/// What [`METHOD`] is claimed by.
#[must_use]
pub fn key(gateway: &str, gateway_payment_method_id: &str) -> String {
    format!("{gateway}:{gateway_payment_method_id}")
}

/// What is said of one that is there already.
#[must_use]
pub fn on_file() -> Refusal {
    Refusal::conflict("already_taken", "This payment method is on file already.")
}

/// A payment method as it shall be.
#[derive(Clone, Debug)]
pub struct NewMethod {
    pub gateway: String,
    pub gateway_payment_method_id: String,
    pub kind: String,
    pub label: String,
    /// The first one is the default in any case.
    pub is_default: bool,
}

/// `holder` is the default so far; `customer_id` is the gateway's name for the tenant.
///
/// # Errors
/// None; one that is on file, and a default that changes in the same moment, are found by the claims.
pub fn add(
    state: &PaymentMethod,
    id: Uuid,
    new: &NewMethod,
    customer_id: Option<String>,
    holder: Option<Uuid>,
) -> Result<Decision<PaymentMethodEvent>, Refusal> {
    if state.exists() {
        return Ok(Decision::nothing());
    }
    let new = new.clone();
    let key = key(&new.gateway, &new.gateway_payment_method_id);
    let added = Decision::one(PaymentMethodEvent::Added {
        gateway: new.gateway,
        gateway_payment_method_id: new.gateway_payment_method_id,
        gateway_customer_id: customer_id,
        kind: new.kind,
        label: new.label,
    })
    .claiming(METHOD, key, id);
    if !new.is_default && holder.is_some() {
        return Ok(added);
    }
    let mut added = added.claiming(DEFAULT, DEFAULT, id);
    added.events.push(PaymentMethodEvent::MadeDefault);
    Ok(match holder {
        // The claim proves that it is the default until this commits, so its version does not matter.
        Some(holder) => added.releasing(DEFAULT, DEFAULT, holder).also(Part::of::<PaymentMethod>(
            holder,
            Expected::Any,
            &[PaymentMethodEvent::NoLongerDefault],
        )),
        None => added,
    })
}

/// Removes one; if it was the default, `heir` becomes it, at the version at which it was chosen.
///
/// # Errors
/// When there is no such payment method.
pub fn remove(
    state: &PaymentMethod,
    id: Uuid,
    heir: Option<(Uuid, i64)>,
) -> Result<Decision<PaymentMethodEvent>, Refusal> {
    if !state.exists() {
        return Err(Refusal::not_found("payment method"));
    }
    let key = key(&state.gateway, &state.gateway_payment_method_id);
    let removed = Decision::one(PaymentMethodEvent::Removed).releasing(METHOD, key, id);
    if !state.is_default {
        return Ok(removed);
    }
    let removed = removed.releasing(DEFAULT, DEFAULT, id);
    Ok(match heir {
        Some((heir, version)) => removed.claiming(DEFAULT, DEFAULT, heir).also(Part::of::<PaymentMethod>(
            heir,
            Expected::Version(version),
            &[PaymentMethodEvent::MadeDefault],
        )),
        None => removed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Claim;

    const ID: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    fn new(is_default: bool) -> NewMethod {
        NewMethod {
            gateway: "manual".to_owned(),
            gateway_payment_method_id: "transfer".to_owned(),
            kind: "bank_transfer".to_owned(),
            label: "BCA".to_owned(),
            is_default,
        }
    }

    fn existing(is_default: bool) -> PaymentMethod {
        let NewMethod { gateway, gateway_payment_method_id, .. } = new(is_default);
        let created_at = Some(chrono::DateTime::UNIX_EPOCH);
        PaymentMethod {
            gateway,
            gateway_payment_method_id,
            is_default,
            created_at,
            ..PaymentMethod::default()
        }
    }

    fn added(is_default: bool, holder: Option<Uuid>) -> Decision<PaymentMethodEvent> {
        add(&PaymentMethod::default(), ID, &new(is_default), None, holder).unwrap()
    }

    /// Who claims and who gives back the default.
    fn default_of(decision: &Decision<PaymentMethodEvent>) -> (Option<Uuid>, Option<Uuid>) {
        let owner =
            |claims: &[Claim]| claims.iter().find(|claim| claim.scope == DEFAULT).map(|claim| claim.owner);
        (owner(&decision.claims), owner(&decision.releases))
    }

    #[test]
    fn the_first_one_is_the_default() {
        assert_eq!(added(false, None).events.last(), Some(&PaymentMethodEvent::MadeDefault));
        let second = added(false, Some(OTHER));
        assert_eq!((second.events.len(), default_of(&second)), (1, (None, None)));
    }

    #[test]
    fn the_default_moves_in_one_step() {
        let moved = added(true, Some(OTHER));
        assert_eq!(default_of(&moved), (Some(ID), Some(OTHER)));
        assert_eq!(moved.also[0].0.stream_id, OTHER);
    }

    #[test]
    fn a_removed_default_leaves_it_to_the_heir() {
        let gone = remove(&existing(true), ID, Some((OTHER, 3))).unwrap();
        assert_eq!(default_of(&gone), (Some(OTHER), Some(ID)));
        assert_eq!(remove(&existing(false), ID, Some((OTHER, 3))).unwrap().claims, []);
        assert_eq!(remove(&PaymentMethod::default(), ID, None).unwrap_err().code, "not_found");
    }

    #[test]
    fn what_a_gateway_knows_as_one_is_on_file_once_and_can_come_back() {
        let claimed = &added(false, Some(OTHER)).claims[0];
        assert_eq!((claimed.scope, claimed.key.as_str()), (METHOD, "manual:transfer"));
        assert_eq!(remove(&existing(false), ID, None).unwrap().releases, std::slice::from_ref(claimed));
    }
}
