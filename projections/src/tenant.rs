//! Transactions that see one tenant only: PostgreSQL's row-level security holds whatever a query forgets.

use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};
use uuid::Uuid;

/// The role of queries on behalf of a tenant.
const APP_ROLE: &str = "omnistream_app";

/// Begins a read-only transaction of one tenant, in one round trip.
///
/// # Errors
/// Database errors.
pub async fn begin(pool: &PgPool, tenant_id: Uuid) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    // A UUID's text has nothing that SQL could mistake.
    let begin =
        format!("BEGIN READ ONLY; SET LOCAL ROLE {APP_ROLE}; SET LOCAL omnistream.tenant = '{tenant_id}'");
    pool.begin_with(AssertSqlSafe(begin)).await
}
