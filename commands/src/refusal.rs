//! Why a command did not happen: a `Refusal` is the caller's to mend, an `Error` is ours.

pub use domain::refusal::{FieldProblem, Reason, Refusal};

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The append queue is full; nothing was written.
    #[error("the event log is busy")]
    Busy,
    /// The database can't be reached, or is going down; whether something was written is not known.
    #[error("{0}")]
    Outage(String),
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Database(sqlx::Error),
}

impl CommandError {
    /// For whoever can't give the error away.
    #[must_use]
    pub fn of_database(error: &sqlx::Error) -> Self {
        if is_outage(error) { Self::Outage(error.to_string()) } else { Self::failed(error) }
    }

    pub fn failed(reason: impl std::fmt::Display) -> Self {
        Self::Failed(reason.to_string())
    }

    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for CommandError {
    fn from(error: sqlx::Error) -> Self {
        if is_outage(&error) { Self::Outage(error.to_string()) } else { Self::Database(error) }
    }
}

/// Whether it is the database that is away, and not the statement that is wrong: the same may succeed later.
#[must_use]
pub fn is_outage(error: &sqlx::Error) -> bool {
    /// Lost connections, exhausted resources, and a standby that a failover has left us on.
    const PASSING: [&str; 3] = ["08", "53", "25006"];
    /// Going down by command, by crash, and not up yet. Its class also holds cancelled statements.
    const DOWN: [&str; 3] = ["57P01", "57P02", "57P03"];
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|state| PASSING.iter().chain(&DOWN).any(|beginning| state.starts_with(beginning))),
        _ => false,
    }
}
