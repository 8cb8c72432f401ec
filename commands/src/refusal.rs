//! Why a command did not happen: a `Refusal` is the caller's to mend, an `Error` is ours.

pub use domain::refusal::{FieldProblem, Reason, Refusal};

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The append queue is full; nothing was written.
    #[error("the event log is busy")]
    Busy,
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl CommandError {
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
