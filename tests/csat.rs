//! Asking customers how satisfied they were.

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::clock::MovedClock;
use crate::support::graph::Graph;
use crate::support::whatsapp::{Number, conversation_with, customer, message, messages_of};
use crate::support::{Answer, Client, Server, Tenant, eventually, id_of};

const DAY_SECS: u64 = 24 * 3600;

/// A shop whose customer has just written.
struct Shop {
    graph: Graph,
    server: Server,
    tenant: Tenant,
    number: Number,
    customer: String,
    conversation: Uuid,
    clock: MovedClock,
}

impl Shop {
    async fn open() -> Self {
        let (graph, clock) = (Graph::start().await, MovedClock::new());
        let server = Server::start_with(&[("META_API_URL", &graph.base), clock.env()]).await;
        let tenant = server.tenant().await;
        let number = Number::connect_with(&tenant, json!({ "access_token": "EAAG" })).await;
        let customer = customer();
        number.hear(&customer, "Halo").await;
        let conversation = id_of(&conversation_with(&tenant.admin, &customer).await);
        Self { graph, server, tenant, number, customer, conversation, clock }
    }

    fn path(&self) -> String {
        format!("/api/conversations/{}/csat", self.conversation)
    }

    async fn ask(&self) -> Value {
        self.tenant.admin.post(&self.path(), json!({})).await.expect(StatusCode::CREATED)
    }

    async fn survey(&self) -> Value {
        self.tenant.admin.get(&self.path()).await.expect(StatusCode::OK)
    }

    /// As a customer without an account would answer.
    async fn rate(&self, survey: &Value, rating: Value) -> Answer {
        let path = format!("/api/csat/{}", id_of(survey));
        self.server.client().patch(&path, rating).await
    }

    async fn analytics(&self, query: &str) -> Value {
        self.tenant.admin.get(&format!("/api/csat/analytics{query}")).await.expect(StatusCode::OK)
    }

    /// Moves the clock and signs in again, once the program knows.
    async fn pass(&self, seconds: u64) -> Client {
        self.clock.set(seconds);
        let login = json!({ "email": self.tenant.email, "password": crate::support::PASSWORD });
        eventually("the clock has moved", || async {
            let me = self.tenant.admin.get("/api/auth/me").await;
            (me.status == StatusCode::UNAUTHORIZED).then_some(())?;
            let answer = self.server.client().post("/api/auth/login", login.clone()).await;
            Some(self.server.client().with_token(answer.expect(StatusCode::OK)["token"].as_str()?))
        })
        .await
    }
}

/// The rows of the list that the customer got.
fn choices(question: &Value) -> Vec<Value> {
    let rows = &question["interactive"]["action"]["sections"][0]["rows"];
    rows.as_array().cloned().unwrap_or_else(|| panic!("no list in {question}"))
}

#[tokio::test]
async fn the_customer_is_asked_and_answers_with_a_choice_from_the_list() {
    let shop = Shop::open().await;
    shop.tenant.admin.get(&shop.path()).await.problem(404, "not_found");
    let (_, agent) = shop.tenant.agent("agent").await;
    let assign = format!("/api/conversations/{}/assign", shop.conversation);
    shop.tenant.admin.patch(&assign, json!({ "agent_id": agent })).await.expect(StatusCode::OK);
    let asked = shop.ask().await;
    assert_eq!((&asked["status"], &asked["agent_id"]), (&json!("pending"), &json!(agent)));
    assert_eq!((&asked["contact_name"], &asked["agent_name"]), (&json!("Ani"), &json!("Budi")));
    let sent = || async { shop.graph.messages().into_iter().next() };
    let question = eventually("the question leaves", sent).await;
    assert_eq!((&question["type"], &question["to"]), (&json!("interactive"), &json!(shop.customer)));
    let choices = choices(&question);
    assert_eq!(choices.len(), 5);
    let four = choices.iter().find(|row| row["title"].as_str().is_some_and(|title| title.starts_with('4')));
    let reply = json!({ "type": "list_reply", "list_reply": four.expect("a four") });
    let chosen = message(&shop.customer, "interactive", reply);
    // Delivered twice, as Meta does; counted once.
    for _ in 0..2 {
        shop.number.deliver(vec![shop.number.messages(vec![chosen.clone()])]).await.expect_ok();
    }
    let rated = eventually("the answer is recorded", || async {
        let survey = shop.survey().await;
        (survey["status"] == "rated").then_some(survey)
    })
    .await;
    assert_eq!((&rated["rating"], &rated["id"]), (&json!(4), &asked["id"]));
    assert!(rated["rated_at"].is_string());
    messages_of(&shop.tenant.admin, shop.conversation, 3).await;
    let counted = shop.analytics("").await;
    assert_eq!((&counted["total_sent"], &counted["total_rated"]), (&json!(1), &json!(1)));
    assert_eq!((&counted["response_rate"], &counted["average_rating"]), (&json!(100.0), &json!(4.0)));
    assert_eq!(counted["distribution"][3], json!({ "rating": 4, "count": 1 }));
    let per_agent =
        json!([{ "agent_id": agent, "agent_name": "Budi", "rated_count": 1, "average_rating": 4.0 }]);
    assert_eq!(counted["per_agent"], per_agent);
}

#[tokio::test]
async fn whoever_has_the_id_rates_once_and_sees_no_names() {
    let shop = Shop::open().await;
    let asked = shop.ask().await;
    for (bad, field) in [
        (json!({ "rating": 0 }), "rating"),
        (json!({ "rating": 6 }), "rating"),
        (json!({ "rating": 4.5 }), "rating"),
        (json!({}), "rating"),
        (json!({ "rating": 5, "comment": "x".repeat(2001) }), "comment"),
        (json!({ "rating": 5, "stars": 5 }), "stars"),
    ] {
        shop.rate(&asked, bad).await.names_fields(&[field]);
    }
    assert_eq!(shop.survey().await, asked, "nothing changed");
    let shown = shop.rate(&asked, json!({ "rating": 2, "comment": "Slow" })).await.expect(StatusCode::OK);
    assert_eq!((&shown["status"], &shown["rating"]), (&json!("rated"), &json!(2)));
    assert_eq!((&shown["contact_name"], &shown["agent_name"]), (&Value::Null, &Value::Null));
    shop.rate(&asked, json!({ "rating": 5 })).await.problem(409, "already_rated");
    let rated = shop.survey().await;
    assert_eq!((&rated["rating"], &rated["comment"]), (&json!(2), &json!("Slow")));
    let nothing = json!({ "id": Uuid::now_v7() });
    shop.rate(&nothing, json!({ "rating": 5 })).await.problem(404, "not_found");
    // What the customer wrote is forgotten with the customer; the count stays.
    let contact = rated["contact_id"].as_str().expect("a contact");
    let erased = shop.tenant.admin.post(&format!("/api/contacts/{contact}/erase"), json!({})).await;
    erased.expect(StatusCode::OK);
    let left = shop.survey().await;
    assert_eq!((&left["rating"], &left["comment"]), (&json!(2), &Value::Null));
    let root = shop.server.super_admin().await;
    let verified = root.post("/api/super-admin/projections/csat/verify", json!({})).await;
    assert_eq!(verified.expect(StatusCode::OK)["ok"], true);
    // And nobody is asked who can't be written to.
    shop.tenant.admin.post(&shop.path(), json!({})).await.problem(409, "contact_erased");
    assert_eq!(shop.survey().await["id"], asked["id"]);
}

#[tokio::test]
async fn a_conversation_has_one_open_survey_however_often_it_is_asked_for() {
    let shop = Shop::open().await;
    let path = shop.path();
    let asking = (0..8).map(|_| shop.tenant.admin.post(&path, json!({})));
    let answers = futures::future::join_all(asking).await;
    let made: Vec<&Answer> = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).collect();
    assert_eq!(made.len(), 1);
    assert!(answers.iter().all(|answer| [201, 409].contains(&answer.status.as_u16())));
    shop.tenant.admin.post(&shop.path(), json!({})).await.problem(409, "survey_open");
    let first = made[0].json();
    shop.rate(&first, json!({ "rating": 5 })).await.expect(StatusCode::OK);
    let second = shop.ask().await;
    assert_ne!(second["id"], first["id"]);
    assert_eq!(shop.survey().await["id"], second["id"], "the newest one is shown");
    // Each with its question, and no question without a survey.
    eventually("both questions leave", || async { (shop.graph.messages().len() == 2).then_some(()) }).await;
    let stranger = shop.server.tenant().await;
    stranger.admin.post(&shop.path(), json!({})).await.problem(404, "not_found");
    stranger.admin.get(&shop.path()).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_repeated_request_asks_once_even_after_a_crash() {
    let mut shop = Shop::open().await;
    let client = shop.tenant.admin.with_header("idempotency-key", "ask-once");
    let first = client.post(&shop.path(), json!({})).await.expect(StatusCode::CREATED);
    // As if the program had died before it could keep the answer.
    let mut sql = shop.server.sql().await;
    let died = "UPDATE idempotency_keys SET status = NULL, answer = NULL, lease_until = started_at";
    sqlx::query(died).execute(&mut sql).await.expect("the answer is forgotten");
    shop.server.restart("serve", || ()).await;
    shop.tenant.admin.base.clone_from(&shop.server.process.base);
    let client = shop.tenant.admin.with_header("idempotency-key", "ask-once");
    let again = client.post(&shop.path(), json!({})).await.expect(StatusCode::CREATED);
    assert_eq!(again["id"], first["id"]);
    assert_eq!(shop.survey().await["id"], first["id"]);
    // It has left, or was cut off in the middle of that; there is no second one.
    let asked: Vec<Value> = messages_of(&shop.tenant.admin, shop.conversation, 2).await;
    assert_eq!(asked.iter().filter(|message| message["type"] == "interactive").count(), 1);
    let positions: Vec<i64> = sqlx::query_scalar(
        "SELECT position FROM events WHERE tenant_id = $1 AND event_type IN ('csat_survey.requested', 'message.queued')
         ORDER BY position",
    )
    .bind(shop.tenant.id)
    .fetch_all(&mut sql)
    .await
    .expect("events");
    assert_eq!(positions.len(), 2);
    assert_eq!(positions[1], positions[0] + 1, "one append");
}

#[tokio::test]
async fn a_survey_is_open_for_a_week_and_then_makes_room() {
    let shop = Shop::open().await;
    let first = shop.ask().await;
    let admin = shop.pass(7 * DAY_SECS + 5).await;
    let shown = admin.get(&shop.path()).await.expect(StatusCode::OK);
    assert_eq!((&shown["status"], &shown["id"]), (&json!("expired"), &first["id"]));
    shop.rate(&first, json!({ "rating": 5 })).await.problem(409, "survey_expired");
    // The customer has been silent for a week: the survey is made, and can't be asked in the chat.
    let second = admin.post(&shop.path(), json!({})).await.expect(StatusCode::CREATED);
    assert_ne!(second["id"], first["id"]);
    shop.rate(&first, json!({ "rating": 5 })).await.problem(409, "survey_expired");
    shop.rate(&second, json!({ "rating": 5 })).await.expect(StatusCode::OK);
    assert_eq!(messages_of(&admin, shop.conversation, 2).await.len(), 2, "what was said in the beginning");
    // Answers count where the question was asked: the first one is out of the week's window.
    let counted = |query: &'static str| {
        let admin = &admin;
        async move {
            let path = format!("/api/csat/analytics{query}");
            let counted = admin.get(&path).await.expect(StatusCode::OK);
            (counted["total_sent"].clone(), counted["total_rated"].clone())
        }
    };
    assert_eq!(counted("?period=7d").await, (json!(1), json!(1)));
    assert_eq!(counted("?period=30d").await, (json!(2), json!(1)));
    assert_eq!(counted("?period=90d").await, (json!(2), json!(1)));
    admin.get("/api/csat/analytics?period=1y").await.names_fields(&["period"]);
}

#[tokio::test]
async fn statistics_are_for_those_who_may_see_them_and_survive_nobody_rating() {
    let shop = Shop::open().await;
    let none = shop.analytics("?period=7d").await;
    assert_eq!((&none["total_sent"], &none["response_rate"]), (&json!(0), &json!(0.0)));
    assert_eq!((&none["average_rating"], &none["per_agent"]), (&Value::Null, &json!([])));
    let empty: Vec<Value> = (1..=5).map(|rating| json!({ "rating": rating, "count": 0 })).collect();
    assert_eq!(none["distribution"], json!(empty));
    let (agent, _) = shop.tenant.agent("agent").await;
    agent.get("/api/csat/analytics").await.problem(403, "forbidden");
    agent.post(&shop.path(), json!({})).await.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn a_question_is_a_message_of_the_month() {
    let shop = Shop::open().await;
    let organization = format!("/api/super-admin/tenants/{}", shop.tenant.id);
    // The customer's own message is the month's first.
    let limits = json!({ "limits": { "max_messages_month": 1 } });
    shop.server.super_admin().await.patch(&organization, limits).await.expect(StatusCode::OK);
    let refused = shop.tenant.admin.post(&shop.path(), json!({})).await.problem(409, "limit_reached");
    assert!(refused["detail"].as_str().is_some_and(|why| why.contains("max_messages_month")), "{refused}");
    shop.tenant.admin.get(&shop.path()).await.problem(404, "not_found");
    assert!(shop.graph.messages().is_empty());
}

#[tokio::test]
async fn an_answer_that_can_not_be_recorded_holds_up_no_other() {
    let shop = Shop::open().await;
    let another = customer();
    shop.number.hear(&another, "Halo").await;
    let conversation = id_of(&conversation_with(&shop.tenant.admin, &another).await);
    let path = format!("/api/conversations/{conversation}/csat");
    let stuck = shop.ask().await;
    let other = shop.tenant.admin.post(&path, json!({})).await.expect(StatusCode::CREATED);
    let answer = async |survey: &Value, from: &str| {
        let row = format!("csat:{}:5", id_of(survey));
        let reply = json!({ "type": "list_reply", "list_reply": { "id": row, "title": "5 - Excellent" } });
        let chosen = message(from, "interactive", reply);
        shop.number.deliver(vec![shop.number.messages(vec![chosen])]).await.expect_ok();
    };
    let rated = async |path: &str| {
        eventually("the answer is recorded", || async {
            let survey = shop.tenant.admin.get(path).await.expect(StatusCode::OK);
            (survey["status"] == "rated").then_some(())
        })
        .await;
    };
    let mut sql = shop.server.sql().await;
    let refuse = format!(
        "RESET ROLE; ALTER TABLE events ADD CONSTRAINT stuck
         CHECK (stream_id <> '{}' OR event_type <> 'csat_survey.rated')",
        id_of(&stuck)
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(refuse)).execute(&mut sql).await.expect("the constraint");
    answer(&stuck, &shop.customer).await;
    eventually("it was tried", || async {
        let tried = sqlx::query_scalar("SELECT count(*) FROM csat_answers WHERE attempts > 0");
        let tried: i64 = tried.fetch_one(&mut shop.server.sql().await).await.expect("a count");
        (tried == 1).then_some(())
    })
    .await;
    answer(&other, &another).await;
    rated(&path).await;
    assert_eq!(shop.survey().await["status"], "pending");
    sqlx::query("ALTER TABLE events DROP CONSTRAINT stuck").execute(&mut sql).await.expect("it is gone");
    rated(&shop.path()).await;
}

#[tokio::test]
async fn who_does_not_wait_for_the_read_models_is_answered_all_the_same() {
    let mut shop = Shop::open().await;
    // Nothing is projected from here on.
    shop.server.restart("api", || ()).await;
    shop.tenant.admin.base.clone_from(&shop.server.process.base);
    let hurried = shop.tenant.admin.with_header("prefer", "respond-async");
    let asked = hurried.post(&shop.path(), json!({})).await.expect(StatusCode::CREATED);
    assert_eq!((&asked["status"], &asked["rating"]), (&json!("pending"), &Value::Null));
    assert_eq!(asked["conversation_id"], json!(shop.conversation));
    shop.tenant.admin.get(&shop.path()).await.problem(404, "not_found");
    shop.server.restart("serve", || ()).await;
    shop.tenant.admin.base.clone_from(&shop.server.process.base);
    eventually("it is readable", || async {
        let shown = shop.tenant.admin.get(&shop.path()).await;
        (shown.status == StatusCode::OK && shown.json()["id"] == asked["id"]).then_some(())
    })
    .await;
}
