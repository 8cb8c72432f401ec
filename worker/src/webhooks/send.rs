//! One attempt at one delivery: sign, post, record. What is recorded is fenced by the delivery's version.

use chrono::{DateTime, TimeDelta, Utc};
use commands::outgoing_webhook::{give_up, secret};
use commands::store::Origin;
use commands::webhook_delivery::{Outcome, conclude};
use commands::{CommandError, ids};
use domain::aggregate::Aggregate;
use domain::event::{Actor, Metadata};
use domain::outgoing_webhook::{GIVEN_UP_AFTER, OutgoingWebhook, SwitchedOff};
use domain::personal::Personal;
use domain::refusal::Reason;
use domain::webhook_delivery::{Attempt, DeliveryStatus, Queued, TEST, WebhookDelivery, schedule};
use projections::webhooks::query;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use uuid::Uuid;

use super::Sender;
use crate::outbound::{Received, Unanswered};

/// The receiver does not want to be told any more.
const GONE: u16 = 410;

const ERASED: &str = "The contact was erased before this was delivered.";
const SWITCHED_OFF: &str = "The webhook was switched off before this was delivered.";
const DELETED: &str = "The webhook was deleted before this was delivered.";

/// A delivery as an attempt finds it.
struct Found {
    tenant_id: Uuid,
    delivery_id: Uuid,
    version: i64,
    attempts: u32,
    queued: Queued,
}

impl Sender {
    /// Makes the attempt that is due; answers the last position written about the delivery, 0 if there was nothing to do.
    pub(super) async fn work(&self, tenant_id: Uuid, delivery_id: Uuid) -> Result<i64, CommandError> {
        let Some(found) = self.find(tenant_id, delivery_id).await? else { return Ok(0) };
        let webhook_id = found.queued.webhook_id;
        let webhook: OutgoingWebhook = self.store.load(tenant_id, webhook_id).await?;
        let outcome = match undeliverable(&webhook, &found.queued) {
            Some(reason) => Outcome::Dropped { reason: reason.to_owned() },
            None => self.attempt(&found, &webhook).await?,
        };
        let position = match self.record(&found, &outcome).await {
            // Another worker has the delivery; what it records counts.
            Err(CommandError::Refused(refusal)) if refusal.reason == Reason::Stale => return Ok(0),
            recorded => recorded?,
        };
        if let Outcome::Failed { attempt, .. } = &outcome {
            self.consider_giving_up(&found, attempt).await?;
        }
        Ok(position)
    }

    async fn find(&self, tenant_id: Uuid, delivery_id: Uuid) -> Result<Option<Found>, CommandError> {
        // Not from a cache: the body must be gone with its contact.
        let WebhookDelivery { queued, status, attempts, version } =
            self.store.load(tenant_id, delivery_id).await?;
        let queued = queued.filter(|_| status == DeliveryStatus::Pending);
        Ok(queued.map(|queued| Found { tenant_id, delivery_id, version, attempts, queued }))
    }

    async fn attempt(&self, found: &Found, webhook: &OutgoingWebhook) -> Result<Outcome, CommandError> {
        let Some(body) = found.queued.body.known() else {
            return Ok(Outcome::Dropped { reason: ERASED.to_owned() });
        };
        let now = self.store.clock().now();
        let mut signatures = Vec::new();
        for sealed in webhook.secrets_at(now) {
            let clear = self.store.vault().open_secret(found.tenant_id, sealed).await?;
            signatures.push(secret::sign(&clear, found.delivery_id, now, body));
        }
        let headers = headers(found.delivery_id, now, &signatures.join(" "))?;
        let begun = Instant::now();
        let answer = self.outbound.post(&webhook.url, headers, body.clone().into_bytes()).await;
        let duration_ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        Ok(self.judge(found, answer, duration_ms))
    }

    fn judge(&self, found: &Found, answer: Result<Received, Unanswered>, duration_ms: i64) -> Outcome {
        let number = found.attempts + 1;
        let now = self.store.clock().now();
        let (answer, error) = match answer {
            Ok(answer) if (200..300).contains(&answer.status) => (Some(answer), None),
            Ok(answer) => {
                let error = format!("The receiver answered {}.", answer.status);
                (Some(answer), Some(error))
            }
            Err(unanswered) => (None, Some(unanswered.to_string())),
        };
        let subject = found.queued.contact_id.unwrap_or(found.queued.webhook_id);
        let attempt = Attempt {
            number,
            http_status: answer.as_ref().map(|answer| answer.status),
            response: answer.as_ref().map(|answer| Personal::new(subject, answer.body.clone())),
            error,
            duration_ms,
        };
        if attempt.error.is_none() {
            return Outcome::Succeeded(attempt);
        }
        if number >= found.queued.max_attempts || attempt.http_status == Some(GONE) {
            return Outcome::Failed { attempt, next_at: None };
        }
        let retry_after = answer.and_then(|answer| answer.retry_after);
        let asked = retry_after.and_then(|text| schedule::asked(&text, now));
        let wait = schedule::wait_after(number, rand::random::<f64>(), self.scale, asked);
        let wait = wait.and_then(|wait| TimeDelta::from_std(wait).ok());
        Outcome::Failed { attempt, next_at: wait.map(|wait| now + wait) }
    }

    async fn record(&self, found: &Found, outcome: &Outcome) -> Result<i64, CommandError> {
        let name = match outcome {
            Outcome::Succeeded(_) => "success",
            Outcome::Failed { next_at: Some(_), .. } => "retry",
            Outcome::Failed { .. } => "failure",
            Outcome::Dropped { .. } => "dropped",
        };
        metrics::counter!("webhook_attempts_total", "outcome" => name).increment(1);
        let recorded = self.append(found, outcome).await;
        match recorded {
            // The key for the answer is gone: the contact was erased meanwhile.
            Err(CommandError::Failed(error)) => {
                tracing::info!(delivery_id = %found.delivery_id, error, "an answer could not be sealed and is not kept");
                self.append(found, &without_answer(outcome.clone())).await
            }
            recorded => recorded,
        }
    }

    async fn append(&self, found: &Found, outcome: &Outcome) -> Result<i64, CommandError> {
        let origin = Origin { if_version: Some(found.version), ..found.origin("attempt") };
        let concluded = |state: &WebhookDelivery| conclude(state, outcome);
        Ok(self.store.execute(&origin, found.delivery_id, concluded).await?.position)
    }

    /// Switches the webhook off when its receiver is gone, or has failed for too long.
    async fn consider_giving_up(&self, found: &Found, attempt: &Attempt) -> Result<(), CommandError> {
        let webhook_id = found.queued.webhook_id;
        let reason = if attempt.http_status == Some(GONE) {
            SwitchedOff::Gone
        } else {
            let mut db = self.store.pool().acquire().await?;
            let health = query::health_of(&mut db, found.tenant_id, webhook_id).await?;
            let failing_since = health.and_then(|health| health.failing_since);
            let now = self.store.clock().now();
            if failing_since.is_none_or(|since| now - since < GIVEN_UP_AFTER) {
                return Ok(());
            }
            SwitchedOff::NoSuccess
        };
        let origin = found.origin("give up");
        self.store.execute::<OutgoingWebhook>(&origin, webhook_id, |state| give_up(state, reason)).await?;
        Ok(())
    }
}

impl Found {
    fn origin(&self, name: &str) -> Origin {
        let metadata = Metadata {
            causation_id: self.queued.source_event_id,
            ..Metadata::new(Actor::system(), self.delivery_id)
        };
        let command_id = ids::named_id(self.delivery_id, &format!("{name} {}", self.attempts + 1));
        Origin { command_id, ..Origin::new(self.tenant_id, metadata) }
    }
}

/// A test is for a webhook that is off, too.
fn undeliverable(webhook: &OutgoingWebhook, queued: &Queued) -> Option<&'static str> {
    if !webhook.exists() {
        Some(DELETED)
    } else if !webhook.is_active && queued.event_type != TEST {
        Some(SWITCHED_OFF)
    } else {
        None
    }
}

fn headers(id: Uuid, at: DateTime<Utc>, signatures: &str) -> Result<HeaderMap, CommandError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in [
        ("webhook-id", id.to_string()),
        ("webhook-timestamp", at.timestamp().to_string()),
        ("webhook-signature", signatures.to_owned()),
    ] {
        let value = HeaderValue::try_from(value).map_err(CommandError::failed)?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(headers)
}

fn without_answer(outcome: Outcome) -> Outcome {
    let silent = |attempt: Attempt| Attempt { response: None, ..attempt };
    match outcome {
        Outcome::Succeeded(attempt) => Outcome::Succeeded(silent(attempt)),
        Outcome::Failed { attempt, next_at } => Outcome::Failed { attempt: silent(attempt), next_at },
        Outcome::Dropped { reason } => Outcome::Dropped { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(event_type: &str) -> Queued {
        Queued {
            webhook_id: Uuid::nil(),
            event_type: event_type.to_owned(),
            source_event_id: None,
            contact_id: None,
            body: Personal::Erased,
            max_attempts: 8,
        }
    }

    #[test]
    fn nothing_goes_to_a_webhook_that_is_off_but_a_test() {
        let on = OutgoingWebhook {
            is_active: true,
            created_at: Some(DateTime::UNIX_EPOCH),
            ..OutgoingWebhook::default()
        };
        let off = OutgoingWebhook { is_active: false, ..on.clone() };
        assert_eq!(undeliverable(&on, &queued("message.sent")), None);
        assert_eq!(undeliverable(&off, &queued("message.sent")), Some(SWITCHED_OFF));
        assert_eq!(undeliverable(&off, &queued(TEST)), None);
        assert_eq!(undeliverable(&OutgoingWebhook::default(), &queued(TEST)), Some(DELETED));
    }
}
