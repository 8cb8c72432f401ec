//! Transactions that see one tenant only: PostgreSQL's row-level security holds whatever a query forgets.

use commands::store::Pool;
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use uuid::Uuid;

/// The role of queries on behalf of a tenant.
const APP_ROLE: &str = "omnistream_app";

/// Begins a read-only transaction of one tenant, in one round trip.
///
/// In a task of its own: whoever waits for it may go away in between, as the reader of a streamed file does, and sqlx
/// gives back a connection whose BEGIN was sent but not awaited without rolling it back.
///
/// # Errors
/// Database errors.
pub async fn begin(pool: &Pool, tenant_id: Uuid) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    // A UUID's text has nothing that SQL could mistake.
    let begin =
        format!("BEGIN READ ONLY; SET LOCAL ROLE {APP_ROLE}; SET LOCAL omnistream.tenant = '{tenant_id}'");
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin_with(AssertSqlSafe(begin)).await });
    begun.await.unwrap_or_else(|ended| Err(sqlx::Error::Io(std::io::Error::other(ended))))
}
