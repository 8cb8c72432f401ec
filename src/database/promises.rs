//! What a PostgreSQL must promise before anything is entrusted to it, and what is settled for each session, because the
//! answer would depend on it and a database or an account can have defaults of its own.

use anyhow::{Result, bail};
use sqlx::{PgConnection, Row};

/// PostgreSQL 15, as `server_version_num` says it.
const OLDEST_VERSION: i32 = 150_000;
/// Set by tests only, whose databases are thrown away.
const UNSAFE_DATABASE: &str = "TEST_DATABASE_MAY_LOSE_DATA";

/// The server ends a transaction whose process stalled inside of it: whoever takes over must not wait for the rows and
/// locks that it holds.
const STALLED_AFTER: &str = "10s";

/// Settles what this program relies on, whatever the database's or the account's defaults are:
///
/// - a process that stalls does not keep others waiting for long;
/// - a command sees what committed before it got the log's lock, so a transaction must not keep the view of its start;
/// - days begin at midnight in UTC;
/// - names without a schema are those of `public`.
///
/// # Errors
/// Database errors.
pub async fn settle(session: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "SELECT set_config('default_transaction_isolation', 'read committed', false),
             set_config('timezone', 'UTC', false), set_config('search_path', 'public', false),
             set_config('idle_in_transaction_session_timeout', $1, false)",
    )
    .bind(STALLED_AFTER)
    .execute(session)
    .await
    .map(|_| ())
}

/// Refuses a server that could lose what was acknowledged, or can't hold what is written.
///
/// # Errors
/// What is wrong, and what to do about it; database errors.
pub async fn check(session: &mut PgConnection) -> Result<()> {
    let found = sqlx::query(
        "SELECT current_setting('server_version_num')::int AS version, current_setting('server_encoding') AS encoding,
             pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean AS read_only,
             ARRAY(SELECT name FROM pg_settings WHERE setting = 'off'
                 AND name IN ('fsync', 'full_page_writes', 'synchronous_commit') ORDER BY name) AS off,
             ARRAY(SELECT name FROM pg_settings WHERE setting = 'on'
                 AND name IN ('ignore_checksum_failure', 'zero_damaged_pages') ORDER BY name) AS forgiving,
             lower('É') = 'é' AS knows_letters",
    )
    .fetch_one(session)
    .await?;
    let version: i32 = found.try_get("version")?;
    if version < OLDEST_VERSION {
        bail!("PostgreSQL is too old ({version}); 15 or newer is needed");
    }
    let encoding: String = found.try_get("encoding")?;
    if encoding != "UTF8" {
        bail!("the database's encoding is {encoding}; UTF8 is needed: make it with ENCODING 'UTF8'");
    }
    if found.try_get("read_only")? {
        bail!("the database can only be read: it is a standby, or default_transaction_read_only is on");
    }
    let off: Vec<String> = found.try_get("off")?;
    if !off.is_empty() && std::env::var_os(UNSAFE_DATABASE).is_none() {
        bail!(
            "PostgreSQL runs with {} off: it could lose what was acknowledged. Switch it on.",
            off.join(", ")
        );
    }
    let forgiving: Vec<String> = found.try_get("forgiving")?;
    if !forgiving.is_empty() {
        bail!("PostgreSQL runs with {} on: it would hide damage. Switch it off.", forgiving.join(", "));
    }
    if !found.try_get::<bool, _>("knows_letters")? {
        eprintln!(
            "WARNING: the database's LC_CTYPE knows no letters beyond ASCII: \"É\" is not found as \"é\". Make it with \
             LC_CTYPE 'C.UTF-8' or the like."
        );
    }
    Ok(())
}
