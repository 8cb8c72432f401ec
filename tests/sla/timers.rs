//! Warnings and breaches: found on time, once, whatever happens in between.

use super::*;
use crate::support::inbox::customer_writes;

#[tokio::test]
async fn a_promise_is_warned_of_and_broken_on_time() {
    let desk = Desk::open().await;
    let conversation = desk.customer().await;
    let began = desk.began_at(&conversation).await;
    desk.pass(FIRST_RESPONSE_SECS * 8 / 10 + 1);
    let warned = desk.marked(&conversation, "sla.warned", 1).await;
    assert_eq!(warned[0]["key"]["clock"], "first_response");
    assert_eq!(time(&warned[0]["passed_at"]), began + secs(480));
    assert_eq!(desk.status(&conversation).await["frt_status"], "warning");
    desk.breaches(0).await;

    desk.pass(FIRST_RESPONSE_SECS + 2);
    desk.marked(&conversation, "sla.breached", 1).await;
    let breach = desk.breaches(1).await.remove(0);
    assert_eq!((&breach["breach_type"], &breach["threshold_secs"]), (&json!("first_response"), &json!(600)));
    assert_eq!(breach["conversation_id"], json!(conversation.id));
    assert_eq!(time(&breach["breached_at"]), began + secs(601), "the first whole second beyond it");
    assert!(breach["actual_secs"].as_i64().is_some_and(|actual| actual >= 601), "{breach}");
    let shown = desk.status(&conversation).await;
    assert_eq!((&shown["frt_status"], &shown["resolution_status"]), (&json!("breached"), &json!("ok")));
    // An answer comes too late; nothing else is recorded, and the clock stands still.
    desk.reply(&conversation).await;
    let stopped = desk.status(&conversation).await["frt_elapsed_secs"].as_u64();
    desk.pass(RESOLUTION_SECS * 8 / 10 + 1);
    desk.marked(&conversation, "sla.warned", 2).await;
    assert_eq!(desk.status(&conversation).await["frt_elapsed_secs"].as_u64(), stopped);
    assert_eq!(desk.breaches(1).await, [breach]);
}

#[tokio::test]
async fn a_deadline_that_passes_while_nothing_runs_is_found_at_the_next_start_and_once() {
    let mut desk = Desk::open().await;
    let conversation = desk.customer().await;
    let began = desk.began_at(&conversation).await;
    desk.restart("serve", RESOLUTION_SECS + 60).await;
    let breached = desk.marked(&conversation, "sla.breached", 2).await;
    assert_eq!(
        breached.iter().map(|mark| time(&mark["passed_at"])).collect::<Vec<_>>(),
        [began + secs(601), began + secs(RESOLUTION_SECS + 1)]
    );
    assert_eq!(desk.marks(&conversation, "sla.warned").await.len(), 2);
    // Another start, another look: nothing new. That it has looked shows a customer who came after it.
    desk.restart("serve", RESOLUTION_SECS + 120).await;
    desk.customer().await;
    assert_eq!(desk.marks(&conversation, "sla.breached").await.len(), 2);
    assert_eq!(desk.marks(&conversation, "sla.warned").await.len(), 2);
    let newest: Vec<Value> =
        desk.breaches(2).await.iter().map(|breach| breach["breach_type"].clone()).collect();
    assert_eq!(newest, ["resolution", "first_response"]);
    let root = desk.server.super_admin().await;
    let verified = root.post("/api/super-admin/projections/sla/verify", json!({})).await;
    assert_eq!(verified.expect(StatusCode::OK)["ok"], true);
}

#[tokio::test]
async fn an_answer_that_came_too_late_leaves_its_breach_though_no_timer_saw_it() {
    let mut desk = Desk::open().await;
    let conversation = desk.customer().await;
    let began = desk.began_at(&conversation).await;
    // Only the API runs: nobody looks at deadlines.
    desk.restart("api", FIRST_RESPONSE_SECS + 60).await;
    let client = desk.admin().with_header("prefer", "respond-async");
    let halo = json!({ "type": "text", "content": { "text": "Sorry!" } });
    let path = format!("{}/messages", conversation.path());
    client.post(&path, halo).await.expect(StatusCode::CREATED);
    assert!(desk.marks(&conversation, "sla.breached").await.is_empty());
    desk.restart("serve", FIRST_RESPONSE_SECS + 60).await;
    let breach = desk.marked(&conversation, "sla.breached", 1).await.remove(0);
    assert_eq!(time(&breach["passed_at"]), began + secs(601));
    let actual = breach["actual_secs"].as_u64().expect("seconds");
    assert!((660..1_000).contains(&actual), "as long as it took: {actual}");
}

#[tokio::test]
async fn only_a_human_answer_is_a_first_response() {
    let desk = Desk::open().await;
    let thanks = json!({
        "name": "Thanks", "trigger_type": "message_received_inbound", "actions": [
            { "type": "send_message", "content": { "text": "We got it." } },
            { "type": "add_note", "content": "Thanked" },
            { "type": "send_csat" },
        ],
    });
    desk.admin().post("/api/automation-rules", thanks).await.expect(StatusCode::CREATED);
    let (kept, broken) = (desk.customer().await, desk.customer().await);
    for conversation in [&kept, &broken] {
        let path = format!("/api/events?stream_id={}&event_type=message.queued", conversation.id);
        eventually("automation has written", || async {
            let page = desk.admin().get(&path).await.expect(StatusCode::OK);
            page["events"].as_array().is_some_and(|events| events.len() == 2).then_some(())
        })
        .await;
    }
    desk.reply(&kept).await;
    desk.pass(FIRST_RESPONSE_SECS + 2);
    desk.marked(&broken, "sla.breached", 1).await;
    assert!(desk.marks(&kept, "sla.breached").await.is_empty());
    assert_eq!(desk.status(&kept).await["frt_status"], "ok");
}

#[tokio::test]
async fn resolution_pauses_while_the_customer_owes_an_answer() {
    let desk = Desk::open().await;
    let (paused, running) = (desk.customer().await, desk.customer().await);
    for conversation in [&paused, &running] {
        desk.reply(conversation).await;
    }
    desk.set_status(&paused, "pending").await;
    desk.pass(RESOLUTION_SECS + 2);
    desk.marked(&running, "sla.breached", 1).await;
    let shown = desk.status(&paused).await;
    assert_eq!(shown["resolution_status"], "ok");
    assert!(shown["resolution_elapsed_secs"].as_u64().is_some_and(|secs| secs < 60), "{shown}");
    assert!(desk.marks(&paused, "sla.warned").await.is_empty());
    // The customer answers: it goes on with what had run.
    customer_writes(&desk.server, &desk.tenant, &paused, "Ini datanya").await;
    desk.pass(RESOLUTION_SECS + RESOLUTION_SECS / 2);
    let half = eventually("half of it has run", || async {
        let shown = desk.status(&paused).await;
        (shown["resolution_elapsed_secs"].as_u64()? >= RESOLUTION_SECS / 2 - 10).then_some(shown)
    })
    .await;
    assert_eq!(half["resolution_status"], "ok");
    assert!(desk.marks(&paused, "sla.breached").await.is_empty());
    desk.pass(RESOLUTION_SECS * 2 + 60);
    let breached = desk.marked(&paused, "sla.breached", 1).await;
    assert_eq!(breached[0]["key"]["clock"], "resolution");
}

#[tokio::test]
async fn each_reopening_is_a_cycle_of_its_own_and_sets_rules_off_once() {
    let desk = Desk::open().await;
    let escalate = json!({
        "name": "Escalate", "trigger_type": "sla_breached",
        "actions": [{ "type": "add_note", "content": "{{sla.policy_name}}: {{sla.breach_type}}" }],
    });
    let rule = desk.admin().post("/api/automation-rules", escalate).await.expect(StatusCode::CREATED);
    let conversation = desk.customer().await;
    desk.reply(&conversation).await;
    desk.pass(RESOLUTION_SECS + 2);
    desk.marked(&conversation, "sla.breached", 1).await;
    desk.set_status(&conversation, "resolved").await;
    // Reopened, what had run counts: it is late again from that moment on.
    customer_writes(&desk.server, &desk.tenant, &conversation, "Rusak lagi").await;
    let breached = desk.marked(&conversation, "sla.breached", 2).await;
    assert_eq!(
        breached.iter().map(|mark| mark["key"]["cycle"].as_u64()).collect::<Vec<_>>(),
        [Some(1), Some(2)]
    );
    assert!(
        breached.iter().all(|mark| mark["key"]["clock"] == "resolution"),
        "first response does not restart"
    );
    let path = format!("/api/automation-runs/by-rule/{}?sort_order=asc", id_of(&rule));
    let runs = eventually("the rule runs", || async {
        let page = desk.admin().get(&path).await.expect(StatusCode::OK);
        page["runs"].as_array().filter(|runs| runs.len() >= 2).cloned()
    })
    .await;
    assert_eq!(runs.len(), 2, "once each");
    for run in &runs {
        assert_eq!(run["result"]["actions"][0]["action"]["content"], "Gold: resolution");
    }
    let items = desk.admin().get("/api/automation-events?event_type=sla_breached").await;
    assert_eq!(items.expect(StatusCode::OK)["total"], 2);
}

#[tokio::test]
async fn a_service_level_fails_nobodys_change() {
    let desk = Desk::open().await;
    let conversation = desk.customer().await;
    let shown = desk.admin().get(&conversation.path()).await;
    let etag = shown.header("etag").expect("an ETag").to_owned();
    let before = shown.expect(StatusCode::OK);
    desk.pass(FIRST_RESPONSE_SECS + 2);
    desk.marked(&conversation, "sla.breached", 1).await;
    let shown = desk.admin().get(&conversation.path()).await;
    assert_eq!((shown.header("etag"), shown.json()), (Some(etag.as_str()), before));
    let path = format!("{}/tags", conversation.path());
    let tagged = desk.admin().with_header("if-match", &etag).patch(&path, json!({ "tags": ["late"] })).await;
    tagged.expect(StatusCode::OK);
    assert_ne!(tagged.header("etag"), Some(etag.as_str()));
    // What somebody changed in the meantime does.
    let late = desk.admin().with_header("if-match", &etag).patch(&path, json!({ "tags": [] })).await;
    late.problem(412, "precondition_failed");
}
