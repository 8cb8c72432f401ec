//! Calls that rules make to other people's servers: noted before they are made, so that nobody makes one twice because
//! whoever made it died before the answer was in the log.

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

/// Notes the call, and commits; false when an attempt that was interrupted has noted it, so that nobody knows whether
/// it arrived.
///
/// # Errors
/// Database errors.
pub async fn begin(store: &Store, call: Call) -> Result<bool, CommandError> {
    let noted = sqlx::query(
        "INSERT INTO automation_calls AS c (log_id, key, tenant_id, attempt, made_at) VALUES ($1, $2, $3, $4, $6)
         ON CONFLICT (log_id, key) DO UPDATE SET attempt = $4, made_at = $6 WHERE c.attempt NOT BETWEEN $5 AND $4 - 1",
    )
    .bind(store.log_of(call.tenant_id).await?)
    .bind(call.key)
    .bind(call.tenant_id)
    .bind(call.attempt)
    .bind(call.begun)
    .bind(store.clock().now())
    .execute(store.pool())
    .await?;
    Ok(noted.rows_affected() == 1)
}
