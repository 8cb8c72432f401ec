//! Places at which a test stops the program ([`Failpoint`]), to see what survives it there.

use std::fs;
use std::path::{Path, PathBuf};

use commands::failpoint::Failpoint;
use uuid::Uuid;

use super::{Server, eventually};

/// The folder through which places are armed; named to the program by [`Places::env`].
pub struct Places(PathBuf);

impl Places {
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("omnistream-places-{}", Uuid::new_v4()));
        for part in ["armed", "held"] {
            fs::create_dir_all(folder.join(part)).expect("a folder");
        }
        Self(folder)
    }

    pub fn env(&self) -> (&str, &str) {
        ("TEST_FAILPOINTS", self.0.to_str().expect("a path in UTF-8"))
    }

    /// Whoever comes there next waits.
    pub fn arm(&self, point: Failpoint) {
        fs::write(self.0.join("armed").join(point.name()), []).expect("a file");
    }

    /// Kills the program at a place that was armed, and starts it again.
    pub async fn kill(&self, server: &mut Server) {
        eventually("it comes to the place", || async { (!self.held().is_empty()).then_some(()) }).await;
        let release = || self.held().iter().for_each(|mark| fs::remove_file(mark).expect("a file"));
        server.restart("serve", release).await;
    }

    fn held(&self) -> Vec<PathBuf> {
        let held = fs::read_dir::<&Path>(&self.0.join("held")).expect("a folder");
        held.map(|entry| entry.expect("an entry").path()).collect()
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
