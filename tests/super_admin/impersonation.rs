//! Acting as someone of a tenant.

use chrono::{DateTime, Utc};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Row as _;
use uuid::Uuid;

use super::sign_in::tempfile;
use super::{colleague, me, with_token_of};
use crate::support::{Client, Server, Tenant, eventually, id_of};

async fn impersonate(platform: &Client, tenant: &Tenant, user: Option<Uuid>) -> crate::support::Answer {
    let user = user.map(|id| format!("/users/{id}")).unwrap_or_default();
    let path = format!("/api/super-admin/tenants/{}{user}/impersonate", tenant.id);
    platform.send(Method::POST, &path, None).await
}

/// Type and actor of a tenant's events, in the order of the log.
async fn actors(server: &Server, tenant: &Tenant) -> Vec<(String, Value)> {
    let sql =
        "SELECT event_type, metadata -> 'actor' AS actor FROM events WHERE tenant_id = $1 ORDER BY position";
    let rows = sqlx::query(sql).bind(tenant.id).fetch_all(&mut server.sql().await).await.unwrap();
    rows.iter().map(|row| (row.get("event_type"), row.get("actor"))).collect()
}

#[tokio::test]
async fn every_event_of_an_impersonated_admin_names_the_impersonator() {
    let server = Server::start().await;
    let (platform, tenant) = (server.super_admin().await, server.tenant().await);
    let (operator, operator_id, _) = colleague(&platform).await;
    let admin = me(&tenant.admin).await;
    let before = Utc::now();
    let answer = impersonate(&operator, &tenant, None).await.expect(StatusCode::OK);
    assert_eq!((id_of(&answer["agent"]), &answer["agent"]["email"]), (admin, &json!(tenant.email)));
    let expires_at: DateTime<Utc> = answer["expires_at"].as_str().unwrap().parse().unwrap();
    let minutes = (expires_at - before).num_minutes();
    assert!((29..=30).contains(&minutes), "{minutes}");

    let played = with_token_of(&operator, &answer);
    assert_eq!(me(&played).await, admin);
    played.get("/api/super-admin/tenants").await.problem(401, "unauthenticated");
    played
        .post("/api/roles", json!({ "name": "first", "permissions": [] }))
        .await
        .expect(StatusCode::CREATED);
    // A renewed token is no way out of it.
    let renewed = played.get("/api/auth/token").await.expect(StatusCode::OK);
    let renewed = with_token_of(&operator, &renewed);
    renewed
        .post("/api/roles", json!({ "name": "second", "permissions": [] }))
        .await
        .expect(StatusCode::CREATED);

    let actors = actors(&server, &tenant).await;
    let sign_in = actors.iter().rfind(|(kind, _)| kind == "agent.signed_in").expect("an event");
    assert_eq!((&sign_in.1["type"], &sign_in.1["id"]), (&json!("super_admin"), &json!(operator_id)));
    let roles: Vec<&Value> =
        actors.iter().filter(|(kind, _)| kind == "role.created").map(|(_, actor)| actor).collect();
    assert_eq!(roles.len(), 2);
    for actor in roles {
        assert_eq!((&actor["type"], &actor["id"]), (&json!("agent"), &json!(admin)));
        assert_eq!(actor["impersonator"], json!(operator_id));
    }
}

#[tokio::test]
async fn an_impersonated_user_may_what_the_user_may() {
    let server = Server::start().await;
    let (platform, tenant) = (server.super_admin().await, server.tenant().await);
    let (agent, id) = tenant.agent("agent").await;
    let answer = impersonate(&platform, &tenant, Some(id)).await.expect(StatusCode::OK);
    let played = with_token_of(&platform, &answer);
    assert_eq!(me(&played).await, id);
    played.get("/api/roles").await.problem(403, "forbidden");
    agent.get("/api/auth/me").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn an_impersonation_leaves_no_key_behind() {
    let server = Server::start().await;
    let (platform, tenant) = (server.super_admin().await, server.tenant().await);
    let played =
        with_token_of(&platform, &impersonate(&platform, &tenant, None).await.expect(StatusCode::OK));
    played.post("/api/api-keys", json!({ "name": "mine" })).await.problem(403, "forbidden");
    assert_eq!(played.get("/api/api-keys").await.expect(StatusCode::OK), json!([]));
    let renewed = with_token_of(&platform, &played.get("/api/auth/token").await.expect(StatusCode::OK));
    renewed.post("/api/api-keys", json!({ "name": "mine" })).await.problem(403, "forbidden");
    tenant.admin.post("/api/api-keys", json!({ "name": "mine" })).await.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn an_impersonation_ends_after_half_an_hour() {
    let offset = tempfile("clock");
    let server = Server::start_with(&[("OMNISTREAM_CLOCK_OFFSET_FILE", offset.to_str().unwrap())]).await;
    let (platform, tenant) = (server.super_admin().await, server.tenant().await);
    let answer = impersonate(&platform, &tenant, None).await.expect(StatusCode::OK);
    let played = with_token_of(&platform, &answer);
    let renewed = played.get("/api/auth/token").await.expect(StatusCode::OK);
    std::fs::write(&offset, "1801").unwrap();
    for client in [played, with_token_of(&platform, &renewed)] {
        eventually("the impersonation has ended", || async {
            (client.get("/api/auth/me").await.status == StatusCode::UNAUTHORIZED).then_some(())
        })
        .await;
    }
    tenant.admin.get("/api/auth/me").await.expect(StatusCode::OK);
    std::fs::remove_file(offset).unwrap();
}

#[tokio::test]
async fn the_suspended_are_not_impersonated() {
    let server = Server::start().await;
    let (platform, tenant) = (server.super_admin().await, server.tenant().await);
    let admin = me(&tenant.admin).await;
    let played =
        with_token_of(&platform, &impersonate(&platform, &tenant, Some(admin)).await.expect(StatusCode::OK));
    let path = format!("/api/super-admin/tenants/{}", tenant.id);
    let (_, deputy) = tenant.agent("admin").await;
    platform.send(Method::POST, &format!("{path}/users/{admin}/suspend"), None).await.expect(StatusCode::OK);
    played.get("/api/auth/me").await.problem(401, "unauthenticated");
    impersonate(&platform, &tenant, Some(admin)).await.problem(409, "user_suspended");
    let by_the_other = impersonate(&platform, &tenant, None).await.expect(StatusCode::OK);
    assert_eq!(id_of(&by_the_other["agent"]), deputy, "an active one");
    platform.send(Method::POST, &format!("{path}/users/{admin}/activate"), None).await.expect(StatusCode::OK);
    platform.delete(&path).await.expect(StatusCode::OK);
    impersonate(&platform, &tenant, Some(admin)).await.problem(409, "tenant_suspended");
    impersonate(&platform, &tenant, None).await.problem(409, "tenant_suspended");
}

#[tokio::test]
async fn an_impersonation_ends_with_the_account_behind_it() {
    let server = Server::start().await;
    let (platform, tenant) = (server.super_admin().await, server.tenant().await);
    let (operator, operator_id, _) = colleague(&platform).await;
    let played =
        with_token_of(&platform, &impersonate(&operator, &tenant, None).await.expect(StatusCode::OK));
    played.get("/api/auth/me").await.expect(StatusCode::OK);
    platform.delete(&format!("/api/super-admin/admins/{operator_id}")).await.expect(StatusCode::OK);
    played.get("/api/auth/me").await.problem(401, "unauthenticated");
    tenant.admin.get("/api/auth/me").await.expect(StatusCode::OK);
}
