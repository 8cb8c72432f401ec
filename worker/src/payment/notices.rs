//! What gateways told becomes events: each notice is applied as a command that may be repeated, in any order.

use std::time::Duration;

use chrono::TimeDelta;
use commands::billing::Billing;
use commands::payment_notice::queue::{self, Due, Outcome};
use commands::payment_notice::{About, News, Notice};
use commands::{CommandError, Store};
use domain::event::PLATFORM_TENANT;
use domain::invoice::{Invoice, Payment};
use domain::refusal::Reason;
use projections::documents::{self, Lookup};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::lease::Lease;
use crate::rounds::work_off;

/// Notices looked at together.
const BATCH: i64 = 100;
/// The rest after a failure of the database, or while another process has the lease.
const REST: Duration = Duration::from_millis(500);
/// A notice whose processing fails so often has failed.
const MAX_ATTEMPTS: i32 = 12;
/// How long news of a refund waits for news of the payment.
const WAIT_LIMIT: TimeDelta = TimeDelta::hours(24);
/// Waits between attempts, shortest and longest.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

const NOT_OURS: &str = "it is about a payment that was not asked for here";
const PAID_TWICE: &str = "the invoice was paid before: this payment has to be given back at the gateway";

/// Applies notices until stopped. `scale` multiplies the waits between attempts.
pub async fn run(store: Store, billing: Billing, scale: f64, stop: CancellationToken) {
    let log_id = loop {
        match store.log_of(PLATFORM_TENANT).await {
            Ok(log_id) => break log_id,
            Err(error) => tracing::error!(%error, "payment notices can't be applied yet; trying again"),
        }
        tokio::select! {
            () = tokio::time::sleep(REST) => {}
            () = stop.cancelled() => return,
        }
    };
    let clerk =
        Clerk { lease: Lease::new(store.clone(), "payment_notices", log_id), store, billing, log_id, scale };
    let news = clerk.store.progress().follow(queue::WAKE, log_id);
    work_off(queue::WAKE, news, &stop, || clerk.step()).await;
    clerk.lease.give_back().await;
}

struct Clerk {
    store: Store,
    billing: Billing,
    lease: Lease,
    log_id: i16,
    scale: f64,
}

impl Clerk {
    /// Applies the next batch; false when there is none, or it is another process's to do.
    async fn step(&self) -> Result<bool, CommandError> {
        if !self.lease.hold().await? {
            return Ok(false);
        }
        let notices = queue::due(&self.store, self.log_id, BATCH).await?;
        for due in &notices {
            let outcome = match self.apply(due).await {
                Ok(outcome) => outcome,
                Err(error) => self.troubled(due, &error),
            };
            if let Outcome::Failed(reason) = &outcome {
                let (gateway, event_id) = (due.sender.name(), &due.event_id);
                tracing::error!(gateway, event_id, reason, "a payment notice needs a person to look at it");
                metrics::counter!("payment_notices_failed_total").increment(1);
            }
            queue::finish(&self.store, self.log_id, due, &outcome).await?;
        }
        Ok(!notices.is_empty())
    }

    async fn apply(&self, due: &Due) -> Result<Outcome, CommandError> {
        let Notice { about, news } = match due.sender.read(&due.raw) {
            Ok(notice) => notice,
            Err(error) => return Ok(Outcome::Failed(error.to_string())),
        };
        let gateway = due.sender.name();
        match news {
            News::Other(kind) => Ok(Outcome::Ignored(kind)),
            News::Paid { payment_id, amount } => {
                let Some(About { tenant_id, invoice_id }) = about else { return Ok(ignored(NOT_OURS)) };
                let payment = Payment { gateway: gateway.to_owned(), gateway_payment_id: payment_id, amount };
                let paid = self.billing.record_payment(tenant_id, invoice_id, &payment).await?;
                Ok(if paid.value { Outcome::Done } else { Outcome::Failed(PAID_TWICE.to_owned()) })
            }
            News::PaymentFailed { reason, .. } => {
                let Some(About { tenant_id, invoice_id }) = about else { return Ok(ignored(NOT_OURS)) };
                self.billing.record_payment_failure(tenant_id, invoice_id, gateway, &reason).await?;
                Ok(Outcome::Done)
            }
            News::Refunded { payment_id, refund_id, amount } => {
                let Some(About { tenant_id, invoice_id }) = self.invoice_of(about, &payment_id).await? else {
                    return Ok(self.wait(due));
                };
                self.billing.record_refund(tenant_id, invoice_id, &refund_id, amount).await?;
                Ok(Outcome::Done)
            }
            // What was pending here was told by the answer to the order; what was taken for done can't be undone by
            // itself: the money is still with us, and somebody has to decide what becomes of it.
            News::RefundFailed { refund_id, reason, .. } => {
                Ok(Outcome::Failed(format!("the refund {refund_id} failed after all: {reason}")))
            }
        }
    }

    /// A refund that was made at the gateway names its payment only.
    async fn invoice_of(
        &self,
        about: Option<About>,
        payment_id: &str,
    ) -> Result<Option<About>, CommandError> {
        if about.is_some() {
            return Ok(about);
        }
        let mut db = self.store.pool().acquire().await?;
        let found = documents::find_anywhere::<Invoice>(&mut db, Lookup::Payment, payment_id).await?;
        Ok(found.first().map(|(tenant_id, invoice)| About { tenant_id: *tenant_id, invoice_id: invoice.id }))
    }

    /// News of the payment may still come.
    fn wait(&self, due: &Due) -> Outcome {
        if self.store.clock().now() - due.received_at >= WAIT_LIMIT {
            return ignored(NOT_OURS);
        }
        self.again(due, "its payment is not known yet".to_owned())
    }

    fn troubled(&self, due: &Due, error: &CommandError) -> Outcome {
        match error {
            CommandError::Refused(refusal) if refusal.reason == Reason::NotFound => ignored(NOT_OURS),
            CommandError::Refused(refusal) if refusal.code == "invoice_not_paid" => self.wait(due),
            CommandError::Refused(refusal) if !refusal.is_contended() => {
                Outcome::Failed(refusal.detail.clone())
            }
            error if due.attempts + 1 >= MAX_ATTEMPTS => Outcome::Failed(error.to_string()),
            error => self.again(due, error.to_string()),
        }
    }

    fn again(&self, due: &Due, reason: String) -> Outcome {
        let (base, longest) = WAITS;
        let failures = u32::try_from(due.attempts + 1).unwrap_or(1);
        let wait = Backoff { base, longest, scale: self.scale }.after(failures);
        Outcome::Again { reason, delay: TimeDelta::from_std(wait).unwrap_or(WAIT_LIMIT) }
    }
}

fn ignored(reason: &str) -> Outcome {
    Outcome::Ignored(reason.to_owned())
}
