//! From Meta's webhook to the inbox.

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::whatsapp::{
    APP_SECRET, Number, conversation_with, customer, deliver, envelope, message, messages_of, text,
};
use crate::support::{Answer, Server, eventually, id_of};

fn media(id: &str) -> Value {
    json!({ "id": id, "mime_type": "image/jpeg", "sha256": "abc" })
}

/// How many payloads of this status are kept.
async fn kept(server: &Server, status: &str) -> i64 {
    let mut sql = server.sql().await;
    let count = sqlx::query_scalar("SELECT count(*) FROM inbound WHERE status = $1").bind(status);
    count.fetch_one(&mut sql).await.expect("a count")
}

async fn reach(server: &Server, status: &str, count: i64) {
    eventually(&format!("{count} {status}"), || async {
        (kept(server, status).await == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_kind_of_message_arrives_once_and_readable() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let number = Number::connect(&tenant).await;
    let from = customer();
    let mut album = media("m1");
    album["caption"] = json!("the red one");
    let kinds = [
        ("text", json!({ "body": "Halo, is it in stock?" })),
        ("image", album),
        ("video", media("m2")),
        ("audio", json!({ "id": "m3", "mime_type": "audio/ogg", "voice": true })),
        ("document", json!({ "id": "m4", "filename": "order.pdf" })),
        ("sticker", media("m5")),
        ("location", json!({ "latitude": -6.2, "longitude": 106.8, "name": "Monas" })),
        ("contacts", json!([{ "name": { "formatted_name": "Budi" } }])),
        ("reaction", json!({ "message_id": "wamid.x", "emoji": "👍" })),
        ("interactive", json!({ "type": "button_reply", "button_reply": { "id": "yes", "title": "Yes" } })),
        ("button", json!({ "text": "Stop", "payload": "stop" })),
        ("order", json!({ "catalog_id": "1" })),
    ];
    for (kind, content) in &kinds {
        let one = number.messages(vec![message(&from, kind, content.clone())]);
        number.deliver(vec![one]).await.expect_ok();
    }
    let conversation = conversation_with(&tenant.admin, &from).await;
    assert_eq!((&conversation["contact_name"], &conversation["status"]), (&json!("Ani"), &json!("open")));
    assert_eq!(conversation["contact_phone"], format!("+{from}"));
    let messages = messages_of(&tenant.admin, id_of(&conversation), kinds.len()).await;
    let shown: Vec<&str> = messages.iter().rev().filter_map(|m| m["type"].as_str()).collect();
    let expected: Vec<&str> =
        kinds.iter().map(|(kind, _)| if *kind == "order" { "unsupported" } else { kind }).collect();
    assert_eq!(shown, expected);
    let image = &messages[messages.len() - 2]["content"];
    assert_eq!(image["caption"], "the red one");
    assert!(image["url"].as_str().is_some_and(|url| url.contains("m1")), "{image}");
    assert!(messages.iter().all(|m| m["status"] == "received" && m["direction"] == "inbound"));
    reach(&server, "done", i64::try_from(kinds.len()).expect("few")).await;
    let mut sql = server.sql().await;
    let raws: i64 =
        sqlx::query_scalar("SELECT count(raw) FROM inbound").fetch_one(&mut sql).await.expect("a count");
    assert_eq!(raws, 0, "what became events is not kept a second time");
}

#[tokio::test]
async fn one_malformed_item_is_kept_and_harms_no_neighbour() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let number = Number::connect(&tenant).await;
    let (first, second) = (customer(), customer());
    let broken = json!({ "from": first, "id": "wamid.broken", "timestamp": "soon", "type": "text" });
    let mixed = number.messages(vec![text(&first, "before"), broken, text(&second, "after")]);
    let mut unrelated = number.change(json!({ "event": "VERIFIED_ACCOUNT" }));
    unrelated["field"] = json!("account_update");
    number.deliver(vec![mixed, unrelated]).await.expect_ok();
    conversation_with(&tenant.admin, &first).await;
    conversation_with(&tenant.admin, &second).await;
    reach(&server, "failed", 1).await;
    reach(&server, "ignored", 1).await;
    let (listed, _) = server.run(&["events", "inbound", "--failed", "--json", "--open"]);
    let rows: Vec<Value> = listed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let row =
        rows.iter().find(|row| row["tenant_id"] == json!(tenant.id)).unwrap_or_else(|| panic!("{listed}"));
    assert!(row["reason"].as_str().is_some_and(|r| r.contains("timestamp")), "{row}");
    assert_eq!(row["payload"]["value"]["messages"][0]["id"], "wamid.broken");
    assert_eq!(row["payload"]["value"]["messages"].as_array().map(Vec::len), Some(1));
    let id = row["id"].as_str().expect("an id");
    let (said, ok) = server.run(&["events", "inbound", "--replay", id]);
    assert!(ok, "{said}");
    // Still malformed, so it comes back as failed, once.
    eventually("the replay", || async {
        let mut sql = server.sql().await;
        let query = sqlx::query_scalar(
            "SELECT count(*) FROM inbound WHERE id = $1 AND status = 'failed' AND attempts = 1",
        );
        let again: i64 =
            query.bind(id.parse::<Uuid>().expect("an id")).fetch_one(&mut sql).await.expect("a count");
        (again == 1).then_some(())
    })
    .await;
    assert_eq!(kept(&server, "failed").await, 1);
}

#[tokio::test]
async fn a_message_delivered_twenty_times_at_once_is_one_message() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let number = Number::connect(&tenant).await;
    let from = customer();
    let change = number.messages(vec![text(&from, "once")]);
    let deliveries = (0..20).map(|_| number.deliver(vec![change.clone()]));
    for answer in futures::future::join_all(deliveries).await {
        answer.expect_ok();
    }
    reach(&server, "done", 20).await;
    let conversation = conversation_with(&tenant.admin, &from).await;
    assert_eq!(messages_of(&tenant.admin, id_of(&conversation), 1).await.len(), 1);
    assert_eq!(conversation["unread_count"], 1);
}

#[tokio::test]
async fn an_album_of_ten_from_someone_new_is_one_conversation_in_order() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let number = Number::connect(&tenant).await;
    let from = customer();
    let album: Vec<Value> = (0..10).map(|n| message(&from, "image", media(&format!("m{n}")))).collect();
    // As Meta does it: each picture a delivery of its own, all at once; and one more time in a single body.
    let each = album.iter().map(|picture| number.deliver(vec![number.messages(vec![picture.clone()])]));
    futures::future::join_all(each).await.iter().for_each(Answer::expect_ok);
    number.deliver(vec![number.messages(album)]).await.expect_ok();
    reach(&server, "done", 11).await;
    let found = tenant.admin.get(&format!("/api/conversations?search={from}")).await.expect(StatusCode::OK);
    assert_eq!((&found["total"], found["conversations"].as_array().map(Vec::len)), (&json!(1), Some(1)));
    assert_eq!(messages_of(&tenant.admin, id_of(&found["conversations"][0]), 10).await.len(), 10);
    let contacts = tenant.admin.get("/api/contacts").await.expect(StatusCode::OK);
    assert_eq!(contacts["total"], 1);
}

#[tokio::test]
async fn a_batch_keeps_each_customers_order() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let number = Number::connect(&tenant).await;
    let customers = [customer(), customer(), customer()];
    let batch: Vec<Value> =
        (0..30).map(|n| text(&customers[n % 3], &format!("message {:02}", n / 3))).collect();
    number.deliver(vec![number.messages(batch)]).await.expect_ok();
    for from in &customers {
        let conversation = conversation_with(&tenant.admin, from).await;
        let messages = messages_of(&tenant.admin, id_of(&conversation), 10).await;
        let said: Vec<&str> = messages.iter().rev().filter_map(|m| m["content"]["text"].as_str()).collect();
        assert!(said.is_sorted() && said.len() == 10, "{said:?}");
    }
}

#[tokio::test]
async fn a_message_reopens_a_resolved_conversation() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let number = Number::connect(&tenant).await;
    let from = customer();
    number.hear(&from, "first").await;
    let conversation = conversation_with(&tenant.admin, &from).await;
    let path = format!("/api/conversations/{}", id_of(&conversation));
    for status in ["resolved", "pending"] {
        let changed = tenant.admin.patch(&format!("{path}/status"), json!({ "status": status })).await;
        changed.expect(StatusCode::OK);
        number.hear(&from, "again").await;
        eventually("open again", || async {
            let now = tenant.admin.get(&path).await.expect(StatusCode::OK);
            (now["status"] == "open").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_customer_who_was_erased_writes_again_as_someone_new() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let number = Number::connect(&tenant).await;
    let from = customer();
    let before = number.hear(&from, "forget me").await;
    let first = conversation_with(&tenant.admin, &from).await;
    let contact_id = first["contact_id"].as_str().expect("a contact");
    let erased = tenant.admin.post(&format!("/api/contacts/{contact_id}/erase"), json!({})).await;
    erased.expect(StatusCode::OK);
    eventually("the key is gone", || async {
        let mut sql = server.sql().await;
        let query =
            sqlx::query_scalar("SELECT wrapped_key IS NULL FROM subject_keys WHERE subject_id::text = $1");
        let gone: bool = query.bind(contact_id).fetch_one(&mut sql).await.expect("a key");
        gone.then_some(())
    })
    .await;
    number.hear(&from, "hello").await;
    let second = conversation_with(&tenant.admin, &from).await;
    assert_ne!((&second["id"], &second["contact_id"]), (&first["id"], &first["contact_id"]));
    let messages = messages_of(&tenant.admin, id_of(&second), 1).await;
    assert_eq!((messages.len(), &messages[0]["content"]["text"]), (1, &json!("hello")));
    // Even the old message, delivered again, makes nothing new.
    let mut again = text(&from, "forget me");
    again["id"] = json!(before);
    number.deliver(vec![number.messages(vec![again])]).await.expect_ok();
    reach(&server, "done", 3).await;
    assert_eq!(messages_of(&tenant.admin, id_of(&second), 1).await.len(), 1);
}

#[tokio::test]
async fn only_what_the_accounts_secret_signed_is_believed() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (plain, own) = (
        Number::connect(&tenant).await,
        Number::connect_with(&tenant, json!({ "app_secret": "its own secret" })).await,
    );
    let client = server.client();
    let body = |numbers: &[&Number]| {
        let changes = numbers.iter().map(|n| n.messages(vec![text(&customer(), "hi")])).collect();
        envelope(changes).to_string().into_bytes()
    };
    deliver(&client, &body(&[&plain]), None).await.problem(401, "bad_signature");
    deliver(&client, &body(&[&plain]), Some("guess")).await.problem(401, "bad_signature");
    deliver(&client, &body(&[&own]), Some(APP_SECRET)).await.problem(401, "bad_signature");
    // One body of two accounts that do not share a secret can't be signed by both.
    deliver(&client, &body(&[&plain, &own]), Some(APP_SECRET)).await.problem(401, "bad_signature");
    deliver(&client, b"not json", Some("guess")).await.problem(401, "bad_signature");
    assert_eq!(
        kept(&server, "done").await + kept(&server, "pending").await + kept(&server, "failed").await,
        0
    );
    deliver(&client, &body(&[&own]), Some("its own secret")).await.expect_ok();
    deliver(&client, &body(&[&plain]), Some(APP_SECRET)).await.expect_ok();
    reach(&server, "done", 2).await;
}

#[tokio::test]
async fn without_any_secret_nothing_is_believed() {
    let server = Server::start_with(&[("META_APP_SECRET", "")]).await;
    let tenant = server.tenant().await;
    let number = Number::connect(&tenant).await;
    number.deliver(vec![number.messages(vec![text(&customer(), "hi")])]).await.problem(403, "forbidden");
    deliver(&server.client(), b"{}", Some("")).await.problem(403, "forbidden");
}

#[tokio::test]
async fn what_names_no_account_is_kept_and_replayed_once_the_account_exists() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let number = Number::connect(&tenant).await;
    let from = customer();
    let mut change = number.messages(vec![text(&from, "early")]);
    change["value"]["metadata"]["phone_number_id"] = json!("777001");
    number.deliver(vec![change]).await.expect_ok();
    deliver(&server.client(), b"{ not json", Some(APP_SECRET)).await.expect_ok();
    reach(&server, "failed", 2).await;
    let (listed, _) = server.run(&["events", "inbound", "--json"]);
    let rows: Vec<Value> = listed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let early =
        rows.iter().find(|row| row["reason"].as_str().is_some_and(|r| r.contains("777001"))).expect("kept");
    let account = json!({ "channel": "whatsapp", "config": { "phone_number_id": "777001" } });
    tenant.admin.post("/api/integration-accounts", account).await.expect(StatusCode::CREATED);
    let (said, ok) = server.run(&["events", "inbound", "--replay", early["id"].as_str().expect("an id")]);
    assert!(ok, "{said}");
    let conversation = conversation_with(&tenant.admin, &from).await;
    assert_eq!(messages_of(&tenant.admin, id_of(&conversation), 1).await[0]["content"]["text"], "early");
    let (said, ok) = server.run(&["events", "inbound", "--replay", &Uuid::new_v4().to_string()]);
    assert!(!ok, "{said}");
}

#[tokio::test]
async fn one_body_of_two_tenants_reaches_each_its_own() {
    let server = Server::start().await;
    let (one, other) = (server.tenant().await, server.tenant().await);
    let (a, b) = (Number::connect(&one).await, Number::connect(&other).await);
    let from = customer();
    let both = vec![a.messages(vec![text(&from, "to one")]), b.messages(vec![text(&from, "to other")])];
    a.deliver(both).await.expect_ok();
    for (tenant, words) in [(&one, "to one"), (&other, "to other")] {
        let conversation = conversation_with(&tenant.admin, &from).await;
        let messages = messages_of(&tenant.admin, id_of(&conversation), 1).await;
        assert_eq!((messages.len(), &messages[0]["content"]["text"]), (1, &json!(words)));
    }
}

#[tokio::test]
async fn what_arrives_for_an_account_that_is_off_waits_for_a_replay() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let number = Number::connect(&tenant).await;
    let path = format!("/api/integration-accounts/{}", number.account_id);
    tenant.admin.patch(&path, json!({ "is_active": false })).await.expect(StatusCode::OK);
    number.hear(&customer(), "anyone?").await;
    reach(&server, "failed", 1).await;
    let contacts = tenant.admin.get("/api/contacts").await.expect(StatusCode::OK);
    assert_eq!(contacts["total"], 0);
}

#[tokio::test]
async fn the_verification_call_is_answered_for_any_known_token() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let number = Number::connect_with(&tenant, json!({ "verify_token": "chosen by us" })).await;
    let ask = async |path: &str, mode: &str, token: &str| {
        let token = token.replace(' ', "%20");
        let query = format!("hub.mode={mode}&hub.verify_token={token}&hub.challenge=1158201444&added=later");
        server.client().get(&format!("{path}?{query}")).await
    };
    for (path, token) in [("/webhook", "verify-token"), ("/webhook/whatsapp", "chosen by us")] {
        let answer = ask(path, "subscribe", token).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "1158201444"));
    }
    ask("/webhook", "subscribe", "guess").await.problem(403, "forbidden");
    ask("/webhook", "unsubscribe", "verify-token").await.problem(403, "forbidden");
    server.client().get("/webhook?hub.mode=subscribe").await.problem(422, "invalid");
    assert!(!number.phone_number_id.is_empty());
}
