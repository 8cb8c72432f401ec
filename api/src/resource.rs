//! Answers that many resources share.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

#[derive(Serialize, ToSchema)]
pub struct Deleted {
    pub message: String,
    pub id: Uuid,
}

impl Deleted {
    /// `what` is the noun, in lower case.
    #[must_use]
    pub fn new(what: &str, id: Uuid) -> Self {
        Self { message: format!("The {what} was deleted."), id }
    }
}

#[derive(Serialize, ToSchema)]
pub struct MessageOnly {
    pub message: String,
}

impl MessageOnly {
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}
