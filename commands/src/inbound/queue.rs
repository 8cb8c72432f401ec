//! Delivered payloads on their way to becoming events: durable before the channel is answered, kept where they failed.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use domain::channel::Channel;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::failpoint::{self, Failpoint};
use crate::store::Pool;
use crate::{CommandError, Store};

/// The name under which new payloads are announced; see [`crate::store::Progress`].
pub const WAKE: &str = "inbound";
/// How long a finished row is kept, without what it held.
pub const DONE_KEPT: TimeDelta = TimeDelta::days(30);
/// How long a payload that failed is kept for a replay.
pub const FAILED_KEPT: TimeDelta = TimeDelta::days(90);

const SEAL: &str = "inbound payloads";

/// What a row's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A webhook body that could not be cut into changes.
    Body,
    /// One change of a body.
    Change,
}

impl Form {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Change => "change",
        }
    }
}

/// A payload to keep.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub id: Uuid,
    pub tenant_id: Uuid,
    /// `None` where nobody's account is named.
    pub account_id: Option<Uuid>,
    pub channel: Channel,
    pub form: Form,
    pub received_at: DateTime<Utc>,
    pub raw: Vec<u8>,
    /// Why it can't be processed, if that is known already.
    pub failed: Option<String>,
}

/// A payload to process.
#[derive(Clone, Debug)]
pub struct Due {
    pub log_id: i16,
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub account_id: Option<Uuid>,
    pub channel: Channel,
    pub form: Form,
    pub received_at: DateTime<Utc>,
    pub raw: Vec<u8>,
    /// How often it was tried before.
    pub attempts: i32,
}

/// What became of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Understood, and of no interest.
    Ignored(String),
    /// To be tried again when one of these messages was recorded as sent, or after the delay.
    Waiting {
        messages: Vec<String>,
        delay: TimeDelta,
    },
    /// To be tried again after the delay; `counted` when the fault may be its own.
    Again {
        reason: String,
        delay: TimeDelta,
        counted: bool,
    },
    Failed(String),
}

/// Stores payloads, one transaction per log, and wakes whoever processes them. They are durable when this returns.
///
/// # Errors
/// Sealing and database errors; payloads of another log may be stored then, which a second delivery does not double.
pub async fn keep(store: &Store, arrivals: Vec<Arrival>) -> Result<(), CommandError> {
    let mut by_log: BTreeMap<i16, Vec<(Arrival, String)>> = BTreeMap::new();
    for arrival in arrivals {
        let sealed = store.vault().seal_bytes(SEAL, &arrival.raw)?;
        by_log.entry(store.log_of(arrival.tenant_id).await?).or_default().push((arrival, sealed));
    }
    for (log_id, rows) in by_log {
        insert(store, log_id, &rows).await?;
        failpoint::reached(Failpoint::PayloadKept).await;
        wake(store, log_id);
    }
    Ok(())
}

/// Tells the processor of a log, here or elsewhere, that there is something to do.
pub fn wake(store: &Store, log_id: i16) {
    // A time is a number that grows without being kept; should it ever not grow, polling finds the row.
    store.progress().advance(WAKE, log_id, store.clock().now().timestamp_micros());
}

async fn insert(store: &Store, log_id: i16, rows: &[(Arrival, String)]) -> Result<(), CommandError> {
    fn column<'a, T>(rows: &'a [(Arrival, String)], get: impl Fn(&'a Arrival) -> T) -> Vec<T> {
        rows.iter().map(|(arrival, _)| get(arrival)).collect()
    }
    sqlx::query(
        "INSERT INTO inbound (log_id, id, tenant_id, account_id, channel, form, status, received_at, raw, raw_hash,
             reason, finished_at)
         SELECT $1, id, tenant_id, account_id, channel, form, CASE WHEN reason IS NULL THEN 'pending' ELSE 'failed' END,
             received_at, raw, raw_hash, reason, CASE WHEN reason IS NOT NULL THEN received_at END
         FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::timestamptz[], $8::text[],
             $9::bytea[], $10::text[])
             AS new (id, tenant_id, account_id, channel, form, received_at, raw, raw_hash, reason)
         ON CONFLICT DO NOTHING",
    )
    .bind(log_id)
    .bind(column(rows, |r| r.id))
    .bind(column(rows, |r| r.tenant_id))
    .bind(column(rows, |r| r.account_id))
    .bind(column(rows, |r| r.channel.as_str()))
    .bind(column(rows, |r| r.form.as_str()))
    .bind(column(rows, |r| r.received_at))
    .bind(rows.iter().map(|(_, sealed)| sealed.as_str()).collect::<Vec<_>>())
    .bind(column(rows, |r| Sha256::digest(&r.raw).to_vec()))
    .bind(column(rows, |r| r.failed.as_deref()))
    .execute(store.pool())
    .await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct StoredRow {
    id: Uuid,
    tenant_id: Uuid,
    account_id: Option<Uuid>,
    channel: String,
    form: String,
    received_at: DateTime<Utc>,
    raw: Option<String>,
    attempts: i32,
}

/// The next payloads of a log in the order of their arrival.
///
/// # Errors
/// Database errors. A row that can't be opened is failed and left out.
pub async fn due(store: &Store, log_id: i16, limit: i64) -> Result<Vec<Due>, CommandError> {
    let rows: Vec<StoredRow> = sqlx::query_as(
        "SELECT id, tenant_id, account_id, channel, form, received_at, raw, attempts FROM inbound
         WHERE log_id = $1 AND status IN ('pending', 'waiting') AND available_at <= now() ORDER BY id LIMIT $2",
    )
    .bind(log_id)
    .bind(limit)
    .fetch_all(store.pool())
    .await?;
    let mut due = Vec::with_capacity(rows.len());
    for row in rows {
        let id = row.id;
        match open(store, log_id, row) {
            Ok(row) => due.push(row),
            Err(error) => finish(store, log_id, id, &Outcome::Failed(error.to_string())).await?,
        }
    }
    Ok(due)
}

fn open(store: &Store, log_id: i16, row: StoredRow) -> Result<Due, CommandError> {
    let sealed = row.raw.ok_or_else(|| CommandError::failed("the payload is gone"))?;
    let channel = Channel::ALL.into_iter().find(|channel| channel.as_str() == row.channel);
    Ok(Due {
        log_id,
        id: row.id,
        tenant_id: row.tenant_id,
        account_id: row.account_id,
        channel: channel.ok_or_else(|| CommandError::failed("the channel is unknown"))?,
        form: if row.form == Form::Body.as_str() { Form::Body } else { Form::Change },
        received_at: row.received_at,
        raw: store.vault().open_bytes(SEAL, &sealed)?,
        attempts: row.attempts,
    })
}

/// Writes down what became of a payload. What became events is not kept a second time.
///
/// # Errors
/// Database errors.
pub async fn finish(store: &Store, log_id: i16, id: Uuid, outcome: &Outcome) -> Result<(), CommandError> {
    let none = Vec::new();
    let counted = !matches!(outcome, Outcome::Again { counted: false, .. });
    let (status, reason, messages, delay) = match outcome {
        Outcome::Done => ("done", None, &none, None),
        Outcome::Ignored(reason) => ("ignored", Some(reason.as_str()), &none, None),
        Outcome::Waiting { messages, delay } => {
            ("waiting", Some("what it is about is not known yet"), messages, Some(*delay))
        }
        Outcome::Again { reason, delay, .. } => ("pending", Some(reason.as_str()), &none, Some(*delay)),
        Outcome::Failed(reason) => ("failed", Some(reason.as_str()), &none, None),
    };
    sqlx::query(
        "UPDATE inbound SET status = $3, reason = $4, waiting_for = $5, attempts = attempts + $8,
             available_at = now() + coalesce($6, 0) * interval '1 millisecond',
             finished_at = CASE WHEN $6 IS NULL THEN $7 END, raw = CASE WHEN $3 <> 'done' THEN raw END
         WHERE log_id = $1 AND id = $2",
    )
    .bind(log_id)
    .bind(id)
    .bind(status)
    .bind(reason)
    .bind(messages)
    .bind(delay.map(|d| d.num_milliseconds()))
    .bind(store.clock().now())
    .bind(i32::from(counted))
    .execute(store.pool())
    .await?;
    Ok(())
}

/// Writes down that these became events. Not synced: should it be lost, they are processed again and found to be known.
///
/// # Errors
/// Database errors.
pub async fn finish_done(store: &Store, log_id: i16, ids: &[Uuid]) -> Result<(), CommandError> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut tx = store.pool().begin().await?;
    sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *tx).await?;
    sqlx::query(
        "UPDATE inbound SET status = 'done', reason = NULL, waiting_for = '{}', attempts = attempts + 1,
             finished_at = $3, raw = NULL WHERE log_id = $1 AND id = ANY($2)",
    )
    .bind(log_id)
    .bind(ids)
    .bind(store.clock().now())
    .execute(&mut *tx)
    .await?;
    Ok(tx.commit().await?)
}

/// A message of ours is known to its channel by this id from now on: what waited for it is due at once.
///
/// # Errors
/// Database errors.
pub async fn now_known(store: &Store, log_id: i16, external_id: &str) -> Result<(), CommandError> {
    let woken = sqlx::query(
        "UPDATE inbound SET available_at = now()
         WHERE log_id = $1 AND status = 'waiting' AND waiting_for @> ARRAY[$2] AND available_at > now()",
    )
    .bind(log_id)
    .bind(external_id)
    .execute(store.pool())
    .await?;
    if woken.rows_affected() > 0 {
        wake(store, log_id);
    }
    Ok(())
}

/// A row as an operator sees it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Listed {
    pub log_id: i16,
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub account_id: Option<Uuid>,
    pub channel: String,
    pub status: String,
    pub received_at: DateTime<Utc>,
    pub attempts: i32,
    pub reason: Option<String>,
    raw: Option<String>,
}

impl Listed {
    /// The payload as text, if it is still kept.
    #[must_use]
    pub fn payload(&self, store: &Store) -> Option<String> {
        let bytes = store.vault().open_bytes(SEAL, self.raw.as_deref()?).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The newest rows of all logs: those that failed, or all.
///
/// # Errors
/// Database errors.
pub async fn list(pool: &Pool, failed_only: bool, limit: i64) -> Result<Vec<Listed>, CommandError> {
    Ok(sqlx::query_as(
        "SELECT log_id, id, tenant_id, account_id, channel, status, received_at, attempts, reason, raw FROM inbound
         WHERE NOT $1 OR status = 'failed' ORDER BY id DESC LIMIT $2",
    )
    .bind(failed_only)
    .bind(limit)
    .fetch_all(pool)
    .await?)
}

/// Lets a payload that failed or was ignored be processed again; false when there is none of this id that still holds
/// its payload.
///
/// # Errors
/// Database errors.
pub async fn replay(store: &Store, id: Uuid) -> Result<bool, CommandError> {
    let replayed: Vec<i16> = sqlx::query_scalar(
        "UPDATE inbound SET status = 'pending', reason = NULL, attempts = 0, available_at = now(), finished_at = NULL
         WHERE id = $1 AND status IN ('failed', 'ignored') AND raw IS NOT NULL RETURNING log_id",
    )
    .bind(id)
    .fetch_all(store.pool())
    .await?;
    replayed.iter().for_each(|log_id| wake(store, *log_id));
    Ok(!replayed.is_empty())
}

/// Removes what was kept long enough; answers how many rows.
///
/// # Errors
/// Database errors.
pub async fn forget_old(store: &Store, log_id: i16) -> Result<u64, CommandError> {
    let now = store.clock().now();
    let gone = sqlx::query(
        "DELETE FROM inbound WHERE log_id = $1
             AND ((status IN ('done', 'ignored') AND finished_at < $2) OR (status = 'failed' AND finished_at < $3))",
    )
    .bind(log_id)
    .bind(now - DONE_KEPT)
    .bind(now - FAILED_KEPT)
    .execute(store.pool())
    .await?;
    Ok(gone.rows_affected())
}
