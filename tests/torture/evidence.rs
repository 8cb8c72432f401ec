//! What there is when everything has come to rest: the log and the queues from the database, messages as users see them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use sqlx::{Connection, FromRow, PgConnection};
use tokio::time::Instant;
use uuid::Uuid;

use crate::support::Client;

/// An event, as far as the checks look at it.
#[derive(Clone, Debug, FromRow)]
pub struct Event {
    pub log_id: i16,
    pub position: i64,
    pub stream_id: Uuid,
    pub version: i64,
    pub event_type: String,
    pub command_id: Uuid,
    /// The channel's id of a message that a customer sent.
    pub external_id: Option<String>,
    /// Of `message.queued` and `message.received`.
    pub message_id: Option<Uuid>,
}

#[derive(Clone, Debug, FromRow)]
pub struct Effect {
    pub message_id: Option<Uuid>,
    pub status: String,
    pub reason: Option<String>,
}

/// A message of the read model.
#[derive(Clone, Debug, FromRow)]
pub struct Message {
    pub id: Uuid,
    pub object_id: String,
    pub conversation_id: Uuid,
    pub direction: String,
    pub status: String,
    pub external_id: Option<String>,
    pub error_message: Option<String>,
    /// As the API shows it; empty where it doesn't.
    #[sqlx(skip)]
    pub text: String,
}

#[derive(Clone, Debug, FromRow)]
pub struct Item {
    pub event_type: String,
    pub status: String,
    pub conversation_id: Uuid,
}

#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// In order of log and position.
    pub events: Vec<Event>,
    pub effects: Vec<Effect>,
    pub messages: Vec<Message>,
    pub items: Vec<Item>,
    /// Name and id, as the API lists them.
    pub roles: Vec<(String, String)>,
    pub divisions: Vec<(String, String)>,
    /// The phone number of each contact and of each conversation's.
    pub contacts: Vec<String>,
    pub conversations: Vec<String>,
}

/// As the engine, whom row-level security does not bind.
pub async fn connect(url: &str) -> PgConnection {
    let mut db = PgConnection::connect(url).await.expect("a connection");
    sqlx::query("SET ROLE omnistream_engine").execute(&mut db).await.expect("the engine's role");
    db
}

/// Waits until nobody has anything left to do.
///
/// # Errors
/// What is still going on when the patience ends.
pub async fn quiet(db: &mut PgConnection, patience: Duration) -> Result<(), String> {
    let deadline = Instant::now() + patience;
    let mut quiet_since: Option<(Instant, i64)> = None;
    loop {
        let (busy, head) = unfinished(db).await;
        quiet_since = match quiet_since {
            _ if !busy.is_empty() => None,
            Some((since, before)) if before == head => Some((since, before)),
            _ => Some((Instant::now(), head)),
        };
        // Longer than any poll: what nobody was woken for has been found by then.
        if quiet_since.is_some_and(|(since, _)| since.elapsed() > Duration::from_millis(2_500)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("never came to rest: {}", busy.join(", ")));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What is to be done yet, and how many events there are.
async fn unfinished(db: &mut PgConnection) -> (Vec<String>, i64) {
    let open: Vec<(String, i64)> = sqlx::query_as(
        "SELECT 'inbound', count(*) FROM inbound WHERE status = 'pending'
         UNION ALL SELECT 'effects', count(*) FROM effects WHERE status IN ('pending', 'sending')
         UNION ALL SELECT 'automation triggers', count(*) FROM automation_triggers
         UNION ALL SELECT 'automation items', count(*) FROM read.automation_queue
             WHERE status IN ('pending', 'processing')
         UNION ALL SELECT p.name || ' of log ' || p.log_id, h.head - p.position
             FROM projections p JOIN (SELECT log_id, max(position) AS head FROM events GROUP BY log_id) h USING (log_id)
             WHERE p.slot = 'live' AND p.position < h.head",
    )
    .fetch_all(&mut *db)
    .await
    .expect("the queues");
    let head = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(db).await.expect("a count");
    let busy = open.into_iter().filter(|(_, left)| *left > 0);
    (busy.map(|(what, left)| format!("{left} {what}")).collect(), head)
}

pub async fn gather(db: &mut PgConnection, tenant_id: Uuid, client: &Client) -> Evidence {
    let mut evidence = Evidence {
        events: sqlx::query_as(
            "SELECT log_id, position, stream_id, version, event_type, command_id, payload ->> 'external_id' AS external_id,
                 (payload ->> 'message_id')::uuid AS message_id
             FROM events ORDER BY log_id, position",
        )
        .fetch_all(&mut *db)
        .await
        .expect("events"),
        effects: sqlx::query_as("SELECT message_id, status, reason FROM effects WHERE tenant_id = $1")
            .bind(tenant_id)
            .fetch_all(&mut *db)
            .await
            .expect("effects"),
        messages: sqlx::query_as(
            "SELECT id, object_id, conversation_id, direction, status, external_id, error_message FROM read.messages
             WHERE tenant_id = $1",
        )
        .bind(tenant_id)
        .fetch_all(&mut *db)
        .await
        .expect("messages"),
        items: sqlx::query_as(
            "SELECT event_type, status, conversation_id FROM read.automation_queue WHERE tenant_id = $1",
        )
        .bind(tenant_id)
        .fetch_all(&mut *db)
        .await
        .expect("automation items"),
        ..Evidence::default()
    };
    evidence.roles = named(&client.get("/api/roles").await.expect(StatusCode::OK));
    evidence.divisions = named(&client.get("/api/divisions").await.expect(StatusCode::OK));
    evidence.contacts = phones(&pages(client, "/api/contacts", "contacts").await, "phone_number");
    let conversations = pages(client, "/api/conversations", "conversations").await;
    evidence.conversations = phones(&conversations, "contact_phone");
    let texts = texts(client, &conversations).await;
    for message in &mut evidence.messages {
        message.text = texts.get(&message.object_id).cloned().unwrap_or_default();
    }
    evidence
}

fn named(list: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list.as_array().expect("a list").iter().map(|item| (text(&item["name"]), text(&item["id"]))).collect()
}

fn phones(list: &[Value], field: &str) -> Vec<String> {
    list.iter()
        .map(|item| item[field].as_str().unwrap_or_default().trim_start_matches('+').to_owned())
        .collect()
}

/// All pages of a list.
async fn pages(client: &Client, path: &str, field: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for page in 1.. {
        let answer = client.get(&format!("{path}?per_page=100&page={page}")).await.expect(StatusCode::OK);
        let items = answer[field].as_array().cloned().expect("a list");
        let last = items.len() < 100;
        all.extend(items);
        if last {
            break;
        }
    }
    all
}

/// The text of every message that the API shows, by its id, read cursor by cursor.
async fn texts(client: &Client, conversations: &[Value]) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for conversation in conversations {
        let path =
            format!("/api/conversations/{}/messages?limit=100", conversation["id"].as_str().expect("an id"));
        let mut cursor = String::new();
        loop {
            let page = client.get(&format!("{path}{cursor}")).await.expect(StatusCode::OK);
            for message in page["messages"].as_array().expect("a list") {
                let id = message["_id"].as_str().expect("an id").to_owned();
                assert!(seen.insert(id.clone()), "a cursor showed {id} twice");
                texts.insert(id, message["content"]["text"].as_str().unwrap_or_default().to_owned());
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&before={next}"),
                None => break,
            }
        }
    }
    texts
}
