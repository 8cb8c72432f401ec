//! What can keep PostgreSQL from running, in sentences that tell the reader what to do.

use std::io;
use std::path::{Path, PathBuf};

use super::binaries::MIN_MAJOR;
use super::layout::MAX_SOCKET_PATH_BYTES;

/// Why the program's own PostgreSQL doesn't run.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error(
        "PostgreSQL {MIN_MAJOR} or newer was not found (searched {searched}). Install it with the system's package \
         manager (Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; macOS: brew \
         install postgresql@17), or set DATABASE_URL to use a server of your own."
    )]
    NoBinaries { searched: String },
    #[error(
        "The database in {} was made by PostgreSQL {needed}, but only {found} is installed. Install PostgreSQL \
         {needed}, or move the data to the newer version with pg_dump or pg_upgrade.",
        data.display()
    )]
    WrongMajor { data: PathBuf, needed: u32, found: String },
    #[error(
        "User id {uid} has no entry in the password database (/etc/passwd), and PostgreSQL refuses to run for a \
         nameless user. Add the user, or run the program as one that has a name."
    )]
    NoPasswdEntry { uid: u32 },
    #[error(
        "PostgreSQL refuses to run as root, and neither of the users postgres and nobody exists to run it. \
         Create one (useradd --system postgres) or start the program as an ordinary user."
    )]
    NoUnprivilegedUser,
    #[error(
        "PostgreSQL refuses to run as root and so runs as the user {user}, who can't enter {}. Set \
         OMNISTREAM_DATA_DIR to a folder that every user can pass through, for example /var/lib/omnistream.",
        dir.display()
    )]
    Unreachable { dir: PathBuf, user: String },
    #[error(
        "The database in {} belongs to user id {owner}, and the program runs as user id {uid}. Run it as that \
         user, or set OMNISTREAM_DATA_DIR to another folder.",
        data.display()
    )]
    ForeignOwner { data: PathBuf, owner: u32, uid: u32 },
    #[error(
        "The path of PostgreSQL's socket, {}, has {length} bytes; the system allows {MAX_SOCKET_PATH_BYTES}. \
         Set OMNISTREAM_DATA_DIR to a folder with a shorter path.",
        path.display()
    )]
    SocketPathTooLong { path: PathBuf, length: usize },
    #[error(
        "The data folder {} can't be written into PostgreSQL's configuration: its path must be UTF-8 and free of \
         line breaks and double quotes. Set OMNISTREAM_DATA_DIR to a plainer path.",
        path.display()
    )]
    UnusablePath { path: PathBuf },
    #[error(
        "/dev/shm holds only {kib} kB of shared memory, and PostgreSQL needs {needed_kib} kB. Enlarge it: in Docker \
         with --shm-size=256m, elsewhere with: mount -o remount,size=256m /dev/shm"
    )]
    SmallSharedMemory { kib: u64, needed_kib: u64 },
    #[error(
        "There is no home folder to keep the data in: neither XDG_DATA_HOME nor HOME is an absolute path. Set \
         OMNISTREAM_DATA_DIR."
    )]
    NoHome,
    #[error("{step} failed ({outcome}). PostgreSQL said, in {}:\n{tail}", log.display())]
    Failed { step: &'static str, outcome: String, log: PathBuf, tail: String },
    #[error("The process that watches over PostgreSQL did not start: {reason}. More may be in {}.", log.display())]
    Guard { reason: String, log: PathBuf },
    #[error("PostgreSQL (process {pid}) did not become ready within {seconds} s. See {}.", log.display())]
    NotReady { pid: i32, seconds: u64, log: PathBuf },
    #[error("PostgreSQL (process {pid}) did not stop. See {}.", log.display())]
    NotStopped { pid: i32, log: PathBuf },
    #[error("Could not {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl PostgresError {
    /// For `map_err`: says what was being done, and to which file, when the system refused.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}
