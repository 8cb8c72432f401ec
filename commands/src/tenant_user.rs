//! Decisions of the platform about someone who works for a tenant: support for people who locked themselves out, and
//! a stop to those who must not go on.

use chrono::{DateTime, Utc};
use domain::agent::{Agent, AgentEvent};
use domain::aggregate::Aggregate;
use domain::personal::Secret;
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::store::Decision;

/// Suspends also the last admin of a tenant: a stolen account must be stoppable at once, and the platform can undo it.
///
/// # Errors
/// When there is no such user.
pub fn suspend(state: &Agent) -> Result<Decision<AgentEvent>, Refusal> {
    must_exist(state)?;
    Ok(if state.is_suspended { Decision::nothing() } else { Decision::one(AgentEvent::Suspended) })
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
        let suspended = after(signed_in(), &suspend(&signed_in()).unwrap());
        assert!(suspended.is_suspended && !suspended.sessions.holds(SESSION, NOW));
        assert!(suspend(&suspended).unwrap().events.is_empty());
        assert_eq!(impersonate(&suspended, SESSION, NOW).unwrap_err().code, "user_suspended");
    }

    #[test]
    fn an_activated_user_may_sign_in_but_is_not_signed_in() {
        let suspended = after(signed_in(), &suspend(&signed_in()).unwrap());
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
            suspend(&nobody).unwrap_err(),
            activate(&nobody).unwrap_err(),
            reset_password(&nobody, Uuid::nil(), "hash").unwrap_err(),
            impersonate(&nobody, SESSION, NOW).unwrap_err(),
        ];
        assert!(refused.iter().all(|refusal| refusal.code == "not_found"));
    }
}
