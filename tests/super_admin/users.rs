//! The people of a tenant, in the hands of the platform's support.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{credentials, login, me};
use crate::support::{PASSWORD, Server, id_of};

#[tokio::test]
async fn users_are_listed_with_what_became_of_them() {
    let server = Server::start().await;
    let (platform, tenant, other) =
        (server.super_admin().await, server.tenant().await, server.tenant().await);
    let (_, agent) = tenant.agent("agent").await;
    platform
        .send(Method::POST, &format!("/api/super-admin/tenants/{}/users/{agent}/suspend", tenant.id), None)
        .await
        .expect(StatusCode::OK);
    let users =
        platform.get(&format!("/api/super-admin/tenants/{}/users", tenant.id)).await.expect(StatusCode::OK);
    let users = users.as_array().unwrap();
    assert_eq!(users.iter().map(id_of).collect::<Vec<_>>(), [me(&tenant.admin).await, agent]);
    assert_eq!((&users[0]["email"], &users[0]["role"]), (&json!(tenant.email), &json!("admin")));
    assert_eq!((&users[0]["is_active"], &users[1]["is_active"]), (&json!(true), &json!(false)));
    let others =
        platform.get(&format!("/api/super-admin/tenants/{}/users", other.id)).await.expect(StatusCode::OK);
    assert_eq!(others.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_suspended_user_is_out_at_once_and_signs_in_again_once_activated() {
    let server = Server::start().await;
    let (platform, tenant) = (server.super_admin().await, server.tenant().await);
    let id = me(&tenant.admin).await;
    tenant.agent("admin").await;
    let key = tenant.admin.post("/api/api-keys", json!({ "name": "all" })).await.expect(StatusCode::CREATED);
    let by_key = server.client().with_header("x-api-key", key["plaintext_key"].as_str().unwrap());
    let path = format!("/api/super-admin/tenants/{}/users/{id}", tenant.id);
    for _ in 0..2 {
        let suspended =
            platform.send(Method::POST, &format!("{path}/suspend"), None).await.expect(StatusCode::OK);
        assert_eq!((id_of(&suspended), &suspended["is_active"]), (id, &json!(false)));
    }
    tenant.admin.get("/api/auth/me").await.problem(401, "unauthenticated");
    by_key.get("/api/auth/me").await.problem(401, "unauthenticated");
    let sign_in = server.client().post("/api/auth/login", credentials(&tenant.email, PASSWORD)).await;
    assert!(sign_in.status.is_client_error(), "{}", sign_in.text);

    for _ in 0..2 {
        let active =
            platform.send(Method::POST, &format!("{path}/activate"), None).await.expect(StatusCode::OK);
        assert_eq!(active["is_active"], json!(true));
    }
    tenant.admin.get("/api/auth/me").await.problem(401, "unauthenticated");
    assert_eq!(me(&login(&server.client(), &tenant.email, PASSWORD).await).await, id);
}

#[tokio::test]
async fn somebody_who_administers_is_left() {
    let server = Server::start().await;
    let (platform, tenant) = (server.super_admin().await, server.tenant().await);
    let first = me(&tenant.admin).await;
    let suspend = |id| {
        let path = format!("/api/super-admin/tenants/{}/users/{id}/suspend", tenant.id);
        let platform = platform.clone();
        async move { platform.send(Method::POST, &path, None).await }
    };
    suspend(first).await.problem(409, "last_admin");
    tenant.admin.get("/api/auth/me").await.expect(StatusCode::OK);
    let (_, second) = tenant.agent("admin").await;
    // Of two at once, one stays.
    let answers = futures::future::join(suspend(first), suspend(second)).await;
    let mut statuses = [answers.0.status.as_u16(), answers.1.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
}

#[tokio::test]
async fn a_reset_password_signs_the_user_out() {
    let server = Server::start().await;
    let (platform, tenant) = (server.super_admin().await, server.tenant().await);
    let path =
        format!("/api/super-admin/tenants/{}/users/{}/reset-password", tenant.id, me(&tenant.admin).await);
    platform.post(&path, json!({ "new_password": "12345" })).await.names_fields(&["new_password"]);
    platform.post(&path, json!({ "password": "a better one" })).await.names_fields(&["password"]);
    tenant.admin.get("/api/auth/me").await.expect(StatusCode::OK);
    platform.post(&path, json!({ "new_password": "a better one" })).await.expect(StatusCode::OK);
    tenant.admin.get("/api/auth/me").await.problem(401, "unauthenticated");
    let old = credentials(&tenant.email, PASSWORD);
    server.client().post("/api/auth/login", old).await.problem(401, "unauthenticated");
    login(&server.client(), &tenant.email, "a better one").await;
}

#[tokio::test]
async fn a_user_of_another_tenant_is_not_found_and_not_touched() {
    let server = Server::start().await;
    let (platform, tenant, other) =
        (server.super_admin().await, server.tenant().await, server.tenant().await);
    let path = format!("/api/super-admin/tenants/{}/users/{}", other.id, me(&tenant.admin).await);
    for action in ["suspend", "activate", "impersonate"] {
        platform.send(Method::POST, &format!("{path}/{action}"), None).await.problem(404, "not_found");
    }
    let reset = json!({ "new_password": "a better one" });
    platform.post(&format!("{path}/reset-password"), reset).await.problem(404, "not_found");
    tenant.admin.get("/api/auth/me").await.expect(StatusCode::OK);
}
