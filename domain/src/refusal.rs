//! What a decision answers when it will not happen.

use serde::{Deserialize, Serialize};

const CONTENDED: &str = "contended";

/// One wrong field of a request: a JSON path such as `content.text` or `actions[2].agent_id`, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldProblem {
    pub field: String,
    pub message: String,
}

impl FieldProblem {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    NotFound,
    Forbidden,
    /// Does not fit the current state.
    Conflict,
    /// The caller's `If-Match` names another version.
    Stale,
    Invalid,
}

/// The caller's fault, with a stable code to program against and a sentence to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    pub reason: Reason,
    pub code: &'static str,
    pub detail: String,
    pub fields: Vec<FieldProblem>,
}

impl Refusal {
    fn new(reason: Reason, code: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, code, detail: detail.into(), fields: Vec::new() }
    }

    /// `what` is the noun: "agent", "conversation".
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(Reason::NotFound, "not_found", format!("There is no such {what}."))
    }

    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(Reason::Forbidden, "forbidden", detail)
    }

    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Reason::Conflict, code, detail)
    }

    /// Others were faster, again and again. The one refusal that passes by itself.
    #[must_use]
    pub fn contended() -> Self {
        Self::conflict(CONTENDED, "Too many others are changing this at the moment; try again.")
    }

    #[must_use]
    pub fn is_contended(&self) -> bool {
        self.code == CONTENDED
    }

    #[must_use]
    pub fn stale() -> Self {
        Self::new(
            Reason::Stale,
            "precondition_failed",
            "The resource has changed since the version in If-Match.",
        )
    }

    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid_fields(vec![FieldProblem::new(field, message)])
    }

    #[must_use]
    pub fn invalid_fields(fields: Vec<FieldProblem>) -> Self {
        Self { fields, ..Self::new(Reason::Invalid, "invalid", "The request is well-formed but not valid.") }
    }
}
