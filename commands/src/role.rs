//! Decisions about custom roles.

use domain::agent::{Agent, AgentEvent};
use domain::aggregate::Aggregate;
use domain::refusal::Refusal;
use domain::role::{Role, RoleEvent, SYSTEM_ROLES};
use uuid::Uuid;

use crate::store::{Decision, Expected, Part};

const NAME: &str = "role_name";

/// A role as it shall be.
#[derive(Clone, Debug)]
pub struct Definition {
    pub name: String,
    pub description: Option<String>,
    pub permissions: Vec<String>,
}

/// Names are compared without case.
fn normalized(name: &str) -> Result<String, Refusal> {
    let name = name.trim().to_lowercase();
    if SYSTEM_ROLES.contains(&name.as_str()) {
        return Err(Refusal::conflict("already_taken", "This is the name of a system role."));
    }
    if name.is_empty() {
        return Err(Refusal::invalid("name", "must not be blank"));
    }
    Ok(name)
}

/// # Errors
/// When the name is a system role's; a taken name is found by the claim.
pub fn create(state: &Role, id: Uuid, new: &Definition) -> Result<Decision<RoleEvent>, Refusal> {
    if state.exists() {
        return Ok(Decision::nothing());
    }
    let Definition { description, permissions, .. } = new.clone();
    let name = normalized(&new.name)?;
    Ok(Decision::one(RoleEvent::Created { name: name.clone(), description, permissions })
        .claiming(NAME, name, id))
}

/// `agents` are those who have the role, each with the version of its stream: with a new name they all get it at once,
/// since they know their role by name.
///
/// # Errors
/// When there is no such role, or the new name is a system role's.
pub fn update(
    state: &Role,
    id: Uuid,
    name: Option<&str>,
    description: Option<&str>,
    permissions: Option<&[String]>,
    agents: &[(Uuid, i64)],
) -> Result<Decision<RoleEvent>, Refusal> {
    if !state.exists() {
        return Err(Refusal::not_found("role"));
    }
    let new_name = name.map_or_else(|| Ok(state.name.clone()), normalized)?;
    let description = description.map(str::to_owned).or_else(|| state.description.clone());
    let permissions = permissions.map_or_else(|| state.permissions.clone(), <[String]>::to_vec);
    if new_name == state.name && description == state.description && permissions == state.permissions {
        return Ok(Decision::nothing());
    }
    let updated = Decision::one(RoleEvent::Updated { name: new_name.clone(), description, permissions });
    Ok(if new_name == state.name {
        updated
    } else {
        let renamed = [AgentEvent::RoleChanged { role: new_name.clone() }];
        let renamed_for =
            |(agent, version): &(Uuid, i64)| Part::of::<Agent>(*agent, Expected::Version(*version), &renamed);
        let updated = updated.claiming(NAME, new_name, id).releasing(NAME, state.name.clone(), id);
        agents.iter().map(renamed_for).fold(updated, Decision::also)
    })
}

/// # Errors
/// When there is no such role, or agents have it.
pub fn delete(state: &Role, id: Uuid, agents: usize) -> Result<Decision<RoleEvent>, Refusal> {
    if !state.exists() {
        return Err(Refusal::not_found("role"));
    }
    if agents > 0 {
        return Err(Refusal::conflict("in_use", format!("{agents} agents have this role.")));
    }
    Ok(Decision::one(RoleEvent::Deleted).releasing(NAME, state.name.clone(), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: Uuid = Uuid::from_u128(2);

    fn id() -> Uuid {
        Uuid::from_u128(1)
    }

    fn existing() -> Role {
        Role {
            name: "night shift".to_owned(),
            permissions: vec!["audit.view".to_owned()],
            created_at: Some(chrono::DateTime::UNIX_EPOCH),
            ..Role::default()
        }
    }

    fn definition(name: &str) -> Definition {
        Definition { name: name.to_owned(), description: None, permissions: Vec::new() }
    }

    #[test]
    fn a_new_role_claims_its_lower_case_name() {
        let decision = create(&Role::default(), id(), &definition(" Night Shift ")).unwrap();
        assert!(matches!(&decision.events[..], [RoleEvent::Created { name, .. }] if name == "night shift"));
        assert_eq!(decision.claims[0].key, "night shift");
    }

    #[test]
    fn a_system_roles_name_is_refused() {
        assert_eq!(create(&Role::default(), id(), &definition("ADMIN")).unwrap_err().code, "already_taken");
        assert_eq!(
            update(&existing(), id(), Some("agent"), None, None, &[]).unwrap_err().code,
            "already_taken"
        );
    }

    #[test]
    fn an_update_that_changes_nothing_is_no_event() {
        let same = update(
            &existing(),
            id(),
            Some("Night Shift"),
            None,
            Some(&["audit.view".to_owned()]),
            &[(AGENT, 4)],
        )
        .unwrap();
        assert!(same.is_nothing());
    }

    #[test]
    fn a_renamed_role_gives_its_old_name_back_and_stays_with_its_agents() {
        let renamed = update(&existing(), id(), Some("day shift"), None, None, &[(AGENT, 4)]).unwrap();
        let agents = &renamed.also[0].0;
        assert_eq!((agents.stream_id, agents.expected), (AGENT, Expected::Version(4)));
        assert_eq!(agents.events[0].payload, serde_json::json!({ "role": "day shift" }));
        assert_eq!(
            (renamed.claims[0].key.as_str(), renamed.releases[0].key.as_str()),
            ("day shift", "night shift")
        );
    }

    #[test]
    fn a_role_in_use_stays() {
        assert_eq!(delete(&existing(), id(), 2).unwrap_err().code, "in_use");
        assert_eq!(delete(&Role::default(), id(), 0).unwrap_err().code, "not_found");
    }
}
