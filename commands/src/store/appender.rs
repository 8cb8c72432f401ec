//! Group commit: one task per log and process sends whatever queued while the batches before it were written.

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo};
use sqlx::types::Json;
use sqlx::{Connection, Encode, PgConnection, PgPool, Postgres, Type};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::batch::{Append, Claim, Facts, Outcome, Plan, Prepared, Row};
use super::feed::Feed;
use super::memory::Memory;
use crate::CommandError;
use crate::clock::Clock;
use crate::failpoint::{self, Failpoint};
use crate::store::{HEAD, LOOKUPS_BY_KEY, Progress};

/// Commands in one commit: larger batches only add latency to the first of them.
pub const MAX_BATCH: usize = 256;
/// Commands that may wait for a log beside the batches on their way; one more is refused at once.
pub const QUEUE_LIMIT: usize = 2048;
/// Batches of a log on their way at once: one that is written, and one that waits for it at the database.
const LANES: usize = 2;
/// Fewer commands than this wait until nothing is on its way: a transaction for them alone would slow down all others.
const WORTH_A_LANE: usize = 32;
/// How often a batch is tried when the database fails under it. Command ids make a repetition harmless.
const MAX_TRIES: u32 = 3;

struct Pending {
    command: Prepared,
    reply: oneshot::Sender<Result<Outcome, CommandError>>,
}

/// The way into one log.
#[derive(Clone)]
pub struct Appender {
    queue: mpsc::Sender<Pending>,
}

impl Appender {
    pub(super) fn start(
        log_id: i16,
        pool: PgPool,
        clock: Clock,
        progress: Arc<Progress>,
        feed: Arc<Feed>,
    ) -> Self {
        let (queue, incoming) = mpsc::channel(QUEUE_LIMIT);
        let memory = Arc::new(Mutex::new(Memory::new()));
        let lane = || Lane {
            log_id,
            pool: pool.clone(),
            clock: clock.clone(),
            progress: Arc::clone(&progress),
            feed: Arc::clone(&feed),
            connection: None,
            memory: Arc::clone(&memory),
        };
        let writer = Writer { resting: std::iter::repeat_with(lane).take(LANES).collect() };
        tokio::spawn(writer.run(incoming));
        Self { queue }
    }

    /// Waits for the command's own outcome. A full queue is refused at once.
    ///
    /// # Errors
    /// `Busy` when the queue is full; database errors when the commit failed repeatedly.
    pub async fn append(&self, append: Append) -> Result<Outcome, CommandError> {
        let (reply, answer) = oneshot::channel();
        let command = Prepared::new(append);
        self.queue.try_send(Pending { command, reply }).map_err(|_| CommandError::Busy)?;
        answer.await.map_err(|_| CommandError::failed("the appender has stopped"))?
    }
}

/// What writes one log for this process. While the database works on a batch the next one is gathered, and sent after it
/// as soon as it is worth a transaction of its own, so that neither waits for the other.
struct Writer {
    resting: Vec<Lane>,
}

impl Writer {
    async fn run(mut self, mut incoming: mpsc::Receiver<Pending>) {
        let mut flying = FuturesUnordered::new();
        let mut gathered = Vec::with_capacity(MAX_BATCH);
        let mut is_open = true;
        while is_open || !flying.is_empty() {
            let room = MAX_BATCH - gathered.len();
            tokio::select! {
                Some(lane) = flying.next(), if !flying.is_empty() => self.resting.push(lane),
                taken = incoming.recv_many(&mut gathered, room), if is_open && room > 0 => is_open = taken > 0,
            }
            let enough = if flying.is_empty() { 1 } else { WORTH_A_LANE };
            if gathered.len() >= enough
                && let Some(lane) = self.resting.pop()
            {
                let batch = std::mem::replace(&mut gathered, Vec::with_capacity(MAX_BATCH));
                flying.push(lane.answer(batch));
            }
        }
    }
}

/// A connection to the log. Of the lanes of a log only one writes at a time; the database lets them take turns.
struct Lane {
    log_id: i16,
    pool: PgPool,
    clock: Clock,
    progress: Arc<Progress>,
    feed: Arc<Feed>,
    /// Kept outside of the pool: requests that hold every pooled connection must not starve the log.
    connection: Option<PgConnection>,
    memory: Arc<Mutex<Memory>>,
}

impl Lane {
    async fn answer(mut self, batch: Vec<Pending>) -> Self {
        let (commands, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|p| (p.command, p.reply)).unzip();
        metrics::histogram!("append_batch_commands")
            .record(f64::from(u32::try_from(commands.len()).unwrap_or(0)));
        for (reply, outcome) in replies.into_iter().zip(self.append(&commands).await) {
            let _ = reply.send(outcome); // whoever stopped waiting finds its events in the log
        }
        self
    }

    /// An outcome per command. A batch that the database refuses for what it contains is written command by command,
    /// so that only the one that it can't take fails.
    async fn append(&mut self, commands: &[Prepared]) -> Vec<Result<Outcome, CommandError>> {
        let error = match self.try_append(commands).await {
            Ok(outcomes) => return outcomes.into_iter().map(Ok).collect(),
            Err(error) => error,
        };
        if commands.len() == 1 || !is_about_contents(&error) {
            return commands.iter().map(|_| Err(CommandError::of_database(&error))).collect();
        }
        let mut outcomes = Vec::with_capacity(commands.len());
        for command in commands {
            let alone = self.try_append(std::slice::from_ref(command)).await;
            outcomes.push(alone.map_err(|error| CommandError::of_database(&error)).and_then(|one| {
                one.into_iter().next().ok_or_else(|| CommandError::failed("a command without an outcome"))
            }));
        }
        outcomes
    }

    async fn try_append(&mut self, commands: &[Prepared]) -> Result<Vec<Outcome>, sqlx::Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.write(commands).await {
                Ok((position, outcomes)) => {
                    for outcome in &outcomes {
                        if let Outcome::Appended(events) = outcome {
                            self.feed.offer(self.log_id, events);
                        }
                    }
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

    /// Plans on what is probably so; when the database knows better, on what it says; and when that was outdated again,
    /// because others write to the same streams, under the log's lock. Answers the log's head and an outcome per
    /// command.
    async fn write(&mut self, commands: &[Prepared]) -> Result<(i64, Vec<Outcome>), sqlx::Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            slot => {
                let mut connection = self.pool.acquire().await?.detach();
                sqlx::raw_sql(LOOKUPS_BY_KEY).execute(&mut connection).await?;
                slot.insert(connection)
            }
        };
        let (log_id, clock, memory) = (self.log_id, &self.clock, &self.memory);
        let plan = |facts: Option<Facts>| {
            // Held from the guess to what is made of it: the other lane plans on both.
            let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            let facts = facts.unwrap_or_else(|| memory.guess(commands));
            let mut plan = Plan::new(log_id, clock.now(), &facts);
            commands.iter().for_each(|command| plan.add(command));
            memory.expect(&plan);
            (facts, plan)
        };
        failpoint::reached(Failpoint::BeforeAppend).await;
        let mut known = None;
        for _ in 0..2 {
            let (facts, planned) = plan(known);
            match send(connection, log_id, &facts, commands, &planned).await? {
                Answer::Written(before) => return Ok(settle(planned, before).await),
                Answer::Facts(found) => known = Some(found),
            }
        }
        tracing::debug!(log_id, "planning under the log's lock: others write to the same streams");
        let mut tx = connection.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock(7301, $1)")
            .bind(i32::from(log_id))
            .execute(&mut *tx)
            .await?;
        loop {
            let (facts, planned) = plan(known);
            match send(&mut tx, log_id, &facts, commands, &planned).await? {
                Answer::Written(before) => {
                    tx.commit().await?;
                    return Ok(settle(planned, before).await);
                }
                Answer::Facts(found) => known = Some(found),
            }
        }
    }
}

async fn settle(plan: Plan<'_>, before: i64) -> (i64, Vec<Outcome>) {
    failpoint::reached(Failpoint::Appended).await;
    (before + plan.rows.len() as i64, plan.outcomes(before))
}

/// Whether the database will never take these rows: data that it can't represent, keys that are too long, constraints
/// (SQLSTATE classes 22, 54 and 23).
fn is_about_contents(error: &sqlx::Error) -> bool {
    let state = error.as_database_error().and_then(|e| e.code());
    state.is_some_and(|state| ["22", "23", "54"].iter().any(|class| state.starts_with(class)))
}

/// What `append_batch` says.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// After this position.
    Written(i64),
    /// Not what the plan was made on.
    Facts(Facts),
}

async fn send(
    connection: &mut PgConnection,
    log_id: i16,
    facts: &Facts,
    commands: &[Prepared],
    plan: &Plan<'_>,
) -> Result<Answer, sqlx::Error> {
    fn column<'a, T>(rows: &'a [Row<'a>], get: impl Fn(&'a Row<'a>) -> T) -> Vec<T> {
        rows.iter().map(get).collect()
    }
    let (rows, asked) = (&plan.rows, Asked::of(commands));
    let answer: Json<Answer> = sqlx::query_scalar(
        "SELECT append_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
    )
    .bind(log_id)
    .bind(plan.recorded_at)
    .bind(Json(facts))
    .bind(asked.commands)
    .bind(asked.streams)
    .bind(claims(asked.claims))
    .bind(claims(plan.released.iter().map(|(tenant_id, claim)| (*tenant_id, claim))))
    .bind(claims(plan.claimed.iter().map(|(tenant_id, claim)| (*tenant_id, claim))))
    .bind(column(rows, |row| row.event.tenant_id))
    .bind(column(rows, |row| row.event.stream_type.as_str()))
    .bind(column(rows, |row| row.event.stream_id))
    .bind(column(rows, |row| row.event.version))
    .bind(column(rows, |row| row.event.event_type.as_str()))
    .bind(column(rows, |row| row.event.schema_version))
    .bind(column(rows, |row| row.event.event_id))
    .bind(column(rows, |row| row.event.command_id))
    .bind(column(rows, |row| JsonText(row.metadata)))
    .bind(column(rows, |row| JsonText(&row.payload.text)))
    .bind(column(rows, |row| row.payload.hash.as_slice()))
    .bind(column(rows, |row| row.chain_hash.as_slice()))
    .fetch_one(connection)
    .await?;
    Ok(answer.0)
}

/// JSON that is written already.
struct JsonText<'a>(&'a str);

impl Type<Postgres> for JsonText<'_> {
    fn type_info() -> PgTypeInfo {
        <Json<()> as Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for JsonText<'_> {
    fn array_type_info() -> PgTypeInfo {
        <Json<()> as PgHasArrayType>::array_type_info()
    }
}

impl Encode<'_, Postgres> for JsonText<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        /// Of the binary format of jsonb, which is text (PostgreSQL, `jsonb_recv`).
        const VERSION: u8 = 1;
        buffer.push(VERSION);
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

/// All that a batch names.
struct Asked<'a> {
    commands: Vec<Uuid>,
    streams: Vec<Uuid>,
    claims: Vec<(Uuid, &'a Claim)>,
}

impl<'a> Asked<'a> {
    fn of(commands: &'a [Prepared]) -> Self {
        let appends = || commands.iter().map(|command| &command.append);
        let mut ids: Vec<Uuid> = appends().map(|a| a.command_id).collect();
        let mut streams: Vec<Uuid> = appends().flat_map(|a| a.streams.iter().map(|s| s.stream_id)).collect();
        let named = |a: &'a Append| a.claims.iter().chain(&a.releases).map(|claim| (a.tenant_id, claim));
        let mut claims: Vec<(Uuid, &Claim)> = appends().flat_map(named).collect();
        for ids in [&mut ids, &mut streams] {
            ids.sort_unstable();
            ids.dedup();
        }
        claims.sort_unstable_by_key(|(tenant_id, claim)| (*tenant_id, claim.scope, &claim.key));
        claims.dedup_by_key(|(tenant_id, claim)| (*tenant_id, claim.scope, &claim.key));
        Self { commands: ids, streams, claims }
    }
}

fn claims<'a>(claims: impl IntoIterator<Item = (Uuid, &'a Claim)>) -> Value {
    let row = |(tenant_id, claim): (Uuid, &Claim)| json!({ "tenant_id": tenant_id, "scope": claim.scope, "key": claim.key, "owner": claim.owner });
    claims.into_iter().map(row).collect()
}
