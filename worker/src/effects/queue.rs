//! The effects of one log as rows: claimed, leased, finished.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use commands::{CommandError, Store};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::delivery::{READ_RECEIPT, SEND_MESSAGE};

/// A process that does not renew for this long has died in the middle of its calls. What it had only claimed by then is
/// anybody's again.
pub const LEASE: &str = "10 seconds";
/// How long a finished effect is kept.
const FINISHED_KEPT: TimeDelta = TimeDelta::days(30);

#[derive(Clone)]
pub struct Queue {
    pub store: Store,
    pub log_id: i16,
    /// This process.
    pub owner: Uuid,
}

/// An effect that this process carries out.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Claimed {
    pub log_id: i16,
    pub position: i64,
    pub n: i16,
    pub tenant_id: Uuid,
    pub conversation_id: Uuid,
    pub message_id: Option<Uuid>,
    pub account_id: Option<Uuid>,
    /// This attempt included.
    pub attempts: i32,
}

impl Claimed {
    /// The attempts so far, should this one fail too.
    #[must_use]
    pub fn failures(&self) -> u32 {
        u32::try_from(self.attempts).unwrap_or(1)
    }

    /// The same for this effect whenever it is asked: what makes a repeated command a repetition.
    #[must_use]
    pub fn command_id(&self, name: &str) -> Uuid {
        let key = format!("effect {} {} {} {name}", self.log_id, self.position, self.n);
        commands::ids::named_id(self.tenant_id, &key)
    }
}

impl Queue {
    /// Keeps due effects from others while they are prepared. An effect waits for every earlier one of its order. The
    /// longest due first, as `effects_due` has them: a long queue is not sorted for each claim. Not synced: a claim that is
    /// lost leaves the effect to whoever claims it next.
    ///
    /// # Errors
    /// Database errors.
    pub async fn claim(&self, limit: usize) -> Result<Vec<Claimed>, CommandError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        // With the limit as a parameter this would be planned anew for each claim, instead of once for each limit.
        let sql = format!(
            "WITH unsynced AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
             due AS (
                 SELECT e.position, e.n FROM effects e
                 WHERE e.log_id = $1 AND e.status = 'pending' AND e.available_at <= now()
                     AND (e.lease_until IS NULL OR e.lease_until < now())
                     AND NOT EXISTS (
                         SELECT FROM effects earlier
                         WHERE earlier.log_id = $1 AND earlier.order_key = e.order_key
                             AND earlier.status IN ('pending', 'sending')
                             AND (earlier.position, earlier.n) < (e.position, e.n))
                 ORDER BY e.available_at, e.position, e.n LIMIT {limit} FOR UPDATE OF e SKIP LOCKED)
             UPDATE effects e
             SET lease_owner = $2, lease_until = now() + $3::interval
             FROM due, unsynced WHERE e.log_id = $1 AND e.position = due.position AND e.n = due.n
             RETURNING e.log_id, e.position, e.n, e.tenant_id, e.conversation_id, e.message_id, e.account_id,
                 e.attempts + 1 AS attempts"
        );
        let claimed = sqlx::query_as(AssertSqlSafe(sql)).bind(self.log_id).bind(self.owner).bind(LEASE);
        Ok(claimed.fetch_all(self.store.pool()).await?)
    }

    /// Marks a claimed effect as being sent, and commits: from here on nobody else touches it, and a crash leaves a
    /// question. `false` if another process has taken it over.
    ///
    /// # Errors
    /// Database errors; whether it is marked is not known then.
    pub async fn begin(&self, effect: &Claimed) -> Result<bool, CommandError> {
        let begun = sqlx::query(
            "UPDATE effects SET status = 'sending', attempts = $5, lease_until = now() + $6::interval
             WHERE log_id = $1 AND position = $2 AND n = $3 AND status = 'pending' AND lease_owner = $4",
        )
        .bind(self.log_id)
        .bind(effect.position)
        .bind(effect.n)
        .bind(self.owner)
        .bind(effect.attempts)
        .bind(LEASE)
        .execute(self.store.pool())
        .await?;
        Ok(begun.rows_affected() == 1)
    }

    /// Takes over the messages whose sender has died; its read receipts go back to the queue.
    ///
    /// # Errors
    /// Database errors.
    pub async fn interrupted(&self) -> Result<Vec<Claimed>, CommandError> {
        sqlx::query(
            "UPDATE effects SET status = 'pending', lease_owner = NULL, lease_until = NULL
             WHERE log_id = $1 AND status = 'sending' AND lease_until < now() AND kind = $2",
        )
        .bind(self.log_id)
        .bind(READ_RECEIPT)
        .execute(self.store.pool())
        .await?;
        Ok(sqlx::query_as(
            "UPDATE effects SET lease_owner = $3, lease_until = now() + $4::interval
             WHERE log_id = $1 AND status = 'sending' AND lease_until < now() AND kind = $2
             RETURNING log_id, position, n, tenant_id, conversation_id, message_id, account_id, attempts",
        )
        .bind(self.log_id)
        .bind(SEND_MESSAGE)
        .bind(self.owner)
        .bind(LEASE)
        .fetch_all(self.store.pool())
        .await?)
    }

    /// # Errors
    /// Database errors.
    pub async fn renew(&self) -> Result<(), CommandError> {
        sqlx::query(
            "UPDATE effects SET lease_until = now() + $3::interval
             WHERE log_id = $1 AND status = 'sending' AND lease_owner = $2",
        )
        .bind(self.log_id)
        .bind(self.owner)
        .bind(LEASE)
        .execute(self.store.pool())
        .await?;
        Ok(())
    }

    /// Back to the queue, due after a wait.
    ///
    /// # Errors
    /// Database errors.
    pub async fn again(&self, effect: &Claimed, reason: &str, wait: Duration) -> Result<(), CommandError> {
        sqlx::query(
            "UPDATE effects SET status = 'pending', lease_owner = NULL, lease_until = NULL, reason = $5,
                 available_at = now() + $6 * interval '1 second'
             WHERE log_id = $1 AND position = $2 AND n = $3 AND status = 'sending' AND lease_owner = $4",
        )
        .bind(self.log_id)
        .bind(effect.position)
        .bind(effect.n)
        .bind(self.owner)
        .bind(reason)
        .bind(wait.as_secs_f64())
        .execute(self.store.pool())
        .await?;
        Ok(())
    }

    /// Not synced: if that is lost, the effect counts as interrupted, and what is recorded about its message stays.
    ///
    /// # Errors
    /// Database errors.
    pub async fn finish(
        &self,
        effect: &Claimed,
        status: &str,
        reason: Option<&str>,
    ) -> Result<(), CommandError> {
        sqlx::query(
            "WITH unsynced AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
             UPDATE effects SET status = $4, reason = $5, finished_at = $6, lease_owner = NULL, lease_until = NULL
             FROM unsynced WHERE log_id = $1 AND position = $2 AND n = $3",
        )
        .bind(self.log_id)
        .bind(effect.position)
        .bind(effect.n)
        .bind(status)
        .bind(reason)
        .bind(self.store.clock().now())
        .execute(self.store.pool())
        .await?;
        Ok(())
    }
}

/// Removes effects that were finished long ago; answers how many.
///
/// # Errors
/// Database errors.
pub async fn forget_old(store: &Store, log_id: i16) -> Result<u64, CommandError> {
    let before: DateTime<Utc> = store.clock().now() - FINISHED_KEPT;
    let gone = sqlx::query("DELETE FROM effects WHERE log_id = $1 AND finished_at < $2")
        .bind(log_id)
        .bind(before)
        .execute(store.pool())
        .await?;
    Ok(gone.rows_affected())
}
