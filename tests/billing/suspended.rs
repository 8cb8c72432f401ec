//! Tenants that the platform has suspended, with a clock that the test moves: they are not charged meanwhile.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::time::{Scene, all_paid};
use crate::support::Tenant;

/// Longer than the timers take to see that the clock has moved.
const A_MOMENT: Duration = Duration::from_millis(2_500);

async fn set_status(scene: &Scene, tenant: &Tenant, status: &str) {
    let root = scene.server.super_admin().await;
    let path = format!("/api/super-admin/tenants/{}", tenant.id);
    root.patch(&path, json!({ "status": status })).await.expect(StatusCode::OK);
}

/// Events of a tenant's invoices.
async fn invoice_events(scene: &Scene, tenant_id: Uuid) -> i64 {
    let sql = "SELECT count(*) FROM events WHERE tenant_id = $1 AND stream_type = 'invoice'";
    sqlx::query_scalar(sql).bind(tenant_id).fetch_one(&mut scene.server.sql().await).await.expect("a count")
}

async fn current(scene: &Scene, tenant: &Tenant) -> Value {
    scene.admin(tenant).await.get("/api/billing/current").await.expect(StatusCode::OK)
}

fn time(of: &Value, field: &str) -> DateTime<Utc> {
    of[field].as_str().expect("a time").parse().expect("a time")
}

#[tokio::test]
async fn a_suspended_tenant_is_not_charged_and_its_next_period_begins_when_it_is_back() {
    let scene = Scene::start().await;
    let (tenant, bystander) = (scene.subscriber(true).await, scene.subscriber(true).await);
    let trial_ends = time(&current(&scene, &tenant).await, "trial_ends_at");
    set_status(&scene, &tenant, "suspended").await;
    scene.days(30);
    scene.invoices(&bystander, "who is not suspended is charged", |i| i.len() == 1 && all_paid(i)).await;
    tokio::time::sleep(A_MOMENT).await;
    assert_eq!(invoice_events(&scene, tenant.id).await, 0, "nothing is drawn up meanwhile");
    set_status(&scene, &tenant, "active").await;
    let paid = scene.invoices(&tenant, "the first period is paid", |i| i.len() == 1 && all_paid(i)).await;
    let now = current(&scene, &tenant).await;
    let began = time(&now, "current_period_start");
    assert_eq!((&now["status"], began), (&json!("active"), time(&now, "trial_ends_at")));
    assert!((15..=16).contains(&(began - trial_ends).num_days()), "{now} and {trial_ends}");
    assert!((time(&paid[0], "created_at") - began).num_seconds() < 60, "{paid:?}");

    // In its paid period a suspension changes nothing.
    let end = time(&now, "current_period_end");
    set_status(&scene, &tenant, "suspended").await;
    set_status(&scene, &tenant, "active").await;
    scene.days(30 + 32);
    scene.invoices(&tenant, "the renewal is paid", |i| i.len() == 2 && all_paid(i)).await;
    assert_eq!(time(&current(&scene, &tenant).await, "current_period_start"), end);
}

#[tokio::test]
async fn dunning_rests_during_a_suspension() {
    let scene = Scene::start().await;
    let tenant = scene.debtor().await;
    set_status(&scene, &tenant, "suspended").await;
    scene.days(28);
    tokio::time::sleep(A_MOMENT).await;
    let events = invoice_events(&scene, tenant.id).await;
    set_status(&scene, &tenant, "active").await;
    tokio::time::sleep(A_MOMENT).await;
    assert_eq!(invoice_events(&scene, tenant.id).await, events, "its day is not over yet");
    assert_eq!(current(&scene, &tenant).await["status"], "past_due");
    scene.days(30);
    scene.invoices(&tenant, "the first retry", |i| i[0]["retry_count"] == 1).await;
}
