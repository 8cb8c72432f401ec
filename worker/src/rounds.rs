//! Working off a queue: again at once while there is something to do, else when it is announced, and now and then anyway.

use std::time::Duration;

use commands::CommandError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often a queue is looked at, should its announcement be lost; its lease is renewed then too.
const POLL: Duration = Duration::from_secs(1);
/// How long a queue rests after a failure.
const REST: Duration = Duration::from_millis(500);

/// Takes one step after the other until stopped. A step says whether there was something to do; it is never cut off.
pub async fn work_off<F: Future<Output = Result<bool, CommandError>>>(
    queue: &'static str,
    mut news: watch::Receiver<i64>,
    stop: &CancellationToken,
    step: impl Fn() -> F,
) {
    while !stop.is_cancelled() {
        news.mark_unchanged();
        let rest = match step().await {
            Ok(true) => continue,
            Ok(false) => POLL,
            Err(error) => {
                tracing::error!(queue, %error, "a queue could not be worked off; trying again");
                REST
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(rest, news.changed()) => {}
            () = stop.cancelled() => {}
        }
    }
}
