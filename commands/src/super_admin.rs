//! Decisions about the platform's own administrators.

use domain::aggregate::Aggregate;
use domain::event::{Actor, Metadata, PLATFORM_TENANT};
use domain::personal::Secret;
use domain::refusal::Refusal;
use domain::super_admin::{SuperAdmin, SuperAdminEvent};
use uuid::Uuid;

use crate::store::{Decision, Origin, Store};
use crate::{CommandError, ids, password};

/// The claim that makes an address unique.
const EMAIL: &str = "email";
/// The claim that lets only one of several starting processes make the first one.
const FIRST: &str = "first_super_admin";

/// # Errors
/// When it exists already; a taken address is found by the claim.
pub fn decide_create(
    state: &SuperAdmin,
    id: Uuid,
    email: &str,
    full_name: &str,
    password_hash: &str,
) -> Result<Decision<SuperAdminEvent>, Refusal> {
    if state.exists() {
        return Ok(Decision::nothing());
    }
    let created = SuperAdminEvent::Created {
        email: email.to_owned(),
        full_name: full_name.to_owned(),
        password_hash: Secret::new(PLATFORM_TENANT, password_hash),
    };
    Ok(Decision::one(created).claiming(EMAIL, format!("super_admin:{email}"), id))
}

/// Creates a super-admin from the command line.
///
/// # Errors
/// When the address is taken or the password too short.
pub async fn create(store: &Store, email: &str, full_name: &str, password: String) -> Result<Uuid, CommandError> {
    let email = email.trim().to_lowercase();
    if !email.contains('@') {
        return Err(Refusal::invalid("email", "must contain @").into());
    }
    password::check("password", &password)?;
    let hash = password::hash(password).await?;
    let id = ids::new_id();
    let origin = Origin::new(PLATFORM_TENANT, Metadata::new(Actor::system(), ids::new_id()));
    store.execute::<SuperAdmin>(&origin, id, |state| decide_create(state, id, &email, full_name, &hash)).await?;
    Ok(id)
}

/// Creates the first super-admin unless one was ever created this way.
///
/// # Errors
/// When the password is too short, or the database fails.
pub async fn create_first(store: &Store, email: &str, password: String) -> Result<(), CommandError> {
    if store.claim_owner(PLATFORM_TENANT, FIRST, FIRST).await?.is_some() {
        return Ok(());
    }
    let email = email.trim().to_lowercase();
    password::check("OMNISTREAM_SUPER_ADMIN_PASSWORD", &password)?;
    let hash = password::hash(password).await?;
    let id = ids::new_id();
    let origin = Origin::new(PLATFORM_TENANT, Metadata::new(Actor::system(), ids::new_id()));
    let created = store.execute::<SuperAdmin>(&origin, id, |state| {
        Ok(decide_create(state, id, &email, "Super Admin", &hash)?.claiming(FIRST, FIRST, id))
    });
    match created.await {
        Ok(_) => Ok(()),
        // Another process was first.
        Err(CommandError::Refused(refusal)) if refusal.code == "already_taken" => Ok(()),
        Err(error) => Err(error),
    }
}
