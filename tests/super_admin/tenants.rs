//! Tenants: made, changed, stopped and started again.

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{credentials, login, provision};
use crate::support::{PASSWORD, Server, id_of};

fn new_tenant() -> Value {
    json!({
        "name": "Warung", "slug": "warung-kopi", "admin_email": "owner@example.com", "admin_password": PASSWORD,
        "limits": { "max_agents": 3, "max_channels": null }, "country": "ID",
    })
}

#[tokio::test]
async fn a_provisioned_tenant_works_at_once() {
    let server = Server::start().await;
    let platform = server.super_admin().await;
    let created = platform.post("/api/super-admin/tenants", new_tenant()).await.expect(StatusCode::CREATED);
    assert_eq!((&created["name"], &created["slug"]), (&json!("Warung"), &json!("warung-kopi")));
    assert_eq!(
        (&created["mongo_database"], &created["country"]),
        (&json!("omnistream_warung_kopi"), &json!("ID"))
    );
    assert_eq!(created["limits"], json!({ "max_agents": 3, "max_channels": null }));
    let owner = login(&platform, "owner@example.com", PASSWORD).await;
    let me = owner.get("/api/auth/me").await.expect(StatusCode::OK);
    assert_eq!(me["role"], "admin");
    let path = format!("/api/super-admin/tenants/{}", id_of(&created));
    let shown = platform.get(&path).await.expect(StatusCode::OK);
    assert_eq!(shown["status"], "active");
    let all = platform.get("/api/super-admin/tenants").await.expect(StatusCode::OK);
    assert_eq!(all, json!([shown]));
}

#[tokio::test]
async fn a_slug_is_unique() {
    let server = Server::start().await;
    let platform = server.super_admin().await;
    platform.post("/api/super-admin/tenants", new_tenant()).await.expect(StatusCode::CREATED);
    let mut twin = new_tenant();
    twin["admin_email"] = json!("another@example.com");
    platform.post("/api/super-admin/tenants", twin).await.problem(409, "already_taken");
    let all = platform.get("/api/super-admin/tenants").await.expect(StatusCode::OK);
    assert_eq!(all.as_array().map(Vec::len), Some(1));
    let left = credentials("another@example.com", PASSWORD);
    server.client().post("/api/auth/login", left).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn bad_input_is_named_and_leaves_nothing_behind() {
    let server = Server::start().await;
    let platform = server.super_admin().await;
    for (field, value, named) in [
        ("slug", json!("Warung Kopi"), "slug"),
        ("slug", json!("warung_kopi"), "slug"),
        ("slug", json!(""), "slug"),
        ("name", json!(""), "name"),
        ("admin_email", json!("nowhere"), "admin_email"),
        ("admin_password", json!("12345"), "admin_password"),
        ("limits", json!({ "max_agents": -1 }), "limits.max_agents"),
        ("limits", json!({ "max_agents": 1.5 }), "limits.max_agents"),
        ("limits", json!({ "max_unicorns": 1 }), "limits.max_unicorns"),
        ("limits", json!([]), "limits"),
        ("schema_version", json!(2), "schema_version"),
    ] {
        let mut tenant = new_tenant();
        tenant[field] = value;
        platform.post("/api/super-admin/tenants", tenant).await.names_fields(&[named]);
    }
    assert_eq!(platform.get("/api/super-admin/tenants").await.expect(StatusCode::OK), json!([]));
}

#[tokio::test]
async fn an_update_replaces_limits_and_keeps_the_rest() {
    let server = Server::start().await;
    let platform = server.super_admin().await;
    let id =
        id_of(&platform.post("/api/super-admin/tenants", new_tenant()).await.expect(StatusCode::CREATED));
    let path = format!("/api/super-admin/tenants/{id}");
    let changed =
        platform.patch(&path, json!({ "limits": { "max_contacts": 0 } })).await.expect(StatusCode::OK);
    assert_eq!((&changed["limits"], &changed["name"]), (&json!({ "max_contacts": 0 }), &json!("Warung")));
    let renamed = platform.patch(&path, json!({ "name": "Warung Kopi" })).await;
    let version = renamed.header("etag").map(str::to_owned).expect("a version");
    let renamed = renamed.expect(StatusCode::OK);
    assert_eq!(
        (&renamed["limits"], &renamed["name"]),
        (&json!({ "max_contacts": 0 }), &json!("Warung Kopi"))
    );
    let same = platform.patch(&path, json!({ "name": "Warung Kopi", "status": "active" })).await;
    assert_eq!(same.header("etag"), Some(version.as_str()), "a change that changes nothing is no event");
    assert_eq!(same.expect(StatusCode::OK), renamed);
    let stale = platform.with_header("if-match", "\"1\"").patch(&path, json!({ "name": "Late" })).await;
    stale.problem(412, "precondition_failed");
    platform.patch(&path, json!({ "status": "provisioning" })).await.names_fields(&["status"]);
    platform
        .patch(&path, json!({ "limits": { "max_agents": "3" } }))
        .await
        .names_fields(&["limits.max_agents"]);
    platform.patch(&path, json!({ "slug": "another" })).await.names_fields(&["slug"]);
    assert_eq!(platform.get(&path).await.expect(StatusCode::OK), renamed);
}

#[tokio::test]
async fn a_suspended_tenants_tokens_and_keys_stop_at_once_and_come_back() {
    let server = Server::start().await;
    let platform = server.super_admin().await;
    let (tenant, bystander) = (server.tenant().await, server.tenant().await);
    let key = tenant.admin.post("/api/api-keys", json!({ "name": "all" })).await.expect(StatusCode::CREATED);
    let by_key = server.client().with_header("x-api-key", key["plaintext_key"].as_str().unwrap());
    let path = format!("/api/super-admin/tenants/{}", tenant.id);

    let suspended = platform.delete(&path).await.expect(StatusCode::OK);
    assert_eq!(id_of(&suspended), tenant.id);
    tenant.admin.get("/api/auth/me").await.problem(401, "unauthenticated");
    by_key.get("/api/auth/me").await.problem(401, "unauthenticated");
    let sign_in = server.client().post("/api/auth/login", credentials(&tenant.email, PASSWORD)).await;
    assert!(sign_in.status.is_client_error(), "{}", sign_in.text);
    bystander.admin.get("/api/auth/me").await.expect(StatusCode::OK);
    platform.delete(&path).await.expect(StatusCode::OK);
    assert_eq!(platform.get(&path).await.expect(StatusCode::OK)["status"], "suspended");

    let active = platform.patch(&path, json!({ "status": "active" })).await.expect(StatusCode::OK);
    assert_eq!(active["status"], "active");
    tenant.admin.get("/api/auth/me").await.expect(StatusCode::OK);
    by_key.get("/api/auth/me").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_tenant_that_does_not_exist_is_not_found() {
    let server = Server::start().await;
    let platform = server.super_admin().await;
    provision(&platform).await;
    // The platform's own tenant is nobody's customer.
    for id in [Uuid::new_v4().to_string(), Uuid::from_u128(1).to_string(), "nonsense".to_owned()] {
        let path = format!("/api/super-admin/tenants/{id}");
        platform.get(&path).await.problem(404, "not_found");
        platform.delete(&path).await.problem(404, "not_found");
        platform.patch(&path, json!({ "name": "Ghost" })).await.problem(404, "not_found");
        platform.get(&format!("{path}/users")).await.problem(404, "not_found");
        platform
            .send(reqwest::Method::POST, &format!("{path}/impersonate"), None)
            .await
            .problem(404, "not_found");
    }
}
