//! Decisions about divisions.

use std::collections::BTreeSet;

use domain::aggregate::Aggregate;
use domain::allocation::AllocationMethod;
use domain::division::{Division, DivisionEvent};
use domain::refusal::Refusal;
use domain::working_hours::{DaySchedule, WorkingHours};
use uuid::Uuid;

use crate::store::Decision;

const NAME: &str = "division_name";
/// Agents of one division.
pub const MAX_AGENTS: usize = 1_000;

/// Names are compared without case and surrounding space.
fn name_key(name: &str) -> String {
    name.trim().to_lowercase()
}

/// A change of the definition; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub name: Option<String>,
    pub description: Option<String>,
    pub allocation_method: Option<AllocationMethod>,
    pub is_active: Option<bool>,
}

fn required_name(name: &str) -> Result<String, Refusal> {
    match name.trim() {
        "" => Err(Refusal::invalid("name", "must not be blank")),
        name => Ok(name.to_owned()),
    }
}

/// # Errors
/// When the name is blank; a taken one is found by the claim.
pub fn create(state: &Division, id: Uuid, new: &Change) -> Result<Decision<DivisionEvent>, Refusal> {
    if state.exists() {
        return Ok(Decision::nothing());
    }
    let name = required_name(new.name.as_deref().unwrap_or_default())?;
    let key = name_key(&name);
    let description = new.description.clone().unwrap_or_default();
    let allocation_method = new.allocation_method.unwrap_or_default();
    Ok(Decision::one(DivisionEvent::Created { name, description, allocation_method }).claiming(NAME, key, id))
}

/// # Errors
/// When there is no such division, or the name is blank.
pub fn update(state: &Division, id: Uuid, change: &Change) -> Result<Decision<DivisionEvent>, Refusal> {
    exists(state)?;
    let name = required_name(change.name.as_deref().unwrap_or(&state.name))?;
    let after = Division {
        name: name.clone(),
        description: change.description.clone().unwrap_or_else(|| state.description.clone()),
        allocation_method: change.allocation_method.unwrap_or(state.allocation_method),
        is_active: change.is_active.unwrap_or(state.is_active),
        ..state.clone()
    };
    if after == *state {
        return Ok(Decision::nothing());
    }
    let updated = Decision::one(DivisionEvent::Updated {
        name: after.name,
        description: after.description,
        allocation_method: after.allocation_method,
        is_active: after.is_active,
    });
    let (old, new) = (name_key(&state.name), name_key(&name));
    Ok(if old == new { updated } else { updated.claiming(NAME, new, id).releasing(NAME, old, id) })
}

/// # Errors
/// When there is no such division.
pub fn delete(state: &Division, id: Uuid) -> Result<Decision<DivisionEvent>, Refusal> {
    exists(state)?;
    Ok(Decision::one(DivisionEvent::Deleted).releasing(NAME, name_key(&state.name), id))
}

/// # Errors
/// When there is no such division, or it would have more than [`MAX_AGENTS`].
pub fn add_agents(state: &Division, agent_ids: &[Uuid]) -> Result<Decision<DivisionEvent>, Refusal> {
    exists(state)?;
    let named: BTreeSet<Uuid> = agent_ids.iter().copied().collect();
    let new: Vec<Uuid> = named.difference(&state.agents).copied().collect();
    if state.agents.len() + new.len() > MAX_AGENTS {
        return Err(Refusal::conflict(
            "too_many_agents",
            format!("A division has at most {MAX_AGENTS} agents."),
        ));
    }
    Ok(if new.is_empty() {
        Decision::nothing()
    } else {
        Decision::one(DivisionEvent::AgentsAdded { agent_ids: new })
    })
}

/// # Errors
/// When there is no such division.
pub fn remove_agents(state: &Division, agent_ids: &[Uuid]) -> Result<Decision<DivisionEvent>, Refusal> {
    exists(state)?;
    let named: BTreeSet<Uuid> = agent_ids.iter().copied().collect();
    let gone: Vec<Uuid> = named.intersection(&state.agents).copied().collect();
    Ok(if gone.is_empty() {
        Decision::nothing()
    } else {
        Decision::one(DivisionEvent::AgentsRemoved { agent_ids: gone })
    })
}

/// # Errors
/// When there is no such division, or the schedule contradicts itself.
pub fn set_working_hours(
    state: &Division,
    schedule: &[DaySchedule],
) -> Result<Decision<DivisionEvent>, Refusal> {
    exists(state)?;
    check_schedule(schedule)?;
    if state.working_hours == schedule {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(DivisionEvent::WorkingHoursSet { schedule: schedule.to_vec() }))
}

/// # Errors
/// When there is no such division.
pub fn remove_working_hours(state: &Division) -> Result<Decision<DivisionEvent>, Refusal> {
    exists(state)?;
    if state.working_hours.is_empty() {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(DivisionEvent::WorkingHoursRemoved))
}

/// # Errors
/// When a window can't be, naming its field.
pub fn check_schedule(schedule: &[DaySchedule]) -> Result<(), Refusal> {
    match WorkingHours::weekly(chrono_tz::UTC, schedule) {
        Ok(_) => Ok(()),
        Err(error) => Err(Refusal::invalid(error.field(), error.to_string())),
    }
}

fn exists(state: &Division) -> Result<(), Refusal> {
    if state.exists() { Ok(()) } else { Err(Refusal::not_found("division")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> Uuid {
        Uuid::from_u128(1)
    }

    fn sales() -> Division {
        Division {
            name: "Sales".to_owned(),
            agents: [Uuid::from_u128(7)].into(),
            is_active: true,
            created_at: Some(chrono::DateTime::UNIX_EPOCH),
            ..Division::default()
        }
    }

    fn named(name: &str) -> Change {
        Change { name: Some(name.to_owned()), ..Change::default() }
    }

    #[test]
    fn a_new_division_claims_its_name_without_case() {
        let decision = create(&Division::default(), id(), &named(" Sales ")).unwrap();
        assert_eq!(decision.claims[0].key, "sales");
        assert!(matches!(&decision.events[..], [DivisionEvent::Created { name, .. }] if name == "Sales"));
        assert_eq!(create(&Division::default(), id(), &named("  ")).unwrap_err().fields[0].field, "name");
    }

    #[test]
    fn changing_only_the_case_of_a_name_keeps_the_claim() {
        let decision = update(&sales(), id(), &named("SALES")).unwrap();
        assert_eq!((decision.events.len(), decision.claims.len(), decision.releases.len()), (1, 0, 0));
        let renamed = update(&sales(), id(), &named("Support")).unwrap();
        assert_eq!((renamed.claims[0].key.as_str(), renamed.releases[0].key.as_str()), ("support", "sales"));
    }

    #[test]
    fn members_are_added_and_removed_once() {
        let (member, other) = (Uuid::from_u128(7), Uuid::from_u128(8));
        assert!(add_agents(&sales(), &[member]).unwrap().events.is_empty());
        assert_eq!(
            add_agents(&sales(), &[member, other, other]).unwrap().events,
            [DivisionEvent::AgentsAdded { agent_ids: vec![other] }]
        );
        assert!(remove_agents(&sales(), &[other]).unwrap().events.is_empty());
    }

    #[test]
    fn a_window_that_ends_before_it_starts_is_refused_by_name() {
        let day = DaySchedule {
            day_of_week: 1,
            start_time: "17:00".into(),
            end_time: "09:00".into(),
            is_active: true,
        };
        let refusal = set_working_hours(&sales(), &[day]).unwrap_err();
        assert!(refusal.fields[0].field.starts_with("schedule[0]."), "{refusal:?}");
    }
}
