//! Decisions about contacts: what an agent changes about a person, and forgetting the person.

use domain::aggregate::Aggregate;
use domain::channel::Channel;
use domain::contact::{Contact, ContactEvent, Profile};
use domain::personal::Personal;
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::store::Decision;
use crate::tags;
use crate::vault::Vault;

/// The claim that makes one contact of everything that comes from one address.
pub const IDENTITY: &str = "contact";
/// Digits of a phone number (ITU-T E.164); the shortest ones in use have five, in small countries.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 5..=15;

/// The key of the [`IDENTITY`] claim. It outlives the person's data, so it must not tell the address.
#[must_use]
pub fn identity_key(vault: &Vault, channel: Channel, address: &str) -> String {
    vault.fingerprint(&format!("contact:{}:{address}", channel.as_str()))
}

/// What changes: a field that is `None` stays, `Some(None)` is cleared.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub name: Option<Option<String>>,
    pub email: Option<Option<String>>,
    pub phone_number: Option<Option<String>>,
    /// Replaces all tags.
    pub tags: Option<Vec<String>>,
}

/// # Errors
/// When there is no such contact, it is erased, or a value will not do.
pub fn update(state: &Contact, id: Uuid, change: &Change) -> Result<Decision<ContactEvent>, Refusal> {
    if !state.exists() {
        return Err(Refusal::not_found("contact"));
    }
    let Some(profile) = state.profile.known().filter(|_| state.erased_at.is_none()) else {
        return Err(erased());
    };
    let changed = Profile {
        address: profile.address.clone(),
        name: changed_text(&profile.name, change.name.as_ref()),
        email: changed_text(&profile.email, change.email.as_ref()),
        phone_number: changed_phone(&profile.phone_number, change.phone_number.as_ref())?,
    };
    let mut events = Vec::new();
    if changed != *profile {
        events.push(ContactEvent::Updated { profile: Personal::new(id, changed) });
    }
    if let Some(wanted) = &change.tags {
        let tags = tags::normalized(wanted)?;
        if !tags::same(&tags, &state.tags) {
            events.push(ContactEvent::Tagged { tags });
        }
    }
    Ok(events.into())
}

/// Forgets the person. The address is free again: whoever writes from it later is someone new. `key_of` turns the
/// address into the key of the [`IDENTITY`] claim.
///
/// # Errors
/// When there is no such contact.
pub fn erase(
    state: &Contact,
    id: Uuid,
    key_of: impl Fn(Channel, &str) -> String,
) -> Result<Decision<ContactEvent>, Refusal> {
    if !state.exists() {
        return Err(Refusal::not_found("contact"));
    }
    if state.erased_at.is_some() {
        return Ok(Decision::nothing());
    }
    let erased = Decision::one(ContactEvent::Erased);
    Ok(match state.profile.known() {
        Some(profile) => erased.releasing(IDENTITY, key_of(state.channel, &profile.address), id),
        None => erased,
    })
}

/// Nothing can be known about, or said to, a person who was erased.
pub fn erased() -> Refusal {
    Refusal::conflict("contact_erased", "The personal data of this contact was erased.")
}

/// Blank is as good as nothing.
fn changed_text(present: &Option<String>, change: Option<&Option<String>>) -> Option<String> {
    match change {
        None => present.clone(),
        Some(wanted) => wanted.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned),
    }
}

/// Written in any of the usual ways, kept as digits, with the `+` if it was given.
fn changed_phone(
    present: &Option<String>,
    change: Option<&Option<String>>,
) -> Result<Option<String>, Refusal> {
    let Some(wanted) = changed_text(present, change) else { return Ok(None) };
    if Some(&wanted) == present.as_ref() {
        return Ok(Some(wanted));
    }
    let compact: String = wanted.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')')).collect();
    let digits = compact.strip_prefix('+').unwrap_or(&compact);
    if !PHONE_DIGITS.contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let (low, high) = (PHONE_DIGITS.start(), PHONE_DIGITS.end());
        return Err(Refusal::invalid(
            "phone_number",
            format!("must be a phone number of {low} to {high} digits"),
        ));
    }
    Ok(Some(compact))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn id() -> Uuid {
        Uuid::from_u128(7)
    }

    fn known() -> Contact {
        let profile =
            Profile { address: "628123".to_owned(), name: Some("Ani".to_owned()), ..Profile::default() };
        Contact {
            channel: Channel::Whatsapp,
            profile: Personal::new(id(), profile),
            tags: vec!["vip".to_owned()],
            created_at: Some(DateTime::UNIX_EPOCH),
            erased_at: None,
        }
    }

    fn forgotten() -> Contact {
        Contact { profile: Personal::Erased, erased_at: Some(DateTime::UNIX_EPOCH), ..known() }
    }

    fn text(value: &str) -> Option<Option<String>> {
        Some(Some(value.to_owned()))
    }

    fn profile_of(decision: &Decision<ContactEvent>) -> &Profile {
        match &decision.events[..] {
            [ContactEvent::Updated { profile }] => profile.known().unwrap(),
            other => panic!("not one update: {other:?}"),
        }
    }

    #[test]
    fn only_what_is_named_changes_and_null_clears() {
        let change = Change { name: Some(None), email: text(" ani@example.com "), ..Change::default() };
        let decision = update(&known(), id(), &change).unwrap();
        let expected = Profile {
            address: "628123".to_owned(),
            name: None,
            email: Some("ani@example.com".to_owned()),
            phone_number: None,
        };
        assert_eq!(*profile_of(&decision), expected);
    }

    #[test]
    fn a_change_to_the_same_is_no_event() {
        let change = Change {
            name: text("Ani"),
            email: Some(None),
            tags: Some(vec!["vip".to_owned()]),
            ..Change::default()
        };
        assert!(update(&known(), id(), &change).unwrap().events.is_empty());
    }

    #[test]
    fn tags_are_an_event_of_their_own() {
        let change = Change { tags: Some(vec!["new".to_owned(), "vip".to_owned()]), ..Change::default() };
        let decision = update(&known(), id(), &change).unwrap();
        assert!(matches!(&decision.events[..], [ContactEvent::Tagged { tags }] if tags == &["new", "vip"]));
    }

    #[test]
    fn a_phone_number_loses_its_punctuation() {
        let change = Change { phone_number: text("+62 (812) 345-678"), ..Change::default() };
        let decision = update(&known(), id(), &change).unwrap();
        assert_eq!(profile_of(&decision).phone_number.as_deref(), Some("+62812345678"));
    }

    #[test]
    fn what_is_no_phone_number_is_refused() {
        for wrong in ["call me", "1234", "+1234567890123456", "62+812345", "٦٢٨١٢٣"] {
            let change = Change { phone_number: text(wrong), ..Change::default() };
            let refusal = update(&known(), id(), &change).unwrap_err();
            assert_eq!(refusal.fields[0].field, "phone_number", "{wrong}");
        }
    }

    #[test]
    fn a_number_that_a_channel_wrote_differently_stays_as_it_is() {
        let mut state = known();
        let profile =
            Profile { phone_number: Some("ext 7".to_owned()), ..state.profile.known().unwrap().clone() };
        state.profile = Personal::new(id(), profile);
        assert!(
            update(&state, id(), &Change { name: text("Ani"), ..Change::default() })
                .unwrap()
                .events
                .is_empty()
        );
    }

    #[test]
    fn an_erased_contact_cannot_be_changed() {
        assert_eq!(update(&forgotten(), id(), &Change::default()).unwrap_err().code, "contact_erased");
        assert_eq!(update(&Contact::default(), id(), &Change::default()).unwrap_err().code, "not_found");
    }

    #[test]
    fn erasing_frees_the_address() {
        let key_of = |channel: Channel, address: &str| format!("{}/{address}", channel.as_str());
        let decision = erase(&known(), id(), key_of).unwrap();
        assert_eq!(decision.events, [ContactEvent::Erased]);
        let released = &decision.releases[0];
        assert_eq!(
            (released.scope, released.key.as_str(), released.owner),
            (IDENTITY, "whatsapp/628123", id())
        );
    }

    #[test]
    fn erasing_twice_is_erasing_once() {
        assert!(erase(&forgotten(), id(), |_, _| String::new()).unwrap().events.is_empty());
        assert_eq!(erase(&Contact::default(), id(), |_, _| String::new()).unwrap_err().code, "not_found");
    }
}
