//! Calls that rules make to other people's servers: noted before they are made, so that nobody makes one twice because
//! whoever made it died before it was recorded with its item.

use uuid::Uuid;

use crate::{CommandError, Store};

/// One attempt at a call.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub tenant_id: Uuid,
    /// Of item, rule and action: the same whenever the call is repeated.
    pub key: Uuid,
    /// The item's version with which the attempt began that makes the call.
    pub attempt: i64,
    /// As `attempt`, of the first of the attempts that were interrupted one after the other before this one; the same
    /// where none was.
    pub begun: i64,
}

/// What is known of a call that is about to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// Nobody has made it; now it is noted.
    New,
    /// An attempt that was interrupted had made it, and it arrived.
    Arrived,
    /// An attempt was interrupted while making it.
    Unknown,
}

/// Notes the call, and commits.
///
/// # Errors
/// Database errors.
pub async fn begin(store: &Store, call: Call) -> Result<Noted, CommandError> {
    let log_id = store.log_of(call.tenant_id).await?;
    let noted = sqlx::query(
        "INSERT INTO automation_calls AS c (log_id, key, tenant_id, attempt, made_at) VALUES ($1, $2, $3, $4, $6)
         ON CONFLICT (log_id, key) DO UPDATE SET attempt = $4, arrived = false, made_at = $6
         WHERE c.attempt NOT BETWEEN $5 AND $4 - 1",
    )
    .bind(log_id)
    .bind(call.key)
    .bind(call.tenant_id)
    .bind(call.attempt)
    .bind(call.begun)
    .bind(store.clock().now())
    .execute(store.pool())
    .await?;
    if noted.rows_affected() == 1 {
        return Ok(Noted::New);
    }
    let arrived = sqlx::query_scalar("SELECT arrived FROM automation_calls WHERE log_id = $1 AND key = $2")
        .bind(log_id)
        .bind(call.key)
        .fetch_one(store.pool())
        .await?;
    Ok(if arrived { Noted::Arrived } else { Noted::Unknown })
}

/// Notes what came of the call: it arrived, or it may be made again. Not synced, for whoever comes after a crash of the
/// database knows less, and nothing wrong.
///
/// # Errors
/// Database errors.
pub async fn end(store: &Store, call: Call, arrived: bool) -> Result<(), CommandError> {
    let mut tx = store.pool().begin().await?;
    sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *tx).await?;
    // The attempt that no item has lets everybody call.
    sqlx::query(
        "UPDATE automation_calls SET arrived = $4, attempt = CASE WHEN $4 THEN attempt ELSE 0 END
         WHERE log_id = $1 AND key = $2 AND attempt = $3",
    )
    .bind(store.log_of(call.tenant_id).await?)
    .bind(call.key)
    .bind(call.attempt)
    .bind(arrived)
    .execute(&mut *tx)
    .await?;
    Ok(tx.commit().await?)
}
