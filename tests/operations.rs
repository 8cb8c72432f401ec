//! Health, readiness, metrics and the API's own document.

use reqwest::StatusCode;

use crate::support::{Client, Server};

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
