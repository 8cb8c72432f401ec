//! Where the files of the server are, and the URLs that follow from it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::PostgresError;

/// The kernel's limit for a socket path is 104 bytes on macOS and 108 on Linux, with a closing zero; PostgreSQL
/// also makes `….lock` beside it, so stay below both.
pub(super) const MAX_SOCKET_PATH_BYTES: usize = 100;
/// Part of the socket's file name only: the server doesn't listen on TCP.
pub(super) const PORT: u16 = 5432;

const DATA_PREFIX: &str = "data-";
const UNFINISHED_SUFFIX: &str = ".new";

/// The folder `<data dir>/postgres` and the names in it.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    data_dir: PathBuf,
    root: PathBuf,
}

impl Layout {
    /// Names only; touches no file.
    pub(super) fn of(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_path_buf(), root: data_dir.join("postgres") }
    }

    /// Makes the folders and checks that the paths suit PostgreSQL.
    pub(super) fn prepare(data_dir: &Path) -> Result<Self, PostgresError> {
        let absolute =
            std::path::absolute(data_dir).map_err(PostgresError::io("make an absolute path of", data_dir))?;
        let plain = absolute.to_str().is_some_and(|path| !path.contains(['\n', '\r', '"']));
        if !plain {
            return Err(PostgresError::UnusablePath { path: absolute });
        }
        let layout = Self::of(&absolute);
        layout.check_socket_path()?;
        // As root the server runs under another user, who must be able to pass through, but not to list.
        let mode = if nix::unistd::geteuid().is_root() { 0o711 } else { 0o700 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(&layout.root)
            .map_err(PostgresError::io("create the folder", &layout.root))?;
        Ok(layout)
    }

    fn check_socket_path(&self) -> Result<(), PostgresError> {
        let path = self.socket();
        let length = path.as_os_str().len();
        if length > MAX_SOCKET_PATH_BYTES {
            return Err(PostgresError::SocketPathTooLong { path, length });
        }
        Ok(())
    }

    /// The folder that the user configured.
    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// `<data dir>/postgres`.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn start_lock(&self) -> PathBuf {
        self.root.join("start.lock")
    }

    pub(super) fn lease_lock(&self) -> PathBuf {
        self.root.join("lease.lock")
    }

    pub(super) fn guard_lock(&self) -> PathBuf {
        self.root.join("guard.lock")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("server.log")
    }

    pub(super) fn previous_log(&self) -> PathBuf {
        self.root.join("server.log.1")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.root.join("omnistream.conf")
    }

    pub(super) fn hba(&self) -> PathBuf {
        self.root.join("pg_hba.conf")
    }

    pub(super) fn ident(&self) -> PathBuf {
        self.root.join("pg_ident.conf")
    }

    pub(super) fn socket_dir(&self) -> PathBuf {
        self.root.join("run")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.socket_dir().join(format!(".s.PGSQL.{PORT}"))
    }

    /// Names the process that has the socket.
    pub(super) fn socket_lock(&self) -> PathBuf {
        self.socket_dir().join(format!(".s.PGSQL.{PORT}.lock"))
    }

    /// The database of one major version.
    pub(super) fn data(&self, major: u32) -> PathBuf {
        self.root.join(format!("{DATA_PREFIX}{major}"))
    }

    /// Where this process makes the database of that version. Each process has a place of its own, because helpers
    /// of a killed one may still be clearing up theirs.
    pub(super) fn unfinished(&self, major: u32) -> PathBuf {
        self.root.join(format!("{DATA_PREFIX}{major}{UNFINISHED_SUFFIX}-{}", std::process::id()))
    }

    /// The major version of the existing database. Of several (somebody moved to a newer PostgreSQL and kept the
    /// old files) the newest counts.
    pub(super) fn existing_major(&self) -> Result<Option<u32>, PostgresError> {
        let majors = self.names()?.into_iter().filter_map(|name| {
            let major: u32 = name.to_str()?.strip_prefix(DATA_PREFIX)?.parse().ok()?;
            self.data(major).join("PG_VERSION").exists().then_some(major)
        });
        Ok(majors.max())
    }

    /// What killed attempts to make a database left behind.
    pub(super) fn leftovers(&self) -> Result<Vec<PathBuf>, PostgresError> {
        let unfinished = |name: &OsString| {
            name.to_str()
                .is_some_and(|name| name.starts_with(DATA_PREFIX) && name.contains(UNFINISHED_SUFFIX))
        };
        Ok(self.names()?.into_iter().filter(unfinished).map(|name| self.root.join(name)).collect())
    }

    fn names(&self) -> Result<Vec<OsString>, PostgresError> {
        let names = match fs::read_dir(&self.root) {
            Ok(entries) => entries.map(|entry| entry.map(|entry| entry.file_name())).collect(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        names.map_err(PostgresError::io("list the folder", &self.root))
    }

    /// A URL that sqlx understands. Port and TLS mode are spelled out because sqlx would otherwise take them from
    /// `PGPORT` and `PGSSLMODE`, which speak of some other server.
    pub(super) fn url(&self, role: &str, database: &str) -> String {
        let socket_dir = percent_encode(self.socket_dir().as_os_str().as_bytes());
        let (role, database) = (percent_encode(role.as_bytes()), percent_encode(database.as_bytes()));
        format!("postgres://{role}@localhost:{PORT}/{database}?host={socket_dir}&sslmode=disable")
    }
}

/// `$XDG_DATA_HOME/omnistream`, which the XDG base directory specification lets default to `~/.local/share` and
/// says to ignore when relative.
pub(super) fn user_data_dir(xdg_data_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(xdg_data_home)
        .or_else(|| absolute(home).map(|home| home.join(".local/share")))
        .map(|folder| folder.join("omnistream"))
}

/// RFC 3986 section 2.1, leaving only the unreserved characters as they are.
pub(super) fn percent_encode(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing into a String can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
