//! Keys with which programs act for an agent.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Client, Server, id_of};

async fn create(client: &Client, body: Value) -> Value {
    client.post("/api/api-keys", body).await.expect(StatusCode::CREATED)
}

/// Speaks with the key that was just made.
fn with_key(client: &Client, created: &Value) -> Client {
    client.anonymous().with_header("x-api-key", created["plaintext_key"].as_str().expect("a key"))
}

#[tokio::test]
async fn a_key_is_shown_once_works_and_is_revoked() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let created = create(&tenant.admin, json!({ "name": "CI" })).await;
    let plaintext = created["plaintext_key"].as_str().unwrap();
    let (kind, bits) = plaintext.rsplit_once('_').unwrap();
    assert_eq!((kind, bits.len()), ("os_live", 64));
    let key = &created["key"];
    assert_eq!(
        (&key["key_prefix"], &key["key_type"], &key["scopes"]),
        (&json!(&plaintext[..12]), &json!("live"), &json!([]))
    );
    assert_eq!(key["is_active"], true);
    let program = with_key(&tenant.admin, &created);
    let me = program.get("/api/auth/me").await.expect(StatusCode::OK);
    assert_eq!(me["id"], key["agent_id"]);
    let listed = tenant.admin.get("/api/api-keys").await;
    assert!(!listed.text.contains(plaintext));
    assert_eq!(listed.expect(StatusCode::OK)[0]["id"], key["id"]);
    let path = format!("/api/api-keys/{}", id_of(key));
    tenant.admin.delete(&path).await.expect(StatusCode::OK);
    program.get("/api/auth/me").await.problem(401, "unauthenticated");
    let listed = tenant.admin.get("/api/api-keys").await.expect(StatusCode::OK);
    assert_eq!(listed[0]["is_active"], false);
    assert!(listed[0]["revoked_at"].is_string());
    tenant.admin.delete(&path).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_keys_plaintext_is_nowhere_in_the_database() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let created = create(&tenant.admin, json!({ "name": "CI" })).await;
    let bits = created["plaintext_key"].as_str().unwrap().rsplit_once('_').unwrap().1.to_owned();
    let mut sql = server.sql().await;
    let seen: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM events WHERE payload::text LIKE $1)
             + (SELECT count(*) FROM read.documents WHERE doc::text LIKE $1)
             + (SELECT count(*) FROM claims WHERE key LIKE $1)",
    )
    .bind(format!("%{bits}%"))
    .fetch_one(&mut sql)
    .await
    .unwrap();
    assert_eq!(seen, 0);
}

#[tokio::test]
async fn a_key_can_do_what_its_scopes_say_and_its_agent_may() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let narrow =
        create(&tenant.admin, json!({ "name": "HR", "scopes": ["agents.manage", "agents.manage"] })).await;
    assert_eq!(narrow["key"]["scopes"], json!(["agents.manage"]));
    let narrow = with_key(&tenant.admin, &narrow);
    narrow.get("/api/agents").await.expect(StatusCode::OK);
    let body = json!({ "email": "b@toko.id", "password": "secret!", "full_name": "B" });
    narrow.post("/api/agents", body).await.expect(StatusCode::CREATED);
    narrow.get("/api/api-keys").await.problem(403, "forbidden");
    narrow.get("/api/roles").await.problem(403, "forbidden");
    // What would turn a narrow key into a whole session.
    let me = narrow.get("/api/auth/me").await.expect(StatusCode::OK);
    narrow
        .patch(&format!("/api/agents/{}", id_of(&me)), json!({ "password": "taken over" }))
        .await
        .problem(403, "forbidden");
    // The scope is there, but the agent may not any more.
    let (supervisor, id) = tenant.agent("supervisor").await;
    let key =
        create(&supervisor, json!({ "name": "mine", "scopes": ["agents.manage", "developer.access"] })).await;
    let key = with_key(&tenant.admin, &key);
    key.get("/api/api-keys").await.expect(StatusCode::OK);
    key.delete(&format!("/api/agents/{}", id_of(&me))).await.problem(403, "forbidden");
    tenant.admin.patch(&format!("/api/agents/{id}"), json!({ "role": "agent" })).await.expect(StatusCode::OK);
    key.get("/api/api-keys").await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_key_neither_makes_keys_nor_has_a_session() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let key = with_key(&tenant.admin, &create(&tenant.admin, json!({ "name": "CI" })).await);
    key.post("/api/api-keys", json!({ "name": "another" })).await.problem(403, "forbidden");
    key.post("/api/auth/logout", json!({})).await.problem(403, "forbidden");
    key.get("/api/auth/token").await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_key_wins_over_a_token() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (agent, _) = tenant.agent("supervisor").await;
    let created = create(&tenant.admin, json!({ "name": "CI" })).await;
    let both = agent.with_header("x-api-key", created["plaintext_key"].as_str().unwrap());
    let me = both.get("/api/auth/me").await.expect(StatusCode::OK);
    assert_eq!(me["id"], created["key"]["agent_id"]);
    agent
        .with_header("x-api-key", "os_live_unknown")
        .get("/api/auth/me")
        .await
        .problem(401, "unauthenticated");
}

#[tokio::test]
async fn keys_belong_to_the_agent_who_made_them() {
    let server = Server::start().await;
    let (tenant, foreign) = (server.tenant().await, server.tenant().await);
    let created = create(&tenant.admin, json!({ "name": "CI", "key_type": "test" })).await;
    assert!(created["plaintext_key"].as_str().unwrap().starts_with("os_test_"));
    let path = format!("/api/api-keys/{}", id_of(&created["key"]));
    let (colleague, _) = tenant.agent("supervisor").await;
    assert_eq!(colleague.get("/api/api-keys").await.expect(StatusCode::OK), json!([]));
    colleague.delete(&path).await.problem(404, "not_found");
    foreign.admin.delete(&path).await.problem(404, "not_found");
    with_key(&tenant.admin, &created).get("/api/auth/me").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn bad_fields_are_named() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    for (body, field) in [
        (json!({ "name": " " }), "name"),
        (json!({ "name": "CI", "scopes": ["audit.view", "audit.veiw"] }), "scopes[1]"),
        (json!({ "name": "CI", "expires_at": "2020-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "name": "CI", "key_type": "prod" }), "key_type"),
        (json!({ "name": "CI", "scope": [] }), "scope"),
    ] {
        tenant.admin.post("/api/api-keys", body).await.names_fields(&[field]);
    }
    assert_eq!(tenant.admin.get("/api/api-keys").await.expect(StatusCode::OK), json!([]));
}

#[tokio::test]
async fn a_key_expires() {
    let offset = std::env::temp_dir().join(format!("omnistream-clock-{}", uuid::Uuid::new_v4()));
    let server = Server::start_with(&[("OMNISTREAM_CLOCK_OFFSET_FILE", offset.to_str().unwrap())]).await;
    let tenant = server.tenant().await;
    let other = create(&tenant.admin, json!({ "name": "other" })).await;
    let now: chrono::DateTime<chrono::Utc> = other["key"]["created_at"].as_str().unwrap().parse().unwrap();
    let end = now + chrono::TimeDelta::minutes(20);
    let key =
        with_key(&tenant.admin, &create(&tenant.admin, json!({ "name": "CI", "expires_at": end })).await);
    key.get("/api/auth/me").await.expect(StatusCode::OK);
    std::fs::write(&offset, "1300").unwrap();
    crate::support::eventually("the key has expired", || async {
        (key.get("/api/auth/me").await.status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    let listed = tenant.admin.get("/api/api-keys").await.expect(StatusCode::OK);
    assert_eq!((&listed[0]["is_active"], &listed[1]["is_active"]), (&json!(true), &json!(false)));
    std::fs::remove_file(&offset).unwrap();
}

#[tokio::test]
async fn a_repeated_creation_shows_the_same_key() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let admin = tenant.admin.with_header("idempotency-key", "key-1");
    let first = create(&admin, json!({ "name": "CI" })).await;
    assert_eq!(create(&admin, json!({ "name": "CI" })).await, first);
    with_key(&tenant.admin, &first).get("/api/auth/me").await.expect(StatusCode::OK);
    assert_eq!(tenant.admin.get("/api/api-keys").await.expect(StatusCode::OK).as_array().unwrap().len(), 1);
}
