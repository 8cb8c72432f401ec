//! Whatever is changed behind the program's back is found and named.

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use crate::support::{Server, Tenant, id_of};

struct Scene {
    server: Server,
    tenant: Tenant,
    /// Three events of one role, oldest first.
    events: Vec<Value>,
}

impl Scene {
    async fn new() -> Self {
        let server = Server::start().await;
        let tenant = server.tenant().await;
        let role = json!({ "name": "auditor", "permissions": [] });
        let role = id_of(&tenant.admin.post("/api/roles", role).await.expect(StatusCode::CREATED));
        for name in ["controller", "reviewer"] {
            let path = format!("/api/roles/{role}");
            tenant.admin.patch(&path, json!({ "name": name })).await.expect(StatusCode::OK);
        }
        let page = tenant.admin.get(&format!("/api/events?stream_id={role}")).await.expect(StatusCode::OK);
        let events = page["events"].as_array().unwrap().clone();
        assert_eq!(events.len(), 3);
        Self { server, tenant, events }
    }

    /// As the tables' owner, whom nothing binds.
    async fn tamper(&self, statement: &str, event: usize) {
        let mut owner = PgConnection::connect(&self.server.database.owner_url).await.unwrap();
        let event_id: Uuid = self.events[event]["event_id"].as_str().unwrap().parse().unwrap();
        let done = sqlx::query(AssertSqlSafe(statement.to_owned()))
            .bind(event_id)
            .execute(&mut owner)
            .await
            .unwrap();
        assert_eq!(done.rows_affected(), 1, "{statement}");
    }

    async fn report(&self) -> Value {
        self.tenant.admin.get("/api/audit/verify").await.expect(StatusCode::OK)
    }

    /// The one violation that the tenant's report must hold, and the command line's too.
    async fn found(&self, kind: &str, event: usize) {
        let report = self.report().await;
        assert_eq!((&report["ok"], &report["violations_found"]), (&json!(false), &json!(1)), "{report}");
        let (violation, event) = (&report["violations"][0], &self.events[event]);
        assert_eq!(violation["kind"], kind, "{report}");
        for name in ["position", "event_id", "stream_id", "version"] {
            assert_eq!(violation[name], event[name], "{name}");
        }
        let (text, ok) = self.server.run(&["audit", "verify"]);
        assert!(
            !ok && text.contains(event["event_id"].as_str().unwrap()) && text.contains("NOT as written"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn an_untouched_history_verifies() {
    let scene = Scene::new().await;
    let report = scene.report().await;
    let all = scene.tenant.admin.get("/api/events?limit=1000").await.expect(StatusCode::OK);
    let all = all["events"].as_array().unwrap();
    let streams: std::collections::BTreeSet<_> = all.iter().map(|e| e["stream_id"].to_string()).collect();
    assert_eq!(
        (&report["ok"], &report["complete"], &report["violations"]),
        (&json!(true), &json!(true), &json!([]))
    );
    assert_eq!(report["events_checked"], json!(all.len()));
    assert_eq!(report["streams_checked"], json!(streams.len()));
    assert_eq!(report["first_position"], all[0]["position"]);
    assert_eq!(report["last_position"], all[all.len() - 1]["position"]);
    let (text, ok) = scene.server.run(&["audit", "verify"]);
    assert!(ok && text.contains("All as written"), "{text}");
    let (text, ok) =
        scene.server.run(&["audit", "verify", "--tenant", &scene.tenant.id.to_string(), "--json"]);
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert!(ok && report["ok"] == true && report["report"]["events_checked"] == json!(all.len()), "{text}");
}

#[tokio::test]
async fn one_changed_byte_of_a_payload_is_found() {
    let scene = Scene::new().await;
    scene
        .tamper(
            "UPDATE events SET payload = jsonb_set(payload, '{name}', '\"bontroller\"') WHERE event_id = $1",
            1,
        )
        .await;
    scene.found("payload_hash", 1).await;
    // A range that begins behind it holds by itself: it is chained to the hash that is stored.
    let later = format!("/api/audit/verify?from={}", scene.events[2]["position"]);
    let report = scene.tenant.admin.get(&later).await.expect(StatusCode::OK);
    assert_eq!(
        (&report["ok"], &report["events_checked"], &report["streams_checked"]),
        (&json!(true), &json!(1), &json!(1))
    );
    let before = scene.events[1]["position"].as_i64().unwrap() - 1;
    let report =
        scene.tenant.admin.get(&format!("/api/audit/verify?to={before}")).await.expect(StatusCode::OK);
    assert_eq!((&report["ok"], &report["last_position"]), (&json!(true), &json!(before)));
}

#[tokio::test]
async fn a_changed_header_is_found() {
    let scene = Scene::new().await;
    for (column, other) in [
        ("recorded_at", "recorded_at + interval '1 microsecond'"),
        ("event_type", "'role.created'"),
        ("schema_version", "2"),
        ("metadata", "jsonb_set(metadata, '{actor,name}', '\"Nobody\"')"),
    ] {
        let keep = format!("CREATE TABLE kept AS SELECT {column} AS value FROM events WHERE event_id = $1");
        let keep = keep.replace("$1", &format!("'{}'", scene.events[1]["event_id"].as_str().unwrap()));
        let mut owner = PgConnection::connect(&scene.server.database.owner_url).await.unwrap();
        sqlx::query(AssertSqlSafe(keep)).execute(&mut owner).await.unwrap();
        scene.tamper(&format!("UPDATE events SET {column} = {other} WHERE event_id = $1"), 1).await;
        scene.found("chain_hash", 1).await;
        scene
            .tamper(&format!("UPDATE events SET {column} = (SELECT value FROM kept) WHERE event_id = $1"), 1)
            .await;
        assert_eq!(scene.report().await["ok"], json!(true));
        sqlx::query("DROP TABLE kept").execute(&mut owner).await.unwrap();
    }
}

/// A field that no event has would be dropped when the event is read, and so escape its hash.
#[tokio::test]
async fn an_added_metadata_field_is_found() {
    let scene = Scene::new().await;
    scene
        .tamper(
            "UPDATE events SET metadata = metadata || '{\"approved_by\": \"the boss\"}' WHERE event_id = $1",
            1,
        )
        .await;
    scene.found("metadata", 1).await;
}

/// Rewriting an event and its own hashes breaks the next event's link.
#[tokio::test]
async fn a_consistently_rewritten_event_breaks_the_chain_behind_it() {
    let scene = Scene::new().await;
    scene.tamper("UPDATE events SET chain_hash = sha256('forged') WHERE event_id = $1", 1).await;
    let report = scene.report().await;
    let accused: Vec<_> =
        report["violations"].as_array().unwrap().iter().map(|v| (&v["kind"], &v["event_id"])).collect();
    let kind = json!("chain_hash");
    assert_eq!(accused, [(&kind, &scene.events[1]["event_id"]), (&kind, &scene.events[2]["event_id"])]);
}

#[tokio::test]
async fn a_removed_event_is_missed() {
    let scene = Scene::new().await;
    scene.tamper("DELETE FROM events WHERE event_id = $1", 1).await;
    let report = scene.report().await;
    assert_eq!(report["violations"].as_array().unwrap().len(), 1, "{report}");
    let violation = &report["violations"][0];
    assert_eq!(
        (&violation["kind"], &violation["event_id"]),
        (&json!("missing_version"), &scene.events[2]["event_id"])
    );
    assert_eq!(violation["detail"], "version 3 follows version 1 of its stream");
    // Also from behind it, where the event before can't be read any more.
    let later = format!("/api/audit/verify?from={}", scene.events[2]["position"]);
    let report = scene.tenant.admin.get(&later).await.expect(StatusCode::OK);
    assert_eq!(report["violations"][0]["kind"], "missing_version");
    let (text, ok) = scene.server.run(&["audit", "verify"]);
    let position = &scene.events[1]["position"];
    assert!(!ok && text.contains(&format!("nothing is at position {position}")), "{text}");
}

#[tokio::test]
async fn a_log_whose_end_was_cut_off_is_missed() {
    let scene = Scene::new().await;
    scene.tamper("DELETE FROM events WHERE event_id = $1", 2).await;
    let (text, ok) = scene.server.run(&["audit", "verify"]);
    let position = &scene.events[2]["position"];
    assert!(
        !ok && text
            .contains(&format!("positions {position} to {position} were read by read models and are gone")),
        "{text}"
    );
}

#[tokio::test]
async fn a_tenant_verifies_its_own_history_only() {
    let scene = Scene::new().await;
    scene.tamper("UPDATE events SET payload = '{}' WHERE event_id = $1", 0).await;
    let other = scene.server.tenant().await;
    let report = other.admin.get("/api/audit/verify").await.expect(StatusCode::OK);
    assert_eq!(report["ok"], json!(true));
    assert_eq!(scene.report().await["ok"], json!(false));
}

#[tokio::test]
async fn no_role_of_the_program_can_change_the_log() {
    let scene = Scene::new().await;
    let mut db = PgConnection::connect(&scene.server.database.owner_url).await.unwrap();
    for role in ["omnistream_engine", "omnistream_app"] {
        sqlx::query(AssertSqlSafe(format!("SET ROLE {role}"))).execute(&mut db).await.unwrap();
        for statement in
            ["UPDATE events SET payload = '{}'", "DELETE FROM events", "TRUNCATE events", "DROP TABLE events"]
        {
            let refused = sqlx::query(statement).execute(&mut db).await.expect_err(statement);
            let code = refused.as_database_error().and_then(|e| e.code().map(|c| c.into_owned()));
            assert_eq!(code.as_deref(), Some("42501"), "{role}: {statement}: {refused}");
        }
    }
    let refused = sqlx::query("INSERT INTO events (log_id) VALUES (1)")
        .execute(&mut db)
        .await
        .expect_err("an insert as app");
    assert_eq!(refused.as_database_error().and_then(|e| e.code()).as_deref(), Some("42501"));
    assert_eq!(scene.report().await["ok"], json!(true));
}
