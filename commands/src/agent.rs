//! Decisions about the people who work in a tenant's inbox.

use chrono::{DateTime, Utc};
use domain::agent::{Agent, AgentEvent};
use domain::aggregate::Aggregate;
use domain::billing::{LimitName, Limits};
use domain::personal::Secret;
use domain::refusal::Refusal;
use domain::role::ADMIN;
use uuid::Uuid;

use crate::staff::{ADMINS, SEATS, Staff};
use crate::store::Decision;

/// The claim that makes an address unique within a tenant.
const EMAIL: &str = "email";

/// An agent as it shall be.
#[derive(Clone, Debug)]
pub struct NewAgent {
    /// Trimmed and in lower case.
    pub email: String,
    pub full_name: String,
    pub role: String,
    pub password_hash: Secret,
}

/// What shall be different; what is not mentioned stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Trimmed and in lower case.
    pub email: Option<String>,
    pub full_name: Option<String>,
    pub role: Option<String>,
    /// Always counts as a change: a hash can't tell whether the password is the same.
    pub password_hash: Option<Secret>,
}

/// # Errors
/// When the tenant may not have one more agent; a taken address is found by the claim.
pub fn create(
    state: &Agent,
    id: Uuid,
    new: &NewAgent,
    limits: &Limits,
    staff: &Staff,
) -> Result<Decision<AgentEvent>, Refusal> {
    if state.exists() {
        return Ok(Decision::nothing());
    }
    limits.check(LimitName::MaxAgents, staff.agents(), 1)?;
    let created = create_first(state, id, new);
    Ok(if limits.get(LimitName::MaxAgents).is_some() { staff.guard(created) } else { created })
}

/// A tenant's first agent, which no limit keeps out.
#[must_use]
pub fn create_first(state: &Agent, id: Uuid, new: &NewAgent) -> Decision<AgentEvent> {
    if state.exists() {
        return Decision::nothing();
    }
    let NewAgent { email, full_name, role, password_hash } = new.clone();
    let is_admin = role == ADMIN;
    let created = AgentEvent::Created { email: email.clone(), full_name, role, password_hash };
    let decision = Decision::one(created).claiming(EMAIL, email, id).claiming(SEATS, id.to_string(), id);
    if is_admin { decision.claiming(ADMINS, id.to_string(), id) } else { decision }
}

/// # Errors
/// When there is no such agent, or the tenant would have no admin left.
pub fn update(
    state: &Agent,
    id: Uuid,
    change: &Change,
    staff: &Staff,
) -> Result<Decision<AgentEvent>, Refusal> {
    must_exist(state)?;
    let Change { email, full_name, role, password_hash } = change.clone();
    let mut decision = Decision::nothing();
    if let Some(email) = email.filter(|email| *email != state.email) {
        decision = decision.claiming(EMAIL, email.clone(), id).releasing(EMAIL, state.email.clone(), id);
        decision.events.push(AgentEvent::EmailChanged { email });
    }
    if let Some(full_name) = full_name.filter(|name| *name != state.full_name) {
        decision.events.push(AgentEvent::Renamed { full_name });
    }
    if let Some(role) = role.filter(|role| *role != state.role) {
        if role == ADMIN {
            decision = decision.claiming(ADMINS, id.to_string(), id);
        } else {
            decision = without_admin(decision, state, id, staff)?;
        }
        decision.events.push(AgentEvent::RoleChanged { role });
    }
    if let Some(password_hash) = password_hash {
        decision.events.push(AgentEvent::PasswordChanged { password_hash });
    }
    Ok(decision)
}

/// # Errors
/// When there is no such agent, or it is the last admin.
pub fn delete(state: &Agent, id: Uuid, staff: &Staff) -> Result<Decision<AgentEvent>, Refusal> {
    must_exist(state)?;
    let deleted = Decision::one(AgentEvent::Deleted).releasing(EMAIL, state.email.clone(), id).releasing(
        SEATS,
        id.to_string(),
        id,
    );
    without_admin(deleted, state, id, staff)
}

/// The decision, if the tenant has an admin after it.
fn without_admin(
    decision: Decision<AgentEvent>,
    state: &Agent,
    id: Uuid,
    staff: &Staff,
) -> Result<Decision<AgentEvent>, Refusal> {
    if state.role != ADMIN {
        return Ok(decision);
    }
    if !staff.has_other_admin(id) {
        return Err(Refusal::conflict(
            "last_admin",
            "Somebody must remain who can administer the organization.",
        ));
    }
    Ok(staff.guard(decision.releasing(ADMINS, id.to_string(), id)))
}

/// # Errors
/// When there is no such agent, or it is suspended and should come online.
pub fn set_online(state: &Agent, is_online: bool) -> Result<Decision<AgentEvent>, Refusal> {
    must_exist(state)?;
    if is_online && state.is_suspended {
        return Err(Refusal::conflict("suspended", "A suspended agent can't be online."));
    }
    Ok(match (state.is_online, is_online) {
        (false, true) => Decision::one(AgentEvent::WentOnline),
        (true, false) => Decision::one(AgentEvent::WentOffline),
        (true, true) | (false, false) => Decision::nothing(),
    })
}

/// Starts a session. `proven` is the password's hash as it was when the password was compared with it.
///
/// # Errors
/// When the account was deleted, suspended or given another password since then.
pub fn sign_in(
    state: &Agent,
    proven: &Secret,
    session_id: Uuid,
    expires_at: DateTime<Utc>,
) -> Result<Decision<AgentEvent>, Refusal> {
    if !state.exists() || state.is_suspended || state.password_hash.as_ref() != Some(proven) {
        return Err(Refusal::forbidden("The account has changed in this moment; sign in again."));
    }
    Ok(Decision::one(AgentEvent::SignedIn { session_id, expires_at }))
}

/// Ends a session; nothing if it has ended.
///
/// # Errors
/// When there is no such agent.
pub fn sign_out(state: &Agent, session_id: Uuid, at: DateTime<Utc>) -> Result<Decision<AgentEvent>, Refusal> {
    must_exist(state)?;
    let lasts = state.sessions.holds(session_id, at);
    Ok(if lasts { Decision::one(AgentEvent::SignedOut { session_id }) } else { Decision::nothing() })
}

fn must_exist(state: &Agent) -> Result<(), Refusal> {
    if state.exists() { Ok(()) } else { Err(Refusal::not_found("agent")) }
}

#[cfg(test)]
mod tests;
