//! Looking at the queue and the runs: pages, filters, exports, statistics, and what a rebuild makes of them.

use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Scene, list, tag};
use crate::support::whatsapp::text;

/// So many messages, each with its item and its run.
async fn busy(scene: &Scene, count: usize) -> Vec<Value> {
    let messages: Vec<Value> = (0..count).map(|n| text(&scene.customer, &format!("Halo {n}"))).collect();
    scene.number.deliver(vec![scene.number.messages(messages)]).await.expect_ok();
    scene.settled(count, "done").await
}

#[tokio::test]
async fn pages_by_cursor_and_by_number_hold_every_row_once() {
    let scene = Scene::start().await;
    let rule_id = scene.rule(tag("x"), json!({})).await;
    busy(&scene, 7).await;
    for (path, field) in [
        ("/api/automation-events?event_type=message_received_inbound".to_owned(), "events"),
        (format!("/api/automation-runs?rule_id={rule_id}"), "runs"),
    ] {
        let whole = list(scene.admin(), &path, field).await;
        assert_eq!(whole.len(), 7);
        let (mut walked, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = scene.admin().get(&format!("{path}&per_page=3{cursor}")).await.expect(StatusCode::OK);
            assert_eq!(page["total"], 7);
            walked.extend(page[field].as_array().cloned().unwrap());
            let Some(next) = page["next_cursor"].as_str() else { break };
            assert!(next.contains('|'), "{next}");
            cursor = format!("&cursor={}", next.replace('|', "%7C").replace('+', "%2B"));
        }
        assert_eq!(walked, whole);
        let mut numbered = Vec::new();
        for page in 1..=3 {
            numbered.extend(list(scene.admin(), &format!("{path}&per_page=3&page={page}"), field).await);
        }
        assert_eq!(numbered, whole);
        let mut upside_down = list(scene.admin(), &format!("{path}&sort_order=asc"), field).await;
        upside_down.reverse();
        assert_eq!(upside_down, whole);
        scene.admin().get(&format!("{path}&cursor=nonsense")).await.names_fields(&["cursor"]);
    }
}

#[tokio::test]
async fn items_and_runs_are_found_by_whatever_they_belong_to() {
    let scene = Scene::start().await;
    let rule_id = scene.rule(tag("x"), json!({ "name": "Tagger" })).await;
    let idle = scene.rule(tag("y"), json!({ "trigger_type": "sla_breached" })).await;
    let conversation_id = scene.hear("Halo").await;
    let item = scene.settled(1, "done").await.remove(0);
    let id = item["id"].as_str().unwrap();
    let mine = list(scene.admin(), &format!("/api/automation-events/by-rule/{rule_id}"), "events").await;
    assert_eq!(mine, std::slice::from_ref(&item));
    assert!(
        list(scene.admin(), &format!("/api/automation-events/by-rule/{idle}"), "events").await.is_empty()
    );
    let of_conversation = format!("/api/automation-events/by-conversation/{conversation_id}");
    assert_eq!(list(scene.admin(), &of_conversation, "events").await.len(), 2, "opened, and the message");
    let one = scene.admin().get(&format!("/api/automation-events/{id}")).await.expect(StatusCode::OK);
    assert_eq!(one, item);

    let canonical = domain::canonical::to_string(&item["payload"]);
    assert_eq!(item["payload_hash"], hex::encode(Sha256::digest(canonical)));
    let hash = item["payload_hash"].as_str().unwrap().to_uppercase();
    let path = format!("/api/automation-events/by-fingerprint/{hash}");
    let found = scene.admin().get(&path).await.expect(StatusCode::OK);
    let found: Vec<&Value> = found.as_array().unwrap().iter().map(|item| &item["event_type"]).collect();
    assert_eq!(found.len(), 2, "what opened the conversation has the same facts: {found:?}");
    scene.admin().get("/api/automation-events/by-fingerprint/xyz").await.problem(400, "malformed");

    let runs = list(scene.admin(), &format!("/api/automation-runs/by-event/{id}"), "runs").await;
    assert_eq!((runs.len(), &runs[0]["rule_id"]), (1, &json!(rule_id)));
    let path = format!("/api/automation-runs/{}", runs[0]["id"].as_str().unwrap());
    let run = scene.admin().get(&path).await.expect(StatusCode::OK);
    assert_eq!((&run["event_status"], &run["channel_source"]), (&json!("done"), &json!("whatsapp")));
    let rule = format!("/api/automation-rules/{rule_id}");
    scene.admin().patch(&rule, json!({ "name": "Other", "actions": tag("z") })).await.expect(StatusCode::OK);
    let context = scene.admin().get(&format!("{path}/replay-context")).await.expect(StatusCode::OK);
    assert_eq!((&context["rule_actions"], &context["event_payload"]), (&tag("x"), &item["payload"]));
    assert_eq!(context["run"]["rule_name"], "Tagger", "as it was");
    let stranger = scene.server.tenant().await;
    stranger.admin.get(&path).await.problem(404, "not_found");
    stranger.admin.get(&format!("/api/automation-events/{id}")).await.problem(404, "not_found");
    for list in [
        format!("/api/automation-events/by-rule/{rule_id}"),
        format!("/api/automation-runs/by-rule/{rule_id}"),
        format!("/api/automation-runs/by-event/{id}"),
        of_conversation,
    ] {
        stranger.admin.get(&list).await.problem(404, "not_found");
    }
    // A rule that is gone still has its history.
    scene.admin().delete(&rule).await.expect(StatusCode::OK);
    let path = format!("/api/automation-runs/by-rule/{rule_id}");
    assert_eq!(list(scene.admin(), &path, "runs").await.len(), 1);
}

#[tokio::test]
async fn files_hold_what_lists_show() {
    let scene = Scene::start().await;
    let rule_id = scene.rule(tag("x"), json!({ "name": "Tag, \"x\"" })).await;
    busy(&scene, 3).await;
    let file = scene.admin().get("/api/automation-runs/export?sort_order=asc&matched=true").await;
    assert_eq!((file.status, file.header("content-type")), (StatusCode::OK, Some("text/csv; charset=utf-8")));
    let lines: Vec<&str> = file.text.lines().collect();
    assert!(lines[0].starts_with("id,event_id,rule_id,rule_name,"), "{}", lines[0]);
    assert_eq!(lines.len(), 4);
    assert!(
        lines[1].contains("\"Tag, \"\"x\"\"\"") && lines[1].contains(&rule_id.to_string()),
        "{}",
        lines[1]
    );
    let none = scene.admin().get("/api/automation-runs/export?executed=false").await;
    assert_eq!(none.text.lines().count(), 1);
    let file =
        scene.admin().get("/api/automation-events/export?event_type=message_received_inbound&limit=2").await;
    assert_eq!(file.text.lines().count(), 3);
    scene.admin().get("/api/automation-events/export?event_type=moon").await.names_fields(&["event_type"]);
}

#[tokio::test]
async fn statistics_count_and_a_rebuild_counts_the_same() {
    let scene = Scene::start().await;
    let good = scene.rule(tag("x"), json!({})).await;
    let (_, agent_id) = scene.tenant.agent("agent").await;
    let bad =
        scene.rule(json!([{ "type": "assign_agent", "agent_id": agent_id }]), json!({ "name": "Bad" })).await;
    scene.admin().delete(&format!("/api/agents/{agent_id}")).await.expect(StatusCode::OK);
    let messages: Vec<Value> = (0..5).map(|n| text(&scene.customer, &format!("Halo {n}"))).collect();
    scene.number.deliver(vec![scene.number.messages(messages)]).await.expect_ok();
    let failed = scene.settled(5, "failed").await;
    assert!(failed.iter().all(|item| item["attempts"] == 1 && item["error"].is_string()), "{failed:?}");

    let overview = scene.admin().get("/api/automation-rules/stats/overview").await.expect(StatusCode::OK);
    assert_eq!((&overview["total_rules"], &overview["total_runs"]), (&json!(2), &json!(10)));
    assert_eq!((&overview["matched_runs"], &overview["executed_runs"]), (&json!(10), &json!(5)));
    assert_eq!((&overview["total_events"], &overview["failed_events"]), (&json!(6), &json!(5)));
    let series = scene
        .admin()
        .get("/api/automation-rules/stats/timeseries?window_days=3")
        .await
        .expect(StatusCode::OK);
    assert_eq!((series.as_array().unwrap().len(), &series[2]["total_runs"]), (3, &json!(10)));
    let path = format!("/api/automation-rules/{bad}/stats");
    let stats = scene.admin().get(&path).await.expect(StatusCode::OK);
    assert_eq!((&stats["matched_runs"], &stats["failure_rate_pct"]), (&json!(5), &json!(100.0)));
    let path = format!("/api/automation-rules/{good}/stats/timeseries?window_days=2&bucket_days=2");
    let series = scene.admin().get(&path).await.expect(StatusCode::OK);
    assert_eq!(series[0]["executed_runs"], 5);
    let alerts = scene
        .admin()
        .get("/api/automation-rules/stats/alerts?min_matched_runs=5")
        .await
        .expect(StatusCode::OK);
    assert_eq!((&alerts[0]["rule_name"], &alerts[0]["alert_level"]), (&json!("Bad"), &json!("high")));
    assert_eq!((&alerts[1]["rule_id"], &alerts[1]["alert_level"]), (&json!(good), &json!("ok")));
    let queue = scene.admin().get("/api/automation-events/stats").await.expect(StatusCode::OK);
    assert_eq!(
        (&queue["failed_events"], &queue["done_events"], &queue["pending_events"]),
        (&json!(5), &json!(1), &json!(0))
    );
    let metrics = scene.admin().get("/api/automation-worker/metrics").await.expect(StatusCode::OK);
    let inbound =
        metrics.as_array().unwrap().iter().find(|m| m["event_type"] == "message_received_inbound").unwrap();
    assert_eq!(
        (&inbound["claimed_events"], &inbound["retried_events"], &inbound["failed_events"]),
        (&json!(5), &json!(0), &json!(5))
    );

    let root = scene.server.super_admin().await;
    let verified =
        root.post("/api/super-admin/projections/automation/verify", json!({})).await.expect(StatusCode::OK);
    assert_eq!(verified["ok"], true, "{verified}");
}
