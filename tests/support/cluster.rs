//! A fresh, migrated database for every test, in milliseconds.
//!
//! One throw-away PostgreSQL in memory serves all test processes of a user, at once or one after the other. It holds
//! a migrated template per state of `migrations/`; a test's database is a file copy of it. The product's own
//! supervisor runs the server and its guard stops it after the last test process.

// The tests use less of it than the program does.
#[allow(dead_code, unused_imports)]
#[path = "../../src/postgres/mod.rs"]
pub mod postgres;
#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;

use postgres::{DATABASE, Options, OwnPostgres};

/// Memory that a run may fill; where less is free the databases live in the temporary folder.
const NEEDED_MEMORY_BYTES: u64 = 1024 * 1024 * 1024;
/// Templates of other states of `migrations/` that stay for the next switch of branches.
const KEPT_TEMPLATES: i64 = 3;
const TEMPLATE_PREFIX: &str = "template_omnistream_c_";
const TEST_PREFIX: &str = "test_omnistream_";

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
static NEXT_DATABASE: AtomicU32 = AtomicU32::new(0);

struct Cluster {
    server: OwnPostgres,
    template: String,
}

/// A database of one test, dropped with this value.
pub struct TestDatabase {
    /// Signs in as the owner of all tables.
    pub owner_url: String,
    name: String,
    admin_url: String,
}

/// A new database with all migrations applied.
///
/// `migrate` gets the owner's URL of an empty database and must have closed its connections when it returns. It
/// runs only when no template of the present `migrations/` exists yet.
///
/// # Panics
/// When the server, a migration or a statement fails: there is nothing to test then.
pub async fn fresh_database<M, F>(migrate: M) -> TestDatabase
where
    M: FnOnce(String) -> F,
    F: Future<Output = ()>,
{
    CLUSTER.get_or_init(|| Cluster::start(private_dir(), migrate)).await.fresh_database().await
}

impl Drop for TestDatabase {
    /// Waits for the drop: hundreds of tests would otherwise pile their databases up in memory.
    fn drop(&mut self) {
        let (name, admin_url) = (self.name.clone(), self.admin_url.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime for one connection").block_on(async {
                let mut admin = connect(&admin_url).await;
                execute(&mut admin, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
            });
        });
        // A failure has printed itself; the next run removes what stayed.
        let _ = dropping.join();
    }
}

impl Cluster {
    async fn start<M, F>(dir: PathBuf, migrate: M) -> Self
    where
        M: FnOnce(String) -> F,
        F: Future<Output = ()>,
    {
        let (server, template_lock) = tokio::task::spawn_blocking(move || {
            let server = OwnPostgres::start(&dir, test_options(), &mut |step| eprintln!("{step}"))
                .expect("PostgreSQL for the tests starts");
            // Of several test processes one makes the template.
            let lock = File::create(dir.join("template.lock")).expect("a lock file in our own folder");
            lock.lock().expect("a kernel lock");
            (server, lock)
        })
        .await
        .expect("no panic while starting PostgreSQL");
        let mut admin = connect(server.url()).await;
        drop_databases_of_dead_processes(&mut admin).await;
        let template = format!("{TEMPLATE_PREFIX}{}", migrations_hash());
        if !databases(&mut admin, &template).await.contains(&template) {
            make_template(&mut admin, server.url(), &template, migrate).await;
        }
        drop(template_lock);
        Self { server, template }
    }

    async fn fresh_database(&self) -> TestDatabase {
        let number = NEXT_DATABASE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{TEST_PREFIX}{}_{number}", std::process::id());
        let admin_url = self.server.url().to_owned();
        let template = &self.template;
        let mut admin = connect(&admin_url).await;
        execute(&mut admin, format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")).await;
        let owner_url = url_of(&admin_url, &name);
        TestDatabase { owner_url, name, admin_url }
    }
}

/// The program under test is its own PostgreSQL's guard; nothing here needs to survive a power cut.
fn test_options() -> Options {
    let guard = PathBuf::from(env!("CARGO_BIN_EXE_omnistream"));
    Options { durable: false, guard_program: Some(guard), ..Options::default() }
}

/// Renamed into place when complete, so that a killed run leaves no half-migrated template.
async fn make_template<M, F>(admin: &mut PgConnection, admin_url: &str, template: &str, migrate: M)
where
    M: FnOnce(String) -> F,
    F: Future<Output = ()>,
{
    let draft = format!("{TEST_PREFIX}{}_template", std::process::id());
    execute(admin, format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)")).await;
    execute(admin, format!("CREATE DATABASE {draft}")).await;
    migrate(url_of(admin_url, &draft)).await;
    execute(admin, format!("ALTER DATABASE {draft} RENAME TO {template}")).await;
    let outdated: Vec<String> = sqlx::query_scalar(
        "SELECT datname::text FROM pg_database
         WHERE starts_with(datname::text, $1) AND datname::text <> $2 ORDER BY oid DESC OFFSET $3",
    )
    .bind(TEMPLATE_PREFIX)
    .bind(template)
    .bind(KEPT_TEMPLATES)
    .fetch_all(&mut *admin)
    .await
    .expect("a list of templates");
    for name in outdated {
        // Another checkout may be copying it at this moment; then it stays until the next time.
        let _ = sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name}")))
            .execute(&mut *admin)
            .await;
    }
}

async fn drop_databases_of_dead_processes(admin: &mut PgConnection) {
    for name in databases(admin, TEST_PREFIX).await {
        let pid = name[TEST_PREFIX.len()..].split('_').next().and_then(|digits| digits.parse().ok());
        let Some(pid) = pid else { continue };
        let is_dead = nix::sys::signal::kill(Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH);
        if is_dead {
            execute(admin, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        }
    }
}

async fn databases(admin: &mut PgConnection, prefix: &str) -> Vec<String> {
    sqlx::query_scalar("SELECT datname::text FROM pg_database WHERE starts_with(datname::text, $1)")
        .bind(prefix)
        .fetch_all(admin)
        .await
        .expect("a list of databases")
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("a connection to the tests' PostgreSQL")
}

/// Names in these statements are made here, of letters, digits and underscores.
async fn execute(connection: &mut PgConnection, statement: String) {
    if let Err(error) = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(connection).await {
        panic!("{statement}: {error}");
    }
}

/// The same URL for another database.
fn url_of(url: &str, database: &str) -> String {
    url.replacen(&format!("/{DATABASE}?"), &format!("/{database}?"), 1)
}

/// All migrations as they were compiled in, as 16 hex digits: the program under test was compiled with the same ones.
fn migrations_hash() -> String {
    static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
    let mut hash = Sha256::new();
    for migration in MIGRATIONS.iter() {
        hash.update(migration.version.to_be_bytes());
        hash.update(&migration.checksum);
    }
    hex::encode(&hash.finalize()[..8])
}

/// A folder in memory that is ours and nobody else's.
fn private_dir() -> PathBuf {
    let uid = nix::unistd::geteuid();
    let dir = memory_dir().join(format!("omnistream-test-{uid}"));
    // Root's server runs as another user, who must be able to pass through.
    let mode = if uid.is_root() { 0o711 } else { 0o700 };
    DirBuilder::new().recursive(true).mode(mode).create(&dir).expect("a folder for the tests");
    let owner = fs::symlink_metadata(&dir).expect("the folder just made").uid();
    assert_eq!(owner, uid.as_raw(), "{} belongs to somebody else; remove it", dir.display());
    dir
}

fn memory_dir() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let has_room = nix::sys::statvfs::statvfs(memory)
        .is_ok_and(|stat| stat.blocks_available() * stat.fragment_size() >= NEEDED_MEMORY_BYTES);
    if has_room { memory.to_path_buf() } else { std::env::temp_dir() }
}
