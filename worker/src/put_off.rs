//! Queues whose rows are an event each, by its position: what fails waits for its next attempt, and the rest goes on.

use std::time::Duration;

use commands::{CommandError, Store};
use sqlx::AssertSqlSafe;

use crate::backoff::Backoff;

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// A row of such a queue that could not be worked off.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    pub log_id: i16,
    pub position: i64,
    /// How often it had failed before.
    pub attempts: i32,
}

/// Lets a row of `table` wait. `scale` multiplies the wait.
///
/// # Errors
/// Database errors.
pub async fn put_off(
    store: &Store,
    table: &'static str,
    failed: Failed,
    scale: f64,
) -> Result<(), CommandError> {
    let pace = Backoff { base: FIRST_RETRY, longest: LONGEST_RETRY, scale };
    let wait = pace.after(u32::try_from(failed.attempts + 1).unwrap_or(1));
    let update = format!(
        "UPDATE {table} SET attempts = attempts + 1, available_at = now() + $3 * interval '1 second'
         WHERE log_id = $1 AND position = $2"
    );
    sqlx::query(AssertSqlSafe(update))
        .bind(failed.log_id)
        .bind(failed.position)
        .bind(wait.as_secs_f64())
        .execute(store.pool())
        .await?;
    Ok(())
}
