//! What was delivered to a webhook, and delivering something to it now.

use std::time::Duration;

use chrono::{DateTime, Utc};
use commands::webhook_delivery;
use domain::outgoing_webhook::OutgoingWebhook;
use domain::personal::Personal;
use domain::webhook_delivery::{DeliveryStatus, Queued, TEST, WebhookDelivery as State};
use garde::Validate;
use projections::webhooks::{self, DeliveryRow, query};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::Ctx;
use crate::http::{Answer, Json, List, Path, Problem, Query};

/// Deliveries in one answer, unless the client says how many.
const DEFAULT_LIMIT: i64 = 50;
/// Deliveries in one answer at most.
const MAX_LIMIT: i64 = 100;
/// How long the answer to a test waits for the receiver: a little longer than the sender does.
const TEST_PATIENCE: Duration = Duration::from_secs(20);
/// How often it looks, should it not be told.
const POLL: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum DeliveryStatusName {
    Pending,
    Success,
    Failed,
}

impl From<DeliveryStatus> for DeliveryStatusName {
    fn from(status: DeliveryStatus) -> Self {
        match status {
            DeliveryStatus::Pending => Self::Pending,
            DeliveryStatus::Success => Self::Success,
            DeliveryStatus::Failed => Self::Failed,
        }
    }
}

impl From<DeliveryStatusName> for DeliveryStatus {
    fn from(name: DeliveryStatusName) -> Self {
        match name {
            DeliveryStatusName::Pending => Self::Pending,
            DeliveryStatusName::Success => Self::Success,
            DeliveryStatusName::Failed => Self::Failed,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct WebhookDelivery {
    /// Also the `webhook-id` header of every attempt.
    id: Uuid,
    webhook_id: Uuid,
    event_type: String,
    /// The body as it is sent; empty once the contact is erased.
    #[schema(value_type = Object)]
    payload: Value,
    #[schema(inline)]
    status: DeliveryStatusName,
    /// Attempts so far.
    attempt: i64,
    max_attempts: i64,
    created_at: DateTime<Utc>,
    /// Of the last attempt, as the two that follow.
    http_status: Option<i64>,
    /// At most the first 4096 bytes.
    response_body: Option<String>,
    error_message: Option<String>,
    next_retry_at: Option<DateTime<Utc>>,
    completed_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize, IntoParams, Validate)]
pub(super) struct ListDeliveries {
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 100, default = 50)]
    #[garde(range(min = 1, max = MAX_LIMIT))]
    limit: i64,
    #[param(inline)]
    #[garde(skip)]
    status: Option<DeliveryStatusName>,
}

const fn default_limit() -> i64 {
    DEFAULT_LIMIT
}

pub(super) async fn list(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(wanted): Query<ListDeliveries>,
) -> Answer<List<WebhookDelivery>> {
    ctx.document::<OutgoingWebhook>(id).await?;
    let status = wanted.status.map(DeliveryStatus::from);
    let mut db = ctx.reader().await?;
    let rows = query::deliveries(&mut db, ctx.tenant_id(), id, status, wanted.limit).await?;
    Ok(List(rows.into_iter().map(shown).collect()))
}

/// Queues a delivery like any other, so that a test proves what it seems to, and waits for its one attempt.
pub(super) async fn test(ctx: Ctx, Path(webhook_id): Path<Uuid>) -> Answer<Json<WebhookDelivery>> {
    ctx.document::<OutgoingWebhook>(webhook_id).await?;
    let id = ctx.new_id(1);
    let body = json!({
        "id": id,
        "type": TEST,
        "timestamp": ctx.app.store().clock().now(),
        "data": { "webhook_id": webhook_id, "message": "This is a test." },
    });
    let queued = Queued {
        webhook_id,
        event_type: TEST.to_owned(),
        source_event_id: None,
        contact_id: None,
        body: Personal::new(webhook_id, domain::canonical::to_string(&body)),
        max_attempts: 1,
    };
    let done = ctx.execute::<State>(id, |state| webhook_delivery::queue(state, &queued)).await?;
    Ok(Json(shown(settled(&ctx, done.log_id, id).await?)))
}

/// The delivery once its fate is known; as it is when that takes too long.
async fn settled(ctx: &Ctx, log_id: i16, id: Uuid) -> Answer<DeliveryRow> {
    let mut progress = ctx.app.store().progress().follow(webhooks::NAME, log_id);
    let deadline = Instant::now() + TEST_PATIENCE;
    loop {
        progress.mark_unchanged();
        let row = query::delivery(&mut *ctx.reader().await?, ctx.tenant_id(), id).await?;
        let row = row.ok_or_else(|| Problem::not_found("webhook delivery"))?;
        if row.status != DeliveryStatus::Pending || Instant::now() >= deadline {
            return Ok(row);
        }
        let _ = tokio::time::timeout(POLL, progress.changed()).await;
    }
}

fn shown(row: DeliveryRow) -> WebhookDelivery {
    WebhookDelivery {
        id: row.id,
        webhook_id: row.webhook_id,
        event_type: row.event_type,
        payload: row.payload.unwrap_or_else(|| json!({})),
        status: row.status.into(),
        attempt: row.attempt,
        max_attempts: row.max_attempts,
        created_at: row.created_at,
        http_status: row.http_status,
        response_body: row.response_body,
        error_message: row.error_message,
        next_retry_at: row.next_attempt_at,
        completed_at: row.completed_at,
    }
}
