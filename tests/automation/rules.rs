//! Writing rules, and when and how much they work.

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Server, id_of};

fn rule() -> Value {
    json!({
        "name": "Greet",
        "trigger_type": "conversation_created",
        "actions": [{ "type": "send_message", "content": { "text": "Hello {{contact.name}}" } }],
    })
}

#[tokio::test]
async fn a_rule_is_written_changed_listed_and_deleted() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let admin = &tenant.admin;
    let created = admin.post("/api/automation-rules", rule()).await.expect(StatusCode::CREATED);
    assert_eq!((&created["is_active"], &created["rollout_percentage"]), (&json!(true), &json!(100)));
    assert!(created["created_by"].is_string() && created["conditions"] == json!({}));
    let path = format!("/api/automation-rules/{}", id_of(&created));
    let change = json!({ "priority": 9, "is_active": false, "conditions": { "status_in": ["open"] } });
    let changed = admin.patch(&path, change).await.expect(StatusCode::OK);
    assert_eq!(
        (&changed["priority"], &changed["conditions"]),
        (&json!(9), &json!({ "status_in": ["open"] }))
    );
    assert_eq!(admin.get(&path).await.expect(StatusCode::OK), changed);
    let listed = |query: &str| {
        let path = format!("/api/automation-rules{query}");
        async move { admin.get(&path).await.expect(StatusCode::OK).as_array().map(Vec::len) }
    };
    assert_eq!(listed("").await, Some(1));
    assert_eq!(listed("?is_active=true").await, Some(0));
    assert_eq!(listed("?trigger_type=conversation_created&is_active=false").await, Some(1));
    assert_eq!(listed("?trigger_type=sla_breached").await, Some(0));
    let stranger = server.tenant().await;
    stranger.admin.get(&path).await.problem(404, "not_found");
    let deleted = admin.delete(&path).await.expect(StatusCode::OK);
    assert_eq!(deleted["id"], created["id"]);
    admin.get(&path).await.problem(404, "not_found");
    admin.delete(&path).await.problem(404, "not_found");
}

#[tokio::test]
async fn what_can_not_work_is_refused_by_the_name_of_its_field() {
    let server = Server::start().await;
    let (tenant, stranger) = (server.tenant().await, server.tenant().await);
    let (_, foreign) = stranger.agent("agent").await;
    let mut bad = rule();
    bad["conditions"] = json!({ "division_id_in": [foreign], "channel_in": ["whatsapp"] });
    bad["actions"] = json!([{ "type": "unassign" }, { "type": "assign_agent", "agent_id": foreign }]);
    let refused = tenant.admin.post("/api/automation-rules", bad).await;
    refused.names_fields(&["conditions.division_id_in[0]", "actions[1].agent_id"]);
    for (field, value, named) in [
        ("actions", json!([{ "type": "explode" }]), "actions[0].type"),
        ("actions", json!([{ "type": "add_note", "content": "{{contact.iq}}" }]), "actions[0].content"),
        ("actions", json!([{ "type": "unassign", "agent": 1 }]), "actions[0].agent"),
        ("rollout_percentage", json!(0), "rollout_percentage"),
        ("colour", json!("red"), "colour"),
    ] {
        let mut bad = rule();
        bad[field] = value;
        tenant.admin.post("/api/automation-rules", bad).await.names_fields(&[named]);
    }
    let none = tenant.admin.get("/api/automation-rules").await.expect(StatusCode::OK);
    assert_eq!(none, json!([]));
}

#[tokio::test]
async fn a_rule_is_switched_snoozed_and_tuned() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let admin = &tenant.admin;
    let id = id_of(&admin.post("/api/automation-rules", rule()).await.expect(StatusCode::CREATED));
    let path = |rest: &str| format!("/api/automation-rules/{id}{rest}");
    let state = || async { admin.get(&path("/effective-state")).await.expect(StatusCode::OK) };
    assert_eq!(state().await["effective_active"], true);

    let off = admin.post(&path("/toggle"), json!({ "is_active": false })).await.expect(StatusCode::OK);
    assert_eq!((&off["is_active"], &state().await["effective_active"]), (&json!(false), &json!(false)));
    admin.post(&path("/toggle"), json!({ "is_active": true })).await.expect(StatusCode::OK);

    let until = "2999-01-01T00:00:00Z";
    admin
        .post(&path("/snooze"), json!({ "snoozed_until": "2001-01-01T00:00:00Z" }))
        .await
        .names_fields(&["snoozed_until"]);
    admin.post(&path("/snooze"), json!({ "snoozed_until": until })).await.expect(StatusCode::OK);
    assert_eq!(
        (&state().await["is_snoozed"], &state().await["snoozed_until"]),
        (&json!(true), &json!(until))
    );
    let snoozed = admin.get("/api/automation-rules/snoozed?trigger_type=conversation_created").await;
    assert_eq!(snoozed.expect(StatusCode::OK)[0]["id"], json!(id));
    let woken = admin.post(&path("/unsnooze"), json!({})).await.expect(StatusCode::OK);
    assert_eq!((&woken["id"], &state().await["is_snoozed"]), (&json!(id), &json!(false)));

    let bulk = json!({ "rule_ids": [id, Uuid::nil()], "snoozed_until": until });
    admin.post("/api/automation-rules/snooze-bulk", bulk).await.names_fields(&["rule_ids[1]"]);
    assert_eq!(state().await["is_snoozed"], false, "all or none");
    let bulk = json!({ "rule_ids": [id], "snoozed_until": until });
    let done = admin.post("/api/automation-rules/snooze-bulk", bulk).await.expect(StatusCode::OK);
    assert_eq!((&done["snoozed_count"], &state().await["is_snoozed"]), (&json!(1), &json!(true)));

    let preset = admin.patch(&path("/alert-settings"), json!({ "preset": "aggressive" })).await;
    assert_eq!(preset.expect(StatusCode::OK)["alert_settings"]["min_matched_runs"], 5);
    let rollout = admin.patch(&path("/rollout"), json!({ "rollout_percentage": 30 })).await;
    assert_eq!(rollout.expect(StatusCode::OK)["rollout_percentage"], 30);
    admin
        .patch(&path("/rollout"), json!({ "rollout_percentage": 101 }))
        .await
        .names_fields(&["rollout_percentage"]);
}

#[tokio::test]
async fn a_schedule_shows_its_windows_and_refuses_contradictions() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let id = id_of(&tenant.admin.post("/api/automation-rules", rule()).await.expect(StatusCode::CREATED));
    let path = |rest: &str| format!("/api/automation-rules/{id}{rest}");
    let schedule = |start: u8, end: u8| {
        json!({ "schedule_settings": {
            "enabled": true, "active_weekdays": [1], "start_hour_utc": start, "end_hour_utc": end,
            "timezone_offset_minutes": 420, "invert": false,
        } })
    };
    let same = tenant.admin.patch(&path("/schedule-settings"), schedule(9, 9)).await;
    same.names_fields(&["schedule_settings.end_hour_utc"]);
    tenant.admin.patch(&path("/schedule-settings"), schedule(22, 6)).await.expect(StatusCode::OK);
    // Monday, 2 November 2026, 22:00 in Jakarta, to 06:00 on Tuesday.
    let preview = path("/schedule-preview?hours=168&start_at=2026-11-01T00:00:00Z");
    let shown = tenant.admin.get(&preview).await.expect(StatusCode::OK);
    assert_eq!(shown["windows"], json!([{ "start": "2026-11-02T15:00:00Z", "end": "2026-11-02T23:00:00Z" }]));
}

#[tokio::test]
async fn the_switch_pauses_all_rules_until_it_ends_by_itself() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let admin = &tenant.admin;
    let path = "/api/automation-control";
    let untouched = admin.get(path).await.expect(StatusCode::OK);
    assert_eq!((&untouched["singleton"], &untouched["is_paused"]), (&json!(true), &json!(false)));
    let pause =
        json!({ "is_paused": true, "pause_reason": "stock count", "paused_until": "2999-01-01T00:00:00Z" });
    let paused = admin.patch(path, pause).await.expect(StatusCode::OK);
    assert_eq!((&paused["is_paused"], &paused["pause_reason"]), (&json!(true), &json!("stock count")));
    assert!(paused["updated_by"].is_string());
    let id = id_of(&admin.post("/api/automation-rules", rule()).await.expect(StatusCode::CREATED));
    let state =
        admin.get(&format!("/api/automation-rules/{id}/effective-state")).await.expect(StatusCode::OK);
    assert_eq!((&state["global_paused"], &state["effective_active"]), (&json!(true), &json!(false)));
    let past = json!({ "is_paused": true, "paused_until": "2001-01-01T00:00:00Z" });
    admin.patch(path, past).await.names_fields(&["paused_until"]);
    let resumed = admin.patch(path, json!({ "is_paused": false })).await.expect(StatusCode::OK);
    assert_eq!((&resumed["is_paused"], resumed.get("pause_reason")), (&json!(false), None));
}

#[tokio::test]
async fn a_dry_run_fills_in_and_does_nothing() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let id = id_of(&tenant.admin.post("/api/automation-rules", rule()).await.expect(StatusCode::CREATED));
    let payload = json!({ "contact": { "name": "Ani" }, "conversation": { "status": "open" } });
    let request = json!({ "rule_id": id, "event_payload": payload, "conditions": { "status_in": ["open"] } });
    let path = "/api/automation-rules/test";
    let tried = tenant.admin.post(path, request).await.expect(StatusCode::OK);
    assert_eq!((&tried["matched"], &tried["would_execute"]), (&json!(true), &json!(true)));
    assert_eq!(tried["actions_preview"][0]["content"]["text"], "Hello Ani");
    let request =
        json!({ "rule_id": id, "event_payload": payload, "conditions": { "status_in": ["resolved"] } });
    let tried = tenant.admin.post(path, request).await.expect(StatusCode::OK);
    assert_eq!((&tried["matched"], &tried["actions_preview"]), (&json!(false), &json!([])));
    let unknown = json!({ "rule_id": Uuid::nil(), "event_payload": {} });
    tenant.admin.post(path, unknown).await.names_fields(&["rule_id"]);
    tenant.admin.post(path, json!({ "event_payload": [] })).await.names_fields(&["event_payload", "rule_id"]);
}

#[tokio::test]
async fn rules_are_for_those_who_manage_them() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (agent, _) = tenant.agent("agent").await;
    agent.get("/api/automation-rules").await.problem(403, "forbidden");
    let (supervisor, _) = tenant.agent("supervisor").await;
    supervisor.post("/api/automation-rules", rule()).await.expect(StatusCode::CREATED);
}
