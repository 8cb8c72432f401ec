//! Decisions about API keys.

use chrono::{DateTime, Utc};
use domain::aggregate::Aggregate;
use domain::api_key::{ApiKey, ApiKeyEvent, KeyType};
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::store::Decision;

/// The claim that a key is one key's only.
const KEY: &str = "api_key";
/// Characters of a key that stay known, to tell keys apart.
pub const PREFIX_LENGTH: usize = 12;

/// A key as it shall be.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub agent_id: Uuid,
    pub name: String,
    pub key_type: KeyType,
    /// The key's first characters ([`PREFIX_LENGTH`]).
    pub prefix: String,
    /// SHA-256 of the key, hex.
    pub key_hash: String,
    /// Permission codes; none means all that the agent has.
    pub scopes: Vec<String>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// # Errors
/// When it would be expired from the start.
pub fn create(
    state: &ApiKey,
    id: Uuid,
    new: &NewKey,
    at: DateTime<Utc>,
) -> Result<Decision<ApiKeyEvent>, Refusal> {
    if state.exists() {
        return Ok(Decision::nothing());
    }
    if new.expires_at.is_some_and(|end| end <= at) {
        return Err(Refusal::invalid("expires_at", "must be in the future"));
    }
    let NewKey { agent_id, name, key_type, prefix, key_hash, scopes, expires_at } = new.clone();
    let hash = key_hash.clone();
    let created = ApiKeyEvent::Created { agent_id, name, key_type, prefix, key_hash, scopes, expires_at };
    Ok(Decision::one(created).claiming(KEY, hash, id))
}

/// # Errors
/// When this agent has no such key.
pub fn revoke(state: &ApiKey, agent_id: Uuid) -> Result<Decision<ApiKeyEvent>, Refusal> {
    if !state.exists() || state.agent_id != agent_id {
        return Err(Refusal::not_found("api key"));
    }
    Ok(if state.revoked_at.is_some() { Decision::nothing() } else { Decision::one(ApiKeyEvent::Revoked) })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use domain::event::Context;

    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;
    const ID: Uuid = Uuid::from_u128(1);
    const OWNER: Uuid = Uuid::from_u128(2);

    fn new(expires_at: Option<DateTime<Utc>>) -> NewKey {
        NewKey {
            agent_id: OWNER,
            name: "CI".to_owned(),
            key_type: KeyType::Live,
            prefix: "os_live_abcd".to_owned(),
            key_hash: "aa".to_owned(),
            scopes: vec!["audit.view".to_owned()],
            expires_at,
        }
    }

    fn after(mut key: ApiKey, decision: &Decision<ApiKeyEvent>) -> ApiKey {
        let context = Context { stream_id: ID, version: 1, at: NOW };
        decision.events.iter().for_each(|event| key.evolve(event, context));
        key
    }

    fn existing() -> ApiKey {
        after(ApiKey::default(), &create(&ApiKey::default(), ID, &new(None), NOW).unwrap())
    }

    #[test]
    fn a_key_is_usable_until_it_expires() {
        let end = NOW + TimeDelta::days(1);
        let key = after(ApiKey::default(), &create(&ApiKey::default(), ID, &new(Some(end)), NOW).unwrap());
        assert!(key.is_usable(end - TimeDelta::seconds(1)) && !key.is_usable(end));
    }

    #[test]
    fn a_key_that_is_expired_from_the_start_is_refused() {
        let refused = create(&ApiKey::default(), ID, &new(Some(NOW)), NOW).unwrap_err();
        assert_eq!(refused.fields[0].field, "expires_at");
    }

    #[test]
    fn a_repeated_creation_is_nothing() {
        assert!(create(&existing(), ID, &new(None), NOW).unwrap().is_nothing());
    }

    #[test]
    fn a_key_is_revoked_once_and_by_its_owner() {
        let revoked = after(existing(), &revoke(&existing(), OWNER).unwrap());
        assert!(!revoked.is_usable(NOW));
        assert!(revoke(&revoked, OWNER).unwrap().is_nothing());
        assert_eq!(revoke(&existing(), ID).unwrap_err().code, "not_found");
        assert_eq!(revoke(&ApiKey::default(), OWNER).unwrap_err().code, "not_found");
    }
}
