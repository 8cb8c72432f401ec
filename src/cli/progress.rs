//! Progress bars on long work; on standard error, and only where a person watches.

use indicatif::{ProgressBar, ProgressStyle};

const TEMPLATE: &str = "{msg:20} {bar:30} {human_pos}/{human_len} ({per_sec}, {eta} left)";

/// A bar for this many steps.
#[must_use]
pub fn bar(what: &str, of: i64) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(of).unwrap_or(0)).with_message(what.to_owned());
    bar.set_style(ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Moves a bar; its length grows with the log while the work goes on.
pub fn show(bar: &ProgressBar, done: i64, of: i64) {
    bar.set_length(u64::try_from(of).unwrap_or(0));
    bar.set_position(u64::try_from(done).unwrap_or(0));
}
