//! An aggregate: the smallest thing whose events are decided together.

use serde::{Serialize, de::DeserializeOwned};

use crate::event::{Context, EventBody};

/// State that follows from a stream's events, and nothing else.
pub trait Aggregate: Default + Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The stream type: the noun in the log, in URLs and in event types.
    const STREAM: &'static str;
    type Event: EventBody;
    /// Raised when `evolve` or the state changes, so that cached states of an older release are not used.
    const SHAPE: u32 = 1;
    /// The state holds personal data in the clear: it is opened when loaded and never cached outside of memory.
    const HOLDS_PERSONAL_DATA: bool = false;

    /// Applies a fact. Never fails and never decides: what is in the log has happened.
    fn evolve(&mut self, event: &Self::Event, context: Context);

    /// Whether the event changes what readers of the resource are shown. One that does not leaves its `ETag` as it was,
    /// so that what goes on behind the scenes fails nobody's `If-Match`.
    #[must_use]
    fn is_seen(_event: &Self::Event) -> bool {
        true
    }

    /// False before the first event and after deletion.
    fn exists(&self) -> bool;
}

/// Folds events from nothing; what tests and time travel use.
pub fn fold<'a, A: Aggregate>(events: impl IntoIterator<Item = (&'a A::Event, Context)>) -> A {
    let mut state = A::default();
    for (event, context) in events {
        state.evolve(event, context);
    }
    state
}
