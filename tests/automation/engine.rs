//! What rules do when something happens.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Scene, list, tag};
use crate::support::whatsapp::{messages_of, now, text};
use crate::support::{eventually, id_of};

#[tokio::test]
async fn a_message_sets_a_rule_off_and_the_run_tells_the_story() {
    let scene = Scene::start().await;
    let actions = json!([
        { "type": "add_tags", "tags": ["new"] },
        { "type": "send_message", "content": { "text": "Hi {{contact.name}}, you wrote: {{message.text}}" } },
        { "type": "add_note", "content": "Greeted" },
    ]);
    let rule_id = scene.rule(actions, json!({ "name": "Greet" })).await;
    let conversation_id = scene.hear("Halo").await;
    let item = scene.settled(1, "done").await.remove(0);
    assert_eq!((&item["source"], &item["attempts"]), (&json!("stream"), &json!(1)));
    assert_eq!(item["payload"]["message"]["content"]["text"], "Halo");
    assert_eq!(item["payload"]["contact"]["name"], "Ani");
    let run = scene.runs_of(rule_id).await.remove(0);
    assert_eq!(
        (&run["matched"], &run["executed"], &run["event_id"]),
        (&json!(true), &json!(true), &item["id"])
    );
    let outcomes: Vec<&Value> =
        run["result"]["actions"].as_array().unwrap().iter().map(|action| &action["outcome"]).collect();
    assert_eq!(outcomes, ["done", "done", "done"]);
    assert_eq!(run["result"]["actions"][1]["action"]["content"]["text"], "Hi Ani, you wrote: Halo");
    assert_eq!(scene.conversation(conversation_id).await["tags"], json!(["new"]));
    let sent =
        eventually("the greeting leaves", || async { scene.graph.messages().into_iter().next() }).await;
    assert_eq!(sent["text"]["body"], "Hi Ani, you wrote: Halo");
    let position = run["result"]["actions"][0]["event_position"].as_i64().expect("a position");
    let after = format!("/api/events?after={}&limit=1", position - 1);
    let event = list(scene.admin(), &after, "events").await.remove(0);
    assert_eq!(event["event_type"], "conversation.tagged");
    let actor = &event["metadata"]["actor"];
    assert_eq!(
        (&actor["type"], &actor["id"], &actor["name"]),
        (&json!("automation_rule"), &json!(rule_id), &json!("Greet"))
    );
}

#[tokio::test]
async fn twenty_deliveries_of_one_message_make_one_item_and_one_run_per_rule() {
    let scene = Scene::start().await;
    let first = scene.rule(tag("a"), json!({})).await;
    let second =
        scene.rule(json!([{ "type": "send_message", "content": { "text": "Hi" } }]), json!({})).await;
    let change = scene.number.messages(vec![text(&scene.customer, "Halo")]);
    let deliveries = (0..20).map(|_| scene.number.deliver(vec![change.clone()]));
    for answer in futures::future::join_all(deliveries).await {
        answer.expect_ok();
    }
    scene.settled(1, "done").await;
    for rule_id in [first, second] {
        assert_eq!(scene.runs_of(rule_id).await.len(), 1);
    }
    eventually("the message leaves", || async { (scene.graph.messages().len() == 1).then_some(()) }).await;
}

#[tokio::test]
async fn what_automation_does_sets_nothing_off() {
    let scene = Scene::start().await;
    let resolve = json!([{ "type": "set_status", "status": "resolved" }]);
    scene.rule(resolve, json!({})).await;
    let reopen = json!([{ "type": "set_status", "status": "open" }]);
    let echo = scene.rule(reopen, json!({ "trigger_type": "status_changed" })).await;
    let conversation_id = scene.hear("Halo").await;
    scene.settled(1, "done").await;
    assert_eq!(scene.conversation(conversation_id).await["status"], "resolved");
    assert!(scene.items("status_changed").await.is_empty());
    // A person's change does set it off.
    let path = format!("/api/conversations/{conversation_id}/status");
    scene.admin().patch(&path, json!({ "status": "pending" })).await.expect(StatusCode::OK);
    let run = eventually("the rule runs", || async { scene.runs_of(echo).await.into_iter().next() }).await;
    assert_eq!(run["executed"], true);
    let item = scene.items("status_changed").await.remove(0);
    assert_eq!(item["payload"]["conversation"]["previous_status"], "resolved");
    assert_eq!(item["payload"]["conversation"]["status"], "pending");
}

#[tokio::test]
async fn rules_go_by_priority_see_the_same_facts_and_can_stop_the_rest() {
    let scene = Scene::start().await;
    let unassigned = json!({ "has_any_tags": ["first"] });
    let late = scene.rule(tag("late"), json!({ "conditions": unassigned })).await;
    let low = scene.rule(tag("low"), json!({ "priority": -1 })).await;
    let high = scene.rule(tag("first"), json!({ "priority": 5 })).await;
    let stopper = scene.rule(tag("stop"), json!({ "stop_on_match": true })).await;
    let conversation_id = scene.hear("Halo").await;
    scene.settled(1, "done").await;
    let tags = scene.conversation(conversation_id).await["tags"].clone();
    assert_eq!(tags, json!(["first", "stop"]));
    assert_eq!(scene.runs_of(high).await[0]["executed"], true);
    let skipped = &scene.runs_of(late).await[0];
    assert_eq!(
        (&skipped["matched"], &skipped["result"]["skip_reason"]),
        (&json!(false), &json!("conditions"))
    );
    assert_eq!(skipped["result"]["checks"][0]["actual"], json!([]), "the snapshot, not the tag added since");
    assert_eq!(scene.runs_of(stopper).await.len(), 1);
    assert!(scene.runs_of(low).await.is_empty(), "not considered any more");
}

#[tokio::test]
async fn every_gate_that_closes_says_so() {
    let scene = Scene::start().await;
    let until = json!("2999-01-01T00:00:00Z");
    let inactive = scene.rule(tag("x"), json!({ "is_active": false })).await;
    let snoozed = scene.rule(tag("x"), json!({})).await;
    let path = format!("/api/automation-rules/{snoozed}/snooze");
    scene.admin().post(&path, json!({ "snoozed_until": until })).await.expect(StatusCode::OK);
    // An hour of the day that is not this one.
    let later = (now() / 3600 % 24 + 3) % 23;
    let asleep = json!({ "enabled": true, "active_weekdays": [0, 1, 2, 3, 4, 5, 6], "start_hour_utc": later,
        "end_hour_utc": later + 1, "timezone_offset_minutes": 0, "invert": false });
    let scheduled = scene.rule(tag("x"), json!({ "schedule_settings": asleep })).await;
    let elsewhere = scene.rule(tag("x"), json!({ "conditions": { "channel_in": ["email"] } })).await;
    scene.hear("Halo").await;
    scene.settled(1, "done").await;
    for (rule_id, reason) in
        [(inactive, "inactive"), (snoozed, "snoozed"), (scheduled, "schedule"), (elsewhere, "conditions")]
    {
        let run = scene.runs_of(rule_id).await.remove(0);
        assert_eq!((&run["result"]["skip_reason"], &run["executed"]), (&json!(reason), &json!(false)));
    }
}

#[tokio::test]
async fn a_cooldown_lets_one_of_many_act() {
    let scene = Scene::start().await;
    let actions = json!([{ "type": "send_message", "content": { "text": "We are on it" } }]);
    let rule_id = scene.rule(actions, json!({ "cooldown_secs": 3600 })).await;
    let burst: Vec<Value> = (0..8).map(|n| text(&scene.customer, &format!("Halo {n}"))).collect();
    scene.number.deliver(vec![scene.number.messages(burst)]).await.expect_ok();
    scene.settled(8, "done").await;
    let runs = scene.runs_of(rule_id).await;
    let executed = runs.iter().filter(|run| run["executed"] == true).count();
    let cooled = runs
        .iter()
        .filter(|run| run["result"]["skip_reason"] == "cooldown" && run["matched"] == true)
        .count();
    assert_eq!((executed, cooled), (1, 7));
}

#[tokio::test]
async fn a_new_conversation_and_its_division_and_agent_are_facts() {
    let scene = Scene::start().await;
    let division = json!({ "name": "Sales" });
    let division = scene.admin().post("/api/divisions", division).await.expect(StatusCode::CREATED);
    let (_, agent_id) = scene.tenant.agent("agent").await;
    let actions = json!([
        { "type": "assign_division", "division_id": division["id"] },
        { "type": "assign_agent", "agent_id": agent_id },
        { "type": "stop_ai" },
        { "type": "start_ai" },
    ]);
    let rule_id = scene.rule(actions, json!({ "trigger_type": "conversation_created" })).await;
    let conversation_id = scene.hear("Halo").await;
    let run = eventually("the rule runs", || async { scene.runs_of(rule_id).await.into_iter().next() }).await;
    assert_eq!(run["executed"], true, "{run}");
    let conversation = scene.conversation(conversation_id).await;
    assert_eq!(
        (&conversation["division_id"], &conversation["assigned_agent_id"]),
        (&division["id"], &json!(agent_id))
    );
    let opened = scene.items("conversation_created").await.remove(0);
    assert_eq!(opened["payload"]["message"]["content"]["text"], "Halo");
    scene.hear("Lagi").await;
    let later = scene.settled(2, "done").await.remove(1);
    assert_eq!(later["payload"]["division"], json!({ "id": division["id"], "name": "Sales" }));
    assert_eq!(later["payload"]["agent"]["full_name"], "Budi");
    assert!(!messages_of(scene.admin(), conversation_id, 2).await.is_empty());
    assert_ne!(id_of(&opened), id_of(&later));
}

#[tokio::test]
async fn a_dry_run_of_an_items_payload_is_what_happened() {
    let scene = Scene::start().await;
    let actions = json!([{ "type": "add_note", "content": "{{contact.name}}: {{message.text}}" }]);
    let rule_id = scene.rule(actions, json!({})).await;
    scene.hear("Halo").await;
    let item = scene.settled(1, "done").await.remove(0);
    let request = json!({ "rule_id": rule_id, "event_payload": item["payload"] });
    let tried = scene.admin().post("/api/automation-rules/test", request).await.expect(StatusCode::OK);
    let run = scene.runs_of(rule_id).await.remove(0);
    assert_eq!(tried["actions_preview"][0], run["result"]["actions"][0]["action"]);
}
