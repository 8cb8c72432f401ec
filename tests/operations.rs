//! Health, readiness, metrics and the API's own document.

use std::collections::HashMap;
use std::fs::{self, File};
use std::process::Stdio;

use reqwest::{Method, StatusCode};
use serde_json::json;
use uuid::Uuid;

use crate::support::{Client, Process, Server};

#[tokio::test]
async fn a_started_server_is_healthy_and_ready() {
    let server = Server::start().await;
    let health = server.client().get("/health").await.expect(StatusCode::OK);
    assert_eq!((health["status"].as_str(), health["database"].as_str()), (Some("ok"), Some("ok")));
    server.client().get("/ready").await.expect(StatusCode::OK);
    let document = server.client().get("/openapi.json").await.expect(StatusCode::OK);
    assert_eq!(document["openapi"].as_str().map(|v| &v[..3]), Some("3.1"));
}

#[tokio::test]
async fn metrics_are_for_operators_only() {
    let server = Server::start().await;
    server.client().get("/health").await.expect(StatusCode::OK);
    server.client().get("/metrics").await.problem(404, "not_found");
    let metrics = Client::new(&server.process.operator).get("/metrics").await;
    assert!(
        metrics.text.contains(r#"http_requests_total{method="GET",route="/health",status="200"}"#),
        "{}",
        metrics.text
    );
}

/// `openapi.json` at the root is what clients are generated from, and what the contract check reads.
#[tokio::test]
async fn the_committed_document_is_the_served_one() {
    let server = Server::start().await;
    let served = server.client().get("/openapi.json").await.expect(StatusCode::OK);
    let committed: serde_json::Value = serde_json::from_str(include_str!("../openapi.json")).unwrap();
    assert!(served == committed, "run `omnistream openapi > openapi.json` and commit it");
}

#[tokio::test]
async fn an_ordinary_stop_is_no_news() {
    let mut server = Server::start().await;
    let tenant = server.tenant().await;
    let path = std::env::temp_dir().join(format!("omnistream-stop-{}", Uuid::new_v4()));
    let (url, env) = (server.database.owner_url.clone(), HashMap::new());
    let log = Stdio::from(File::create(&path).expect("a file"));
    let process = tokio::task::spawn_blocking(move || Process::start_logging("serve", &url, &env, log));
    server.process = process.await.expect("it listens");
    let mut admin = tenant.admin.clone();
    admin.base.clone_from(&server.process.base);
    // Somebody is listening, somebody is reading a long file, and some are writing.
    let listening = admin.request(Method::GET, "/api/stream").send().await.expect("an answer");
    let reading =
        admin.request(Method::GET, "/api/automation-events/export").send().await.expect("an answer");
    let role = |n: usize| json!({ "name": format!("Role {n}"), "permissions": [] });
    let writing: Vec<_> = (0..16)
        .map(|n| tokio::spawn(admin.request(Method::POST, "/api/roles").json(&role(n)).send()))
        .collect();
    admin.get("/api/roles").await.expect(StatusCode::OK);
    let Server { process, .. } = server;
    tokio::task::spawn_blocking(|| process.stop()).await.expect("it ends well");
    drop((listening, reading, writing));
    let said = fs::read_to_string(&path).expect("its log");
    fs::remove_file(&path).expect("our file");
    assert!(said.contains("Stopping"), "{said}");
    assert!(!["WARN", "ERROR"].iter().any(|level| said.contains(level)), "{said}");
}
