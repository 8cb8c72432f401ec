//! Service levels: the policies, which of them holds, and what becomes of the promises.

mod choice;
mod timers;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::clock::MovedClock;
use crate::support::inbox::{Account, Conversation, NO_GRAPH, begun, digits, given_account};
use crate::support::{Client, Server, Tenant, eventually, id_of};

/// Ten minutes to a first response, warned at eight; twenty to a resolution, warned at sixteen.
const FIRST_RESPONSE_SECS: u64 = 600;
const RESOLUTION_SECS: u64 = 1_200;

/// A tenant with a number and a default policy, and a clock that the test moves.
struct Desk {
    server: Server,
    tenant: Tenant,
    account: Account,
    policy: Uuid,
    clock: MovedClock,
}

impl Desk {
    async fn open() -> Self {
        let clock = MovedClock::new();
        let server = Server::start_with(&[NO_GRAPH, clock.env()]).await;
        let tenant = server.tenant().await;
        let account = given_account(&tenant).await;
        let gold = json!({
            "name": "Gold", "is_default": true, "first_response_time_secs": FIRST_RESPONSE_SECS,
            "resolution_time_secs": RESOLUTION_SECS,
        });
        let policy = policy(&tenant.admin, gold).await;
        Self { server, tenant, account, policy, clock }
    }

    fn admin(&self) -> &Client {
        &self.tenant.admin
    }

    /// A new customer writes; answers the conversation once its clocks are running.
    async fn customer(&self) -> Conversation {
        let conversation = begun(&self.server, &self.tenant, &self.account, &digits(), "Siti Rahayu").await;
        let path = format!("{}/sla", conversation.path());
        eventually("the service level starts", || async {
            // The row of the conversation may be there before that of its clocks.
            let shown = self.admin().get(&path).await;
            (shown.status == StatusCode::OK && !shown.json().is_null()).then_some(())
        })
        .await;
        conversation
    }

    async fn status(&self, conversation: &Conversation) -> Value {
        status(self.admin(), conversation).await
    }

    async fn set_status(&self, conversation: &Conversation, status: &str) {
        let path = format!("{}/status", conversation.path());
        self.admin().patch(&path, json!({ "status": status })).await.expect(StatusCode::OK);
    }

    async fn reply(&self, conversation: &Conversation) {
        let path = format!("{}/messages", conversation.path());
        let halo = json!({ "type": "text", "content": { "text": "Halo!" } });
        self.admin().post(&path, halo).await.expect(StatusCode::CREATED);
    }

    /// Moves the clock; the timers have a look within seconds.
    fn pass(&self, seconds: u64) {
        self.clock.set(seconds);
    }

    /// The warnings (`sla.warned`) or breaches (`sla.breached`) of a conversation, oldest first.
    async fn marks(&self, conversation: &Conversation, event_type: &str) -> Vec<Value> {
        let path = format!("/api/events?stream_id={}&event_type={event_type}", conversation.id);
        let page = self.admin().get(&path).await.expect(StatusCode::OK);
        page["events"].as_array().expect("a list").iter().map(|event| event["payload"].clone()).collect()
    }

    /// Waits until there are so many of them.
    async fn marked(&self, conversation: &Conversation, event_type: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} {event_type}"), || async {
            let marks = self.marks(conversation, event_type).await;
            (marks.len() >= count).then_some(marks)
        })
        .await
    }

    /// Waits until so many breaches of the policy are shown, newest first.
    async fn breaches(&self, count: usize) -> Vec<Value> {
        let path = format!("/api/sla-policies/{}/breaches", self.policy);
        eventually(&format!("{count} breaches are shown"), || async {
            let shown = self.admin().get(&path).await.expect(StatusCode::OK).as_array().cloned()?;
            (shown.len() == count).then_some(shown)
        })
        .await
    }

    /// Kills the program, moves the clock while nothing runs, and starts `part` of it.
    async fn restart(&mut self, part: &'static str, seconds: u64) {
        self.server.restart(part, || self.clock.set(seconds)).await;
        self.tenant.admin.base.clone_from(&self.server.process.base);
    }

    async fn began_at(&self, conversation: &Conversation) -> DateTime<Utc> {
        let shown = self.admin().get(&conversation.path()).await.expect(StatusCode::OK);
        time(&shown["created_at"])
    }
}

async fn policy(admin: &Client, new: Value) -> Uuid {
    id_of(&admin.post("/api/sla-policies", new).await.expect(StatusCode::CREATED))
}

async fn status(client: &Client, conversation: &Conversation) -> Value {
    client.get(&format!("{}/sla", conversation.path())).await.expect(StatusCode::OK)
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no time: {value}"))
}

fn secs(count: u64) -> TimeDelta {
    TimeDelta::seconds(i64::try_from(count).expect("a short time"))
}

#[tokio::test]
async fn a_policy_is_made_changed_listed_and_deleted() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let (tenant, stranger) = (server.tenant().await, server.tenant().await);
    let admin = &tenant.admin;
    let made = admin.post("/api/sla-policies", json!({ "name": "Gold" })).await.expect(StatusCode::CREATED);
    let numbers = ["first_response_time_secs", "resolution_time_secs", "warning_threshold_pct", "priority"];
    assert_eq!(numbers.map(|name| made[name].as_i64().unwrap()), [300, 3600, 80, 0]);
    assert_eq!((&made["is_active"], &made["is_default"]), (&json!(true), &json!(false)));
    let division = admin.post("/api/divisions", json!({ "name": "Sales" })).await.expect(StatusCode::CREATED);
    let path = format!("/api/sla-policies/{}", id_of(&made));
    let change = json!({
        "name": "Silver", "description": "Weekdays", "first_response_time_secs": 60, "resolution_time_secs": 120,
        "warning_threshold_pct": 50, "priority": -3, "channel": "whatsapp", "division_id": division["id"],
        "is_active": false, "is_default": false,
    });
    let changed = admin.patch(&path, change.clone()).await.expect(StatusCode::OK);
    for (field, value) in change.as_object().unwrap() {
        assert_eq!(&changed[field], value, "{field}");
    }
    let again = admin.patch(&path, change).await;
    again.expect(StatusCode::OK);
    assert_eq!(again.header("x-event-position"), None, "nothing was appended");
    assert_eq!(admin.get("/api/sla-policies").await.expect(StatusCode::OK), json!([changed]));
    assert_eq!(admin.get(&format!("{path}/breaches")).await.expect(StatusCode::OK), json!([]));
    stranger.admin.patch(&path, json!({ "name": "Mine" })).await.problem(404, "not_found");
    stranger.admin.delete(&path).await.problem(404, "not_found");
    stranger.admin.get(&format!("{path}/breaches")).await.problem(404, "not_found");
    assert_eq!(stranger.admin.get("/api/sla-policies").await.expect(StatusCode::OK), json!([]));
    let (agent, _) = tenant.agent("agent").await;
    agent.get("/api/sla-policies").await.problem(403, "forbidden");
    assert_eq!(admin.delete(&path).await.expect(StatusCode::OK)["id"], made["id"]);
    admin.delete(&path).await.problem(404, "not_found");
    assert_eq!(admin.get("/api/sla-policies").await.expect(StatusCode::OK), json!([]));
}

#[tokio::test]
async fn there_is_one_default_and_it_is_not_deleted() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let tenant = server.tenant().await;
    let admin = &tenant.admin;
    let first = policy(admin, json!({ "name": "First", "is_default": true })).await;
    let second = policy(admin, json!({ "name": "Second", "is_default": true })).await;
    let defaults = || async {
        let listed = admin.get("/api/sla-policies").await.expect(StatusCode::OK);
        let listed = listed.as_array().cloned().unwrap();
        listed.iter().filter(|policy| policy["is_default"] == true).map(id_of).collect::<Vec<_>>()
    };
    assert_eq!(defaults().await, [second]);
    let path = |id: Uuid| format!("/api/sla-policies/{id}");
    admin.delete(&path(second)).await.problem(409, "default_policy");
    // A refused change takes nobody's place.
    let bad = json!({ "is_default": true, "warning_threshold_pct": 0 });
    admin.patch(&path(first), bad).await.names_fields(&["warning_threshold_pct"]);
    let stale = admin.with_header("if-match", "\"7\"");
    stale.patch(&path(first), json!({ "is_default": true })).await.problem(412, "precondition_failed");
    assert_eq!(defaults().await, [second]);
    let promoted = admin.patch(&path(first), json!({ "is_default": true })).await;
    assert_eq!(promoted.expect(StatusCode::OK)["is_default"], true);
    assert_eq!(defaults().await, [first]);
    admin.delete(&path(second)).await.expect(StatusCode::OK);
    // Of many who want to be the default at once, there is one in the end.
    let making = (0..6)
        .map(|n| admin.post("/api/sla-policies", json!({ "name": format!("{n}"), "is_default": true })));
    for answer in futures::future::join_all(making).await {
        assert!([201, 409].contains(&answer.status.as_u16()), "{}", answer.text);
    }
    assert_eq!(defaults().await.len(), 1);
}

#[tokio::test]
async fn what_a_policy_can_not_promise_is_refused_by_name() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let (tenant, stranger) = (server.tenant().await, server.tenant().await);
    let theirs = stranger.admin.post("/api/divisions", json!({ "name": "Theirs" })).await;
    let theirs = id_of(&theirs.expect(StatusCode::CREATED));
    let id = policy(&tenant.admin, json!({ "name": "Gold" })).await;
    let path = format!("/api/sla-policies/{id}");
    let before = tenant.admin.get("/api/sla-policies").await.expect(StatusCode::OK);
    for (field, value) in [
        ("name", json!(" ")),
        ("name", json!("x".repeat(101))),
        ("description", json!("x".repeat(1001))),
        ("first_response_time_secs", json!(0)),
        ("resolution_time_secs", json!(31_536_001)),
        ("warning_threshold_pct", json!(101)),
        ("channel", json!("fax")),
        ("division_id", json!(theirs)),
        ("division_id", json!(Uuid::from_u128(1))),
        ("colour", json!("red")),
    ] {
        let mut bad = json!({ "name": "Bad" });
        bad[field] = value.clone();
        tenant.admin.post("/api/sla-policies", bad).await.names_fields(&[field]);
        tenant.admin.patch(&path, json!({ field: value })).await.names_fields(&[field]);
    }
    tenant.admin.post("/api/sla-policies", json!({})).await.names_fields(&["name"]);
    assert_eq!(tenant.admin.get("/api/sla-policies").await.expect(StatusCode::OK), before);
}
