//! The guard: a small process of its own that stops the server when its last user is gone.
//!
//! It can't be a thread of a user, because a user may be killed at any moment. It waits for the lease, which the
//! kernel hands over as soon as the last process that shared it ends, for whatever reason.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use super::layout::Layout;
use super::{Options, PostgresError, locks, server};

/// The hidden subcommand that [`run_guard`] serves; its one argument is the data folder.
pub const GUARD_SUBCOMMAND: &str = "postgres-guard";

/// What the guard prints once it holds its lock.
const READY: &str = "ready";

/// Runs the guard of `data_dir` until the server is unused and stopped.
///
/// Call it first thing in `main`, before threads, configuration and signal handlers.
pub fn run_guard(data_dir: &Path) -> ExitCode {
    match watch(data_dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The guard of PostgreSQL gives up: {error}");
            ExitCode::FAILURE
        }
    }
}

fn watch(data_dir: &Path) -> Result<(), PostgresError> {
    // A session of its own: neither Ctrl-C nor a closing terminal reaches the guard. It is refused only to the
    // leader of a process group, which somebody started by hand and may end as he likes.
    let _ = nix::unistd::setsid();
    let layout = Layout::of(data_dir);
    let guard = locks::try_exclusive(&layout.guard_lock())?;
    announce().map_err(PostgresError::io("answer the starter of the guard of", data_dir))?;
    let Some(guard) = guard else {
        return Ok(());
    };
    loop {
        // Only a wait: a user who is starting holds the start lock and must be able to share the lease.
        drop(locks::exclusive(&layout.lease_lock())?);
        if let Some(unused) = stop_if_unused(&layout)? {
            // Whoever gets the start lock next must see that this guard is gone.
            drop(guard);
            drop(unused);
            return Ok(());
        }
    }
}

fn announce() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{READY}")?;
    stdout.flush()
}

/// Proof that nobody uses the server, or can begin to. Fields are dropped in this order.
pub(super) struct Unused {
    _lease: File,
    _start: File,
}

/// Stops the server if nobody holds a lease; `None` if somebody does.
pub(super) fn stop_if_unused(layout: &Layout) -> Result<Option<Unused>, PostgresError> {
    let start = locks::exclusive(&layout.start_lock())?;
    let Some(lease) = locks::try_exclusive(&layout.lease_lock())? else {
        return Ok(None);
    };
    if let Some(major) = layout.existing_major()? {
        server::stop(layout, &layout.data(major))?;
    }
    Ok(Some(Unused { _lease: lease, _start: start }))
}

/// Starts a guard unless one is there. The caller holds the start lock and a lease.
pub(super) fn ensure(layout: &Layout, options: &Options) -> Result<(), PostgresError> {
    let unguarded = locks::try_exclusive(&layout.guard_lock())?.is_some();
    if unguarded { spawn(layout, options) } else { Ok(()) }
}

fn spawn(layout: &Layout, options: &Options) -> Result<(), PostgresError> {
    let log = layout.log();
    let failed = |reason: String| PostgresError::Guard { reason, log: log.clone() };
    let program = match &options.guard_program {
        Some(program) => program.clone(),
        None => this_program().map_err(|error| failed(error.to_string()))?,
    };
    let errors = open_log(layout)?;
    let mut child = Command::new(&program)
        .arg(GUARD_SUBCOMMAND)
        .arg(layout.data_dir())
        // It needs none of the caller's settings, and some of them are secret.
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .map_err(|error| failed(format!("{}: {error}", program.display())))?;
    let mut answer = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut answer).map_err(|error| failed(error.to_string()))?;
    }
    // Collects the guard's exit status if it ends before this process does.
    std::thread::spawn(move || child.wait());
    if answer.trim_end() != READY {
        return Err(failed(format!("{} answered {answer:?} instead of {READY:?}", program.display())));
    }
    Ok(())
}

/// The running executable, even if a new build has replaced its file.
fn this_program() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let image = Path::new("/proc/self/exe");
    Ok(if !program.exists() && image.exists() { image.to_path_buf() } else { program })
}

/// The log of the server and of the guard, for appending.
pub(super) fn open_log(layout: &Layout) -> Result<File, PostgresError> {
    let path = layout.log();
    OpenOptions::new().append(true).create(true).open(&path).map_err(PostgresError::io("open", &path))
}
