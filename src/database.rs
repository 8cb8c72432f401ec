//! Finding the database, checking that it keeps its promises, and bringing its schema up to date.

mod promises;
mod statistics;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use commands::Store;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::postgres::{self, OwnPostgres};
use crate::settings::Settings;

/// A newer version may have migrated the database already: what it added is left alone.
static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrations = sqlx::migrate!("./migrations");
    migrations.set_ignore_missing(true);
    migrations
});
/// A migration whose name begins like this changes what older versions rely on; all others only add.
const BREAKING: &str = "breaking ";

/// Connections of one process.
const MAX_CONNECTIONS: u32 = 24;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that rested for this long is asked whether it still lives, before it is used. One that was used a moment
/// ago is not: that would be a round trip for each statement.
const PING_AFTER: Duration = Duration::from_secs(1);
/// Statements that a connection keeps prepared: more than the program has, so that none is planned anew.
const PREPARED: usize = 400;
const ENGINE_ROLE: &str = "omnistream_engine";

/// How often our own server is looked after.
const CARE: Duration = Duration::from_secs(2);

/// The database, and the lease on it when it is our own.
pub struct Database {
    pub pool: PgPool,
    own: Option<Arc<OwnPostgres>>,
}

impl Database {
    /// Starts our own server again should it die; ends when `stopping` is cancelled. Does nothing for a configured one.
    pub fn look_after(&self, stopping: CancellationToken) {
        let Some(own) = self.own.clone() else { return };
        tokio::spawn(async move {
            while tokio::time::timeout(CARE, stopping.cancelled()).await.is_err() {
                let own = Arc::clone(&own);
                let care = move || own.ensure_running(&mut |step| tracing::warn!("{step}"));
                match tokio::task::spawn_blocking(care).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!(%error, "our own PostgreSQL can't be started again"),
                    Err(error) => tracing::error!(%error, "our own PostgreSQL was not looked after"),
                }
            }
        });
    }

    /// Keeps plans good while the first events come; ends when `stopping` is cancelled.
    pub fn keep_statistics(&self, store: &Store, stopping: CancellationToken) {
        let (pool, progress) = (self.pool.clone(), Arc::clone(store.progress()));
        tokio::spawn(statistics::look_after(pool, progress, store.logs().to_vec(), stopping));
    }

    /// Gives everything back; the last user of our own server stops it.
    pub async fn close(self) {
        self.pool.close().await;
        let Some(own) = self.own.and_then(Arc::into_inner) else { return };
        match tokio::task::spawn_blocking(move || own.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "our own PostgreSQL was left to its guard"),
            Err(error) => tracing::warn!(%error, "our own PostgreSQL was left to its guard"),
        }
    }
}

/// The folder of everything that is kept outside of the database.
///
/// # Errors
/// When there is no place for it.
pub fn data_dir(settings: &Settings) -> Result<PathBuf> {
    match &settings.data_dir {
        Some(dir) => Ok(dir.clone()),
        None => Ok(postgres::default_data_dir()?),
    }
}

/// Connects to the configured database or starts our own, then migrates it.
///
/// # Errors
/// When PostgreSQL can't be had, is unsafe, or the migration fails.
pub async fn open(settings: &Settings, data_dir: &Path) -> Result<Database> {
    let (url, own) = match &settings.database_url {
        Some(url) => (url.clone(), None),
        None => {
            let dir = data_dir.to_owned();
            let start = move || {
                OwnPostgres::start(&dir, postgres::Options::default(), &mut |step| eprintln!("  {step}"))
            };
            let own = tokio::task::spawn_blocking(start).await??;
            (own.url().to_owned(), Some(own))
        }
    };
    let options = PgConnectOptions::from_str(&url).context("DATABASE_URL is not a PostgreSQL URL")?;
    migrate(&options, settings.logs).await?;
    let pool = PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > PING_AFTER {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(|connection, _| {
            Box::pin(async move {
                promises::settle(connection).await?;
                sqlx::query("SELECT set_config('role', $1, false)")
                    .bind(ENGINE_ROLE)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .connect_with(options.application_name("omnistream").statement_cache_capacity(PREPARED))
        .await
        .context("connecting to PostgreSQL")?;
    Ok(Database { pool, own: own.map(Arc::new) })
}

/// Brings the schema up to date, under sqlx's own lock, so that several processes may start at once.
async fn migrate(options: &PgConnectOptions, logs: i16) -> Result<()> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| Box::pin(promises::settle(connection)))
        .connect_with(options.clone())
        .await
        .context("connecting to PostgreSQL")?;
    let mut session = pool.acquire().await?;
    promises::check(&mut session).await?;
    check_version(&mut session).await?;
    drop(session);
    MIGRATIONS.run(&pool).await.context("migrating the database")?;
    sqlx::query("INSERT INTO logs SELECT generate_series(1, $1) WHERE NOT EXISTS (SELECT FROM logs)")
        .bind(i32::from(logs))
        .execute(&pool)
        .await?;
    pool.close().await;
    Ok(())
}

/// Beside a newer version this one goes on working, unless the newer one has changed what this one relies on.
async fn check_version(session: &mut PgConnection) -> Result<()> {
    let is_new: bool =
        sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NULL").fetch_one(&mut *session).await?;
    if is_new {
        return Ok(());
    }
    let known: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
    let breaking: Option<i64> = sqlx::query_scalar(
        "SELECT min(version) FROM _sqlx_migrations WHERE version <> ALL ($1) AND starts_with(description, $2)",
    )
    .bind(known)
    .bind(BREAKING)
    .fetch_one(session)
    .await?;
    match breaking {
        None => Ok(()),
        Some(version) => bail!(
            "a newer version has changed this database (migration {version}) in a way that this version would break \
             on; run the newer version"
        ),
    }
}
