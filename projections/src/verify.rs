//! Proof that a read model is what the log says: a rebuild in the shadow, compared with the live rows byte for byte.

use std::sync::Arc;

use commands::Store;
use futures::TryStreamExt;
use serde::Serialize;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::projection::Projection;
use crate::rebuild::{RebuildError, Shadow, Step};
use crate::table::Table;

/// Differences that are shown; more are only counted.
pub const MAX_DIFFERENCES: usize = 100;

#[derive(Debug, Serialize)]
pub struct Verified {
    pub name: &'static str,
    pub ok: bool,
    pub rows_compared: i64,
    pub differences: Vec<Difference>,
}

/// A row that is not the same; `None` where it is missing.
#[derive(Debug, Serialize)]
pub struct Difference {
    pub table: &'static str,
    pub live: Option<Value>,
    pub rebuilt: Option<Value>,
}

/// Rebuilds in the shadow up to the live one's position and compares. The live one goes on meanwhile: it is read in a
/// snapshot of its own.
///
/// # Errors
/// As [`crate::rebuild::rebuild`].
pub async fn verify(
    store: &Store,
    projection: &Arc<Projection>,
    report: impl FnMut(Step) + Send,
) -> Result<Verified, RebuildError> {
    Shadow::prepare(store, projection).await?.discard().await?;
    let shadow = Shadow::prepare(store, projection).await?;
    let mut live_connection = store.pool().acquire().await?;
    let mut live = live_connection.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *live).await?;
    let mut goals = Vec::new();
    for log_id in store.logs() {
        let sql = "SELECT position FROM projections WHERE name = $1 AND slot = 'live' AND log_id = $2";
        let position: Option<i64> =
            sqlx::query_scalar(sql).bind(projection.name).bind(log_id).fetch_optional(&mut *live).await?;
        goals.push(position.unwrap_or(0));
    }
    shadow.fill(Some(&goals), report).await?;
    let mut verified = Verified { name: projection.name, ok: true, rows_compared: 0, differences: Vec::new() };
    let mut rebuilt = store.pool().acquire().await?;
    for table in &projection.tables {
        compare(&mut live, &mut rebuilt, table.as_ref(), &mut verified).await?;
    }
    live.rollback().await?;
    shadow.discard().await?;
    Ok(verified)
}

/// Walks both tables in key order, side by side.
async fn compare(
    live: &mut PgConnection,
    rebuilt: &mut PgConnection,
    table: &dyn Table,
    verified: &mut Verified,
) -> Result<(), sqlx::Error> {
    let (live_sql, rebuilt_sql) = (rows_in_order("read", table), rows_in_order("rebuild", table));
    let mut left = sqlx::query_as::<_, (String, Value)>(AssertSqlSafe(live_sql)).fetch(live);
    let mut right = sqlx::query_as::<_, (String, Value)>(AssertSqlSafe(rebuilt_sql)).fetch(rebuilt);
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
        let (live, rebuilt) = (live.map(|row| row.1), rebuilt.map(|row| row.1));
        if live != rebuilt {
            verified.ok = false;
            if verified.differences.len() < MAX_DIFFERENCES {
                verified.differences.push(Difference { table: table.name(), live, rebuilt });
            }
        }
    }
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
