//! What a developer does with webhooks.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{HOOKS, Scene, TOPICS, deliveries, hook, settled, shown};
use crate::support::clock::MovedClock;
use crate::support::receiver::{Receiver, Reply};
use crate::support::{Server, id_of};

const URL: &str = "https://hooks.example.com/omni";

#[tokio::test]
async fn a_webhook_is_created_listed_changed_and_deleted() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let new =
        json!({ "name": "Shop", "url": URL, "events": ["message.sent", "message.received", "message.sent"] });
    let created = tenant.admin.post(HOOKS, new).await.expect(StatusCode::CREATED);
    assert_eq!(created["events"], json!(["message.received", "message.sent"]));
    assert_eq!((&created["is_active"], &created["consecutive_failures"]), (&json!(true), &json!(0)));
    let secret = created["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{secret}");
    let me = tenant.admin.get("/api/auth/me").await.expect(StatusCode::OK);
    assert_eq!(created["created_by"], me["id"]);
    let masked = format!("••••{}", &secret[secret.len() - 4..]);
    let listed = tenant.admin.get(HOOKS).await;
    assert!(!listed.text.contains(secret));
    assert_eq!(listed.expect(StatusCode::OK)[0]["secret"], masked);
    let path = format!("{HOOKS}/{}", id_of(&created));
    let change =
        json!({ "name": "Store", "events": ["contact.created"], "is_active": false, "secret": masked });
    let changed = tenant.admin.patch(&path, change).await.expect(StatusCode::OK);
    assert_eq!(
        (&changed["name"], &changed["events"], &changed["is_active"], &changed["secret"], &changed["url"]),
        (&json!("Store"), &json!(["contact.created"]), &json!(false), &json!(masked), &json!(URL))
    );
    assert_eq!(tenant.admin.get(HOOKS).await.expect(StatusCode::OK), json!([changed]));
    tenant.admin.delete(&path).await.expect(StatusCode::OK);
    assert_eq!(tenant.admin.get(HOOKS).await.expect(StatusCode::OK), json!([]));
    tenant.admin.patch(&path, json!({ "name": "?" })).await.problem(404, "not_found");
    tenant.admin.delete(&path).await.problem(404, "not_found");
    tenant.admin.get(&format!("{path}/deliveries")).await.problem(404, "not_found");
    tenant.admin.post(&format!("{path}/test"), json!({})).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_secret_is_nowhere_in_the_database_and_shown_once() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let made = hook(&tenant.admin, URL, &["contact.created"]).await;
    let chosen = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    tenant.admin.patch(&made.path(), json!({ "secret": chosen })).await.expect(StatusCode::OK);
    let mut sql = server.sql().await;
    for secret in [made.secret.as_str(), chosen] {
        let seen: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM events WHERE payload::text LIKE $1)
                 + (SELECT count(*) FROM read.documents WHERE doc::text LIKE $1)",
        )
        .bind(format!("%{secret}%"))
        .fetch_one(&mut sql)
        .await
        .unwrap();
        assert_eq!(seen, 0);
    }
    let events = tenant.admin.get("/api/events?limit=100").await;
    assert!(!events.text.contains(&made.secret) && !events.text.contains(chosen));
    assert_eq!(shown(&tenant.admin, &made).await["secret"], "••••LaSw");
}

#[tokio::test]
async fn a_repeated_creation_shows_the_same_secret_and_makes_no_second_webhook() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let keyed = tenant.admin.with_header("idempotency-key", &Uuid::new_v4().to_string());
    let new = json!({ "name": "Shop", "url": URL, "events": ["contact.created"] });
    let first = keyed.post(HOOKS, new.clone()).await.expect(StatusCode::CREATED);
    assert_eq!(keyed.post(HOOKS, new).await.expect(StatusCode::CREATED), first);
    assert_eq!(tenant.admin.get(HOOKS).await.expect(StatusCode::OK).as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let good = json!({ "name": "Shop", "url": URL, "events": ["contact.created"] });
    let made = hook(&tenant.admin, URL, &["contact.created"]).await;
    for (field, value, named) in [
        ("name", json!(" "), "name"),
        ("url", json!("ftp://example.com/"), "url"),
        ("url", json!("https://me:secret@example.com/"), "url"),
        ("url", json!(format!("https://example.com/{}", "a".repeat(2100))), "url"),
        ("events", json!([]), "events"),
        ("events", json!(["contact.created", "contact.deleted"]), "events[1]"),
        ("secret", json!("short"), "secret"),
        ("secret", json!("whsec_AAAA"), "secret"),
        ("colour", json!("red"), "colour"),
    ] {
        let mut bad = good.clone();
        bad[field] = value.clone();
        tenant.admin.post(HOOKS, bad).await.names_fields(&[named]);
        tenant.admin.patch(&made.path(), json!({ field: value })).await.names_fields(&[named]);
    }
    let path = format!("{}/deliveries", made.path());
    tenant.admin.get(&format!("{path}?limit=101")).await.names_fields(&["limit"]);
    assert_eq!(
        tenant.admin.get(&format!("{path}?status=lost")).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(tenant.admin.get(HOOKS).await.expect(StatusCode::OK).as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn only_developers_see_webhooks_and_what_there_is_to_hear() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let types = tenant.admin.get("/api/webhooks/event-types").await.expect(StatusCode::OK);
    assert_eq!(types, json!(TOPICS));
    let (agent, _) = tenant.agent("agent").await;
    agent.get(HOOKS).await.problem(403, "forbidden");
    agent.get("/api/webhooks/event-types").await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_test_is_really_sent_and_answered_with_what_came_of_it() {
    let (server, receiver) = (Server::start().await, Receiver::start().await);
    let tenant = server.tenant().await;
    let made = hook(&tenant.admin, &receiver.url(), &["contact.created"]).await;
    let path = format!("{}/test", made.path());
    let delivery = tenant.admin.post(&path, json!({})).await.expect(StatusCode::OK);
    let arrived = receiver.heard(1).await.remove(0);
    assert!(arrived.is_signed_with(&made.secret));
    assert_eq!((&delivery["id"], &delivery["payload"]), (&json!(arrived.id), &arrived.json()));
    assert_eq!(
        (&delivery["status"], &delivery["event_type"], &delivery["http_status"], &delivery["response_body"]),
        (&json!("success"), &json!("webhook.test"), &json!(200), &json!("thank you"))
    );
    receiver.next(Reply::Status(500));
    let failed = tenant.admin.post(&path, json!({})).await.expect(StatusCode::OK);
    assert_eq!(
        (&failed["status"], &failed["attempt"], &failed["max_attempts"], &failed["http_status"]),
        (&json!("failed"), &json!(1), &json!(1), &json!(500))
    );
    assert!(failed["error_message"].as_str().is_some_and(|error| error.contains("500")), "{failed}");
    // It is for trying out one that is switched off, too.
    tenant.admin.patch(&made.path(), json!({ "is_active": false })).await.expect(StatusCode::OK);
    let off = tenant.admin.post(&path, json!({})).await.expect(StatusCode::OK);
    assert_eq!(off["status"], "success");
    assert_eq!(receiver.deliveries().len(), 3);
    let all = deliveries(&tenant.admin, &made, "").await;
    let ids: Vec<&str> = all.iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(ids, [&off, &failed, &delivery].map(|one| one["id"].as_str().unwrap()));
    assert_eq!(deliveries(&tenant.admin, &made, "?status=failed").await, [failed]);
    assert_eq!(deliveries(&tenant.admin, &made, "?limit=1").await, [off]);
}

#[tokio::test]
async fn a_replaced_secret_signs_beside_the_new_one() {
    let scene = Scene::start().await;
    let made = scene.hook(&["contact.created"]).await;
    let new = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    scene.admin().patch(&made.path(), json!({ "secret": new })).await.expect(StatusCode::OK);
    scene.hear("Halo").await;
    let arrived = scene.receiver.heard(1).await.remove(0);
    assert!(arrived.is_signed_with(new) && arrived.is_signed_with(&made.secret), "{}", arrived.signature);
    assert!(!arrived.is_signed_with("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
}

#[tokio::test]
async fn deliveries_are_shown_for_thirty_days() {
    const MONTH_SECS: u64 = 30 * 24 * 3600;
    let clock = MovedClock::new();
    let mut scene = Scene::start_with(&[clock.env()]).await;
    let key = scene.admin().post("/api/api-keys", json!({ "name": "CI" })).await.expect(StatusCode::CREATED);
    // A session would not last that long.
    let mut program =
        scene.admin().anonymous().with_header("x-api-key", key["plaintext_key"].as_str().expect("a key"));
    let hook = scene.hook(&["message.received"]).await;
    scene.hear("Halo").await;
    settled(&program, &hook, 1, "success").await;
    let tag = shown(&program, &hook).await;
    // Old rows are looked for at each start.
    clock.set(MONTH_SECS - 60);
    scene.server.restart("serve", || ()).await;
    program.base.clone_from(&scene.server.process.base);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(deliveries(&program, &hook, "").await.len(), 1, "not quite a month");
    clock.set(MONTH_SECS + 60);
    scene.server.restart("serve", || ()).await;
    program.base.clone_from(&scene.server.process.base);
    settled(&program, &hook, 0, "").await;
    assert_eq!(shown(&program, &hook).await, tag, "nothing else has changed");
    let trimmed: Vec<Value> =
        sqlx::query_scalar("SELECT payload FROM events WHERE event_type = 'outgoing_webhook.log_trimmed'")
            .fetch_all(&mut scene.server.sql().await)
            .await
            .expect("events");
    assert_eq!(trimmed.len(), 1, "{trimmed:?}");
    let (said, equal) = scene.server.run(&["projections", "verify", "webhooks"]);
    assert!(equal, "{said}");
}
