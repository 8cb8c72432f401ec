//! The program killed at each named place on the way of an invoice: whatever it had begun is finished, once.

use std::fs;
use std::path::{Path, PathBuf};

use commands::failpoint::Failpoint;
use reqwest::{Method, StatusCode};
use serde_json::json;
use uuid::Uuid;

use crate::support::clock::MovedClock;
use crate::support::stripe::{self, Stripe};
use crate::support::{Server, Tenant, eventually};

const DAY: u64 = 86_400;
/// Past the moment itself.
const A_LITTLE: u64 = 60;

/// The folder through which places are armed.
struct Places(PathBuf);

impl Places {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("omnistream-places-{}", Uuid::new_v4()));
        for part in ["armed", "held"] {
            fs::create_dir_all(folder.join(part)).expect("a folder");
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn arm(&self, point: Failpoint) {
        fs::write(self.0.join("armed").join(point.name()), []).expect("a file");
    }

    fn held(&self) -> Vec<PathBuf> {
        let held = fs::read_dir(self.0.join("held")).expect("a folder");
        held.map(|entry| entry.expect("an entry").path()).collect()
    }

    /// Kills the program at a place that was armed, and starts it again; the next place may be armed meanwhile.
    async fn kill(&self, server: &mut Server, next: Option<Failpoint>) {
        eventually("it comes to the place", || async { (!self.held().is_empty()).then_some(()) }).await;
        server
            .restart("serve", || {
                for mark in self.held() {
                    fs::remove_file(mark).expect("a file");
                }
                if let Some(point) = next {
                    self.arm(point);
                }
            })
            .await;
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Scene {
    server: Server,
    places: Places,
    clock: MovedClock,
    stripe: Stripe,
}

impl Scene {
    async fn start() -> Self {
        let (places, clock, stripe) = (Places::new(), MovedClock::new(), stripe::start().await);
        let server = Server::start_with(&[
            ("STRIPE_API_URL", &stripe.base),
            ("STRIPE_SECRET_KEY", stripe::SECRET_KEY),
            ("TEST_FAILPOINTS", places.path().to_str().expect("a path in UTF-8")),
            clock.env(),
        ])
        .await;
        Self { server, places, clock, stripe }
    }

    async fn subscriber(&self, card: &str) -> Tenant {
        let tenant = self.server.tenant().await;
        tenant.admin.post("/api/billing/subscribe", json!({})).await.expect(StatusCode::CREATED);
        let method = json!({ "gateway": "stripe", "gateway_payment_method_id": card, "type": "card" });
        tenant.admin.post("/api/billing/payment-methods", method).await.expect(StatusCode::CREATED);
        tenant
    }

    /// How many events of these types there are, once there are as many as wanted.
    async fn reach(&self, wanted: &[(&str, i64)]) {
        let types: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
        let sql = "SELECT event_type, count(*) FROM events WHERE event_type = ANY($1) GROUP BY 1";
        let mut counts: Vec<(String, i64)> = Vec::new();
        let found = tokio::time::timeout(crate::support::PATIENCE, async {
            loop {
                let counted = sqlx::query_as(sql).bind(&types);
                counts = counted.fetch_all(&mut self.server.sql().await).await.expect("counts");
                let there = |(name, count): &(&str, i64)| counts.contains(&((*name).to_owned(), *count));
                if wanted.iter().all(there) {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        });
        assert!(found.await.is_ok(), "{wanted:?} wanted, {counts:?} found");
    }
}

#[tokio::test]
async fn a_renewal_that_is_killed_at_every_step_is_numbered_and_charged_once() {
    let mut scene = Scene::start().await;
    scene.subscriber("pm_card_visa").await;
    let places = [Failpoint::PeriodBegun, Failpoint::InvoiceNumbered, Failpoint::ChargeAnswered];
    scene.places.arm(places[0]);
    scene.clock.set(14 * DAY + A_LITTLE);
    for next in [Some(places[1]), Some(places[2]), None] {
        scene.places.kill(&mut scene.server, next).await;
    }
    scene
        .reach(&[
            ("invoice.drafted", 1),
            ("invoice_numbers.assigned", 1),
            ("invoice.finalized", 1),
            ("invoice.paid", 1),
            ("subscription.payment_received", 1),
        ])
        .await;
    assert_eq!(scene.stripe.look(|ledger| ledger.intents.len()), 1, "the card is charged once");
}

#[tokio::test]
async fn a_retry_that_is_killed_on_its_way_is_one_retry() {
    let mut scene = Scene::start().await;
    scene.subscriber(stripe::DECLINED).await;
    scene.clock.set(14 * DAY + A_LITTLE);
    scene.reach(&[("invoice.payment_failed", 1)]).await;
    scene.places.arm(Failpoint::RetryBegun);
    scene.clock.set(15 * DAY + 2 * A_LITTLE);
    for next in [Some(Failpoint::ChargeAnswered), None] {
        scene.places.kill(&mut scene.server, next).await;
    }
    scene.reach(&[("invoice.payment_failed", 2), ("subscription.payment_failed", 2)]).await;
    let orders = scene.stripe.calls(&Method::POST, "/v1/payment_intents");
    let keys: std::collections::BTreeSet<_> = orders.iter().map(|order| order.key.clone()).collect();
    assert_eq!(keys.len(), 2, "one order for each try, however often it is given: {orders:?}");
}
