//! A second set of tables of a read model, filled beside the live one.

use std::sync::Arc;
use std::time::Duration;

use commands::Store;
use commands::store::HEAD;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::lease::{Lease, RENEW_EVERY};
use crate::projection::{Kind, Projection};
use crate::rebuild::{RebuildError, Step};
use crate::runner::{RunError, Runner, Slot};

/// A shadow closer to the log's head than this is as good as there: the rest is applied within the switch.
pub(crate) const SWITCH_LAG: i64 = 500;
/// Events in one transaction of a filling. More than in a live one: rows that change often are written once for all of
/// them, and nobody waits for the first one.
const FILL_BATCH: i64 = 5_000;
/// How long filling rests after each batch, so that live work keeps most of the machine.
pub const THROTTLE: Duration = Duration::from_millis(20);

/// What is done with tables that an interrupted rebuild left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remains {
    TakeUp,
    Drop,
}

/// The tables in the schema `rebuild` (or `previous`, on the way back), leased to this process.
pub struct Shadow {
    pub(crate) runners: Vec<Runner>,
    pub(crate) leases: Vec<Lease>,
    pub(crate) store: Store,
    pub(crate) projection: Arc<Projection>,
    renewed: Instant,
}

impl Shadow {
    /// Takes the lease of every log and makes the tables.
    pub(crate) async fn prepare(
        store: &Store,
        projection: &Arc<Projection>,
        remains: Remains,
    ) -> Result<Self, RebuildError> {
        let mut shadow = Self::lease(store, projection, Slot::Rebuild).await?;
        if let Err(error) = shadow.create_tables(remains).await {
            shadow.give_back().await;
            return Err(error);
        }
        Ok(shadow)
    }

    /// Takes the lease of every log, or of none.
    pub(crate) async fn lease(
        store: &Store,
        projection: &Arc<Projection>,
        slot: Slot,
    ) -> Result<Self, RebuildError> {
        if projection.kind != Kind::ReadModel {
            return Err(RebuildError::NotAReadModel(projection.name));
        }
        let (store, projection) = (store.clone(), Arc::clone(projection));
        let mut shadow =
            Self { runners: Vec::new(), leases: Vec::new(), store, projection, renewed: Instant::now() };
        for log_id in shadow.store.logs().to_vec() {
            let runner = Runner::new(shadow.store.clone(), Arc::clone(&shadow.projection), log_id, slot);
            match runner.acquire().await {
                Ok(Some(lease)) => {
                    shadow.runners.push(runner);
                    shadow.leases.push(lease);
                }
                other => {
                    shadow.give_back().await;
                    other?;
                    return Err(RebuildError::Busy(shadow.projection.name));
                }
            }
        }
        Ok(shadow)
    }

    /// Lets the next one start at once; what was filled stays.
    pub(crate) async fn give_back(&self) {
        for runner in &self.runners {
            if let Err(error) = runner.give_back().await {
                tracing::debug!(%error, "a lease was not given back; it will expire");
            }
        }
    }

    async fn create_tables(&mut self, remains: Remains) -> Result<(), RebuildError> {
        let mut connection = self.store.pool().acquire().await?;
        let mut tx = connection.begin().await?;
        let begun = self.leases.iter().any(|lease| lease.position > 0);
        if remains == Remains::TakeUp && begun && self.tables_fit(&mut tx).await? {
            return Ok(());
        }
        drop_tables(&mut tx, &self.projection, "rebuild").await?;
        for table in &self.projection.tables {
            let (name, key) = (table.name(), table.key().join(", "));
            let like =
                format!("CREATE TABLE rebuild.{name} (LIKE read.{name} INCLUDING ALL EXCLUDING INDEXES)");
            run(&mut tx, like).await?;
            run(&mut tx, format!("ALTER TABLE rebuild.{name} ADD PRIMARY KEY ({key})")).await?;
            run(&mut tx, format!("CALL make_read_model('rebuild.{name}')")).await?;
        }
        // Tables without rows and a checkpoint that says otherwise must never meet.
        reset_checkpoints(&mut tx, self.projection.name).await?;
        tx.commit().await?;
        self.leases.iter_mut().for_each(|lease| (lease.position, lease.committed) = (0, 0));
        Ok(())
    }

    /// Whether an interrupted rebuild left every table, in the shape that the live ones have now.
    async fn tables_fit(&self, tx: &mut PgConnection) -> Result<bool, sqlx::Error> {
        for table in &self.projection.tables {
            if !same_shape(tx, "rebuild", table.name()).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Replays every log up to `until`, or close to its head.
    ///
    /// # Errors
    /// A lost lease or database errors; what was filled so far stays and is taken up again.
    pub(crate) async fn fill(
        &mut self,
        until: Option<&[i64]>,
        report: &mut (impl FnMut(Step) + Send),
    ) -> Result<(), RebuildError> {
        loop {
            let goals = match until {
                Some(goals) => goals.to_vec(),
                None => heads(&self.store).await?,
            };
            let of = goals.iter().sum();
            let before = self.done();
            for (index, goal) in goals.iter().enumerate() {
                self.fill_log(index, *goal, &mut |done| report(Step { done, of })).await?;
            }
            report(Step { done: self.done(), of });
            let left: i64 = self.leases.iter().zip(&goals).map(|(l, goal)| (goal - l.position).max(0)).sum();
            if self.done() == before || (until.is_none() && left < SWITCH_LAG) {
                return Ok(());
            }
        }
    }

    /// Replays one log up to a position. The next events are read and opened while the last ones are applied.
    async fn fill_log(
        &mut self,
        index: usize,
        goal: i64,
        report: &mut (impl FnMut(i64) + Send),
    ) -> Result<(), RebuildError> {
        let runner = self.runners[index].clone();
        let read = |after: i64| {
            let (runner, limit) = (runner.clone(), FILL_BATCH.min(goal - after));
            AbortOnDropHandle::new(tokio::spawn(async move { runner.read(after, limit).await }))
        };
        let from = self.leases[index].position;
        let mut reading = (from < goal).then(|| read(from));
        while let Some(read_before) = reading.take() {
            let events = read_before.await.map_err(|error| sqlx::Error::Io(error.into()))??;
            let Some(last) = events.last().map(|e| e.position) else { return Ok(()) };
            reading = (last < goal).then(|| read(last));
            self.leases[index] = runner.commit(self.leases[index], events, last).await?;
            report(self.done());
            if self.renewed.elapsed() >= RENEW_EVERY {
                self.renew().await?;
                self.renewed = Instant::now();
            }
            tokio::time::sleep(THROTTLE).await;
        }
        Ok(())
    }

    /// Positions passed, over all logs.
    fn done(&self) -> i64 {
        self.leases.iter().map(|lease| lease.position).sum()
    }

    /// Keeps every lease; logs that are done would lose theirs while others are filled.
    pub(crate) async fn renew(&self) -> Result<(), RunError> {
        for (runner, lease) in self.runners.iter().zip(&self.leases) {
            runner.renew(*lease).await?;
        }
        Ok(())
    }

    /// Does something long that is no filling, without losing the leases.
    pub(crate) async fn holding<T>(
        &self,
        work: impl Future<Output = Result<T, RebuildError>>,
    ) -> Result<T, RebuildError> {
        let renewing = async {
            loop {
                tokio::time::sleep(RENEW_EVERY).await;
                if let Err(error) = self.renew().await {
                    return error;
                }
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            error = renewing => Err(error.into()),
        }
    }

    /// Gives the new tables the indexes of the live ones; only now, since filling an index row by row is slower.
    pub(crate) async fn add_indexes(&self) -> Result<(), RebuildError> {
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
                run(&mut connection, definition.replacen(" ON read.", " ON rebuild.", 1)).await?;
            }
            run(&mut connection, format!("ANALYZE rebuild.{}", table.name())).await?;
        }
        Ok(())
    }

    /// Drops the tables and the checkpoints: what `verify` does when it has compared.
    pub(crate) async fn discard(self) -> Result<(), RebuildError> {
        let mut connection = self.store.pool().acquire().await?;
        let mut tx = connection.begin().await?;
        drop_tables(&mut tx, &self.projection, "rebuild").await?;
        reset_checkpoints(&mut tx, self.projection.name).await?;
        sqlx::query("DELETE FROM projections WHERE name = $1 AND slot = 'rebuild'")
            .bind(self.projection.name)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

pub(crate) async fn drop_tables(
    tx: &mut PgConnection,
    projection: &Projection,
    schema: &str,
) -> Result<(), sqlx::Error> {
    for table in &projection.tables {
        run(tx, format!("DROP TABLE IF EXISTS {schema}.{}", table.name())).await?;
    }
    Ok(())
}

async fn reset_checkpoints(tx: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE projections SET position = 0 WHERE name = $1 AND slot = 'rebuild'")
        .bind(name)
        .execute(&mut *tx)
        .await?;
    sqlx::query("DELETE FROM parked_events WHERE name = $1 AND slot = 'rebuild'")
        .bind(name)
        .execute(tx)
        .await?;
    Ok(())
}

/// Whether `schema` has the table with the columns that the live one has; a migration may have come in between.
pub(crate) async fn same_shape(
    tx: &mut PgConnection,
    schema: &str,
    table: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "WITH shape AS (
             SELECT attrelid, array_agg(attname || ' ' || format_type(atttypid, atttypmod) ORDER BY attname) AS columns
             FROM pg_attribute
             WHERE attrelid IN (to_regclass('read.' || $2), to_regclass($1 || '.' || $2)) AND attnum > 0 AND NOT attisdropped
             GROUP BY attrelid)
         SELECT count(*) = 2 AND count(DISTINCT columns) = 1 FROM shape",
    )
    .bind(schema)
    .bind(table)
    .fetch_one(tx)
    .await
}

/// The last position of each log, in the order of [`Store::logs`]; 0 for an empty one.
///
/// # Errors
/// Database errors.
pub async fn heads(store: &Store) -> Result<Vec<i64>, sqlx::Error> {
    let heads: Vec<(i16, i64)> = sqlx::query_as(
        "SELECT l.log_id, coalesce((SELECT max(e.position) FROM events e WHERE e.log_id = l.log_id), 0)
         FROM logs l ORDER BY l.log_id",
    )
    .fetch_all(store.pool())
    .await?;
    heads.iter().for_each(|(log_id, position)| store.progress().advance(HEAD, *log_id, *position));
    Ok(heads.into_iter().map(|(_, position)| position).collect())
}

/// Only names that the code declares are ever put into these statements.
pub(crate) async fn run(connection: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
}
