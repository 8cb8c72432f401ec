//! The program's own PostgreSQL, so that `omnistream serve` works on a laptop with nothing configured.
//!
//! It is a real PostgreSQL found on the system, with its durability settings on, in a data folder of ours and
//! reachable over a unix socket only. Several processes share one server: the first starts it, later ones
//! attach, and it is stopped when the last is gone, however that one died.
//!
//! ```text
//! <data dir>/postgres/
//!   start.lock        held while somebody looks at, starts or stops the server
//!   lease.lock        shared by every process for as long as it uses the server
//!   guard.lock        held by the guard process, which waits for the last lease to go
//!   omnistream.conf, pg_hba.conf, pg_ident.conf    written at every start
//!   server.log        what PostgreSQL and the guard say
//!   run/              the unix socket
//!   data-15/          the database itself, one folder per major version
//! ```
//!
//! The locks are kernel locks: they vanish with their holder, so no crash leaves one behind. Lock order is
//! `start`, then `lease`; nobody waits for `start` while holding `lease` exclusively.

mod account;
mod binaries;
mod cluster;
mod error;
mod guard;
mod layout;
mod locks;
mod server;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use error::PostgresError;
pub use guard::{GUARD_SUBCOMMAND, run_guard};

use layout::Layout;

/// Owns the database; the program signs in as this role, migrates, and then works as a lesser one.
pub const OWNER_ROLE: &str = "omnistream_owner";
/// The one database of the product.
pub const DATABASE: &str = "omnistream";

/// How to run the server. [`Options::default`] is what the product uses.
#[derive(Clone, Debug)]
pub struct Options {
    /// `false` switches `fsync`, `synchronous_commit` and `full_page_writes` off: for throw-away test data only.
    pub durable: bool,
    /// Folder of `postgres`, `initdb` and `pg_ctl`; `None` searches `PATH` and the system's usual folders.
    pub bin_dir: Option<PathBuf>,
    /// The program that understands the guard's subcommand; `None` is the running executable.
    pub guard_program: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { durable: true, bin_dir: None, guard_program: None }
    }
}

/// A lease on the running server. While any process holds one the server stays up; after the last one is
/// dropped (or its process died) the guard stops it.
#[derive(Debug)]
pub struct OwnPostgres {
    layout: Layout,
    options: Options,
    url: String,
    lease: File,
}

impl OwnPostgres {
    /// Starts the server in `data_dir`, creating the database on first use, or attaches to the running one.
    ///
    /// Blocks until the server accepts connections: about 0.7 s the first time, 0.1 s later, longer after a
    /// crash while PostgreSQL replays its log. `report` gets a plain sentence before each step that takes time.
    ///
    /// # Errors
    /// [`PostgresError`], whose text says what to do about it.
    pub fn start(
        data_dir: &Path,
        options: Options,
        report: &mut dyn FnMut(&str),
    ) -> Result<Self, PostgresError> {
        let layout = Layout::prepare(data_dir)?;
        let start = locks::exclusive(&layout.start_lock())?;
        let lease = locks::shared(&layout.lease_lock())?;
        cluster::ensure_running(&layout, &options, &start, report)?;
        let url = layout.url(OWNER_ROLE, DATABASE);
        Ok(Self { layout, options, url, lease })
    }

    /// URL of the database as [`OWNER_ROLE`], for migrations and administration.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Starts the server and the guard again if either died; does nothing while both are well.
    ///
    /// # Errors
    /// As [`OwnPostgres::start`].
    pub fn ensure_running(&self, report: &mut dyn FnMut(&str)) -> Result<(), PostgresError> {
        let start = locks::exclusive(&self.layout.start_lock())?;
        cluster::ensure_running(&self.layout, &self.options, &start, report)
    }

    /// Gives the lease back and, if it was the last one, stops the server before returning.
    ///
    /// Dropping is enough where the guard outlives the program. In a container whose first process is the
    /// program it does not, and this spares the next start a crash recovery.
    ///
    /// # Errors
    /// When the locks can't be used or the server doesn't stop.
    pub fn close(self) -> Result<(), PostgresError> {
        let Self { layout, lease, .. } = self;
        drop(lease);
        guard::stop_if_unused(&layout).map(|_stopped| ())
    }
}

/// The data folder where none is configured: `/var/lib/omnistream` for root (whose home PostgreSQL's own user
/// can't enter), else `$XDG_DATA_HOME/omnistream`, which is `~/.local/share/omnistream` unless set.
///
/// # Errors
/// [`PostgresError::NoHome`] when the user has no home folder.
pub fn default_data_dir() -> Result<PathBuf, PostgresError> {
    if nix::unistd::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/omnistream"));
    }
    layout::user_data_dir(std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME"))
        .ok_or(PostgresError::NoHome)
}
