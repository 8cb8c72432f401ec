//! Decisions about deliveries to outgoing webhooks.

use chrono::{DateTime, Utc};
use domain::refusal::Refusal;
use domain::webhook_delivery::{Attempt, DeliveryStatus, Queued, WebhookDelivery, WebhookDeliveryEvent};
use uuid::Uuid;

use crate::ids::named_id;
use crate::store::Decision;

type Decided = Result<Decision<WebhookDeliveryEvent>, Refusal>;

/// What is to be recorded about a delivery that was worked on.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Succeeded(Attempt),
    /// Without a time there is no further attempt.
    Failed {
        attempt: Attempt,
        next_at: Option<DateTime<Utc>>,
    },
    Dropped {
        reason: String,
    },
}

/// The delivery of an event to a webhook: one for each pair.
#[must_use]
pub fn id_of(webhook_id: Uuid, event_id: Uuid) -> Uuid {
    named_id(webhook_id, &format!("delivery {event_id}"))
}

/// # Errors
/// None: a delivery that exists is the same event once more.
pub fn queue(state: &WebhookDelivery, queued: &Queued) -> Decided {
    if state.queued.is_some() {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(WebhookDeliveryEvent::Queued(Box::new(queued.clone()))))
}

/// Records what was done. A delivery that is settled stays so.
///
/// # Errors
/// When there is no such delivery.
pub fn conclude(state: &WebhookDelivery, outcome: &Outcome) -> Decided {
    let queued = state.queued.as_ref().ok_or_else(|| Refusal::not_found("webhook delivery"))?;
    if state.status != DeliveryStatus::Pending {
        return Ok(Decision::nothing());
    }
    let webhook_id = queued.webhook_id;
    Ok(Decision::one(match outcome.clone() {
        Outcome::Succeeded(attempt) => WebhookDeliveryEvent::Succeeded { webhook_id, attempt },
        Outcome::Failed { attempt, next_at: Some(next_at) } => {
            WebhookDeliveryEvent::AttemptFailed { webhook_id, attempt, next_at }
        }
        Outcome::Failed { attempt, next_at: None } => WebhookDeliveryEvent::Failed { webhook_id, attempt },
        Outcome::Dropped { reason } => WebhookDeliveryEvent::Dropped { webhook_id, reason },
    }))
}

#[cfg(test)]
mod tests {
    use domain::aggregate::Aggregate;
    use domain::event::Context;
    use domain::personal::Personal;

    use super::*;

    fn queued() -> Queued {
        Queued {
            webhook_id: Uuid::from_u128(1),
            event_type: "contact.created".to_owned(),
            source_event_id: Some(Uuid::from_u128(2)),
            contact_id: Some(Uuid::from_u128(3)),
            body: Personal::new(Uuid::from_u128(3), "{}".to_owned()),
            max_attempts: 8,
        }
    }

    fn attempt(number: u32) -> Attempt {
        Attempt { number, http_status: Some(503), response: None, error: None, duration_ms: 1 }
    }

    fn after(state: &WebhookDelivery, decided: Decided) -> WebhookDelivery {
        let mut state = state.clone();
        for event in decided.unwrap().events {
            state.evolve(&event, Context { stream_id: Uuid::nil(), version: 1, at: DateTime::UNIX_EPOCH });
        }
        state
    }

    fn given() -> WebhookDelivery {
        after(&WebhookDelivery::default(), queue(&WebhookDelivery::default(), &queued()))
    }

    #[test]
    fn one_event_is_one_delivery_to_each_webhook() {
        let [a, b, event] = [1, 2, 3].map(Uuid::from_u128);
        assert_eq!(id_of(a, event), id_of(a, event));
        assert_ne!(id_of(a, event), id_of(b, event));
        assert!(queue(&given(), &queued()).unwrap().is_nothing());
    }

    #[test]
    fn a_failed_attempt_leaves_it_pending_and_the_last_one_settles_it() {
        let next_at = Some(DateTime::UNIX_EPOCH);
        let again = after(&given(), conclude(&given(), &Outcome::Failed { attempt: attempt(1), next_at }));
        assert_eq!((again.status, again.attempts), (DeliveryStatus::Pending, 1));
        let last = Outcome::Failed { attempt: attempt(2), next_at: None };
        let failed = after(&again, conclude(&again, &last));
        assert_eq!((failed.status, failed.attempts), (DeliveryStatus::Failed, 2));
    }

    #[test]
    fn what_is_settled_stays_settled() {
        let done = after(&given(), conclude(&given(), &Outcome::Succeeded(attempt(1))));
        assert_eq!(done.status, DeliveryStatus::Success);
        assert!(conclude(&done, &Outcome::Dropped { reason: "late".to_owned() }).unwrap().is_nothing());
        let dropped = after(&given(), conclude(&given(), &Outcome::Dropped { reason: "off".to_owned() }));
        assert_eq!((dropped.status, dropped.attempts), (DeliveryStatus::Failed, 0));
        let unknown = conclude(&WebhookDelivery::default(), &Outcome::Succeeded(attempt(1)));
        assert_eq!(unknown.unwrap_err().code, "not_found");
    }
}
