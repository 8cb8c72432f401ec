//! Deliveries to outgoing webhooks, and how each webhook fares.

use chrono::{DateTime, Utc};
use domain::aggregate::Aggregate;
use domain::outgoing_webhook::OutgoingWebhook;
use domain::personal::Personal;
use domain::webhook_delivery::{Attempt, DeliveryStatus, Queued, WebhookDelivery, WebhookDeliveryEvent};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::event::{Event, FoldError, decode};
use crate::projection::Projection;
use crate::row;
use crate::table::{Fold, Key, Purge, table};

pub mod query;

/// The name under which its progress is told.
pub const NAME: &str = "webhooks";
const LOG_TRIMMED: &str = "outgoing_webhook.log_trimmed";

row! {
    DeliveryRow in "webhook_deliveries" key (tenant_id, id) {
        tenant_id: Uuid,
        id: Uuid,
        log_id: i16,
        webhook_id: Uuid,
        contact_id: Option<Uuid>,
        event_type: String,
        payload: Option<Value>,
        status: DeliveryStatus,
        attempt: i64,
        max_attempts: i64,
        http_status: Option<i64>,
        response_body: Option<String>,
        error_message: Option<String>,
        next_attempt_at: Option<DateTime<Utc>>,
        completed_at: Option<DateTime<Utc>>,
        created_at: DateTime<Utc>,
    }
}

row! {
    #[derive(Default)]
    HealthRow in "webhook_health" key (tenant_id, webhook_id) {
        tenant_id: Uuid,
        webhook_id: Uuid,
        consecutive_failures: i64,
        failing_since: Option<DateTime<Utc>>,
        last_triggered_at: Option<DateTime<Utc>>,
        last_success_at: Option<DateTime<Utc>>,
    }
}

#[must_use]
pub fn projection() -> Projection {
    Projection::read_model(NAME, vec![table::<Deliveries>(), table::<Health>()])
}

struct Deliveries;

impl Fold for Deliveries {
    type Row = DeliveryRow;

    fn keys(event: &Event) -> Vec<Key> {
        match event.event_type.as_str() {
            LOG_TRIMMED => {
                let deliveries = event.body.get("deliveries").and_then(Value::as_array);
                deliveries.into_iter().flatten().map(|id| vec![json!(event.tenant_id), id.clone()]).collect()
            }
            _ if event.stream_type == WebhookDelivery::STREAM => {
                vec![vec![json!(event.tenant_id), json!(event.stream_id)]]
            }
            _ => Vec::new(),
        }
    }

    fn apply(_: &Key, row: Option<DeliveryRow>, event: &Event) -> Result<Option<DeliveryRow>, FoldError> {
        if event.event_type == LOG_TRIMMED {
            return Ok(None);
        }
        let body: WebhookDeliveryEvent = decode(event)?;
        if let WebhookDeliveryEvent::Queued(queued) = body {
            return queued_row(event, *queued).map(Some);
        }
        let row = row.ok_or_else(|| {
            FoldError::Inconsistent(format!("webhook delivery {} was never queued", event.stream_id))
        })?;
        let at = event.recorded_at;
        Ok(Some(match body {
            WebhookDeliveryEvent::Succeeded { attempt, .. } => {
                settled(tried(row, attempt), DeliveryStatus::Success, at)
            }
            WebhookDeliveryEvent::AttemptFailed { attempt, next_at, .. } => {
                DeliveryRow { next_attempt_at: Some(next_at), ..tried(row, attempt) }
            }
            WebhookDeliveryEvent::Failed { attempt, .. } => {
                settled(tried(row, attempt), DeliveryStatus::Failed, at)
            }
            WebhookDeliveryEvent::Dropped { reason, .. } => {
                settled(DeliveryRow { error_message: Some(reason), ..row }, DeliveryStatus::Failed, at)
            }
            WebhookDeliveryEvent::Queued(_) => row,
        }))
    }

    fn purge(event: &Event) -> Option<Purge> {
        (event.event_type == "contact.erased").then_some(Purge::Update(
            "SET payload = NULL, response_body = NULL WHERE tenant_id = $1 AND contact_id = $2",
        ))
    }
}

fn queued_row(event: &Event, queued: Queued) -> Result<DeliveryRow, FoldError> {
    let payload = queued.body.known().map(|body| serde_json::from_str(body)).transpose()?;
    Ok(DeliveryRow {
        tenant_id: event.tenant_id,
        id: event.stream_id,
        log_id: event.log_id,
        webhook_id: queued.webhook_id,
        contact_id: queued.contact_id,
        event_type: queued.event_type,
        payload,
        status: DeliveryStatus::Pending,
        attempt: 0,
        max_attempts: queued.max_attempts.into(),
        http_status: None,
        response_body: None,
        error_message: None,
        next_attempt_at: Some(event.recorded_at),
        completed_at: None,
        created_at: event.recorded_at,
    })
}

fn tried(row: DeliveryRow, attempt: Attempt) -> DeliveryRow {
    DeliveryRow {
        attempt: attempt.number.into(),
        http_status: attempt.http_status.map(Into::into),
        response_body: attempt.response.as_ref().and_then(Personal::known).cloned(),
        error_message: attempt.error,
        ..row
    }
}

fn settled(row: DeliveryRow, status: DeliveryStatus, at: DateTime<Utc>) -> DeliveryRow {
    DeliveryRow { status, next_attempt_at: None, completed_at: Some(at), ..row }
}

struct Health;

impl Fold for Health {
    type Row = HealthRow;

    fn keys(event: &Event) -> Vec<Key> {
        let webhook_id = match event.event_type.as_str() {
            "outgoing_webhook.switched_on" => json!(event.stream_id),
            "webhook_delivery.dropped" => return Vec::new(),
            _ if event.stream_type == WebhookDelivery::STREAM => {
                event.body.get("webhook_id").cloned().unwrap_or_default()
            }
            _ => return Vec::new(),
        };
        vec![vec![json!(event.tenant_id), webhook_id]]
    }

    fn apply(key: &Key, row: Option<HealthRow>, event: &Event) -> Result<Option<HealthRow>, FoldError> {
        let row = match row {
            Some(row) => row,
            None => HealthRow {
                tenant_id: event.tenant_id,
                webhook_id: serde_json::from_value(key.get(1).cloned().unwrap_or_default())?,
                ..HealthRow::default()
            },
        };
        let at = event.recorded_at;
        // Somebody has switched it on again: it gets all of its time again.
        if event.stream_type == OutgoingWebhook::STREAM {
            return Ok(Some(HealthRow { consecutive_failures: 0, failing_since: None, ..row }));
        }
        Ok(Some(match decode(event)? {
            WebhookDeliveryEvent::Queued(_) => HealthRow { last_triggered_at: Some(at), ..row },
            WebhookDeliveryEvent::Succeeded { .. } => {
                HealthRow { consecutive_failures: 0, failing_since: None, last_success_at: Some(at), ..row }
            }
            WebhookDeliveryEvent::AttemptFailed { .. } | WebhookDeliveryEvent::Failed { .. } => HealthRow {
                consecutive_failures: row.consecutive_failures + 1,
                failing_since: row.failing_since.or(Some(at)),
                ..row
            },
            WebhookDeliveryEvent::Dropped { .. } => row,
        }))
    }
}

#[cfg(test)]
mod tests;
