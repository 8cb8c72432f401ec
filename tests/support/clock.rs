//! A clock that a test moves, for what takes hours.

use std::path::PathBuf;

use uuid::Uuid;

/// The file that the program's clock follows (`OMNISTREAM_CLOCK_OFFSET_FILE`). Tokens age with it: an hour ends them.
pub struct MovedClock(PathBuf);

impl MovedClock {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("omnistream-clock-{}", Uuid::new_v4()));
        std::fs::write(&path, "0").expect("a file");
        Self(path)
    }

    pub fn env(&self) -> (&str, &str) {
        ("OMNISTREAM_CLOCK_OFFSET_FILE", self.0.to_str().expect("a path in UTF-8"))
    }

    /// So many seconds ahead of the machine's clock; within a second the program knows.
    pub fn set(&self, seconds: u64) {
        // Renamed into place, so that nobody reads half a number.
        let draft = self.0.with_extension("draft");
        std::fs::write(&draft, seconds.to_string()).expect("a file");
        std::fs::rename(draft, &self.0).expect("a file");
    }
}

impl Drop for MovedClock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
