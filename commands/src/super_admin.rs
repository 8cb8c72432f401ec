//! Decisions about the platform's own administrators.

use chrono::{DateTime, Utc};
use domain::aggregate::Aggregate;
use domain::event::{Actor, Metadata, PLATFORM_TENANT};
use domain::personal::Secret;
use domain::refusal::Refusal;
use domain::super_admin::{SuperAdmin, SuperAdminEvent};
use uuid::Uuid;

use crate::store::{Decided, Decision, Expected, Origin, Part, Store};
use crate::{CommandError, ids, password};

/// The claim that makes an address unique.
const EMAIL: &str = "email";
/// The claim that lets only one of several starting processes make the first one.
const FIRST: &str = "first_super_admin";
/// How often a deletion is decided again when whoever deletes has changed meanwhile.
const MAX_DELETIONS: u32 = 5;

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
    Ok(Decision::one(created).claiming(EMAIL, email_key(email), id))
}

/// Agents sign in elsewhere: the same person may be both.
fn email_key(email: &str) -> String {
    format!("super_admin:{email}")
}

/// The account of an address (trimmed, in lower case), from the log itself: the first one must be able to sign in while
/// read models have yet to catch up with its creation at start.
///
/// # Errors
/// Database errors.
pub async fn find_by_email(store: &Store, email: &str) -> Result<Option<(Uuid, SuperAdmin)>, CommandError> {
    let Some(id) = store.claim_owner(PLATFORM_TENANT, EMAIL, &email_key(email)).await? else {
        return Ok(None);
    };
    let admin: SuperAdmin = store.load(PLATFORM_TENANT, id).await?;
    Ok(admin.exists().then_some((id, admin)))
}

/// `verified` is the hash that the password fitted: who changes a password shuts out whoever was just signing in with
/// the old one.
///
/// # Errors
/// When the account is gone or has another password by now.
pub fn decide_sign_in(
    state: &SuperAdmin,
    verified: &Secret,
    session_id: Uuid,
    expires_at: DateTime<Utc>,
) -> Result<Decision<SuperAdminEvent>, Refusal> {
    if state.password_hash.as_ref() != Some(verified) {
        return Err(Refusal::forbidden("The account has changed; sign in again."));
    }
    Ok(Decision::one(SuperAdminEvent::SignedIn { session_id, expires_at }))
}

/// Ends every session of the account, the caller's own included.
///
/// # Errors
/// When there is no such account.
pub fn decide_password(
    state: &SuperAdmin,
    password_hash: &str,
) -> Result<Decision<SuperAdminEvent>, Refusal> {
    if !state.exists() {
        return Err(Refusal::not_found("super-admin"));
    }
    let password_hash = Secret::new(PLATFORM_TENANT, password_hash);
    Ok(Decision::one(SuperAdminEvent::PasswordChanged { password_hash }))
}

/// `by` is the super-admin who deletes. Nobody deletes themselves, so whoever deletes the last but one remains; that
/// they do is asserted where the deletion is appended (see [`delete`]).
///
/// # Errors
/// When it is the caller's own account, or there is none.
pub fn decide_delete(state: &SuperAdmin, id: Uuid, by: Uuid) -> Result<Decision<SuperAdminEvent>, Refusal> {
    if id == by {
        return Err(Refusal::conflict("own_account", "Nobody can delete their own account."));
    }
    if !state.exists() {
        return Err(Refusal::not_found("super-admin"));
    }
    Ok(Decision::one(SuperAdminEvent::Deleted).releasing(EMAIL, email_key(&state.email), id))
}

/// Deletes an account on behalf of another. There is always one left: the deletion is appended only if the account of
/// whoever deletes still is as it was found, so that of two who delete each other one is too late.
///
/// # Errors
/// As [`decide_delete`]; forbidden to those who have been deleted themselves meanwhile.
pub async fn delete(
    store: &Store,
    origin: &Origin,
    id: Uuid,
    by: Uuid,
) -> Result<Decided<SuperAdmin>, CommandError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let remaining = store.execute::<SuperAdmin>(&origin.part("whoever deletes"), by, must_remain).await?;
        let remains = Part::of::<SuperAdmin>(by, Expected::Version(remaining.version), &[]);
        let deleted = store.execute::<SuperAdmin>(origin, id, |state| {
            Ok(decide_delete(state, id, by)?.also(remains.clone()))
        });
        match deleted.await {
            Err(CommandError::Refused(refusal)) if refusal.code == "contended" && tries < MAX_DELETIONS => {}
            settled => return settled,
        }
    }
}

fn must_remain(state: &SuperAdmin) -> Result<Decision<SuperAdminEvent>, Refusal> {
    if state.exists() {
        Ok(Decision::nothing())
    } else {
        Err(Refusal::forbidden("Your account has been deleted."))
    }
}

/// Creates a super-admin from the command line.
///
/// # Errors
/// When the address is taken or the password too short.
pub async fn create(
    store: &Store,
    email: &str,
    full_name: &str,
    password: String,
) -> Result<Uuid, CommandError> {
    let email = email.trim().to_lowercase();
    if !email.contains('@') {
        return Err(Refusal::invalid("email", "must contain @").into());
    }
    password::check("password", &password)?;
    let hash = password::hash(password).await?;
    let id = ids::new_id();
    let origin = Origin::new(PLATFORM_TENANT, Metadata::new(Actor::system(), ids::new_id()));
    store
        .execute::<SuperAdmin>(&origin, id, |state| decide_create(state, id, &email, full_name, &hash))
        .await?;
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

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use domain::event::Context;

    use super::*;

    const ID: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);
    const SESSION: Uuid = Uuid::from_u128(3);
    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn after(mut state: SuperAdmin, decision: &Decision<SuperAdminEvent>) -> SuperAdmin {
        let context = Context { stream_id: ID, version: 1, at: NOW };
        decision.events.iter().for_each(|event| state.evolve(event, context));
        state
    }

    fn existing() -> SuperAdmin {
        let created = decide_create(&SuperAdmin::default(), ID, "root@example.com", "Root", "hash").unwrap();
        after(SuperAdmin::default(), &created)
    }

    fn hash(text: &str) -> Secret {
        Secret::new(PLATFORM_TENANT, text)
    }

    #[test]
    fn an_account_claims_its_address_and_gives_it_back() {
        let created = decide_create(&SuperAdmin::default(), ID, "root@example.com", "Root", "hash").unwrap();
        let deleted = decide_delete(&existing(), ID, OTHER).unwrap();
        assert_eq!(created.claims, deleted.releases);
        assert!(!after(existing(), &deleted).exists());
    }

    #[test]
    fn a_session_lasts_until_it_expires() {
        let until = NOW + TimeDelta::hours(1);
        let state = after(existing(), &decide_sign_in(&existing(), &hash("hash"), SESSION, until).unwrap());
        assert!(state.sessions.holds(SESSION, until - TimeDelta::seconds(1)));
        assert!(!state.sessions.holds(SESSION, until));
    }

    #[test]
    fn a_changed_password_ends_sessions_and_shuts_out_who_was_signing_in_with_the_old_one() {
        let signed_in =
            decide_sign_in(&existing(), &hash("hash"), SESSION, NOW + TimeDelta::hours(1)).unwrap();
        let state = after(existing(), &signed_in);
        let changed = after(state.clone(), &decide_password(&state, "new hash").unwrap());
        assert!(!changed.sessions.holds(SESSION, NOW));
        assert_eq!(decide_sign_in(&changed, &hash("hash"), SESSION, NOW).unwrap_err().code, "forbidden");
        assert!(decide_sign_in(&changed, &hash("new hash"), SESSION, NOW).is_ok());
    }

    #[test]
    fn nobody_deletes_themselves() {
        assert_eq!(decide_delete(&existing(), ID, ID).unwrap_err().code, "own_account");
        assert_eq!(must_remain(&SuperAdmin::default()).unwrap_err().code, "forbidden");
        assert!(must_remain(&existing()).unwrap().events.is_empty());
    }

    #[test]
    fn an_account_that_does_not_exist_is_not_found() {
        let nobody = SuperAdmin::default();
        assert_eq!(decide_delete(&nobody, ID, OTHER).unwrap_err().code, "not_found");
        assert_eq!(decide_password(&nobody, "hash").unwrap_err().code, "not_found");
        assert_eq!(decide_sign_in(&nobody, &hash("hash"), SESSION, NOW).unwrap_err().code, "forbidden");
    }
}
