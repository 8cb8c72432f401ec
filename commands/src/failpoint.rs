//! Named places at which a test stops the program, to see what survives it there. Only debug builds have them: in a
//! release build [`reached`] does nothing, and nothing of this can be switched on.
//!
//! A test (`tests/torture.rs`, `tests/payments/crashes.rs`) arms a place by making a file of its name in the folder
//! `armed` of the folder that `TEST_FAILPOINTS` names. The first process to get there renames the file to
//! `held/<name>.<process id>.<n>` and waits until that file is gone. What happens meanwhile (SIGKILL for this process or
//! for the database, SIGSTOP) is the test's business.

/// The places, in the order in which a message passes them, and then an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failpoint {
    /// An Idempotency-Key is claimed, and nothing has been done under it.
    KeyClaimed,
    /// A batch is planned, and nothing of it is in the log.
    BeforeAppend,
    /// Events are committed, and nobody has been told.
    Appended,
    /// A request is done, and its answer is neither kept nor sent.
    AnswerReady,
    /// A webhook's payload is committed, and the channel has no answer.
    PayloadKept,
    /// Payloads became events, and their rows are still due.
    PayloadsProcessed,
    /// Rows of a read model or of a process manager are written, and not committed.
    BeforeProjectionCommit,
    /// Rows and checkpoint are committed, and nobody has been told.
    Projected,
    /// A rebuilt read model is in its place, and not committed.
    BeforeSwitchCommit,
    /// Events became automation items, and their triggers are still due.
    TriggersEnqueued,
    /// An automation item is marked as begun, and none of its actions is.
    ItemStarted,
    /// The actions of an automation item are done, and not recorded.
    ActionsDone,
    /// Effects are claimed, and not marked as being sent.
    EffectsClaimed,
    /// An effect is marked as being sent, and no call has been made.
    EffectBegun,
    /// A provider has answered, and the answer is not recorded.
    EffectAttempted,
    /// A provider's answer is in the log, and the effect is still marked as being sent.
    EffectRecorded,
    /// A period has begun and its invoice is drawn up, and not numbered.
    PeriodBegun,
    /// A number is given to an invoice, and the invoice does not have it yet.
    InvoiceNumbered,
    /// A payment gateway has answered a charge, and the answer is not recorded.
    ChargeAnswered,
    /// An overdue payment is about to be tried again.
    RetryBegun,
}

impl Failpoint {
    /// Those of messages and of what follows from them.
    pub const OF_MESSAGES: [Self; 16] = [
        Self::KeyClaimed,
        Self::BeforeAppend,
        Self::Appended,
        Self::AnswerReady,
        Self::PayloadKept,
        Self::PayloadsProcessed,
        Self::BeforeProjectionCommit,
        Self::Projected,
        Self::BeforeSwitchCommit,
        Self::TriggersEnqueued,
        Self::ItemStarted,
        Self::ActionsDone,
        Self::EffectsClaimed,
        Self::EffectBegun,
        Self::EffectAttempted,
        Self::EffectRecorded,
    ];
    /// Those of billing.
    pub const OF_INVOICES: [Self; 4] =
        [Self::PeriodBegun, Self::InvoiceNumbered, Self::ChargeAnswered, Self::RetryBegun];

    /// As in the source: `BeforeAppend`.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

/// Waits here if a test wants it.
#[cfg(debug_assertions)]
pub async fn reached(point: Failpoint) {
    if let Some(folder) = &*held::FOLDER {
        held::wait(folder, point).await;
    }
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub async fn reached(_: Failpoint) {}

#[cfg(debug_assertions)]
mod held {
    use std::path::{Path, PathBuf};
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::Failpoint;

    pub static FOLDER: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("TEST_FAILPOINTS").map(PathBuf::from));
    static HELD: AtomicU32 = AtomicU32::new(0);

    const POLL: Duration = Duration::from_millis(2);
    /// A test that has ended must not leave a process waiting.
    const LONGEST: Duration = Duration::from_secs(30);

    pub async fn wait(folder: &Path, point: Failpoint) {
        let n = HELD.fetch_add(1, Ordering::Relaxed);
        let mark = folder.join("held").join(format!("{}.{}.{n}", point.name(), std::process::id()));
        // Of several processes one succeeds; most of the time nothing is armed.
        if std::fs::rename(folder.join("armed").join(point.name()), &mark).is_err() {
            return;
        }
        let released = async {
            while mark.exists() {
                tokio::time::sleep(POLL).await;
            }
        };
        let _ = tokio::time::timeout(LONGEST, released).await;
    }
}
