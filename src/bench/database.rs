//! The database of one run: beside the installation's own, never in it.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::database;
use crate::postgres::{self, OwnPostgres};
use crate::settings::Settings;

pub struct BenchDatabase {
    name: String,
    url: String,
    /// Signs in where the installation would, to make and drop.
    admin: PgConnectOptions,
    own: Option<OwnPostgres>,
}

/// What the figures depend on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Server {
    pub postgresql: String,
    pub fsync: String,
    pub synchronous_commit: String,
    pub full_page_writes: String,
    /// Processors of the machine that runs the benchmark.
    pub processors: usize,
    /// Sessions that the server still had to give.
    #[serde(skip)]
    pub free_connections: u32,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { postgresql, fsync, synchronous_commit, full_page_writes, processors, .. } = self;
        write!(
            f,
            "PostgreSQL {postgresql}, fsync {fsync}, synchronous_commit {synchronous_commit}, full_page_writes \
             {full_page_writes}; {processors} processors"
        )
    }
}

impl BenchDatabase {
    /// # Errors
    /// When the server can't be reached, or its role may not create databases.
    pub async fn create(settings: &Settings) -> Result<Self> {
        let (url, own) = match &settings.database_url {
            Some(url) => (url.clone(), None),
            None => {
                let dir = database::data_dir(settings)?;
                let start =
                    move || OwnPostgres::start(&dir, postgres::Options::default(), &mut super::progress);
                let own = tokio::task::spawn_blocking(start).await??;
                (own.url().to_owned(), Some(own))
            }
        };
        let admin = PgConnectOptions::from_str(&url).context("DATABASE_URL is not a PostgreSQL URL")?;
        let name = format!("omnistream_bench_{}", std::process::id());
        let mut connection = PgConnection::connect_with(&admin).await.context("connecting to PostgreSQL")?;
        // The name is ours, of letters, digits and underscores. One that stayed had a killed owner with our number.
        execute(&mut connection, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        let made = execute(&mut connection, format!("CREATE DATABASE {name}")).await;
        made.context("making a database for the benchmark; the role of DATABASE_URL needs CREATEDB")?;
        connection.close().await?;
        let url = admin.clone().database(&name).to_url_lossy().to_string();
        Ok(Self { name, url, admin, own })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same settings on this database.
    pub fn settings(&self, settings: &Settings) -> Settings {
        Settings { database_url: Some(self.url.clone()), ..settings.clone() }
    }

    /// # Errors
    /// Database errors.
    pub async fn server(&self) -> Result<Server> {
        /// Left for whoever else needs the server during the run, and for its superusers.
        const RESERVE: i64 = 50;
        let mut connection = PgConnection::connect_with(&self.admin).await?;
        let row: (String, String, String, String, i64) = sqlx::query_as(
            "SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit'),
                 current_setting('full_page_writes'),
                 current_setting('max_connections')::bigint - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')",
        )
        .fetch_one(&mut connection)
        .await?;
        connection.close().await?;
        let (postgresql, fsync, synchronous_commit, full_page_writes, free) = row;
        let processors = std::thread::available_parallelism().map_or(1, Into::into);
        let free_connections = u32::try_from((free - RESERVE).max(1)).unwrap_or(u32::MAX);
        Ok(Server { postgresql, fsync, synchronous_commit, full_page_writes, processors, free_connections })
    }

    /// # Errors
    /// When it could not be dropped: its name is in the message.
    pub async fn drop(self) -> Result<()> {
        let dropping = async {
            let mut connection = PgConnection::connect_with(&self.admin).await?;
            // Pools of this process would come back at once.
            execute(&mut connection, format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", self.name)).await?;
            // Not WITH (FORCE): that would end a vacuum too, which only a superuser may, and without it the vacuum gives way.
            sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = current_user",
            )
            .bind(&self.name)
            .execute(&mut connection)
            .await?;
            execute(&mut connection, format!("DROP DATABASE {}", self.name)).await?;
            connection.close().await
        };
        dropping.await.with_context(|| format!("dropping the benchmark's database {}", self.name))?;
        if let Some(own) = self.own {
            tokio::task::spawn_blocking(move || own.close()).await??;
        }
        Ok(())
    }
}

async fn execute(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(|_| ())
}
