//! Workers that are killed or stalled in the middle of the queue. What happened is counted where it arrives: at the
//! provider's server, at the server that a rule calls, and in the log.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::Connection;
use uuid::Uuid;

use super::{Scene, list};
use crate::support::receiver::{Receiver, Reply};
use crate::support::whatsapp::{customer, text};
use crate::support::{Process, Server, eventually, id_of};

const ITEMS: usize = 1_000;
const CUSTOMERS: usize = 100;
/// Messages in one webhook.
const BATCH: usize = 100;
const WORKERS: usize = 2;
const KILLS: usize = 4;
/// Items that a worker has in hand at once.
const IN_HAND: usize = 32;
/// Longer than a claim of a dead worker lasts, and a machine at its limit needs for a few items.
const STANDSTILL: Duration = Duration::from_secs(30);

impl Scene {
    /// With the API in one process and workers in others.
    async fn apart(workers: usize) -> (Self, Vec<Process>) {
        let (graph, mut server) = Self::servers(&[]).await;
        server.restart("api", || {}).await;
        let mut fleet = Vec::new();
        for _ in 0..workers {
            fleet.push(worker(&server).await);
        }
        (Self::on(graph, server).await, fleet)
    }

    async fn pause(&self, is_paused: bool) {
        let path = "/api/automation-control";
        self.admin().patch(path, json!({ "is_paused": is_paused })).await.expect(StatusCode::OK);
    }

    /// How many items have which status.
    async fn progress(&self) -> Progress {
        let stats = self.admin().get("/api/automation-events/stats").await.expect(StatusCode::OK);
        let count = |name: &str| stats[name].as_u64().and_then(|n| usize::try_from(n).ok()).expect("a count");
        Progress { total: count("total_events"), done: count("done_events"), failed: count("failed_events") }
    }

    /// Waits for as long as anything moves.
    async fn until(&self, what: &str, met: impl Fn(Progress) -> bool) -> Progress {
        let (mut seen, mut since) = (self.progress().await, Instant::now());
        while !met(seen) {
            assert!(since.elapsed() < STANDSTILL, "never happened: {what}; {seen:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.progress().await;
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
        }
        seen
    }
}

async fn worker(server: &Server) -> Process {
    let (url, env) = (server.database.owner_url.clone(), server.env.clone());
    tokio::task::spawn_blocking(move || Process::start("worker", &url, &env)).await.expect("it starts")
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Progress {
    total: usize,
    done: usize,
    failed: usize,
}

/// The words of a thousand messages: what each rule, server and note is counted by.
fn words(number: usize) -> String {
    format!("Message {number}")
}

#[tokio::test]
async fn killed_workers_leave_every_item_finished_and_nothing_done_twice() {
    let ((scene, mut workers), receiver) = (Scene::apart(WORKERS).await, Receiver::start().await);
    let called = scene.rule(json!([{ "type": "call_webhook", "url": receiver.url() }]), json!({})).await;
    let actions = json!([
        { "type": "add_note", "content": "{{message.text}}" },
        { "type": "send_message", "content": { "text": "{{message.text}}" } },
    ]);
    let answered = scene.rule(actions, json!({})).await;
    scene.pause(true).await;
    let customers: Vec<String> = (0..CUSTOMERS).map(|_| customer()).collect();
    let messages: Vec<Value> = (0..ITEMS).map(|n| text(&customers[n % CUSTOMERS], &words(n))).collect();
    for batch in messages.chunks(BATCH) {
        scene.number.deliver(vec![scene.number.messages(batch.to_vec())]).await.expect_ok();
    }
    // Each conversation's beginning is an item too, which no rule is for.
    let all = ITEMS + CUSTOMERS;
    scene.until("the queue is full", |now| now.total == all).await;
    scene.pause(false).await;
    for killed in 1..=KILLS {
        scene.until("the queue moves", |now| now.done > killed * all / (KILLS + 2)).await;
        workers.remove(0).kill();
        workers.push(worker(&scene.server).await);
    }
    let end = scene.until("every item is finished", |now| now.done + now.failed == all).await;

    // An item whose call was interrupted failed with that reason, because nobody knows whether it arrived.
    assert!(end.failed <= KILLS * IN_HAND, "{end:?}");
    for item in list(scene.admin(), "/api/automation-events?status=failed&per_page=100", "events").await {
        let reason = item["error"].as_str().unwrap_or_default();
        assert!(reason.contains("interrupted while calling"), "{item}");
    }
    let calls = receiver.deliveries();
    let ids: HashSet<&str> = calls.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids.len(), calls.len(), "no call came twice");
    assert!((ITEMS - end.failed..=ITEMS).contains(&calls.len()), "{} calls, {end:?}", calls.len());

    let mut sql = scene.server.sql().await;
    for (what, event_type) in [("note", "conversation.note_added"), ("message", "message.queued")] {
        let (events, keys): (i64, i64) = sqlx::query_as(
            "SELECT count(*), count(DISTINCT coalesce(payload ->> 'note_id', payload ->> 'message_id')) FROM events
             WHERE tenant_id = $1 AND event_type = $2",
        )
        .bind(scene.tenant.id)
        .bind(event_type)
        .fetch_one(&mut sql)
        .await
        .unwrap();
        assert_eq!((events, keys), (ITEMS as i64, ITEMS as i64), "each {what} once");
    }
    sent_once_or_said_to_be_lost(&scene, &mut sql).await;
    for (rule_id, interrupted) in [(called, end.failed), (answered, 0)] {
        let path = format!("/api/automation-rules/{rule_id}/stats");
        let stats = scene.admin().get(&path).await.expect(StatusCode::OK);
        assert_eq!(
            (&stats["matched_runs"], &stats["executed_runs"]),
            (&json!(ITEMS), &json!(ITEMS - interrupted))
        );
    }
}

/// Every answer reached the provider once, or failed because its sender died in the middle of it.
async fn sent_once_or_said_to_be_lost(scene: &Scene, sql: &mut sqlx::PgConnection) {
    let lost = eventually("every message is sent or lost", || async {
        let mut counts: HashMap<String, i64> = HashMap::new();
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT status, count(*) FROM read.messages WHERE tenant_id = $1 AND direction = 'outbound' GROUP BY 1",
        )
        .bind(scene.tenant.id)
        .fetch_all(&mut scene.server.sql().await)
        .await
        .unwrap();
        counts.extend(rows);
        let (sent, failed) = (counts.get("sent").copied(), counts.get("failed").copied().unwrap_or(0));
        (sent.unwrap_or(0) + failed == ITEMS as i64).then_some(failed)
    })
    .await;
    let reasons: Vec<Option<String>> = sqlx::query_scalar(
        "SELECT DISTINCT error_message FROM read.messages WHERE tenant_id = $1 AND status = 'failed'",
    )
    .bind(scene.tenant.id)
    .fetch_all(sql)
    .await
    .unwrap();
    assert!(
        reasons.iter().flatten().all(|reason| reason.contains("interrupted while sending")),
        "{reasons:?}"
    );
    let bodies = scene.graph.messages();
    let texts: HashSet<&str> = bodies.iter().filter_map(|body| body["text"]["body"].as_str()).collect();
    assert_eq!(texts.len(), bodies.len(), "no message left twice");
    assert!(
        bodies.len() as i64 >= ITEMS as i64 - lost,
        "{} messages left, {lost} are said to be lost",
        bodies.len()
    );
}

#[tokio::test]
async fn a_worker_that_stalled_can_not_record_what_another_has_done() {
    let ((scene, mut workers), receiver) = (Scene::apart(1).await, Receiver::start().await);
    receiver.next(Reply::Never);
    let actions = json!([
        { "type": "add_note", "content": "before" },
        { "type": "call_webhook", "url": receiver.url() },
        { "type": "add_note", "content": "after" },
    ]);
    let rule_id = scene.rule(actions, json!({})).await;
    scene.hear("Halo").await;
    receiver.heard(1).await;
    // In the middle of its call the worker stops for longer than its claim lasts.
    workers[0].signal(Signal::SIGSTOP);
    workers.push(worker(&scene.server).await);
    // The claim, the leases and a transaction that it may have stopped in run out one after the other.
    scene.until("its successor gives the item up", |now| now.failed == 1).await;
    let item = scene.settled(1, "failed").await.remove(0);
    let told = |item: &Value| -> (Value, Value) { (item["attempts"].clone(), item["processed_at"].clone()) };
    workers[0].signal(Signal::SIGCONT);
    // Long enough for the call to be given up, and for the stalled attempt to want to be recorded.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = scene.settled(1, "failed").await.remove(0);
    assert_eq!((told(&item), &item["attempts"]), (told(&after), &json!(2)));
    assert_eq!(receiver.deliveries().len(), 1, "the call is not repeated");
    let run = scene.runs_of(rule_id).await.remove(0);
    let outcomes: Vec<&Value> =
        run["result"]["actions"].as_array().unwrap().iter().map(|action| &action["outcome"]).collect();
    assert_eq!(outcomes, ["done", "failed", "done"]);
    let notes = list(scene.admin(), "/api/events?event_type=conversation.note_added", "events").await;
    let keys: HashSet<Uuid> = notes
        .iter()
        .map(|note| note["payload"]["note_id"].as_str().and_then(|id| id.parse().ok()).expect("an id"))
        .collect();
    assert_eq!((notes.len(), keys.len()), (2, 2), "each note once");
}

#[tokio::test]
async fn a_worker_that_is_stopped_finishes_what_it_began_and_leaves_the_rest() {
    const WAITING: usize = 60;
    let ((scene, mut workers), receiver) = (Scene::apart(1).await, Receiver::start().await);
    scene.rule(json!([{ "type": "call_webhook", "url": receiver.url() }]), json!({})).await;
    scene.pause(true).await;
    let messages: Vec<Value> = (0..WAITING).map(|n| text(&scene.customer, &words(n))).collect();
    scene.number.deliver(vec![scene.number.messages(messages)]).await.expect_ok();
    scene.settled(WAITING, "pending").await;
    scene.pause(false).await;
    receiver.heard(1).await;
    let worker_of_before = workers.remove(0);
    tokio::task::spawn_blocking(|| worker_of_before.stop()).await.expect("it ends");
    let mut sql = scene.server.sql().await;
    let claims: i64 =
        sqlx::query_scalar("SELECT count(*) FROM automation_claims").fetch_one(&mut sql).await.unwrap();
    assert_eq!(claims, 0, "nobody waits for what it had in hand");
    workers.push(worker(&scene.server).await);
    let items = scene.settled(WAITING, "done").await;
    assert!(items.iter().all(|item| item["attempts"] == 1), "none was interrupted");
    assert_eq!(receiver.deliveries().len(), WAITING);
}

#[tokio::test]
async fn an_item_that_can_not_be_read_stops_no_other() {
    let scene = Scene::start().await;
    scene.rule(json!([{ "type": "add_tags", "tags": ["seen"] }]), json!({})).await;
    scene.pause(true).await;
    let messages: Vec<Value> = (0..3).map(|n| text(&scene.customer, &words(n))).collect();
    scene.number.deliver(vec![scene.number.messages(messages)]).await.expect_ok();
    let poison = scene.settled(3, "pending").await.remove(0);
    // As no version of the program ever wrote it, and only the database's owner can.
    let mut owner =
        sqlx::PgConnection::connect(&scene.server.database.owner_url).await.expect("a connection");
    let spoilt = sqlx::query("UPDATE events SET payload = '{}' WHERE stream_id = $1")
        .bind(id_of(&poison))
        .execute(&mut owner)
        .await
        .expect("the owner may");
    assert_eq!(spoilt.rows_affected(), 1);
    scene.pause(false).await;
    let path = format!("/api/automation-events/{}", id_of(&poison));
    eventually("the others are done", || async {
        let items = scene.items("message_received_inbound").await;
        (items.iter().filter(|item| item["status"] == "done").count() == 2).then_some(())
    })
    .await;
    assert_eq!(scene.admin().get(&path).await.expect(StatusCode::OK)["status"], "pending");
    let put_off: Uuid = eventually("it is put off", || async {
        let mut sql = scene.server.sql().await;
        let nobody = sqlx::query_scalar("SELECT item_id FROM automation_claims WHERE owner = $1");
        nobody.bind(Uuid::nil()).fetch_optional(&mut sql).await.expect("claims")
    })
    .await;
    assert_eq!(put_off, id_of(&poison));
}
