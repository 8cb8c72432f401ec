//! Makes the database on first use, configures the server and starts it.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::account::Account;
use super::binaries::Binaries;
use super::layout::{Layout, PORT};
use super::{DATABASE, OWNER_ROLE, Options, PostgresError, guard, server};

/// Superuser of the server, for administration by hand.
const SUPERUSER: &str = "postgres";
/// Name of the user map in `pg_ident.conf`.
const USER_MAP: &str = "omnistream";

/// The server's parallel queries and its own bookkeeping allocate here; below this it fails to start.
const MIN_SHARED_MEMORY_KIB: u64 = 4 * 1024;
const SHARED_MEMORY_DIR: &str = "/dev/shm";

/// The log is kept as one older file when it has grown past this at a start.
const MAX_LOG_BYTES: u64 = 8 * 1024 * 1024;
/// How much of the log an error quotes.
const LOG_TAIL_LINES: usize = 12;

/// After the server process alone was killed, its sessions notice within moments; until then PostgreSQL refuses to
/// start beside them.
const SURVIVORS_TIMEOUT: Duration = Duration::from_secs(30);
const SURVIVORS_RETRY_INTERVAL: Duration = Duration::from_millis(250);
const SURVIVORS_MESSAGE: &str = "pre-existing shared memory block";

/// Brings the server and its guard up, or finds them up. The caller holds the start lock and a lease.
pub(super) fn ensure_running(
    layout: &Layout,
    options: &Options,
    start_lock: &File,
    report: &mut dyn FnMut(&str),
) -> Result<(), PostgresError> {
    let existing = layout.existing_major()?.map(|major| (major, layout.data(major)));
    if let Some((_, data)) = &existing
        && server::is_ready(layout, data)?
    {
        return guard::ensure(layout, options);
    }
    check_shared_memory()?;
    let account = Account::choose(existing.as_ref().map(|(_, data)| data.as_path()))?;
    account.check_reach(layout.root())?;
    let is_new = existing.is_none();
    let binaries = Binaries::find(options.bin_dir.as_deref(), &account, existing)?;
    let cluster = Cluster { layout, options, account, binaries };
    cluster.rotate_log()?;
    if is_new {
        report(&format!(
            "Making a new PostgreSQL {} database in {}.",
            cluster.binaries.major,
            layout.root().display()
        ));
        cluster.create(start_lock)?;
    }
    server::remove_stale_lock_files(layout, &cluster.data())?;
    cluster.configure()?;
    // Before the server, so that the server is never without a guard.
    guard::ensure(layout, options)?;
    report(&format!("Starting PostgreSQL {}.", cluster.binaries.major));
    cluster.start(start_lock)
}

/// A server about to be started.
struct Cluster<'a> {
    layout: &'a Layout,
    options: &'a Options,
    account: Account,
    binaries: Binaries,
}

impl Cluster<'_> {
    fn data(&self) -> PathBuf {
        self.layout.data(self.binaries.major)
    }

    /// Makes the database beside its final place and renames it when it is complete, so that a killed attempt
    /// never looks like a database.
    fn create(&self, start_lock: &File) -> Result<(), PostgresError> {
        for leftover in self.layout.leftovers()? {
            // What can't be removed is in nobody's way; a later start tries again.
            let _ = fs::remove_dir_all(leftover);
        }
        let unfinished = self.layout.unfinished(self.binaries.major);
        self.account.own_dir(&unfinished)?;
        self.init(&unfinished, start_lock)?;
        self.make_roles(&unfinished)?;
        let data = self.data();
        fs::rename(&unfinished, &data).map_err(PostgresError::io("rename the new database to", &data))?;
        let root = self.layout.root();
        File::open(root).and_then(|dir| dir.sync_all()).map_err(PostgresError::io("flush the folder", root))
    }

    fn init(&self, dir: &Path, start_lock: &File) -> Result<(), PostgresError> {
        let mut command = self.account.command(&self.binaries.initdb());
        command.args(["--encoding=UTF8", "--lc-messages=C", "--data-checksums", "--no-instructions"]);
        // macOS has no C.UTF-8: bytewise order and Unicode letters are its equivalent.
        command.args(if cfg!(target_os = "macos") {
            &["--locale=C", "--lc-ctype=UTF-8"][..]
        } else {
            &["--locale=C.UTF-8"][..]
        });
        command.args(["--auth-local=peer", "--auth-host=reject", "--username", SUPERUSER]);
        if !self.options.durable {
            command.arg("--no-sync");
        }
        command.arg("--pgdata").arg(dir).stdin(self.share(start_lock)?);
        self.run(command, "Making the database", None)
    }

    /// In single-user mode: no connection, hence no client library, is needed, and it happens before the database
    /// is in its place.
    fn make_roles(&self, dir: &Path) -> Result<(), PostgresError> {
        let mut command = self.account.command(&self.binaries.postgres());
        command.args(["--single", "-c", "exit_on_error=true"]);
        if !self.options.durable {
            command.args(["-c", "fsync=off"]);
        }
        command.arg("-D").arg(dir).arg("postgres").stdin(Stdio::piped());
        self.run(command, "Making the database's roles", Some(&roles_sql()))
    }

    /// Our file is the server's main one and includes PostgreSQL's own: nothing is ever written into the data
    /// folder, which belongs to the less privileged user, and every start brings the settings up to date.
    fn configure(&self) -> Result<(), PostgresError> {
        self.account.own_dir(&self.layout.socket_dir())?;
        write_readable(&self.layout.hba(), &format!("local all all peer map={USER_MAP}\n"))?;
        let mut ident = String::new();
        for name in self.account.names() {
            for role in [OWNER_ROLE, SUPERUSER] {
                ident.push_str(&format!("{USER_MAP} \"{name}\" {role}\n"));
            }
        }
        write_readable(&self.layout.ident(), &ident)?;
        let settings = settings(self.layout, &self.data(), self.options.durable);
        write_readable(&self.layout.config(), &settings)
    }

    fn start(&self, start_lock: &File) -> Result<(), PostgresError> {
        let deadline = Instant::now() + SURVIVORS_TIMEOUT;
        loop {
            let mut command = self.account.command(&self.binaries.pg_ctl());
            command.args(["start", "--wait", "--silent", "--timeout"]);
            command.arg(server::READY_TIMEOUT.as_secs().to_string());
            command.arg("--pgdata").arg(self.data());
            let config = shell_quote(&self.layout.config().to_string_lossy());
            command.arg("--options").arg(format!("-c config_file={config}"));
            command.stdin(self.share(start_lock)?);
            match self.run(command, "Starting PostgreSQL", None) {
                Err(PostgresError::Failed { tail, .. })
                    if tail.contains(SURVIVORS_MESSAGE) && Instant::now() < deadline =>
                {
                    sleep(SURVIVORS_RETRY_INTERVAL);
                }
                outcome => return outcome,
            }
        }
    }

    /// The start lock as a command's standard input, which initdb and pg_ctl neither read nor pass on: if this process
    /// is killed, nobody touches the half-done work before the command is done too.
    fn share(&self, start_lock: &File) -> Result<Stdio, PostgresError> {
        let path = self.layout.start_lock();
        start_lock.try_clone().map(Stdio::from).map_err(PostgresError::io("share the lock", &path))
    }

    /// Runs a command whose output goes to the log: a pipe would stay open as long as the server lives.
    fn run(
        &self,
        mut command: Command,
        step: &'static str,
        input: Option<&str>,
    ) -> Result<(), PostgresError> {
        let path = self.layout.log();
        let log = guard::open_log(self.layout)?;
        let before = log.metadata().map_err(PostgresError::io("look at", &path))?.len();
        let errors = log.try_clone().map_err(PostgresError::io("open", &path))?;
        let program = PathBuf::from(command.get_program());
        let mut child =
            command.stdout(log).stderr(errors).spawn().map_err(PostgresError::io("run", &program))?;
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            match stdin.write_all(input.as_bytes()) {
                // It ended early; its exit status and the log say why.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                written => written.map_err(PostgresError::io("write to", &program))?,
            }
        }
        let status = child.wait().map_err(PostgresError::io("wait for", &program))?;
        if status.success() {
            return Ok(());
        }
        let tail = log_since(&path, before);
        Err(PostgresError::Failed { step, outcome: status.to_string(), log: path, tail })
    }

    fn rotate_log(&self) -> Result<(), PostgresError> {
        let path = self.layout.log();
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > MAX_LOG_BYTES) {
            fs::rename(&path, self.layout.previous_log()).map_err(PostgresError::io("rename", &path))?;
        }
        Ok(())
    }
}

/// One statement per line, as single-user mode wants it.
fn roles_sql() -> String {
    // The migrations make the roles that the program works as.
    format!(
        "CREATE ROLE {OWNER_ROLE} LOGIN NOSUPERUSER NOBYPASSRLS CREATEDB CREATEROLE;\n\
         CREATE DATABASE {DATABASE} OWNER {OWNER_ROLE};\n"
    )
}

/// The server's configuration file.
pub(super) fn settings(layout: &Layout, data: &Path, durable: bool) -> String {
    let quoted = |path: PathBuf| format!("'{}'", path.to_string_lossy().replace('\'', "''"));
    let included = quoted(data.join("postgresql.conf"));
    let socket_dir = layout.socket_dir().to_string_lossy().replace('\'', "''");
    let (hba, ident) = (quoted(layout.hba()), quoted(layout.ident()));
    let safety = if durable { "on" } else { "off" };
    // Throw-away data lives in memory, so its log is kept small.
    // One server serves many test programs at once, each with several programs under test.
    let connections = if durable { 200 } else { 1_000 };
    let (max_wal, min_wal) = if durable { ("2GB", "80MB") } else { ("256MB", "32MB") };
    format!(
        "# Written at every start; changes here are lost. ALTER SYSTEM overrides it.\n\
         include {included}\n\
         \n\
         listen_addresses = ''\n\
         port = {PORT}\n\
         unix_socket_directories = '\"{socket_dir}\"'\n\
         unix_socket_permissions = 0700\n\
         hba_file = {hba}\n\
         ident_file = {ident}\n\
         \n\
         fsync = {safety}\n\
         synchronous_commit = {safety}\n\
         full_page_writes = {safety}\n\
         wal_level = logical\n\
         max_wal_size = {max_wal}\n\
         min_wal_size = {min_wal}\n\
         \n\
         shared_buffers = 128MB\n\
         max_connections = {connections}\n\
         jit = off\n\
         timezone = 'UTC'\n\
         \n\
         # Details and statements of errors would put personal data into the log.\n\
         log_timezone = 'UTC'\n\
         log_destination = 'stderr'\n\
         logging_collector = off\n\
         log_line_prefix = '%m [%p] '\n\
         log_error_verbosity = terse\n\
         log_min_error_statement = panic\n\
         lc_messages = 'C'\n"
    )
}

/// As one word of the shell through which pg_ctl starts the server.
pub(super) fn shell_quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn write_readable(path: &Path, text: &str) -> Result<(), PostgresError> {
    const READABLE_MODE: u32 = 0o644;
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(READABLE_MODE)))
        .map_err(PostgresError::io("write", path))
}

/// The last lines that were appended to the log after its first `before` bytes.
fn log_since(path: &Path, before: u64) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let fresh = usize::try_from(before).ok().and_then(|before| bytes.get(before..)).unwrap_or(&bytes);
    let text = String::from_utf8_lossy(fresh);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

/// Without enough of it PostgreSQL dies with a bus error, which explains nothing.
fn check_shared_memory() -> Result<(), PostgresError> {
    let Ok(stat) = nix::sys::statvfs::statvfs(SHARED_MEMORY_DIR) else {
        return Ok(());
    };
    // The width of these fields differs between systems.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    let kib = stat.blocks() as u64 * stat.fragment_size() as u64 / 1024;
    if kib < MIN_SHARED_MEMORY_KIB {
        return Err(PostgresError::SmallSharedMemory { kib, needed_kib: MIN_SHARED_MEMORY_KIB });
    }
    Ok(())
}
