//! How far each log and each of its readers is, told in process at once and to other processes by a coalesced NOTIFY
//! on a connection of its own. Both only wake whoever waits; polling is the backstop, so a lost notification costs
//! time and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::{Notify, watch};

use super::Pool;

/// The name under which a log's own head is kept, beside the names of projections.
pub const HEAD: &str = "head";

const CHANNEL: &str = "omnistream_progress";
/// Other processes hear of progress at most this much later.
const COALESCE: Duration = Duration::from_millis(2);
/// Marks in one notification, which PostgreSQL limits to 8,000 bytes; a mark has less than 80.
const MARKS_PER_NOTE: usize = 90;
/// How long a broken notification connection rests before it is made anew.
const RECONNECT: Duration = Duration::from_secs(1);

type Mark = (String, i16);

fn changes_of(name: &str) -> String {
    format!("{name} changes")
}

/// Positions by name and log.
#[derive(Default)]
pub struct Progress {
    marks: RwLock<HashMap<Mark, watch::Sender<i64>>>,
    advanced: Notify,
}

impl Progress {
    /// Follows a position; 0 until it is heard of.
    #[must_use]
    pub fn follow(&self, name: &str, log_id: i16) -> watch::Receiver<i64> {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        marks.entry((name.to_owned(), log_id)).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Follows the last position at which a reader changed its rows: what wakes whoever works on them.
    #[must_use]
    pub fn follow_changes(&self, name: &str, log_id: i16) -> watch::Receiver<i64> {
        self.follow(&changes_of(name), log_id)
    }

    /// A reader changed rows at this position.
    pub fn changed(&self, name: &str, log_id: i16, position: i64) {
        self.advance(&changes_of(name), log_id, position);
    }

    /// Tells this process, and soon the others.
    pub fn advance(&self, name: &str, log_id: i16, position: i64) {
        if self.raise(name, log_id, position) {
            self.advanced.notify_one();
        }
    }

    fn raise(&self, name: &str, log_id: i16, position: i64) -> bool {
        let raise = |sender: &watch::Sender<i64>| {
            sender.send_if_modified(|known| {
                let ahead = position > *known;
                *known = position.max(*known);
                ahead
            })
        };
        let mark = (name.to_owned(), log_id);
        if let Some(sender) = self.marks.read().unwrap_or_else(PoisonError::into_inner).get(&mark) {
            return raise(sender);
        }
        // Someone else may have made the mark between the two locks, and further ahead.
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        raise(marks.entry(mark).or_insert_with(|| watch::Sender::new(0)))
    }

    /// Tells other processes and listens to them, until the pool is closed.
    pub fn connect(self: &Arc<Self>, pool: &Pool) {
        tokio::spawn(Arc::clone(self).tell(pool.clone()));
        tokio::spawn(Arc::clone(self).listen(pool.clone()));
    }

    async fn tell(self: Arc<Self>, pool: Pool) {
        let mut told: HashMap<Mark, i64> = HashMap::new();
        loop {
            self.advanced.notified().await;
            tokio::time::sleep(COALESCE).await;
            let news: Vec<String> = {
                let marks = self.marks.read().unwrap_or_else(PoisonError::into_inner);
                let now = marks.iter().map(|(mark, sender)| (mark.clone(), *sender.borrow()));
                now.filter(|(mark, position)| told.insert(mark.clone(), *position) != Some(*position))
                    .map(|((name, log), position)| format!("{name}:{log}:{position}"))
                    .collect()
            };
            let notes: Vec<String> = news.chunks(MARKS_PER_NOTE).map(|marks| marks.join("\n")).collect();
            // Not synced: a commit that notifies counts as one that writes, and would wait for the disk.
            let sent = sqlx::query(
                "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, note) FROM unnest($2::text[]) AS note",
            )
            .bind(CHANNEL)
            .bind(&notes)
            .execute(&pool)
            .await;
            if pool.is_closed() {
                return;
            }
            if let Err(error) = sent {
                tracing::warn!(%error, "other processes could not be told of progress; they will poll");
            }
        }
    }

    async fn listen(self: Arc<Self>, pool: Pool) {
        loop {
            let heard = self.listen_once(&pool).await;
            if pool.is_closed() {
                return;
            }
            if let Err(error) = heard {
                tracing::warn!(%error, "not hearing of other processes' progress; polling");
            }
            tokio::time::sleep(RECONNECT).await;
        }
    }

    async fn listen_once(&self, pool: &Pool) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        loop {
            let heard = listener.recv().await?;
            for mark in heard.payload().lines() {
                let mut parts = mark.split(':');
                if let (Some(name), Some(Ok(log)), Some(Ok(position))) =
                    (parts.next(), parts.next().map(str::parse), parts.next().map(str::parse))
                {
                    self.raise(name, log, position);
                }
            }
        }
    }
}
