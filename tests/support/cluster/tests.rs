//! The test cluster itself, and the life of the product's own PostgreSQL on real servers.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use super::postgres::PostgresError;
use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// A data folder of its own for one test, removed at its end.
struct DataDir(PathBuf);

impl DataDir {
    fn new(name: &str) -> Self {
        let dir = memory_dir().join(format!("omnistream-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Self(dir)
    }

    fn start(&self) -> Result<OwnPostgres, PostgresError> {
        OwnPostgres::start(&self.0, Options { durable: true, ..test_options() }, &mut |_| {})
    }

    /// The database's folder, whatever the version.
    fn data(&self) -> Option<PathBuf> {
        let mut paths = fs::read_dir(self.0.join("postgres")).ok()?.flatten().map(|entry| entry.path());
        paths.find(|path| path.join("PG_VERSION").exists())
    }

    fn server_pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.data()?.join("postmaster.pid")).ok()?;
        Some(Pid::from_raw(text.lines().next()?.parse().ok()?))
    }

    /// A foreign process that holds a lease, as a second instance of the program does.
    fn user_process(&self) -> Child {
        let lease = File::open(self.0.join("postgres/lease.lock")).unwrap();
        lease.lock_shared().unwrap();
        Command::new("sleep").arg("600").stdin(Stdio::from(lease)).spawn().unwrap()
    }

    fn wait_until_stopped(&self) {
        wait_until("the guard stops the server", || self.server_pid().is_none());
    }
}

impl Drop for DataDir {
    /// A failed test may still have users; its server is left to its guard.
    fn drop(&mut self) {
        if self.0.exists() && !std::thread::panicking() {
            self.wait_until_stopped();
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

async fn text(url: &str, query: &'static str) -> String {
    let mut connection = connect(url).await;
    sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_new_server_is_durable_and_its_owner_is_no_superuser() {
    let dir = DataDir::new("new");
    let server = dir.start().unwrap();
    let settings =
        "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN
        ('fsync', 'synchronous_commit', 'full_page_writes', 'data_checksums', 'TimeZone', 'wal_level', 'jit',
         'listen_addresses', 'server_encoding')";
    assert_eq!(
        text(server.url(), settings).await,
        "TimeZone=UTC data_checksums=on fsync=on full_page_writes=on jit=off listen_addresses= \
         server_encoding=UTF8 synchronous_commit=on wal_level=logical"
    );
    let powers = "SELECT concat(current_user, ' ', rolsuper, rolbypassrls, rolcreatedb, rolcreaterole) FROM pg_roles WHERE rolname = current_user";
    assert_eq!(text(server.url(), powers).await, format!("{} fftt", postgres::OWNER_ROLE));
    let owner = "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()";
    assert_eq!(text(server.url(), owner).await, postgres::OWNER_ROLE);
}

#[tokio::test]
async fn the_server_outlives_its_starter_and_stops_when_the_last_user_is_killed() {
    let dir = DataDir::new("users");
    let first = dir.start().unwrap();
    let pid = dir.server_pid().unwrap();
    let second = dir.start().unwrap();
    assert_eq!(dir.server_pid(), Some(pid), "the second user attaches");
    let mut last = dir.user_process();
    drop(first);
    drop(second);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(dir.server_pid(), Some(pid), "one user is left");
    last.kill().unwrap();
    last.wait().unwrap();
    dir.wait_until_stopped();
    let again = dir.start().unwrap();
    assert_eq!(text(again.url(), "SELECT 'up'").await, "up");
}

#[tokio::test]
async fn closing_the_last_lease_stops_the_server() {
    let dir = DataDir::new("close");
    let (first, second) = (dir.start().unwrap(), dir.start().unwrap());
    first.close().unwrap();
    assert!(dir.server_pid().is_some(), "the other one still uses it");
    second.close().unwrap();
    // At once, unless a process that another test is just starting still has a copy of the lock: then the guard does it.
    wait_until("the server is gone", || dir.server_pid().is_none());
}

#[tokio::test]
async fn a_killed_server_is_started_again_with_its_data() {
    let dir = DataDir::new("killed");
    let server = dir.start().unwrap();
    let mut owner = connect(server.url()).await;
    execute(&mut owner, "CREATE TABLE kept AS SELECT 'yes' AS answer".into()).await;
    let pid = dir.server_pid().unwrap();
    kill(pid, Signal::SIGKILL).unwrap();
    wait_until("the server is gone", || kill(pid, None).is_err());
    server.ensure_running(&mut |_| {}).unwrap();
    assert_ne!(dir.server_pid(), Some(pid));
    assert_eq!(text(server.url(), "SELECT answer FROM kept").await, "yes");
}

#[tokio::test]
async fn lock_files_that_name_a_living_stranger_do_not_block_the_start() {
    let dir = DataDir::new("stale");
    dir.start().unwrap().close().unwrap();
    let data = dir.data().unwrap();
    let metadata = fs::metadata(&data).unwrap();
    let mut sleep = Command::new("sleep");
    sleep.arg("600");
    if nix::unistd::geteuid().is_root() {
        // PostgreSQL takes only a process of its own user for another server.
        sleep.uid(metadata.uid()).gid(metadata.gid());
    }
    let mut stranger = sleep.spawn().unwrap();
    let line = format!("{}\n{}\n1\n5432\n\n\n  1 1\nready\n", stranger.id(), data.display());
    fs::write(data.join("postmaster.pid"), &line).unwrap();
    fs::write(dir.0.join("postgres/run/.s.PGSQL.5432.lock"), &line).unwrap();
    let server = dir.start();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!(text(server.unwrap().url(), "SELECT 'up'").await, "up");
}

#[test]
fn ten_users_at_once_make_one_database() {
    let dir = DataDir::new("ten");
    std::thread::scope(|scope| {
        let starts: Vec<_> = (0..10).map(|_| scope.spawn(|| dir.start())).collect();
        let servers: Vec<_> = starts.into_iter().map(|start| start.join().unwrap().unwrap()).collect();
        assert_eq!(servers.len(), 10);
    });
}

#[test]
fn missing_programs_and_a_missing_version_are_explained() {
    let dir = DataDir::new("missing");
    let empty = dir.0.join("no-programs");
    fs::create_dir_all(&empty).unwrap();
    let options = Options { bin_dir: Some(empty), ..test_options() };
    let error = OwnPostgres::start(&dir.0, options, &mut |_| {}).unwrap_err();
    assert!(matches!(error, PostgresError::NoBinaries { .. }), "{error}");
    let old = dir.0.join("postgres/data-9");
    fs::create_dir(&old).unwrap();
    fs::write(old.join("PG_VERSION"), "9\n").unwrap();
    let error = dir.start().unwrap_err();
    assert!(matches!(error, PostgresError::WrongMajor { needed: 9, .. }), "{error}");
}

#[tokio::test]
async fn every_test_gets_a_database_of_its_own_that_is_dropped_with_it() {
    let mark = |url: String| async move {
        let mut owner = connect(&url).await;
        execute(&mut owner, "CREATE TABLE migrated ()".into()).await;
        owner.close().await.unwrap();
    };
    let dir = DataDir::new("fresh");
    let cluster = Cluster::start(dir.0.clone(), mark).await;
    let (first, second) = (cluster.fresh_database().await, cluster.fresh_database().await);
    let mut owner = connect(&first.owner_url).await;
    execute(&mut owner, "CREATE TABLE only_here ()".into()).await;
    let found = "SELECT coalesce(to_regclass('only_here')::text, 'absent')";
    assert_eq!(text(&first.owner_url, found).await, "only_here");
    assert_eq!(text(&second.owner_url, found).await, "absent");
    assert_eq!(text(&second.owner_url, "SELECT 'migrated'::regclass::text").await, "migrated");
    let (name, admin_url) = (first.name.clone(), first.admin_url.clone());
    drop(first);
    let mut admin = connect(&admin_url).await;
    assert_eq!(databases(&mut admin, &name).await, Vec::<String>::new());
}
