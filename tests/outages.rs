//! What clients are told while the database is away or the program has just died, and that trying again helps.

use commands::failpoint::Failpoint;
use futures::future::join;
use reqwest::StatusCode;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::clock::MovedClock;
use crate::support::places::Places;
use crate::support::{Answer, Server, eventually};

/// A little longer than a request that nobody hears of keeps its Idempotency-Key.
const LEASE_AND_A_SECOND: u64 = commands::idempotency::LEASE.num_seconds().unsigned_abs() + 1;

/// Lets nobody into the database but this connection, or everybody again.
async fn admit(owner: &mut PgConnection, connections: i32) {
    let name: String =
        sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut *owner).await.expect("a name");
    let limit = format!("ALTER DATABASE {name} CONNECTION LIMIT {connections}");
    sqlx::raw_sql(AssertSqlSafe(limit)).execute(&mut *owner).await.expect("its owner may");
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .execute(owner)
    .await
    .expect("its owner may");
}

#[tokio::test]
async fn without_the_database_it_is_unavailable_for_a_while() {
    let server = Server::start_with(&[("RUST_LOG", "off")]).await;
    let tenant = server.tenant().await;
    let mut owner = PgConnection::connect(&server.database.owner_url).await.expect("a connection");
    admit(&mut owner, 0).await;
    let key = tenant.admin.with_header("idempotency-key", "during-the-outage");
    let role = json!({ "name": "Night shift", "permissions": ["contacts.manage"] });
    let answers = join(tenant.admin.get("/api/contacts"), key.post("/api/roles", role.clone())).await;
    for answer in [answers.0, answers.1] {
        let problem = answer.problem(503, "unavailable");
        assert_eq!(answer.header("retry-after"), Some("5"), "{problem}");
    }
    admit(&mut owner, -1).await;
    let made = eventually("the database is back", || async {
        let answer: Answer = key.post("/api/roles", role.clone()).await;
        (answer.status != StatusCode::SERVICE_UNAVAILABLE).then_some(answer)
    })
    .await;
    made.expect(StatusCode::CREATED);
    let shut_down = terminated(&server).await;
    assert!(commands::is_outage(&shut_down), "{shut_down:?}");
    let wrong = sqlx::query("SELECT 1 / 0").execute(&mut owner).await.expect_err("a wrong statement");
    assert!(!commands::is_outage(&wrong), "{wrong}");
}

/// What a session that is shut down in the middle of a statement says.
async fn terminated(server: &Server) -> sqlx::Error {
    let mut victim = PgConnection::connect(&server.database.owner_url).await.expect("a connection");
    let shut_down = sqlx::query("SELECT pg_terminate_backend(pg_backend_pid())").execute(&mut victim).await;
    shut_down.expect_err("its own end")
}

#[tokio::test]
async fn a_client_whose_server_died_may_soon_try_again() {
    let (places, clock) = (Places::new(), MovedClock::new());
    let mut server = Server::start_with(&[places.env(), clock.env()]).await;
    let tenant = server.tenant().await;
    let role = json!({ "name": "Night shift", "permissions": ["contacts.manage"] });
    places.arm(Failpoint::AnswerReady);
    let request =
        tenant.admin.with_header("idempotency-key", "once").request(reqwest::Method::POST, "/api/roles");
    let cut_off = tokio::spawn(request.json(&role).send());
    places.kill(&mut server).await;
    assert!(cut_off.await.expect("no panic").is_err(), "nobody was there to answer");

    let mut client = tenant.admin.with_header("idempotency-key", "once");
    client.base.clone_from(&server.process.base);
    client.post("/api/roles", role.clone()).await.problem(409, "idempotency_in_progress");
    clock.set(LEASE_AND_A_SECOND);
    let made = eventually("the key is free", || async {
        let answer = client.post("/api/roles", role.clone()).await;
        (answer.status == StatusCode::CREATED).then(|| answer.json())
    })
    .await;
    let made_once: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM events WHERE event_type = 'role.created' AND tenant_id = $1",
    )
    .bind(tenant.id)
    .fetch_one(&mut server.sql().await)
    .await
    .expect("a count");
    assert_eq!(made_once, 1, "{made}");
}
