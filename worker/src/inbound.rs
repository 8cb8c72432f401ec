//! Delivered payloads become events: per log in the order of arrival, one process at a time.
//!
//! Within a batch different customers are worked on at once, so that their events share a commit; one customer's
//! messages follow each other. Everything here may happen twice: what is known already changes nothing.

mod change;
mod route;
mod status;
mod template;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use chrono::TimeDelta;
use commands::failpoint::{self, Failpoint};
use commands::inbound::queue::{self, Due, Outcome};
use commands::{CommandError, Store};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::lease::Lease;
use crate::rounds::work_off;
use change::Work;

/// Payloads looked at together.
const BATCH: i64 = 200;
/// Customers worked on at once.
const CONCURRENCY: usize = 16;
/// A payload whose processing fails so often has failed.
const MAX_ATTEMPTS: i32 = 8;
/// How long a status waits for its message.
const WAIT_LIMIT: TimeDelta = TimeDelta::hours(24);

/// What came of one item of a payload; of several, the greatest counts for the whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Ignored(String),
    Done,
    /// Our message with this id of the channel is not known yet.
    Waiting(String),
    /// Something before it in the same order has to succeed first.
    Deferred,
    Error(String),
    Failed(String),
}

/// Processes what was delivered for one log.
pub struct Processor {
    store: Store,
    lease: Lease,
    log_id: i16,
    /// Multiplies the waits between attempts.
    scale: f64,
    /// The business account of accounts that name none.
    business: Option<String>,
}

impl Processor {
    #[must_use]
    pub fn new(store: Store, log_id: i16, scale: f64, business: Option<String>) -> Self {
        Self { lease: Lease::new(store.clone(), "inbound", log_id), store, log_id, scale, business }
    }

    /// Goes on until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let news = self.store.progress().follow(queue::WAKE, self.log_id);
        work_off(queue::WAKE, news, &stop, || self.step()).await;
        self.lease.give_back().await;
    }

    /// Processes the next batch; false when there is none, or it is another process's to do.
    async fn step(&self) -> Result<bool, CommandError> {
        if !self.lease.hold().await? {
            return Ok(false);
        }
        let rows = queue::due(&self.store, self.log_id, BATCH).await?;
        if rows.is_empty() {
            return Ok(false);
        }
        let verdicts = self.process(&rows).await?;
        failpoint::reached(Failpoint::PayloadsProcessed).await;
        let mut done = Vec::new();
        for (row, verdicts) in rows.iter().zip(verdicts) {
            match self.outcome(row, verdicts) {
                Outcome::Done => done.push(row.id),
                outcome => queue::finish(&self.store, self.log_id, row.id, &outcome).await?,
            }
        }
        queue::finish_done(&self.store, self.log_id, &done).await?;
        metrics::counter!("inbound_processed_total").increment(rows.len() as u64);
        Ok(true)
    }

    /// What came of each row's items.
    async fn process(&self, rows: &[Due]) -> Result<Vec<Vec<Verdict>>, CommandError> {
        let verdicts: Vec<Mutex<Vec<Verdict>>> = rows.iter().map(|_| Mutex::default()).collect();
        let note = |row: usize, verdict: Verdict| {
            verdicts[row].lock().unwrap_or_else(PoisonError::into_inner).push(verdict);
        };
        let mut accounts = HashMap::new();
        let mut lanes: HashMap<String, Vec<(usize, Work)>> = HashMap::new();
        for (index, row) in rows.iter().enumerate() {
            if row.account_id.is_none() {
                note(index, route::find_account(&self.store, row).await?);
                continue;
            }
            match change::works_of(&self.store, &mut accounts, row, self.business.as_deref()).await? {
                Ok(works) => works.into_iter().for_each(|work| {
                    lanes.entry(work.lane()).or_default().push((index, work));
                }),
                Err(verdict) => note(index, verdict),
            }
        }
        futures::stream::iter(lanes.into_values())
            .for_each_concurrent(CONCURRENCY, |lane| async {
                let mut stuck = false;
                for (index, work) in lane {
                    let verdict =
                        if stuck { Verdict::Deferred } else { work.run(&self.store, &rows[index]).await };
                    stuck |= matches!(verdict, Verdict::Error(_));
                    note(index, verdict);
                }
            })
            .await;
        Ok(verdicts.into_iter().map(|v| v.into_inner().unwrap_or_else(PoisonError::into_inner)).collect())
    }

    fn outcome(&self, row: &Due, verdicts: Vec<Verdict>) -> Outcome {
        let messages: Vec<String> = verdicts
            .iter()
            .filter_map(|v| if let Verdict::Waiting(message) = v { Some(message.clone()) } else { None })
            .collect();
        let failures = u32::try_from(row.attempts + 1).unwrap_or(1);
        match verdicts.into_iter().max().unwrap_or(Verdict::Done) {
            Verdict::Done => Outcome::Done,
            Verdict::Ignored(reason) => Outcome::Ignored(reason),
            Verdict::Failed(reason) => Outcome::Failed(reason),
            Verdict::Waiting(_) if self.store.clock().now() - row.received_at >= WAIT_LIMIT => {
                Outcome::Ignored("it is about something that was not made here".to_owned())
            }
            Verdict::Waiting(_) => Outcome::Waiting { messages, delay: self.delay(1, 600, failures) },
            Verdict::Deferred => {
                let reason = "an earlier message of the same sender is not processed yet".to_owned();
                Outcome::Again { reason, delay: self.delay(1, 60, failures), counted: false }
            }
            Verdict::Error(reason) if row.attempts + 1 >= MAX_ATTEMPTS => {
                tracing::error!(id = %row.id, reason, "an inbound payload failed for good");
                metrics::counter!("inbound_failed_total").increment(1);
                Outcome::Failed(reason)
            }
            Verdict::Error(reason) => {
                tracing::warn!(id = %row.id, reason, "an inbound payload could not be processed; trying again");
                Outcome::Again { reason, delay: self.delay(1, 60, failures), counted: true }
            }
        }
    }

    fn delay(&self, base_secs: u64, longest_secs: u64, failures: u32) -> TimeDelta {
        let (base, longest) = (Duration::from_secs(base_secs), Duration::from_secs(longest_secs));
        let wait = Backoff { base, longest, scale: self.scale }.after(failures);
        TimeDelta::from_std(wait).unwrap_or(WAIT_LIMIT)
    }
}
