//! Which items are due, and whose they are: found in the read model, claimed by a row that expires.
//!
//! The claims are a table without a log of its own: after a crash of the database nobody works on anything, so a lost
//! claim is a claim given back.

use std::time::Duration;

use chrono::{DateTime, Utc};
use commands::store::Pool;
use commands::{CommandError, Store};
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use uuid::Uuid;

/// A process that does not renew for this long has died in the middle of its items.
const LEASE: &str = "5 seconds";
/// How long an item rests that could not even be looked at. Others go on.
const PUT_OFF: &str = "5 seconds";

/// The tenants of a log that have unfinished items, found one by one in the index instead of item by item.
const WAITING: &str = "waiting AS (
    (SELECT tenant_id FROM read.automation_queue
     WHERE log_id = $1 AND status IN ('pending', 'processing') ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT q.tenant_id FROM read.automation_queue q
            WHERE q.log_id = $1 AND q.status IN ('pending', 'processing') AND q.tenant_id > w.tenant_id
            ORDER BY q.tenant_id LIMIT 1)
    FROM waiting w WHERE w.tenant_id IS NOT NULL)";

#[derive(Clone)]
pub(super) struct Queue {
    pub store: Store,
    pub log_id: i16,
    /// This process.
    pub owner: Uuid,
}

/// An item of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Claimed {
    pub tenant_id: Uuid,
    pub item_id: Uuid,
}

impl Queue {
    /// Claims the next due items, and gives back those that are finished. Tenants take turns, so that one with a long
    /// queue does not make the others wait. What a tenant has paused is not due, unless a person asked for just this
    /// item a moment ago.
    pub async fn claim(&self, limit: usize, finished: &[Uuid]) -> Result<Vec<Claimed>, CommandError> {
        let sql = format!(
            "WITH RECURSIVE {WAITING}, finished AS (
                 DELETE FROM automation_claims WHERE log_id = $1 AND owner = $2 AND item_id = ANY ($6)),
             paused AS MATERIALIZED (
                 SELECT tenant_id FROM read.documents
                 WHERE collection = 'automation_control' AND (doc -> 'control' ->> 'is_paused')::boolean
                     AND coalesce((doc -> 'control' ->> 'paused_until')::timestamptz > $4, true)),
             due AS (
                 SELECT q.* FROM waiting w CROSS JOIN LATERAL (
                     SELECT id, tenant_id, available_at, row_number() OVER (ORDER BY available_at, id) AS turn
                     FROM read.automation_queue q
                     WHERE q.log_id = $1 AND q.tenant_id = w.tenant_id AND q.status IN ('pending', 'processing')
                         AND q.available_at <= $4
                         AND NOT EXISTS (SELECT FROM automation_claims held
                             WHERE held.log_id = $1 AND held.item_id = q.id AND held.lease_until >= now())
                     ORDER BY available_at, id LIMIT $5) q
                 WHERE w.tenant_id NOT IN (SELECT tenant_id FROM paused)
                 UNION ALL
                 SELECT id, tenant_id, available_at, 1 FROM read.automation_queue q
                 WHERE q.log_id = $1 AND q.status = 'pending' AND q.reprocessing AND q.attempts = 0
                     AND q.tenant_id IN (SELECT tenant_id FROM paused)
                     AND NOT EXISTS (SELECT FROM automation_claims held
                         WHERE held.log_id = $1 AND held.item_id = q.id AND held.lease_until >= now()))
             INSERT INTO automation_claims AS c (log_id, item_id, tenant_id, owner, lease_until)
             SELECT $1, id, tenant_id, $2, now() + $3::interval FROM due ORDER BY turn, available_at, id LIMIT $5
             ON CONFLICT (log_id, item_id) DO UPDATE SET owner = $2, lease_until = now() + $3::interval
             WHERE c.lease_until < now()
             RETURNING tenant_id, item_id"
        );
        Ok(sqlx::query_as(AssertSqlSafe(sql))
            .bind(self.log_id)
            .bind(self.owner)
            .bind(LEASE)
            .bind(self.store.clock().now())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .bind(finished)
            .fetch_all(self.store.pool())
            .await?)
    }

    /// How long until an item that waits is due; nothing while none does.
    pub async fn next_due(&self) -> Result<Option<Duration>, CommandError> {
        let now = self.store.clock().now();
        let sql = format!(
            "WITH RECURSIVE {WAITING}
             SELECT min(next.available_at) FROM waiting w CROSS JOIN LATERAL (
                 SELECT q.available_at FROM read.automation_queue q
                 WHERE q.log_id = $1 AND q.tenant_id = w.tenant_id AND q.status IN ('pending', 'processing')
                     AND q.available_at > $2
                 ORDER BY q.available_at LIMIT 1) next"
        );
        let next: Option<DateTime<Utc>> = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(self.log_id)
            .bind(now)
            .fetch_one(self.store.pool())
            .await?;
        Ok(next.and_then(|at| (at - now).to_std().ok()))
    }

    pub async fn renew(&self, items: &[Uuid]) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE automation_claims SET lease_until = now() + $3::interval
             WHERE log_id = $1 AND owner = $2 AND item_id = ANY ($4)",
        )
        .bind(self.log_id)
        .bind(self.owner)
        .bind(LEASE)
        .bind(items)
        .execute(self.store.pool())
        .await?;
        Ok(())
    }

    /// Keeps everybody from an item for a while.
    pub async fn put_off(&self, item_id: Uuid) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE automation_claims SET owner = $3, lease_until = now() + $5::interval
             WHERE log_id = $1 AND owner = $2 AND item_id = $4",
        )
        .bind(self.log_id)
        .bind(self.owner)
        .bind(Uuid::nil())
        .bind(item_id)
        .bind(PUT_OFF)
        .execute(self.store.pool())
        .await?;
        Ok(())
    }

    /// Gives back whatever this process has claimed.
    pub async fn leave(&self) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM automation_claims WHERE log_id = $1 AND owner = $2")
            .bind(self.log_id)
            .bind(self.owner)
            .execute(self.store.pool())
            .await?;
        Ok(())
    }
}

/// A transaction that is not synced by itself, for what may be done again.
pub(crate) async fn unsynced(pool: &Pool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *tx).await?;
    Ok(tx)
}
