//! Actions that fail: which are tried again, how often and when, and what keeps them from being tried.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Scene;
use crate::support::eventually;
use crate::support::receiver::{Receiver, Reply};

fn call(receiver: &Receiver) -> Value {
    json!({ "type": "call_webhook", "url": receiver.url() })
}

fn outcomes(run: &Value) -> Vec<(&str, bool)> {
    let actions = run["result"]["actions"].as_array().expect("actions");
    actions.iter().map(|action| (action["outcome"].as_str().unwrap(), action["permanent"] == true)).collect()
}

#[tokio::test]
async fn what_passes_is_tried_five_times_and_what_does_not_once() {
    // 0.1, 0.2, 0.4 and 0.8 seconds apart.
    let scene = Scene::start_with(&[("OMNISTREAM_RETRY_SCALE", "0.05")]).await;
    let (busy, unwilling) = (Receiver::start().await, Receiver::start().await);
    busy.always(Some(Reply::Status(503)));
    unwilling.always(Some(Reply::Status(400)));
    let rule_id = scene.rule(json!([call(&unwilling), call(&busy)]), json!({})).await;
    scene.hear("Halo").await;
    let item = scene.settled(1, "failed").await.remove(0);
    assert_eq!(item["attempts"], 5);
    let calls = busy.deliveries();
    assert_eq!((calls.len(), unwilling.deliveries().len()), (5, 1));
    assert!(
        calls.iter().all(|call| call.id == calls[0].id && call.body == calls[0].body),
        "one call, repeated"
    );
    for (waited, seconds) in calls.windows(2).map(|two| two[1].at - two[0].at).zip([0.1, 0.2, 0.4, 0.8]) {
        let plain = Duration::from_secs_f64(seconds);
        assert!(waited >= plain.mul_f64(0.8), "{waited:?} for {plain:?}");
        assert!(waited <= plain.mul_f64(1.2) + Duration::from_secs(2), "{waited:?} for {plain:?}");
    }
    let run = scene.runs_of(rule_id).await.remove(0);
    assert_eq!(outcomes(&run), [("failed", true), ("failed", false)]);
    assert_eq!(run["result"]["actions"][0]["reason"], "The receiver answered 400.");
    let metrics = scene.admin().get("/api/automation-worker/metrics").await.expect(StatusCode::OK);
    let of_messages = |metric: &&Value| metric["event_type"] == "message_received_inbound";
    let inbound = metrics.as_array().unwrap().iter().find(of_messages).expect("counts of messages");
    assert_eq!(
        (&inbound["claimed_events"], &inbound["retried_events"], &inbound["failed_events"]),
        (&json!(5), &json!(4), &json!(1))
    );

    // A person's retry tries both, and now both are willing.
    busy.always(None);
    unwilling.always(None);
    let path = format!("/api/automation-events/{}/retry", item["id"].as_str().unwrap());
    scene.admin().post(&path, json!({})).await.expect(StatusCode::OK);
    scene.settled(1, "done").await;
    assert_eq!((busy.deliveries().len(), unwilling.deliveries().len()), (6, 2));
    assert_eq!(outcomes(&scene.runs_of(rule_id).await[0]), [("done", false), ("done", false)]);
}

#[tokio::test]
async fn what_can_never_succeed_fails_at_once_and_stops_nothing() {
    let scene = Scene::start().await;
    let (_, agent_id) = scene.tenant.agent("agent").await;
    let gone = Receiver::start().await;
    gone.always(Some(Reply::Status(410)));
    let actions =
        json!([{ "type": "assign_agent", "agent_id": agent_id }, call(&gone), { "type": "stop_ai" }]);
    let rule_id = scene.rule(actions, json!({})).await;
    scene.admin().delete(&format!("/api/agents/{agent_id}")).await.expect(StatusCode::OK);
    scene.hear("Halo").await;
    let item = scene.settled(1, "failed").await.remove(0);
    assert_eq!((&item["attempts"], gone.deliveries().len()), (&json!(1), 1));
    assert!(item["error"].as_str().is_some_and(|error| error.contains("target_gone")), "{item}");
    let run = scene.runs_of(rule_id).await.remove(0);
    assert_eq!(outcomes(&run), [("failed", true), ("failed", true), ("done", false)]);
}

#[tokio::test]
async fn automatic_messages_count_like_those_of_people() {
    let scene = Scene::start().await;
    let limits = json!({ "limits": { "max_messages_month": 3 } });
    let organization = format!("/api/super-admin/tenants/{}", scene.tenant.id);
    scene.server.super_admin().await.patch(&organization, limits).await.expect(StatusCode::OK);
    let rule_id =
        scene.rule(json!([{ "type": "send_message", "content": { "text": "Hi" } }]), json!({})).await;
    scene.hear("Halo").await;
    scene.settled(1, "done").await;
    // The first word and its answer were two, this is the third.
    scene.number.hear(&scene.customer, "Masih ada?").await;
    let failed = eventually("the second answer fails", || async {
        let items = scene.items("message_received_inbound").await;
        items.into_iter().find(|item| item["status"] == "failed")
    })
    .await;
    assert_eq!(failed["attempts"], 1);
    assert!(failed["error"].as_str().is_some_and(|error| error.contains("limit_reached")), "{failed}");
    assert_eq!(outcomes(&scene.runs_of(rule_id).await[1]), [("failed", true)]);
    eventually("the first answer leaves", || async { (scene.graph.messages().len() == 1).then_some(()) })
        .await;
}
