//! What the program refuses to start on, what it puts right by itself, and what it shares with newer and older versions.

use std::collections::HashMap;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::cluster::TestDatabase;
use crate::support::whatsapp::{self, Number};
use crate::support::{Process, Server, command, eventually};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Changes a database's own defaults, as an administrator may have.
async fn administer(database: &TestDatabase, change: &str) {
    let mut owner = PgConnection::connect(&database.owner_url).await.expect("a connection");
    let name: String =
        sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut owner).await.expect("a name");
    run(&mut owner, &format!("ALTER DATABASE {name} {change}")).await;
}

async fn run(owner: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(owner).await.expect("an administrator may");
}

fn migrate(url: &str) -> Output {
    command(url, &HashMap::new()).arg("migrate").output().expect("the program starts")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that it ends at once, saying this.
#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let said = errors(output);
    assert!(!output.status.success() && words.iter().all(|word| said.contains(word)), "{said}");
}

/// Another database of the tests' server, made like this, while something is done with it.
async fn with_database(server: &Server, made: &str, test: impl AsyncFnOnce(&str)) {
    let mut owner = PgConnection::connect(&server.database.owner_url).await.expect("a connection");
    let own: String =
        sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut owner).await.expect("a name");
    // Named so that a later run removes it should this one be killed.
    let name =
        format!("test_omnistream_{}_made_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    run(&mut owner, &format!("CREATE DATABASE {name} TEMPLATE template0 {made}")).await;
    test(&server.database.owner_url.replacen(&format!("/{own}?"), &format!("/{name}?"), 1)).await;
    run(&mut owner, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
}

#[tokio::test]
async fn a_server_that_may_lose_data_is_refused() {
    let server = Server::start().await;
    let mut careful = command(&server.database.owner_url, &HashMap::new());
    careful.env_remove("TEST_DATABASE_MAY_LOSE_DATA");
    let refusal = careful.arg("migrate").output().expect("the program starts");
    refused(&refusal, &["fsync", "full_page_writes", "synchronous_commit", "Switch it on"]);
}

#[tokio::test]
async fn a_database_that_can_only_be_read_is_refused() {
    let server = Server::start().await;
    administer(&server.database, "SET default_transaction_read_only = on").await;
    refused(&migrate(&server.database.owner_url), &["can only be read"]);
}

#[tokio::test]
async fn an_encoding_that_cannot_hold_every_text_is_refused() {
    let server = Server::start().await;
    let made = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'";
    with_database(&server, made, async |url| refused(&migrate(url), &["LATIN1", "UTF8"])).await;
}

#[tokio::test]
async fn a_database_without_letters_beyond_ascii_is_warned_about() {
    let server = Server::start().await;
    let made = "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'";
    with_database(&server, made, async |url| {
        let migrated = migrate(url);
        assert!(migrated.status.success() && errors(&migrated).contains("LC_CTYPE"), "{}", errors(&migrated));
    })
    .await;
    let usual = migrate(&server.database.owner_url);
    assert!(usual.status.success() && !errors(&usual).contains("LC_CTYPE"), "{}", errors(&usual));
}

/// Serializable transactions would fail beside each other, a view of the start would miss what the lock waited for, a
/// foreign time zone would move days, and a foreign search path would hide every table.
#[tokio::test]
async fn foreign_defaults_of_the_database_change_nothing() {
    let server = Server::start().await;
    for change in [
        "SET default_transaction_isolation = 'serializable'",
        "SET timezone = 'Asia/Jakarta'",
        "SET search_path = 'nowhere'",
    ] {
        administer(&server.database, change).await;
    }
    let log = std::env::temp_dir().join(format!("omnistream-start-up-{}.log", std::process::id()));
    let file = std::fs::File::create(&log).expect("a log");
    let api = Process::start_logging("serve", &server.database.owner_url, &HashMap::new(), Stdio::from(file));
    let tenant = server.tenant().await;
    let elsewhere = {
        let mut client = tenant.admin.clone();
        client.base.clone_from(&api.base);
        client
    };
    let make = |n: usize| {
        let client = if n.is_multiple_of(2) { &tenant.admin } else { &elsewhere };
        client.post("/api/roles", json!({ "name": format!("role-{n}"), "permissions": [] }))
    };
    for made in join_all((0..40).map(make)).await {
        made.expect(StatusCode::CREATED);
    }
    api.kill();
    let said = std::fs::read_to_string(&log).expect("a log");
    std::fs::remove_file(&log).expect("it is ours");
    assert!(!said.contains("serialize") && !said.contains("ERROR"), "{said}");
}

/// A migration that this build does not know, as a newer version would leave it.
async fn newer_migration(server: &Server, description: &str) {
    let mut owner = PgConnection::connect(&server.database.owner_url).await.expect("a connection");
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (999999, $1, true, '', 0)",
    )
    .bind(description)
    .execute(&mut owner)
    .await
    .expect("the owner may");
}

#[tokio::test]
async fn an_older_version_works_on_a_newer_schema_that_only_adds() {
    let server = Server::start().await;
    newer_migration(&server, "some more").await;
    let older = Process::start("serve", &server.database.owner_url, &HashMap::new());
    let mut client = server.tenant().await.admin;
    client.base.clone_from(&older.base);
    let role = json!({ "name": "auditor", "permissions": [] });
    client.post("/api/roles", role).await.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn an_older_version_keeps_away_from_a_schema_that_it_would_break_on() {
    let server = Server::start().await;
    newer_migration(&server, "breaking change of the log").await;
    refused(&migrate(&server.database.owner_url), &["newer version", "999999"]);
}

/// What was planned for empty tables would read them from end to end until PostgreSQL looks, about once a minute.
#[tokio::test]
async fn a_log_that_fills_up_soon_after_the_start_is_analyzed() {
    let server = Server::start().await;
    let mut owner = PgConnection::connect(&server.database.owner_url).await.expect("a connection");
    run(&mut owner, "ALTER TABLE events SET (autovacuum_enabled = off)").await;
    let number = Number::connect(&server.tenant().await).await;
    let texts = (0..100).map(|n| whatsapp::text(&whatsapp::customer(), &format!("Halo {n}"))).collect();
    assert_eq!(number.deliver(vec![number.messages(texts)]).await.status, StatusCode::OK);
    let analyzed = async |table: &str| -> bool {
        let sql = "SELECT last_analyze IS NOT NULL FROM pg_stat_user_tables WHERE relname = $1";
        sqlx::query_scalar(sql).bind(table).fetch_one(&mut server.sql().await).await.expect("statistics")
    };
    eventually("the log is analyzed", || async { analyzed("events").await.then_some(()) }).await;
    assert!(!analyzed("projections").await, "its few rows are updated all the time");
}
