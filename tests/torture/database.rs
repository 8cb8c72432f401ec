//! A PostgreSQL of the run's own, with its durability on, that is killed and started again.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use tokio::task::JoinHandle;

use super::fleet::unix;
use crate::support::cluster::postgres::{Options, OwnPostgres};

/// How to hurt it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL for the server; its sessions end by themselves.
    Server,
    /// SIGKILL for one session: the server ends all others and recovers by itself.
    Session,
}

pub struct Database {
    own: Arc<OwnPostgres>,
    folder: PathBuf,
    /// When a killed server is started again.
    start_at: Option<Instant>,
    starting: Option<JoinHandle<()>>,
}

impl Database {
    pub async fn start(folder: &Path) -> Self {
        // Root's server runs as another user, who must be able to pass through.
        let mode = if nix::unistd::geteuid().is_root() { 0o711 } else { 0o700 };
        DirBuilder::new().recursive(true).mode(mode).create(folder).expect("a folder for the run");
        let guard_program = Some(PathBuf::from(env!("CARGO_BIN_EXE_omnistream")));
        let options = Options { guard_program, ..Options::default() };
        let dir = folder.to_owned();
        let start = move || OwnPostgres::start(&dir, options, &mut |_| {}).expect("PostgreSQL starts");
        let own = tokio::task::spawn_blocking(start).await.expect("no panic while starting PostgreSQL");
        Self { own: Arc::new(own), folder: folder.to_owned(), start_at: None, starting: None }
    }

    pub fn url(&self) -> &str {
        self.own.url()
    }

    pub fn is_up(&self) -> bool {
        self.start_at.is_none() && self.starting.is_none()
    }

    /// Answers whether there was something to hit. A killed server is started again after the pause.
    pub fn hit(&mut self, blow: Blow, pause: Duration) -> bool {
        let Some(server) = self.server_pid().filter(|_| self.is_up()) else { return false };
        let victim = match blow {
            Blow::Server => Some(server),
            Blow::Session => sessions_of(server).into_iter().next(),
        };
        let Some(victim) = victim else { return false };
        // It may have ended in this moment.
        let hit = kill(unix(victim), Signal::SIGKILL).is_ok();
        if hit && blow == Blow::Server {
            self.start_at = Some(Instant::now() + pause);
        }
        hit
    }

    /// Starts a killed server again when it is time to.
    pub fn tend(&mut self, now: Instant) {
        // A start that came while the killed server was still ending found it running.
        if self.is_up() && self.server_pid().is_none() {
            self.start_at = Some(now);
        }
        if self.start_at.is_some_and(|at| at <= now) {
            self.start_at = None;
            let own = Arc::clone(&self.own);
            self.starting = Some(tokio::task::spawn_blocking(move || {
                own.ensure_running(&mut |_| {}).expect("PostgreSQL starts again");
            }));
        }
        if self.starting.as_ref().is_some_and(JoinHandle::is_finished) {
            self.starting = None;
        }
    }

    /// Stops the server and removes everything.
    pub async fn destroy(self) {
        let own = Arc::into_inner(self.own).expect("nobody is starting it");
        let closed = tokio::task::spawn_blocking(move || own.close()).await;
        closed.expect("no panic").expect("PostgreSQL stops");
        fs::remove_dir_all(&self.folder).expect("the run's folder is ours");
    }

    /// As its pid file says, if the process is a PostgreSQL.
    fn server_pid(&self) -> Option<u32> {
        let entries = fs::read_dir(self.folder.join("postgres")).ok()?;
        let mut files = entries.filter_map(|entry| Some(entry.ok()?.path().join("postmaster.pid")));
        let pid = files.find_map(|file| fs::read_to_string(file).ok()?.lines().next()?.parse().ok())?;
        is_running(pid).then_some(pid)
    }
}

/// Whether this is a PostgreSQL, and not one that has been killed and is only to be collected yet.
fn is_running(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.contains(" (postgres) ") && !status.contains(") Z ") && !status.contains(") X ")
}

/// The processes that serve clients.
fn sessions_of(server: u32) -> Vec<u32> {
    let tasks = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap_or_default();
    let is_session = |pid: &u32| {
        let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&title).contains("omnistream_owner")
    };
    tasks.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(is_session).collect()
}
