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
                self.fold(tx, schema, &events[from..=index]).await?;
                run_purge(tx, schema, F::Row::TABLE, purge, event.tenant_id, event.stream_id).await?;
                from = index + 1;
            }
        }
        self.fold(tx, schema, &events[from..]).await
    }
}

impl<F: Fold> Folding<F> {
    async fn fold(&self, tx: &mut PgConnection, schema: &str, events: &[Event]) -> Result<(), ApplyError> {
        let touched: Vec<(&Event, Vec<Key>)> =
            events.iter().map(|e| (e, F::keys(e))).filter(|(_, keys)| !keys.is_empty()).collect();
        if touched.is_empty() {
            return Ok(());
        }
        let mut rows: HashMap<String, Slot<F::Row>> = HashMap::new();
        for key in touched.iter().flat_map(|(_, keys)| keys) {
            rows.entry(identity(key)).or_insert_with(|| Slot {
                key: key.clone(),
                row: None,
                dirty: false,
                stored: false,
            });
        }
        self.load(tx, schema, &mut rows).await?;
        for (event, keys) in touched {
            for key in keys {
                if let Some(slot) = rows.get_mut(&identity(&key)) {
                    slot.row = F::apply(&key, slot.row.take(), event)?;
                    slot.dirty = true;
                }
            }
        }
        self.store(tx, schema, rows).await
    }

    async fn load(
        &self,
        tx: &mut PgConnection,
        schema: &str,
        rows: &mut HashMap<String, Slot<F::Row>>,
    ) -> Result<(), ApplyError> {
        let keys: Vec<Value> = rows.values().map(|slot| key_object(F::Row::KEY, &slot.key)).collect();
        for value in load_rows(tx, schema, self, &Value::Array(keys)).await? {
            let key: Key =
                F::Row::KEY.iter().map(|column| value.get(*column).cloned().unwrap_or_default()).collect();
            let row = serde_json::from_value(value).map_err(FoldError::Row)?;
            if let Some(slot) = rows.get_mut(&identity(&key)) {
                slot.row = Some(row);
                slot.stored = true;
            }
        }
        Ok(())
    }

    async fn store(
        &self,
        tx: &mut PgConnection,
        schema: &str,
        rows: HashMap<String, Slot<F::Row>>,
    ) -> Result<(), ApplyError> {
        let (mut upserts, mut deletes) = (Vec::new(), Vec::new());
        for slot in rows.into_values().filter(|slot| slot.dirty) {
            match slot.row {
                Some(row) => upserts.push(serde_json::to_value(row).map_err(FoldError::Row)?),
                None if slot.stored => deletes.push(key_object(F::Row::KEY, &slot.key)),
                None => {}
            }
        }
        upsert_rows(tx, schema, self, upserts).await?;
        delete_rows(tx, schema, self, deletes).await?;
        Ok(())
    }
}

struct Slot<R> {
    key: Key,
    row: Option<R>,
    dirty: bool,
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
    let (name, columns) = (table.name(), table.columns().join(", t."));
    let on: Vec<String> = table.key().iter().map(|c| format!("t.{c} = k.{c}")).collect();
    let sql = format!(
        "SELECT to_jsonb(r) FROM jsonb_populate_recordset(NULL::{schema}.{name}, $1) k
         CROSS JOIN LATERAL (SELECT t.{columns} FROM {schema}.{name} t WHERE {} LIMIT 1) r",
        on.join(" AND ")
    );
    sqlx::query_scalar(AssertSqlSafe(sql)).bind(keys).fetch_all(tx).await
}

pub(crate) async fn upsert_rows(
    tx: &mut PgConnection,
    schema: &str,
    table: &dyn Table,
    rows: Vec<Value>,
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let (name, columns) = (table.name(), table.columns().join(", "));
    let updates: Vec<String> = table
        .columns()
        .iter()
        .filter(|c| !table.key().contains(c))
        .map(|c| format!("{c} = EXCLUDED.{c}"))
        .collect();
    let action =
        if updates.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", updates.join(", ")) };
    let sql = format!(
        "INSERT INTO {schema}.{name} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::{schema}.{name}, $1)
         ON CONFLICT ({}) DO {action}",
        table.key().join(", ")
    );
    sqlx::query(AssertSqlSafe(sql)).bind(Value::Array(rows)).execute(tx).await.map(|_| ())
}

async fn delete_rows(
    tx: &mut PgConnection,
    schema: &str,
    table: &dyn Table,
    keys: Vec<Value>,
) -> Result<(), sqlx::Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let name = table.name();
    let on: Vec<String> = table.key().iter().map(|c| format!("t.{c} = k.{c}")).collect();
    let sql = format!(
        "DELETE FROM {schema}.{name} t USING jsonb_populate_recordset(NULL::{schema}.{name}, $1) k WHERE {}",
        on.join(" AND ")
    );
    sqlx::query(AssertSqlSafe(sql)).bind(Value::Array(keys)).execute(tx).await.map(|_| ())
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
