//! Divisions, who is in them, and how they hand conversations out.

mod allocation;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, Client, Server, id_of};

async fn division(admin: &Client, new: Value) -> Uuid {
    id_of(&admin.post("/api/divisions", new).await.expect(StatusCode::CREATED))
}

async fn change_agents(admin: &Client, method: Method, division: Uuid, agents: &[Uuid]) -> Answer {
    let path = format!("/api/divisions/{division}/agents");
    admin.send(method, &path, Some(json!({ "agent_ids": agents }))).await
}

fn ids(list: &Value) -> Vec<Uuid> {
    list.as_array().expect("a list").iter().map(id_of).collect()
}

#[tokio::test]
async fn a_division_is_made_changed_listed_and_deleted() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let admin = &tenant.admin;
    let made = admin.post("/api/divisions", json!({ "name": " Sales " })).await.expect(StatusCode::CREATED);
    assert_eq!((&made["name"], &made["description"]), (&json!("Sales"), &json!("")));
    assert_eq!((&made["allocation_method"], &made["is_active"]), (&json!("manual"), &json!(true)));
    admin.post("/api/divisions", json!({ "name": "SALES" })).await.problem(409, "already_taken");
    let path = format!("/api/divisions/{}", id_of(&made));
    let change = json!({ "name": "Support", "description": "After the sale", "allocation_method": "least_busy",
        "is_active": false });
    let changed = admin.patch(&path, change.clone()).await.expect(StatusCode::OK);
    for (field, value) in change.as_object().unwrap() {
        assert_eq!(&changed[field], value);
    }
    let again = admin.patch(&path, change).await;
    again.expect(StatusCode::OK);
    assert_eq!(again.header("x-event-position"), None, "nothing was appended");
    let shown = admin.get(&path).await.expect(StatusCode::OK);
    assert_eq!((&shown["name"], &shown["agents"]), (&json!("Support"), &json!([])));
    // The old name is free again, the new one is taken.
    let sales = division(admin, json!({ "name": "sales" })).await;
    let taken = admin.patch(&format!("/api/divisions/{sales}"), json!({ "name": "support" })).await;
    taken.problem(409, "already_taken");
    let listed = admin.get("/api/divisions").await.expect(StatusCode::OK);
    assert_eq!(ids(&listed), [id_of(&made), sales]);
    assert_eq!(listed[1]["agent_count"], 0);
    assert_eq!(admin.delete(&path).await.expect(StatusCode::OK)["id"], made["id"]);
    for answer in [admin.get(&path).await, admin.delete(&path).await, admin.patch(&path, json!({})).await] {
        answer.problem(404, "not_found");
    }
    assert_eq!(ids(&admin.get("/api/divisions").await.expect(StatusCode::OK)), [sales]);
    division(admin, json!({ "name": "Support" })).await;
}

#[tokio::test]
async fn what_a_division_can_not_be_is_refused_by_name() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let id = division(&tenant.admin, json!({ "name": "Sales" })).await;
    let path = format!("/api/divisions/{id}");
    let before = tenant.admin.get(&path).await.expect(StatusCode::OK);
    for (bad, field) in [
        (json!({ "name": "  " }), "name"),
        (json!({ "name": "x".repeat(101) }), "name"),
        (json!({ "name": "A", "description": "x".repeat(1001) }), "description"),
        (json!({ "name": "A", "allocation_method": "random" }), "allocation_method"),
        (json!({ "name": "A", "colour": "red" }), "colour"),
    ] {
        tenant.admin.post("/api/divisions", bad.clone()).await.names_fields(&[field]);
        tenant.admin.patch(&path, bad).await.names_fields(&[field]);
    }
    tenant.admin.post("/api/divisions", json!({})).await.names_fields(&["name"]);
    assert_eq!(tenant.admin.get(&path).await.expect(StatusCode::OK), before);
    let (agent, _) = tenant.agent("agent").await;
    agent.get("/api/divisions").await.problem(403, "forbidden");
    let (supervisor, _) = tenant.agent("supervisor").await;
    assert_eq!(ids(&supervisor.get("/api/divisions").await.expect(StatusCode::OK)), [id]);
}

#[tokio::test]
async fn agents_come_and_go() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let admin = &tenant.admin;
    let id = division(admin, json!({ "name": "Sales" })).await;
    let ((_, budi), (_, sari)) = (tenant.agent("agent").await, tenant.agent("supervisor").await);
    let added = change_agents(admin, Method::POST, id, &[budi, sari, budi]).await.expect(StatusCode::OK);
    assert_eq!(added["agent_count"], 2);
    let again = change_agents(admin, Method::POST, id, &[sari]).await;
    assert_eq!(again.expect(StatusCode::OK)["agent_count"], 2);
    assert_eq!(again.header("x-event-position"), None, "nothing was appended");
    let path = format!("/api/divisions/{id}");
    let members = admin.get(&format!("{path}/agents")).await.expect(StatusCode::OK);
    assert_eq!(ids(&members), [budi, sari]);
    assert_eq!(members[1]["role"], "supervisor");
    assert_eq!(admin.get(&path).await.expect(StatusCode::OK)["agents"], members);
    // Whoever is deleted is gone from the division too, and can still be taken off its list.
    admin.delete(&format!("/api/agents/{sari}")).await.expect(StatusCode::OK);
    assert_eq!(ids(&admin.get(&format!("{path}/agents")).await.expect(StatusCode::OK)), [budi]);
    assert_eq!(admin.get("/api/divisions").await.expect(StatusCode::OK)[0]["agent_count"], 1);
    let removed = change_agents(admin, Method::DELETE, id, &[sari, budi]).await.expect(StatusCode::OK);
    assert_eq!(removed["agent_count"], 0);
    assert_eq!(admin.get(&format!("{path}/agents")).await.expect(StatusCode::OK), json!([]));
}

#[tokio::test]
async fn only_ones_own_agents_are_put_into_ones_own_divisions() {
    let server = Server::start().await;
    let (tenant, stranger) = (server.tenant().await, server.tenant().await);
    let id = division(&tenant.admin, json!({ "name": "Sales" })).await;
    let ((_, budi), (_, foreign)) = (tenant.agent("agent").await, stranger.agent("agent").await);
    for method in [Method::POST, Method::DELETE] {
        for nobody in [foreign, Uuid::from_u128(1)] {
            let refused = change_agents(&tenant.admin, method.clone(), id, &[budi, nobody]).await;
            refused.names_fields(&["agent_ids[1]"]);
        }
        change_agents(&tenant.admin, method.clone(), id, &[]).await.names_fields(&["agent_ids"]);
        change_agents(&stranger.admin, method, id, &[foreign]).await.problem(404, "not_found");
    }
    let path = format!("/api/divisions/{id}/agents");
    assert_eq!(tenant.admin.get(&path).await.expect(StatusCode::OK), json!([]), "all or none");
    stranger.admin.get(&path).await.problem(404, "not_found");
}
