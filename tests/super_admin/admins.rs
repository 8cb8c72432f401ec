//! Accounts of the platform's administrators.

use reqwest::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::{colleague, credentials, super_login};
use crate::support::{Client, PASSWORD, SUPER_ADMIN, Server, id_of};

async fn ids(platform: &Client) -> Vec<Uuid> {
    let admins = platform.get("/api/super-admin/admins").await.expect(StatusCode::OK);
    admins.as_array().unwrap().iter().map(id_of).collect()
}

#[tokio::test]
async fn a_colleague_is_added_and_taken_away() {
    let server = Server::start().await;
    let platform = server.super_admin().await;
    let (operator, id, email) = colleague(&platform).await;
    let admins = operator.get("/api/super-admin/admins").await.expect(StatusCode::OK);
    assert_eq!(admins[0]["email"], SUPER_ADMIN.0);
    assert_eq!((&admins[1]["email"], &admins[1]["is_active"]), (&json!(email), &json!(true)));
    let again = json!({ "email": email.to_uppercase(), "password": PASSWORD, "full_name": "Twin" });
    platform.post("/api/super-admin/admins", again.clone()).await.problem(409, "already_taken");

    let deleted = platform.delete(&format!("/api/super-admin/admins/{id}")).await.expect(StatusCode::OK);
    assert_eq!(id_of(&deleted), id);
    operator.get("/api/super-admin/admins").await.problem(401, "unauthenticated");
    let login = credentials(&email, PASSWORD);
    server.client().post("/api/super-admin/login", login).await.problem(401, "unauthenticated");
    platform.delete(&format!("/api/super-admin/admins/{id}")).await.problem(404, "not_found");
    platform.post("/api/super-admin/admins", again).await.expect(StatusCode::CREATED);
    super_login(&platform, &email, PASSWORD).await;
}

#[tokio::test]
async fn a_reset_password_ends_every_session() {
    let server = Server::start().await;
    let platform = server.super_admin().await;
    let (operator, id, email) = colleague(&platform).await;
    let path = format!("/api/super-admin/admins/{id}/reset-password");
    platform.post(&path, json!({ "new_password": "short" })).await.names_fields(&["new_password"]);
    operator.get("/api/super-admin/admins").await.expect(StatusCode::OK);
    platform.post(&path, json!({ "new_password": "a better one" })).await.expect(StatusCode::OK);
    operator.get("/api/super-admin/admins").await.problem(401, "unauthenticated");
    let old = credentials(&email, PASSWORD);
    server.client().post("/api/super-admin/login", old).await.problem(401, "unauthenticated");
    super_login(&platform, &email, "a better one")
        .await
        .get("/api/super-admin/admins")
        .await
        .expect(StatusCode::OK);
    let nobody = format!("/api/super-admin/admins/{}/reset-password", Uuid::new_v4());
    platform.post(&nobody, json!({ "new_password": "a better one" })).await.problem(404, "not_found");
}

#[tokio::test]
async fn bad_input_is_named() {
    let server = Server::start().await;
    let platform = server.super_admin().await;
    let create = |body| platform.post("/api/super-admin/admins", body);
    let good = json!({ "email": "a@example.com", "password": PASSWORD, "full_name": "Ani" });
    let with = |field: &str, value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    create(with("email", json!("nowhere"))).await.names_fields(&["email"]);
    create(with("password", json!("12345"))).await.names_fields(&["password"]);
    create(with("full_name", json!(""))).await.names_fields(&["full_name"]);
    create(with("is_active", json!(true))).await.names_fields(&["is_active"]);
    create(json!({ "email": "a@example.com", "password": PASSWORD })).await.names_fields(&["full_name"]);
    assert_eq!(ids(&platform).await.len(), 1);
}

#[tokio::test]
async fn nobody_deletes_themselves() {
    let server = Server::start().await;
    let platform = server.super_admin().await;
    let own = ids(&platform).await[0];
    platform.delete(&format!("/api/super-admin/admins/{own}")).await.problem(409, "own_account");
    colleague(&platform).await;
    platform.delete(&format!("/api/super-admin/admins/{own}")).await.problem(409, "own_account");
}

/// Everybody deletes everybody else at the same moment.
#[tokio::test]
async fn somebody_always_remains() {
    let server = Server::start().await;
    let mut everybody = vec![(server.super_admin().await, ids(&server.super_admin().await).await[0])];
    for _ in 0..3 {
        let (operator, id, _) = colleague(&everybody[0].0).await;
        everybody.push((operator, id));
    }
    let deletions = everybody.iter().flat_map(|(operator, own)| {
        let others = everybody.iter().map(|(_, id)| *id).filter(move |id| id != own);
        others.map(
            move |id| async move { operator.delete(&format!("/api/super-admin/admins/{id}")).await.status },
        )
    });
    let statuses = futures::future::join_all(deletions).await;
    let mut remaining = Vec::new();
    for (operator, id) in &everybody {
        if operator.get("/api/super-admin/admins").await.status == StatusCode::OK {
            remaining.push((operator, *id));
        }
    }
    let deleted = statuses.iter().filter(|status| **status == StatusCode::OK).count();
    assert_eq!(remaining.len() + deleted, everybody.len(), "{statuses:?}");
    let (survivor, _) = remaining.first().expect("somebody remains");
    assert_eq!(ids(survivor).await, remaining.iter().map(|(_, id)| *id).collect::<Vec<_>>());
    assert!(deleted > 0, "{statuses:?}");
}
