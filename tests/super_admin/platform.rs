//! How much is used, and whether all is well.

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Client, Server, Tenant, id_of};

async fn usage_of(platform: &Client, tenant: &Tenant) -> Value {
    let all = platform.get("/api/super-admin/usage").await.expect(StatusCode::OK);
    all.as_array().unwrap().iter().find(|t| id_of(t) == tenant.id).cloned().expect("the tenant is listed")
}

#[tokio::test]
async fn usage_is_each_tenants_own() {
    let server = Server::start().await;
    let platform = server.super_admin().await;
    let (busy, quiet) = (server.tenant().await, server.tenant().await);
    busy.agent("agent").await;
    let month = chrono::Utc::now().format("%Y-%m").to_string();
    let mut sql = server.sql().await;
    for (name, period, value) in
        [("contacts", "", 7_i64), ("messages", &month, 12), ("messages", "2001-01", 99)]
    {
        sqlx::query("INSERT INTO read.counters VALUES ($1, $2, $3, $4)")
            .bind(busy.id)
            .bind(name)
            .bind(period)
            .bind(value)
            .execute(&mut sql)
            .await
            .unwrap();
    }
    let tenant = usage_of(&platform, &busy).await;
    assert_eq!((&tenant["name"], &tenant["status"]), (&json!("Toko Maju"), &json!("active")));
    let usage = &tenant["usage"];
    assert_eq!((&usage["org_id"], &usage["usage_month"]), (&json!(busy.id), &json!(month)));
    let counted = ["agent_count", "contact_count", "messages_this_month", "active_integrations"];
    assert_eq!(counted.map(|name| usage[name].as_i64()), [Some(2), Some(7), Some(12), Some(0)]);
    let usage = &usage_of(&platform, &quiet).await["usage"];
    assert_eq!(counted.map(|name| usage[name].as_i64()), [Some(1), Some(0), Some(0), Some(0)]);
    assert_eq!(usage["id"], usage_of(&platform, &quiet).await["usage"]["id"]);
}

#[tokio::test]
async fn only_active_integrations_count() {
    let server = Server::start().await;
    let (platform, tenant) = (server.super_admin().await, server.tenant().await);
    for active in [true, true, false] {
        let phone = Uuid::new_v4().as_u128().to_string();
        let account = json!({
            "channel": "whatsapp", "is_active": active,
            "config": { "phone_number_id": &phone[..12], "access_token": "token" },
        });
        tenant.admin.post("/api/integration-accounts", account).await.expect(StatusCode::CREATED);
    }
    assert_eq!(usage_of(&platform, &tenant).await["usage"]["active_integrations"], 2);
}

#[tokio::test]
async fn health_asks_every_component_and_tells_the_worst() {
    let server = Server::start().await;
    let platform = server.super_admin().await;
    let component = |health: &Value, name: &str| {
        health["components"].as_array().unwrap().iter().find(|c| c["name"] == name).cloned().unwrap()
    };
    let health = platform.get("/api/super-admin/health").await.expect(StatusCode::OK);
    assert_eq!(health["status"], "ok", "{health}");
    for name in ["database", "event_log", "projections", "worker", "inbound_queue", "effects_queue"] {
        let component = component(&health, name);
        assert_eq!(component["status"], "ok", "{health}");
        assert!(component["latency_ms"].as_i64().is_some_and(|ms| ms >= 0), "{component}");
    }
    let parked = "INSERT INTO parked_events (name, slot, log_id, position, stream_id, error)
                  SELECT 'documents', 'live', min(log_id), 1000000, $1, 'poison' FROM logs";
    sqlx::query(parked).bind(Uuid::new_v4()).execute(&mut server.sql().await).await.unwrap();
    let health = platform.get("/api/super-admin/health").await.expect(StatusCode::OK);
    assert_eq!(
        (&health["status"], &component(&health, "projections")["status"]),
        (&json!("degraded"), &json!("degraded"))
    );
    assert_eq!(component(&health, "database")["status"], "ok");
}
