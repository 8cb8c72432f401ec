//! The people of a tenant: who may change whom, and what always holds.

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::inbox::{NO_GRAPH, given_conversation};
use crate::support::{Client, PASSWORD, Server, Tenant, id_of};

fn new_agent(email: &str) -> Value {
    json!({ "email": email, "password": PASSWORD, "full_name": "Budi" })
}

fn path(id: Uuid) -> String {
    format!("/api/agents/{id}")
}

async fn own_id(client: &Client) -> Uuid {
    id_of(&client.get("/api/auth/me").await.expect(StatusCode::OK))
}

/// An agent whose custom role holds only agents.manage.
async fn people_manager(tenant: &Tenant) -> Client {
    let role = json!({ "name": "hr", "permissions": ["agents.manage"] });
    tenant.admin.post("/api/roles", role).await.expect(StatusCode::CREATED);
    tenant.agent("hr").await.0
}

#[tokio::test]
async fn an_agent_is_created_found_changed_and_deleted() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let created =
        tenant.admin.post("/api/agents", new_agent(" Budi@Toko.ID ")).await.expect(StatusCode::CREATED);
    let id = id_of(&created);
    let shown = json!({ "id": id, "email": "budi@toko.id", "full_name": "Budi", "role": "agent", "is_online": false });
    assert_eq!(created, shown);
    assert_eq!(tenant.admin.get(&path(id)).await.expect(StatusCode::OK), shown);
    let all = tenant.admin.get("/api/agents").await.expect(StatusCode::OK);
    assert_eq!(all.as_array().unwrap().len(), 2);
    let change = json!({ "full_name": "Budi B", "email": "b@toko.id", "role": "supervisor" });
    let changed = tenant.admin.patch(&path(id), change).await.expect(StatusCode::OK);
    assert_eq!(
        (&changed["full_name"], &changed["email"], &changed["role"]),
        (&json!("Budi B"), &json!("b@toko.id"), &json!("supervisor"))
    );
    assert_eq!(tenant.admin.get(&path(id)).await.expect(StatusCode::OK), changed);
    let deleted = tenant.admin.delete(&path(id)).await.expect(StatusCode::OK);
    assert_eq!(deleted["id"], json!(id));
    tenant.admin.get(&path(id)).await.problem(404, "not_found");
    tenant.admin.delete(&path(id)).await.problem(404, "not_found");
    // Both addresses are free again.
    for email in ["budi@toko.id", "b@toko.id"] {
        tenant.admin.post("/api/agents", new_agent(email)).await.expect(StatusCode::CREATED);
    }
}

#[tokio::test]
async fn bad_fields_are_named() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    for (field, value) in [
        ("email", json!("no address")),
        ("password", json!("12345")),
        ("full_name", json!(" ")),
        ("role", json!("captain")),
        ("rol", json!("agent")),
    ] {
        let mut body = new_agent("budi@toko.id");
        body[field] = value.clone();
        tenant.admin.post("/api/agents", body).await.names_fields(&[field]);
        let own = path(own_id(&tenant.admin).await);
        tenant.admin.patch(&own, json!({ field: value })).await.names_fields(&[field]);
    }
}

#[tokio::test]
async fn an_address_is_unique_within_its_tenant_only() {
    let server = Server::start().await;
    let (one, two) = (server.tenant().await, server.tenant().await);
    one.admin.post("/api/agents", new_agent("budi@toko.id")).await.expect(StatusCode::CREATED);
    one.admin.post("/api/agents", new_agent("BUDI@toko.id")).await.problem(409, "already_taken");
    two.admin.post("/api/agents", new_agent("budi@toko.id")).await.expect(StatusCode::CREATED);
    let (_, other) = one.agent("agent").await;
    one.admin.patch(&path(other), json!({ "email": "budi@toko.id" })).await.problem(409, "already_taken");
}

#[tokio::test]
async fn another_tenants_agent_is_not_found() {
    let server = Server::start().await;
    let (one, two) = (server.tenant().await, server.tenant().await);
    let (_, foreign) = two.agent("agent").await;
    one.admin.get(&path(foreign)).await.problem(404, "not_found");
    one.admin.patch(&path(foreign), json!({ "full_name": "Mine" })).await.problem(404, "not_found");
    one.admin
        .patch(&format!("{}/status", path(foreign)), json!({ "is_online": true }))
        .await
        .problem(404, "not_found");
    one.admin.delete(&path(foreign)).await.problem(404, "not_found");
    two.admin.get(&path(foreign)).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn agents_change_themselves_and_nobody_else() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (agent, id) = tenant.agent("agent").await;
    let (_, colleague) = tenant.agent("agent").await;
    let renamed = agent.patch(&path(id), json!({ "full_name": "New Name" })).await.expect(StatusCode::OK);
    assert_eq!(renamed["full_name"], "New Name");
    agent.patch(&path(id), json!({ "email": "x@toko.id" })).await.problem(403, "forbidden");
    agent.patch(&path(id), json!({ "role": "admin" })).await.problem(403, "forbidden");
    agent.patch(&path(colleague), json!({ "full_name": "Hacked" })).await.problem(403, "forbidden");
    agent.delete(&path(colleague)).await.problem(403, "forbidden");
    agent.post("/api/agents", new_agent("y@toko.id")).await.problem(403, "forbidden");
    let online = agent
        .patch(&format!("{}/status", path(id)), json!({ "is_online": true }))
        .await
        .expect(StatusCode::OK);
    assert_eq!(online["is_online"], true);
    let theirs = format!("{}/status", path(colleague));
    agent.patch(&theirs, json!({ "is_online": true })).await.problem(403, "forbidden");
    tenant.admin.patch(&theirs, json!({ "is_online": true })).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn managing_agents_does_not_lead_to_administering() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let manager = people_manager(&tenant).await;
    let admin = own_id(&tenant.admin).await;
    let created = manager.post("/api/agents", new_agent("budi@toko.id")).await.expect(StatusCode::CREATED);
    manager.patch(&path(id_of(&created)), json!({ "password": "another one" })).await.expect(StatusCode::OK);
    manager.patch(&path(id_of(&created)), json!({ "role": "admin" })).await.problem(403, "forbidden");
    manager.patch(&path(admin), json!({ "password": "hacked!" })).await.problem(403, "forbidden");
    manager.delete(&path(admin)).await.problem(403, "forbidden");
    let mut body = new_agent("second@toko.id");
    body["role"] = json!("admin");
    manager.post("/api/agents", body).await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_new_role_and_a_new_password_hold_on_the_next_request() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (agent, id) = tenant.agent("agent").await;
    agent.get("/api/roles").await.problem(403, "forbidden");
    tenant.admin.patch(&path(id), json!({ "role": "admin" })).await.expect(StatusCode::OK);
    agent.get("/api/roles").await.expect(StatusCode::OK);
    tenant.admin.patch(&path(id), json!({ "role": "agent" })).await.expect(StatusCode::OK);
    agent.get("/api/roles").await.problem(403, "forbidden");
    let changed =
        agent.patch(&path(id), json!({ "password": "my new password" })).await.expect(StatusCode::OK);
    agent.get("/api/auth/me").await.problem(401, "unauthenticated");
    let body = json!({ "email": changed["email"], "password": "my new password" });
    server.client().post("/api/auth/login", body).await.expect(StatusCode::OK);
    let old = json!({ "email": changed["email"], "password": PASSWORD });
    server.client().post("/api/auth/login", old).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_deleted_agent_is_out_on_the_next_request() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (agent, id) = tenant.agent("supervisor").await;
    tenant.admin.delete(&path(id)).await.expect(StatusCode::OK);
    agent.get("/api/auth/me").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_deleted_agents_open_conversations_become_unassigned() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let tenant = server.tenant().await;
    let (_, id) = tenant.agent("agent").await;
    let mut conversations = Vec::new();
    for status in ["open", "pending", "resolved"] {
        let conversation = given_conversation(&server, &tenant).await;
        let assigned = format!("{}/assign", conversation.path());
        tenant.admin.patch(&assigned, json!({ "agent_id": id })).await.expect(StatusCode::OK);
        let changed = format!("{}/status", conversation.path());
        tenant.admin.patch(&changed, json!({ "status": status })).await.expect(StatusCode::OK);
        conversations.push(conversation);
    }
    let theirs = |conversation: Value| conversation["assigned_agent_id"] == json!(id);
    tenant.admin.delete(&path(id)).await.expect(StatusCode::OK);
    let mut still_theirs = Vec::new();
    for conversation in &conversations {
        still_theirs.push(theirs(tenant.admin.get(&conversation.path()).await.expect(StatusCode::OK)));
    }
    assert_eq!(still_theirs, [false, false, true]);
}

#[tokio::test]
async fn somebody_must_remain_who_administers() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let first = own_id(&tenant.admin).await;
    tenant.admin.delete(&path(first)).await.problem(409, "own_account");
    tenant.admin.patch(&path(first), json!({ "role": "agent" })).await.problem(409, "last_admin");
    let (second, _) = tenant.agent("admin").await;
    second.delete(&path(first)).await.expect(StatusCode::OK);
}

/// Each of two admins takes the other's role at the same time: one of them wins.
#[tokio::test]
async fn admins_who_demote_each_other_at_once_leave_one() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let first = own_id(&tenant.admin).await;
    for _ in 0..5 {
        let (second, second_id) = tenant.agent("admin").await;
        let (first_path, second_path) = (path(first), path(second_id));
        let (one, other) = tokio::join!(
            second.patch(&first_path, json!({ "role": "agent" })),
            tenant.admin.patch(&second_path, json!({ "role": "agent" })),
        );
        let succeeded = [&one, &other].iter().filter(|answer| answer.status == StatusCode::OK).count();
        assert_eq!(succeeded, 1, "{} {}", one.text, other.text);
        // The first one administers again, whoever won.
        if one.status == StatusCode::OK {
            second.patch(&first_path, json!({ "role": "admin" })).await.expect(StatusCode::OK);
        }
        tenant.admin.delete(&second_path).await.expect(StatusCode::OK);
    }
}

#[tokio::test]
async fn ten_agents_without_a_plan_however_many_are_created_at_once() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let creations = (0..16).map(|n| {
        let admin = tenant.admin.clone();
        async move { admin.post("/api/agents", new_agent(&format!("agent{n}@toko.id"))).await }
    });
    let answers = futures::future::join_all(creations).await;
    let created: Vec<_> = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).collect();
    assert_eq!(created.len(), 9);
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != StatusCode::CREATED).collect();
    for answer in refused {
        let problem = answer.problem(409, "limit_reached");
        assert!(problem["detail"].as_str().unwrap().contains("max_agents"), "{problem}");
    }
    tenant.admin.delete(&path(id_of(&created[0].json()))).await.expect(StatusCode::OK);
    tenant.admin.post("/api/agents", new_agent("one-more@toko.id")).await.expect(StatusCode::CREATED);
    tenant.admin.post("/api/agents", new_agent("too-many@toko.id")).await.problem(409, "limit_reached");
}

#[tokio::test]
async fn a_repeated_creation_makes_one_agent() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let admin = tenant.admin.with_header("idempotency-key", "agent-1");
    let first = admin.post("/api/agents", new_agent("budi@toko.id")).await.expect(StatusCode::CREATED);
    assert_eq!(admin.post("/api/agents", new_agent("budi@toko.id")).await.expect(StatusCode::CREATED), first);
    let all = tenant.admin.get("/api/agents").await.expect(StatusCode::OK);
    assert_eq!(all.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_stale_version_changes_nothing() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (_, id) = tenant.agent("agent").await;
    let etag = tenant.admin.get(&path(id)).await.header("etag").expect("an entity tag").to_owned();
    let conditional = tenant.admin.with_header("if-match", &etag);
    let changed = conditional.patch(&path(id), json!({ "full_name": "First" })).await;
    changed.expect(StatusCode::OK);
    assert_ne!(changed.header("etag"), Some(etag.as_str()));
    conditional.patch(&path(id), json!({ "full_name": "Second" })).await.problem(412, "precondition_failed");
    conditional
        .patch(&format!("{}/status", path(id)), json!({ "is_online": true }))
        .await
        .problem(412, "precondition_failed");
    conditional.delete(&path(id)).await.problem(412, "precondition_failed");
    let now = tenant.admin.get(&path(id)).await.expect(StatusCode::OK);
    assert_eq!((&now["full_name"], &now["is_online"]), (&json!("First"), &json!(false)));
}

#[tokio::test]
async fn a_change_to_what_is_already_so_is_no_event() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (_, id) = tenant.agent("agent").await;
    let before = tenant.admin.get(&path(id)).await.header("etag").map(str::to_owned);
    let same = tenant.admin.patch(&path(id), json!({ "full_name": "Budi", "role": "agent" })).await;
    same.expect(StatusCode::OK);
    let offline = tenant.admin.patch(&format!("{}/status", path(id)), json!({ "is_online": false })).await;
    offline.expect(StatusCode::OK);
    assert_eq!(tenant.admin.get(&path(id)).await.header("etag").map(str::to_owned), before);
}
