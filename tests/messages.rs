//! Messages: reading, sending and searching.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::inbox::{
    Conversation, Inbound, NO_GRAPH, customer_writes, deliver, digits, given_account, given_conversation,
};
use crate::support::{Answer, Client, Server, Tenant, eventually, id_of};

async fn started() -> (Server, Tenant, Conversation) {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let tenant = server.tenant().await;
    let conversation = given_conversation(&server, &tenant).await;
    (server, tenant, conversation)
}

fn messages_of(conversation: &Conversation) -> String {
    format!("{}/messages", conversation.path())
}

async fn send(client: &Client, conversation: &Conversation, kind: &str, content: Value) -> Answer {
    client.post(&messages_of(conversation), json!({ "type": kind, "content": content })).await
}

async fn send_text(client: &Client, conversation: &Conversation, text: &str) -> Answer {
    send(client, conversation, "text", json!({ "text": text })).await
}

#[tokio::test]
async fn a_sent_message_is_pending_and_comes_first() {
    let (_server, tenant, conversation) = started().await;
    let sent = send_text(&tenant.admin, &conversation, "Siap, kak").await.expect(StatusCode::CREATED);
    assert_eq!((&sent["direction"], &sent["status"]), (&json!("outbound"), &json!("pending")));
    assert_eq!((&sent["type"], &sent["content"]), (&json!("text"), &json!({ "text": "Siap, kak" })));
    assert_eq!(sent["conversation_id"], json!(conversation.id));
    let page = tenant.admin.get(&messages_of(&conversation)).await.expect(StatusCode::OK);
    assert_eq!((&page["has_more"], &page["next_cursor"]), (&json!(false), &Value::Null));
    let [first, second] = page["messages"].as_array().unwrap().as_slice() else { panic!("{page}") };
    assert_eq!(first["_id"], sent["_id"]);
    assert_eq!((&second["external_id"], &second["status"]), (&json!(conversation.wamid), &json!("received")));
    assert_eq!(second["sender_phone"], format!("+{}", conversation.customer));
    let shown = tenant.admin.get(&conversation.path()).await.expect(StatusCode::OK);
    assert_eq!(shown["last_message_at"], sent["created_at"]);
}

#[tokio::test]
async fn sending_leaves_a_resolved_conversation_resolved() {
    let (_server, tenant, conversation) = started().await;
    let status = json!({ "status": "resolved" });
    tenant.admin.patch(&format!("{}/status", conversation.path()), status).await.expect(StatusCode::OK);
    send_text(&tenant.admin, &conversation, "Terima kasih!").await.expect(StatusCode::CREATED);
    assert_eq!(tenant.admin.get(&conversation.path()).await.expect(StatusCode::OK)["status"], "resolved");
}

#[tokio::test]
async fn a_repeated_request_sends_once() {
    let (_server, tenant, conversation) = started().await;
    let client = tenant.admin.with_header("idempotency-key", "answer-1");
    let first = send_text(&client, &conversation, "Sekali saja").await.expect(StatusCode::CREATED);
    assert_eq!(send_text(&client, &conversation, "Sekali saja").await.expect(StatusCode::CREATED), first);
    send_text(&client, &conversation, "Lain").await.expect(StatusCode::UNPROCESSABLE_ENTITY);
    let page = tenant.admin.get(&messages_of(&conversation)).await.expect(StatusCode::OK);
    assert_eq!(page["messages"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn who_does_not_wait_is_told_the_same_id() {
    let (_server, tenant, conversation) = started().await;
    let client = tenant.admin.with_header("prefer", "respond-async");
    let sent = send_text(&client, &conversation, "Cepat").await.expect(StatusCode::CREATED);
    let listed = eventually("the message can be read", || async {
        let page = tenant.admin.get(&messages_of(&conversation)).await.expect(StatusCode::OK);
        page["messages"].as_array().unwrap().iter().find(|m| m["direction"] == "outbound").cloned()
    })
    .await;
    assert_eq!((&sent["_id"], &sent["created_at"]), (&listed["_id"], &listed["created_at"]));
}

/// The server died after the log had the message, and others were sent before the client came again.
#[tokio::test]
async fn who_comes_again_without_waiting_is_told_the_first_id() {
    let (mut server, tenant, conversation) = started().await;
    // Nothing is projected from here on.
    server.restart("api", || ()).await;
    let mut hasty = tenant.admin.with_header("prefer", "respond-async");
    hasty.base.clone_from(&server.process.base);
    let keyed = hasty.with_header("idempotency-key", "answer-1");
    let sent = send_text(&keyed, &conversation, "Sekali saja").await.expect(StatusCode::CREATED);
    send_text(&hasty, &conversation, "Lain").await.expect(StatusCode::CREATED);
    let lost =
        "UPDATE idempotency_keys SET status = NULL, answer = NULL, lease_until = now() - interval '1 minute'";
    assert_eq!(sqlx::query(lost).execute(&mut server.sql().await).await.unwrap().rows_affected(), 1);
    let again = send_text(&keyed, &conversation, "Sekali saja").await.expect(StatusCode::CREATED);
    assert_eq!((&again["_id"], &again["created_at"]), (&sent["_id"], &sent["created_at"]));
}

#[tokio::test]
async fn pages_go_back_in_time_while_messages_arrive() {
    let (server, tenant, conversation) = started().await;
    for n in 1..=4 {
        send_text(&tenant.admin, &conversation, &format!("{n}")).await.expect(StatusCode::CREATED);
    }
    let path = messages_of(&conversation);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = tenant.admin.get(&format!("{path}?limit=2{cursor}")).await.expect(StatusCode::OK);
        for message in page["messages"].as_array().unwrap() {
            seen.push(message["content"]["text"].as_str().unwrap().to_owned());
        }
        customer_writes(&server, &tenant, &conversation, "Halo?").await;
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&before={next}");
    }
    assert_eq!(seen, ["4", "3", "2", "1", "Halo kak"]);
    tenant.admin.get(&format!("{path}?limit=101")).await.names_fields(&["limit"]);
    tenant.admin.get(&format!("{path}?limit=0")).await.names_fields(&["limit"]);
    tenant.admin.get(&format!("{path}?before=xyz")).await.names_fields(&["before"]);
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_by_field() {
    let (server, tenant, conversation) = started().await;
    let refused = async |kind: &str, content: Value, field: &str| {
        send(&tenant.admin, &conversation, kind, content).await.names_fields(&[field]);
    };
    refused("text", json!({}), "content.text").await;
    refused("text", json!("Halo"), "content").await;
    refused("text", json!({ "text": "Halo", "txet": "Halo" }), "content.txet").await;
    refused("hologram", json!({}), "type").await;
    refused("image", json!({ "url": "nowhere" }), "content.url").await;
    let template = json!({ "template_id": Uuid::from_u128(1), "variables": {} });
    refused("template", template, "content.template_id").await;
    let unknown = json!({ "message_id": "0".repeat(24), "emoji": "👍" });
    refused("reaction", unknown, "content.message_id").await;
    let other = given_conversation(&server, &tenant).await;
    let page = tenant.admin.get(&messages_of(&other)).await.expect(StatusCode::OK);
    let elsewhere = json!({ "message_id": page["messages"][0]["_id"], "emoji": "👍" });
    refused("reaction", elsewhere, "content.message_id").await;
    let nowhere = Conversation { id: Uuid::from_u128(1), ..conversation.clone() };
    send_text(&tenant.admin, &nowhere, "Halo").await.problem(404, "not_found");
    let stranger = server.tenant().await;
    send_text(&stranger.admin, &conversation, "Halo").await.problem(404, "not_found");
    stranger.admin.get(&messages_of(&conversation)).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_reaction_refers_to_the_channels_message() {
    let (server, tenant, conversation) = started().await;
    let page = tenant.admin.get(&messages_of(&conversation)).await.expect(StatusCode::OK);
    let content = json!({ "message_id": page["messages"][0]["_id"], "emoji": "👍" });
    let sent =
        send(&tenant.admin, &conversation, "reaction", content.clone()).await.expect(StatusCode::CREATED);
    assert_eq!(sent["content"], content);
    let refers_to: String =
        sqlx::query_scalar("SELECT payload ->> 'refers_to' FROM events WHERE event_type = 'message.queued'")
            .fetch_one(&mut server.sql().await)
            .await
            .unwrap();
    assert_eq!(refers_to, conversation.wamid);
}

#[tokio::test]
async fn free_text_is_refused_once_the_window_is_closed() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let tenant = server.tenant().await;
    let account = given_account(&tenant).await;
    let customer = digits();
    let age = Duration::from_secs(25 * 60 * 60);
    deliver(&server, &account, &Inbound { age, ..Inbound::text(&customer, "Kemarin") }).await;
    let listed = format!("/api/conversations?search={customer}");
    let id = eventually("the message arrives", || async {
        let page = tenant.admin.get(&listed).await.expect(StatusCode::OK);
        page["conversations"].as_array().unwrap().first().map(id_of)
    })
    .await;
    let path = format!("/api/conversations/{id}/messages");
    let text = json!({ "type": "text", "content": { "text": "Maaf terlambat" } });
    tenant.admin.post(&path, text.clone()).await.problem(409, "window_closed");
    deliver(&server, &account, &Inbound::text(&customer, "Halo?")).await;
    eventually("the window opens", || async {
        (tenant.admin.post(&path, text.clone()).await.status == StatusCode::CREATED).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_sent_through_an_inactive_account_or_over_the_limit() {
    let (server, tenant, conversation) = started().await;
    let organization = format!("/api/super-admin/tenants/{}", tenant.id);
    let limits = json!({ "limits": { "max_messages_month": 2 } });
    server.super_admin().await.patch(&organization, limits).await.expect(StatusCode::OK);
    // The customer's own message is the month's first.
    send_text(&tenant.admin, &conversation, "Dua").await.expect(StatusCode::CREATED);
    let reached = send_text(&tenant.admin, &conversation, "Tiga").await.problem(409, "limit_reached");
    assert!(reached["detail"].as_str().unwrap().contains("max_messages_month"), "{reached}");
    let account = format!("/api/integration-accounts/{}", conversation.account.id);
    tenant.admin.patch(&account, json!({ "is_active": false })).await.expect(StatusCode::OK);
    send_text(&tenant.admin, &conversation, "Empat").await.problem(409, "channel_inactive");
}

#[tokio::test]
async fn messages_are_found_by_their_words() {
    let (server, tenant, conversation) = started().await;
    let other = given_conversation(&server, &tenant).await;
    customer_writes(&server, &tenant, &conversation, "Pesanan INV-2041 belum sampai").await;
    customer_writes(&server, &tenant, &other, "Pesanan saya sudah sampai").await;
    let found = async |query: &str| {
        let answer = tenant.admin.get(&format!("/api/messages/search?{query}")).await.expect(StatusCode::OK);
        let messages = answer["messages"].as_array().unwrap().clone();
        assert_eq!(answer["total"], messages.len(), "{query}");
        messages
            .iter()
            .map(|m| m["conversation_id"].as_str().unwrap().parse().unwrap())
            .collect::<Vec<Uuid>>()
    };
    assert_eq!(found("q=pesanan").await, [other.id, conversation.id]);
    assert_eq!(found("q=PESANAN+-belum").await, [other.id]);
    assert_eq!(found("q=%22belum+sampai%22").await, [conversation.id]);
    assert_eq!(found(&format!("q=sampai&conversation_id={}", conversation.id)).await, [conversation.id]);
    assert_eq!(found("q=sampai&channel=whatsapp").await.len(), 2);
    assert!(found("q=sampai&channel=email").await.is_empty());
    assert!(found("q=gajah").await.is_empty());
    assert!(found("q=!!!").await.is_empty());
    let first = tenant.admin.get("/api/messages/search?q=sampai&limit=1").await.expect(StatusCode::OK);
    assert_eq!((first["messages"].as_array().unwrap().len(), &first["total"]), (1, &json!(2)));
    tenant.admin.get("/api/messages/search?q=").await.names_fields(&["q"]);
    let stranger = server.tenant().await;
    assert_eq!(stranger.admin.get("/api/messages/search?q=sampai").await.expect(StatusCode::OK)["total"], 0);
}
