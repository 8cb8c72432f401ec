//! Failures, pauses, crashes, and trying again.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Scene, list};
use crate::support::eventually;
use crate::support::whatsapp::{messages_of, text};

#[tokio::test]
async fn a_failed_action_stops_nothing_and_a_retry_does_only_what_is_left() {
    let scene = Scene::start().await;
    let division =
        scene.admin().post("/api/divisions", json!({ "name": "Sales" })).await.expect(StatusCode::CREATED);
    let actions = json!([
        { "type": "send_message", "content": { "text": "Hi" } },
        { "type": "assign_division", "division_id": division["id"] },
        { "type": "add_tags", "tags": ["after"] },
    ]);
    let rule_id = scene.rule(actions, json!({})).await;
    let path = format!("/api/divisions/{}", division["id"].as_str().unwrap());
    scene.admin().delete(&path).await.expect(StatusCode::OK);
    let conversation_id = scene.hear("Halo").await;
    let item = scene.settled(1, "failed").await.remove(0);
    assert_eq!(item["attempts"], 1);
    assert!(item["error"].as_str().unwrap().contains("division"), "{item}");
    let run = scene.runs_of(rule_id).await.remove(0);
    let outcomes: Vec<&Value> =
        run["result"]["actions"].as_array().unwrap().iter().map(|action| &action["outcome"]).collect();
    assert_eq!(outcomes, ["done", "failed", "done"]);
    assert_eq!((&run["matched"], &run["executed"]), (&json!(true), &json!(false)));
    assert_eq!(scene.conversation(conversation_id).await["tags"], json!(["after"]));

    // A rule that works now does not help a retry, which runs what was recorded; a reprocessing uses it.
    let fixed = json!({ "actions": [
        { "type": "send_message", "content": { "text": "Hi" } },
        { "type": "add_tags", "tags": ["fixed"] },
    ] });
    scene.admin().patch(&format!("/api/automation-rules/{rule_id}"), fixed).await.expect(StatusCode::OK);
    let path = format!("/api/automation-events/{}", item["id"].as_str().unwrap());
    scene.admin().post(&format!("{path}/retry"), json!({})).await.expect(StatusCode::OK);
    eventually("the retry fails too", || async {
        let item = scene.admin().get(&path).await.expect(StatusCode::OK);
        (item["status"] == "failed" && item["attempts"] == 1).then_some(())
    })
    .await;
    assert_eq!(scene.runs_of(rule_id).await.len(), 1);
    let again = scene.admin().post(&format!("{path}/reprocess"), json!({})).await.expect(StatusCode::OK);
    let outcomes: Vec<&Value> = again["runs"][0]["result"]["actions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|action| &action["outcome"])
        .collect();
    assert_eq!(outcomes, ["already_done", "done"], "{again}");
    assert_eq!(again["runs"][0]["executed"], true);
    scene.settled(1, "done").await;
    assert_eq!(scene.runs_of(rule_id).await.len(), 2);
    assert_eq!(scene.conversation(conversation_id).await["tags"], json!(["after", "fixed"]));
    scene.admin().post(&format!("{path}/retry"), json!({})).await.problem(409, "not_failed");
    assert_eq!(messages_of(scene.admin(), conversation_id, 2).await.len(), 2, "said once");
}

#[tokio::test]
async fn failed_items_are_retried_together_and_cleaned_up() {
    let scene = Scene::start().await;
    let (_, agent_id) = scene.tenant.agent("agent").await;
    scene.rule(json!([{ "type": "assign_agent", "agent_id": agent_id }]), json!({})).await;
    scene.admin().delete(&format!("/api/agents/{agent_id}")).await.expect(StatusCode::OK);
    let messages: Vec<Value> = (0..3).map(|n| text(&scene.customer, &format!("Halo {n}"))).collect();
    scene.number.deliver(vec![scene.number.messages(messages)]).await.expect_ok();
    scene.settled(3, "failed").await;
    let retried = scene.admin().post("/api/automation-events/retry-failed", json!({ "limit": 2 })).await;
    assert_eq!(retried.expect(StatusCode::OK)["retried_count"], 2);
    scene.settled(3, "failed").await;
    let kept = scene.admin().post("/api/automation-events/cleanup", json!({})).await.expect(StatusCode::OK);
    assert_eq!(kept["deleted_count"], 0, "they are of today");
    let gone = scene
        .admin()
        .post("/api/automation-events/cleanup", json!({ "older_than_days": 0, "limit": 2 }))
        .await;
    assert_eq!(gone.expect(StatusCode::OK)["deleted_count"], 2);
    assert_eq!(scene.items("message_received_inbound").await.len(), 1);
    let runs = list(scene.admin(), "/api/automation-runs", "runs").await;
    assert_eq!(runs.len(), 3, "what happened stays recorded");
}

#[tokio::test]
async fn a_pause_keeps_items_waiting_and_a_day_later_customers_are_left_alone() {
    let offset = std::env::temp_dir().join(format!("automation-clock-{}", uuid::Uuid::new_v4()));
    std::fs::write(&offset, "0").expect("a file");
    let scene = Scene::start_with(&[("OMNISTREAM_CLOCK_OFFSET_FILE", offset.to_str().expect("UTF-8"))]).await;
    let actions = json!([
        { "type": "send_message", "content": { "text": "Hi" } },
        { "type": "add_tags", "tags": ["seen"] },
    ]);
    let rule_id = scene.rule(actions, json!({})).await;
    let pause = json!({ "is_paused": true, "pause_reason": "stock count" });
    scene.admin().patch("/api/automation-control", pause).await.expect(StatusCode::OK);
    let conversation_id = scene.hear("Halo").await;
    let item = scene.settled(1, "pending").await.remove(0);
    let path = format!("/api/automation-events/{}/reprocess", item["id"].as_str().unwrap());
    let asked = scene.admin().post(&path, json!({})).await.expect(StatusCode::OK);
    assert_eq!(asked["runs"][0]["result"]["skip_reason"], "paused", "{asked}");
    let waiting = scene.settled(1, "pending").await.remove(0);
    assert_eq!(waiting["id"], item["id"]);
    assert_eq!(scene.conversation(conversation_id).await["tags"], json!([]));

    // The session's clock runs ahead too, so the client signs in again.
    std::fs::write(&offset, (25 * 3600).to_string()).expect("a file");
    let login = json!({ "email": scene.tenant.email, "password": crate::support::PASSWORD });
    let admin = eventually("the clock has moved", || async {
        let answer =
            scene.server.client().post("/api/auth/login", login.clone()).await.expect(StatusCode::OK);
        let admin = scene.server.client().with_token(answer["token"].as_str()?);
        // Another reason each time, since a change to what is already so records nothing.
        let again = json!({ "is_paused": true, "pause_reason": uuid::Uuid::new_v4() });
        let control = admin.patch("/api/automation-control", again).await;
        if control.status == StatusCode::UNAUTHORIZED {
            // It moved in between, and the session is old.
            return None;
        }
        let at = control.expect(StatusCode::OK)["updated_at"].as_str()?.to_owned();
        (at[..10] > *item["created_at"].as_str()?.get(..10)?).then_some(admin)
    })
    .await;
    admin.patch("/api/automation-control", json!({ "is_paused": false })).await.expect(StatusCode::OK);
    let path = format!("/api/automation-runs/by-rule/{rule_id}?sort_order=asc");
    let run =
        eventually("the rule runs", || async { list(&admin, &path, "runs").await.into_iter().nth(1) }).await;
    let actions = &run["result"]["actions"];
    assert_eq!((&actions[0]["outcome"], &actions[0]["reason"]), (&json!("skipped"), &json!("stale")));
    assert_eq!((&actions[1]["outcome"], &run["executed"]), (&json!("done"), &json!(false)));
    let _ = std::fs::remove_file(offset);
}

#[tokio::test]
async fn the_command_line_tells_why_and_what_would_be_different() {
    let scene = Scene::start().await;
    let greet = scene
        .rule(json!([{ "type": "add_note", "content": "From {{contact.name}}" }]), json!({ "name": "Greet" }))
        .await;
    let elsewhere = json!({ "name": "Mail", "conditions": { "channel_in": ["email"] } });
    scene.rule(json!([{ "type": "unassign" }]), elsewhere).await;
    scene.hear("Halo").await;
    let item = scene.settled(1, "done").await.remove(0);
    let run = scene.runs_of(greet).await.remove(0);
    let (story, ok) = scene.server.run(&["automation", "run", run["id"].as_str().unwrap()]);
    assert!(ok, "{story}");
    for told in ["message_received_inbound", "Greet acted", "add_note: done", "conversation.note_added"] {
        assert!(story.contains(told), "{told} is missing in {story}");
    }
    assert!(
        story.contains("Mail did not act: conditions") && story.contains("channel_in did not hold"),
        "{story}"
    );
    assert!(!story.contains("Ani"), "personal data only with --open");
    let (story, _) = scene.server.run(&["automation", "run", item["id"].as_str().unwrap(), "--open"]);
    assert!(story.contains("From Ani"), "{story}");

    let replay = |at: &'static str| {
        let (text, ok) =
            scene.server.run(&["automation", "replay", item["id"].as_str().unwrap(), "--at", at, "--json"]);
        assert!(ok, "{text}");
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    let differing = |report: &Value| {
        report["rules"].as_array().unwrap().iter().filter(|rule| rule["differs"] == true).count()
    };
    assert_eq!((differing(&replay("now")), differing(&replay("then"))), (0, 0));
    let off = json!({ "is_active": false });
    scene.admin().post(&format!("/api/automation-rules/{greet}/toggle"), off).await.expect(StatusCode::OK);
    assert_eq!((differing(&replay("now")), differing(&replay("then"))), (1, 0));
    let (told, _) = scene.server.run(&["automation", "replay", item["id"].as_str().unwrap(), "--at", "now"]);
    assert!(told.contains("1 rule differs") && told.contains("channel_in does not hold"), "{told}");
    // An event of the log stands for the item that it was made.
    let heard = list(scene.admin(), "/api/events?event_type=message.received", "events").await.remove(0);
    let (told, ok) = scene.server.run(&["automation", "replay", heard["event_id"].as_str().unwrap()]);
    assert!(ok && told.contains(item["id"].as_str().unwrap()), "{told}");
    let notes = list(scene.admin(), "/api/events?event_type=conversation.note_added", "events").await;
    assert_eq!(notes.len(), 1, "nothing was done");
}
