//! Decisions about SLA policies.

use domain::aggregate::Aggregate;
use domain::channel::Channel;
use domain::refusal::{FieldProblem, Refusal};
use domain::sla_policy::{SlaPolicy, SlaPolicyEvent, Terms};
use uuid::Uuid;

use crate::store::{Decision, Expected, Part};

/// The claim that only the default policy holds.
const DEFAULT: &str = "default_sla_policy";
pub const DEFAULT_FIRST_RESPONSE_SECS: i64 = 300;
pub const DEFAULT_RESOLUTION_SECS: i64 = 3_600;
pub const DEFAULT_WARNING_PCT: i64 = 80;
/// A year: a longer promise is none.
pub const MAX_THRESHOLD_SECS: i64 = 31_536_000;
const MAX_NAME_CHARS: usize = 100;

/// A policy as asked for; `None` is the default of a new one and leaves an existing one as it is.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub name: Option<String>,
    pub description: Option<String>,
    pub first_response_time_secs: Option<i64>,
    pub resolution_time_secs: Option<i64>,
    pub warning_threshold_pct: Option<i64>,
    pub priority: Option<i64>,
    pub channel: Option<Channel>,
    pub division_id: Option<Uuid>,
    pub is_active: Option<bool>,
    pub is_default: Option<bool>,
}

fn apply(change: &Change, before: &Terms) -> Result<Terms, Refusal> {
    let change = change.clone();
    let after = Terms {
        name: change.name.map_or_else(|| before.name.clone(), |name| name.trim().to_owned()),
        description: change.description.or_else(|| before.description.clone()),
        first_response_time_secs: change.first_response_time_secs.unwrap_or(before.first_response_time_secs),
        resolution_time_secs: change.resolution_time_secs.unwrap_or(before.resolution_time_secs),
        warning_threshold_pct: change.warning_threshold_pct.unwrap_or(before.warning_threshold_pct),
        priority: change.priority.unwrap_or(before.priority),
        channel: change.channel.or(before.channel),
        division_id: change.division_id.or(before.division_id),
        is_active: change.is_active.unwrap_or(before.is_active),
        is_default: change.is_default.unwrap_or(before.is_default),
    };
    let problems = problems(&after);
    if problems.is_empty() { Ok(after) } else { Err(Refusal::invalid_fields(problems)) }
}

fn problems(terms: &Terms) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    if !(1..=MAX_NAME_CHARS).contains(&terms.name.chars().count()) {
        problems.push(FieldProblem::new("name", format!("must have 1 to {MAX_NAME_CHARS} characters")));
    }
    for (field, secs) in [
        ("first_response_time_secs", terms.first_response_time_secs),
        ("resolution_time_secs", terms.resolution_time_secs),
    ] {
        if !(1..=MAX_THRESHOLD_SECS).contains(&secs) {
            problems.push(FieldProblem::new(field, format!("must be 1 to {MAX_THRESHOLD_SECS} seconds")));
        }
    }
    if !(1..=100).contains(&terms.warning_threshold_pct) {
        problems.push(FieldProblem::new("warning_threshold_pct", "must be 1 to 100 per cent"));
    }
    problems
}

/// # Errors
/// When a field is out of range. A second default is found by the claim.
pub fn create(state: &SlaPolicy, id: Uuid, new: &Change) -> Result<Decision<SlaPolicyEvent>, Refusal> {
    if state.exists() {
        return Ok(Decision::nothing());
    }
    let terms = apply(
        new,
        &Terms {
            first_response_time_secs: DEFAULT_FIRST_RESPONSE_SECS,
            resolution_time_secs: DEFAULT_RESOLUTION_SECS,
            warning_threshold_pct: DEFAULT_WARNING_PCT,
            is_active: true,
            ..Terms::default()
        },
    )?;
    Ok(with_default(id, false, terms.is_default, Decision::one(SlaPolicyEvent::Created(terms))))
}

/// # Errors
/// When there is no such policy, or a field is out of range.
pub fn update(state: &SlaPolicy, id: Uuid, change: &Change) -> Result<Decision<SlaPolicyEvent>, Refusal> {
    exists(state)?;
    let terms = apply(change, &state.terms)?;
    if terms == state.terms {
        return Ok(Decision::nothing());
    }
    let is_default = terms.is_default;
    Ok(with_default(id, state.terms.is_default, is_default, Decision::one(SlaPolicyEvent::Updated(terms))))
}

/// # Errors
/// When there is no such policy, or it is the default.
pub fn delete(state: &SlaPolicy) -> Result<Decision<SlaPolicyEvent>, Refusal> {
    exists(state)?;
    if state.terms.is_default {
        return Err(Refusal::conflict("default_policy", "The default policy cannot be deleted."));
    }
    Ok(Decision::one(SlaPolicyEvent::Deleted))
}

/// The default that there is, at a version of its stream.
#[derive(Clone, Debug)]
pub struct CurrentDefault {
    pub id: Uuid,
    pub version: i64,
    pub terms: Terms,
}

/// Lets the present default step down together with a decision that makes another policy the default.
#[must_use]
pub fn in_place_of(
    old: Option<&CurrentDefault>,
    decision: Decision<SlaPolicyEvent>,
) -> Decision<SlaPolicyEvent> {
    let Some(old) = old.filter(|_| !decision.claims.is_empty()) else { return decision };
    let stepped_down = SlaPolicyEvent::Updated(Terms { is_default: false, ..old.terms.clone() });
    decision.releasing(DEFAULT, DEFAULT, old.id).also(Part::of::<SlaPolicy>(
        old.id,
        Expected::Version(old.version),
        &[stepped_down],
    ))
}

fn with_default(
    id: Uuid,
    before: bool,
    after: bool,
    decision: Decision<SlaPolicyEvent>,
) -> Decision<SlaPolicyEvent> {
    match (before, after) {
        (false, true) => decision.claiming(DEFAULT, DEFAULT, id),
        (true, false) => decision.releasing(DEFAULT, DEFAULT, id),
        _ => decision,
    }
}

fn exists(state: &SlaPolicy) -> Result<(), Refusal> {
    if state.exists() { Ok(()) } else { Err(Refusal::not_found("SLA policy")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> Uuid {
        Uuid::from_u128(1)
    }

    fn named() -> Change {
        Change { name: Some("Gold".to_owned()), ..Change::default() }
    }

    fn existing(is_default: bool) -> SlaPolicy {
        let terms = apply(
            &named(),
            &Terms {
                is_default,
                first_response_time_secs: 1,
                resolution_time_secs: 1,
                warning_threshold_pct: 80,
                ..Terms::default()
            },
        );
        SlaPolicy { terms: terms.unwrap(), created_at: Some(chrono::DateTime::UNIX_EPOCH) }
    }

    #[test]
    fn a_new_policy_has_the_contracts_defaults() {
        let decision = create(&SlaPolicy::default(), id(), &named()).unwrap();
        let [SlaPolicyEvent::Created(terms)] = &decision.events[..] else { panic!("{decision:?}") };
        assert_eq!(
            (
                terms.first_response_time_secs,
                terms.resolution_time_secs,
                terms.warning_threshold_pct,
                terms.priority
            ),
            (300, 3600, 80, 0)
        );
        assert!(terms.is_active && !terms.is_default && decision.claims.is_empty());
    }

    #[test]
    fn every_bad_field_is_named() {
        let change = Change {
            first_response_time_secs: Some(0),
            warning_threshold_pct: Some(101),
            ..Change::default()
        };
        let fields: Vec<_> = update(&existing(false), id(), &change)
            .unwrap_err()
            .fields
            .into_iter()
            .map(|f| f.field)
            .collect();
        assert_eq!(fields, ["first_response_time_secs", "warning_threshold_pct"]);
    }

    #[test]
    fn the_default_is_claimed_given_up_and_never_deleted() {
        let promote = Change { is_default: Some(true), ..Change::default() };
        assert_eq!(update(&existing(false), id(), &promote).unwrap().claims.len(), 1);
        let old = CurrentDefault { id: Uuid::from_u128(2), version: 3, terms: existing(true).terms };
        let promoted = in_place_of(Some(&old), update(&existing(false), id(), &promote).unwrap());
        assert_eq!((promoted.releases[0].owner, promoted.also[0].0.stream_id), (old.id, old.id));
        let rename = Change { name: Some("Silver".to_owned()), ..Change::default() };
        let renamed = in_place_of(Some(&old), update(&existing(false), id(), &rename).unwrap());
        assert!(renamed.releases.is_empty() && renamed.also.is_empty());
        assert_eq!(delete(&existing(true)).unwrap_err().code, "default_policy");
        assert_eq!(delete(&existing(false)).unwrap().events, [SlaPolicyEvent::Deleted]);
    }
}
