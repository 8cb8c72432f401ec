//! Reading one's own writes: a command's answer waits until the read models have passed its position.

use std::sync::Arc;
use std::time::Duration;

use commands::Store;
use tokio::time::Instant;

use crate::projection::{Kind, Projection};

/// An answer waits at most this long; after that the write stands and reads may lag.
pub const WAIT_LIMIT: Duration = Duration::from_secs(10);
/// How often the checkpoint is looked up while no wake-up comes, as from a process that can't notify.
const POLL: Duration = Duration::from_millis(50);

/// Knows which read models must have seen a write.
#[derive(Clone)]
pub struct Waiter {
    store: Store,
    names: Arc<Vec<&'static str>>,
}

impl Waiter {
    #[must_use]
    pub fn new(store: Store, projections: &[Arc<Projection>]) -> Self {
        let read_models = projections.iter().filter(|p| p.kind == Kind::ReadModel);
        Self { store, names: Arc::new(read_models.map(|p| p.name).collect()) }
    }

    /// As [`Waiter::new`], for these read models only.
    #[must_use]
    pub fn of(store: Store, names: Vec<&'static str>) -> Self {
        Self { store, names: Arc::new(names) }
    }

    /// True once every read model has passed the position; false when that took longer than [`WAIT_LIMIT`].
    pub async fn wait(&self, log_id: i16, position: i64) -> bool {
        let deadline = Instant::now() + WAIT_LIMIT;
        let all = self.names.iter().map(|name| self.wait_for(name, log_id, position));
        tokio::time::timeout_at(deadline, futures::future::join_all(all)).await.is_ok()
    }

    async fn wait_for(&self, name: &str, log_id: i16, position: i64) {
        let mut progress = self.store.progress().follow(name, log_id);
        loop {
            if let Ok(Ok(_)) = tokio::time::timeout(POLL, progress.wait_for(|p| *p >= position)).await {
                return;
            }
            if self.checkpoint(name, log_id).await.is_some_and(|p| p >= position) {
                return;
            }
        }
    }

    async fn checkpoint(&self, name: &str, log_id: i16) -> Option<i64> {
        let sql = "SELECT position FROM projections WHERE name = $1 AND slot = 'live' AND log_id = $2";
        sqlx::query_scalar(sql).bind(name).bind(log_id).fetch_optional(self.store.pool()).await.ok().flatten()
    }
}
