//! Tenants never meet: whatever names something of another tenant, in any operation there is, finds nothing and changes
//! nothing; and row-level security holds even if a query forgets to ask for its tenant.

use std::collections::HashMap;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::openapi::{Document, Operation};
use crate::store::{APP, ENGINE, Logs};
use crate::support::inbox::{NO_GRAPH, given_conversation};
use crate::support::{Answer, Server, Tenant};

/// Collections of which a tenant must be able to show something, so that its ids are real ones.
const FURNISHED: [&str; 11] = [
    "/api/agents",
    "/api/api-keys",
    "/api/automation-rules",
    "/api/contacts",
    "/api/conversations",
    "/api/divisions",
    "/api/events",
    "/api/integration-accounts",
    "/api/roles",
    "/api/sla-policies",
    "/api/webhooks",
];

/// A tenant with something of everything.
async fn furnished(server: &Server) -> Tenant {
    let tenant = server.tenant().await;
    let tags = json!({ "type": "add_tags", "tags": ["new"] });
    for (path, body) in [
        ("/api/api-keys", json!({ "name": "Shop" })),
        (
            "/api/automation-rules",
            json!({ "name": "Tag", "trigger_type": "conversation_created", "actions": [tags] }),
        ),
        ("/api/divisions", json!({ "name": "Sales" })),
        ("/api/roles", json!({ "name": "auditor", "permissions": ["audit.view"] })),
        (
            "/api/sla-policies",
            json!({ "name": "Gold", "first_response_time_secs": 900, "resolution_time_secs": 86_400 }),
        ),
        (
            "/api/webhooks",
            json!({ "name": "Shop", "url": "http://127.0.0.1:1/", "events": ["contact.created"] }),
        ),
    ] {
        tenant.admin.post(path, body).await.expect(StatusCode::CREATED);
    }
    tenant.agent("agent").await;
    given_conversation(server, &tenant).await;
    tenant
}

/// One id per collection, as its list shows it.
async fn ids_of(tenant: &Tenant, document: &Document) -> HashMap<String, Uuid> {
    let mut ids = HashMap::new();
    let lists = document.operations().into_iter().filter(|operation| {
        operation.method == Method::GET && operation.is_for_members() && !operation.has_parameters()
    });
    for list in lists.filter(|operation| operation.path != "/api/stream") {
        let answer = tenant.admin.get(&list.path).await;
        if answer.status == StatusCode::OK && answer.header("content-type") == Some("application/json") {
            ids.extend(first_id(&answer.json()).map(|id| (list.path, id)));
        }
    }
    ids
}

/// Of the first list in an answer. System roles are the same for everyone, so they don't count.
fn first_id(answer: &Value) -> Option<Uuid> {
    let items = match answer {
        Value::Object(page) => page.values().find_map(Value::as_array)?,
        other => other.as_array()?,
    };
    let own = items.iter().find(|item| item["is_system"] != true)?;
    own.get("id").or_else(|| own.get("event_id"))?.as_str()?.parse().ok()
}

/// The path of an operation, with ids from these.
fn path_with(operation: &Operation, ids: &HashMap<String, Uuid>) -> String {
    operation.at(|collection, name| match name {
        "stream_type" => "agent".to_owned(),
        "stream_id" => ids["/api/agents"].to_string(),
        "payload_hash" => "0".repeat(64),
        _ => {
            let named = format!("/api/{}s", name.trim_end_matches("_id").replace('_', "-"));
            let id = ids.get(collection).or_else(|| ids.get(&named)).copied();
            id.unwrap_or_else(Uuid::now_v7).to_string()
        }
    })
}

/// What an operation is sent; written by hand where the schema does not say all.
fn body(document: &Document, operation: &Operation, id: Uuid) -> Option<Value> {
    match (&operation.method, operation.path.as_str()) {
        (&Method::POST, "/api/conversations/{id}/messages") => {
            Some(json!({ "type": "text", "content": { "text": "Halo" } }))
        }
        (&Method::POST, "/api/conversations/{id}/transfer") => Some(json!({ "to_agent_id": id })),
        (_, "/api/automation-rules/{id}/alert-settings") => Some(json!({ "preset": "balanced" })),
        (_, "/api/automation-rules/{id}/schedule-settings") => Some(json!({ "schedule_settings": {
                "enabled": true, "active_weekdays": [1], "start_hour_utc": 9, "end_hour_utc": 17,
                "timezone_offset_minutes": 0, "invert": false,
            } })),
        _ => document.body(operation, id),
    }
}

/// Look-ups by something else's id answer what there is, which is nothing; others say that there is no such thing.
fn finds_nothing(operation: &Operation, answer: &Answer) -> bool {
    let looked_up = operation.path.contains("/by-") && answer.status == StatusCode::OK;
    let is_empty = |found: &Value| found["total"] == 0 || found.as_array().is_some_and(Vec::is_empty);
    answer.status == StatusCode::NOT_FOUND || looked_up && is_empty(&answer.json())
}

/// How many events this agent has caused, in whatever tenant.
async fn events_by(sql: &mut PgConnection, agent: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events WHERE metadata #>> '{actor,id}' = $1")
        .bind(agent)
        .fetch_one(sql)
        .await
        .expect("a count")
}

async fn me(tenant: &Tenant) -> String {
    let me = tenant.admin.get("/api/auth/me").await.expect(StatusCode::OK);
    me["id"].as_str().unwrap_or_else(|| panic!("no id in {me}")).to_owned()
}

#[tokio::test]
async fn what_belongs_to_another_tenant_does_not_exist() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let document = Document::of(&server).await;
    let (mine, theirs) = (furnished(&server).await, furnished(&server).await);
    let (my_ids, their_ids) = (ids_of(&mine, &document).await, ids_of(&theirs, &document).await);
    for collection in FURNISHED {
        assert!(their_ids.contains_key(collection), "no id of {collection} in {their_ids:?}");
        assert_ne!(my_ids[collection], their_ids[collection], "{collection} shows tenants the same thing");
    }
    let (mut sql, me) = (server.sql().await, me(&mine).await);
    let before = events_by(&mut sql, &me).await;
    let mut wrong = Vec::new();
    for operation in document.operations().into_iter().filter(|o| o.is_for_members() && o.has_parameters()) {
        let path = path_with(&operation, &their_ids);
        let body = body(&document, &operation, my_ids["/api/agents"]);
        let answer = mine.admin.send(operation.method.clone(), &path, body.clone()).await;
        if !finds_nothing(&operation, &answer) {
            wrong.push(format!("{} {path} {body:?}: {} {}", operation.method, answer.status, answer.text));
        }
    }
    assert!(wrong.is_empty(), "answered to a stranger:\n{}", wrong.join("\n"));
    assert_eq!(events_by(&mut sql, &me).await, before, "something was appended");
}

#[tokio::test]
async fn a_body_that_names_something_of_another_tenant_changes_nothing() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let document = Document::of(&server).await;
    let (mine, theirs) = (furnished(&server).await, furnished(&server).await);
    let (my_ids, their_ids) = (ids_of(&mine, &document).await, ids_of(&theirs, &document).await);
    let (mut sql, me) = (server.sql().await, me(&mine).await);
    let referring: Vec<Operation> = document
        .operations()
        .into_iter()
        .filter(|o| o.is_for_members() && document.refers_to_ids(o))
        .collect();
    assert!(referring.iter().any(|o| o.path == "/api/conversations/{id}/assign"), "{referring:?}");
    for operation in referring {
        let path = path_with(&operation, &my_ids);
        // Whatever kind of thing is meant, one of these is it.
        for (collection, id) in &their_ids {
            if my_ids.get(collection) == Some(id) {
                continue; // what the platform offers is the same for everyone
            }
            let before = events_by(&mut sql, &me).await;
            let body = body(&document, &operation, *id);
            let answer = mine.admin.send(operation.method.clone(), &path, body.clone()).await;
            let appended = events_by(&mut sql, &me).await - before;
            assert_eq!(
                appended, 0,
                "{} {path} with {body:?} ({collection}): {}",
                operation.method, answer.text
            );
            assert!(!answer.status.is_server_error(), "{} {path}: {}", operation.method, answer.text);
        }
    }
}

/// Tables that the app role may read, other than the platform's.
const READABLE: &str = "SELECT c.oid::regclass::text FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
    WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity
        AND has_table_privilege('omnistream_app', c.oid, 'SELECT')";

async fn rows(connection: &mut PgConnection, table: &str, condition: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE {condition}")))
        .fetch_one(connection)
        .await
        .unwrap_or_else(|error| panic!("{table}: {error}"))
}

#[tokio::test]
async fn row_level_security_alone_keeps_tenants_apart() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let (mine, theirs) = (furnished(&server).await, furnished(&server).await);
    let mut sql = server.sql().await;
    let tables: Vec<String> = sqlx::query_scalar(READABLE).fetch_all(&mut sql).await.unwrap();
    let (of_mine, of_theirs) = (format!("tenant_id = '{}'", mine.id), format!("tenant_id = '{}'", theirs.id));
    let mut filled = Vec::new();
    for table in &tables {
        sqlx::query("SELECT set_config('role', $1, false)").bind(ENGINE).execute(&mut sql).await.unwrap();
        let (my_rows, their_rows) =
            (rows(&mut sql, table, &of_mine).await, rows(&mut sql, table, &of_theirs).await);
        if my_rows > 0 && their_rows > 0 {
            filled.push(table.as_str());
        }
        sqlx::query("SELECT set_config('role', $1, false)").bind(APP).execute(&mut sql).await.unwrap();
        for nobody in ["", "00000000-0000-0000-0000-000000000000"] {
            let set = sqlx::query("SELECT set_config('omnistream.tenant', $1, false)");
            set.bind(nobody).execute(&mut sql).await.unwrap();
            assert_eq!(rows(&mut sql, table, "true").await, 0, "{table} shows rows to nobody");
        }
        let set = sqlx::query("SELECT set_config('omnistream.tenant', $1, false)");
        set.bind(mine.id.to_string()).execute(&mut sql).await.unwrap();
        assert_eq!(
            rows(&mut sql, table, "true").await,
            my_rows,
            "{table} shows more or less than a tenant's own"
        );
        assert_eq!(rows(&mut sql, table, &of_theirs).await, 0, "{table}");
    }
    for table in
        ["events", "read.documents", "read.contacts", "read.conversations", "read.messages", "read.activity"]
    {
        assert!(filled.contains(&table), "{table} was empty, which proves nothing; filled: {filled:?}");
    }
}

const ROWS: i64 = 100_000;

/// How often an index was used, and its table read from end to end.
async fn scans(connection: &mut PgConnection, table: &str, index: &str) -> (i64, i64) {
    sqlx::query_as(
        "SELECT (SELECT idx_scan FROM pg_stat_user_indexes WHERE schemaname = 'read' AND indexrelname = $2),
             (SELECT seq_scan FROM pg_stat_user_tables WHERE schemaname = 'read' AND relname = $1)",
    )
    .bind(table)
    .bind(index)
    .fetch_one(connection)
    .await
    .unwrap()
}

#[tokio::test]
async fn searches_use_their_index_behind_the_wall() {
    let logs = Logs::start().await;
    let tenant = Uuid::from_u128(7);
    let engine = logs.pool_as(ENGINE).await;
    for fill in [
        "INSERT INTO read.contacts (tenant_id, id, channel, name, phone_number, tags, version, created_at, updated_at)
         SELECT $1, gen_random_uuid(), 'whatsapp', 'Person ' || md5(n::text), '+62' || n, '{}', 1, now(), now()
         FROM generate_series(1, $2) n",
        "INSERT INTO read.messages (tenant_id, id, object_id, conversation_id, contact_id, account_id, channel,
             direction, kind, search_text, status, created_at)
         SELECT $1, gen_random_uuid(), lpad(to_hex(n), 24, '0'), gen_random_uuid(), gen_random_uuid(), $1, 'whatsapp',
             'inbound', 'text', 'order ' || md5(n::text), 'received', now()
         FROM generate_series(1, $2) n",
    ] {
        sqlx::query(fill).bind(tenant).bind(ROWS).execute(&engine).await.unwrap();
    }
    sqlx::query("ANALYZE read.contacts, read.messages").execute(&engine).await.unwrap();
    let app = logs.pool_as(APP).await;
    let mut asking = app.acquire().await.unwrap();
    let mut watching = engine.acquire().await.unwrap();
    sqlx::query("SELECT set_config('omnistream.tenant', $1, false)")
        .bind(tenant.to_string())
        .execute(&mut *asking)
        .await
        .unwrap();
    for (table, index, search) in [
        (
            "contacts",
            "contacts_search",
            "SELECT count(*) FROM read.find_contacts(substr(md5('4711'), 3, 20), NULL, NULL, 20, 0)",
        ),
        (
            "contacts",
            "contacts_numbers",
            "SELECT count(*) FROM read.find_contacts('+6298765', NULL, NULL, 20, 0)",
        ),
        (
            "messages",
            "messages_search",
            "SELECT counted FROM read.search_messages(md5('4711'), NULL, NULL, 20, 20)",
        ),
    ] {
        let before = scans(&mut watching, table, index).await;
        let found: i64 = sqlx::query_scalar(search).fetch_one(&mut *asking).await.unwrap();
        assert_eq!(found, 1, "{search}");
        // Statistics are otherwise told at most once a second.
        sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut *asking).await.unwrap();
        let after = scans(&mut watching, table, index).await;
        assert!(after.0 > before.0, "{index} was not used: {before:?}, {after:?}");
        assert_eq!(after.1, before.1, "{table} was read from end to end");
    }
}
