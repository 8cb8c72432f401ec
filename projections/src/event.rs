//! Events as projections see them: personal data opened, as far as its keys exist.

use commands::store::LoggedEvent;
use domain::event::EventBody;

pub type Event = LoggedEvent;

/// What a fold could not make sense of; the event's stream is parked.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    #[error("{0} does not decode: {1}")]
    Decode(String, serde_json::Error),
    #[error(transparent)]
    Row(#[from] serde_json::Error),
    #[error("{0}")]
    Inconsistent(String),
}

/// The event as its own type.
///
/// # Errors
/// When the payload does not fit the type.
pub fn decode<E: EventBody>(event: &Event) -> Result<E, FoldError> {
    E::decode(&event.event_type, event.schema_version, &event.body)
        .map_err(|e| FoldError::Decode(event.event_type.clone(), e))
}
