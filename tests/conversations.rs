//! Conversations: the inbox, and what agents do with what is in it.

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::inbox::{NO_GRAPH, begun, customer_writes, digits, given_account, given_conversation};
use crate::support::{Answer, Client, Server, Tenant, id_of};

async fn started() -> (Server, Tenant) {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let tenant = server.tenant().await;
    (server, tenant)
}

async fn listed(client: &Client, query: &str) -> Vec<Uuid> {
    let page = client.get(&format!("/api/conversations?{query}")).await.expect(StatusCode::OK);
    page["conversations"].as_array().unwrap().iter().map(id_of).collect()
}

#[track_caller]
fn unchanged(answer: &Answer) {
    answer.expect(StatusCode::OK);
    assert_eq!(answer.header("x-event-position"), None, "nothing was appended");
}

#[tokio::test]
async fn a_customers_message_makes_a_conversation() {
    let (server, tenant) = started().await;
    let stranger = server.tenant().await;
    let conversation = given_conversation(&server, &tenant).await;
    let shown = tenant.admin.get(&conversation.path()).await.expect(StatusCode::OK);
    assert_eq!((&shown["status"], &shown["unread_count"]), (&json!("open"), &json!(1)));
    assert_eq!(
        (&shown["contact_name"], &shown["contact_channel"]),
        (&json!("Siti Rahayu"), &json!("whatsapp"))
    );
    assert_eq!(shown["contact_phone"], format!("+{}", conversation.customer));
    assert_eq!((&shown["assigned_agent_id"], &shown["tags"]), (&Value::Null, &json!([])));
    let page = tenant.admin.get("/api/conversations").await.expect(StatusCode::OK);
    let [listed_one] = page["conversations"].as_array().unwrap().as_slice() else { panic!("{page}") };
    assert_eq!(*listed_one, shown);
    let numbers = ["total", "page", "per_page", "total_pages"].map(|name| page[name].as_i64().unwrap());
    assert_eq!(numbers, [1, 1, 20, 1]);
    stranger.admin.get(&conversation.path()).await.problem(404, "not_found");
    assert!(listed(&stranger.admin, "").await.is_empty());
    let status = json!({ "status": "resolved" });
    stranger.admin.patch(&format!("{}/status", conversation.path()), status).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_conversation_is_assigned_and_unassigned() {
    let (server, tenant) = started().await;
    let conversation = given_conversation(&server, &tenant).await;
    let (_, budi) = tenant.agent("agent").await;
    let (_, stranger) = server.tenant().await.agent("agent").await;
    let path = format!("{}/assign", conversation.path());
    let assigned = tenant.admin.patch(&path, json!({ "agent_id": budi })).await.expect(StatusCode::OK);
    assert_eq!(assigned["assigned_agent_id"], json!(budi));
    unchanged(&tenant.admin.patch(&path, json!({ "agent_id": budi })).await);
    assert_eq!(listed(&tenant.admin, &format!("assigned_agent_id={budi}")).await, [conversation.id]);
    assert!(listed(&tenant.admin, "unassigned=true").await.is_empty());
    for nobody in [stranger, Uuid::from_u128(1)] {
        tenant.admin.patch(&path, json!({ "agent_id": nobody })).await.names_fields(&["agent_id"]);
    }
    let freed = tenant.admin.patch(&path, json!({ "agent_id": null })).await.expect(StatusCode::OK);
    assert_eq!(freed["assigned_agent_id"], Value::Null);
    assert_eq!(listed(&tenant.admin, "unassigned=true").await, [conversation.id]);
}

#[tokio::test]
async fn status_tags_and_unread_count_change_and_filter() {
    let (server, tenant) = started().await;
    let conversation = given_conversation(&server, &tenant).await;
    let (client, path) = (&tenant.admin, conversation.path());
    let resolved = client.patch(&format!("{path}/status"), json!({ "status": "resolved" })).await;
    assert_eq!(resolved.expect(StatusCode::OK)["status"], "resolved");
    unchanged(&client.patch(&format!("{path}/status"), json!({ "status": "resolved" })).await);
    client.patch(&format!("{path}/status"), json!({ "status": "closed" })).await.names_fields(&["status"]);
    assert_eq!(listed(client, "status=resolved").await, [conversation.id]);
    assert!(listed(client, "status=open").await.is_empty());

    let tagged = client.patch(&format!("{path}/tags"), json!({ "tags": ["vip", " retur ", "vip"] })).await;
    assert_eq!(tagged.expect(StatusCode::OK)["tags"], json!(["vip", "retur"]));
    unchanged(&client.patch(&format!("{path}/tags"), json!({ "tags": ["retur", "vip"] })).await);
    assert_eq!(listed(client, "tag=retur&channel=whatsapp").await, [conversation.id]);
    assert!(listed(client, "tag=ret").await.is_empty());
    let many: Vec<String> = (0..51).map(|n| n.to_string()).collect();
    client.patch(&format!("{path}/tags"), json!({ "tags": many })).await.names_fields(&["tags"]);

    let read = client.post(&format!("{path}/read"), json!({})).await;
    assert_eq!(read.expect(StatusCode::OK)["unread_count"], 0);
    unchanged(&client.post(&format!("{path}/read"), json!({})).await);
}

#[tokio::test]
async fn a_new_message_reopens_a_resolved_conversation() {
    let (server, tenant) = started().await;
    let conversation = given_conversation(&server, &tenant).await;
    let path = conversation.path();
    let status = json!({ "status": "resolved" });
    tenant.admin.patch(&format!("{path}/status"), status).await.expect(StatusCode::OK);
    customer_writes(&server, &tenant, &conversation, "Satu lagi").await;
    let shown = tenant.admin.get(&path).await.expect(StatusCode::OK);
    assert_eq!((&shown["status"], &shown["unread_count"]), (&json!("open"), &json!(2)));
}

#[tokio::test]
async fn who_takes_over_is_assigned_and_stops_the_ai() {
    let (server, tenant) = started().await;
    let conversation = given_conversation(&server, &tenant).await;
    let (agent, id) = tenant.agent("agent").await;
    let path = format!("{}/takeover", conversation.path());
    let taken = agent.post(&path, json!({})).await.expect(StatusCode::OK);
    assert_eq!((&taken["assigned_agent_id"], &taken["ai_stopped"]), (&json!(id), &json!(true)));
    unchanged(&agent.post(&path, json!({})).await);
}

#[tokio::test]
async fn each_of_a_bulk_succeeds_or_fails_on_its_own() {
    let (server, tenant) = started().await;
    let account = given_account(&tenant).await;
    let (client, nowhere) = (&tenant.admin, Uuid::from_u128(1));
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(begun(&server, &tenant, &account, &digits(), "Ani").await.id);
    }
    let (_, budi) = tenant.agent("agent").await;
    let bulk = async |extra: Value| {
        let mut body = json!({ "conversation_ids": [ids[0], ids[1], nowhere, ids[0], ids[2]] });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        client.post("/api/conversations/bulk", body).await
    };
    for action in [
        json!({ "action": "assign", "agent_id": budi }),
        json!({ "action": "set_status", "status": "pending" }),
        json!({ "action": "add_tags", "tags": ["a", "b"] }),
        json!({ "action": "remove_tags", "tags": ["a"] }),
        json!({ "action": "mark_read" }),
    ] {
        let result = bulk(action).await.expect(StatusCode::OK);
        assert_eq!(result["succeeded"], json!(ids));
        assert_eq!(result["failed"], json!([{ "id": nowhere, "error": "There is no such conversation." }]));
    }
    let all = client.get("/api/conversations").await.expect(StatusCode::OK);
    for conversation in all["conversations"].as_array().unwrap() {
        assert_eq!(
            (&conversation["assigned_agent_id"], &conversation["status"]),
            (&json!(budi), &json!("pending"))
        );
        assert_eq!((&conversation["tags"], &conversation["unread_count"]), (&json!(["b"]), &json!(0)));
    }
    assert_eq!(bulk(json!({ "action": "unassign" })).await.expect(StatusCode::OK)["succeeded"], json!(ids));
    assert_eq!(listed(client, "unassigned=true").await.len(), 3);
    let sales =
        id_of(&client.post("/api/divisions", json!({ "name": "Sales" })).await.expect(StatusCode::CREATED));
    let transfer = json!({ "action": "transfer", "agent_id": budi, "division_id": sales });
    assert_eq!(bulk(transfer).await.expect(StatusCode::OK)["succeeded"], json!(ids));
    assert_eq!(listed(client, &format!("assigned_agent_id={budi}&division_id={sales}")).await.len(), 3);
}

#[tokio::test]
async fn a_bulk_that_lacks_what_its_action_needs_is_refused_as_a_whole() {
    let (_server, tenant) = started().await;
    let id = Uuid::from_u128(1);
    let refused = async |extra: Value, field: &str| {
        let mut body = json!({ "conversation_ids": [id] });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        tenant.admin.post("/api/conversations/bulk", body).await.names_fields(&[field]);
    };
    refused(json!({ "action": "assign" }), "agent_id").await;
    refused(json!({ "action": "assign", "agent_id": id }), "agent_id").await;
    refused(json!({ "action": "set_status" }), "status").await;
    refused(json!({ "action": "add_tags", "tags": [] }), "tags").await;
    refused(json!({ "action": "remove_tags" }), "tags").await;
    refused(json!({ "action": "remove_tags", "tags": [" "] }), "tags[0]").await;
    refused(json!({ "action": "transfer" }), "division_id").await;
    refused(json!({ "action": "transfer", "division_id": id }), "division_id").await;
    refused(json!({ "action": "delete" }), "action").await;
    refused(json!({ "action": "mark_read", "conversation_ids": [] }), "conversation_ids").await;
    refused(json!({ "action": "mark_read", "conversation_ids": vec![id; 101] }), "conversation_ids").await;
}
