//! Rebuilding a read model beside the live one, and switching when it is as far.
//!
//! Readers never see a half-built table: the new one grows in a schema of its own, without secondary indexes, and takes
//! the live one's place in one short transaction; the old one stays in `previous` for rollback. There is no path from
//! here to an effect: only read models can be rebuilt.

use std::sync::Arc;
use std::time::Duration;

use commands::Store;
use commands::store::HEAD;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::projection::{Kind, Projection};
use crate::runner::{BATCH, Lease, RunError, Runner, Slot};

/// A rebuild closer to the log's head than this may switch: the rest is applied within the switch.
const SWITCH_LAG: i64 = 500;
/// How long a rebuild rests after each batch, so that live work keeps most of the machine.
pub const THROTTLE: Duration = Duration::from_millis(5);

#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("{0} is a process manager: rebuilding it would do its work again")]
    NotAReadModel(&'static str),
    #[error("{0} is being rebuilt by another process")]
    Busy(&'static str),
    #[error("there is no previous version of {0} to go back to")]
    NothingToRollBackTo(&'static str),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// How far a rebuild is: positions done and to do, over all logs.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub done: i64,
    pub of: i64,
}

/// Fills a second set of tables up to the head, then switches. Resumes where an interrupted rebuild stopped.
///
/// # Errors
/// When another process rebuilds the same projection, or the database fails.
pub async fn rebuild(store: &Store, projection: &Arc<Projection>, report: impl FnMut(Step) + Send) -> Result<(), RebuildError> {
    let shadow = Shadow::prepare(store, projection).await?;
    shadow.fill(None, report).await?;
    shadow.add_indexes().await?;
    shadow.switch().await
}

/// A second set of tables of a read model, in the schema `rebuild`.
pub struct Shadow {
    runners: Vec<Runner>,
    leases: tokio::sync::Mutex<Vec<Lease>>,
    store: Store,
    projection: Arc<Projection>,
}

impl Shadow {
    /// Makes the tables, or takes up those of an interrupted rebuild, and leases their checkpoints.
    ///
    /// # Errors
    /// When the projection is not a read model, or another process holds the rebuild.
    pub async fn prepare(store: &Store, projection: &Arc<Projection>) -> Result<Self, RebuildError> {
        if projection.kind != Kind::ReadModel {
            return Err(RebuildError::NotAReadModel(projection.name));
        }
        let mut runners = Vec::new();
        let mut leases = Vec::new();
        for log_id in store.logs() {
            let runner = Runner::new(store.clone(), Arc::clone(projection), *log_id, Slot::Rebuild);
            leases.push(runner.acquire().await?.ok_or(RebuildError::Busy(projection.name))?);
            runners.push(runner);
        }
        let shadow =
            Self { runners, leases: tokio::sync::Mutex::new(leases), store: store.clone(), projection: Arc::clone(projection) };
        shadow.create_tables().await?;
        Ok(shadow)
    }

    async fn create_tables(&self) -> Result<(), RebuildError> {
        let mut connection = self.store.pool().acquire().await?;
        let mut tx = connection.begin().await?;
        let mut fresh = false;
        for table in &self.projection.tables {
            let name = table.name();
            let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
                .bind(format!("rebuild.{name}"))
                .fetch_one(&mut *tx)
                .await?;
            if exists {
                continue;
            }
            fresh = true;
            let key = table.key().join(", ");
            run(&mut tx, format!("CREATE TABLE rebuild.{name} (LIKE read.{name} INCLUDING DEFAULTS INCLUDING GENERATED)")).await?;
            run(&mut tx, format!("ALTER TABLE rebuild.{name} ADD PRIMARY KEY ({key})")).await?;
            run(&mut tx, format!("CALL make_read_model('rebuild.{name}')")).await?;
        }
        if fresh {
            // Tables without rows and a checkpoint that says otherwise must never meet.
            self.reset_checkpoints(&mut tx).await?;
            self.leases.lock().await.iter_mut().for_each(|lease| lease.position = 0);
        }
        tx.commit().await?;
        Ok(())
    }

    async fn reset_checkpoints(&self, tx: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE projections SET position = 0 WHERE name = $1 AND slot = 'rebuild'")
            .bind(self.projection.name)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM parked_events WHERE name = $1 AND slot = 'rebuild'")
            .bind(self.projection.name)
            .execute(tx)
            .await?;
        Ok(())
    }

    /// Replays every log up to `until`, or up to its head.
    ///
    /// # Errors
    /// A lost lease or database errors; what was filled so far stays and is taken up again.
    pub async fn fill(&self, until: Option<&[i64]>, mut report: impl FnMut(Step) + Send) -> Result<(), RebuildError> {
        let mut leases = self.leases.lock().await;
        loop {
            let goals = match until {
                Some(goals) => goals.to_vec(),
                None => self.heads().await?,
            };
            let mut moved = false;
            for ((runner, lease), goal) in self.runners.iter().zip(leases.iter_mut()).zip(&goals) {
                if lease.position < *goal {
                    *lease = runner.step(*lease, BATCH.min(goal - lease.position)).await?;
                    moved = true;
                }
            }
            report(Step { done: leases.iter().map(|l| l.position).sum(), of: goals.iter().sum() });
            let lag: i64 = leases.iter().zip(&goals).map(|(l, goal)| (goal - l.position).max(0)).sum();
            if !moved || (until.is_none() && lag < SWITCH_LAG) {
                return Ok(());
            }
            tokio::time::sleep(THROTTLE).await;
        }
    }

    async fn heads(&self) -> Result<Vec<i64>, sqlx::Error> {
        let mut heads = Vec::new();
        for log_id in self.store.logs() {
            heads.push(head(&self.store, *log_id).await?);
        }
        Ok(heads)
    }

    /// Gives the new tables the indexes of the live ones; only now, since filling an index row by row is slower.
    ///
    /// # Errors
    /// Database errors.
    pub async fn add_indexes(&self) -> Result<(), RebuildError> {
        let mut connection = self.store.pool().acquire().await?;
        for table in &self.projection.tables {
            let definitions: Vec<String> = sqlx::query_scalar(
                "SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i
                 WHERE i.indrelid = to_regclass('read.' || $1) AND NOT i.indisprimary
                     AND to_regclass('rebuild.' || (SELECT relname FROM pg_class WHERE oid = i.indexrelid)) IS NULL",
            )
            .bind(table.name())
            .fetch_all(&mut *connection)
            .await?;
            for definition in definitions {
                run(&mut connection, definition.replace(" ON read.", " ON rebuild.")).await?;
            }
        }
        Ok(())
    }

    /// Puts the new tables in the live ones' place. The live runner's commits wait meanwhile; then its lease is gone
    /// and it starts again on the new tables.
    ///
    /// # Errors
    /// Database errors; nothing has changed then.
    pub async fn switch(&self) -> Result<(), RebuildError> {
        let name = self.projection.name;
        let mut connection = self.store.pool().acquire().await?;
        let mut tx = connection.begin().await?;
        let live: Vec<(i16, i64)> = sqlx::query_as(
            "SELECT log_id, position FROM projections WHERE name = $1 AND slot = 'live' ORDER BY log_id FOR UPDATE",
        )
        .bind(name)
        .fetch_all(&mut *tx)
        .await?;
        for (runner, lease) in self.runners.iter().zip(self.leases.lock().await.iter()) {
            let goal = live.iter().find(|(log, _)| *log == runner.log_id).map_or(0, |(_, position)| *position);
            let events = runner.read(lease.position, (goal - lease.position).max(0)).await?;
            if let Some(last) = events.last().map(|e| e.position) {
                runner.apply(&mut tx, events).await?;
                sqlx::query("UPDATE projections SET position = $3 WHERE name = $1 AND slot = 'rebuild' AND log_id = $2")
                    .bind(name)
                    .bind(runner.log_id)
                    .bind(last)
                    .execute(&mut *tx)
                    .await?;
            }
        }
        for table in &self.projection.tables {
            let table = table.name();
            run(&mut tx, format!("DROP TABLE IF EXISTS previous.{table}")).await?;
            run(&mut tx, format!("ALTER TABLE read.{table} SET SCHEMA previous")).await?;
            run(&mut tx, format!("ALTER TABLE rebuild.{table} SET SCHEMA read")).await?;
        }
        move_slots(&mut tx, name, "rebuild").await?;
        tx.commit().await?;
        Ok(())
    }

    /// Drops the new tables: what `verify` does when it has compared.
    ///
    /// # Errors
    /// Database errors.
    pub async fn discard(&self) -> Result<(), RebuildError> {
        let mut connection = self.store.pool().acquire().await?;
        let mut tx = connection.begin().await?;
        for table in &self.projection.tables {
            run(&mut tx, format!("DROP TABLE IF EXISTS rebuild.{}", table.name())).await?;
        }
        self.reset_checkpoints(&mut tx).await?;
        sqlx::query("DELETE FROM projections WHERE name = $1 AND slot = 'rebuild'")
            .bind(self.projection.name)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Puts the version before the last rebuild back in place; its runner catches up from where it stood.
///
/// # Errors
/// When there is none.
pub async fn roll_back(store: &Store, projection: &Projection) -> Result<(), RebuildError> {
    let mut connection = store.pool().acquire().await?;
    let mut tx = connection.begin().await?;
    sqlx::query("SELECT 1 FROM projections WHERE name = $1 AND slot = 'live' FOR UPDATE")
        .bind(projection.name)
        .execute(&mut *tx)
        .await?;
    for table in &projection.tables {
        let name = table.name();
        let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(format!("previous.{name}"))
            .fetch_one(&mut *tx)
            .await?;
        if !exists {
            return Err(RebuildError::NothingToRollBackTo(projection.name));
        }
        run(&mut tx, format!("ALTER TABLE read.{name} SET SCHEMA rebuild")).await?;
        run(&mut tx, format!("ALTER TABLE previous.{name} SET SCHEMA read")).await?;
        run(&mut tx, format!("ALTER TABLE rebuild.{name} SET SCHEMA previous")).await?;
    }
    move_slots(&mut tx, projection.name, "previous").await?;
    tx.commit().await?;
    Ok(())
}

/// `from` becomes live and live becomes previous. A new epoch and no holder: whoever wrote to the old tables must take
/// the lease again.
async fn move_slots(tx: &mut PgConnection, name: &str, from: &str) -> Result<(), sqlx::Error> {
    for table in ["projections", "parked_events"] {
        if from == "rebuild" {
            run_for(tx, format!("DELETE FROM {table} WHERE name = $1 AND slot = 'previous'"), name).await?;
        } else {
            run_for(tx, format!("DELETE FROM {table} WHERE name = $1 AND slot = 'rebuild'"), name).await?;
            run_for(tx, format!("UPDATE {table} SET slot = 'rebuild' WHERE name = $1 AND slot = 'previous'"), name).await?;
        }
        run_for(tx, format!("UPDATE {table} SET slot = 'previous' WHERE name = $1 AND slot = 'live'"), name).await?;
        run_for(tx, format!("UPDATE {table} SET slot = 'live' WHERE name = $1 AND slot = 'rebuild'"), name).await?;
    }
    sqlx::query(
        "UPDATE projections new SET lease_owner = NULL, lease_until = NULL,
             lease_epoch = greatest(new.lease_epoch, old.lease_epoch) + 1,
             generation = greatest(new.generation, old.generation) + 1
         FROM projections old
         WHERE new.name = $1 AND new.slot = 'live' AND old.name = $1 AND old.slot = 'previous' AND old.log_id = new.log_id",
    )
    .bind(name)
    .execute(tx)
    .await?;
    Ok(())
}

/// The last position of a log; 0 when it is empty.
///
/// # Errors
/// Database errors.
pub async fn head(store: &Store, log_id: i16) -> Result<i64, sqlx::Error> {
    let position: i64 = sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM events WHERE log_id = $1")
        .bind(log_id)
        .fetch_one(store.pool())
        .await?;
    store.progress().advance(HEAD, log_id, position);
    Ok(position)
}

/// Only names that the code declares are ever put into these statements.
async fn run(connection: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
}

async fn run_for(connection: &mut PgConnection, sql: String, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(sql)).bind(name).execute(connection).await.map(|_| ())
}
