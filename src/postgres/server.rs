//! The running server process: whether there is one, whether it is ready, and how to stop it.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PostgresError;
use super::layout::Layout;

/// Longest that another process's start may take; replaying the log after a crash is most of it.
pub(super) const READY_TIMEOUT: Duration = Duration::from_secs(600);
/// A fast stop ends sessions and writes a checkpoint.
const FAST_STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// An immediate stop only ends processes; the next start replays the log.
const IMMEDIATE_STOP_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// What `postmaster.pid` says; the server writes it first and removes it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) pid: i32,
    /// `starting`, `ready`, `stopping`; empty while the file is being written.
    pub(super) status: String,
}

impl PidFile {
    /// The format is PostgreSQL's `utils/pidfile.h`: the process id on line 1, the status on line 8.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let pid = text.lines().next()?.trim().parse().ok()?;
        let status = text.lines().nth(7).unwrap_or("").trim().to_owned();
        Some(Self { pid, status })
    }

    fn read(data: &Path) -> Option<Self> {
        Self::read_from(&data.join("postmaster.pid"))
    }

    /// The socket's lock file begins alike.
    fn read_from(path: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(path).ok()?)
    }
}

/// Waits until the server of `data` is ready.
///
/// Returns `false` if there is none, or it went away while we waited.
pub(super) fn is_ready(layout: &Layout, data: &Path) -> Result<bool, PostgresError> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let Some(file) = PidFile::read(data) else {
            return Ok(false);
        };
        if !is_postmaster(file.pid, data) {
            // A server in another container that shares this folder has no process here, but it answers.
            return Ok(UnixStream::connect(layout.socket()).is_ok());
        }
        if file.status == "ready" {
            return Ok(true);
        }
        if Instant::now() > deadline {
            let seconds = READY_TIMEOUT.as_secs();
            return Err(PostgresError::NotReady { pid: file.pid, seconds, log: layout.log() });
        }
        sleep(POLL_INTERVAL);
    }
}

/// Removes the lock files of the data and of the socket whose number belongs to a stranger by now, or to a killed
/// server that nobody has collected yet: PostgreSQL would take either for a running server and refuse to start. All
/// other leftovers PostgreSQL judges better itself.
pub(super) fn remove_stale_lock_files(layout: &Layout, data: &Path) -> Result<(), PostgresError> {
    for path in [data.join("postmaster.pid"), layout.socket_lock()] {
        let Some(file) = PidFile::read_from(&path) else { continue };
        // A negative number is a single-user server's; that one is somebody's deliberate work.
        let stranger = file.pid > 0 && is_alive(file.pid) && !is_postmaster(file.pid, data);
        if stranger {
            fs::remove_file(&path).map_err(PostgresError::io("remove the stale", &path))?;
        }
    }
    Ok(())
}

/// Stops the server of `data`, if one runs: fast first, immediately if that takes too long.
pub(super) fn stop(layout: &Layout, data: &Path) -> Result<(), PostgresError> {
    let Some(PidFile { pid, .. }) = PidFile::read(data) else {
        return Ok(());
    };
    for (signal, timeout) in [(Signal::SIGINT, FAST_STOP_TIMEOUT), (Signal::SIGQUIT, IMMEDIATE_STOP_TIMEOUT)]
    {
        if !is_postmaster(pid, data) {
            return Ok(());
        }
        // It may have ended since the check, which is what we want anyway.
        let _ = kill(Pid::from_raw(pid), signal);
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            if !is_postmaster(pid, data) {
                return Ok(());
            }
            sleep(POLL_INTERVAL);
        }
    }
    Err(PostgresError::NotStopped { pid, log: layout.log() })
}

fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH)
}

/// Whether that process is the PostgreSQL server of that folder: process ids are reused, so a number alone says
/// nothing.
fn is_postmaster(pid: i32, data: &Path) -> bool {
    if pid <= 0 || !is_alive(pid) {
        return false;
    }
    let Ok(data) = fs::canonicalize(data) else {
        return false;
    };
    let process = Path::new("/proc").join(pid.to_string());
    if process.exists() {
        // The server changes into its data folder.
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        return name.trim_end() == "postgres"
            && fs::read_link(process.join("cwd")).is_ok_and(|dir| dir == data);
    }
    // Systems without /proc, such as macOS: pg_ctl names the folder on the server's command line.
    let listing = Command::new("ps").args(["-ww", "-o", "args=", "-p"]).arg(pid.to_string()).output();
    listing.is_ok_and(|output| {
        let arguments = String::from_utf8_lossy(&output.stdout);
        arguments.contains("postgres") && arguments.contains(&*data.to_string_lossy())
    })
}
