//! Follows one log for one projection: in order, without a gap, each batch with its checkpoint in one transaction.

use std::sync::Arc;
use std::time::Duration;

use commands::Store;
use commands::store::{HEAD, event_from_row};
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::event::Event;
use crate::parking;
use crate::projection::Projection;
use crate::table::ApplyError;

/// Events in one transaction.
pub const BATCH: i64 = 1_000;
/// A holder that does not commit for this long is replaced.
const LEASE: &str = "5 seconds";
/// The server ends a transaction whose process stalled inside of it, before its lease runs out: whoever takes over must
/// not wait for the rows that it holds.
pub(crate) const STALLED_AFTER: &str = "10s";
/// How often a holder without work says that it is still there: several times within [`LEASE`].
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(4);
/// How often an idle runner looks by itself, should every wake-up be lost.
const POLL: Duration = Duration::from_secs(1);
/// How long a runner rests after a failure, or while another process holds the lease.
const REST: Duration = Duration::from_millis(500);

/// Which set of tables and checkpoints of a projection is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    Live,
    Rebuild,
    Previous,
}

impl Slot {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Rebuild => "rebuild",
            Self::Previous => "previous",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0}")]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Keys(#[from] commands::CommandError),
    /// Positions are gapless by construction; a reader that misses one must stop rather than skip.
    #[error("log {log_id} has a gap: after {after} comes {found}")]
    Gap { log_id: i16, after: i64, found: i64 },
    #[error("the lease was lost to another process")]
    LeaseLost,
}

/// One projection on one log.
pub struct Runner {
    pub store: Store,
    pub projection: Arc<Projection>,
    pub log_id: i16,
    pub slot: Slot,
    owner: Uuid,
}

/// A held lease and the position that it stands at.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    pub epoch: i64,
    pub position: i64,
}

impl Runner {
    #[must_use]
    pub fn new(store: Store, projection: Arc<Projection>, log_id: i16, slot: Slot) -> Self {
        Self { store, projection, log_id, slot, owner: commands::ids::new_id() }
    }

    #[must_use]
    pub fn schema(&self) -> &'static str {
        match self.slot {
            Slot::Live => self.projection.live_schema(),
            Slot::Rebuild => "rebuild",
            Slot::Previous => "previous",
        }
    }

    /// Runs until cancelled.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let followed = tokio::select! {
                followed = self.follow() => followed,
                () = stop.cancelled() => break,
            };
            match followed {
                // After a switch of tables the lease is free at once; while another holds it, `follow` rests by itself.
                Ok(()) | Err(RunError::LeaseLost) => {}
                Err(error) => {
                    tracing::error!(projection = self.projection.name, log_id = self.log_id, %error, "projection stopped; trying again");
                    self.note_error(&error.to_string()).await;
                    tokio::time::sleep(REST).await;
                }
            }
        }
        if let Err(error) = self.give_back().await {
            tracing::debug!(%error, "a lease was not given back; it will expire");
        }
    }

    async fn follow(&self) -> Result<(), RunError> {
        let mut head = self.store.progress().follow(HEAD, self.log_id);
        let Some(mut lease) = self.acquire().await? else {
            tokio::time::sleep(REST).await;
            return Ok(());
        };
        let mut renewed: Option<Instant> = None;
        loop {
            head.mark_unchanged();
            let before = lease.position;
            lease = self.step(lease, BATCH).await?;
            self.store.progress().advance(self.projection.name, self.log_id, lease.position);
            if lease.position > before {
                continue;
            }
            if renewed.is_none_or(|at| at.elapsed() >= RENEW_EVERY) {
                self.renew(lease).await?;
                renewed = Some(Instant::now());
            }
            // Woken or not, it looks again.
            let _ = tokio::time::timeout(POLL, head.changed()).await;
        }
    }

    /// Takes the lease if nobody holds it.
    ///
    /// # Errors
    /// Database errors.
    pub async fn acquire(&self) -> Result<Option<Lease>, RunError> {
        sqlx::query(
            "INSERT INTO projections (name, slot, log_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(self.projection.name)
        .bind(self.slot.as_str())
        .bind(self.log_id)
        .execute(self.store.pool())
        .await?;
        let row: Option<(i64, i64)> = sqlx::query_as(
            "UPDATE projections SET lease_owner = $4, lease_epoch = lease_epoch + 1, lease_until = now() + $5::interval
             WHERE name = $1 AND slot = $2 AND log_id = $3
                 AND (lease_until IS NULL OR lease_until < now() OR lease_owner = $4)
             RETURNING lease_epoch, position",
        )
        .bind(self.projection.name)
        .bind(self.slot.as_str())
        .bind(self.log_id)
        .bind(self.owner)
        .bind(LEASE)
        .fetch_optional(self.store.pool())
        .await?;
        Ok(row.map(|(epoch, position)| Lease { epoch, position }))
    }

    /// Applies the next events, at most `limit`.
    ///
    /// # Errors
    /// A gap, a lost lease, or database errors; a poison event is parked and is no error.
    pub async fn step(&self, lease: Lease, limit: i64) -> Result<Lease, RunError> {
        let events = self.read(lease.position, limit).await?;
        let Some(last) = events.last().map(|e| e.position) else {
            return Ok(lease);
        };
        let mut connection = self.store.pool().acquire().await?;
        let mut tx = connection.begin().await?;
        // Not synced: after a crash the checkpoint is as old as the rows, and the log, which is synced, is read again.
        sqlx::query(
            "SELECT set_config('synchronous_commit', 'off', true),
                 set_config('idle_in_transaction_session_timeout', $1, true)",
        )
        .bind(STALLED_AFTER)
        .execute(&mut *tx)
        .await?;
        // The checkpoint first: without the lease no row is touched, and whoever switches the tables takes this row
        // before them too, so that the two never wait for each other.
        self.move_checkpoint(&mut tx, lease, last).await?;
        self.apply(&mut tx, events).await?;
        tx.commit().await?;
        Ok(Lease { position: last, ..lease })
    }

    /// Applies a batch; when an event of it is poison, one by one, parking the streams of those that are.
    ///
    /// # Errors
    /// Whatever is not the events' fault.
    pub async fn apply(&self, tx: &mut PgConnection, events: Vec<Event>) -> Result<(), RunError> {
        let events = parking::set_aside(tx, self, events).await?;
        let mut attempt = tx.begin().await?;
        match apply_tables(&mut attempt, &self.projection, self.schema(), &events).await {
            Ok(()) => return Ok(attempt.commit().await?),
            Err(error) if !parking::is_poison(&error) => return Err(error.into()),
            Err(error) => {
                attempt.rollback().await?;
                tracing::warn!(projection = self.projection.name, %error, "a batch failed; applying its events one by one");
            }
        }
        parking::apply_each(tx, self, events).await
    }

    async fn move_checkpoint(&self, tx: &mut PgConnection, lease: Lease, to: i64) -> Result<(), RunError> {
        let moved = sqlx::query(
            "UPDATE projections SET position = $5, lease_until = now() + $7::interval, error = NULL, updated_at = now()
             WHERE name = $1 AND slot = $2 AND log_id = $3 AND lease_epoch = $4 AND position = $6",
        )
        .bind(self.projection.name)
        .bind(self.slot.as_str())
        .bind(self.log_id)
        .bind(lease.epoch)
        .bind(to)
        .bind(lease.position)
        .bind(LEASE)
        .execute(tx)
        .await?;
        if moved.rows_affected() == 1 { Ok(()) } else { Err(RunError::LeaseLost) }
    }

    /// Keeps the lease without moving; a holder that gets here has nothing wrong with it.
    ///
    /// # Errors
    /// `LeaseLost` when another process has it, or database errors.
    pub(crate) async fn renew(&self, lease: Lease) -> Result<(), RunError> {
        let renewed = sqlx::query(
            "UPDATE projections SET lease_until = now() + $5::interval, error = NULL
             WHERE name = $1 AND slot = $2 AND log_id = $3 AND lease_epoch = $4",
        )
        .bind(self.projection.name)
        .bind(self.slot.as_str())
        .bind(self.log_id)
        .bind(lease.epoch)
        .bind(LEASE)
        .execute(self.store.pool())
        .await?;
        if renewed.rows_affected() == 1 { Ok(()) } else { Err(RunError::LeaseLost) }
    }

    /// Lets the next process start at once instead of waiting for the lease to expire.
    ///
    /// # Errors
    /// Database errors.
    pub async fn give_back(&self) -> Result<(), RunError> {
        sqlx::query(
            "UPDATE projections SET lease_owner = NULL, lease_until = NULL
             WHERE name = $1 AND slot = $2 AND log_id = $3 AND lease_owner = $4",
        )
        .bind(self.projection.name)
        .bind(self.slot.as_str())
        .bind(self.log_id)
        .bind(self.owner)
        .execute(self.store.pool())
        .await?;
        Ok(())
    }

    async fn note_error(&self, error: &str) {
        let noted =
            sqlx::query("UPDATE projections SET error = $4 WHERE name = $1 AND slot = $2 AND log_id = $3")
                .bind(self.projection.name)
                .bind(self.slot.as_str())
                .bind(self.log_id)
                .bind(error)
                .execute(self.store.pool())
                .await;
        if let Err(error) = noted {
            tracing::warn!(%error, "an error could not be noted");
        }
    }

    /// The next events in order, opened; refuses a gap.
    ///
    /// # Errors
    /// A gap or database errors.
    pub async fn read(&self, after: i64, limit: i64) -> Result<Vec<Event>, RunError> {
        let rows = sqlx::query(
            "SELECT log_id, position, tenant_id, stream_type, stream_id, version, event_type, schema_version, event_id,
                 command_id, metadata, recorded_at, payload
             FROM events WHERE log_id = $1 AND position > $2 ORDER BY position LIMIT $3",
        )
        .bind(self.log_id)
        .bind(after)
        .bind(limit)
        .fetch_all(self.store.pool())
        .await?;
        let mut events: Vec<Event> = rows.iter().map(event_from_row).collect::<Result<_, _>>()?;
        for (expected, event) in (after + 1..).zip(&events) {
            if event.position != expected {
                return Err(RunError::Gap {
                    log_id: self.log_id,
                    after: expected - 1,
                    found: event.position,
                });
            }
        }
        let keys = self.store.vault().keys_of(events.iter().map(|e| (e.tenant_id, &e.body))).await?;
        events.iter_mut().for_each(|e| keys.open(e.tenant_id, &mut e.body));
        Ok(events)
    }
}

/// Applies events to every table of a projection.
///
/// # Errors
/// What a fold or the database refuses.
pub async fn apply_tables(
    tx: &mut PgConnection,
    projection: &Projection,
    schema: &str,
    events: &[Event],
) -> Result<(), ApplyError> {
    if events.is_empty() {
        return Ok(());
    }
    for table in &projection.tables {
        table.apply(tx, schema, events).await?;
    }
    Ok(())
}
