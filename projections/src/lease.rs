//! Who runs a projection on a log, and how far it got: a row with an expiry, taken over when its holder falls silent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use commands::Store;
use sqlx::PgConnection;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::runner::{RunError, Runner};

/// A holder that does not commit or renew for this long is replaced.
pub(crate) const LEASE: &str = "5 seconds";
/// How often leases are renewed: several times within [`LEASE`].
pub(crate) const RENEW_EVERY: Duration = Duration::from_millis(1_500);
/// How soon a checkpoint is written that moved over events which changed nothing.
const WRITE_DOWN_EVERY: Duration = Duration::from_millis(500);

/// A held lease and the position that it stands at.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    pub epoch: i64,
    pub position: i64,
    /// Up to here this holder has committed rows. They are not synced, so a crash of the database takes them back
    /// together with the checkpoint, and this process lives on: a checkpoint before this place means that everything
    /// after it is to be applied again, and counts as a lost lease.
    pub committed: i64,
}

impl Runner {
    fn place(&self) -> Place {
        (self.projection.name, self.log_id)
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
        Ok(row.map(|(epoch, position)| Lease { epoch, position, committed: position }))
    }

    /// Moves the checkpoint, as part of the transaction that applies the events. Answers whether some streams are
    /// parked. The written checkpoint may be behind the lease's position, over events that changed nothing, but not
    /// behind what was committed.
    pub(crate) async fn move_checkpoint(
        &self,
        tx: &mut PgConnection,
        lease: Lease,
        to: i64,
    ) -> Result<bool, RunError> {
        let parked: Option<bool> = sqlx::query_scalar(
            "UPDATE projections SET position = $5, lease_until = now() + $7::interval, error = NULL, updated_at = now()
             WHERE name = $1 AND slot = $2 AND log_id = $3 AND lease_epoch = $4 AND position BETWEEN $8 AND $6
             RETURNING EXISTS (SELECT FROM parked_events p WHERE p.name = $1 AND p.slot = $2 AND p.log_id = $3)",
        )
        .bind(self.projection.name)
        .bind(self.slot.as_str())
        .bind(self.log_id)
        .bind(lease.epoch)
        .bind(to)
        .bind(lease.position)
        .bind(LEASE)
        .bind(lease.committed)
        .fetch_optional(tx)
        .await?;
        parked.ok_or(RunError::LeaseLost)
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
}

struct Held {
    lease: Lease,
    unwritten: bool,
    lost: CancellationToken,
}

/// Keeps the leases of all live projections of a process, in one statement. Most events concern few projections; the
/// others only move on, which is kept in memory and written down here: a crash makes them look at those events again.
#[derive(Clone, Default)]
pub(crate) struct Keeper(Arc<Mutex<HashMap<Place, Held>>>);

/// A live projection on a log.
type Place = (&'static str, i16);

impl Keeper {
    /// From now on the lease is kept; the token is cancelled when it is lost.
    pub(crate) fn keep(&self, runner: &Runner, lease: Lease) -> CancellationToken {
        let lost = CancellationToken::new();
        self.held().insert(runner.place(), Held { lease, unwritten: false, lost: lost.clone() });
        lost
    }

    /// The runner moved on; `unwritten` when it only passed events that changed nothing.
    pub(crate) fn moved(&self, runner: &Runner, lease: Lease, unwritten: bool) {
        if let Some(held) = self.held().get_mut(&runner.place()) {
            (held.lease, held.unwritten) = (lease, unwritten);
        }
    }

    /// The runner holds no lease any more.
    pub(crate) fn forget(&self, runner: &Runner) {
        self.held().remove(&runner.place());
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Place, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews and writes down until stopped, and once more then.
    pub(crate) async fn run(self, store: Store, stopping: CancellationToken) {
        let mut renewed = Instant::now();
        while !stopping.is_cancelled() {
            let _ = tokio::time::timeout(WRITE_DOWN_EVERY, stopping.cancelled()).await;
            let all = renewed.elapsed() >= RENEW_EVERY;
            match self.write_down(&store, all).await {
                Ok(()) if all => renewed = Instant::now(),
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, "leases could not be renewed; trying again"),
            }
        }
    }

    async fn write_down(&self, store: &Store, all: bool) -> Result<(), sqlx::Error> {
        let (mut names, mut logs, mut epochs) = (vec![], vec![], vec![]);
        let (mut positions, mut committed) = (vec![], vec![]);
        for ((name, log_id), held) in self.held().iter_mut() {
            if std::mem::take(&mut held.unwritten) || all {
                names.push(*name);
                logs.push(*log_id);
                epochs.push(held.lease.epoch);
                positions.push(held.lease.position);
                committed.push(held.lease.committed);
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        // One statement without a transaction around it, which would hold every lease's row if this process stalled in
        // the middle. A row that is locked is being committed, which renews it too. A lease that its runner has given
        // back, as all do at the end, stays free.
        let lost: Vec<(String, i16, i64)> = sqlx::query_as(
            "WITH unsynced AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true) AS setting),
             held AS (
                 SELECT held.* FROM unsynced, unnest($1::text[], $2::smallint[], $3::bigint[], $4::bigint[], $6::bigint[])
                     AS held (name, log_id, epoch, position, committed)),
             free AS (
                 SELECT p.name, p.slot, p.log_id, held.position FROM held JOIN projections p
                     ON p.name = held.name AND p.slot = 'live' AND p.log_id = held.log_id AND p.lease_epoch = held.epoch
                         AND p.position >= held.committed
                 FOR UPDATE OF p SKIP LOCKED),
             renewed AS (
                 UPDATE projections p
                 SET lease_until = CASE WHEN p.lease_owner IS NOT NULL THEN now() + $5::interval END,
                     position = greatest(p.position, free.position), error = NULL
                 FROM free WHERE p.name = free.name AND p.slot = free.slot AND p.log_id = free.log_id)
             SELECT held.name, held.log_id, held.epoch FROM held LEFT JOIN projections p
                 ON p.name = held.name AND p.slot = 'live' AND p.log_id = held.log_id AND p.lease_epoch = held.epoch
                     AND p.position >= held.committed
             WHERE p.name IS NULL",
        )
        .bind(names)
        .bind(logs)
        .bind(epochs)
        .bind(positions)
        .bind(LEASE)
        .bind(committed)
        .fetch_all(store.pool())
        .await?;
        for ((name, log_id), held) in self.held().iter() {
            if lost.iter().any(|(n, l, epoch)| n == name && l == log_id && *epoch == held.lease.epoch) {
                held.lost.cancel();
            }
        }
        Ok(())
    }
}
