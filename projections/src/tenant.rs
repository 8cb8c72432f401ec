//! Transactions that see one tenant only: PostgreSQL's row-level security holds whatever a query forgets.

use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

/// The role of queries on behalf of a tenant.
const APP_ROLE: &str = "omnistream_app";

/// Begins a read-only transaction of one tenant.
///
/// # Errors
/// Database errors.
pub async fn begin(pool: &PgPool, tenant_id: Uuid) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("SELECT set_config('role', $1, true), set_config('omnistream.tenant', $2, true)")
        .bind(APP_ROLE)
        .bind(tenant_id.to_string())
        .execute(&mut *tx)
        .await?;
    Ok(tx)
}
