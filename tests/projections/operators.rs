//! What platform administrators and the command line do with read models.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Server, eventually};

const PATH: &str = "/api/super-admin/projections";

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    list.as_array()
        .unwrap()
        .iter()
        .find(|p| p["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {list}"))
}

async fn some_history(server: &Server) {
    let tenant = server.tenant().await;
    for n in 0..5 {
        let role = json!({ "name": format!("role-{n}"), "permissions": ["audit.view"] });
        tenant.admin.post("/api/roles", role).await.expect(StatusCode::CREATED);
    }
    tenant.agent("agent").await;
}

/// Every row of every read model, in one order.
async fn rows(server: &Server) -> Vec<Value> {
    let mut db = server.sql().await;
    let mut all = Vec::new();
    for projection in projections::all() {
        for table in &projection.tables {
            let columns = table.columns().join(", ");
            let sql = format!(
                "SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY to_jsonb(t)::text), '[]') FROM (SELECT {columns} FROM read.{}) t",
                table.name()
            );
            all.push(sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut db).await.unwrap());
        }
    }
    all
}

#[tokio::test]
async fn the_list_shows_how_far_each_projection_is() {
    let server = Server::start().await;
    some_history(&server).await;
    let root = server.super_admin().await;
    let list = root.get(PATH).await.expect(StatusCode::OK);
    let documents = named(&list, "documents");
    assert_eq!(
        (&documents["state"], &documents["lag_events"], &documents["lag_ms"]),
        (&json!("live"), &json!(0), &json!(0))
    );
    assert_eq!(documents["position"], documents["head_position"]);
    assert!(documents["position"].as_i64().unwrap() >= 7, "{documents}");
    assert_eq!(
        (&documents["version"], &documents["error"], &documents["rebuild_progress_pct"]),
        (&json!(1), &Value::Null, &Value::Null)
    );
    sqlx::query("UPDATE projections SET error = 'out of order' WHERE name = 'activity' AND log_id = 1")
        .execute(&mut server.sql().await)
        .await
        .unwrap();
    let list = root.get(PATH).await.expect(StatusCode::OK);
    assert_eq!(
        (&named(&list, "activity")["state"], &named(&list, "activity")["error"]),
        (&json!("failed"), &json!("out of order"))
    );
}

#[tokio::test]
async fn a_tenant_sees_nothing_of_them() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    tenant.admin.get(PATH).await.problem(401, "unauthenticated");
    tenant.admin.post(&format!("{PATH}/documents/rebuild"), json!({})).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_rebuild_is_accepted_and_done() {
    let server = Server::start().await;
    some_history(&server).await;
    let (root, before) = (server.super_admin().await, rows(&server).await);
    let accepted =
        root.post(&format!("{PATH}/documents/rebuild"), json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(accepted["name"], "documents");
    assert!(accepted["target_position"].as_i64().unwrap() > 0);
    eventually("the new version is live", async || {
        let list = root.get(PATH).await.expect(StatusCode::OK);
        let documents = named(&list, "documents");
        (documents["version"] == 2 && documents["state"] == "live").then_some(())
    })
    .await;
    assert_eq!(rows(&server).await, before);
    let tenant = server.tenant().await;
    tenant.admin.get("/api/roles").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn what_cannot_be_rebuilt_is_refused() {
    let server = Server::start().await;
    let root = server.super_admin().await;
    for action in ["rebuild", "verify"] {
        root.post(&format!("{PATH}/nothing/{action}"), json!({})).await.problem(404, "not_found");
        for manager in worker::managers() {
            let path = format!("{PATH}/{}/{action}", manager.name);
            root.post(&path, json!({})).await.problem(409, "not_a_read_model");
        }
    }
    let busy = "INSERT INTO projections (name, slot, log_id, lease_owner, lease_until)
         SELECT 'documents', 'rebuild', log_id, gen_random_uuid(), now() + interval '1 minute' FROM logs";
    sqlx::query(busy).execute(&mut server.sql().await).await.unwrap();
    for action in ["rebuild", "verify"] {
        root.post(&format!("{PATH}/documents/{action}"), json!({})).await.problem(409, "busy");
    }
    let list = root.get(PATH).await.expect(StatusCode::OK);
    assert_eq!(named(&list, "documents")["state"], "rebuilding");
}

#[tokio::test]
async fn verify_reports_a_row_changed_by_hand() {
    let server = Server::start().await;
    some_history(&server).await;
    let root = server.super_admin().await;
    let path = format!("{PATH}/documents/verify");
    let report = root.post(&path, json!({})).await.expect(StatusCode::OK);
    assert_eq!((&report["ok"], &report["differences"]), (&json!(true), &json!([])));
    let rows = report["rows_compared"].as_i64().unwrap();
    assert!(rows >= 8, "{report}");
    let changed: uuid::Uuid = sqlx::query_scalar(
        "UPDATE read.documents SET updated_at = now() WHERE collection = 'role' AND doc ->> 'name' = 'role-3' RETURNING id",
    )
    .fetch_one(&mut server.sql().await)
    .await
    .unwrap();
    let report = root.post(&path, json!({})).await.expect(StatusCode::OK);
    assert_eq!(
        (&report["ok"], &report["rows_compared"], &report["rows_different"]),
        (&json!(false), &json!(rows), &json!(1))
    );
    let difference = &report["differences"][0];
    assert_eq!(
        (&difference["table"], &difference["kind"], &difference["columns"]),
        (&json!("documents"), &json!("changed"), &json!(["updated_at"]))
    );
    assert_eq!(difference["key"]["id"], json!(changed));
}

#[tokio::test]
async fn the_command_line_verifies_rebuilds_and_goes_back() {
    let server = Server::start().await;
    some_history(&server).await;
    let before = rows(&server).await;
    let (text, ok) = server.run(&["projections", "verify", "--all"]);
    assert!(ok && text.contains("documents: equal") && !text.contains("DIFFERENT"), "{text}");

    let mut db = server.sql().await;
    for projection in projections::all() {
        for table in &projection.tables {
            let empty = format!("TRUNCATE read.{}", table.name());
            sqlx::query(sqlx::AssertSqlSafe(empty)).execute(&mut db).await.unwrap();
        }
    }
    let (text, ok) = server.run(&["projections", "verify", "documents", "--json"]);
    assert!(!ok && text.contains("missing_in_live"), "{text}");
    for projection in projections::all() {
        let (text, ok) = server.run(&["projections", "rebuild", projection.name]);
        assert!(ok, "{text}");
    }
    assert_eq!(rows(&server).await, before, "dropping every read model and rebuilding gives the same rows");

    let (text, ok) = server.run(&["projections", "rollback", "documents"]);
    assert!(ok, "{text}");
    let (text, ok) = server.run(&["projections", "verify", "--all"]);
    assert!(!ok && text.contains("documents: DIFFERENT"), "the emptied version is back: {text}");
    let (text, ok) = server.run(&["projections", "list", "--json"]);
    let list: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert!(ok && named(&list, "documents")["generation"] == 3, "{list}");
    let (text, ok) = server.run(&["projections", "rebuild", "nothing"]);
    assert!(!ok && text.contains("no projection is called nothing; there are activity"), "{text}");
}

#[tokio::test]
async fn the_command_line_shows_and_replays_what_is_parked() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let role = json!({ "name": "auditor", "permissions": [] });
    let role =
        crate::support::id_of(&tenant.admin.post("/api/roles", role).await.expect(StatusCode::CREATED));
    let position: i64 = sqlx::query_scalar(
        "INSERT INTO events (log_id, position, tenant_id, stream_type, stream_id, version, event_type, schema_version,
             event_id, command_id, metadata, recorded_at, payload, payload_hash, chain_hash)
         SELECT log_id, (SELECT max(position) + 1 FROM events all_events WHERE all_events.log_id = e.log_id), tenant_id, stream_type,
             stream_id, 2, 'role.updated', 1, gen_random_uuid(), gen_random_uuid(), metadata, recorded_at, '{\"name\": 7}',
             payload_hash, chain_hash
         FROM events e WHERE stream_id = $1 RETURNING position",
    )
    .bind(role)
    .fetch_one(&mut server.sql().await)
    .await
    .unwrap();
    let parked = eventually("the event is parked", async || {
        let (text, ok) = server.run(&["projections", "parked", "--json"]);
        assert!(ok, "{text}");
        let parked: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        (parked != json!([])).then(|| parked[0].clone())
    })
    .await;
    assert_eq!(
        (&parked["projection"], &parked["position"], &parked["stream_id"]),
        (&json!("documents"), &json!(position), &json!(role))
    );
    assert!(parked["error"].as_str().unwrap().contains("role.updated does not decode"), "{parked}");
    let (text, ok) = server.run(&["projections", "replay-parked", "documents"]);
    assert!(!ok && text.contains("0 events applied, 1 remain parked"), "{text}");
    // Everyone else is served as before.
    let other = json!({ "name": "other", "permissions": [] });
    tenant.admin.post("/api/roles", other).await.expect(StatusCode::CREATED);
    assert_eq!(tenant.admin.get("/api/roles").await.expect(StatusCode::OK).as_array().unwrap().len(), 5);
}
