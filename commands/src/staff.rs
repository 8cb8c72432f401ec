//! What is true of a tenant's agents taken together: how many there are, and who administers.
//!
//! A decision about one agent sees one stream, but "at most ten agents" and "at least one admin" are about all of
//! them. So each agent holds a claim on a seat, and each admin one on administering: claims commit with the events, so
//! counting them is counting the log. And a decision that relied on the count takes over the edition of the staff that
//! it counted ([`Staff::guard`]): of two that counted the same one, one is decided again.

use domain::agent::{Agent, AgentEvent};
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::CommandError;
use crate::store::{Decided, Decision, Origin, Store};

/// Claimed by every agent, under its id.
pub(crate) const SEATS: &str = "agent_seat";
/// Claimed by every agent whose role is admin, under its id.
pub(crate) const ADMINS: &str = "agent_admin";
/// Claimed by the command that changed the staff last. A guarded decision takes it from the very command whose edition
/// it has seen, so that of all who saw the same one, one succeeds.
const EDITION: &str = "staff_edition";
/// How often a decision is taken again while others change the same staff. One of them succeeds each time.
const MAX_DECISIONS: u32 = 64;

/// A tenant's agents at one moment of the log.
#[derive(Clone, Debug)]
pub struct Staff {
    agents: u64,
    active_admins: Vec<Uuid>,
    /// Who changed it last.
    edition: Option<Uuid>,
    /// Who takes the next edition.
    command_id: Uuid,
}

impl Staff {
    /// # Errors
    /// Database errors.
    pub async fn read(store: &Store, origin: &Origin) -> Result<Self, CommandError> {
        let claims: Vec<(String, Uuid)> = sqlx::query_as(
            "SELECT scope, owner FROM claims WHERE log_id = $1 AND tenant_id = $2 AND scope = ANY($3)",
        )
        .bind(store.log_of(origin.tenant_id).await?)
        .bind(origin.tenant_id)
        .bind([SEATS, ADMINS, EDITION])
        .fetch_all(store.pool())
        .await?;
        let mut staff =
            Self { agents: 0, active_admins: Vec::new(), edition: None, command_id: origin.command_id };
        for (scope, owner) in claims {
            match scope.as_str() {
                SEATS => staff.agents += 1,
                ADMINS => {
                    if !store.load::<Agent>(origin.tenant_id, owner).await?.is_suspended {
                        staff.active_admins.push(owner);
                    }
                }
                _ => staff.edition = Some(owner),
            }
        }
        Ok(staff)
    }

    #[must_use]
    pub const fn agents(&self) -> u64 {
        self.agents
    }

    /// Whether someone besides this agent administers and is not suspended.
    #[must_use]
    pub fn has_other_admin(&self, agent_id: Uuid) -> bool {
        self.active_admins.iter().any(|admin| *admin != agent_id)
    }

    /// Lets the decision hold only if no other guarded one came between.
    #[must_use]
    pub fn guard(&self, decision: Decision<AgentEvent>) -> Decision<AgentEvent> {
        let guarded = decision.claiming(EDITION, EDITION, self.command_id);
        match self.edition {
            Some(last) => guarded.releasing(EDITION, EDITION, last),
            None => guarded,
        }
    }
}

/// How many agents a tenant has.
///
/// # Errors
/// Database errors.
pub async fn count(store: &Store, tenant_id: Uuid) -> Result<u64, CommandError> {
    let seats: i64 =
        sqlx::query_scalar("SELECT count(*) FROM claims WHERE log_id = $1 AND tenant_id = $2 AND scope = $3")
            .bind(store.log_of(tenant_id).await?)
            .bind(tenant_id)
            .bind(SEATS)
            .fetch_one(store.pool())
            .await?;
    Ok(u64::try_from(seats).unwrap_or(0))
}

/// Runs a command about one agent that depends on the others.
///
/// # Errors
/// As [`Store::execute`].
pub async fn execute(
    store: &Store,
    origin: &Origin,
    agent_id: Uuid,
    decide: impl Fn(&Agent, &Staff) -> Result<Decision<AgentEvent>, Refusal> + Send + Sync,
) -> Result<Decided<Agent>, CommandError> {
    let mut staff = Staff::read(store, origin).await?;
    for _ in 0..MAX_DECISIONS {
        let decided = store.execute::<Agent>(origin, agent_id, |state| decide(state, &staff)).await;
        match &decided {
            Err(CommandError::Refused(refusal)) if refusal.code == "already_taken" => {
                let now = Staff::read(store, origin).await?;
                // Taken was something else, such as the address.
                if now.edition == staff.edition {
                    return decided;
                }
                staff = now;
            }
            _ => return decided,
        }
    }
    Err(Refusal::conflict("contended", "Too many others are changing agents at the moment; try again.")
        .into())
}

#[cfg(test)]
impl Staff {
    /// A staff of so many agents, of which these administer.
    pub(crate) fn of(agents: u64, active_admins: &[Uuid]) -> Self {
        let edition = Some(Uuid::from_u128(70));
        Self { agents, active_admins: active_admins.to_vec(), edition, command_id: Uuid::from_u128(80) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_decision_takes_the_edition_from_whoever_it_saw() {
        let guarded = Staff::of(1, &[]).guard(Decision::one(AgentEvent::Deleted));
        assert_eq!(guarded.claims[0].key, guarded.releases[0].key);
        assert_eq!(
            (guarded.releases[0].owner, guarded.claims[0].owner),
            (Uuid::from_u128(70), Uuid::from_u128(80))
        );
        let first = Staff { edition: None, ..Staff::of(1, &[]) }.guard(Decision::one(AgentEvent::Deleted));
        assert_eq!(first.releases.len(), 0);
    }

    #[test]
    fn the_only_admin_has_no_other() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert!(!Staff::of(2, &[one]).has_other_admin(one));
        assert!(Staff::of(2, &[one, two]).has_other_admin(one));
    }
}
