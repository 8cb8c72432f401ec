use std::sync::Arc;

use domain::event::{Actor, EventBody, Metadata, Recorded};
use domain::outgoing_webhook::OutgoingWebhookEvent;

use super::*;

const WEBHOOK: Uuid = Uuid::from_u128(1);
const DELIVERY: Uuid = Uuid::from_u128(2);

fn event(stream_type: &str, stream_id: Uuid, seconds: i64, (event_type, body): (String, Value)) -> Event {
    Arc::new(Recorded {
        log_id: 1,
        position: seconds,
        tenant_id: Uuid::from_u128(9),
        stream_type: stream_type.to_owned(),
        stream_id,
        version: seconds,
        event_type,
        schema_version: 1,
        event_id: Uuid::from_u128(3),
        command_id: Uuid::from_u128(4),
        metadata: Metadata::new(Actor::system(), Uuid::from_u128(5)),
        recorded_at: at(seconds),
        body,
    })
}

fn delivery(seconds: i64, body: &WebhookDeliveryEvent) -> Event {
    event(WebhookDelivery::STREAM, DELIVERY, seconds, body.encode())
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn queued() -> WebhookDeliveryEvent {
    WebhookDeliveryEvent::Queued(Box::new(Queued {
        webhook_id: WEBHOOK,
        event_type: "contact.created".to_owned(),
        source_event_id: None,
        contact_id: Some(Uuid::from_u128(6)),
        body: Personal::new(Uuid::from_u128(6), r#"{"a":1}"#.to_owned()),
        max_attempts: 8,
    }))
}

fn attempt(number: u32, http_status: u16) -> Attempt {
    let response = Some(Personal::new(Uuid::from_u128(6), "oh".to_owned()));
    Attempt { number, http_status: Some(http_status), response, error: None, duration_ms: 3 }
}

fn failed(number: u32) -> WebhookDeliveryEvent {
    WebhookDeliveryEvent::AttemptFailed {
        webhook_id: WEBHOOK,
        attempt: attempt(number, 503),
        next_at: at(99),
    }
}

fn fold<F: Fold>(events: &[Event]) -> Option<F::Row> {
    events.iter().fold(None, |row, event| match F::keys(event).first() {
        Some(key) => F::apply(key, row, event).unwrap(),
        None => row,
    })
}

#[test]
fn a_delivery_shows_its_last_attempt_and_when_the_next_one_is() {
    let row = fold::<Deliveries>(&[delivery(1, &queued()), delivery(2, &failed(1))]).unwrap();
    assert_eq!((row.status, row.attempt, row.http_status), (DeliveryStatus::Pending, 1, Some(503)));
    assert_eq!((row.next_attempt_at, row.completed_at), (Some(at(99)), None));
    assert_eq!((row.payload, row.response_body.as_deref()), (Some(json!({ "a": 1 })), Some("oh")));
}

#[test]
fn a_settled_delivery_has_an_end_and_nothing_ahead() {
    let succeeded = WebhookDeliveryEvent::Succeeded { webhook_id: WEBHOOK, attempt: attempt(2, 204) };
    let events = [delivery(1, &queued()), delivery(2, &failed(1)), delivery(3, &succeeded)];
    let row = fold::<Deliveries>(&events).unwrap();
    assert_eq!(
        (row.status, row.next_attempt_at, row.completed_at),
        (DeliveryStatus::Success, None, Some(at(3)))
    );
    let dropped = WebhookDeliveryEvent::Dropped { webhook_id: WEBHOOK, reason: "off".to_owned() };
    let row = fold::<Deliveries>(&[delivery(1, &queued()), delivery(2, &dropped)]).unwrap();
    assert_eq!(
        (row.status, row.attempt, row.error_message.as_deref()),
        (DeliveryStatus::Failed, 0, Some("off"))
    );
}

#[test]
fn trimming_removes_the_deliveries_that_it_names() {
    let trimmed =
        OutgoingWebhookEvent::LogTrimmed { deliveries: vec![DELIVERY, Uuid::from_u128(7)] }.encode();
    let trimmed = event(OutgoingWebhook::STREAM, WEBHOOK, 3, trimmed);
    let keys = Deliveries::keys(&trimmed);
    assert_eq!(keys, [DELIVERY, Uuid::from_u128(7)].map(|id| vec![json!(trimmed.tenant_id), json!(id)]));
    assert_eq!(keys[0], Deliveries::keys(&delivery(1, &queued()))[0]);
    assert!(Health::keys(&trimmed).is_empty());
    let row = fold::<Deliveries>(&[delivery(1, &queued())]);
    assert_eq!(Deliveries::apply(&keys[0], row, &trimmed).unwrap(), None);
    assert_eq!(Deliveries::apply(&keys[1], None, &trimmed).unwrap(), None, "gone already");
}

#[test]
fn an_attempt_at_nothing_is_refused() {
    let orphan = delivery(2, &failed(1));
    let key = Deliveries::keys(&orphan).remove(0);
    assert!(Deliveries::apply(&key, None, &orphan).is_err());
}

#[test]
fn failures_are_counted_until_a_success_or_until_it_is_switched_on_again() {
    let succeeded = WebhookDeliveryEvent::Succeeded { webhook_id: WEBHOOK, attempt: attempt(1, 200) };
    let switched_on = OutgoingWebhookEvent::SwitchedOn.encode();
    let mut events = vec![delivery(1, &queued()), delivery(2, &failed(1)), delivery(3, &failed(2))];
    let row = fold::<Health>(&events).unwrap();
    assert_eq!((row.consecutive_failures, row.failing_since), (2, Some(at(2))));
    assert_eq!((row.last_triggered_at, row.last_success_at), (Some(at(1)), None));
    events.push(event(OutgoingWebhook::STREAM, WEBHOOK, 4, switched_on));
    let row = fold::<Health>(&events).unwrap();
    assert_eq!((row.consecutive_failures, row.failing_since), (0, None));
    events.extend([delivery(5, &failed(3)), delivery(6, &succeeded)]);
    let row = fold::<Health>(&events).unwrap();
    assert_eq!((row.consecutive_failures, row.failing_since, row.last_success_at), (0, None, Some(at(6))));
}
