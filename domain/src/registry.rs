//! Every aggregate by its stream type, for code that meets them all: documents, time travel, the golden corpus.

use serde_json::Value;

use crate::aggregate::Aggregate;
use crate::event::{EventBody, Recorded};

/// What can be done with a stream without knowing its Rust type.
pub struct StreamKind {
    pub name: &'static str,
    fold: fn(Option<Value>, &[&Recorded<Value>]) -> Result<Option<Value>, serde_json::Error>,
}

impl StreamKind {
    /// The JSON of the state after these events, given the JSON before them; nothing once deleted.
    ///
    /// # Errors
    /// When the state or an event does not decode.
    pub fn fold(&self, state: Option<Value>, events: &[&Recorded<Value>]) -> Result<Option<Value>, serde_json::Error> {
        (self.fold)(state, events)
    }
}

const fn stream<A: Aggregate>() -> StreamKind {
    StreamKind { name: A::STREAM, fold: fold_json::<A> }
}

fn fold_json<A: Aggregate>(
    state: Option<Value>,
    events: &[&Recorded<Value>],
) -> Result<Option<Value>, serde_json::Error> {
    let mut state: A = state.map(serde_json::from_value).transpose()?.unwrap_or_default();
    for event in events {
        let body = A::Event::decode(&event.event_type, event.schema_version, event.body.clone())?;
        state.evolve(&body, event.context());
    }
    state.exists().then(|| serde_json::to_value(&state)).transpose()
}

pub const STREAMS: &[StreamKind] = &[
    stream::<crate::agent::Agent>(),
    stream::<crate::api_key::ApiKey>(),
    stream::<crate::contact::Contact>(),
    stream::<crate::conversation::Conversation>(),
    stream::<crate::integration_account::IntegrationAccount>(),
    stream::<crate::message::Message>(),
    stream::<crate::organization::Organization>(),
    stream::<crate::role::Role>(),
    stream::<crate::super_admin::SuperAdmin>(),
];

/// The aggregate of a stream type.
#[must_use]
pub fn find(stream_type: &str) -> Option<&'static StreamKind> {
    STREAMS.iter().find(|kind| kind.name == stream_type)
}
