//! Decisions about outgoing webhooks.

use domain::aggregate::Aggregate;
use domain::outgoing_webhook::{OutgoingWebhook, OutgoingWebhookEvent, SwitchedOff, Topic};
use domain::personal::Secret;
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::store::Decision;

pub mod secret;

type Decided = Result<Decision<OutgoingWebhookEvent>, Refusal>;

/// Webhooks of one tenant.
pub const MAX_WEBHOOKS: usize = 100;

/// A webhook as it shall be.
#[derive(Clone, Debug)]
pub struct Definition {
    pub name: String,
    pub url: String,
    pub topics: Vec<Topic>,
    pub secret: NewSecret,
}

/// A secret to sign with from now on.
#[derive(Clone, Debug)]
pub struct NewSecret {
    pub secret: Secret,
    pub hint: String,
}

/// What shall be different.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub name: Option<String>,
    pub url: Option<String>,
    pub topics: Option<Vec<Topic>>,
    pub secret: Option<NewSecret>,
    pub is_active: Option<bool>,
}

/// # Errors
/// None: a webhook that exists is the same request once more.
pub fn create(state: &OutgoingWebhook, new: &Definition, created_by: Option<Uuid>) -> Decided {
    if state.exists() {
        return Ok(Decision::nothing());
    }
    let Definition { name, url, topics, secret: NewSecret { secret, hint } } = new.clone();
    Ok(Decision::one(OutgoingWebhookEvent::Created { name, url, topics, secret, hint, created_by }))
}

/// # Errors
/// When there is no such webhook.
pub fn update(state: &OutgoingWebhook, change: &Change) -> Decided {
    require(state)?;
    let mut events = Vec::new();
    let after = OutgoingWebhook {
        name: change.name.clone().unwrap_or_else(|| state.name.clone()),
        url: change.url.clone().unwrap_or_else(|| state.url.clone()),
        topics: change.topics.clone().unwrap_or_else(|| state.topics.clone()),
        ..state.clone()
    };
    if after != *state {
        let OutgoingWebhook { name, url, topics, .. } = after;
        events.push(OutgoingWebhookEvent::Updated { name, url, topics });
    }
    if let Some(NewSecret { secret, hint }) = change.secret.clone() {
        events.push(OutgoingWebhookEvent::SecretReplaced { secret, hint });
    }
    match change.is_active {
        Some(true) if !state.is_active => events.push(OutgoingWebhookEvent::SwitchedOn),
        Some(false) if state.is_active => {
            events.push(OutgoingWebhookEvent::SwitchedOff { reason: SwitchedOff::ByHand });
        }
        _ => {}
    }
    Ok(events.into())
}

/// Switches a webhook off because of its receiver. What is off or deleted by now stays as it is.
///
/// # Errors
/// None.
pub fn give_up(state: &OutgoingWebhook, reason: SwitchedOff) -> Decided {
    if !state.is_active {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(OutgoingWebhookEvent::SwitchedOff { reason }))
}

/// # Errors
/// When there is no such webhook.
pub fn delete(state: &OutgoingWebhook) -> Decided {
    require(state)?;
    Ok(Decision::one(OutgoingWebhookEvent::Deleted))
}

/// Takes old deliveries off the log that people see, also off a deleted webhook's.
///
/// # Errors
/// None.
pub fn trim_log(deliveries: &[Uuid]) -> Decided {
    Ok(Decision::one(OutgoingWebhookEvent::LogTrimmed { deliveries: deliveries.to_vec() }))
}

fn require(state: &OutgoingWebhook) -> Result<(), Refusal> {
    if state.exists() { Ok(()) } else { Err(Refusal::not_found("outgoing webhook")) }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn new_secret(text: &str) -> NewSecret {
        NewSecret { secret: Secret::new(Uuid::nil(), text), hint: text.to_owned() }
    }

    fn definition() -> Definition {
        Definition {
            name: "Shop".to_owned(),
            url: "https://example.com/hook".to_owned(),
            topics: vec![Topic::MessageReceived],
            secret: new_secret("one"),
        }
    }

    fn given() -> OutgoingWebhook {
        let Definition { name, url, topics, secret } = definition();
        OutgoingWebhook {
            name,
            url,
            topics,
            secret: Some(secret.secret),
            is_active: true,
            created_at: Some(DateTime::UNIX_EPOCH),
            ..OutgoingWebhook::default()
        }
    }

    fn then(decided: Decided) -> Vec<OutgoingWebhookEvent> {
        decided.unwrap().events
    }

    #[test]
    fn a_webhook_is_created_once() {
        let by = Some(Uuid::from_u128(1));
        let created = then(create(&OutgoingWebhook::default(), &definition(), by));
        assert!(
            matches!(&created[..], [OutgoingWebhookEvent::Created { created_by, .. }] if *created_by == by)
        );
        assert_eq!(then(create(&given(), &definition(), by)), []);
    }

    #[test]
    fn each_kind_of_change_is_an_event_of_its_own_and_no_change_is_none() {
        let same = Change { name: Some("Shop".to_owned()), is_active: Some(true), ..Change::default() };
        assert_eq!(then(update(&given(), &same)), []);
        let all = Change {
            url: Some("https://example.org/".to_owned()),
            secret: Some(new_secret("two")),
            is_active: Some(false),
            ..Change::default()
        };
        let events = then(update(&given(), &all));
        let [
            OutgoingWebhookEvent::Updated { name, url, .. },
            OutgoingWebhookEvent::SecretReplaced { hint, .. },
            OutgoingWebhookEvent::SwitchedOff { reason: SwitchedOff::ByHand },
        ] = &events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!((name.as_str(), url.as_str(), hint.as_str()), ("Shop", "https://example.org/", "two"));
    }

    #[test]
    fn a_webhook_is_given_up_once_and_can_be_switched_on_again() {
        let gone = OutgoingWebhookEvent::SwitchedOff { reason: SwitchedOff::Gone };
        assert_eq!(then(give_up(&given(), SwitchedOff::Gone)), [gone]);
        let off = OutgoingWebhook { is_active: false, ..given() };
        assert_eq!(then(give_up(&off, SwitchedOff::NoSuccess)), []);
        assert_eq!(then(give_up(&OutgoingWebhook::default(), SwitchedOff::Gone)), []);
        let on = Change { is_active: Some(true), ..Change::default() };
        assert_eq!(then(update(&off, &on)), [OutgoingWebhookEvent::SwitchedOn]);
    }

    #[test]
    fn what_does_not_exist_can_not_be_changed() {
        let none = OutgoingWebhook::default();
        for decided in [update(&none, &Change::default()), delete(&none)] {
            assert_eq!(decided.unwrap_err().code, "not_found");
        }
    }
}
