//! Follows one log for one projection: in order, without a gap, each batch with its checkpoint in one transaction. It
//! moves with others that are about as far, as a member of the log's [`Group`], unless something has to be done alone.

use std::sync::Arc;
use std::time::Duration;

use commands::Store;
use commands::failpoint::{self, Failpoint};
use commands::store::HEAD;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::event::Event;
use crate::group::Group;
use crate::lease::{Keeper, Lease};
use crate::parking;
use crate::projection::Projection;
use crate::table::ApplyError;

/// Events in one transaction.
pub const BATCH: i64 = 1_000;
/// Not synced: after a crash the checkpoint is as old as the rows, and the log, which is synced, is read again.
const BEGIN: &str = "BEGIN; SET LOCAL synchronous_commit = off";
/// How long a runner rests after a failure, or while another process holds the lease.
pub(crate) const REST: Duration = Duration::from_millis(500);

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
#[derive(Clone)]
pub struct Runner {
    pub store: Store,
    pub projection: Arc<Projection>,
    pub log_id: i16,
    pub slot: Slot,
    pub(crate) owner: Uuid,
}

/// Runs projections on every log until stopped.
#[must_use]
pub fn run_all(store: &Store, projections: &[Arc<Projection>], stopping: &CancellationToken) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let keeper = Keeper::default();
    for log_id in store.logs() {
        let group = Group::start(store.clone(), *log_id, keeper.clone(), &mut tasks);
        for projection in projections {
            let runner = Runner::new(store.clone(), Arc::clone(projection), *log_id, Slot::Live);
            tasks.spawn(runner.run(keeper.clone(), group.clone(), stopping.clone()));
        }
    }
    tasks.spawn(keeper.run(store.clone(), stopping.clone()));
    tasks
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

    async fn run(self, keeper: Keeper, group: Group, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let followed = tokio::select! {
                followed = self.follow(&keeper, &group) => followed,
                () = stop.cancelled() => break,
            };
            keeper.forget(&self);
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

    async fn follow(&self, keeper: &Keeper, group: &Group) -> Result<(), RunError> {
        let mut head = self.store.progress().follow(HEAD, self.log_id);
        let Some(mut lease) = self.acquire().await? else {
            tokio::time::sleep(REST).await;
            return Ok(());
        };
        let lost = keeper.keep(self, lease);
        self.tell(lease);
        loop {
            if !parking::is_any_parked(self).await? {
                // Until there is something that the group can't do, which comes next.
                lease = tokio::select! {
                    lease = group.ride(self, lease) => lease,
                    () = lost.cancelled() => return Err(RunError::LeaseLost),
                };
            }
            tokio::select! {
                _ = head.wait_for(|head| *head > lease.position) => {}
                () = lost.cancelled() => return Err(RunError::LeaseLost),
            }
            let events = self.read(lease.position, BATCH).await?;
            let Some(last) = events.last().map(|e| e.position) else {
                tokio::time::sleep(REST).await;
                continue;
            };
            if events.iter().any(|event| self.projection.concerns(event)) {
                lease = self.commit(lease, events, last).await?;
                keeper.moved(self, lease, false);
                self.store.progress().changed(self.projection.name, self.log_id, lease.position);
            } else {
                lease.position = last;
                keeper.moved(self, lease, true);
            }
            self.tell(lease);
        }
    }

    fn tell(&self, lease: Lease) {
        self.store.progress().advance(self.projection.name, self.log_id, lease.position);
    }

    /// Applies the next events, at most `limit`.
    ///
    /// # Errors
    /// A gap, a lost lease, or database errors; a poison event is parked and is no error.
    pub async fn step(&self, lease: Lease, limit: i64) -> Result<Lease, RunError> {
        let events = self.read(lease.position, limit).await?;
        match events.last().map(|e| e.position) {
            Some(last) => self.commit(lease, events, last).await,
            None => Ok(lease),
        }
    }

    /// Rows and checkpoint in one transaction. The checkpoint first: without the lease no row is touched, and whoever
    /// switches the tables takes this row before them too, so that the two never wait for each other.
    pub(crate) async fn commit(
        &self,
        lease: Lease,
        events: Vec<Event>,
        last: i64,
    ) -> Result<Lease, RunError> {
        let mut connection = self.store.pool().acquire().await?;
        let mut tx = connection.begin_with(BEGIN).await?;
        let parked = self.move_checkpoint(&mut tx, lease, last).await?;
        if parked {
            self.apply(&mut tx, events).await?;
        } else {
            match apply_tables(&mut tx, &self.projection, self.schema(), &events).await {
                Ok(()) => {}
                Err(error) if !parking::is_poison(&error) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(projection = self.projection.name, %error, "a batch failed; applying its events one by one");
                    tx.rollback().await?;
                    tx = connection.begin_with(BEGIN).await?;
                    self.move_checkpoint(&mut tx, lease, last).await?;
                    parking::apply_each(&mut tx, self, events).await?;
                }
            }
        }
        failpoint::reached(Failpoint::BeforeProjectionCommit).await;
        tx.commit().await?;
        failpoint::reached(Failpoint::Projected).await;
        metrics::counter!("projection_commits_total", "way" => "alone").increment(1);
        Ok(Lease { position: last, committed: last, ..lease })
    }

    /// Applies a batch within somebody's transaction; when an event of it is poison, one by one, parking the streams of
    /// those that are.
    ///
    /// # Errors
    /// Whatever is not the events' fault.
    pub(crate) async fn apply(&self, tx: &mut PgConnection, events: Vec<Event>) -> Result<(), RunError> {
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
        gapless(self.log_id, after, self.store.read_log(self.log_id, after, limit).await?)
    }
}

/// The events that follow on a position.
///
/// # Errors
/// A gap.
pub(crate) fn gapless(log_id: i16, after: i64, events: Vec<Event>) -> Result<Vec<Event>, RunError> {
    for (expected, event) in (after + 1..).zip(&events) {
        if event.position != expected {
            return Err(RunError::Gap { log_id, after: expected - 1, found: event.position });
        }
    }
    Ok(events)
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
