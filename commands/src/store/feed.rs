//! Reading a log in order. Every reader of a process wants the newest events, so they are read and opened once and
//! kept for a moment; a reader that is further behind asks the database for itself.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use domain::event::Recorded;
use serde_json::Value;
use tokio::sync::Mutex;

use super::appender::MAX_BATCH;
use super::{EVENT_COLUMNS, HEAD, Pool, Progress, Store, event_from_row};
use crate::CommandError;

/// An event of the log with its personal data opened, as far as its keys exist.
pub type LoggedEvent = Arc<Recorded<Value>>;

/// Events read at once for all readers.
const PAGE: i64 = 1_000;
/// The newest events of a log that stay in memory.
const KEPT: usize = 1_000;
/// Events of this process that wait for a reader: two full batches.
const UNREAD: usize = 2 * MAX_BATCH;
/// How often the logs' heads are looked up, should the word of another process's append be lost.
const LOOK: Duration = Duration::from_secs(1);

/// A stretch of a log without gaps; the first event has the position `after + 1`.
#[derive(Default)]
struct Window {
    after: i64,
    events: VecDeque<LoggedEvent>,
}

impl Window {
    fn end(&self) -> i64 {
        self.after + self.events.len() as i64
    }

    fn get(&self, position: i64) -> Option<LoggedEvent> {
        let index = usize::try_from(position - self.after - 1).ok()?;
        self.events.get(index).cloned()
    }

    fn read(&self, after: i64, limit: i64) -> Vec<LoggedEvent> {
        let skip = usize::try_from(after - self.after).unwrap_or(usize::MAX);
        let take = usize::try_from(limit).unwrap_or(0);
        self.events.iter().skip(skip).take(take).cloned().collect()
    }

    /// Appends what follows; a gap ends the stretch, and is left to the reader to refuse.
    fn extend(&mut self, after: i64, events: &[LoggedEvent]) {
        if after != self.end() {
            *self = Self { after, events: VecDeque::new() };
        }
        for event in events {
            if event.position != self.end() + 1 {
                return;
            }
            self.events.push_back(Arc::clone(event));
        }
        let surplus = self.events.len().saturating_sub(KEPT);
        self.events.drain(..surplus);
        self.after += surplus as i64;
    }
}

/// Events that this process has appended and no reader has read yet, by their positions, as they were written.
#[derive(Default)]
struct Own(BTreeMap<i64, LoggedEvent>);

impl Own {
    fn offer(&mut self, events: &[LoggedEvent]) {
        self.0.extend(events.iter().map(|event| (event.position, Arc::clone(event))));
        while self.0.len() > UNREAD {
            self.0.pop_first();
        }
    }

    /// All that follow on a position without a gap. What is before them is not asked for again.
    fn take_after(&mut self, after: i64) -> Vec<LoggedEvent> {
        self.0 = self.0.split_off(&(after + 1));
        let mut next = after;
        let mut taken = Vec::new();
        while let Some(event) = self.0.remove(&(next + 1)) {
            taken.push(event);
            next += 1;
        }
        taken
    }
}

#[derive(Default)]
struct Newest {
    window: Mutex<Window>,
    own: std::sync::Mutex<Own>,
}

impl Newest {
    fn own(&self) -> std::sync::MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest events of each log.
pub(super) struct Feed(HashMap<i16, Newest>);

impl Feed {
    pub(super) fn new(logs: &[i16]) -> Self {
        Self(logs.iter().map(|log| (*log, Newest::default())).collect())
    }

    /// Spares this process's readers the way to the database for what it has just appended.
    pub(super) fn offer(&self, log_id: i16, events: &[LoggedEvent]) {
        if let Some(log) = self.0.get(&log_id) {
            log.own().offer(events);
        }
    }
}

impl Store {
    /// The events of a log after a position, in order, at most `limit`, opened. Positions are not checked here.
    ///
    /// # Errors
    /// Database errors.
    pub async fn read_log(
        &self,
        log_id: i16,
        after: i64,
        limit: i64,
    ) -> Result<Vec<LoggedEvent>, CommandError> {
        let Some(log) = self.0.feed.0.get(&log_id) else {
            return Err(CommandError::failed("no such log"));
        };
        // Held while the database is asked: whoever comes meanwhile wants the same events.
        let mut window = log.window.lock().await;
        if after < window.after {
            drop(window);
            return self.fetch_log(log_id, after, limit).await;
        }
        if after >= window.end() {
            let own = log.own().take_after(after);
            let events = match own.is_empty() {
                true => self.fetch_log(log_id, after, PAGE.max(limit)).await?,
                false => self.opened(own).await?,
            };
            window.extend(after, &events);
            let limit = usize::try_from(limit).unwrap_or(0);
            return Ok(events.into_iter().take(limit).collect());
        }
        Ok(window.read(after, limit))
    }

    /// One event, opened; from memory if it is among the newest.
    ///
    /// # Errors
    /// Database errors.
    pub async fn logged(&self, log_id: i16, position: i64) -> Result<Option<LoggedEvent>, CommandError> {
        let Some(log) = self.0.feed.0.get(&log_id) else { return Ok(None) };
        let kept = log.window.lock().await.get(position);
        match kept {
            Some(event) => Ok(Some(event)),
            None => {
                let next = self.fetch_log(log_id, position - 1, 1).await?.pop();
                Ok(next.filter(|event| event.position == position))
            }
        }
    }

    async fn fetch_log(&self, log_id: i16, after: i64, limit: i64) -> Result<Vec<LoggedEvent>, CommandError> {
        // The planner is told how many, and never from where: as two parameters they make the general plan look so costly that
        // it plans anew each time.
        let sql = format!(
            "SELECT {EVENT_COLUMNS} FROM events WHERE log_id = $1 AND position > (SELECT $2::bigint)
             ORDER BY position LIMIT {limit}"
        );
        let rows =
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(log_id).bind(after).fetch_all(self.pool()).await?;
        let events = rows.iter().map(|row| event_from_row(row).map(Arc::new));
        self.opened(events.collect::<Result<_, _>>()?).await
    }

    async fn opened(&self, mut events: Vec<LoggedEvent>) -> Result<Vec<LoggedEvent>, CommandError> {
        let keys = self.vault().keys_of(events.iter().map(|e| (e.tenant_id, &e.body))).await?;
        if !keys.is_empty() {
            for event in events.iter_mut().map(Arc::make_mut) {
                keys.open(event.tenant_id, &mut event.body);
            }
        }
        Ok(events)
    }
}

/// The backstop of the wake-ups: learns the logs' heads from the database again and again.
pub(super) async fn look_for_heads(pool: Pool, progress: Arc<Progress>) {
    loop {
        let heads: Result<Vec<(i16, i64)>, _> = sqlx::query_as(
            "SELECT l.log_id, coalesce((SELECT max(e.position) FROM events e WHERE e.log_id = l.log_id), 0) FROM logs l",
        )
        .fetch_all(&pool)
        .await;
        match heads {
            Ok(heads) => heads.into_iter().for_each(|(log_id, head)| progress.advance(HEAD, log_id, head)),
            Err(_) if pool.is_closed() => return,
            Err(error) => tracing::warn!(%error, "the logs' heads could not be looked up"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use domain::event::{Actor, Metadata};
    use uuid::Uuid;

    fn event(position: i64) -> LoggedEvent {
        Arc::new(Recorded {
            log_id: 1,
            position,
            tenant_id: Uuid::nil(),
            stream_type: "role".to_owned(),
            stream_id: Uuid::nil(),
            version: position,
            event_type: "role.updated".to_owned(),
            schema_version: 1,
            event_id: Uuid::nil(),
            command_id: Uuid::nil(),
            metadata: Metadata::new(Actor::system(), Uuid::nil()),
            recorded_at: DateTime::UNIX_EPOCH,
            body: Value::Null,
        })
    }

    fn events(positions: impl IntoIterator<Item = i64>) -> Vec<LoggedEvent> {
        positions.into_iter().map(event).collect()
    }

    fn positions(window: &Window, after: i64, limit: i64) -> Vec<i64> {
        window.read(after, limit).iter().map(|e| e.position).collect()
    }

    #[test]
    fn a_window_grows_at_its_end_and_keeps_the_newest() {
        let mut window = Window::default();
        window.extend(0, &events(1..=3));
        window.extend(3, &events(4..=4));
        assert_eq!(positions(&window, 1, 2), [2, 3]);
        assert_eq!(positions(&window, 4, 2), [0; 0]);
        assert_eq!(window.get(3).map(|event| event.position), Some(3));
        assert!([0, 5].iter().all(|outside| window.get(*outside).is_none()));
        window.extend(4, &events(5..=KEPT as i64 + 2));
        assert_eq!((window.after, window.end()), (2, KEPT as i64 + 2));
        assert_eq!(positions(&window, 2, 1), [3]);
    }

    #[test]
    fn a_window_starts_anew_where_a_reader_is_ahead_of_it() {
        let mut window = Window::default();
        window.extend(0, &events(1..=3));
        window.extend(10, &events(11..=12));
        assert_eq!((window.after, window.end()), (10, 12));
    }

    #[test]
    fn own_events_are_handed_out_once_and_only_without_a_gap() {
        let taken =
            |own: &mut Own, after| own.take_after(after).iter().map(|e| e.position).collect::<Vec<_>>();
        let mut own = Own::default();
        own.offer(&events(4..=5));
        own.offer(&events(2..=3));
        assert_eq!(taken(&mut own, 0), [0; 0], "somebody else wrote the first");
        assert_eq!(taken(&mut own, 1), [2, 3, 4, 5]);
        assert_eq!(taken(&mut own, 1), [0; 0]);
        own.offer(&events([6, 8]));
        assert_eq!(taken(&mut own, 5), [6]);
        assert_eq!(taken(&mut own, 8), [0; 0]);
        assert!(own.0.is_empty(), "what was read otherwise is not kept");
    }

    #[test]
    fn own_events_that_nobody_reads_do_not_pile_up() {
        let mut own = Own::default();
        own.offer(&events(1..=UNREAD as i64 + 3));
        assert_eq!((own.0.len(), own.0.first_key_value().map(|(position, _)| *position)), (UNREAD, Some(4)));
    }

    #[test]
    fn what_comes_after_a_gap_is_not_kept() {
        let mut window = Window::default();
        window.extend(0, &events([1, 2, 4, 5]));
        assert_eq!(window.end(), 2);
    }
}
