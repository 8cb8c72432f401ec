//! From an agent's answer to the Graph API, and what comes back.

use std::sync::Arc;

use commands::failpoint::Failpoint;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::support::graph::{Graph, Reply, message_id};
use crate::support::places::Places;
use crate::support::whatsapp::{Number, conversation_with, customer, messages_of};
use crate::support::{Answer, Client, Process, Server, Tenant, eventually, id_of};

const TOKEN: &str = "EAAG-a-token-of-the-account";

/// A tenant in the middle of a conversation.
struct Scene {
    graph: Graph,
    server: Server,
    tenant: Tenant,
    number: Number,
    customer: String,
    conversation_id: Uuid,
    /// Meta's id of the customer's message.
    heard: String,
}

impl Scene {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    async fn start_with(setting: Option<(&str, &str)>) -> Self {
        let graph = Graph::start().await;
        let env: Vec<(&str, &str)> =
            setting.into_iter().chain([("META_API_URL", graph.base.as_str())]).collect();
        let server = Server::start_with(&env).await;
        let tenant = server.tenant().await;
        let number = Number::connect_with(&tenant, json!({ "access_token": TOKEN, "waba_id": "900" })).await;
        let customer = customer();
        let heard = number.hear(&customer, "Halo").await;
        let conversation_id = id_of(&conversation_with(&tenant.admin, &customer).await);
        Self { graph, server, tenant, number, customer, conversation_id, heard }
    }

    async fn send(&self, kind: &str, content: Value) -> Answer {
        send(&self.tenant.admin, self.conversation_id, kind, content).await
    }

    async fn say(&self, words: &str) -> String {
        let sent = self.send("text", json!({ "text": words })).await.expect(StatusCode::CREATED);
        sent["_id"].as_str().expect("an id").to_owned()
    }

    /// Waits until a message of ours has this status.
    async fn reaches(&self, id: &str, status: &str) -> Value {
        eventually(&format!("{id} {status}"), || async {
            let messages = messages_of(&self.tenant.admin, self.conversation_id, 1).await;
            let message = messages.into_iter().find(|m| m["_id"] == id)?;
            (message["status"] == status).then_some(message)
        })
        .await
    }

    async fn sent_to_graph(&self, count: usize) -> Vec<Value> {
        eventually("calls", || async {
            let messages = self.graph.messages();
            (messages.len() >= count).then_some(messages)
        })
        .await
    }
}

/// Waits until so many delivered payloads have this status.
async fn reach(server: &Server, status: &str, count: i64) {
    eventually(&format!("{count} {status}"), || async {
        let mut sql = server.sql().await;
        let query = sqlx::query_scalar("SELECT count(*) FROM inbound WHERE status = $1").bind(status);
        let found: i64 = query.fetch_one(&mut sql).await.expect("a count");
        (found == count).then_some(())
    })
    .await;
}

/// The same caller at another process.
fn at(client: &Client, process: &Process) -> Client {
    let mut elsewhere = client.clone();
    elsewhere.base.clone_from(&process.base);
    elsewhere
}

async fn send(client: &Client, conversation_id: Uuid, kind: &str, content: Value) -> Answer {
    let path = format!("/api/conversations/{conversation_id}/messages");
    client.post(&path, json!({ "type": kind, "content": content })).await
}

#[tokio::test]
async fn what_an_agent_writes_reaches_meta_in_metas_words_and_in_order() {
    let scene = Scene::start().await;
    let inbound = messages_of(&scene.tenant.admin, scene.conversation_id, 1).await;
    let buttons = json!({ "type": "button", "body": { "text": "Ship it?" }, "action": { "buttons": [
        { "type": "reply", "reply": { "id": "yes", "title": "Yes" } }] } });
    let wanted = [
        ("text", json!({ "text": "See https://example.com" })),
        ("image", json!({ "url": "https://example.com/a.jpg", "caption": "this one" })),
        ("document", json!({ "url": "https://example.com/a.pdf", "filename": "a.pdf" })),
        ("location", json!({ "latitude": -6.2, "longitude": 106.8, "name": "Monas" })),
        ("interactive", buttons.clone()),
        ("reaction", json!({ "message_id": inbound[0]["_id"], "emoji": "👍" })),
    ];
    for (kind, content) in &wanted {
        scene.send(kind, content.clone()).await.expect(StatusCode::CREATED);
    }
    let sent = scene.sent_to_graph(wanted.len()).await;
    let kinds: Vec<&str> = sent.iter().filter_map(|body| body["type"].as_str()).collect();
    assert_eq!(kinds, wanted.iter().map(|(kind, _)| *kind).collect::<Vec<_>>());
    assert!(
        sent.iter().all(|b| b["to"] == scene.customer && b["messaging_product"] == "whatsapp"),
        "{sent:?}"
    );
    assert_eq!(sent[0]["text"], json!({ "body": "See https://example.com", "preview_url": true }));
    assert_eq!(sent[1]["image"], json!({ "link": "https://example.com/a.jpg", "caption": "this one" }));
    assert_eq!(sent[2]["document"]["filename"], "a.pdf");
    assert_eq!(sent[3]["location"]["latitude"], -6.2);
    assert_eq!(sent[4]["interactive"], buttons);
    assert_eq!(sent[5]["reaction"], json!({ "message_id": scene.heard, "emoji": "👍" }));
    let call = &scene.graph.calls_to("/messages")[0];
    assert_eq!(call.path, format!("/{}/messages", scene.number.phone_number_id));
    assert_eq!(call.token, TOKEN);
    for message in messages_of(&scene.tenant.admin, scene.conversation_id, 7).await {
        if message["direction"] == "outbound" {
            scene.reaches(message["_id"].as_str().expect("an id"), "sent").await;
        }
    }
}

#[tokio::test]
async fn reading_a_conversation_shows_the_customer_its_ticks() {
    let scene = Scene::start().await;
    let path = format!("/api/conversations/{}/read", scene.conversation_id);
    scene.tenant.admin.post(&path, json!({})).await.expect(StatusCode::OK);
    let receipt =
        eventually("a receipt", || async { scene.graph.calls_to("/messages").first().cloned() }).await;
    let expected = json!({ "messaging_product": "whatsapp", "status": "read", "message_id": scene.heard });
    assert_eq!(receipt.body, expected);
}

#[tokio::test]
async fn statuses_move_forward_only_and_a_failure_explains_itself() {
    let scene = Scene::start().await;
    let (read, failed) = (scene.say("one").await, scene.say("two").await);
    for id in [&read, &failed] {
        scene.reaches(id, "sent").await;
    }
    let first = message_id(0);
    scene
        .number
        .report(vec![scene.number.status(&first, "read"), scene.number.status(&first, "delivered")])
        .await;
    scene.reaches(&read, "read").await;
    let mut failure = scene.number.status(&message_id(1), "failed");
    failure["errors"] = json!([{ "code": 131026, "title": "Message undeliverable" }]);
    scene.number.report(vec![failure]).await;
    let message = scene.reaches(&failed, "failed").await;
    assert!(
        message["error_message"].as_str().is_some_and(|m| m.contains("may not be on WhatsApp")),
        "{message}"
    );
    scene
        .number
        .report(vec![scene.number.status(&message_id(1), "read"), scene.number.status(&first, "sent")])
        .await;
    scene.number.hear(&scene.customer, "after").await;
    messages_of(&scene.tenant.admin, scene.conversation_id, 4).await;
    scene.reaches(&failed, "failed").await;
    assert_eq!(scene.reaches(&read, "read").await["external_id"], first);
}

#[tokio::test]
async fn a_status_that_overtakes_the_answer_is_applied_when_the_answer_comes() {
    let scene = Scene::start().await;
    let (unnamed, named) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    scene.graph.next(Reply::Wait(Arc::clone(&unnamed)));
    let id = scene.say("slow").await;
    scene.sent_to_graph(1).await;
    scene.number.report(vec![scene.number.status(&message_id(0), "delivered")]).await;
    reach(&scene.server, "waiting", 1).await;
    unnamed.notify_one();
    scene.reaches(&id, "delivered").await;
    reach(&scene.server, "waiting", 0).await;
    // With our own id in it, a status needs no answer at all.
    scene.graph.next(Reply::Wait(Arc::clone(&named)));
    let id = scene.say("slower").await;
    let body = scene.sent_to_graph(2).await.remove(1);
    let mut status = scene.number.status(&message_id(1), "delivered");
    status["biz_opaque_callback_data"] = body["biz_opaque_callback_data"].clone();
    scene.number.report(vec![status]).await;
    assert_eq!(scene.reaches(&id, "delivered").await["external_id"], message_id(1));
    named.notify_one();
}

#[tokio::test]
async fn a_refusal_that_passes_is_tried_again_and_one_that_does_not_is_explained() {
    let scene = Scene::start().await;
    scene.graph.next(Reply::error(400, 130_429, "Rate limit hit"));
    scene.graph.next(Reply::error(503, 2, "Service temporarily unavailable"));
    let id = scene.say("patience").await;
    scene.reaches(&id, "sent").await;
    assert_eq!(scene.graph.messages().len(), 3);
    for _ in 0..6 {
        scene.graph.next(Reply::error(400, 130_429, "Rate limit hit"));
    }
    let given_up = scene.say("too often").await;
    let behind = scene.say("behind it").await;
    let message = scene.reaches(&given_up, "failed").await;
    assert!(message["error_message"].as_str().is_some_and(|m| m.contains("too fast")), "{message}");
    scene.reaches(&behind, "sent").await;
    assert_eq!(scene.graph.messages().len(), 3 + 6 + 1);
    scene.graph.next(Reply::error(401, 190, "Invalid OAuth access token"));
    let refused = scene.say("no token").await;
    let message = scene.reaches(&refused, "failed").await;
    assert!(message["error_message"].as_str().is_some_and(|m| m.contains("connect it again")), "{message}");
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_not_tried_again() {
    let scene = Scene::start().await;
    scene.graph.next(Reply::BreakOff);
    let id = scene.say("lost?").await;
    let message = scene.reaches(&id, "failed").await;
    assert!(
        message["error_message"].as_str().is_some_and(|m| m.contains("may or may not have arrived")),
        "{message}"
    );
    let next = scene.say("next").await;
    scene.reaches(&next, "sent").await;
    assert_eq!(scene.graph.messages().len(), 2);
}

#[tokio::test]
async fn an_account_without_a_token_says_so() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let number = Number::connect(&tenant).await;
    let from = customer();
    number.hear(&from, "Halo").await;
    let conversation_id = id_of(&conversation_with(&tenant.admin, &from).await);
    send(&tenant.admin, conversation_id, "text", json!({ "text": "hi" })).await.expect(StatusCode::CREATED);
    let message = eventually("a failure", || async {
        let messages = messages_of(&tenant.admin, conversation_id, 2).await;
        (messages[0]["status"] == "failed").then(|| messages[0].clone())
    })
    .await;
    assert!(message["error_message"].as_str().is_some_and(|m| m.contains("no access token")), "{message}");
}

#[tokio::test]
async fn killed_between_the_call_and_its_answer_it_is_not_sent_again() {
    let scene = Scene::start().await;
    scene.graph.next(Reply::Wait(Arc::new(Notify::new())));
    let id = scene.say("was it?").await;
    scene.sent_to_graph(1).await;
    let Scene { graph, server, conversation_id, tenant, .. } = scene;
    let Server { process, database, env } = server;
    process.kill();
    let process = Process::start("serve", &database.owner_url, &env);
    let admin = at(&tenant.admin, &process);
    let message = eventually("a verdict", || async {
        let messages = messages_of(&admin, conversation_id, 2).await;
        (messages[0]["_id"] == id && messages[0]["status"] == "failed").then(|| messages[0].clone())
    })
    .await;
    assert!(message["error_message"].as_str().is_some_and(|m| m.contains("interrupted")), "{message}");
    assert_eq!(graph.messages().len(), 1);
}

#[tokio::test]
async fn killed_before_the_call_it_is_sent_later() {
    let places = Places::new();
    let mut scene = Scene::start_with(Some(places.env())).await;
    places.arm(Failpoint::EffectsClaimed);
    let id = scene.say("it never left").await;
    places.kill(&mut scene.server).await;
    assert!(scene.graph.messages().is_empty());
    scene.tenant.admin.base.clone_from(&scene.server.process.base);
    scene.reaches(&id, "sent").await;
    assert_eq!(scene.graph.messages().len(), 1);
}

#[tokio::test]
async fn two_workers_send_each_message_once() {
    let scene = Scene::start().await;
    let url = scene.server.database.owner_url.clone();
    let second = Process::start("serve", &url, &scene.server.env);
    let third = Process::start("worker", &url, &scene.server.env);
    let others: Vec<String> = (0..4).map(|_| customer()).collect();
    let mut conversations = vec![scene.conversation_id];
    for from in &others {
        scene.number.hear(from, "Halo").await;
        conversations.push(id_of(&conversation_with(&scene.tenant.admin, from).await));
    }
    let elsewhere = at(&scene.tenant.admin, &second);
    for n in 0..8 {
        let client = if n % 2 == 0 { &scene.tenant.admin } else { &elsewhere };
        let answers = conversations
            .iter()
            .map(|id| send(client, *id, "text", json!({ "text": format!("message {n}") })));
        for answer in futures::future::join_all(answers).await {
            answer.expect(StatusCode::CREATED);
        }
    }
    scene.sent_to_graph(40).await;
    for id in &conversations {
        eventually("all sent", || async {
            let messages = messages_of(&scene.tenant.admin, *id, 9).await;
            messages
                .iter()
                .filter(|m| m["direction"] == "outbound")
                .all(|m| m["status"] == "sent")
                .then_some(())
        })
        .await;
    }
    let sent = scene.graph.messages();
    assert_eq!(sent.len(), 40);
    for from in others.iter().chain([&scene.customer]) {
        let words: Vec<&str> =
            sent.iter().filter(|b| b["to"] == *from).filter_map(|b| b["text"]["body"].as_str()).collect();
        assert!(words.len() == 8 && words.is_sorted(), "{words:?}");
    }
    drop(third);
}
