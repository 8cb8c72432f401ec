//! Kernel file locks (`flock`): they end with the process that holds them, so a crash never leaves one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::PostgresError;

/// Waits until nobody else holds the lock, then holds it until the file is dropped.
pub(super) fn exclusive(path: &Path) -> Result<File, PostgresError> {
    let file = open(path)?;
    wait(|| file.lock()).map_err(PostgresError::io("lock", path))?;
    Ok(file)
}

/// Waits until nobody holds the lock exclusively, then shares it until the file is dropped.
pub(super) fn shared(path: &Path) -> Result<File, PostgresError> {
    let file = open(path)?;
    wait(|| file.lock_shared()).map_err(PostgresError::io("lock", path))?;
    Ok(file)
}

/// The lock if it is free right now, `None` if anybody else holds it.
pub(super) fn try_exclusive(path: &Path) -> Result<Option<File>, PostgresError> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(PostgresError::io("lock", path)(source)),
    }
}

fn open(path: &Path) -> Result<File, PostgresError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(PostgresError::io("open the lock file", path))
}

/// A signal may interrupt the wait; only the lock itself ends it.
fn wait(mut lock: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match lock() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
