//! Who did what.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Server, id_of};

const PATH: &str = "/api/activity-logs";

#[tokio::test]
async fn activity_is_listed_newest_first_with_who_and_where() {
    let server = Server::start().await;
    let (tenant, other) = (server.tenant().await, server.tenant().await);
    let me = id_of(&tenant.admin.get("/api/auth/me").await.expect(StatusCode::OK));
    let role = json!({ "name": "auditor", "permissions": [] });
    let role = id_of(&tenant.admin.post("/api/roles", role).await.expect(StatusCode::CREATED));
    let changed = tenant.admin.patch(&format!("/api/roles/{role}"), json!({ "name": "controller" })).await;
    let correlation = changed.header("x-request-id").unwrap().to_owned();
    let logs = tenant.admin.get(PATH).await.expect(StatusCode::OK);
    let newest = &logs[0];
    assert_eq!(
        (&newest["action"], &newest["target_type"], &newest["target_id"]),
        (&json!("role.updated"), &json!("role"), &json!(role))
    );
    assert_eq!((&newest["agent_id"], &newest["ip_address"]), (&json!(me), &json!("127.0.0.1")));
    assert_eq!(
        (&newest["metadata"]["correlation_id"], &newest["metadata"]["version"]),
        (&json!(correlation), &json!(2))
    );
    assert_eq!(logs[1]["action"], "role.created");
    let event = tenant
        .admin
        .get(&format!("/api/events/{}", newest["id"].as_str().unwrap()))
        .await
        .expect(StatusCode::OK);
    assert_eq!(event["recorded_at"], newest["created_at"]);
    let elsewhere = other.admin.get(PATH).await;
    elsewhere.expect(StatusCode::OK);
    assert!(!elsewhere.text.contains(&role.to_string()), "{}", elsewhere.text);
}

#[tokio::test]
async fn pages_follow_each_other() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    for n in 0..7 {
        let role = json!({ "name": format!("role-{n}"), "permissions": [] });
        tenant.admin.post("/api/roles", role).await.expect(StatusCode::CREATED);
    }
    let page = async |number: i64| {
        let logs = tenant.admin.get(&format!("{PATH}?page={number}&per_page=3")).await.expect(StatusCode::OK);
        logs.as_array().unwrap().clone()
    };
    let all = tenant.admin.get(PATH).await.expect(StatusCode::OK);
    let all = all.as_array().unwrap();
    let paged: Vec<Value> = [page(1).await, page(2).await].concat();
    assert_eq!((paged.len(), &paged[..]), (6, &all[..6]));
    assert_eq!(page(1_000).await.len(), 0);
    tenant.admin.get(&format!("{PATH}?per_page=101")).await.names_fields(&["per_page"]);
    tenant.admin.get(&format!("{PATH}?page=0")).await.names_fields(&["page"]);
}

#[tokio::test]
async fn it_is_for_supervisors_and_whoever_holds_the_permission() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let role = json!({ "name": "watcher", "permissions": ["activity_logs.view"] });
    tenant.admin.post("/api/roles", role).await.expect(StatusCode::CREATED);
    tenant.agent("supervisor").await.0.get(PATH).await.expect(StatusCode::OK);
    tenant.agent("watcher").await.0.get(PATH).await.expect(StatusCode::OK);
    tenant.agent("agent").await.0.get(PATH).await.problem(403, "forbidden");
}
