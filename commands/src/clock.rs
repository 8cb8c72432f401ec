//! The only place that reads the machine's clock.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

/// How often the offset file is read again.
const OFFSET_POLL: Duration = Duration::from_secs(1);

/// Wall-clock time, optionally moved by whole seconds so that a test can pass years in a moment.
#[derive(Clone, Default)]
pub struct Clock {
    offset_secs: Arc<AtomicI64>,
}

impl Clock {
    /// Now, in the microseconds that the database keeps.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock port")]
    pub fn now(&self) -> DateTime<Utc> {
        let now = Utc::now() + TimeDelta::seconds(self.offset_secs.load(Ordering::Relaxed));
        now.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(now)
    }

    /// Follows a file that holds the seconds to add; a missing or unreadable file means 0.
    pub fn follow_file(&self, path: PathBuf) {
        self.read_offset(&path);
        let clock = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(OFFSET_POLL).await;
                clock.read_offset(&path);
            }
        });
    }

    fn read_offset(&self, path: &Path) {
        let seconds = std::fs::read_to_string(path).ok().and_then(|s| s.trim().parse().ok()).unwrap_or(0);
        self.offset_secs.store(seconds, Ordering::Relaxed);
    }
}
