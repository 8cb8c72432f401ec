//! Lists that are too long to count, and searches that find too much.

use reqwest::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use crate::support::inbox::NO_GRAPH;
use crate::support::{Client, Server, Tenant, id_of};

async fn started() -> (Server, Tenant) {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let tenant = server.tenant().await;
    (server, tenant)
}

/// Rows of read models are made here by hand, because so many customers would take minutes to write. The later ones are
/// older: `old` are too many to count, and not among the latest.
async fn given_many(server: &Server, tenant: Uuid) {
    let mut db = server.sql().await;
    for rows in [
        "INSERT INTO read.contacts (tenant_id, id, channel, name, phone_number, tags, version, created_at, updated_at)
        SELECT $1, md5('contact' || n)::uuid, 'whatsapp', CASE WHEN n <= 3 THEN 'Zebra ' ELSE 'Ani ' END || n,
            '+628' || n * 7919, '{}', 1, now(), now()
        FROM generate_series(1, 17000) n",
        "INSERT INTO read.conversations (tenant_id, id, contact_id, account_id, channel, status, assigned_agent_id, tags,
            unread_count, ai_stopped, last_message_at, version, created_at, updated_at)
        SELECT $1, md5('conversation' || n)::uuid, md5('contact' || n)::uuid, $1, 'whatsapp',
            CASE WHEN n <= 5 THEN 'open' ELSE 'resolved' END, CASE WHEN n > 7 THEN $1 END,
            array_remove(ARRAY['common', CASE WHEN n > 5900 THEN 'old' END, CASE WHEN n % 1700 = 0 THEN 'rare' END], NULL),
            n % 7, false,
            now() - n / 4 * interval '1 minute', 1, now() + n * interval '1 second', now()
        FROM generate_series(1, 17000) n",
        "INSERT INTO read.messages (tenant_id, id, object_id, conversation_id, contact_id, account_id, channel, direction,
            kind, search_text, status, created_at)
        SELECT $1, md5('message' || n)::uuid, lpad(to_hex(2 * n), 8, '0') || lpad(to_hex(n), 16, '0'), $1, $1, $1,
            'whatsapp', 'inbound', 'text', CASE WHEN n <= 11100 THEN 'terima kasih kak no' ELSE 'halo kak no' END || n,
            'received', now()
        FROM generate_series(1, 17000) n",
    ] {
        sqlx::query(rows).bind(tenant).execute(&mut db).await.unwrap();
    }
}

/// What a list says of its length, and whether it says that counting stopped.
async fn total(client: &Client, path: &str) -> (i64, bool) {
    let answer = client.get(path).await;
    (answer.expect(StatusCode::OK)["total"].as_i64().unwrap(), answer.header("x-total-capped").is_some())
}

#[tokio::test]
async fn a_long_list_is_counted_up_to_a_cap_and_filtered_exactly() {
    let (server, tenant) = started().await;
    given_many(&server, tenant.id).await;
    let total = async |query: &str| total(&tenant.admin, &format!("/api/conversations?{query}")).await;
    assert_eq!(total("").await, (10_000, true));
    assert_eq!(total("tag=common").await, (10_000, true));
    assert_eq!(total("search=ani").await, (10_000, true));
    assert_eq!(total("search=an&status=open").await, (2, false));
    assert_eq!(total("tag=rare").await, (10, false));
    assert_eq!(total("tag=common&status=open").await, (5, false));
    assert_eq!(total("status=open&search=zebra&tag=common&unassigned=true").await, (3, false));
    assert_eq!(total("unassigned=true").await, (7, false));
    assert_eq!(total("search=zebra").await, (3, false));
    assert_eq!(total("search=z").await, (3, false));
    assert_eq!(total("search=ebra").await, (3, false));
    assert_eq!(total("search=eb").await, (0, false));
    assert_eq!(total("search=zebra&status=resolved").await, (0, false));
    assert_eq!(total("tag=nobody").await, (0, false));
    // 12,345 times 7,919: the number as a whole, without its sign, and pieces of it.
    for piece in ["%2B62897760055", "62897760055", "897760055", "97760055"] {
        assert_eq!(total(&format!("search={piece}")).await, (1, false), "{piece}");
    }
    assert_eq!(total("search=62897760056").await, (0, false));
}

/// The ids that a plain query finds.
async fn plainly(server: &Server, tenant: Uuid, sql: &str) -> Vec<Uuid> {
    let sql = format!("SELECT id FROM read.{sql}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(tenant)
        .fetch_all(&mut server.sql().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn pages_of_a_long_list_are_the_same_whether_or_not_it_is_counted() {
    let (server, tenant) = started().await;
    given_many(&server, tenant.id).await;
    for (query, condition) in [
        ("", "true"),
        ("tag=common", "true"),
        ("tag=old", "'old' = ANY (tags)"),
        ("search=ani", "contact_id IN (SELECT id FROM read.contacts WHERE name LIKE 'Ani%')"),
        ("tag=old&search=ani&status=resolved", "'old' = ANY (tags)"),
    ] {
        for (page, skipped) in [(1, 0), (2, 10), (1, 0), (1_500, 14_990)] {
            let path = format!("/api/conversations?per_page=10&page={page}&{query}");
            assert_eq!(total(&tenant.admin, &path).await, (10_000, true), "{path}");
            let listed = tenant.admin.get(&path).await.expect(StatusCode::OK);
            let listed: Vec<Uuid> = listed["conversations"].as_array().unwrap().iter().map(id_of).collect();
            let order = "ORDER BY last_message_at DESC, id LIMIT 10 OFFSET";
            let sql = format!("conversations WHERE tenant_id = $1 AND {condition} {order} {skipped}");
            assert_eq!(listed, plainly(&server, tenant.id, &sql).await, "{path}");
        }
    }
}

#[tokio::test]
async fn a_long_list_is_not_counted_again_soon() {
    let (server, tenant) = started().await;
    given_many(&server, tenant.id).await;
    let total = async |path: &str| total(&tenant.admin, &format!("/api/{path}")).await;
    let long = ["conversations?tag=common", "contacts?search=ani", "messages/search?q=terima"];
    for path in long {
        assert_eq!(total(path).await, (10_000, true), "{path}");
    }
    for table in ["conversations", "contacts", "messages"] {
        let sql = format!("DELETE FROM read.{table} WHERE tenant_id = $1");
        let mut db = server.sql().await;
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant.id).execute(&mut db).await.unwrap();
    }
    for path in long {
        assert_eq!(total(path).await, (10_000, true), "{path}");
    }
    // Other lists, and those of others, are.
    for path in ["conversations?tag=old", "contacts?search=an", "messages/search?q=terima+kasih"] {
        assert_eq!(total(path).await, (0, false), "{path}");
    }
    let stranger = server.tenant().await;
    assert_eq!(self::total(&stranger.admin, "/api/conversations?tag=common").await, (0, false));
}

#[tokio::test]
async fn a_search_that_finds_too_much_answers_the_newest() {
    let (server, tenant) = started().await;
    given_many(&server, tenant.id).await;
    for query in ["terima", "terima&channel=whatsapp"] {
        for _counted_then_not in 0..2 {
            let path = format!("/api/messages/search?limit=3&q={query}");
            let found = tenant.admin.get(&path).await.expect(StatusCode::OK);
            assert_eq!(found["total"], 10_000, "{path}");
            let ids: Vec<&str> =
                found["messages"].as_array().unwrap().iter().map(|m| m["_id"].as_str().unwrap()).collect();
            let newest = [11_100, 11_099, 11_098].map(|n| format!("{:08x}{n:016x}", 2 * n));
            assert_eq!(ids, newest, "{path}");
        }
    }
    let answer = tenant.admin.get("/api/messages/search?q=no11000").await.expect(StatusCode::OK);
    assert_eq!(answer["total"], 1);
}

/// The messages are two seconds apart, so that what is in all of them is found in several stretches of time.
#[tokio::test]
async fn whether_a_search_finds_many_is_seen_from_the_newest_messages() {
    let (server, tenant) = started().await;
    given_many(&server, tenant.id).await;
    let stranger = server.tenant().await;
    let mut db = server.sql().await;
    for (whose, words, channel, at_most, expected) in [
        (tenant.id, "kak", None, 11_000, true),
        (tenant.id, "kak", Some("whatsapp"), 17_000, true),
        (tenant.id, "kak", None, 17_001, false),
        (tenant.id, "kak", Some("instagram"), 11_000, false),
        (tenant.id, "halo", None, 5_900, true),
        (tenant.id, "halo", None, 5_901, false),
        // Frequent, but not lately.
        (tenant.id, "terima", None, 11_000, false),
        (stranger.id, "kak", None, 1, false),
    ] {
        let many: bool = sqlx::query_scalar(
            "SELECT read.finds_many(websearch_to_tsquery('simple', $2), $3, $4)
             FROM set_config('omnistream.tenant', $1, false)",
        )
        .bind(whose.to_string())
        .bind(words)
        .bind(channel)
        .bind(at_most)
        .fetch_one(&mut db)
        .await
        .unwrap();
        assert_eq!(many, expected, "{words} on {channel:?}, at most {at_most}");
    }
    for (query, total) in [("kak", 10_000), ("halo", 5_900), ("halo+-kak", 0)] {
        let answer =
            tenant.admin.get(&format!("/api/messages/search?q={query}")).await.expect(StatusCode::OK);
        assert_eq!(answer["total"], total, "{query}");
    }
}

#[tokio::test]
async fn pages_in_either_order_hold_every_conversation_once() {
    let (server, tenant) = started().await;
    given_many(&server, tenant.id).await;
    for (column, query) in [
        ("last_message_at", "tag=rare"),
        ("last_message_at", "tag=rare&sort_order=asc"),
        ("unread_count", "tag=rare&sort_by=unread_count"),
        ("created_at", "tag=rare&sort_by=created_at&sort_order=asc"),
        ("last_message_at", "unassigned=true"),
        ("unread_count", "unassigned=true&sort_by=unread_count&sort_order=asc"),
    ] {
        let mut rows = Vec::new();
        for page in 1..=4 {
            let path = format!("/api/conversations?{query}&per_page=3&page={page}");
            let answer = tenant.admin.get(&path).await.expect(StatusCode::OK);
            rows.extend(answer["conversations"].as_array().unwrap().clone());
        }
        let mut ids: Vec<Uuid> = rows.iter().map(id_of).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), if query.starts_with("tag") { 10 } else { 7 }, "{query}");
        let key = |row: &Value| {
            row[column].as_i64().map_or_else(|| row[column].to_string(), |n| format!("{n:020}"))
        };
        let mut sorted = rows.clone();
        sorted.sort_by_key(key);
        if !query.contains("asc") {
            sorted.reverse();
        }
        let keys = |rows: &[Value]| rows.iter().map(key).collect::<Vec<_>>();
        assert_eq!(keys(&rows), keys(&sorted), "{query}");
    }
    tenant.admin.get("/api/conversations?sort_by=name").await.names_fields(&["sort_by"]);
    tenant.admin.get("/api/conversations?page=0").await.names_fields(&["page"]);
}
