//! What happens without a request: read models, inbound payloads, and everything that is sent.

pub mod allocation;
pub mod automation;
mod backoff;
mod billing;
pub mod chat_expiration;
mod csat;
pub mod delivery;
mod effects;
pub mod erasure;
pub mod graph;
mod housekeeping;
mod inbound;
mod lease;
pub mod outbound;
pub mod payment;
mod provisioning;
mod put_off;
mod rounds;
pub mod sla;
pub mod webhooks;

use std::sync::Arc;

use commands::Store;
use commands::billing::Billing;
use commands::ports::GraphApi;
use projections::Projection;
use projections::runner;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use outbound::Outbound;

/// The process managers: readers of the log that turn events into work.
#[must_use]
pub fn managers() -> Vec<Projection> {
    vec![
        allocation::manager(),
        automation::manager(),
        csat::manager(),
        delivery::manager(),
        erasure::manager(),
        webhooks::manager(),
    ]
}

/// What the worker needs to know from configuration.
#[derive(Clone)]
pub struct Settings {
    /// Used for accounts without a token of their own (`META_ACCESS_TOKEN`).
    pub fallback_token: Option<String>,
    /// The WhatsApp Business Account of accounts that name none (`META_WABA_ID`).
    pub fallback_business: Option<String>,
    /// Multiplies the waits between attempts (`OMNISTREAM_RETRY_SCALE`).
    pub retry_scale: f64,
    /// The way to other people's servers.
    pub outbound: Arc<Outbound>,
    pub billing: Billing,
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
    graph: Arc<dyn GraphApi>,
    settings: Settings,
    stopping: &CancellationToken,
) -> Running {
    let mut tasks = runner::run_all(store, projections, stopping);
    for log_id in store.logs() {
        tasks.spawn(sla::run(store.clone(), *log_id, stopping.clone()));
        tasks.spawn(chat_expiration::run(store.clone(), *log_id, stopping.clone()));
    }
    tasks.spawn(provisioning::run(store.clone(), stopping.clone()));
    let Settings { fallback_token, fallback_business: business, retry_scale: scale, outbound, billing } =
        settings;
    let payments = billing.clone();
    let engine = automation::Engine::new(store.clone(), Arc::clone(&outbound), scale);
    let notifier = webhooks::Sender { store: store.clone(), outbound, scale };
    let sender = effects::Sender { store: store.clone(), graph, fallback_token, scale };
    for log_id in store.logs() {
        tasks.spawn(allocation::run(store.clone(), *log_id, scale, stopping.clone()));
        tasks.spawn(csat::run(store.clone(), *log_id, scale, stopping.clone()));
        let processor = inbound::Processor::new(store.clone(), *log_id, scale, business.clone());
        tasks.spawn(processor.run(stopping.clone()));
        tasks.spawn(effects::run(sender.clone(), *log_id, stopping.clone()));
        tasks.spawn(automation::trigger::run(store.clone(), *log_id, scale, stopping.clone()));
        tasks.spawn(automation::run(engine.clone(), *log_id, stopping.clone()));
        tasks.spawn(webhooks::notify::run(store.clone(), *log_id, scale, stopping.clone()));
        tasks.spawn(webhooks::run(notifier.clone(), *log_id, stopping.clone()));
        let timers = billing::Timers::new(store.clone(), billing.clone(), *log_id, scale);
        tasks.spawn(timers.run(stopping.clone()));
    }
    tasks.spawn(payment::notices::run(store.clone(), payments, scale, stopping.clone()));
    tasks.spawn(housekeeping::run(store.clone(), stopping.clone()));
    Running(tasks)
}
