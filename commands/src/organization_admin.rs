//! Decisions about a tenant that the platform takes after registration: its name, its limits, whether it may work.

use domain::aggregate::Aggregate;
use domain::billing::Limits;
use domain::organization::{Organization, OrganizationEvent, OrganizationStatus};
use domain::refusal::Refusal;
use serde_json::Value;

use crate::store::Decision;

/// A DNS label's: the slug may become a host name.
const MAX_SLUG_LENGTH: usize = 63;

/// What shall be different; what is not mentioned stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub name: Option<String>,
    /// Replaces the whole set.
    pub limits: Option<Limits>,
    pub suspended: Option<bool>,
}

/// A slug is taken as it is given: one that was quietly changed would not be found again.
///
/// # Errors
/// When it is not lower-case letters and digits, in parts joined by single hyphens, of at most 63 characters.
pub fn check_slug(slug: &str) -> Result<(), Refusal> {
    let part_is_plain =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if slug.len() <= MAX_SLUG_LENGTH && slug.split('-').all(part_is_plain) {
        return Ok(());
    }
    let rule = format!(
        "must be lower-case letters and digits, with single hyphens between them, {MAX_SLUG_LENGTH} characters at most"
    );
    Err(Refusal::invalid("slug", rule))
}

/// # Errors
/// When it is blank.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    if name.trim().is_empty() { Err(Refusal::invalid("name", "must not be blank")) } else { Ok(()) }
}

/// # Errors
/// When there is no such tenant, its new name is blank, or it is suspended or resumed before it is provisioned.
pub fn update(state: &Organization, change: &Change) -> Result<Decision<OrganizationEvent>, Refusal> {
    if !state.exists() {
        return Err(Refusal::not_found("tenant"));
    }
    let mut events: Vec<OrganizationEvent> = updated(state, change)?.into_iter().collect();
    events.extend(change.suspended.map(|suspended| standing(state, suspended)).transpose()?.flatten());
    Ok(events.into())
}

/// # Errors
/// When there is no such tenant, or it is not provisioned yet.
pub fn suspend(state: &Organization) -> Result<Decision<OrganizationEvent>, Refusal> {
    update(state, &Change { suspended: Some(true), ..Change::default() })
}

fn updated(state: &Organization, change: &Change) -> Result<Option<OrganizationEvent>, Refusal> {
    change.name.as_deref().map(check_name).transpose()?;
    let name = change.name.as_deref().map(str::trim).filter(|name| *name != state.name).map(str::to_owned);
    let limits =
        change.limits.as_ref().map(limits_value).filter(|limits| state.limits.as_ref() != Some(limits));
    let differs = name.is_some() || limits.is_some();
    Ok(differs.then_some(OrganizationEvent::Updated { name, limits }))
}

/// Limits as the log and the API hold them.
#[must_use]
pub fn limits_value(limits: &Limits) -> Value {
    serde_json::to_value(limits).expect("names and whole numbers are JSON")
}

/// Nothing if it is so already.
fn standing(state: &Organization, suspended: bool) -> Result<Option<OrganizationEvent>, Refusal> {
    match (state.status, suspended) {
        // Its activation, which is under way, would undo either.
        (OrganizationStatus::Provisioning, _) => Err(Refusal::conflict(
            "still_provisioning",
            "The tenant is being provisioned; try again in a moment.",
        )),
        (OrganizationStatus::Active, true) => Ok(Some(OrganizationEvent::Suspended)),
        (OrganizationStatus::Suspended, false) => Ok(Some(OrganizationEvent::Reactivated)),
        (OrganizationStatus::Active, false) | (OrganizationStatus::Suspended, true) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use domain::billing::LimitName;
    use serde_json::json;

    use super::*;

    fn tenant(status: OrganizationStatus) -> Organization {
        Organization {
            name: "Toko".to_owned(),
            slug: "toko".to_owned(),
            limits: Some(json!({ "max_agents": 5 })),
            status,
            created_at: Some(chrono::DateTime::UNIX_EPOCH),
            ..Organization::default()
        }
    }

    fn five_agents() -> Limits {
        Limits::default().with(LimitName::MaxAgents, Some(5))
    }

    #[test]
    fn a_slug_is_a_dns_label() {
        for good in ["a", "toko-maju", "4u", &"x".repeat(63)] {
            assert_eq!(check_slug(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "a-", "a--b", "a_b", "Toko", "to ko", "tokó", &"x".repeat(64)] {
            assert_eq!(check_slug(bad).unwrap_err().fields[0].field, "slug", "{bad}");
        }
    }

    #[test]
    fn an_update_says_only_what_is_different() {
        let change = Change {
            name: Some(" Toko ".to_owned()),
            limits: Some(Limits::default()),
            suspended: Some(true),
        };
        let events = update(&tenant(OrganizationStatus::Active), &change).unwrap().events;
        let no_limits = OrganizationEvent::Updated { name: None, limits: Some(json!({})) };
        assert_eq!(events, [no_limits, OrganizationEvent::Suspended]);
    }

    #[test]
    fn an_update_to_what_is_already_so_is_no_event() {
        let change =
            Change { name: Some("Toko".to_owned()), limits: Some(five_agents()), suspended: Some(false) };
        assert!(update(&tenant(OrganizationStatus::Active), &change).unwrap().events.is_empty());
    }

    #[test]
    fn a_suspended_tenant_can_come_back() {
        let back = Change { suspended: Some(false), ..Change::default() };
        let events = update(&tenant(OrganizationStatus::Suspended), &back).unwrap().events;
        assert_eq!(events, [OrganizationEvent::Reactivated]);
        assert!(suspend(&tenant(OrganizationStatus::Suspended)).unwrap().events.is_empty());
    }

    #[test]
    fn nothing_happens_to_a_tenant_that_does_not_exist_or_is_not_ready() {
        assert_eq!(suspend(&Organization::default()).unwrap_err().code, "not_found");
        assert_eq!(
            suspend(&tenant(OrganizationStatus::Provisioning)).unwrap_err().code,
            "still_provisioning"
        );
    }

    #[test]
    fn a_blank_name_is_refused() {
        let blank = Change { name: Some("  ".to_owned()), ..Change::default() };
        let refused = update(&tenant(OrganizationStatus::Active), &blank).unwrap_err();
        assert_eq!(refused.fields[0].field, "name");
    }
}
