//! The process manager of billing: lets trials end, renews, numbers and collects invoices, duns and cancels, on time.
//!
//! The timers are rows of the read model, so they survive restarts, and a rebuild makes the same ones. What is due is
//! asked of the subscription itself; doing it twice changes nothing. Where a payment gateway is not available a tenant
//! rests for a while, and the others go on.

use std::collections::HashMap;
use std::time::Duration;

use chrono::TimeDelta;
use commands::billing::Billing;
use commands::{CommandError, Store};
use futures::StreamExt;
use projections::billing as read_model;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::lease::Lease;

/// Tenants looked at in one go.
const BATCH: i64 = 200;
/// Of those, at the same time: a slow gateway must not hold up everyone.
const CONCURRENT: usize = 16;
/// The loop never sleeps longer, so that a timer set by another process is late by this at most.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// While what was just done has not reached the read model.
const REST: Duration = Duration::from_millis(20);
/// A younger refund is most likely still being worked on by the request that asked for it.
const REFUND_INTERRUPTED_AFTER: TimeDelta = TimeDelta::seconds(30);
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// The timers of one log.
pub struct Timers {
    store: Store,
    billing: Billing,
    log_id: i16,
    backoff: Backoff,
    /// Tenants for whom something could not be done: how often, and until when they are left alone.
    resting: HashMap<Uuid, (u32, Instant)>,
}

impl Timers {
    #[must_use]
    pub fn new(store: Store, billing: Billing, log_id: i16, retry_scale: f64) -> Self {
        let backoff = Backoff { base: FIRST_RETRY, longest: LONGEST_RETRY, scale: retry_scale };
        Self { store, billing, log_id, backoff, resting: HashMap::new() }
    }

    /// Runs until stopped.
    pub async fn run(mut self, stopping: CancellationToken) {
        let lease = Lease::new(self.store.clone(), read_model::NAME, self.log_id);
        let mut progress = self.store.progress().follow_changes(read_model::NAME, self.log_id);
        while !stopping.is_cancelled() {
            let fired = match lease.hold().await {
                Ok(true) => self.fire().await,
                Ok(false) => Ok(0),
                Err(error) => Err(error.into()),
            };
            let pause = match fired {
                Ok(0) => self.until_next().await,
                Ok(_) => REST,
                Err(error) => {
                    tracing::error!(log_id = self.log_id, %error, "billing timers failed; trying again");
                    LONGEST_SLEEP
                }
            };
            tokio::select! {
                () = stopping.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
                _ = progress.changed() => {}
            }
        }
        lease.give_back().await;
    }

    async fn until_next(&self) -> Duration {
        let now = self.store.clock().now();
        let next = match self.store.pool().acquire().await {
            Ok(mut db) => read_model::next_due(&mut db, now).await.ok().flatten(),
            Err(_) => None,
        };
        let wait = next.and_then(|at| (at - now).to_std().ok());
        wait.unwrap_or(LONGEST_SLEEP).clamp(REST, LONGEST_SLEEP)
    }

    /// Does what is due; answers for how many tenants something was.
    async fn fire(&mut self) -> Result<usize, CommandError> {
        let awake = Instant::now();
        let resting: Vec<Uuid> =
            self.resting.iter().filter(|(_, (_, until))| *until > awake).map(|(tenant, _)| *tenant).collect();
        let now = self.store.clock().now();
        let (due, refunds) = {
            let mut db = self.store.pool().acquire().await?;
            let due = read_model::due(&mut db, self.log_id, now, &resting, BATCH).await?;
            let before = now - REFUND_INTERRUPTED_AFTER;
            (due, read_model::pending_refunds(&mut db, self.log_id, before, &resting, BATCH).await?)
        };
        let count = due.len() + refunds.len();
        let billing = &self.billing;
        let subscriptions = due.into_iter().map(|tenant| (tenant, None));
        let refunds = refunds.into_iter().map(|(tenant, invoice)| (tenant, Some(invoice)));
        let work = subscriptions.chain(refunds).map(|(tenant_id, refund)| async move {
            let done = match refund {
                None => billing.run_due(tenant_id).await.map(drop),
                Some(invoice_id) => billing.carry_out_refund(tenant_id, invoice_id).await.map(drop),
            };
            (tenant_id, done)
        });
        let results: Vec<_> = futures::stream::iter(work).buffer_unordered(CONCURRENT).collect().await;
        for (tenant_id, done) in results {
            self.settle(tenant_id, done);
        }
        Ok(count)
    }

    fn settle(&mut self, tenant_id: Uuid, done: Result<(), CommandError>) {
        let Err(error) = done else {
            self.resting.remove(&tenant_id);
            return;
        };
        let failures = self.resting.get(&tenant_id).map_or(0, |(failures, _)| *failures).saturating_add(1);
        let pause = self.backoff.after(failures);
        tracing::warn!(%tenant_id, %error, failures, "billing could not do what is due; it stays due");
        self.resting.insert(tenant_id, (failures, Instant::now() + pause));
    }
}
