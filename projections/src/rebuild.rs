//! Rebuilding a read model beside the live one, switching when it is as far, and going back.
//!
//! Readers never see a half-built table: the new one grows in a schema of its own, without secondary indexes, and takes
//! the live one's place in one short transaction; the old one stays in `previous` for rollback. There is no path from
//! here to an effect: only read models can be rebuilt.

use std::sync::Arc;
use std::time::Duration;

use commands::Store;
use commands::failpoint::{self, Failpoint};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::projection::Projection;
use crate::runner::{RunError, Slot};
use crate::shadow::{Remains, Shadow, drop_tables, run, same_shape};

/// How long a switch waits for readers of the old tables. New readers queue behind it meanwhile, so it gives up soon
/// and tries again.
const SWITCH_PATIENCE: &str = "500ms";
const SWITCH_PAUSE: Duration = Duration::from_secs(1);
const SWITCH_TRIES: u32 = 60;
/// SQLSTATE of a lock that was not granted in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("{0} is a process manager: rebuilding it would do its work again")]
    NotAReadModel(&'static str),
    #[error("{0} is being rebuilt or verified by another process, or was until a few seconds ago")]
    Busy(&'static str),
    #[error("there is no previous version of {0} to go back to")]
    NothingToRollBackTo(&'static str),
    #[error("{0} is read without a pause, so its tables could not be switched; try again")]
    InUse(&'static str),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// How far a rebuild is: positions done and to do, over all logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub done: i64,
    pub of: i64,
}

/// A rebuild that holds its lease and has its tables.
pub struct Rebuild(Shadow);

/// Takes the lease of a rebuild and makes its tables, or takes up those of an interrupted one.
///
/// # Errors
/// When the projection is a process manager, or another process rebuilds or verifies it.
pub async fn start(store: &Store, projection: &Arc<Projection>) -> Result<Rebuild, RebuildError> {
    Ok(Rebuild(Shadow::prepare(store, projection, Remains::TakeUp).await?))
}

impl Rebuild {
    /// Fills the tables up to the head, then switches. Dropped in between, it can be taken up again.
    ///
    /// # Errors
    /// A lost lease, readers that never pause, or database errors; nothing has changed for readers then.
    pub async fn finish(mut self, mut report: impl FnMut(Step) + Send) -> Result<(), RebuildError> {
        let finished = self.fill_and_switch(&mut report).await;
        self.0.give_back().await;
        finished
    }

    /// Ends it without a switch; what was filled stays for the next one.
    pub async fn interrupt(self) {
        self.0.give_back().await;
    }

    async fn fill_and_switch(&mut self, report: &mut (impl FnMut(Step) + Send)) -> Result<(), RebuildError> {
        let shadow = &mut self.0;
        shadow.fill(None, report).await?;
        shadow.holding(shadow.add_indexes()).await?;
        switch(shadow, Slot::Rebuild, report).await
    }
}

/// Fills a second set of tables up to the head, then switches. Resumes where an interrupted rebuild stopped.
///
/// # Errors
/// As [`start`] and [`Rebuild::finish`].
pub async fn rebuild(
    store: &Store,
    projection: &Arc<Projection>,
    report: impl FnMut(Step) + Send,
) -> Result<(), RebuildError> {
    start(store, projection).await?.finish(report).await
}

/// Puts the version before the last rebuild back in place, after it has caught up.
///
/// # Errors
/// When there is none that fits, or a rebuild or verification is running.
pub async fn roll_back(
    store: &Store,
    projection: &Arc<Projection>,
    mut report: impl FnMut(Step) + Send,
) -> Result<(), RebuildError> {
    let mut connection = store.pool().acquire().await?;
    for table in &projection.tables {
        if !same_shape(&mut connection, "previous", table.name()).await? {
            return Err(RebuildError::NothingToRollBackTo(projection.name));
        }
    }
    drop(connection);
    let mut shadow = Shadow::lease(store, projection, Slot::Previous).await?;
    let switched = match shadow.fill(None, &mut report).await {
        Ok(()) => switch(&mut shadow, Slot::Previous, &mut report).await,
        Err(error) => Err(error),
    };
    shadow.give_back().await;
    switched
}

/// Switches as soon as readers let it.
async fn switch(
    shadow: &mut Shadow,
    from: Slot,
    report: &mut (impl FnMut(Step) + Send),
) -> Result<(), RebuildError> {
    for _ in 0..SWITCH_TRIES {
        // Making indexes or waiting took time in which others wrote.
        shadow.fill(None, report).await?;
        shadow.renew().await?;
        match try_switch(shadow, from).await {
            Err(RebuildError::Database(error)) if is_lock_timeout(&error) => {
                tokio::time::sleep(SWITCH_PAUSE).await
            }
            done => return done,
        }
    }
    Err(RebuildError::InUse(shadow.projection.name))
}

fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|e| e.code()).is_some_and(|code| code == LOCK_NOT_AVAILABLE)
}

/// Puts the shadow's tables in the live ones' place. The live runner's commits wait meanwhile; then its lease is gone
/// and it starts again on the new tables.
async fn try_switch(shadow: &Shadow, from: Slot) -> Result<(), RebuildError> {
    let projection = &shadow.projection;
    let mut connection = shadow.store.pool().acquire().await?;
    let mut tx = connection.begin().await?;
    sqlx::query("SELECT set_config('lock_timeout', $1, true)")
        .bind(SWITCH_PATIENCE)
        .execute(&mut *tx)
        .await?;
    let checkpoints = lock_checkpoints(&mut tx, projection.name).await?;
    for (runner, lease) in shadow.runners.iter().zip(&shadow.leases) {
        let of =
            |slot: Slot| checkpoints.iter().find(|c| c.slot == slot.as_str() && c.log_id == runner.log_id);
        if of(from).is_none_or(|own| own.lease_epoch != lease.epoch || own.position != lease.position) {
            return Err(RunError::LeaseLost.into());
        }
        if from == Slot::Previous && of(Slot::Rebuild).is_some_and(|rebuild| rebuild.leased) {
            return Err(RebuildError::Busy(projection.name));
        }
        // Ahead of the live one it may be, behind it never.
        let goal = of(Slot::Live).map_or(0, |live| live.position);
        let events = runner.read(lease.position, (goal - lease.position).max(0)).await?;
        if let Some(last) = events.last().map(|e| e.position) {
            runner.apply(&mut tx, events).await?;
            set_position(&mut tx, projection.name, from, runner.log_id, last).await?;
        }
    }
    swap_tables(&mut tx, projection, from).await?;
    swap_checkpoints(&mut tx, projection.name, from).await?;
    failpoint::reached(Failpoint::BeforeSwitchCommit).await;
    tx.commit().await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Checkpoint {
    slot: String,
    log_id: i16,
    position: i64,
    lease_epoch: i64,
    leased: bool,
}

/// Whoever wants to write to any of the projection's tables waits from here on.
async fn lock_checkpoints(tx: &mut PgConnection, name: &str) -> Result<Vec<Checkpoint>, sqlx::Error> {
    sqlx::query_as(
        "SELECT slot, log_id, position, lease_epoch, coalesce(lease_until > now(), false) AS leased
         FROM projections WHERE name = $1 ORDER BY slot, log_id FOR UPDATE",
    )
    .bind(name)
    .fetch_all(tx)
    .await
}

async fn set_position(
    tx: &mut PgConnection,
    name: &str,
    slot: Slot,
    log_id: i16,
    position: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE projections SET position = $4 WHERE name = $1 AND slot = $2 AND log_id = $3")
        .bind(name)
        .bind(slot.as_str())
        .bind(log_id)
        .bind(position)
        .execute(tx)
        .await
        .map(|_| ())
}

/// On the way back, the tables trade places: the rejected version can be looked at, and returned to.
async fn swap_tables(tx: &mut PgConnection, projection: &Projection, from: Slot) -> Result<(), sqlx::Error> {
    let back = from == Slot::Previous;
    drop_tables(tx, projection, if back { "rebuild" } else { "previous" }).await?;
    for table in &projection.tables {
        let name = table.name();
        if back {
            run(tx, format!("ALTER TABLE previous.{name} SET SCHEMA rebuild")).await?;
        }
        run(tx, format!("ALTER TABLE read.{name} SET SCHEMA previous")).await?;
        run(tx, format!("ALTER TABLE rebuild.{name} SET SCHEMA read")).await?;
    }
    Ok(())
}

/// As the tables, so their checkpoints and parked events. A new epoch and no holder: whoever wrote to the old tables
/// must take the lease again.
async fn swap_checkpoints(tx: &mut PgConnection, name: &str, from: Slot) -> Result<(), sqlx::Error> {
    for table in ["projections", "parked_events"] {
        if from == Slot::Previous {
            run_for(tx, format!("DELETE FROM {table} WHERE name = $1 AND slot = 'rebuild'"), name).await?;
            run_for(
                tx,
                format!("UPDATE {table} SET slot = 'rebuild' WHERE name = $1 AND slot = 'previous'"),
                name,
            )
            .await?;
        } else {
            run_for(tx, format!("DELETE FROM {table} WHERE name = $1 AND slot = 'previous'"), name).await?;
        }
        run_for(tx, format!("UPDATE {table} SET slot = 'previous' WHERE name = $1 AND slot = 'live'"), name)
            .await?;
        run_for(tx, format!("UPDATE {table} SET slot = 'live' WHERE name = $1 AND slot = 'rebuild'"), name)
            .await?;
    }
    let renewed =
        "UPDATE projections new SET lease_owner = NULL, lease_until = NULL, error = NULL, updated_at = now(),
             lease_epoch = greatest(new.lease_epoch, old.lease_epoch) + 1,
             generation = greatest(new.generation, old.generation) + 1
         FROM (SELECT coalesce(max(lease_epoch), 0) AS lease_epoch, coalesce(max(generation), 0) AS generation
               FROM projections WHERE name = $1 AND slot = 'previous') old
         WHERE new.name = $1 AND new.slot = 'live'";
    run_for(tx, renewed.to_owned(), name).await?;
    let free =
        "UPDATE projections SET lease_owner = NULL, lease_until = NULL WHERE name = $1 AND slot = 'previous'";
    run_for(tx, free.to_owned(), name).await
}

async fn run_for(connection: &mut PgConnection, sql: String, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(sql)).bind(name).execute(connection).await.map(|_| ())
}
