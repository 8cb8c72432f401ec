//! The secret key: configured, or generated once into the data folder.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};

const FILE: &str = "secret.key";
const BYTES: usize = 32;

/// # Errors
/// When the file can neither be read nor written.
pub fn load(configured: Option<&str>, data_dir: &Path) -> Result<Vec<u8>> {
    if let Some(secret) = configured {
        return Ok(secret.as_bytes().to_vec());
    }
    std::fs::create_dir_all(data_dir).with_context(|| format!("creating {}", data_dir.display()))?;
    let path = data_dir.join(FILE);
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => {
            let secret = hex::encode(rand::random::<[u8; BYTES]>());
            file.write_all(secret.as_bytes())?;
            file.sync_all()?;
            Ok(secret.into_bytes())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let mut secret = Vec::new();
            std::fs::File::open(&path)?.read_to_end(&mut secret)?;
            Ok(secret)
        }
        Err(error) => Err(error).with_context(|| format!("writing {}", path.display())),
    }
}
