//! Reading a log in order. Every reader of a process wants the newest events, so they are read and opened once and
//! kept for a moment; a reader that is further behind asks the database for itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::event::Recorded;
use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::Mutex;

use super::{EVENT_COLUMNS, HEAD, Progress, Store, event_from_row};
use crate::CommandError;

/// An event of the log with its personal data opened, as far as its keys exist.
pub type LoggedEvent = Arc<Recorded<Value>>;

/// Events read at once for all readers.
const PAGE: i64 = 1_000;
/// The newest events of a log that stay in memory.
const KEPT: usize = 1_000;
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

/// The newest events of each log.
pub(super) struct Feed(HashMap<i16, Mutex<Window>>);

impl Feed {
    pub(super) fn new(logs: &[i16]) -> Self {
        Self(logs.iter().map(|log| (*log, Mutex::default())).collect())
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
        let Some(window) = self.0.feed.0.get(&log_id) else {
            return Err(CommandError::failed("no such log"));
        };
        // Held while the database is asked: whoever comes meanwhile wants the same events.
        let mut window = window.lock().await;
        if after < window.after {
            drop(window);
            return self.fetch_log(log_id, after, limit).await;
        }
        if after >= window.end() {
            let events = self.fetch_log(log_id, after, PAGE.max(limit)).await?;
            window.extend(after, &events);
            let limit = usize::try_from(limit).unwrap_or(0);
            return Ok(events.into_iter().take(limit).collect());
        }
        Ok(window.read(after, limit))
    }

    async fn fetch_log(&self, log_id: i16, after: i64, limit: i64) -> Result<Vec<LoggedEvent>, CommandError> {
        let sql = format!(
            "SELECT {EVENT_COLUMNS} FROM events WHERE log_id = $1 AND position > $2 ORDER BY position LIMIT $3"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(log_id)
            .bind(after)
            .bind(limit)
            .fetch_all(self.pool())
            .await?;
        let mut events: Vec<Recorded<Value>> = rows.iter().map(event_from_row).collect::<Result<_, _>>()?;
        let keys = self.vault().keys_of(events.iter().map(|e| (e.tenant_id, &e.body))).await?;
        events.iter_mut().for_each(|e| keys.open(e.tenant_id, &mut e.body));
        Ok(events.into_iter().map(Arc::new).collect())
    }
}

/// The backstop of the wake-ups: learns the logs' heads from the database again and again.
pub(super) async fn look_for_heads(pool: PgPool, progress: Arc<Progress>) {
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
    fn what_comes_after_a_gap_is_not_kept() {
        let mut window = Window::default();
        window.extend(0, &events([1, 2, 4, 5]));
        assert_eq!(window.end(), 2);
    }
}
