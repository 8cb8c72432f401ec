//! Answers kept for requests that carry an Idempotency-Key.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::CommandError;
use crate::store::Pool;

/// How long a key is remembered.
pub const KEPT: TimeDelta = TimeDelta::hours(24);
/// How long an attempt that isn't heard of keeps others out: a client whose server crashed may try again after this.
pub const LEASE: TimeDelta = TimeDelta::seconds(10);
/// How often a running attempt says that it lives; twice may fail.
pub const RENEWAL: Duration = Duration::from_secs(3);

/// Whose key it is; nil for those who did not sign in.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    pub tenant_id: Uuid,
    pub caller_id: Uuid,
}

#[derive(Debug)]
pub enum Begin {
    /// Go on. A repeated attempt gets the time of the first, so that ids derived from it are the same.
    New {
        started_at: DateTime<Utc>,
    },
    /// Done before: the sealed answer.
    Done {
        status: i16,
        answer: String,
    },
    InProgress,
    Mismatch,
}

/// # Errors
/// Database errors.
pub async fn begin(
    pool: &Pool,
    scope: Scope,
    key: &str,
    fingerprint: &[u8; 32],
    now: DateTime<Utc>,
) -> Result<Begin, CommandError> {
    sqlx::query("DELETE FROM idempotency_keys WHERE tenant_id = $1 AND caller_id = $2 AND key = $3 AND started_at < $4")
        .bind(scope.tenant_id)
        .bind(scope.caller_id)
        .bind(key)
        .bind(now - KEPT)
        .execute(pool)
        .await?;
    let claimed: Option<DateTime<Utc>> = sqlx::query_scalar(
        "INSERT INTO idempotency_keys AS k (tenant_id, caller_id, key, fingerprint, started_at, lease_until)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (tenant_id, caller_id, key) DO UPDATE SET lease_until = $6
         WHERE k.status IS NULL AND k.lease_until < $5 AND k.fingerprint = $4
         RETURNING started_at",
    )
    .bind(scope.tenant_id)
    .bind(scope.caller_id)
    .bind(key)
    .bind(fingerprint.as_slice())
    .bind(now)
    .bind(now + LEASE)
    .fetch_optional(pool)
    .await?;
    if let Some(started_at) = claimed {
        return Ok(Begin::New { started_at });
    }
    let row: Option<(Vec<u8>, Option<i16>, Option<String>)> = sqlx::query_as(
        "SELECT fingerprint, status, answer FROM idempotency_keys WHERE tenant_id = $1 AND caller_id = $2 AND key = $3",
    )
    .bind(scope.tenant_id)
    .bind(scope.caller_id)
    .bind(key)
    .fetch_optional(pool)
    .await?;
    Ok(match row {
        Some((known, ..)) if known != fingerprint => Begin::Mismatch,
        Some((_, Some(status), Some(answer))) => Begin::Done { status, answer },
        _ => Begin::InProgress,
    })
}

/// The attempt is still at work.
///
/// # Errors
/// Database errors.
pub async fn renew(pool: &Pool, scope: Scope, key: &str, now: DateTime<Utc>) -> Result<(), CommandError> {
    lease_until(pool, scope, key, now + LEASE).await
}

/// The first answer stays: an attempt that was taken for dead may come with a second one.
///
/// # Errors
/// Database errors.
pub async fn finish(
    pool: &Pool,
    scope: Scope,
    key: &str,
    status: i16,
    answer: &str,
) -> Result<(), CommandError> {
    sqlx::query(
        "UPDATE idempotency_keys SET status = $4, answer = $5
         WHERE tenant_id = $1 AND caller_id = $2 AND key = $3 AND status IS NULL",
    )
    .bind(scope.tenant_id)
    .bind(scope.caller_id)
    .bind(key)
    .bind(status)
    .bind(answer)
    .execute(pool)
    .await?;
    Ok(())
}

/// The attempt failed on our side: the next one may start at once, under the same ids.
///
/// # Errors
/// Database errors.
pub async fn abandon(pool: &Pool, scope: Scope, key: &str, now: DateTime<Utc>) -> Result<(), CommandError> {
    lease_until(pool, scope, key, now - LEASE).await
}

async fn lease_until(pool: &Pool, scope: Scope, key: &str, until: DateTime<Utc>) -> Result<(), CommandError> {
    sqlx::query(
        "UPDATE idempotency_keys SET lease_until = $4
         WHERE tenant_id = $1 AND caller_id = $2 AND key = $3 AND status IS NULL",
    )
    .bind(scope.tenant_id)
    .bind(scope.caller_id)
    .bind(key)
    .bind(until)
    .execute(pool)
    .await?;
    Ok(())
}

/// Forgets keys older than [`KEPT`]; answers how many.
///
/// # Errors
/// Database errors.
pub async fn forget_old(pool: &Pool, now: DateTime<Utc>) -> Result<u64, CommandError> {
    let gone = sqlx::query("DELETE FROM idempotency_keys WHERE started_at < $1")
        .bind(now - KEPT)
        .execute(pool)
        .await?;
    Ok(gone.rows_affected())
}
