//! Notices on their way to being applied: durable before the gateway is answered, each once, kept where they failed.
//!
//! They are the platform's, whose account at the gateway they come from, and lie in its log.

use chrono::{DateTime, TimeDelta, Utc};
use domain::event::PLATFORM_TENANT;

use super::Sender;
use crate::{CommandError, Store};

/// The name under which new notices are announced; see [`crate::store::Progress`].
pub const WAKE: &str = "payment_notices";
/// How long a finished row is kept: gateways repeat a notice for days, and it is recognised by its row.
pub const DONE_KEPT: TimeDelta = TimeDelta::days(30);
/// How long a notice that failed is kept for support.
pub const FAILED_KEPT: TimeDelta = TimeDelta::days(90);

const SEAL: &str = "payment notices";

/// A notice to keep.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub sender: Sender,
    /// The same whenever the gateway repeats it.
    pub event_id: String,
    pub received_at: DateTime<Utc>,
    pub raw: Vec<u8>,
}

/// A notice to apply.
#[derive(Clone, Debug)]
pub struct Due {
    pub sender: Sender,
    pub event_id: String,
    pub received_at: DateTime<Utc>,
    pub raw: Vec<u8>,
    /// How often it was tried before.
    pub attempts: i32,
}

/// What became of a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Understood, and without consequence here.
    Ignored(String),
    /// To be tried again after the delay.
    Again {
        reason: String,
        delay: TimeDelta,
    },
    Failed(String),
}

/// Stores a notice and wakes whoever applies it; false if it was there already. It is durable when this returns.
///
/// # Errors
/// Sealing and database errors.
pub async fn keep(store: &Store, arrival: &Arrival) -> Result<bool, CommandError> {
    let log_id = store.log_of(PLATFORM_TENANT).await?;
    let kept = sqlx::query(
        "INSERT INTO payment_notices (log_id, gateway, event_id, tenant_id, received_at, raw)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(log_id)
    .bind(arrival.sender.name())
    .bind(&arrival.event_id)
    .bind(PLATFORM_TENANT)
    .bind(arrival.received_at)
    .bind(store.vault().seal_bytes(SEAL, &arrival.raw)?)
    .execute(store.pool())
    .await?;
    // A time is a number that grows without being kept; should it ever not grow, polling finds the row.
    store.progress().advance(WAKE, log_id, store.clock().now().timestamp_micros());
    Ok(kept.rows_affected() == 1)
}

#[derive(sqlx::FromRow)]
struct StoredRow {
    gateway: String,
    event_id: String,
    received_at: DateTime<Utc>,
    raw: String,
    attempts: i32,
}

/// The next notices of a log, oldest first.
///
/// # Errors
/// Database errors. A row that can't be opened is failed and left out.
pub async fn due(store: &Store, log_id: i16, limit: i64) -> Result<Vec<Due>, CommandError> {
    let rows: Vec<StoredRow> = sqlx::query_as(
        "SELECT gateway, event_id, received_at, raw, attempts FROM payment_notices
         WHERE log_id = $1 AND status = 'pending' AND available_at <= now() ORDER BY received_at LIMIT $2",
    )
    .bind(log_id)
    .bind(limit)
    .fetch_all(store.pool())
    .await?;
    let mut due = Vec::with_capacity(rows.len());
    for row in rows {
        let sender = Sender::named(&row.gateway).ok_or_else(|| CommandError::failed("an unknown gateway"))?;
        let StoredRow { event_id, received_at, attempts, .. } = row;
        let mut notice = Due { sender, event_id, received_at, raw: Vec::new(), attempts };
        match store.vault().open_bytes(SEAL, &row.raw) {
            Ok(raw) => {
                notice.raw = raw;
                due.push(notice);
            }
            Err(_) => {
                let failed = Outcome::Failed("it can't be opened with this secret key".to_owned());
                finish(store, log_id, &notice, &failed).await?;
            }
        }
    }
    Ok(due)
}

/// Writes down what became of a notice. What became events is not kept a second time.
///
/// # Errors
/// Database errors.
pub async fn finish(store: &Store, log_id: i16, due: &Due, outcome: &Outcome) -> Result<(), CommandError> {
    let (status, reason, delay) = match outcome {
        Outcome::Done => ("done", None, None),
        Outcome::Ignored(reason) => ("ignored", Some(reason.as_str()), None),
        Outcome::Again { reason, delay } => {
            ("pending", Some(reason.as_str()), Some(delay.num_milliseconds()))
        }
        Outcome::Failed(reason) => ("failed", Some(reason.as_str()), None),
    };
    sqlx::query(
        "UPDATE payment_notices SET status = $4, reason = $5, attempts = attempts + 1,
             available_at = now() + coalesce($6, 0) * interval '1 millisecond',
             finished_at = CASE WHEN $6 IS NULL THEN $7 END, raw = CASE WHEN $4 <> 'done' THEN raw END
         WHERE log_id = $1 AND gateway = $2 AND event_id = $3",
    )
    .bind(log_id)
    .bind(due.sender.name())
    .bind(&due.event_id)
    .bind(status)
    .bind(reason)
    .bind(delay)
    .bind(store.clock().now())
    .execute(store.pool())
    .await?;
    Ok(())
}

/// Removes what was kept long enough; answers how many rows.
///
/// # Errors
/// Database errors.
pub async fn forget_old(store: &Store, log_id: i16) -> Result<u64, CommandError> {
    let now = store.clock().now();
    let gone = sqlx::query(
        "DELETE FROM payment_notices WHERE log_id = $1
             AND ((status IN ('done', 'ignored') AND finished_at < $2) OR (status = 'failed' AND finished_at < $3))",
    )
    .bind(log_id)
    .bind(now - DONE_KEPT)
    .bind(now - FAILED_KEPT)
    .execute(store.pool())
    .await?;
    Ok(gone.rows_affected())
}
