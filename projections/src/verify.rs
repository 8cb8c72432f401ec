//! Proof that a read model is what the log says: a rebuild in the shadow, compared with the live rows byte for byte.

use std::sync::Arc;

use commands::Store;
use futures::TryStreamExt;
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::projection::Projection;
use crate::rebuild::{RebuildError, Step};
use crate::shadow::{Remains, Shadow};
use crate::table::Table;

/// Differences that are shown; more are only counted.
pub const MAX_DIFFERENCES: usize = 100;

#[derive(Debug, Serialize)]
pub struct Verified {
    pub name: &'static str,
    pub ok: bool,
    pub rows_compared: i64,
    /// How many rows differ; `differences` shows the first [`MAX_DIFFERENCES`].
    pub rows_different: i64,
    pub differences: Vec<Difference>,
}

/// A row that is not the same, by name only: its values may be a person's.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub table: &'static str,
    /// The row's key columns.
    pub key: Value,
    pub kind: DifferenceKind,
    /// The columns that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    Changed,
    /// The log says that the row exists.
    MissingInLive,
    /// The log knows nothing of the row.
    OnlyInLive,
}

/// Rebuilds in the shadow up to the live one's position and compares. The live one goes on meanwhile: it is read in a
/// snapshot of its own.
///
/// # Errors
/// As [`crate::rebuild::rebuild`].
pub async fn verify(
    store: &Store,
    projection: &Arc<Projection>,
    mut report: impl FnMut(Step) + Send,
) -> Result<Verified, RebuildError> {
    let mut shadow = Shadow::prepare(store, projection, Remains::Drop).await?;
    let verified = fill_and_compare(&mut shadow, &mut report).await;
    if verified.is_err() {
        shadow.give_back().await;
    }
    let verified = verified?;
    shadow.discard().await?;
    Ok(verified)
}

async fn fill_and_compare(
    shadow: &mut Shadow,
    report: &mut (impl FnMut(Step) + Send),
) -> Result<Verified, RebuildError> {
    let mut connection = shadow.store.pool().acquire().await?;
    // Most of the way without a snapshot: an old one keeps the whole database from being vacuumed.
    let near = live_positions(&mut connection, shadow).await?;
    shadow.fill(Some(&near), report).await?;
    let mut live = connection.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *live).await?;
    let goals = live_positions(&mut live, shadow).await?;
    shadow.fill(Some(&goals), report).await?;
    let mut rebuilt = shadow.store.pool().acquire().await?;
    let name = shadow.projection.name;
    let mut verified =
        Verified { name, ok: true, rows_compared: 0, rows_different: 0, differences: Vec::new() };
    let compared = async {
        for table in &shadow.projection.tables {
            compare(&mut live, &mut rebuilt, table.as_ref(), &mut verified).await?;
        }
        Ok(())
    };
    shadow.holding(compared).await?;
    live.rollback().await?;
    verified.ok = verified.rows_different == 0;
    Ok(verified)
}

async fn live_positions(db: &mut PgConnection, shadow: &Shadow) -> Result<Vec<i64>, sqlx::Error> {
    let sql = "SELECT coalesce(max(position), 0) FROM projections WHERE name = $1 AND slot = 'live' AND log_id = $2";
    let mut positions = Vec::new();
    for log_id in shadow.store.logs() {
        positions.push(
            sqlx::query_scalar(sql).bind(shadow.projection.name).bind(log_id).fetch_one(&mut *db).await?,
        );
    }
    Ok(positions)
}

/// Walks both tables in key order, side by side.
async fn compare(
    live: &mut PgConnection,
    rebuilt: &mut PgConnection,
    table: &dyn Table,
    verified: &mut Verified,
) -> Result<(), sqlx::Error> {
    let (live_sql, rebuilt_sql) = (rows_in_order("read", table), rows_in_order("rebuild", table));
    let mut left =
        sqlx::query_as::<_, (String, Json<Map<String, Value>>)>(AssertSqlSafe(live_sql)).fetch(live);
    let mut right =
        sqlx::query_as::<_, (String, Json<Map<String, Value>>)>(AssertSqlSafe(rebuilt_sql)).fetch(rebuilt);
    let (mut a, mut b) = (left.try_next().await?, right.try_next().await?);
    loop {
        let (live, rebuilt) = match (&a, &b) {
            (None, None) => return Ok(()),
            (Some(x), Some(y)) if x.0 == y.0 => (a.take(), b.take()),
            (Some(x), Some(y)) if x.0 < y.0 => (a.take(), None),
            (Some(_), None) => (a.take(), None),
            _ => (None, b.take()),
        };
        if live.is_some() {
            a = left.try_next().await?;
        }
        if rebuilt.is_some() {
            b = right.try_next().await?;
        }
        verified.rows_compared += 1;
        if let Some(difference) = difference(table, live.map(|row| row.1.0), rebuilt.map(|row| row.1.0)) {
            verified.rows_different += 1;
            if verified.differences.len() < MAX_DIFFERENCES {
                verified.differences.push(difference);
            }
        }
    }
}

fn difference(
    table: &dyn Table,
    live: Option<Map<String, Value>>,
    rebuilt: Option<Map<String, Value>>,
) -> Option<Difference> {
    if live == rebuilt {
        return None;
    }
    let named = live.as_ref().or(rebuilt.as_ref())?;
    let key = table
        .key()
        .iter()
        .map(|column| ((*column).to_owned(), named.get(*column).cloned().unwrap_or_default()));
    let key = Value::Object(key.collect());
    let (kind, columns) = match (&live, &rebuilt) {
        (Some(live), Some(rebuilt)) => {
            let differs = |column: &&&str| live.get(**column) != rebuilt.get(**column);
            (DifferenceKind::Changed, table.columns().iter().filter(differs).copied().collect())
        }
        (None, _) => (DifferenceKind::MissingInLive, Vec::new()),
        (_, None) => (DifferenceKind::OnlyInLive, Vec::new()),
    };
    Some(Difference { table: table.name(), key, kind, columns })
}

/// The key as text, compared byte by byte as Rust does, and the columns that the fold writes.
fn rows_in_order(schema: &str, table: &dyn Table) -> String {
    let key: Vec<String> = table.key().iter().map(|c| format!("t.{c}")).collect();
    let columns: Vec<String> = table.columns().iter().map(|c| format!("'{c}', t.{c}")).collect();
    format!(
        "SELECT jsonb_build_array({key})::text COLLATE \"C\" AS k, jsonb_build_object({}) FROM {schema}.{} t ORDER BY k",
        columns.join(", "),
        table.name(),
        key = key.join(", "),
    )
}
