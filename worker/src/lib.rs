//! What happens without a request: read models, inbound payloads, and everything that is sent.

pub mod graph;

use std::sync::Arc;

use commands::Store;
use commands::ports::GraphApi;
use projections::Projection;
use projections::runner::{Runner, Slot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The process managers: readers of the log that turn events into work.
#[must_use]
pub fn managers() -> Vec<Projection> {
    vec![]
}

/// The running tasks of a worker.
pub struct Running(JoinSet<()>);

impl Running {
    /// Waits until every task has ended after the stop.
    pub async fn stopped(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

/// Starts every task of the worker; they end when `stopping` is cancelled.
#[must_use]
pub fn start(
    store: &Store,
    projections: &[Arc<Projection>],
    _graph: Arc<dyn GraphApi>,
    _fallback_token: Option<String>,
    stopping: &CancellationToken,
) -> Running {
    let mut tasks = JoinSet::new();
    for projection in projections {
        for log_id in store.logs() {
            let runner = Runner::new(store.clone(), Arc::clone(projection), *log_id, Slot::Live);
            tasks.spawn(runner.run(stopping.clone()));
        }
    }
    Running(tasks)
}
