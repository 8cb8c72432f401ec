//! Which policy and which hours hold for a conversation, from its beginning to its end.

use super::*;

async fn named(desk: &Desk, conversation: &Conversation) -> Value {
    desk.status(conversation).await["policy_name"].clone()
}

#[tokio::test]
async fn the_most_specific_policy_holds_then_the_higher_priority_then_the_older() {
    let desk = Desk::open().await;
    let division = desk.admin().post("/api/divisions", json!({ "name": "Sales" })).await;
    let division = id_of(&division.expect(StatusCode::CREATED));
    let account = format!("/api/integration-accounts/{}", desk.account.id);
    desk.admin().patch(&account, json!({ "division_id": division })).await.expect(StatusCode::OK);
    let whatsapp = json!("whatsapp");
    // Each is better than all before it, and what does not fit is never chosen.
    for (name, channel, of_division, priority) in [
        ("default", Value::Null, Value::Null, 0),
        ("neither", Value::Null, Value::Null, 1),
        ("channel", whatsapp.clone(), Value::Null, 0),
        ("other channel", json!("email"), json!(division), 9),
        ("division", Value::Null, json!(division), 0),
        ("both", whatsapp.clone(), json!(division), 0),
        ("both, younger", whatsapp.clone(), json!(division), 0),
        ("both, higher", whatsapp, json!(division), 5),
    ] {
        let mut new = json!({ "name": name, "priority": priority });
        for (field, value) in [("channel", channel), ("division_id", of_division)] {
            if !value.is_null() {
                new[field] = value;
            }
        }
        if name != "default" {
            policy(desk.admin(), new).await;
        }
        let chosen = match name {
            "default" => json!("Gold"),
            "other channel" => json!("channel"),
            "both, younger" => json!("both"),
            better => json!(better),
        };
        assert_eq!(named(&desk, &desk.customer().await).await, chosen, "{name}");
    }
}

#[tokio::test]
async fn without_a_policy_there_is_no_service_level_and_strangers_see_none() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let (tenant, stranger) = (server.tenant().await, server.tenant().await);
    let account = given_account(&tenant).await;
    let off = policy(&tenant.admin, json!({ "name": "Off" })).await;
    let path = format!("/api/sla-policies/{off}");
    tenant.admin.patch(&path, json!({ "is_active": false })).await.expect(StatusCode::OK);
    let conversation = begun(&server, &tenant, &account, &digits(), "Siti").await;
    let events = format!("/api/events?stream_id={}&event_type=sla.started", conversation.id);
    eventually("the service level starts", || async {
        let page = tenant.admin.get(&events).await.expect(StatusCode::OK);
        page["events"].as_array().is_some_and(|events| events.len() == 1).then_some(())
    })
    .await;
    assert_eq!(status(&tenant.admin, &conversation).await, Value::Null);
    // Where people can see the conversation they can see its clocks, and nobody else.
    let (agent, _) = tenant.agent("agent").await;
    assert_eq!(status(&agent, &conversation).await, Value::Null);
    stranger.admin.get(&format!("{}/sla", conversation.path())).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_running_promise_keeps_its_terms_whatever_is_edited() {
    let desk = Desk::open().await;
    let conversation = desk.customer().await;
    let path = format!("/api/sla-policies/{}", desk.policy);
    let change =
        json!({ "name": "Bronze", "first_response_time_secs": 9_000, "resolution_time_secs": 9_000 });
    desk.admin().patch(&path, change).await.expect(StatusCode::OK);
    let thresholds = ["frt_threshold_secs", "resolution_threshold_secs"];
    let running = desk.status(&conversation).await;
    assert_eq!(
        thresholds.map(|name| running[name].as_u64().unwrap()),
        [FIRST_RESPONSE_SECS, RESOLUTION_SECS]
    );
    assert_eq!((&running["policy_name"], &running["policy_id"]), (&json!("Gold"), &json!(desk.policy)));
    let next = desk.status(&desk.customer().await).await;
    assert_eq!(thresholds.map(|name| next[name].as_u64().unwrap()), [9_000, 9_000]);
}

#[tokio::test]
async fn clocks_stand_still_while_nobody_works() {
    let desk = Desk::open().await;
    let mut closed =
        json!({ "day_of_week": 1, "start_time": "09:00", "end_time": "17:00", "is_active": false });
    let hours = json!({ "schedule": [closed.clone()] });
    desk.admin().put("/api/working-hours", hours).await.expect(StatusCode::OK);
    let nobody = desk.customer().await;
    // A division's own hours come first: always at work.
    let division = desk.admin().post("/api/divisions", json!({ "name": "Night" })).await;
    let division = id_of(&division.expect(StatusCode::CREATED));
    let always: Vec<Value> = (0..7)
        .map(|day| {
            closed["day_of_week"] = json!(day);
            closed["is_active"] = json!(true);
            closed["start_time"] = json!("00:00");
            closed["end_time"] = json!("24:00");
            closed.clone()
        })
        .collect();
    let path = format!("/api/divisions/{division}/working-hours");
    desk.admin().put(&path, json!({ "schedule": always })).await.expect(StatusCode::OK);
    let account = format!("/api/integration-accounts/{}", desk.account.id);
    desk.admin().patch(&account, json!({ "division_id": division })).await.expect(StatusCode::OK);
    let somebody = desk.customer().await;
    desk.pass(FIRST_RESPONSE_SECS + 5);
    desk.marked(&somebody, "sla.breached", 1).await;
    assert_eq!(desk.status(&somebody).await["frt_status"], "breached");
    let shown = desk.status(&nobody).await;
    assert_eq!((&shown["frt_status"], &shown["frt_elapsed_secs"]), (&json!("ok"), &json!(0)));
    assert!(desk.marks(&nobody, "sla.warned").await.is_empty());
}
