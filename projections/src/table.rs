//! A table of a read model as a pure fold from events to rows.

use std::collections::HashMap;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::event::{Event, FoldError};

/// Declares a row of a read model: the struct, its table, its key and its columns in one place.
#[macro_export]
macro_rules! row {
    ($(#[$meta:meta])* $name:ident in $table:literal key ($($key:ident),+) { $($(#[$field_meta:meta])* $field:ident : $type:ty),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type),+ }
        impl $crate::table::Row for $name {
            const TABLE: &'static str = $table;
            const KEY: &'static [&'static str] = &[$(stringify!($key)),+];
            const COLUMNS: &'static [&'static str] = &[$(stringify!($field)),+];
        }
    };
}

pub trait Row: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    const TABLE: &'static str;
    const KEY: &'static [&'static str];
    /// Every column that the fold writes; a generated column is not among them.
    const COLUMNS: &'static [&'static str];
}

/// Values of the key columns, in their order.
pub type Key = Vec<Value>;

/// Rows that follow from events. Pure: no clock, no database, no effect.
pub trait Fold: Send + Sync + 'static {
    type Row: Row;

    /// The rows that an event touches.
    fn keys(event: &Event) -> Vec<Key>;

    /// The row after the event; `None` where there is none (any more).
    ///
    /// # Errors
    /// When the event makes no sense here: its stream is parked.
    fn apply(key: &Key, row: Option<Self::Row>, event: &Event) -> Result<Option<Self::Row>, FoldError>;

    /// Whether the rows that the event touches begin with it: what is stored does not matter to [`Fold::apply`] then,
    /// and is not loaded.
    fn begins(_event: &Event) -> bool {
        false
    }

    /// What an event removes from rows that it can't name, such as all messages of an erased contact: the rest of an
    /// UPDATE or DELETE after the table's name, with `$1` the tenant and `$2` the event's stream.
    fn purge(_event: &Event) -> Option<Purge> {
        None
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Purge {
    Update(&'static str),
    Delete(&'static str),
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Fold(#[from] FoldError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// A table without its row type, as the engine holds it.
#[async_trait::async_trait]
pub trait Table: Send + Sync {
    fn name(&self) -> &'static str;
    fn key(&self) -> &'static [&'static str];
    fn columns(&self) -> &'static [&'static str];
    /// Whether the event may change a row; what concerns nobody costs no transaction.
    fn concerns(&self, event: &Event) -> bool;
    /// Applies a batch to the table of this name in `schema`.
    async fn apply(&self, tx: &mut PgConnection, schema: &str, events: &[Event]) -> Result<(), ApplyError>;

    /// This table, if its rows follow from nothing but themselves and the events.
    fn as_rows(&self) -> Option<&dyn Rows> {
        None
    }
}

/// A table whose changes can be worked out away from the database, so that the tables of many projections can be read
/// and written together.
pub trait Rows: Table {
    /// The keys of the rows that are needed to fold the events, as objects, each once; `None` when more than rows is, as
    /// for a purge, which reaches rows that the event can't name.
    fn touched(&self, events: &[Event]) -> Option<Vec<Value>>;

    /// What becomes of the touched rows, given those of them that are stored.
    ///
    /// # Errors
    /// When an event makes no sense here.
    fn fold(&self, events: &[Event], stored: Vec<Value>) -> Result<Changes, FoldError>;

    /// The statement that stores the upserts, which the parameter `rows` holds, while the condition is true.
    fn store_sql(&self, schema: &str, rows: &str, condition: &str) -> String;
}

/// What a batch of events changes in a table.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    /// What [`Rows::store_sql`] stores; as a rule whole rows.
    pub upserts: Vec<Value>,
    /// Keys.
    pub deletes: Vec<Value>,
}

/// Boxes a fold for a [`crate::Projection`].
#[must_use]
pub fn table<F: Fold>() -> Box<dyn Table> {
    Box::new(Folding::<F>(PhantomData))
}

struct Folding<F>(PhantomData<F>);

#[async_trait::async_trait]
impl<F: Fold> Table for Folding<F> {
    fn name(&self) -> &'static str {
        F::Row::TABLE
    }

    fn key(&self) -> &'static [&'static str] {
        F::Row::KEY
    }

    fn columns(&self) -> &'static [&'static str] {
        F::Row::COLUMNS
    }

    fn concerns(&self, event: &Event) -> bool {
        !F::keys(event).is_empty() || F::purge(event).is_some()
    }

    async fn apply(&self, tx: &mut PgConnection, schema: &str, events: &[Event]) -> Result<(), ApplyError> {
        let mut from = 0;
        for (index, event) in events.iter().enumerate() {
            if let Some(purge) = F::purge(event) {
                fold_stored(tx, schema, self, touched::<F>(&events[from..=index]), &events[from..=index])
                    .await?;
                run_purge(tx, schema, F::Row::TABLE, purge, event.tenant_id, event.stream_id).await?;
                from = index + 1;
            }
        }
        fold_stored(tx, schema, self, touched::<F>(&events[from..]), &events[from..]).await
    }

    fn as_rows(&self) -> Option<&dyn Rows> {
        Some(self)
    }
}

impl<F: Fold> Rows for Folding<F> {
    fn touched(&self, events: &[Event]) -> Option<Vec<Value>> {
        let purges = events.iter().any(|event| F::purge(event).is_some());
        (!purges).then(|| touched::<F>(events))
    }

    fn fold(&self, events: &[Event], stored: Vec<Value>) -> Result<Changes, FoldError> {
        let mut rows: HashMap<String, Slot<F::Row>> = HashMap::new();
        for value in stored {
            let key: Key =
                F::Row::KEY.iter().map(|column| value.get(*column).cloned().unwrap_or_default()).collect();
            let row = Some(serde_json::from_value(value).map_err(FoldError::Row)?);
            rows.insert(identity(&key), Slot { key, row, stored: true });
        }
        for event in events {
            for key in F::keys(event) {
                let none = || Slot { key: key.clone(), row: None, stored: false };
                let slot = rows.entry(identity(&key)).or_insert_with(none);
                slot.row = F::apply(&key, slot.row.take(), event)?;
            }
        }
        let mut changes = Changes::default();
        for Slot { key, row, stored } in rows.into_values() {
            match row {
                Some(row) => changes.upserts.push(serde_json::to_value(row).map_err(FoldError::Row)?),
                None if stored => changes.deletes.push(key_object(F::Row::KEY, &key)),
                None => {}
            }
        }
        Ok(changes)
    }

    fn store_sql(&self, schema: &str, rows: &str, condition: &str) -> String {
        upsert_sql(schema, self, rows, condition)
    }
}

/// The keys of the rows that must be loaded: all that the events touch, but those that begin with them.
fn touched<F: Fold>(events: &[Event]) -> Vec<Value> {
    let mut keys: HashMap<String, Option<Key>> = HashMap::new();
    for event in events {
        for key in F::keys(event) {
            keys.entry(identity(&key)).or_insert_with(|| (!F::begins(event)).then_some(key));
        }
    }
    keys.into_values().flatten().map(|key| key_object(F::Row::KEY, &key)).collect()
}

/// Loads the rows of these keys, folds, and stores what comes of it.
pub(crate) async fn fold_stored(
    tx: &mut PgConnection,
    schema: &str,
    table: &dyn Rows,
    touched: Vec<Value>,
    events: &[Event],
) -> Result<(), ApplyError> {
    let stored = if touched.is_empty() {
        Vec::new()
    } else {
        load_rows(tx, schema, table, &Value::Array(touched)).await?
    };
    let Changes { upserts, deletes } = table.fold(events, stored)?;
    run(tx, table.store_sql(schema, "$1", "true"), upserts).await?;
    run(tx, delete_sql(schema, table, "$1", "true"), deletes).await?;
    Ok(())
}

/// Runs a statement of [`Rows`] with what it is about, if it is about anything.
///
/// # Errors
/// Database errors.
pub async fn run(tx: &mut PgConnection, sql: String, values: Vec<Value>) -> Result<(), sqlx::Error> {
    if values.is_empty() {
        return Ok(());
    }
    sqlx::query(AssertSqlSafe(sql)).bind(Value::Array(values)).execute(tx).await.map(|_| ())
}

struct Slot<R> {
    key: Key,
    row: Option<R>,
    stored: bool,
}

fn identity(key: &Key) -> String {
    domain::canonical::to_string(key)
}

pub(crate) fn key_object(columns: &[&str], key: &[Value]) -> Value {
    Value::Object(columns.iter().map(|c| (*c).to_owned()).zip(key.iter().cloned()).collect::<Map<_, _>>())
}

// The SQL below is assembled from names in the code only: schemas, tables and columns that `row!` declares.

pub(crate) async fn load_rows(
    tx: &mut PgConnection,
    schema: &str,
    table: &dyn Table,
    keys: &Value,
) -> Result<Vec<Value>, sqlx::Error> {
    sqlx::query_scalar(AssertSqlSafe(load_sql(schema, table, "$1"))).bind(keys).fetch_all(tx).await
}

/// The rows as JSON whose keys are in the array that the parameter holds.
pub(crate) fn load_sql(schema: &str, table: &dyn Table, keys: &str) -> String {
    let (name, columns) = (table.name(), table.columns().join(", t."));
    // One row for each key: with the table's own estimates the planner might read all of it.
    format!(
        "SELECT to_jsonb(r) FROM jsonb_populate_recordset(NULL::{schema}.{name}, {keys}) k
         CROSS JOIN LATERAL (SELECT t.{columns} FROM {schema}.{name} t WHERE {} LIMIT 1) r",
        same_key(table)
    )
}

/// Stores the rows that the parameter holds, while the condition is true.
pub(crate) fn upsert_sql(schema: &str, table: &dyn Table, rows: &str, condition: &str) -> String {
    let (name, columns) = (table.name(), table.columns().join(", "));
    let updates: Vec<String> = table
        .columns()
        .iter()
        .filter(|c| !table.key().contains(c))
        .map(|c| format!("{c} = EXCLUDED.{c}"))
        .collect();
    let action =
        if updates.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", updates.join(", ")) };
    format!(
        "INSERT INTO {schema}.{name} ({columns})
         SELECT {columns} FROM jsonb_populate_recordset(NULL::{schema}.{name}, {rows}) WHERE {condition}
         ON CONFLICT ({}) DO {action}",
        table.key().join(", ")
    )
}

/// Removes the rows whose keys the parameter holds, while the condition is true.
pub(crate) fn delete_sql(schema: &str, table: &dyn Table, keys: &str, condition: &str) -> String {
    let name = table.name();
    format!(
        "DELETE FROM {schema}.{name} t USING jsonb_populate_recordset(NULL::{schema}.{name}, {keys}) k
         WHERE {} AND {condition}",
        same_key(table)
    )
}

fn same_key(table: &dyn Table) -> String {
    table.key().iter().map(|c| format!("t.{c} = k.{c}")).collect::<Vec<_>>().join(" AND ")
}

async fn run_purge(
    tx: &mut PgConnection,
    schema: &str,
    table: &str,
    purge: Purge,
    tenant_id: Uuid,
    stream_id: Uuid,
) -> Result<(), sqlx::Error> {
    let sql = match purge {
        Purge::Update(rest) => format!("UPDATE {schema}.{table} {rest}"),
        Purge::Delete(rest) => format!("DELETE FROM {schema}.{table} {rest}"),
    };
    sqlx::query(AssertSqlSafe(sql)).bind(tenant_id).bind(stream_id).execute(tx).await.map(|_| ())
}
