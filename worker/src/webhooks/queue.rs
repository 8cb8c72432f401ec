//! Which deliveries are due, and whose they are: found in the read model, claimed by a row that expires.

use std::time::Duration;

use commands::{CommandError, Store};
use uuid::Uuid;

pub(super) use crate::automation::queue::unsynced;

/// A process that does not renew for this long has died in the middle of its deliveries.
pub(super) const LEASE: &str = "10 seconds";
/// Deliveries that one webhook gets at once: a slow receiver must not hold up the others.
const AT_ONCE: i64 = 8;
/// How long a worked-on delivery stays claimed until the read model knows what came of it.
pub(super) const SETTLE: Duration = Duration::from_secs(2);
/// Claims that nobody gave back are of no use long after they expired.
const EXPIRED_KEPT: &str = "1 hour";

#[derive(Clone)]
pub(super) struct Queue {
    pub store: Store,
    pub log_id: i16,
    /// This process.
    pub owner: Uuid,
}

impl Queue {
    /// Claims the next due deliveries; answers their tenants and ids.
    pub async fn claim(&self, limit: usize) -> Result<Vec<(Uuid, Uuid)>, CommandError> {
        if limit == 0 || !self.is_anything_due().await? {
            return Ok(Vec::new());
        }
        let mut tx = unsynced(self.store.pool()).await?;
        let claimed = sqlx::query_as(
            "INSERT INTO webhook_claims AS c (log_id, delivery_id, tenant_id, webhook_id, owner, lease_until)
             SELECT $1, due.id, due.tenant_id, due.webhook_id, $2, now() + $3::interval
             FROM webhook_subscriptions s
             CROSS JOIN LATERAL (
                 SELECT d.id, d.tenant_id, d.webhook_id, d.next_attempt_at
                 FROM read.webhook_deliveries d
                 LEFT JOIN webhook_claims held ON held.log_id = $1 AND held.delivery_id = d.id
                 WHERE d.tenant_id = s.tenant_id AND d.webhook_id = s.webhook_id AND d.status = 'pending'
                     AND d.next_attempt_at <= $4 AND (held.delivery_id IS NULL OR held.lease_until < now())
                 ORDER BY d.next_attempt_at, d.id
                 LIMIT greatest(0, $5 - (SELECT count(*) FROM webhook_claims busy
                     WHERE busy.log_id = $1 AND busy.webhook_id = s.webhook_id AND busy.lease_until >= now()))) due
             WHERE s.log_id = $1 ORDER BY due.next_attempt_at, due.id LIMIT $6
             ON CONFLICT (log_id, delivery_id) DO UPDATE SET owner = $2, lease_until = now() + $3::interval
             WHERE c.lease_until < now()
             RETURNING tenant_id, delivery_id",
        )
        .bind(self.log_id)
        .bind(self.owner)
        .bind(LEASE)
        .bind(self.store.clock().now())
        .bind(AT_ONCE)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(claimed)
    }

    /// One look at an index, which is all that an idle log costs.
    async fn is_anything_due(&self) -> Result<bool, CommandError> {
        Ok(sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM read.webhook_deliveries
                 WHERE log_id = $1 AND status = 'pending' AND next_attempt_at <= $2)",
        )
        .bind(self.log_id)
        .bind(self.store.clock().now())
        .fetch_one(self.store.pool())
        .await?)
    }

    /// How long until a delivery that waits is due; nothing while none does.
    pub async fn next_due(&self) -> Result<Option<Duration>, CommandError> {
        let now = self.store.clock().now();
        let next: Option<chrono::DateTime<chrono::Utc>> = sqlx::query_scalar(
            "SELECT min(next_attempt_at) FROM read.webhook_deliveries
             WHERE log_id = $1 AND status = 'pending' AND next_attempt_at > $2",
        )
        .bind(self.log_id)
        .bind(now)
        .fetch_one(self.store.pool())
        .await?;
        Ok(next.and_then(|at| (at - now).to_std().ok()))
    }

    pub async fn renew(&self) -> Result<(), CommandError> {
        let mut tx = unsynced(self.store.pool()).await?;
        sqlx::query(
            "UPDATE webhook_claims SET lease_until = now() + $3::interval WHERE log_id = $1 AND owner = $2",
        )
        .bind(self.log_id)
        .bind(self.owner)
        .bind(LEASE)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// Gives a delivery back once the read model has what was written about it, so that it is not claimed as still due.
    pub async fn release(&self, delivery_id: Uuid, position: i64) {
        let mut progress = self.store.progress().follow(projections::webhooks::NAME, self.log_id);
        let _ = tokio::time::timeout(SETTLE, progress.wait_for(|seen| *seen >= position)).await;
        if let Err(error) = self.give_back(delivery_id).await {
            tracing::debug!(%delivery_id, %error, "a claim was not given back; it will expire");
        }
    }

    async fn give_back(&self, delivery_id: Uuid) -> Result<(), sqlx::Error> {
        let mut tx = unsynced(self.store.pool()).await?;
        sqlx::query("DELETE FROM webhook_claims WHERE log_id = $1 AND delivery_id = $2 AND owner = $3")
            .bind(self.log_id)
            .bind(delivery_id)
            .bind(self.owner)
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }
}

/// Removes claims whose holders died after the work was done; answers how many.
///
/// # Errors
/// Database errors.
pub async fn forget_old(store: &Store) -> Result<u64, CommandError> {
    let gone = sqlx::query(
        "DELETE FROM webhook_claims WHERE log_id = ANY ($1) AND lease_until < now() - $2::interval",
    )
    .bind(store.logs())
    .bind(EXPIRED_KEPT)
    .execute(store.pool())
    .await?;
    Ok(gone.rows_affected())
}
