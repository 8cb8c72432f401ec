//! What arrives, and that it arrives once.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Scene, TOPICS, deliveries, of_type, settled, shown};
use crate::support::graph::message_id;
use crate::support::receiver::Delivery;
use crate::support::whatsapp::{conversation_with, customer};
use crate::support::{Process, eventually, id_of};

/// Waits for the only delivery of a type.
async fn only(scene: &Scene, event_type: &str) -> (Delivery, Value) {
    let found = eventually(event_type, || async {
        of_type(&scene.receiver.deliveries(), event_type).first().map(|delivery| (*delivery).clone())
    })
    .await;
    let body = found.json();
    (found, body)
}

#[tokio::test]
async fn each_kind_of_news_arrives_signed_once_and_says_what_happened() {
    let scene = Scene::start().await;
    let hook = scene.hook(&TOPICS).await;
    let conversation_id = scene.hear("Halo kak").await;
    let path = format!("/api/conversations/{conversation_id}");
    let contact = only(&scene, "contact.created").await.1;
    assert_eq!(
        (&contact["data"]["name"], &contact["data"]["channel_source"]),
        (&json!("Ani"), &json!("whatsapp"))
    );
    let opened = only(&scene, "conversation.created").await.1;
    assert_eq!((&opened["data"]["id"], &opened["data"]["status"]), (&json!(conversation_id), &json!("open")));
    assert_eq!(opened["data"]["contact"], contact["data"]);
    let received = only(&scene, "message.received").await.1;
    assert_eq!(received["data"]["content"], json!({ "text": "Halo kak" }));
    assert_eq!(received["data"]["conversation_id"], json!(conversation_id));
    let (agent, agent_id) = scene.tenant.agent("agent").await;
    let assigned = scene.admin().patch(&format!("{path}/assign"), json!({ "agent_id": agent_id })).await;
    assigned.expect(StatusCode::OK);
    assert_eq!(only(&scene, "conversation.assigned").await.1["data"]["assigned_agent_id"], json!(agent_id));
    let said = json!({ "type": "text", "content": { "text": "Siap" } });
    let said = agent.post(&format!("{path}/messages"), said).await.expect(StatusCode::CREATED);
    let sent = only(&scene, "message.sent").await.1;
    assert_eq!(
        (
            &sent["data"]["_id"],
            &sent["data"]["status"],
            &sent["data"]["external_id"],
            &sent["data"]["content"]
        ),
        (&said["_id"], &json!("sent"), &json!(message_id(0)), &said["content"])
    );
    scene.number.report(vec![scene.number.status(&message_id(0), "delivered")]).await;
    let status = only(&scene, "message.status").await.1;
    assert_eq!((&status["data"]["_id"], &status["data"]["status"]), (&said["_id"], &json!("delivered")));
    agent.patch(&format!("{path}/status"), json!({ "status": "resolved" })).await.expect(StatusCode::OK);
    assert_eq!(only(&scene, "conversation.resolved").await.1["data"]["status"], "resolved");
    let log = settled(scene.admin(), &hook, TOPICS.len(), "success").await;
    let arrived = scene.receiver.deliveries();
    assert_eq!(arrived.len(), TOPICS.len(), "one of each");
    for delivery in &arrived {
        assert!(delivery.is_signed_with(&hook.secret));
        assert_eq!(delivery.headers["content-type"], "application/json");
        let logged = log.iter().find(|one| one["id"] == delivery.id).expect("it is in the log");
        assert_eq!((&logged["payload"], &logged["attempt"]), (&delivery.json(), &json!(1)));
        // The event that it is news of can be looked up.
        let event = delivery.json()["id"].as_str().unwrap().to_owned();
        scene.admin().get(&format!("/api/events/{event}")).await.expect(StatusCode::OK);
    }
    let health = shown(scene.admin(), &hook).await;
    assert!(health["last_success_at"].is_string() && health["last_triggered_at"].is_string(), "{health}");
}

#[tokio::test]
async fn a_webhook_hears_only_of_what_it_asked_for_while_it_is_on() {
    let scene = Scene::start().await;
    scene.hear("before").await;
    let hook = scene.hook(&["message.received"]).await;
    scene.hear("first").await;
    scene.receiver.heard(1).await;
    let off = json!({ "is_active": false });
    scene.admin().patch(&hook.path(), off).await.expect(StatusCode::OK);
    scene.hear("unheard").await;
    let on = json!({ "is_active": true, "events": ["message.received", "contact.created"] });
    scene.admin().patch(&hook.path(), on).await.expect(StatusCode::OK);
    scene.hear("second").await;
    settled(scene.admin(), &hook, 2, "success").await;
    let words: Vec<Value> =
        scene.receiver.deliveries().iter().map(|one| one.json()["data"]["content"]["text"].clone()).collect();
    assert_eq!(words, ["first", "second"]);
    scene.admin().delete(&hook.path()).await.expect(StatusCode::OK);
    let other = scene.hook(&["contact.created"]).await;
    scene.number.hear(&customer(), "Halo").await;
    settled(scene.admin(), &other, 1, "success").await;
    assert_eq!(scene.receiver.deliveries().len(), 3, "the deleted one heard nothing");
}

#[tokio::test]
async fn tenants_hear_of_their_own_affairs_only() {
    let scene = Scene::start().await;
    let hook = scene.hook(&TOPICS).await;
    let (stranger, theirs) = (scene.server.tenant().await, crate::support::receiver::Receiver::start().await);
    super::hook(&stranger.admin, &theirs.url(), &TOPICS).await;
    scene.hear("Halo").await;
    settled(scene.admin(), &hook, 3, "success").await;
    assert!(theirs.deliveries().is_empty());
}

#[tokio::test]
async fn several_workers_deliver_each_event_once_to_each_webhook() {
    let scene = Scene::start().await;
    let url = scene.server.database.owner_url.clone();
    let others = [
        Process::start("worker", &url, &scene.server.env),
        Process::start("worker", &url, &scene.server.env),
    ];
    let hooks = [scene.hook(&["message.received"]).await, scene.hook(&["message.received"]).await];
    let customers: Vec<String> = (0..5).map(|_| customer()).collect();
    for n in 0..8 {
        let heard = customers.iter().map(|from| async move { (from, format!("message {n}")) });
        for (from, words) in futures::future::join_all(heard).await {
            scene.number.hear(from, &words).await;
        }
    }
    for hook in &hooks {
        settled(scene.admin(), hook, 40, "success").await;
    }
    let arrived = scene.receiver.deliveries();
    let mut ids: Vec<&str> = arrived.iter().map(|delivery| delivery.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((arrived.len(), ids.len()), (80, 80));
    drop(others);
}

#[tokio::test]
async fn a_rebuild_sends_nothing_and_gives_the_same_log() {
    let scene = Scene::start().await;
    let hook = scene.hook(&TOPICS).await;
    scene.hear("Halo").await;
    let before = settled(scene.admin(), &hook, 3, "success").await;
    let root = scene.server.super_admin().await;
    for action in ["verify", "rebuild"] {
        let path = format!("/api/super-admin/projections/webhooks/{action}");
        let done = root.post(&path, json!({})).await;
        assert!(done.status.is_success(), "{}", done.text);
        if action == "verify" {
            assert_eq!(done.json()["ok"], true, "{}", done.text);
        }
    }
    eventually("the rebuild is done", || async {
        let list = root.get("/api/super-admin/projections").await.expect(StatusCode::OK);
        let webhooks = list.as_array()?.iter().find(|one| one["name"] == "webhooks").cloned()?;
        (webhooks["version"] == 2 && webhooks["state"] == "live").then_some(())
    })
    .await;
    assert_eq!(deliveries(scene.admin(), &hook, "").await, before);
    scene.hear("and on").await;
    settled(scene.admin(), &hook, 4, "success").await;
    assert_eq!(scene.receiver.deliveries().len(), 4);
}

#[tokio::test]
async fn what_tells_about_a_person_goes_with_the_person() {
    let scene = Scene::start().await;
    let hook = scene.hook(&["message.received"]).await;
    let answer = crate::support::receiver::Reply::With(503, "retry-after", "3".to_owned());
    scene.receiver.always(Some(answer));
    scene.hear("my secret").await;
    scene.receiver.heard(1).await;
    let waiting = eventually("the first failure", || async {
        deliveries(scene.admin(), &hook, "?status=pending").await.into_iter().find(|one| one["attempt"] == 1)
    })
    .await;
    assert_eq!(waiting["payload"]["data"]["content"]["text"], "my secret");
    let conversation = conversation_with(scene.admin(), &scene.customer).await;
    let contact = conversation["contact_id"].as_str().expect("a contact");
    let erased = scene.admin().post(&format!("/api/contacts/{contact}/erase"), json!({})).await;
    erased.expect(StatusCode::OK);
    let log = deliveries(scene.admin(), &hook, "").await;
    assert_eq!((&log[0]["payload"], &log[0]["response_body"], log.len()), (&json!({}), &Value::Null, 1));
    let kept: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM events WHERE payload::text LIKE '%my secret%')
             + (SELECT count(*) FROM read.webhook_deliveries WHERE to_jsonb(webhook_deliveries)::text LIKE '%my secret%')",
    )
    .fetch_one(&mut scene.server.sql().await)
    .await
    .unwrap();
    assert_eq!(kept, 0);
    assert_eq!(id_of(&log[0]), id_of(&waiting));
    let dropped = settled(scene.admin(), &hook, 1, "failed").await;
    assert!(
        dropped[0]["error_message"].as_str().is_some_and(|error| error.contains("erased")),
        "{dropped:?}"
    );
    assert_eq!(scene.receiver.deliveries().len(), 1, "there was nothing left to send");
}
