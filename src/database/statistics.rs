//! Statistics for a young database. The tables of a new one are empty when its statements are planned, and a plan is kept
//! until its tables are analyzed: a lookup of one row would read all of a table that has grown in the meantime. PostgreSQL
//! looks for such tables about once a minute; a busy log has many thousand events by then.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use commands::store::{HEAD, Progress};
use futures::future::select_all;
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio_util::sync::CancellationToken;

/// Events in a log at which its tables are analyzed for the first time.
const FIRST_LOOK: i64 = 256;
/// The next look is when a log has so many times more events. Statistics of large tables are PostgreSQL's own care.
const GROWTH: i64 = 4;
const LAST_LOOK: i64 = 1_000_000;
/// A table of so few rows is read from end to end in no time.
const FEW_ROWS: f64 = 100.0;
/// Statistics are of no use for a table that has so many times more rows.
const OUTGROWN: f64 = 2.0;
/// Sessions report what they wrote at most once a second.
const REPORTED: Duration = Duration::from_secs(1);
/// The logs' advisory locks are 7301, 7303 and 7304; of many processes one looks.
const ONE_LOOKS: &str = "SELECT pg_try_advisory_lock(7302, 0)";

/// Each time that a log has grown several times over, analyzes the tables that have outgrown their statistics, until there
/// is none. Rows that are only updated, as checkpoints are all the time, change no plan.
pub async fn look_after(pool: PgPool, progress: Arc<Progress>, logs: Vec<i16>, stopping: CancellationToken) {
    let mut heads: Vec<_> = logs.iter().map(|log| progress.follow(HEAD, *log)).collect();
    let mut next = FIRST_LOOK;
    while next < LAST_LOOK {
        let grown = heads.iter_mut().map(|head| Box::pin(head.wait_for(|head| *head >= next)));
        tokio::select! {
            _ = select_all(grown) => {}
            () = stopping.cancelled() => return,
        }
        loop {
            if tokio::time::timeout(REPORTED, stopping.cancelled()).await.is_ok() {
                return;
            }
            match analyze(&pool).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "young tables could not be analyzed; PostgreSQL will do it in a while");
                    break;
                }
            }
        }
        next = GROWTH * heads.iter().map(|head| *head.borrow()).max().unwrap_or(next).max(next);
    }
}

/// As the owner of the tables, which the sessions of the pool are not. Answers whether there was one to analyze.
async fn analyze(pool: &PgPool) -> Result<bool> {
    let mut session = PgConnection::connect_with(&pool.connect_options()).await?;
    let mut found = false;
    if sqlx::query_scalar(ONE_LOOKS).fetch_one(&mut session).await? {
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT s.relid::regclass::text FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
             WHERE s.schemaname IN ('public', 'read') AND s.n_live_tup > greatest($1, $2 * c.reltuples)",
        )
        .bind(FEW_ROWS)
        .bind(OUTGROWN)
        .fetch_all(&mut session)
        .await?;
        found = !tables.is_empty();
        if found {
            let analyze = format!("ANALYZE (SKIP_LOCKED) {}", tables.join(", "));
            sqlx::raw_sql(AssertSqlSafe(analyze)).execute(&mut session).await?;
        }
    }
    session.close().await?;
    Ok(found)
}
