//! Decisions of the platform about someone who works for a tenant: support for people who locked themselves out, and
//! a stop to those who must not go on.

use chrono::{DateTime, Utc};
use domain::agent::{Agent, AgentEvent};
use domain::aggregate::Aggregate;
use domain::personal::Secret;
use domain::refusal::Refusal;
use domain::role::ADMIN;
use uuid::Uuid;

use crate::staff::Staff;
use crate::store::Decision;

/// # Errors
/// When there is no such user, or nobody else administers the tenant. A stolen account of an only admin is stopped by a
/// new password, which ends its sessions, or with the tenant as a whole.
pub fn suspend(state: &Agent, id: Uuid, staff: &Staff) -> Result<Decision<AgentEvent>, Refusal> {
    must_exist(state)?;
    if state.is_suspended {
        return Ok(Decision::nothing());
    }
    let suspended = Decision::one(AgentEvent::Suspended);
    if state.role != ADMIN {
        return Ok(suspended);
    }
    if !staff.has_other_admin(id) {
        return Err(Refusal::conflict(
            "last_admin",
            "This is the tenant's last active admin: reset the password, or suspend the tenant.",
        ));
    }
    Ok(staff.guard(suspended))
}

/// # Errors
/// When there is no such user.
pub fn activate(state: &Agent) -> Result<Decision<AgentEvent>, Refusal> {
    must_exist(state)?;
    Ok(if state.is_suspended { Decision::one(AgentEvent::Activated) } else { Decision::nothing() })
}

/// Ends the user's sessions as well.
///
/// # Errors
/// When there is no such user.
pub fn reset_password(
    state: &Agent,
    tenant_id: Uuid,
    password_hash: &str,
) -> Result<Decision<AgentEvent>, Refusal> {
    must_exist(state)?;
    Ok(Decision::one(AgentEvent::PasswordChanged { password_hash: Secret::new(tenant_id, password_hash) }))
}

/// Starts a session of the user for someone else.
///
/// # Errors
/// When there is no such user, or it is suspended.
pub fn impersonate(
    state: &Agent,
    session_id: Uuid,
    expires_at: DateTime<Utc>,
) -> Result<Decision<AgentEvent>, Refusal> {
    must_exist(state)?;
    if state.is_suspended {
        return Err(Refusal::conflict("user_suspended", "A suspended user can't be impersonated."));
    }
    Ok(Decision::one(AgentEvent::SignedIn { session_id, expires_at }))
}

fn must_exist(state: &Agent) -> Result<(), Refusal> {
    if state.exists() { Ok(()) } else { Err(Refusal::not_found("user")) }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use domain::event::Context;
    use domain::session::Session;

    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;
    const SESSION: Uuid = Uuid::from_u128(7);
    const ID: Uuid = Uuid::from_u128(8);

    fn staff() -> Staff {
        Staff::of(2, &[])
    }

    fn signed_in() -> Agent {
        let mut agent = Agent { full_name: "Ani".to_owned(), created_at: Some(NOW), ..Agent::default() };
        agent.sessions.start(Session { id: SESSION, expires_at: NOW + TimeDelta::days(1) }, NOW);
        agent
    }

    fn after(mut agent: Agent, decision: &Decision<AgentEvent>) -> Agent {
        let context = Context { stream_id: Uuid::nil(), version: 1, at: NOW };
        decision.events.iter().for_each(|event| agent.evolve(event, context));
        agent
    }

    #[test]
    fn a_suspension_ends_every_session_and_happens_once() {
        let suspended = after(signed_in(), &suspend(&signed_in(), ID, &staff()).unwrap());
        assert!(suspended.is_suspended && !suspended.sessions.holds(SESSION, NOW));
        assert!(suspend(&suspended, ID, &staff()).unwrap().events.is_empty());
        assert_eq!(impersonate(&suspended, SESSION, NOW).unwrap_err().code, "user_suspended");
    }

    #[test]
    fn an_admin_is_suspended_while_another_one_is_there() {
        let admin = Agent { role: ADMIN.to_owned(), ..signed_in() };
        assert_eq!(suspend(&admin, ID, &Staff::of(2, &[ID])).unwrap_err().code, "last_admin");
        let other = Uuid::from_u128(9);
        let suspended = suspend(&admin, ID, &Staff::of(2, &[ID, other])).unwrap();
        assert_eq!((suspended.events.len(), suspended.claims.len()), (1, 1), "guarded");
    }

    #[test]
    fn an_activated_user_may_sign_in_but_is_not_signed_in() {
        let suspended = after(signed_in(), &suspend(&signed_in(), ID, &staff()).unwrap());
        let active = after(suspended.clone(), &activate(&suspended).unwrap());
        assert!(!active.is_suspended && !active.sessions.holds(SESSION, NOW));
        assert!(activate(&active).unwrap().events.is_empty());
    }

    #[test]
    fn a_reset_password_ends_every_session() {
        let reset = after(signed_in(), &reset_password(&signed_in(), Uuid::nil(), "hash").unwrap());
        assert!(!reset.sessions.holds(SESSION, NOW));
        assert_eq!(reset.password_hash, Some(Secret::new(Uuid::nil(), "hash")));
    }

    #[test]
    fn an_impersonation_is_a_session_that_ends_by_itself() {
        let agent = Agent { created_at: Some(NOW), ..Agent::default() };
        let until = NOW + TimeDelta::minutes(30);
        let played = after(agent.clone(), &impersonate(&agent, SESSION, until).unwrap());
        assert!(played.sessions.holds(SESSION, until - TimeDelta::seconds(1)));
        assert!(!played.sessions.holds(SESSION, until));
    }

    #[test]
    fn a_user_that_does_not_exist_is_not_found() {
        let nobody = Agent::default();
        let refused = [
            suspend(&nobody, ID, &staff()).unwrap_err(),
            activate(&nobody).unwrap_err(),
            reset_password(&nobody, Uuid::nil(), "hash").unwrap_err(),
            impersonate(&nobody, SESSION, NOW).unwrap_err(),
        ];
        assert!(refused.iter().all(|refusal| refusal.code == "not_found"));
    }
}
