//! Chat expiration: the rules, what they end and when, and what they refuse.

use std::path::PathBuf;

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::inbox::{Conversation, NO_GRAPH, given_conversation, post_signed};
use crate::support::{Client, PASSWORD, Server, Tenant, eventually};

const RULES: &str = "/api/chat-expiration-rules";
const EXPIRE: &str = "/api/conversations/expire";

/// A server whose clock a test moves.
struct Clockwork {
    server: Server,
    tenant: Tenant,
    offset: PathBuf,
}

impl Clockwork {
    async fn start() -> Self {
        let offset = std::env::temp_dir().join(format!("expiration-clock-{}", Uuid::new_v4()));
        std::fs::write(&offset, "0").unwrap();
        let clock = ("OMNISTREAM_CLOCK_OFFSET_FILE", offset.to_str().unwrap());
        let server = Server::start_with(&[NO_GRAPH, clock]).await;
        let tenant = server.tenant().await;
        Self { server, tenant, offset }
    }

    /// Moves the clock so many hours ahead; answers the admin with a session of then.
    async fn advance(&self, hours: i64) -> Client {
        std::fs::write(&self.offset, (hours * 3600).to_string()).unwrap();
        let due = chrono::Utc::now() + chrono::TimeDelta::hours(hours) - chrono::TimeDelta::minutes(5);
        eventually("the clock has moved", || async {
            // A rule that changes says when.
            let hours = json!({ "window_hours": Uuid::new_v4().as_u128() as u32 % 8_000 + 1 });
            let rule = self.signed_in().await.put(&format!("{RULES}/email"), hours).await;
            // Refused when the clock moved on after signing in.
            let at = rule.json()["updated_at"].as_str()?.parse::<chrono::DateTime<chrono::Utc>>().ok()?;
            (at > due).then_some(())
        })
        .await;
        // Anew: the clock may have moved in the middle of that request, whose session is one of before then.
        self.signed_in().await
    }

    async fn signed_in(&self) -> Client {
        let login = json!({ "email": self.tenant.email, "password": PASSWORD });
        let answer = self.server.client().post("/api/auth/login", login).await;
        self.server.client().with_token(answer.expect(StatusCode::OK)["token"].as_str().unwrap())
    }
}

impl Drop for Clockwork {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.offset);
    }
}

async fn set(client: &Client, channel: &str, rule: Value) -> Value {
    client.put(&format!("{RULES}/{channel}"), rule).await.expect(StatusCode::OK)
}

async fn status(client: &Client, conversation: &Conversation) -> String {
    let shown = client.get(&conversation.path()).await.expect(StatusCode::OK);
    shown["status"].as_str().unwrap().to_owned()
}

async fn resolved(client: &Client, conversation: &Conversation) {
    eventually("the conversation is resolved", || async {
        (status(client, conversation).await == "resolved").then_some(())
    })
    .await;
}

#[tokio::test]
async fn rules_are_kept_by_channel() {
    let server = Server::start().await;
    let (tenant, stranger) = (server.tenant().await, server.tenant().await);
    let (supervisor, _) = tenant.agent("supervisor").await;
    assert_eq!(supervisor.get(RULES).await.expect(StatusCode::OK), json!([]));
    let made = set(&supervisor, "whatsapp", json!({ "window_hours": 12, "auto_resolve": true })).await;
    assert_eq!((&made["channel"], &made["window_hours"]), (&json!("whatsapp"), &json!(12)));
    let flags =
        |rule: &Value| ["auto_resolve", "block_text_after_window", "is_active"].map(|f| rule[f].clone());
    assert_eq!(flags(&made), [json!(true), json!(false), json!(true)]);
    set(&supervisor, "email", json!({ "window_hours": 0 })).await;

    // What is left out stays, and the same again changes nothing.
    let changed = set(&supervisor, "whatsapp", json!({ "window_hours": 6, "is_active": false })).await;
    assert_eq!((&changed["id"], &changed["created_at"]), (&made["id"], &made["created_at"]));
    assert_eq!(flags(&changed), [json!(true), json!(false), json!(false)]);
    assert_eq!(set(&supervisor, "whatsapp", json!({ "window_hours": 6 })).await, changed);
    let listed = supervisor.get(RULES).await.expect(StatusCode::OK);
    let channels: Vec<&str> =
        listed.as_array().unwrap().iter().filter_map(|r| r["channel"].as_str()).collect();
    assert_eq!(channels, ["whatsapp", "email"]);
    assert_eq!(listed[0], changed);
    assert_eq!(stranger.admin.get(RULES).await.expect(StatusCode::OK), json!([]));

    let wrong = async |channel: &str, body: Value, status: u16| {
        let answer = supervisor.put(&format!("{RULES}/{channel}"), body).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
        answer
    };
    wrong("whatsapp", json!({ "window_hours": -1 }), 422).await.names_fields(&["window_hours"]);
    wrong("whatsapp", json!({ "window_hours": 8_761 }), 422).await.names_fields(&["window_hours"]);
    wrong("whatsapp", json!({}), 422).await.names_fields(&["window_hours"]);
    wrong("whatsapp", json!({ "window_hours": 1, "autoresolve": true }), 422)
        .await
        .names_fields(&["autoresolve"]);
    wrong("fax", json!({ "window_hours": 1 }), 404).await;
}

#[tokio::test]
async fn expiring_resolves_what_is_stale_and_history_says_why() {
    let clockwork = Clockwork::start().await;
    let Clockwork { server, tenant, .. } = &clockwork;
    let stale = given_conversation(server, tenant).await;
    let handled = given_conversation(server, tenant).await;
    let pending = given_conversation(server, tenant).await;
    let done = json!({ "status": "resolved" });
    tenant.admin.patch(&format!("{}/status", handled.path()), done).await.expect(StatusCode::OK);
    let waiting = json!({ "status": "pending" });
    tenant.admin.patch(&format!("{}/status", pending.path()), waiting).await.expect(StatusCode::OK);
    let admin = clockwork.advance(30).await;
    // Without a rule that resolves nothing is stale.
    set(&admin, "whatsapp", json!({ "window_hours": 0, "auto_resolve": true })).await;
    assert_eq!(admin.post(EXPIRE, json!(null)).await.expect(StatusCode::OK)["expired_count"], 0);
    set(&admin, "instagram", json!({ "window_hours": 1, "auto_resolve": true })).await;
    set(&admin, "whatsapp", json!({ "window_hours": 29, "auto_resolve": false })).await;
    assert_eq!(admin.post(EXPIRE, json!(null)).await.expect(StatusCode::OK)["expired_count"], 0);
    assert_eq!(status(&admin, &stale).await, "open");

    set(&admin, "whatsapp", json!({ "window_hours": 29, "auto_resolve": true })).await;
    let answer = admin.post(EXPIRE, json!(null)).await.expect(StatusCode::OK);
    // The worker may have been faster with one; who did it is in the history.
    let mut by_request = 0;
    for conversation in [&stale, &pending] {
        assert_eq!(status(&admin, conversation).await, "resolved");
        let path = format!("/api/streams/conversation/{}", conversation.id);
        let history = admin.get(&path).await.expect(StatusCode::OK);
        let events = history["events"].as_array().unwrap();
        let [.., expired, changed] = &events[..] else { panic!("{history}") };
        assert_eq!(
            (&expired["event_type"], &changed["event_type"]),
            (&json!("conversation.expired"), &json!("conversation.status_changed"))
        );
        assert_eq!(expired["payload"]["window_hours"], 29);
        assert_eq!(changed["payload"]["status"], "resolved");
        by_request += i64::from(expired["metadata"]["actor"]["type"] == "agent");
    }
    assert_eq!(answer["expired_count"], by_request, "{answer}");
    let path = format!("/api/streams/conversation/{}", handled.id);
    assert!(!admin.get(&path).await.text.contains("conversation.expired"));
    assert_eq!(admin.post(EXPIRE, json!(null)).await.expect(StatusCode::OK)["expired_count"], 0);
}

#[tokio::test]
async fn conversations_end_by_themselves_and_opening_one_again_gives_it_a_new_window() {
    let clockwork = Clockwork::start().await;
    let Clockwork { server, tenant, .. } = &clockwork;
    let rule = json!({ "window_hours": 10, "auto_resolve": true });
    set(&tenant.admin, "whatsapp", rule).await;
    let conversation = given_conversation(server, tenant).await;
    let stranger = server.tenant().await;
    let elsewhere = given_conversation(server, &stranger).await;
    let admin = clockwork.advance(11).await;
    resolved(&admin, &conversation).await;
    let path = format!("/api/streams/conversation/{}", conversation.id);
    let history = admin.get(&path).await.expect(StatusCode::OK);
    let expired =
        history["events"].as_array().unwrap().iter().find(|e| e["event_type"] == "conversation.expired");
    assert_eq!(expired.expect("it says why")["metadata"]["actor"]["type"], "system", "{history}");
    let login = json!({ "email": stranger.email, "password": PASSWORD });
    let token = server.client().post("/api/auth/login", login).await.expect(StatusCode::OK);
    let other = server.client().with_token(token["token"].as_str().unwrap());
    assert_eq!(status(&other, &elsewhere).await, "open", "a rule is the tenant's own");

    let open = json!({ "status": "open" });
    admin.patch(&format!("{}/status", conversation.path()), open).await.expect(StatusCode::OK);
    assert_eq!(admin.post(EXPIRE, json!(null)).await.expect(StatusCode::OK)["expired_count"], 0);
    let admin = clockwork.advance(20).await;
    assert_eq!(admin.post(EXPIRE, json!(null)).await.expect(StatusCode::OK)["expired_count"], 0);
    assert_eq!(status(&admin, &conversation).await, "open");
    let admin = clockwork.advance(22).await;
    resolved(&admin, &conversation).await;
}

#[tokio::test]
async fn free_text_is_refused_after_the_rules_window_and_a_customers_word_opens_it() {
    let clockwork = Clockwork::start().await;
    let Clockwork { server, tenant, .. } = &clockwork;
    let conversation = given_conversation(server, tenant).await;
    let admin = clockwork.advance(13).await;
    let path = format!("{}/messages", conversation.path());
    let text = json!({ "type": "text", "content": { "text": "Masih di sana?" } });
    let rule = |hours: i64, block: bool| json!({ "window_hours": hours, "block_text_after_window": block });
    set(&admin, "whatsapp", rule(12, true)).await;
    let refused = admin.post(&path, text.clone()).await.problem(409, "window_closed");
    assert!(refused["detail"].as_str().unwrap().contains("12 hours"), "{refused}");
    assert_eq!(status(&admin, &conversation).await, "open", "blocking is not resolving");
    for harmless in [rule(12, false), rule(0, true), rule(48, true)] {
        set(&admin, "whatsapp", harmless.clone()).await;
        let answer = admin.post(&path, text.clone()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{harmless}: {}", answer.text);
    }
    set(&admin, "whatsapp", rule(12, true)).await;
    let survey = admin.post(&format!("{}/csat", conversation.path()), json!(null)).await;
    survey.expect(StatusCode::CREATED);
    let messages = admin.get(&path).await.expect(StatusCode::OK);
    assert!(
        !messages.to_string().contains("csat:"),
        "the survey asks nothing in a closed window: {messages}"
    );
    answer_from_the_future(&admin, &conversation, 13).await;
    eventually("the window opens", || async {
        (admin.post(&path, text.clone()).await.status == StatusCode::CREATED).then_some(())
    })
    .await;
}

/// The customer writes, so many hours from now.
async fn answer_from_the_future(client: &Client, conversation: &Conversation, hours: i64) {
    let at = chrono::Utc::now() + chrono::TimeDelta::hours(hours);
    let value = json!({
        "messaging_product": "whatsapp",
        "metadata": { "phone_number_id": conversation.account.phone_number_id },
        "messages": [{
            "from": conversation.customer, "id": format!("wamid.{}", Uuid::new_v4()),
            "timestamp": at.timestamp().to_string(), "type": "text", "text": { "body": "Ya?" },
        }],
    });
    let change = json!({ "field": "messages", "value": value });
    let webhook =
        json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] });
    post_signed(&client.anonymous(), &webhook).await.expect_ok();
}
