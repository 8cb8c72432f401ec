//! The projections of a log that are about as far move on together: the events are read once, and what they change in all
//! of them is loaded by one statement and written by one more. Each keeps its own lease and checkpoint, and whatever is not
//! plain (an event that a fold refuses, a purge, a lost lease) is handed back to the projection's own runner, which does
//! it alone.
//!
//! Rows are loaded before the checkpoints are locked. In between only somebody with a newer epoch of the lease could
//! change them, and then nothing of ours is written; a replay of parked events could, so nobody rides who has some.

use std::fmt::Write;

use commands::Store;
use commands::failpoint::{self, Failpoint};
use commands::store::{HEAD, LOOKUPS_BY_KEY};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::event::Event;
use crate::lease::{Keeper, LEASE, Lease};
use crate::runner::{BATCH, REST, RunError, Runner, gapless};
use crate::table::{Changes, Rows, delete_sql, load_sql};

/// For the session of a group, besides [`LOOKUPS_BY_KEY`]:
///
/// - not synced, as every projection;
/// - soon giving way: a statement locks its tables before the checkpoints, and a rebuild's switch, which waits longer,
///   the other way round.
const SESSION: &str = "SET synchronous_commit = off; SET lock_timeout = '50ms'";

/// The way into the group of a log.
#[derive(Clone)]
pub(crate) struct Group(mpsc::UnboundedSender<Rider>);

/// A projection that moves with the group.
struct Rider {
    runner: Runner,
    lease: Lease,
    back: oneshot::Sender<Lease>,
}

impl Group {
    /// Ends when every handle of it is gone.
    pub(crate) fn start(store: Store, log_id: i16, keeper: Keeper, tasks: &mut JoinSet<()>) -> Self {
        let (group, joining) = mpsc::unbounded_channel();
        tasks.spawn(Driver { store, log_id, keeper, connection: None, riders: Vec::new() }.run(joining));
        Self(group)
    }

    /// Moves with the others until there is something to be done alone; answers the lease as it is then.
    pub(crate) async fn ride(&self, runner: &Runner, lease: Lease) -> Lease {
        let (back, left) = oneshot::channel();
        // Should the group be gone, the runner goes on alone; the fence tells it if the group had moved further.
        let _ = self.0.send(Rider { runner: runner.clone(), lease, back });
        left.await.unwrap_or(lease)
    }
}

impl Rider {
    fn leave(self) {
        let _ = self.back.send(self.lease); // whoever stopped waiting has given up the lease
    }

    /// Those of the events that it has not seen.
    fn ahead<'a>(&self, events: &'a [Event]) -> &'a [Event] {
        let first = events.partition_point(|event| event.position <= self.lease.position);
        &events[first..]
    }
}

/// What one table has to do with a batch.
struct Part<'a> {
    rider: usize,
    table: &'a dyn Rows,
    events: &'a [Event],
    touched: Vec<Value>,
}

/// What a batch changes in one table.
struct Change<'a> {
    projection: &'static str,
    schema: &'static str,
    table: &'a dyn Rows,
    changes: Changes,
}

struct Driver {
    store: Store,
    log_id: i16,
    keeper: Keeper,
    /// Of its own: what a waiting client looks for must not queue behind requests.
    connection: Option<PgConnection>,
    riders: Vec<Rider>,
}

impl Driver {
    async fn run(mut self, mut joining: mpsc::UnboundedReceiver<Rider>) {
        let mut head = self.store.progress().follow(HEAD, self.log_id);
        loop {
            let from = self.together();
            tokio::select! {
                biased;
                rider = joining.recv() => match rider {
                    Some(rider) => {
                        self.riders.push(rider);
                        continue;
                    }
                    None => return,
                },
                _ = head.wait_for(|head| from.is_some_and(|from| *head > from)) => {}
            }
            self.step(from.unwrap_or(0)).await;
        }
    }

    /// Where the last of the riders is, without those who would hold up the others.
    fn together(&mut self) -> Option<i64> {
        let foremost = self.riders.iter().map(|rider| rider.lease.position).max()?;
        self.riders.extract_if(.., |rider| rider.lease.position < foremost - BATCH).for_each(Rider::leave);
        self.riders.iter().map(|rider| rider.lease.position).min()
    }

    async fn step(&mut self, from: i64) {
        self.riders.retain(|rider| !rider.back.is_closed());
        let events = self.store.read_log(self.log_id, from, BATCH).await.map_err(RunError::from);
        match events.and_then(|events| gapless(self.log_id, from, events)) {
            Ok(events) if events.is_empty() => tokio::time::sleep(REST).await,
            Ok(events) => self.move_over(&events).await,
            Err(error) => {
                tracing::warn!(log_id = self.log_id, %error, "a group of projections could not read on");
                self.riders.drain(..).for_each(Rider::leave);
            }
        }
    }

    async fn move_over(&mut self, events: &[Event]) {
        let last = events[events.len() - 1].position;
        let (mut concerned, idle): (Vec<Rider>, Vec<Rider>) = self.riders.drain(..).partition(|rider| {
            rider.ahead(events).iter().any(|event| rider.runner.projection.concerns(event))
        });
        for mut rider in idle {
            rider.lease.position = rider.lease.position.max(last);
            self.keeper.moved(&rider.runner, rider.lease, true);
            self.tell(&rider);
            self.riders.push(rider);
        }
        if concerned.is_empty() {
            return;
        }
        let moved = match self.commit(&concerned, events, last).await {
            Ok(moved) => moved,
            Err(error) => {
                tracing::warn!(log_id = self.log_id, %error, "a group of projections could not move on together");
                self.connection = None;
                Vec::new()
            }
        };
        for mut rider in concerned.drain(..) {
            if !moved.iter().any(|name| name == rider.runner.projection.name) {
                rider.leave();
                continue;
            }
            (rider.lease.position, rider.lease.committed) = (last, last);
            self.keeper.moved(&rider.runner, rider.lease, false);
            self.store.progress().changed(rider.runner.projection.name, self.log_id, last);
            self.tell(&rider);
            self.riders.push(rider);
        }
    }

    fn tell(&self, rider: &Rider) {
        self.store.progress().advance(rider.runner.projection.name, self.log_id, rider.lease.position);
    }

    /// Answers the names of those that moved; the others have to go alone.
    async fn commit(
        &mut self,
        riders: &[Rider],
        events: &[Event],
        last: i64,
    ) -> Result<Vec<String>, sqlx::Error> {
        let mut parts = Vec::new();
        let mut plain = vec![true; riders.len()];
        for (number, rider) in riders.iter().enumerate() {
            match parts_of(number, rider, events) {
                Some(own) => parts.extend(own),
                None => plain[number] = false,
            }
        }
        let connection = connection(&mut self.connection, &self.store).await?;
        let mut stored = load(connection, riders, &parts).await?;
        let mut changes = Vec::new();
        for (part, stored) in parts.iter().zip(stored.drain(..)) {
            match part.table.fold(part.events, stored) {
                Ok(folded) => {
                    let runner = &riders[part.rider].runner;
                    let (projection, schema) = (runner.projection.name, runner.schema());
                    changes.push(Change { projection, schema, table: part.table, changes: folded });
                }
                // Its own runner finds out again, and parks the event.
                Err(_) => plain[part.rider] = false,
            }
        }
        let movers: Vec<&Rider> =
            riders.iter().zip(&plain).filter(|(_, plain)| **plain).map(|(r, _)| r).collect();
        changes.retain(|change| movers.iter().any(|rider| rider.runner.projection.name == change.projection));
        if movers.is_empty() {
            return Ok(Vec::new());
        }
        failpoint::reached(Failpoint::BeforeProjectionCommit).await;
        let moved = write(connection, self.log_id, &movers, &changes, last).await?;
        failpoint::reached(Failpoint::Projected).await;
        metrics::counter!("projection_commits_total", "way" => "together").increment(1);
        Ok(moved)
    }
}

/// The parts of a projection's tables; `None` when one of them is more than rows that follow from rows.
fn parts_of<'a>(number: usize, rider: &'a Rider, events: &'a [Event]) -> Option<Vec<Part<'a>>> {
    let events = rider.ahead(events);
    let mut parts = Vec::new();
    for table in &rider.runner.projection.tables {
        if !events.iter().any(|event| table.concerns(event)) {
            continue;
        }
        let table = table.as_rows()?;
        let touched = table.touched(events)?;
        parts.push(Part { rider: number, table, events, touched });
    }
    Some(parts)
}

async fn connection<'a>(
    slot: &'a mut Option<PgConnection>,
    store: &Store,
) -> Result<&'a mut PgConnection, sqlx::Error> {
    match slot {
        Some(connection) => Ok(connection),
        None => {
            let mut connection = store.pool().acquire().await?.detach();
            sqlx::raw_sql(SESSION).execute(&mut connection).await?;
            sqlx::raw_sql(LOOKUPS_BY_KEY).execute(&mut connection).await?;
            Ok(slot.insert(connection))
        }
    }
}

/// The stored rows of each part, in the parts' order.
async fn load(
    db: &mut PgConnection,
    riders: &[Rider],
    parts: &[Part<'_>],
) -> Result<Vec<Vec<Value>>, sqlx::Error> {
    let mut stored: Vec<Vec<Value>> = parts.iter().map(|_| Vec::new()).collect();
    let wanted: Vec<(usize, &Part<'_>)> =
        parts.iter().enumerate().filter(|(_, part)| !part.touched.is_empty()).collect();
    if wanted.is_empty() {
        return Ok(stored);
    }
    let selects = wanted.iter().enumerate().map(|(index, (number, part))| {
        let schema = riders[part.rider].runner.schema();
        let rows = load_sql(schema, part.table, &format!("${}", index + 1));
        format!("SELECT {number}, found.* FROM ({rows}) found")
    });
    let sql = selects.collect::<Vec<_>>().join("\nUNION ALL ");
    let mut query = sqlx::query_as::<_, (i32, Value)>(AssertSqlSafe(sql));
    for (_, part) in &wanted {
        query = query.bind(Value::Array(part.touched.clone()));
    }
    for (number, row) in query.fetch_all(db).await? {
        if let Some(rows) = usize::try_from(number).ok().and_then(|number| stored.get_mut(number)) {
            rows.push(row);
        }
    }
    Ok(stored)
}

/// Moves the checkpoints, and writes the rows of those that moved. One statement, so that there is no transaction that a
/// process could stall in. Answers who moved: who still holds the lease, and nobody else.
async fn write(
    db: &mut PgConnection,
    log_id: i16,
    movers: &[&Rider],
    changes: &[Change<'_>],
    last: i64,
) -> Result<Vec<String>, sqlx::Error> {
    const FIRST_ROWS: usize = 9;
    let mut sql = "WITH moved AS (
             UPDATE projections p SET position = $2, lease_until = now() + $3::interval, error = NULL, updated_at = now()
             FROM unnest($4::text[], $5::uuid[], $6::bigint[], $7::bigint[], $8::bigint[])
                 AS held (name, owner, epoch, position, committed)
             WHERE p.name = held.name AND p.slot = 'live' AND p.log_id = $1 AND p.lease_owner = held.owner
                 AND p.lease_epoch = held.epoch AND p.position BETWEEN held.committed AND held.position
             RETURNING p.name)"
        .to_owned();
    let mut rows: Vec<Value> = Vec::new();
    for Change { projection, schema, table, changes } in changes {
        let has_moved = format!("EXISTS (SELECT FROM moved WHERE moved.name = '{projection}')");
        let mut add = |values: &[Value], to_sql: &dyn Fn(&str) -> String| {
            if !values.is_empty() {
                let statement = to_sql(&format!("${}", FIRST_ROWS + rows.len()));
                let _ = write!(sql, ",\nchange_{} AS ({statement})", rows.len());
                rows.push(Value::Array(values.to_vec()));
            }
        };
        add(&changes.upserts, &|rows| table.store_sql(schema, rows, &has_moved));
        add(&changes.deletes, &|keys| delete_sql(schema, *table, keys, &has_moved));
    }
    sql.push_str("\nSELECT name FROM moved");
    let column = |get: fn(&Rider) -> i64| movers.iter().map(|rider| get(rider)).collect::<Vec<_>>();
    let mut query = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(log_id)
        .bind(last)
        .bind(LEASE)
        .bind(movers.iter().map(|rider| rider.runner.projection.name).collect::<Vec<_>>())
        .bind(movers.iter().map(|rider| rider.runner.owner).collect::<Vec<_>>())
        .bind(column(|rider| rider.lease.epoch))
        .bind(column(|rider| rider.lease.position))
        .bind(column(|rider| rider.lease.committed));
    for values in rows {
        query = query.bind(values);
    }
    query.fetch_all(db).await
}
