//! Group commit: one task per log and process sends whatever queued while the batches before it were written.

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use sqlx::{Connection, PgConnection};
use tokio::sync::{mpsc, oneshot};

use super::batch::{Append, Facts, Outcome, Plan, Prepared, Written};
use super::feed::Feed;
use super::memory::Memory;
use super::statement::{Answer, send};
use crate::CommandError;
use crate::clock::Clock;
use crate::failpoint::{self, Failpoint};
use crate::store::{HEAD, LOOKUPS_BY_KEY, Pool, Progress};

/// Commands in one commit: larger batches only add latency to the first of them.
pub const MAX_BATCH: usize = 256;
/// Commands that may wait for a log beside the batches on their way; one more is refused at once.
pub const QUEUE_LIMIT: usize = 2048;
/// Batches of a log on their way at once: one that is inserted, and one that commits. A third was tried and slows down:
/// it overtakes others on the way to the database.
const LANES: usize = 2;
/// Fewer commands than this wait until nothing is on its way: a transaction for them alone would slow down all others.
const WORTH_A_LANE: usize = 16;
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
        pool: Pool,
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
        let writer = Writer::new(std::iter::repeat_with(lane).take(LANES).collect());
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
    /// Commands on their way.
    flying: usize,
    /// Callers who were here lately: waiting, or answered a moment ago.
    crowd: usize,
}

impl Writer {
    fn new(resting: Vec<Lane>) -> Self {
        Self { resting, flying: 0, crowd: 0 }
    }

    async fn run(mut self, mut incoming: mpsc::Receiver<Pending>) {
        let mut flying = FuturesUnordered::new();
        let mut gathered = Vec::with_capacity(MAX_BATCH);
        let mut is_open = true;
        while is_open || !flying.is_empty() {
            let room = MAX_BATCH - gathered.len();
            tokio::select! {
                Some((lane, answered)) = flying.next(), if !flying.is_empty() => {
                    self.crowd = self.flying + gathered.len();
                    self.flying -= answered;
                    self.resting.push(lane);
                }
                taken = incoming.recv_many(&mut gathered, room), if is_open && room > 0 => is_open = taken > 0,
            }
            if self.flying == 0 {
                self.let_them_come(&mut incoming, &mut gathered).await;
            }
            while let Some(size) = self.next_batch(gathered.len())
                && let Some(lane) = self.resting.pop()
            {
                self.flying += size;
                flying.push(lane.answer(gathered.drain(..size).collect()));
            }
        }
    }

    /// Half of a large crowd, so that one half gathers while the other is written; all of a small one.
    fn share(&self) -> usize {
        if self.crowd < 2 * WORTH_A_LANE { self.crowd.max(1) } else { self.crowd.div_ceil(2) }
    }

    /// How many of the gathered commands to send now, if any.
    fn next_batch(&mut self, gathered: usize) -> Option<usize> {
        self.crowd = self.crowd.max(self.flying + gathered);
        let share = self.share().min(MAX_BATCH);
        let enough = if self.flying == 0 { 1 } else { share.max(WORTH_A_LANE) };
        (gathered >= enough).then(|| gathered.min(share))
    }

    /// Whoever was answered a moment ago may well be about to come again: a batch of the first of them alone would make
    /// all others wait for it.
    async fn let_them_come(&self, incoming: &mut mpsc::Receiver<Pending>, gathered: &mut Vec<Pending>) {
        let share = self.share().min(MAX_BATCH);
        let mut before = 0;
        while (before + 1..share).contains(&gathered.len()) {
            before = gathered.len();
            tokio::task::yield_now().await;
            while gathered.len() < share
                && let Ok(pending) = incoming.try_recv()
            {
                gathered.push(pending);
            }
        }
    }
}

/// A connection to the log. Of the lanes of a log only one writes at a time; the database lets them take turns.
struct Lane {
    log_id: i16,
    pool: Pool,
    clock: Clock,
    progress: Arc<Progress>,
    feed: Arc<Feed>,
    /// Kept outside of the pool: requests that hold every pooled connection must not starve the log.
    connection: Option<PgConnection>,
    memory: Arc<Mutex<Memory>>,
}

impl Lane {
    /// Answers itself, and how many commands it has answered.
    async fn answer(mut self, batch: Vec<Pending>) -> (Self, usize) {
        let size = batch.len();
        let (commands, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|p| (p.command, p.reply)).unzip();
        metrics::histogram!("append_batch_commands")
            .record(f64::from(u32::try_from(commands.len()).unwrap_or(0)));
        for (reply, outcome) in replies.into_iter().zip(self.append(commands).await) {
            let _ = reply.send(outcome); // whoever stopped waiting finds its events in the log
        }
        (self, size)
    }

    /// An outcome per command. A batch that the database refuses for what it contains is written command by command,
    /// so that only the one that it can't take fails.
    async fn append(&mut self, commands: Vec<Prepared>) -> Vec<Result<Outcome, CommandError>> {
        let error = match self.try_write(&commands).await {
            Ok(written) => return self.tell(written, commands).into_iter().map(Ok).collect(),
            Err(error) => error,
        };
        if commands.len() == 1 || !is_about_contents(&error) {
            return commands.iter().map(|_| Err(CommandError::of_database(&error))).collect();
        }
        let mut outcomes = Vec::with_capacity(commands.len());
        for command in commands {
            let alone = vec![command];
            match self.try_write(&alone).await {
                Ok(written) => outcomes.extend(self.tell(written, alone).into_iter().map(Ok)),
                Err(error) => outcomes.push(Err(CommandError::of_database(&error))),
            }
        }
        outcomes
    }

    /// Hands what was written to whoever reads it in this process.
    fn tell(&self, written: Written, commands: Vec<Prepared>) -> Vec<Outcome> {
        let head = written.head();
        let outcomes = written.outcomes(commands);
        for outcome in &outcomes {
            if let Outcome::Appended(events) = outcome {
                self.feed.offer(self.log_id, events);
            }
        }
        self.progress.advance(HEAD, self.log_id, head);
        outcomes
    }

    async fn try_write(&mut self, commands: &[Prepared]) -> Result<Written, sqlx::Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            // What fails on the heels of another batch may be that batch's fault.
            let follow = tries == 1;
            match self.write(commands, follow).await {
                Ok(written) => return Ok(written),
                Err(error) => {
                    if is_outrun(&error) {
                        tracing::debug!(log_id = self.log_id, "a batch was put where another one went");
                    } else {
                        tracing::warn!(log_id = self.log_id, tries, %error, "a batch could not be appended");
                    }
                    // Its session may hold locks.
                    self.connection = None;
                    if tries == MAX_TRIES || (!follow && is_about_contents(&error)) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Plans on what is probably so; when the database knows better, on what it says; and when that was outdated again,
    /// because others write to the same streams, under the log's lock.
    async fn write(&mut self, commands: &[Prepared], follow: bool) -> Result<Written, sqlx::Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            slot => {
                let mut connection = self.pool.acquire().await?.detach();
                sqlx::raw_sql(LOOKUPS_BY_KEY).execute(&mut connection).await?;
                slot.insert(connection)
            }
        };
        let (log_id, clock, memory) = (self.log_id, &self.clock, &self.memory);
        let memory = || memory.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = |facts: Option<Facts>| {
            // Held from the guess to what is made of it: the other lane plans on both.
            let mut memory = memory();
            let facts = facts.unwrap_or_else(|| memory.guess(commands));
            let mut plan = Plan::new(clock.now(), &facts);
            commands.iter().for_each(|command| plan.add(command));
            let follows = memory.expect(&plan);
            (facts, plan, follows)
        };
        failpoint::reached(Failpoint::BeforeAppend).await;
        let mut known = None;
        for _ in 0..2 {
            let (facts, planned, follows) = plan(known);
            let follow = follow.then_some(follows);
            match send(connection, log_id, follow, &facts, commands, &planned).await? {
                Answer::Written(before) => {
                    memory().written(follows, before);
                    failpoint::reached(Failpoint::Appended).await;
                    return Ok(planned.written(log_id, before));
                }
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
            let (facts, planned, follows) = plan(known);
            match send(&mut tx, log_id, None, &facts, commands, &planned).await? {
                Answer::Written(before) => {
                    tx.commit().await?;
                    memory().written(follows, before);
                    failpoint::reached(Failpoint::Appended).await;
                    return Ok(planned.written(log_id, before));
                }
                Answer::Facts(found) => known = Some(found),
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

/// Whether a batch was put after one that was not written, or that others came after: what `append_batch` raises then.
fn is_outrun(error: &sqlx::Error) -> bool {
    const OUTRUN: &str = "OM001";
    error.as_database_error().and_then(|e| e.code()).is_some_and(|state| state == OUTRUN)
}
