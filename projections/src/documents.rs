//! Aggregates as typed JSON: the default read model. One projector serves them all.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use commands::{CommandError, Store};
use domain::aggregate::Aggregate;
use domain::event::EventBody;
use domain::registry::Folded;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::event::{Event, FoldError};
use crate::projection::Projection;
use crate::table::{ApplyError, Changes, Rows, Table, fold_stored, key_object, upsert_sql};

/// Streams whose state is not kept as a document: they have relational read models, or are too many.
const WITHOUT_DOCUMENT: [&str; 6] =
    ["automation_item", "contact", "conversation", "csat_survey", "message", "webhook_delivery"];

/// Events that [`of_log`] reads at once.
const OF_LOG_PAGE: i64 = 1_000;

#[must_use]
pub fn projection() -> Projection {
    Projection::read_model("documents", vec![Box::new(Documents)])
}

struct Documents;

#[derive(Serialize, Deserialize)]
struct DocumentRow {
    tenant_id: Uuid,
    collection: String,
    id: Uuid,
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    doc: Value,
}

#[async_trait::async_trait]
impl Table for Documents {
    fn name(&self) -> &'static str {
        "documents"
    }

    fn key(&self) -> &'static [&'static str] {
        &["tenant_id", "collection", "id"]
    }

    fn columns(&self) -> &'static [&'static str] {
        &["tenant_id", "collection", "id", "version", "created_at", "updated_at", "doc"]
    }

    fn concerns(&self, event: &Event) -> bool {
        !WITHOUT_DOCUMENT.contains(&event.stream_type.as_str())
    }

    async fn apply(&self, tx: &mut PgConnection, schema: &str, events: &[Event]) -> Result<(), ApplyError> {
        fold_stored(tx, schema, self, self.touched(events).unwrap_or_default(), events).await
    }

    fn as_rows(&self) -> Option<&dyn Rows> {
        Some(self)
    }
}

impl Rows for Documents {
    fn touched(&self, events: &[Event]) -> Option<Vec<Value>> {
        Some(self.streams(events).values().map(|events| self.key_of(events[0])).collect())
    }

    fn fold(&self, events: &[Event], stored: Vec<Value>) -> Result<Changes, FoldError> {
        let mut rows: HashMap<Uuid, DocumentRow> = HashMap::new();
        for row in stored {
            let row: DocumentRow = serde_json::from_value(row).map_err(FoldError::Row)?;
            rows.insert(row.id, row);
        }
        let mut changes = Changes::default();
        for ((tenant_id, id), events) in self.streams(events) {
            changes.upserts.push(fold(tenant_id, id, rows.remove(&id), &events)?);
        }
        Ok(changes)
    }

    fn store_sql(&self, schema: &str, rows: &str, condition: &str) -> String {
        upsert_sql(schema, self, rows, condition)
    }
}

impl Documents {
    fn streams<'a>(&self, events: &'a [Event]) -> HashMap<(Uuid, Uuid), Vec<&'a Event>> {
        let mut streams: HashMap<(Uuid, Uuid), Vec<&Event>> = HashMap::new();
        for event in events.iter().filter(|event| self.concerns(event)) {
            streams.entry((event.tenant_id, event.stream_id)).or_default().push(event);
        }
        streams
    }

    fn key_of(&self, event: &Event) -> Value {
        key_object(self.key(), &[json!(event.tenant_id), json!(event.stream_type), json!(event.stream_id)])
    }
}

/// A deleted aggregate keeps its row without a document, so that its version goes on counting.
fn fold(
    tenant_id: Uuid,
    id: Uuid,
    stored: Option<DocumentRow>,
    events: &[&Event],
) -> Result<Value, FoldError> {
    let (first, last) = (events[0], events[events.len() - 1]);
    let kind = domain::registry::find(&first.stream_type)
        .ok_or_else(|| FoldError::Inconsistent(format!("no aggregate is called {}", first.stream_type)))?;
    let created_at = stored.as_ref().map_or(first.recorded_at, |row| row.created_at);
    let before = stored.as_ref().map(|row| (row.version, row.updated_at));
    let state = stored.map(|row| row.doc).filter(|doc| !doc.is_null());
    let records: Vec<_> = events.iter().map(|event| AsRef::as_ref(*event)).collect();
    let Folded { state: doc, last_seen } =
        kind.fold(state, &records).map_err(|e| FoldError::Decode(last.event_type.clone(), e))?;
    let seen = last_seen.and_then(|index| events.get(index)).map(|event| (event.version, event.recorded_at));
    let (version, updated_at) = seen.or(before).unwrap_or((last.version, last.recorded_at));
    let row = DocumentRow {
        tenant_id,
        collection: kind.name.to_owned(),
        id,
        version,
        created_at,
        updated_at,
        doc: doc.unwrap_or(Value::Null),
    };
    Ok(serde_json::to_value(row)?)
}

/// An aggregate as the read model holds it.
#[derive(Clone, Debug)]
pub struct Document<A> {
    pub id: Uuid,
    pub version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub state: A,
}

type Columns = (Uuid, i64, DateTime<Utc>, DateTime<Utc>, Value);

fn document<A: Aggregate>(
    (id, version, created_at, updated_at, doc): Columns,
) -> Result<Document<A>, sqlx::Error> {
    let state = serde_json::from_value(doc).map_err(|e| sqlx::Error::Decode(e.into()))?;
    Ok(Document { id, version, created_at, updated_at, state })
}

/// One aggregate of a tenant; nothing if it does not exist or was deleted.
///
/// # Errors
/// Database errors, or a document that does not decode.
pub async fn get<A: Aggregate>(
    db: &mut PgConnection,
    tenant_id: Uuid,
    id: Uuid,
) -> Result<Option<Document<A>>, sqlx::Error> {
    let row: Option<Columns> = sqlx::query_as(
        "SELECT id, version, created_at, updated_at, doc FROM read.documents
         WHERE tenant_id = $1 AND collection = $2 AND id = $3 AND doc IS NOT NULL",
    )
    .bind(tenant_id)
    .bind(A::STREAM)
    .bind(id)
    .fetch_optional(db)
    .await?;
    row.map(document).transpose()
}

/// As [`get`], from the log: for whoever must not miss what the read model does not have yet.
///
/// # Errors
/// Database errors, or an event that does not decode.
pub async fn of_log<A: Aggregate>(
    store: &Store,
    tenant_id: Uuid,
    id: Uuid,
) -> Result<Option<Document<A>>, CommandError> {
    let mut document: Option<Document<A>> = None;
    let mut after = 0;
    loop {
        let mut events = store.read_stream(tenant_id, A::STREAM, id, after, OF_LOG_PAGE).await?;
        let keys = store.vault().keys_of(events.iter().map(|e| (e.tenant_id, &e.body))).await?;
        events.iter_mut().for_each(|event| keys.open(event.tenant_id, &mut event.body));
        let last_page = (events.len() as i64) < OF_LOG_PAGE;
        for event in events {
            let (at, context) = (event.recorded_at, event.context());
            let body = A::Event::decode(&event.event_type, event.schema_version, &event.body)
                .map_err(CommandError::failed)?;
            let document = document.get_or_insert_with(|| Document {
                id,
                version: 0,
                created_at: at,
                updated_at: at,
                state: A::default(),
            });
            document.state.evolve(&body, context);
            after = context.version;
            if document.version == 0 || A::is_seen(&body) {
                (document.version, document.updated_at) = (context.version, at);
            }
        }
        if last_page {
            return Ok(document.filter(|document| document.state.exists()));
        }
    }
}

/// Whether a tenant has an aggregate, by the name of its kind.
///
/// # Errors
/// Database errors.
pub async fn exists(
    db: &mut PgConnection,
    tenant_id: Uuid,
    collection: &str,
    id: Uuid,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM read.documents
             WHERE tenant_id = $1 AND collection = $2 AND id = $3 AND doc IS NOT NULL)",
    )
    .bind(tenant_id)
    .bind(collection)
    .bind(id)
    .fetch_one(db)
    .await
}

/// All of a tenant's aggregates of one kind, oldest first. For kinds that a tenant has few of.
///
/// # Errors
/// Database errors, or a document that does not decode.
pub async fn list<A: Aggregate>(
    db: &mut PgConnection,
    tenant_id: Uuid,
) -> Result<Vec<Document<A>>, sqlx::Error> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT id, version, created_at, updated_at, doc FROM read.documents
         WHERE tenant_id = $1 AND collection = $2 AND doc IS NOT NULL ORDER BY created_at, id",
    )
    .bind(tenant_id)
    .bind(A::STREAM)
    .fetch_all(db)
    .await?;
    rows.into_iter().map(document).collect()
}

/// Every tenant's aggregates of one kind whose top-level field has this value, with their tenants: what is looked up
/// before the tenant is known. `field` is one of the indexed ones: `email`, `key_hash`, `account_key`.
///
/// # Errors
/// Database errors, or a document that does not decode.
pub async fn find_anywhere<A: Aggregate>(
    db: &mut PgConnection,
    field: Lookup,
    value: &str,
) -> Result<Vec<(Uuid, Document<A>)>, sqlx::Error> {
    #[derive(sqlx::FromRow)]
    struct Found {
        tenant_id: Uuid,
        id: Uuid,
        version: i64,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
        doc: Value,
    }
    let sql = match field {
        Lookup::Email => {
            "SELECT * FROM read.documents
             WHERE collection IN ('agent', 'super_admin') AND collection = $1 AND doc ->> 'email' = $2 ORDER BY created_at"
        }
        Lookup::KeyHash => {
            "SELECT * FROM read.documents WHERE collection = 'api_key' AND collection = $1 AND doc ->> 'key_hash' = $2"
        }
        Lookup::AccountKey => {
            "SELECT * FROM read.documents
             WHERE collection = 'integration_account' AND collection = $1 AND doc ->> 'account_key' = $2"
        }
        Lookup::Payment => {
            "SELECT * FROM read.documents
             WHERE collection = 'invoice' AND collection = $1 AND doc -> 'payment' ->> 'gateway_payment_id' = $2"
        }
    };
    let rows: Vec<Found> = sqlx::query_as(sql).bind(A::STREAM).bind(value).fetch_all(db).await?;
    rows.into_iter()
        .map(|r| Ok((r.tenant_id, document((r.id, r.version, r.created_at, r.updated_at, r.doc))?)))
        .collect()
}

/// The fields that have an index across tenants.
#[derive(Clone, Copy, Debug)]
pub enum Lookup {
    Email,
    KeyHash,
    AccountKey,
    /// The gateway's name of the payment of an invoice.
    Payment,
}
