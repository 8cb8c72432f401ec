//! What time does to a subscription, with a clock that the test moves: trial, renewals, dunning, the end.

use std::time::Duration;

use commands::invoice;
use commands::store::Origin;
use domain::event::{Actor, Metadata};
use domain::invoice::Invoice;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::projections::open;
use crate::support::clock::MovedClock;
use crate::support::{Client, PASSWORD, Server, Tenant, eventually, id_of};

const DAY: u64 = 86_400;
/// Past the moment itself.
const A_LITTLE: u64 = 60;

pub(super) struct Scene {
    pub(super) server: Server,
    clock: MovedClock,
}

impl Scene {
    pub(super) async fn start() -> Self {
        let clock = MovedClock::new();
        let server = Server::start_with(&[clock.env()]).await;
        Self { server, clock }
    }

    /// So many days after the start of the test.
    pub(super) fn days(&self, days: u64) {
        self.clock.set(days * DAY + A_LITTLE);
    }

    /// Signed in anew: sessions end as the clock moves.
    pub(super) async fn admin(&self, tenant: &Tenant) -> Client {
        let login = json!({ "email": tenant.email, "password": PASSWORD });
        let answer = self.server.client().post("/api/auth/login", login).await.expect(StatusCode::OK);
        self.server.client().with_token(answer["token"].as_str().expect("a token"))
    }

    /// Subscribed to the cheapest plan, and signed in.
    pub(super) async fn subscriber(&self, pays: bool) -> Tenant {
        let tenant = self.server.tenant().await;
        let subscribed = tenant.admin.post("/api/billing/subscribe", json!({})).await;
        assert_eq!(subscribed.expect(StatusCode::CREATED)["status"], "trialing");
        if pays {
            add_method(&tenant.admin).await;
        }
        tenant
    }

    /// Two weeks after the start, with a first invoice that it could not pay.
    pub(super) async fn debtor(&self) -> Tenant {
        let tenant = self.subscriber(false).await;
        self.days(14);
        self.invoices(&tenant, "the first invoice is open", |i| i.len() == 1 && i[0]["status"] == "open")
            .await;
        tenant
    }

    /// The tenant's invoices, newest last, once they are as they should be.
    pub(super) async fn invoices(
        &self,
        tenant: &Tenant,
        what: &str,
        good: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        eventually(what, || async {
            let mut invoices = self.read(tenant, "/api/billing/invoices").await?.as_array()?.clone();
            invoices.sort_by_key(|invoice| invoice["invoice_number"].as_str().map(str::to_owned));
            good(&invoices).then_some(invoices)
        })
        .await
    }

    async fn status(&self, tenant: &Tenant) -> String {
        let current =
            eventually("it can be read", || async { self.read(tenant, "/api/billing/current").await }).await;
        current["status"].as_str().unwrap_or("none").to_owned()
    }

    /// Nothing if the session that was just begun has ended with a move of the clock.
    async fn read(&self, tenant: &Tenant, path: &str) -> Option<Value> {
        let answer = self.admin(tenant).await.get(path).await;
        (answer.status != StatusCode::UNAUTHORIZED).then(|| answer.expect(StatusCode::OK))
    }

    pub(super) async fn plan(&self, slug: &str) -> Uuid {
        let plans = self.server.super_admin().await.get("/api/super-admin/billing/plans").await;
        let plans = plans.expect(StatusCode::OK);
        let plan = plans.as_array().expect("a list").iter().find(|plan| plan["slug"] == slug);
        id_of(plan.unwrap_or_else(|| panic!("{slug} is no plan")))
    }
}

async fn add_method(admin: &Client) {
    let method = json!({ "gateway": "manual", "gateway_payment_method_id": "bca", "type": "bank_transfer" });
    admin.post("/api/billing/payment-methods", method).await.expect(StatusCode::CREATED);
}

pub(super) fn all_paid(invoices: &[Value]) -> bool {
    invoices.iter().all(|invoice| invoice["status"] == "paid")
}

#[tokio::test]
async fn a_year_of_a_tenant_that_pays_and_then_leaves() {
    let scene = Scene::start().await;
    let tenant = scene.subscriber(true).await;
    scene.days(13);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(scene.status(&tenant).await, "trialing");
    scene.days(14);
    let first = scene.invoices(&tenant, "the first invoice is paid", |i| i.len() == 1 && all_paid(i)).await;
    // Starter and one agent, with 11 % tax.
    assert_eq!((&first[0]["subtotal"], &first[0]["total"]), (&json!("324000"), &json!("359640")));
    assert_eq!(scene.status(&tenant).await, "active");
    // As if nothing had run for half a year, and then month by month.
    scene.days(14 + 184);
    scene.invoices(&tenant, "what was missed is made up for", |i| i.len() == 7 && all_paid(i)).await;
    for months in 7..9_usize {
        scene.days(14 + 31 * months as u64);
        scene.invoices(&tenant, "a renewal is paid", |i| i.len() == months + 1 && all_paid(i)).await;
    }
    scene.days(14 + 31 * 11);
    scene.invoices(&tenant, "a year is paid", |i| i.len() == 12 && all_paid(i)).await;
    let canceled = scene.admin(&tenant).await.post("/api/billing/cancel", json!({})).await;
    assert_eq!(canceled.expect(StatusCode::OK)["cancel_at_period_end"], true);
    assert_eq!(scene.status(&tenant).await, "active");
    scene.days(14 + 31 * 13);
    eventually("the subscription ends with its period", || async {
        (scene.status(&tenant).await == "none").then_some(())
    })
    .await;
    let invoices = scene.invoices(&tenant, "no further invoice", |i| i.len() == 12).await;
    let numbers: Vec<&str> = invoices.iter().map(|i| i["invoice_number"].as_str().expect("one")).collect();
    let expected: Vec<String> = (1..=12).map(|n| format!("INV-{n:06}")).collect();
    assert_eq!(numbers, expected);
    let again = scene.admin(&tenant).await.post("/api/billing/subscribe", json!({})).await;
    assert_eq!(again.expect(StatusCode::CREATED)["status"], "active", "there is one trial");
    scene.invoices(&tenant, "who comes back pays at once", |i| i.len() == 13 && all_paid(i)).await;
}

#[tokio::test]
async fn crashes_in_the_middle_leave_no_gap_and_charge_nobody_twice() {
    let mut scene = Scene::start().await;
    let mut tenants = Vec::new();
    for _ in 0..8 {
        tenants.push(scene.subscriber(true).await);
    }
    scene.days(14);
    for crash in 1..=4 {
        // From before the first charge to somewhere in between.
        tokio::time::sleep(Duration::from_millis(60 * crash)).await;
        scene.server.restart("serve", || ()).await;
    }
    let mut numbers = Vec::new();
    for tenant in &tenants {
        let invoices = scene.invoices(tenant, "the invoice is paid", |i| i.len() == 1 && all_paid(i)).await;
        numbers.push(invoices[0]["invoice_number"].as_str().expect("a number").to_owned());
    }
    numbers.sort();
    assert_eq!(numbers, (1..=8).map(|n| format!("INV-{n:06}")).collect::<Vec<_>>());
    let counted = "SELECT event_type, count(*) FROM events WHERE event_type = ANY($1) GROUP BY 1 ORDER BY 1";
    let types = ["invoice.drafted", "invoice.finalized", "invoice.paid", "invoice_numbers.assigned"];
    let counts: Vec<(String, i64)> =
        sqlx::query_as(counted).bind(types).fetch_all(&mut scene.server.sql().await).await.expect("counts");
    assert_eq!(counts, types.map(|name| (name.to_owned(), 8)));
}

#[tokio::test]
async fn a_refund_that_nobody_carried_out_is_taken_up() {
    let scene = Scene::start().await;
    let tenant = scene.subscriber(true).await;
    scene.days(14);
    let paid = scene.invoices(&tenant, "the first invoice is paid", |i| i.len() == 1 && all_paid(i)).await;
    // As if the process had died between the decision and the gateway.
    let store = open(&scene.server.database.owner_url).await;
    let origin = Origin::new(tenant.id, Metadata::new(Actor::system(), Uuid::new_v4()));
    let requested = store.execute::<Invoice>(&origin, id_of(&paid[0]), |invoice| {
        invoice::request_refund(invoice, Uuid::from_u128(1), None, None)
    });
    requested.await.expect("a refund");
    scene.clock.set(14 * DAY + 2 * A_LITTLE);
    scene.invoices(&tenant, "it is given back", |i| i[0]["status"] == "refunded").await;
}

#[tokio::test]
async fn who_never_pays_is_dunned_on_the_days_of_the_schedule_and_then_canceled() {
    let scene = Scene::start().await;
    let tenant = scene.debtor().await;
    assert_eq!(scene.status(&tenant).await, "past_due");
    let growth = scene.plan("growth").await;
    let change =
        scene.admin(&tenant).await.post("/api/billing/change-plan", json!({ "plan_id": growth })).await;
    change.problem(409, "past_due");
    for (retries, day) in [(1, 15), (2, 17), (3, 19), (4, 21)] {
        // The first failure was a little after its day began; the clock of the test is a little more so.
        scene.clock.set(day * DAY + 2 * A_LITTLE);
        scene.invoices(&tenant, "a retry", |i| i[0]["retry_count"] == retries).await;
    }
    eventually("the subscription is canceled", || async {
        (scene.status(&tenant).await == "none").then_some(())
    })
    .await;
    scene.invoices(&tenant, "the invoice is given up", |i| i[0]["status"] == "uncollectible").await;
}

#[tokio::test]
async fn who_pays_during_dunning_stays() {
    let scene = Scene::start().await;
    let tenant = scene.debtor().await;
    add_method(&scene.admin(&tenant).await).await;
    scene.clock.set(15 * DAY + 2 * A_LITTLE);
    let paid = scene.invoices(&tenant, "the retry succeeds", all_paid).await;
    assert_eq!(paid[0]["retry_count"], 0, "only what failed counts");
    assert_eq!(scene.status(&tenant).await, "active");
}

#[tokio::test]
async fn an_upgrade_is_invoiced_at_once_and_a_downgrades_credit_is_carried_over() {
    let scene = Scene::start().await;
    let tenant = scene.subscriber(true).await;
    let (growth, starter) = (scene.plan("growth").await, scene.plan("starter").await);
    scene.days(14);
    scene.invoices(&tenant, "the first invoice is paid", |i| i.len() == 1 && all_paid(i)).await;
    let admin = scene.admin(&tenant).await;
    let upgraded = admin.post("/api/billing/change-plan", json!({ "plan_id": growth })).await;
    let upgraded = upgraded.expect(StatusCode::OK);
    assert_eq!(upgraded["subscription"]["plan_id"], json!(growth));
    let invoice = &upgraded["invoice"];
    assert_eq!((&invoice["status"], &invoice["invoice_number"]), (&json!("paid"), &json!("INV-000002")));
    let downgraded = admin.post("/api/billing/change-plan", json!({ "plan_id": starter })).await;
    assert_eq!(downgraded.expect(StatusCode::OK)["invoice"], Value::Null);
    // What became credit is not given back as well.
    let refund = format!("/api/super-admin/billing/invoices/{}/refund", id_of(invoice));
    let all = json!({ "amount": invoice["total"] });
    let refused = scene.server.super_admin().await.post(&refund, all).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    let invoices = scene.invoices(&tenant, "the credit is told", |i| i[1]["amount_credited"] != "0").await;
    assert_eq!((&invoices[1]["status"], &invoices[1]["amount_refunded"]), (&json!("paid"), &json!("0")));
    scene.days(14 + 31);
    let invoices = scene.invoices(&tenant, "the renewal is paid", |i| i.len() == 3 && all_paid(i)).await;
    // The credit for almost a month of Growth is more than a month of Starter.
    assert_eq!(invoices[2]["total"], "0");
    let leaving = scene.admin(&tenant).await;
    leaving.post("/api/billing/cancel", json!({})).await.expect(StatusCode::OK);
    let stays = leaving.post("/api/billing/change-plan", json!({ "plan_id": starter })).await;
    assert_eq!(stays.expect(StatusCode::OK)["subscription"]["cancel_at_period_end"], false);
}

#[tokio::test]
async fn a_plan_that_somebody_has_is_not_deleted_and_the_first_plans_are_made_once() {
    let mut scene = Scene::start().await;
    scene.subscriber(false).await;
    let starter = scene.plan("starter").await;
    let root = scene.server.super_admin().await;
    let path = |id: Uuid| format!("/api/super-admin/billing/plans/{id}");
    root.delete(&path(starter)).await.problem(409, "in_use");
    root.delete(&path(scene.plan("scale").await)).await.expect(StatusCode::OK);
    scene.server.restart("serve", || ()).await;
    let plans = scene.server.super_admin().await.get("/api/super-admin/billing/plans").await;
    let plans = plans.expect(StatusCode::OK);
    let slugs: Vec<&str> =
        plans.as_array().expect("a list").iter().map(|plan| plan["slug"].as_str().expect("one")).collect();
    assert_eq!(slugs, ["starter", "growth"]);
}
