//! Receivers that fail, redirect, hang or have gone.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Scene, deliveries, settled, shown};
use crate::support::clock::MovedClock;
use crate::support::receiver::Reply;
use crate::support::{Process, eventually};

const FIVE_DAYS: u64 = 5 * 24 * 3600;

async fn switched_off(scene: &Scene, hook: &super::Hook, client: &crate::support::Client) -> Value {
    eventually("it is switched off", || async {
        (shown(client, hook).await["is_active"] == false).then_some(())
    })
    .await;
    let mut sql = scene.server.sql().await;
    sqlx::query_scalar("SELECT payload FROM events WHERE event_type = 'outgoing_webhook.switched_off'")
        .fetch_one(&mut sql)
        .await
        .expect("an event that says so")
}

#[tokio::test]
async fn a_failed_delivery_comes_again_with_the_same_id_and_bytes() {
    let scene = Scene::start().await;
    let hook = scene.hook(&["message.received"]).await;
    scene.receiver.next(Reply::Status(500));
    scene.receiver.next(Reply::Status(404));
    scene.hear("Halo").await;
    let log = settled(scene.admin(), &hook, 1, "success").await;
    let arrived = scene.receiver.deliveries();
    assert_eq!(arrived.len(), 3);
    for again in &arrived[1..] {
        assert_eq!((&again.id, &again.body), (&arrived[0].id, &arrived[0].body));
    }
    assert!(arrived.iter().all(|one| one.is_signed_with(&hook.secret)), "each with its own time");
    assert_eq!(
        (&log[0]["attempt"], &log[0]["max_attempts"], &log[0]["http_status"], &log[0]["next_retry_at"]),
        (&json!(3), &json!(8), &json!(200), &Value::Null)
    );
    assert_eq!(shown(scene.admin(), &hook).await["consecutive_failures"], 0);
}

#[tokio::test]
async fn a_receiver_that_asks_for_patience_gets_it() {
    let scene = Scene::start().await;
    let hook = scene.hook(&["message.received"]).await;
    scene.receiver.next(Reply::With(429, "retry-after", "2".to_owned()));
    scene.hear("Halo").await;
    settled(scene.admin(), &hook, 1, "success").await;
    let arrived = scene.receiver.deliveries();
    let waited = arrived[1].at - arrived[0].at;
    // Without being asked the next attempt would come after 5 ms here.
    assert!(waited >= Duration::from_millis(1_900), "{waited:?}");
}

#[tokio::test]
async fn a_redirection_is_a_failure_and_leads_nowhere() {
    let scene = Scene::start().await;
    let hook = scene.hook(&["message.received"]).await;
    scene.receiver.next(Reply::With(302, "location", format!("{}/elsewhere", scene.receiver.base)));
    scene.receiver.next(Reply::With(308, "location", "/elsewhere".to_owned()));
    scene.hear("Halo").await;
    settled(scene.admin(), &hook, 1, "success").await;
    let paths: Vec<String> = scene.receiver.deliveries().into_iter().map(|one| one.path).collect();
    assert_eq!(paths, ["/hook"; 3]);
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_not_told_any_more() {
    let scene = Scene::start().await;
    let hook = scene.hook(&["message.received"]).await;
    scene.receiver.next(Reply::Status(410));
    scene.hear("Halo").await;
    let reason = switched_off(&scene, &hook, scene.admin()).await;
    assert_eq!(reason, json!({ "reason": "gone" }));
    let log = settled(scene.admin(), &hook, 1, "failed").await;
    assert_eq!((&log[0]["attempt"], &log[0]["http_status"]), (&json!(1), &json!(410)));
    scene.hear("unheard").await;
    scene.admin().patch(&hook.path(), json!({ "is_active": true })).await.expect(StatusCode::OK);
    scene.hear("heard").await;
    let heard = scene.receiver.heard(2).await;
    assert_eq!(heard[1].json()["data"]["content"]["text"], "heard");
    assert_eq!(shown(scene.admin(), &hook).await["is_active"], true);
}

#[tokio::test]
async fn five_days_without_a_success_switch_it_off() {
    let clock = MovedClock::new();
    let scene = Scene::start_with(&[clock.env()]).await;
    let key = scene.admin().post("/api/api-keys", json!({ "name": "CI" })).await.expect(StatusCode::CREATED);
    let key = key["plaintext_key"].as_str().expect("a key");
    // A session would not last that long.
    let program = scene.admin().anonymous().with_header("x-api-key", key);
    let hook = scene.hook(&["message.received"]).await;
    scene.receiver.always(Some(Reply::With(503, "retry-after", "86400".to_owned())));
    scene.hear("Halo").await;
    eventually("the first failure", || async {
        (shown(&program, &hook).await["consecutive_failures"] == 1).then_some(())
    })
    .await;
    clock.set(FIVE_DAYS - 3_600);
    scene.receiver.heard(2).await;
    eventually("the second failure", || async {
        (shown(&program, &hook).await["consecutive_failures"] == 2).then_some(())
    })
    .await;
    assert_eq!(shown(&program, &hook).await["is_active"], true, "not quite five days");
    clock.set(FIVE_DAYS + 24 * 3_600);
    scene.receiver.heard(3).await;
    assert_eq!(switched_off(&scene, &hook, &program).await, json!({ "reason": "no_success" }));
    clock.set(FIVE_DAYS + 3 * 24 * 3_600);
    let dropped = settled(&program, &hook, 1, "failed").await;
    assert!(
        dropped[0]["error_message"].as_str().is_some_and(|error| error.contains("switched off")),
        "{dropped:?}"
    );
    assert_eq!(scene.receiver.deliveries().len(), 3);
}

#[tokio::test]
async fn eight_attempts_are_the_last() {
    let scene = Scene::start_with(&[("OMNISTREAM_RETRY_SCALE", "0.00001")]).await;
    let hook = scene.hook(&["message.received"]).await;
    scene.receiver.always(Some(Reply::Status(500)));
    scene.hear("Halo").await;
    let log = settled(scene.admin(), &hook, 1, "failed").await;
    assert_eq!((&log[0]["attempt"], scene.receiver.deliveries().len()), (&json!(8), 8));
    assert_eq!(shown(scene.admin(), &hook).await["consecutive_failures"], 8);
}

#[tokio::test]
async fn killed_between_the_call_and_its_answer_it_comes_again_as_the_same() {
    let mut scene = Scene::start().await;
    let hook = scene.hook(&["message.received"]).await;
    scene.receiver.next(Reply::Never);
    scene.hear("Halo").await;
    scene.receiver.heard(1).await;
    scene.server.restart("serve", || ()).await;
    let mut admin = scene.admin().clone();
    admin.base.clone_from(&scene.server.process.base);
    settled(&admin, &hook, 1, "success").await;
    let arrived = scene.receiver.deliveries();
    assert_eq!(arrived.len(), 2);
    assert_eq!((&arrived[0].id, &arrived[0].body), (&arrived[1].id, &arrived[1].body));
    assert_eq!(
        deliveries(&admin, &hook, "").await[0]["attempt"],
        1,
        "the one that nobody recorded does not count"
    );
}

#[tokio::test]
async fn a_worker_that_stalled_can_not_record_what_its_successor_has_done() {
    let scene = Scene::start().await;
    let hook = scene.hook(&["message.received"]).await;
    let told = Arc::new(Notify::new());
    scene.receiver.next(Reply::Held(Arc::clone(&told), 500));
    scene.hear("Halo").await;
    scene.receiver.heard(1).await;
    scene.server.process.signal(Signal::SIGSTOP);
    let successor = Process::start("serve", &scene.server.database.owner_url, &scene.server.env);
    let mut admin = scene.admin().clone();
    admin.base.clone_from(&successor.base);
    settled(&admin, &hook, 1, "success").await;
    scene.server.process.signal(Signal::SIGCONT);
    told.notify_one();
    // Time enough for the failure that it would record.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let log = deliveries(&admin, &hook, "").await;
    assert_eq!((&log[0]["status"], &log[0]["attempt"], log.len()), (&json!("success"), &json!(1), 1));
    let types: Vec<String> = sqlx::query_scalar(
        "SELECT event_type FROM events WHERE stream_type = 'webhook_delivery' ORDER BY version",
    )
    .fetch_all(&mut scene.server.sql().await)
    .await
    .expect("the delivery's events");
    assert_eq!(types, ["webhook_delivery.queued", "webhook_delivery.succeeded"]);
    assert_eq!(shown(&admin, &hook).await["consecutive_failures"], 0);
}
