//! Read models of automation and service level are functions of the log: rebuilt, they hold the same rows, and nothing
//! is done again.

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::{Scene, list, tag};
use crate::support::eventually;
use crate::support::receiver::{Receiver, Reply};

/// Every read model of the two engines, and of what hangs on them.
const PROJECTIONS: [&str; 2] = ["automation", "sla"];

/// A trigger of every kind, rules that act, skip and fail, a retry, a reprocessing, a pause, a breach.
async fn eventful() -> (Scene, Receiver) {
    let (scene, receiver) = (Scene::start().await, Receiver::start().await);
    let policy = json!({ "name": "Gold", "first_response_time_secs": 1, "resolution_time_secs": 3600 });
    let policy = scene.admin().post("/api/sla-policies", policy).await.expect(StatusCode::CREATED);
    let applied = json!([{ "type": "apply_sla", "policy_id": policy["id"] }]);
    scene.rule(applied, json!({ "trigger_type": "conversation_created" })).await;
    let call = json!({ "type": "call_webhook", "url": receiver.url() });
    scene
        .rule(
            json!([call, { "type": "send_message", "content": { "text": "Hi" } }]),
            json!({ "cooldown_secs": 60 }),
        )
        .await;
    scene.rule(tag("breached"), json!({ "trigger_type": "sla_breached" })).await;
    scene.rule(tag("seen"), json!({ "trigger_type": "status_changed" })).await;
    scene.rule(tag("mail"), json!({ "conditions": { "channel_in": ["email"] } })).await;
    receiver.next(Reply::Status(503));
    receiver.next(Reply::Status(400));
    let conversation_id = scene.hear("Halo").await;
    let failed = scene.settled(1, "failed").await.remove(0);
    let path = format!("/api/automation-events/{}", failed["id"].as_str().expect("an id"));
    scene.admin().post(&format!("{path}/retry"), json!({})).await.expect(StatusCode::OK);
    scene.settled(1, "done").await;
    scene.admin().post(&format!("{path}/reprocess"), json!({})).await.expect(StatusCode::OK);
    scene.settled(1, "done").await;
    scene.hear("Lagi").await;
    scene.settled(2, "done").await;
    let status = format!("/api/conversations/{conversation_id}/status");
    scene.admin().patch(&status, json!({ "status": "pending" })).await.expect(StatusCode::OK);
    eventually("the breach is acted on", || async {
        let breaches = scene.items("sla_breached").await;
        breaches.iter().any(|item| item["status"] == "done").then_some(())
    })
    .await;
    scene.admin().patch("/api/automation-control", json!({ "is_paused": true })).await.expect(StatusCode::OK);
    scene.number.hear(&scene.customer, "Selama jeda").await;
    eventually("an item waits", || async {
        let items = scene.items("message_received_inbound").await;
        items.iter().any(|item| item["status"] == "pending").then_some(())
    })
    .await;
    eventually("the answer has left", || async { (scene.graph.messages().len() == 1).then_some(()) }).await;
    (scene, receiver)
}

/// The rows of every table of a read model, in an order of their own.
async fn rows(scene: &Scene, projection: &str) -> Vec<(String, i64, String)> {
    let mut sql = scene.server.sql().await;
    let mut all = Vec::new();
    let found = projections::all().into_iter().find(|one| one.name == projection).expect("a projection");
    for table in &found.tables {
        let name = table.name();
        let query = format!(
            "SELECT count(*), coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '') FROM read.{name} t"
        );
        let (count, text) = sqlx::query_as(AssertSqlSafe(query)).fetch_one(&mut sql).await.expect("its rows");
        all.push((name.to_owned(), count, text));
    }
    all
}

#[tokio::test]
async fn a_rebuild_makes_the_same_rows_and_sends_nothing() {
    let (scene, receiver) = eventful().await;
    let sent = || (scene.graph.calls().len(), receiver.deliveries().len());
    let head = || async {
        let events = list(scene.admin(), "/api/events?limit=1000", "events").await;
        events.last().map(|event: &Value| event["position"].clone())
    };
    let root = scene.server.super_admin().await;
    let (sent_before, head_before) = (sent(), head().await);
    for projection in PROJECTIONS {
        let live = rows(&scene, projection).await;
        assert!(
            live.iter().map(|(_, count, _)| count).sum::<i64>() > 0,
            "{projection} has something to lose"
        );
        let verified =
            root.post(&format!("/api/super-admin/projections/{projection}/verify"), json!({})).await;
        assert_eq!(verified.expect(StatusCode::OK)["ok"], true, "{projection}");
        let (told, ok) = scene.server.run(&["projections", "rebuild", projection]);
        assert!(ok, "{told}");
        assert_eq!(rows(&scene, projection).await, live, "{projection}");
    }
    // Long enough for whatever a rebuild might have set off.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!((sent(), head().await), (sent_before, head_before), "nothing was sent, nothing happened");
}
