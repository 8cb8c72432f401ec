//! What the API and the worker ask about deliveries and webhooks. All functions fail on database errors, or a row that
//! does not decode.

use domain::webhook_delivery::DeliveryStatus;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::{DeliveryRow, HealthRow};

/// Deliveries of a webhook, the newest first.
///
/// # Errors
/// As all functions here.
pub async fn deliveries(
    db: &mut PgConnection,
    tenant_id: Uuid,
    webhook_id: Uuid,
    status: Option<DeliveryStatus>,
    limit: i64,
) -> Result<Vec<DeliveryRow>, sqlx::Error> {
    let rows: Vec<Json<DeliveryRow>> = match status {
        None => {
            let sql = "SELECT to_jsonb(d) FROM read.webhook_deliveries d
                 WHERE tenant_id = $1 AND webhook_id = $2 ORDER BY created_at DESC, id DESC LIMIT $3";
            sqlx::query_scalar(sql).bind(tenant_id).bind(webhook_id).bind(limit).fetch_all(db).await?
        }
        Some(status) => {
            let sql = "SELECT to_jsonb(d) FROM read.webhook_deliveries d
                 WHERE tenant_id = $1 AND webhook_id = $2 AND status = $4 ORDER BY created_at DESC, id DESC LIMIT $3";
            let query = sqlx::query_scalar(sql).bind(tenant_id).bind(webhook_id).bind(limit);
            query.bind(status.as_str()).fetch_all(db).await?
        }
    };
    Ok(rows.into_iter().map(|Json(row)| row).collect())
}

/// # Errors
/// As all functions here.
pub async fn delivery(
    db: &mut PgConnection,
    tenant_id: Uuid,
    id: Uuid,
) -> Result<Option<DeliveryRow>, sqlx::Error> {
    let row: Option<Json<DeliveryRow>> = sqlx::query_scalar(
        "SELECT to_jsonb(d) FROM read.webhook_deliveries d WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tenant_id)
    .bind(id)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|Json(row)| row))
}

/// How a tenant's webhooks fare; one that was never triggered has no row.
///
/// # Errors
/// As all functions here.
pub async fn health(db: &mut PgConnection, tenant_id: Uuid) -> Result<Vec<HealthRow>, sqlx::Error> {
    let rows: Vec<Json<HealthRow>> =
        sqlx::query_scalar("SELECT to_jsonb(h) FROM read.webhook_health h WHERE tenant_id = $1")
            .bind(tenant_id)
            .fetch_all(db)
            .await?;
    Ok(rows.into_iter().map(|Json(row)| row).collect())
}

/// # Errors
/// As all functions here.
pub async fn health_of(
    db: &mut PgConnection,
    tenant_id: Uuid,
    webhook_id: Uuid,
) -> Result<Option<HealthRow>, sqlx::Error> {
    let row: Option<Json<HealthRow>> = sqlx::query_scalar(
        "SELECT to_jsonb(h) FROM read.webhook_health h WHERE tenant_id = $1 AND webhook_id = $2",
    )
    .bind(tenant_id)
    .bind(webhook_id)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|Json(row)| row))
}
