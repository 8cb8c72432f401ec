//! Custom roles, and what they let agents do.

use std::collections::HashMap;

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{Process, Server, id_of};

#[tokio::test]
async fn a_custom_role_is_created_changed_and_deleted() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let new =
        json!({ "name": "Auditor", "permissions": ["audit.view", "audit.view"], "description": "Reads" });
    let created = tenant.admin.post("/api/roles", new.clone()).await.expect(StatusCode::CREATED);
    assert_eq!((&created["name"], &created["permissions"]), (&json!("auditor"), &json!(["audit.view"])));
    tenant.admin.post("/api/roles", new).await.problem(409, "already_taken");
    let path = format!("/api/roles/{}", id_of(&created));
    let changed =
        tenant.admin.patch(&path, json!({ "permissions": ["analytics.view"] })).await.expect(StatusCode::OK);
    assert_eq!(changed["permissions"], json!(["analytics.view"]));
    assert_eq!(tenant.admin.get(&path).await.expect(StatusCode::OK), changed);
    tenant.admin.delete(&path).await.expect(StatusCode::OK);
    tenant.admin.get(&path).await.problem(404, "not_found");
    let left = tenant.admin.get("/api/roles").await.expect(StatusCode::OK);
    let names: Vec<_> = left.as_array().unwrap().iter().map(|role| &role["name"]).collect();
    assert_eq!(names, ["admin", "supervisor", "agent"]);
}

#[tokio::test]
async fn a_renamed_role_stays_with_its_agents_and_a_role_in_use_is_not_deleted() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let new = json!({ "name": "auditor", "permissions": ["developer.access"] });
    let role = tenant.admin.post("/api/roles", new).await.expect(StatusCode::CREATED);
    let (agent, agent_id) = tenant.agent("auditor").await;
    let path = format!("/api/roles/{}", id_of(&role));
    tenant.admin.patch(&path, json!({ "name": "Reviewer" })).await.expect(StatusCode::OK);
    agent.get("/api/api-keys").await.expect(StatusCode::OK);
    let shown = tenant.admin.get(&format!("/api/agents/{agent_id}")).await.expect(StatusCode::OK);
    assert_eq!(shown["role"], "reviewer");
    tenant.admin.patch(&path, json!({ "permissions": [] })).await.expect(StatusCode::OK);
    agent.get("/api/api-keys").await.problem(403, "forbidden");
    tenant.admin.delete(&path).await.problem(409, "in_use");
}

#[tokio::test]
async fn what_was_made_is_shown_although_the_read_models_do_not_have_it() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let Server { process, database, .. } = server;
    process.kill();
    // Without a worker no read model moves.
    let api = Process::start("api", &database.owner_url, &HashMap::new());
    let mut client = tenant.admin.with_header("prefer", "respond-async");
    client.base.clone_from(&api.base);
    let role = json!({ "name": "auditor", "permissions": ["audit.view"] });
    let created = client.post("/api/roles", role).await.expect(StatusCode::CREATED);
    assert_eq!((&created["name"], &created["permissions"]), (&json!("auditor"), &json!(["audit.view"])));
}
