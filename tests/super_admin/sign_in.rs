//! Two audiences, apart.

use std::io::Write as _;

use reqwest::StatusCode;
use serde_json::json;

use super::{credentials, super_login};
use crate::support::{SUPER_ADMIN, Server, eventually};

#[tokio::test]
async fn neither_kind_of_token_works_for_the_other() {
    let server = Server::start().await;
    let (platform, tenant) = (server.super_admin().await, server.tenant().await);
    platform.get("/api/auth/me").await.problem(401, "unauthenticated");
    platform.get("/api/roles").await.problem(401, "unauthenticated");
    for path in ["tenants", "usage", "health", "admins"] {
        let path = format!("/api/super-admin/{path}");
        tenant.admin.get(&path).await.problem(401, "unauthenticated");
        server.client().get(&path).await.problem(401, "unauthenticated");
        platform.get(&path).await.expect(StatusCode::OK);
    }
    let key = tenant.admin.post("/api/api-keys", json!({ "name": "all" })).await.expect(StatusCode::CREATED);
    let by_key = server.client().with_header("x-api-key", key["plaintext_key"].as_str().unwrap());
    by_key.get("/api/auth/me").await.expect(StatusCode::OK);
    by_key.get("/api/super-admin/tenants").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn accounts_of_one_audience_do_not_sign_in_to_the_other() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let agent = credentials(&tenant.email, crate::support::PASSWORD);
    server.client().post("/api/super-admin/login", agent).await.problem(401, "unauthenticated");
    let operator = credentials(SUPER_ADMIN.0, SUPER_ADMIN.1);
    server.client().post("/api/auth/login", operator).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_refused_sign_in_does_not_tell_who_has_an_account() {
    let server = Server::start().await;
    let wrong =
        server.client().post("/api/super-admin/login", credentials(SUPER_ADMIN.0, "wrong password")).await;
    let unknown =
        server.client().post("/api/super-admin/login", credentials("nobody@example.com", "whatever")).await;
    let (wrong, unknown) = (wrong.problem(401, "unauthenticated"), unknown.problem(401, "unauthenticated"));
    assert_eq!(wrong["detail"], unknown["detail"]);
    let shouted = credentials(&SUPER_ADMIN.0.to_uppercase(), SUPER_ADMIN.1);
    server.client().post("/api/super-admin/login", shouted).await.expect(StatusCode::OK);
    let half = server.client().post("/api/super-admin/login", json!({ "email": "not an address" })).await;
    half.names_fields(&["password"]);
}

#[tokio::test]
async fn guessing_a_password_is_stopped_and_a_success_starts_over() {
    let server = Server::start().await;
    let attempt = |password: &str| {
        let (client, body) = (server.client(), credentials(SUPER_ADMIN.0, password));
        async move { client.post("/api/super-admin/login", body).await }
    };
    for _ in 0..9 {
        attempt("wrong").await.problem(401, "unauthenticated");
    }
    attempt(SUPER_ADMIN.1).await.expect(StatusCode::OK);
    for _ in 0..10 {
        attempt("wrong").await.problem(401, "unauthenticated");
    }
    let stopped = attempt(SUPER_ADMIN.1).await;
    assert_eq!(stopped.status, StatusCode::TOO_MANY_REQUESTS, "{}", stopped.text);
    assert!(
        stopped.header("retry-after").and_then(|s| s.parse::<u64>().ok()).is_some_and(|s| s > 0 && s <= 900)
    );
}

#[tokio::test]
async fn a_token_is_good_for_an_hour() {
    let offset = tempfile("clock");
    let server = Server::start_with(&[("OMNISTREAM_CLOCK_OFFSET_FILE", offset.to_str().unwrap())]).await;
    let platform = server.super_admin().await;
    platform.get("/api/super-admin/admins").await.expect(StatusCode::OK);
    std::fs::File::create(&offset).and_then(|mut file| file.write_all(b"3601")).unwrap();
    eventually("the token has expired", || async {
        (platform.get("/api/super-admin/admins").await.status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    super_login(&server.client(), SUPER_ADMIN.0, SUPER_ADMIN.1).await;
    std::fs::remove_file(offset).unwrap();
}

pub(super) fn tempfile(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("omnistream-{name}-{}", uuid::Uuid::new_v4()))
}
