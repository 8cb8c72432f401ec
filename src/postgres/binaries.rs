//! Finds PostgreSQL's programs on the system.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::PostgresError;
use super::account::Account;

/// The oldest major version that the product's SQL runs on.
pub(super) const MIN_MAJOR: u32 = 15;

const PROGRAMS: [&str; 3] = ["postgres", "initdb", "pg_ctl"];

/// Folders where packages put what they don't put on `PATH`; `*` stands for any name with that beginning and end.
const USUAL_FOLDERS: [&str; 9] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/lib/postgresql*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/usr/local/pgsql/bin",
    "/usr/local/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

/// The programs of one installed major version.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    dir: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    /// The newest usable version, or exactly `needed` where a database of that version exists in `data`.
    ///
    /// # Errors
    /// `NoBinaries` when nothing new enough is there, `WrongMajor` when the needed one isn't.
    pub(super) fn find(
        setting: Option<&Path>,
        account: &Account,
        existing: Option<(u32, PathBuf)>,
    ) -> Result<Self, PostgresError> {
        let folders = candidate_folders(setting);
        let found: Vec<Self> = folders.iter().filter_map(|dir| Self::inspect(dir, account)).collect();
        let Some((needed, data)) = existing else {
            let newest = found.into_iter().max_by_key(|binaries| binaries.major);
            return newest.ok_or_else(|| PostgresError::NoBinaries { searched: searched(setting) });
        };
        if found.is_empty() {
            return Err(PostgresError::NoBinaries { searched: searched(setting) });
        }
        let mut majors: Vec<u32> = found.iter().map(|binaries| binaries.major).collect();
        majors.sort_unstable();
        majors.dedup();
        found.into_iter().find(|binaries| binaries.major == needed).ok_or_else(|| {
            let found = majors.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            PostgresError::WrongMajor { data, needed, found: format!("PostgreSQL {found}") }
        })
    }

    /// Asks the server program itself, as the user who will run it: one he can't execute is none.
    fn inspect(dir: &Path, account: &Account) -> Option<Self> {
        let output =
            account.command(&dir.join("postgres")).arg("--version").stdin(Stdio::null()).output().ok()?;
        let major = parse_major(&String::from_utf8_lossy(&output.stdout))?;
        (major >= MIN_MAJOR).then(|| Self { dir: dir.to_path_buf(), major })
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }

    pub(super) fn pg_ctl(&self) -> PathBuf {
        self.dir.join("pg_ctl")
    }
}

fn searched(setting: Option<&Path>) -> String {
    match setting {
        Some(dir) => dir.display().to_string(),
        None => format!("PATH, {}", USUAL_FOLDERS.join(", ")),
    }
}

/// Folders that hold all of [`PROGRAMS`], each once, `PATH` first.
fn candidate_folders(setting: Option<&Path>) -> Vec<PathBuf> {
    let folders = match setting {
        Some(dir) => vec![dir.to_path_buf()],
        None => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let usual = USUAL_FOLDERS.iter().flat_map(|pattern| expand(pattern));
            std::env::split_paths(&path).filter(|dir| dir.is_absolute()).chain(usual).collect()
        }
    };
    let mut seen = HashSet::new();
    folders
        .into_iter()
        .filter(|dir| PROGRAMS.iter().all(|program| dir.join(program).is_file()))
        .filter(|dir| seen.insert(fs::canonicalize(dir).unwrap_or_else(|_| dir.clone())))
        .collect()
}

/// The existing paths that match a pattern with at most one `*`, which stays within one path segment.
pub(super) fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![PathBuf::from(pattern)];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let rest = after.trim_start_matches('/');
    let Ok(entries) = fs::read_dir(format!("{parent}/")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)))
        .map(|entry| if rest.is_empty() { entry.path() } else { entry.path().join(rest) })
        .filter(|path| path.exists())
        .collect()
}

/// From `postgres (PostgreSQL) 15.18 (Debian …)` or `… 18beta1`.
pub(super) fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let digits = number.split(|character: char| !character.is_ascii_digit()).next()?;
    digits.parse().ok()
}
