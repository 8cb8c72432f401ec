//! Group commit: one task per log and process writes whatever queued while the previous commit was syncing.

use std::sync::Arc;

use domain::event::Recorded;
use serde_json::Value;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::batch::{Append, Facts, Outcome, Plan, Row};
use crate::CommandError;
use crate::clock::Clock;
use crate::failpoint::{self, Failpoint};
use crate::store::{HEAD, Progress};

/// Commands in one commit: larger batches only add latency to the first of them.
pub const MAX_BATCH: usize = 256;
/// Commands that may wait for a log; one more is refused at once.
pub const QUEUE_LIMIT: usize = 2048;
/// How often a batch is tried when the database fails under it. Command ids make a repetition harmless.
const MAX_TRIES: u32 = 3;

struct Pending {
    append: Append,
    reply: oneshot::Sender<Result<Outcome, CommandError>>,
}

/// The way into one log.
#[derive(Clone)]
pub struct Appender {
    queue: mpsc::Sender<Pending>,
}

impl Appender {
    pub(super) fn start(log_id: i16, pool: PgPool, clock: Clock, progress: Arc<Progress>) -> Self {
        let (queue, incoming) = mpsc::channel(QUEUE_LIMIT);
        tokio::spawn(Writer { log_id, pool, clock, progress, connection: None }.run(incoming));
        Self { queue }
    }

    /// Waits for the command's own outcome. A full queue is refused at once.
    ///
    /// # Errors
    /// `Busy` when the queue is full; database errors when the commit failed repeatedly.
    pub async fn append(&self, append: Append) -> Result<Outcome, CommandError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Pending { append, reply }).map_err(|_| CommandError::Busy)?;
        answer.await.map_err(|_| CommandError::failed("the appender has stopped"))?
    }
}

/// What writes one log for this process.
struct Writer {
    log_id: i16,
    pool: PgPool,
    clock: Clock,
    progress: Arc<Progress>,
    /// Kept outside of the pool: requests that hold every pooled connection must not starve the log.
    connection: Option<PgConnection>,
}

impl Writer {
    async fn run(mut self, mut incoming: mpsc::Receiver<Pending>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while incoming.recv_many(&mut batch, MAX_BATCH).await > 0 {
            let (commands, replies): (Vec<_>, Vec<_>) = batch.drain(..).map(|p| (p.append, p.reply)).unzip();
            metrics::histogram!("append_batch_commands")
                .record(f64::from(u32::try_from(commands.len()).unwrap_or(0)));
            for (reply, outcome) in replies.into_iter().zip(self.append(&commands).await) {
                let _ = reply.send(outcome); // whoever stopped waiting finds its events in the log
            }
        }
    }

    /// An outcome per command. A batch that the database refuses for what it contains is written command by command,
    /// so that only the one that it can't take fails.
    async fn append(&mut self, commands: &[Append]) -> Vec<Result<Outcome, CommandError>> {
        let error = match self.try_append(commands).await {
            Ok(outcomes) => return outcomes.into_iter().map(Ok).collect(),
            Err(error) => error,
        };
        if commands.len() == 1 || !is_about_contents(&error) {
            return commands.iter().map(|_| Err(CommandError::failed(&error))).collect();
        }
        let mut outcomes = Vec::with_capacity(commands.len());
        for command in commands {
            let alone = self.try_append(std::slice::from_ref(command)).await;
            outcomes.push(alone.map_err(CommandError::failed).and_then(|one| {
                one.into_iter().next().ok_or_else(|| CommandError::failed("a command without an outcome"))
            }));
        }
        outcomes
    }

    async fn try_append(&mut self, commands: &[Append]) -> Result<Vec<Outcome>, sqlx::Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            match write(&mut self.connection, self.log_id, &self.pool, &self.clock, commands).await {
                Ok((position, outcomes)) => {
                    self.progress.advance(HEAD, self.log_id, position);
                    return Ok(outcomes);
                }
                Err(error) => {
                    tracing::warn!(log_id = self.log_id, tries, %error, "a batch could not be appended");
                    self.connection = None;
                    if tries == MAX_TRIES || is_about_contents(&error) {
                        return Err(error);
                    }
                }
            }
        }
    }
}

/// Whether the database will never take these rows: data that it can't represent, keys that are too long, constraints
/// (SQLSTATE classes 22, 54 and 23).
fn is_about_contents(error: &sqlx::Error) -> bool {
    let state = error.as_database_error().and_then(|e| e.code());
    state.is_some_and(|state| ["22", "23", "54"].iter().any(|class| state.starts_with(class)))
}

/// One transaction: facts under the lock, the plan, the rows. Answers the log's head and an outcome per command.
async fn write(
    slot: &mut Option<PgConnection>,
    log_id: i16,
    pool: &PgPool,
    clock: &Clock,
    commands: &[Append],
) -> Result<(i64, Vec<Outcome>), sqlx::Error> {
    let connection = match slot {
        Some(connection) => connection,
        None => slot.insert(pool.acquire().await?.detach()),
    };
    let mut tx = connection.begin().await?;
    let facts = read_facts(&mut tx, log_id, commands).await?;
    let mut plan = Plan::new(log_id, clock.now(), facts);
    let outcomes = commands.iter().map(|command| plan.add(command)).collect();
    let position = plan.position();
    if plan.is_empty() {
        tx.rollback().await?;
        return Ok((position, outcomes));
    }
    release_claims(&mut tx, log_id, &plan).await?;
    insert_claims(&mut tx, log_id, &plan).await?;
    if !plan.rows.is_empty() {
        insert_events(&mut tx, log_id, &plan.rows).await?;
    }
    failpoint::reached(Failpoint::BeforeAppendCommit).await;
    tx.commit().await?;
    failpoint::reached(Failpoint::Appended).await;
    Ok((position, outcomes))
}

async fn read_facts(tx: &mut PgConnection, log_id: i16, commands: &[Append]) -> Result<Facts, sqlx::Error> {
    let ids: Vec<Uuid> = commands.iter().map(|c| c.command_id).collect();
    let mut streams: Vec<Uuid> =
        commands.iter().flat_map(|c| c.streams.iter().map(|s| s.stream_id)).collect();
    streams.sort_unstable();
    streams.dedup();
    let (mut tenants, mut scopes, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for command in commands {
        for claim in command.claims.iter().chain(&command.releases) {
            tenants.push(command.tenant_id);
            scopes.push(claim.scope);
            keys.push(claim.key.as_str());
        }
    }
    let facts: Value = sqlx::query_scalar("SELECT append_facts($1, $2, $3, $4, $5, $6)")
        .bind(log_id)
        .bind(&ids)
        .bind(&streams)
        .bind(&tenants)
        .bind(&scopes)
        .bind(&keys)
        .fetch_one(&mut *tx)
        .await?;
    serde_json::from_value(facts).map_err(|e| sqlx::Error::Decode(e.into()))
}

async fn release_claims(tx: &mut PgConnection, log_id: i16, plan: &Plan) -> Result<(), sqlx::Error> {
    for (tenant_id, claim) in &plan.released {
        sqlx::query("DELETE FROM claims WHERE log_id = $1 AND tenant_id = $2 AND scope = $3 AND key = $4")
            .bind(log_id)
            .bind(tenant_id)
            .bind(claim.scope)
            .bind(&claim.key)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

async fn insert_claims(tx: &mut PgConnection, log_id: i16, plan: &Plan) -> Result<(), sqlx::Error> {
    if plan.claimed.is_empty() {
        return Ok(());
    }
    let claims = &plan.claimed;
    sqlx::query(
        "INSERT INTO claims SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[])",
    )
    .bind(log_id)
    .bind(claims.iter().map(|(tenant, _)| *tenant).collect::<Vec<_>>())
    .bind(claims.iter().map(|(_, c)| c.scope).collect::<Vec<_>>())
    .bind(claims.iter().map(|(_, c)| c.key.as_str()).collect::<Vec<_>>())
    .bind(claims.iter().map(|(_, c)| c.owner).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_events(tx: &mut PgConnection, log_id: i16, rows: &[Row]) -> Result<(), sqlx::Error> {
    fn column<'a, T>(rows: &'a [Row], get: impl Fn(&'a Recorded<Value>) -> T) -> Vec<T> {
        rows.iter().map(|row| get(&row.event)).collect()
    }
    sqlx::query(
        "INSERT INTO events
         SELECT $1, position, tenant_id, stream_type, stream_id, version, event_type, schema_version, event_id,
             command_id, metadata::jsonb, recorded_at, payload::jsonb, payload_hash, chain_hash
         FROM unnest($2::bigint[], $3::uuid[], $4::text[], $5::uuid[], $6::bigint[], $7::text[], $8::smallint[],
             $9::uuid[], $10::uuid[], $11::text[], $12::timestamptz[], $13::text[], $14::bytea[], $15::bytea[])
             AS new (position, tenant_id, stream_type, stream_id, version, event_type, schema_version, event_id,
                 command_id, metadata, recorded_at, payload, payload_hash, chain_hash)",
    )
    .bind(log_id)
    .bind(column(rows, |e| e.position))
    .bind(column(rows, |e| e.tenant_id))
    .bind(column(rows, |e| e.stream_type.as_str()))
    .bind(column(rows, |e| e.stream_id))
    .bind(column(rows, |e| e.version))
    .bind(column(rows, |e| e.event_type.as_str()))
    .bind(column(rows, |e| e.schema_version))
    .bind(column(rows, |e| e.event_id))
    .bind(column(rows, |e| e.command_id))
    .bind(column(rows, |e| domain::canonical::to_string(&e.metadata)))
    .bind(column(rows, |e| e.recorded_at))
    .bind(column(rows, |e| e.body.to_string()))
    .bind(rows.iter().map(|row| row.payload_hash.as_slice()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.chain_hash.as_slice()).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}
