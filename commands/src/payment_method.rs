//! Decisions about the ways in which a tenant pays. One of them is the default: what invoices are charged to.

use domain::aggregate::Aggregate;
use domain::payment_method::{PaymentMethod, PaymentMethodEvent};
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::store::{Decision, Expected, Part};

/// The claim on being the default; its owner is the payment method.
pub const DEFAULT: &str = "default_payment_method";

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
/// None; a default that changes in the same moment is found by the claim.
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
    let added = Decision::one(PaymentMethodEvent::Added {
        gateway: new.gateway,
        gateway_payment_method_id: new.gateway_payment_method_id,
        gateway_customer_id: customer_id,
        kind: new.kind,
        label: new.label,
    });
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
    let removed = Decision::one(PaymentMethodEvent::Removed);
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
        let created_at = Some(chrono::DateTime::UNIX_EPOCH);
        PaymentMethod { is_default, created_at, ..PaymentMethod::default() }
    }

    fn added(is_default: bool, holder: Option<Uuid>) -> Decision<PaymentMethodEvent> {
        add(&PaymentMethod::default(), ID, &new(is_default), None, holder).unwrap()
    }

    #[test]
    fn the_first_one_is_the_default() {
        assert_eq!(added(false, None).events.last(), Some(&PaymentMethodEvent::MadeDefault));
        let second = added(false, Some(OTHER));
        assert_eq!((second.events.len(), second.claims.len()), (1, 0));
    }

    #[test]
    fn the_default_moves_in_one_step() {
        let moved = added(true, Some(OTHER));
        assert_eq!((moved.claims[0].owner, moved.releases[0].owner), (ID, OTHER));
        assert_eq!(moved.also[0].0.stream_id, OTHER);
    }

    #[test]
    fn a_removed_default_leaves_it_to_the_heir() {
        let gone = remove(&existing(true), ID, Some((OTHER, 3))).unwrap();
        assert_eq!((gone.releases[0].owner, gone.claims[0].owner), (ID, OTHER));
        assert_eq!(remove(&existing(false), ID, Some((OTHER, 3))).unwrap().claims, []);
        assert_eq!(remove(&PaymentMethod::default(), ID, None).unwrap_err().code, "not_found");
    }
}
