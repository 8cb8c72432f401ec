//! Which items are due, and whose they are: found in the read model, claimed by a row that expires.

use std::time::Duration;

use commands::{CommandError, Store};
use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

/// A process that does not renew for this long has died in the middle of its items.
pub(super) const LEASE: &str = "10 seconds";
/// How long a finished item stays claimed until the read model knows that it is finished.
const SETTLE: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(super) struct Queue {
    pub store: Store,
    pub log_id: i16,
    /// This process.
    pub owner: Uuid,
}

impl Queue {
    /// Claims the next due items; answers their tenants and ids. What a tenant has paused is not due, unless a person
    /// asked for just this item.
    pub async fn claim(&self, limit: usize) -> Result<Vec<(Uuid, Uuid)>, CommandError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let paused = self.paused().await?;
        let mut tx = unsynced(self.store.pool()).await?;
        let claimed = sqlx::query_as(
            "INSERT INTO automation_claims AS c (log_id, item_id, tenant_id, owner, lease_until)
             SELECT $1, due.id, due.tenant_id, $2, now() + $3::interval FROM (
                 SELECT q.id, q.tenant_id FROM read.automation_queue q
                 LEFT JOIN automation_claims held ON held.log_id = $1 AND held.item_id = q.id
                 WHERE q.log_id = $1 AND q.status IN ('pending', 'processing') AND q.available_at <= $4
                     AND (held.item_id IS NULL OR held.lease_until < now())
                     AND (q.reprocessing OR q.tenant_id <> ALL ($5))
                 ORDER BY q.available_at, q.id LIMIT $6) due
             ON CONFLICT (log_id, item_id) DO UPDATE SET owner = $2, lease_until = now() + $3::interval
             WHERE c.lease_until < now()
             RETURNING tenant_id, item_id",
        )
        .bind(self.log_id)
        .bind(self.owner)
        .bind(LEASE)
        .bind(self.store.clock().now())
        .bind(paused)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(claimed)
    }

    /// How long until an item that waits is due; nothing while none does.
    pub async fn next_due(&self) -> Result<Option<Duration>, CommandError> {
        let now = self.store.clock().now();
        let next: Option<chrono::DateTime<chrono::Utc>> = sqlx::query_scalar(
            "SELECT min(available_at) FROM read.automation_queue
             WHERE log_id = $1 AND status IN ('pending', 'processing') AND available_at > $2",
        )
        .bind(self.log_id)
        .bind(now)
        .fetch_one(self.store.pool())
        .await?;
        Ok(next.and_then(|at| (at - now).to_std().ok()))
    }

    /// Tenants of the log whose automation is paused now.
    async fn paused(&self) -> Result<Vec<Uuid>, CommandError> {
        Ok(sqlx::query_scalar(
            "SELECT d.tenant_id FROM read.documents d JOIN tenant_logs l USING (tenant_id)
             WHERE d.collection = 'automation_control' AND l.log_id = $1
                 AND (d.doc -> 'control' ->> 'is_paused')::boolean
                 AND coalesce((d.doc -> 'control' ->> 'paused_until')::timestamptz > $2, true)",
        )
        .bind(self.log_id)
        .bind(self.store.clock().now())
        .fetch_all(self.store.pool())
        .await?)
    }

    pub async fn renew(&self) -> Result<(), CommandError> {
        let mut tx = unsynced(self.store.pool()).await?;
        sqlx::query("UPDATE automation_claims SET lease_until = now() + $3::interval WHERE log_id = $1 AND owner = $2")
            .bind(self.log_id)
            .bind(self.owner)
            .bind(LEASE)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Gives an item back once the read model has what was written about it, so that it is not claimed as still due.
    pub async fn release(&self, item_id: Uuid, position: i64) {
        let mut progress = self.store.progress().follow(projections::automation::NAME, self.log_id);
        let _ = tokio::time::timeout(SETTLE, progress.wait_for(|seen| *seen >= position)).await;
        if let Err(error) = self.give_back(item_id).await {
            tracing::debug!(%item_id, %error, "a claim was not given back; it will expire");
        }
    }

    async fn give_back(&self, item_id: Uuid) -> Result<(), sqlx::Error> {
        let mut tx = unsynced(self.store.pool()).await?;
        sqlx::query("DELETE FROM automation_claims WHERE log_id = $1 AND item_id = $2 AND owner = $3")
            .bind(self.log_id)
            .bind(item_id)
            .bind(self.owner)
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }
}

/// A transaction that is not synced by itself: after a crash of the database nobody works on anything, so a lost claim
/// is a claim given back.
pub(super) async fn unsynced(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *tx).await?;
    Ok(tx)
}
