//! Load, decide, append, and again when someone else was faster.

use std::any::Any;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use domain::aggregate::Aggregate;
use domain::event::{EventBody, Metadata};
use domain::refusal::Refusal;
use lru::LruCache;
use uuid::Uuid;

use super::Store;
use super::batch::{Append, Claim, Expected, NewEvent, Outcome, StreamAppend};
use super::feed::LoggedEvent;
use super::load::Loaded;
use crate::CommandError;

/// How often a command is decided again after a conflict. Within a process conflicting commands take turns, so this
/// only bounds bad luck against other processes.
const MAX_DECISIONS: u32 = 20;
/// Streams that share a turn only wait for each other when both are contended.
const TURNS: usize = 256;
const CACHED_STATES: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// Where a command comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    pub tenant_id: Uuid,
    /// Repeating a command under the same id has no second effect.
    pub command_id: Uuid,
    pub metadata: Metadata,
    /// From `If-Match`: refuse instead of deciding again when what readers see has changed since that version.
    pub if_version: Option<i64>,
}

impl Origin {
    #[must_use]
    pub fn new(tenant_id: Uuid, metadata: Metadata) -> Self {
        Self { tenant_id, command_id: crate::ids::new_id(), metadata, if_version: None }
    }

    /// The same origin for one more command; `name` tells it from the others of the same request.
    #[must_use]
    pub fn part(&self, name: &str) -> Self {
        Self { command_id: crate::ids::named_id(self.command_id, name), if_version: None, ..self.clone() }
    }
}

/// What a decision wants: events, and claims that commit with them. Nothing at all means that it is already so.
#[derive(Clone, Debug)]
pub struct Decision<E> {
    pub events: Vec<E>,
    pub claims: Vec<Claim>,
    pub releases: Vec<Claim>,
    /// Events of other streams that must happen together with these.
    pub also: Vec<Part>,
}

/// Events of one stream within a command that spans several.
#[derive(Clone, Debug)]
pub struct Part(pub StreamAppend);

impl Part {
    #[must_use]
    pub fn of<A: Aggregate>(stream_id: Uuid, expected: Expected, events: &[A::Event]) -> Self {
        Self(StreamAppend {
            stream_type: A::STREAM,
            stream_id,
            expected,
            events: events.iter().map(encode).collect(),
        })
    }
}

impl<E> Decision<E> {
    #[must_use]
    pub const fn nothing() -> Self {
        Self { events: Vec::new(), claims: Vec::new(), releases: Vec::new(), also: Vec::new() }
    }

    #[must_use]
    pub fn one(event: E) -> Self {
        Self::all(vec![event])
    }

    #[must_use]
    pub fn all(events: Vec<E>) -> Self {
        Self { events, ..Self::nothing() }
    }

    /// Nothing is to happen: it is already so.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.events.is_empty() && self.claims.is_empty() && self.releases.is_empty() && self.also.is_empty()
    }

    #[must_use]
    pub fn claiming(mut self, scope: &'static str, key: impl Into<String>, owner: Uuid) -> Self {
        self.claims.push(Claim { scope, key: key.into(), owner });
        self
    }

    #[must_use]
    pub fn releasing(mut self, scope: &'static str, key: impl Into<String>, owner: Uuid) -> Self {
        self.releases.push(Claim { scope, key: key.into(), owner });
        self
    }

    #[must_use]
    pub fn also(mut self, part: Part) -> Self {
        self.also.push(part);
        self
    }
}

impl<E> From<Vec<E>> for Decision<E> {
    fn from(events: Vec<E>) -> Self {
        Self::all(events)
    }
}

/// A command that happened, or was already so.
#[derive(Clone, Debug)]
pub struct Decided<A> {
    pub state: A,
    pub version: i64,
    pub log_id: i16,
    /// The last position written; 0 when nothing was.
    pub position: i64,
    /// When that was recorded, if it was just now: `None` for what had already happened.
    pub at: Option<DateTime<Utc>>,
}

impl Store {
    /// Runs one command against one stream.
    ///
    /// `decide` is called again with newer state after a conflict; it must be pure. A claim that someone else holds
    /// is answered by `taken`, which turns the claim's scope into the refusal that the caller understands.
    ///
    /// # Errors
    /// The refusal of `decide` or `taken`, `Refusal::stale` for an `If-Match` that does not hold, or a failure.
    pub async fn execute<A: Aggregate>(
        &self,
        origin: &Origin,
        stream_id: Uuid,
        decide: impl Fn(&A) -> Result<Decision<A::Event>, Refusal> + Send,
    ) -> Result<Decided<A>, CommandError> {
        let log_id = self.log_of(origin.tenant_id).await?;
        let (mut fresh, mut turn) = (false, None);
        // What is not remembered is taken to be new: if it is not, the answer is "no", or the append says so.
        let mut loaded = self.cached::<A>(origin.tenant_id, stream_id).unwrap_or_default();
        for _ in 0..MAX_DECISIONS {
            let decision = check_version(origin, &loaded).and_then(|()| decide(&loaded.state));
            let (append, own) = match decision {
                Ok(decision) if !decision.is_nothing() => {
                    to_append::<A>(origin, stream_id, &loaded, decision)
                }
                settled if fresh => {
                    settled?;
                    self.remember(origin.tenant_id, stream_id, &loaded);
                    let Loaded { state, version, .. } = loaded;
                    return Ok(Decided { state, version, log_id, position: 0, at: None });
                }
                // A cached state may be old: "no" and "already so" are only said about a current one.
                _ => {
                    loaded = self.renew(origin.tenant_id, stream_id, loaded).await?;
                    fresh = true;
                    continue;
                }
            };
            match self.append(append).await? {
                Outcome::Appended(events) => {
                    let (position, at) =
                        events.last().map_or((0, None), |e| (e.position, Some(e.recorded_at)));
                    if A::HOLDS_PERSONAL_DATA {
                        // What was written is sealed; the caller wants to see it.
                        let recorded = events.iter().filter(|e| e.stream_id == stream_id);
                        own.iter().zip(recorded).for_each(|(event, e)| loaded.apply(event, e.context()));
                    } else {
                        apply(&mut loaded, stream_id, &events)?;
                    }
                    self.remember(origin.tenant_id, stream_id, &loaded);
                    let Loaded { state, version, .. } = loaded;
                    return Ok(Decided { state, version, log_id, position, at });
                }
                Outcome::Duplicate { last_position } => {
                    let Loaded { state, version, .. } =
                        self.renew(origin.tenant_id, stream_id, loaded).await?;
                    return Ok(Decided { state, version, log_id, position: last_position, at: None });
                }
                Outcome::Conflict { stream_id: conflicting, actual } => {
                    metrics::counter!("command_conflicts_total").increment(1);
                    if turn.is_none() {
                        turn = Some(self.0.turns.of(stream_id).lock().await);
                    }
                    loaded = self.renew(origin.tenant_id, stream_id, loaded).await?;
                    if conflicting == stream_id && loaded.version < actual {
                        // No retry would ever help.
                        return Err(CommandError::failed(format!(
                            "{stream_id} is a stream of another tenant or type"
                        )));
                    }
                    fresh = true;
                }
                Outcome::Taken { scope, .. } => return Err(taken(scope).into()),
            }
        }
        Err(Refusal::contended().into())
    }

    /// The state of a stream now, and its version: what this process remembers of it, and what has happened since.
    ///
    /// # Errors
    /// Database errors, or an event that does not decode.
    pub async fn current<A: Aggregate>(
        &self,
        tenant_id: Uuid,
        stream_id: Uuid,
    ) -> Result<(A, i64), CommandError> {
        let Some(cached) = self.cached::<A>(tenant_id, stream_id) else {
            return self.reload(tenant_id, stream_id).await;
        };
        let loaded = self.catch_up(tenant_id, stream_id, cached).await?;
        self.remember(tenant_id, stream_id, &loaded);
        Ok((loaded.state, loaded.version))
    }

    /// As [`Store::current`], read anew: of personal data only what can still be opened.
    ///
    /// # Errors
    /// As [`Store::current`].
    pub async fn reload<A: Aggregate>(
        &self,
        tenant_id: Uuid,
        stream_id: Uuid,
    ) -> Result<(A, i64), CommandError> {
        let loaded = self.load_stream::<A>(tenant_id, stream_id).await?;
        self.remember(tenant_id, stream_id, &loaded);
        Ok((loaded.state, loaded.version))
    }

    fn cached<A: Aggregate>(&self, tenant_id: Uuid, stream_id: Uuid) -> Option<Loaded<A>> {
        let state = self
            .0
            .cache
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&(tenant_id, stream_id))
            .cloned()?;
        state.downcast_ref::<Loaded<A>>().cloned()
    }

    fn remember<A: Aggregate>(&self, tenant_id: Uuid, stream_id: Uuid, loaded: &Loaded<A>) {
        let mut cache = self.0.cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.put((tenant_id, stream_id), Arc::new(loaded.clone()));
    }
}

/// After a conflict commands on one stream go one by one: of many that are decided on the same version at once only one
/// could succeed, and the others would soon have used up their tries.
pub(super) struct Turns(Vec<tokio::sync::Mutex<()>>);

impl Turns {
    fn of(&self, stream_id: Uuid) -> &tokio::sync::Mutex<()> {
        let slot = usize::try_from(stream_id.as_u128() % (TURNS as u128)).unwrap_or(0);
        &self.0[slot]
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self(std::iter::repeat_with(tokio::sync::Mutex::default).take(TURNS).collect())
    }
}

/// States of streams that changed lately. The version check keeps them honest.
pub(super) struct StateCache(Mutex<LruCache<(Uuid, Uuid), Arc<dyn Any + Send + Sync>>>);

impl Default for StateCache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(CACHED_STATES)))
    }
}

fn check_version<A>(origin: &Origin, loaded: &Loaded<A>) -> Result<(), Refusal> {
    match origin.if_version {
        Some(version) if !(loaded.seen..=loaded.version).contains(&version) => Err(Refusal::stale()),
        _ => Ok(()),
    }
}

/// A claim's scope is the field that must be unique.
fn taken(scope: &str) -> Refusal {
    Refusal::conflict("already_taken", format!("This {} is already in use.", scope.replace('_', " ")))
}

fn encode<E: EventBody>(event: &E) -> NewEvent {
    let (event_type, payload) = event.encode();
    NewEvent { schema_version: E::schema_version(&event_type), event_type, payload }
}

/// The command for the log, and the stream's own events as they are in the clear.
fn to_append<A: Aggregate>(
    origin: &Origin,
    stream_id: Uuid,
    loaded: &Loaded<A>,
    decision: Decision<A::Event>,
) -> (Append, Vec<A::Event>) {
    let own = Part::of::<A>(stream_id, Expected::Version(loaded.version), &decision.events);
    let append = Append {
        tenant_id: origin.tenant_id,
        command_id: origin.command_id,
        metadata: origin.metadata.clone(),
        streams: std::iter::once(own).chain(decision.also).map(|part| part.0).collect(),
        claims: decision.claims,
        releases: decision.releases,
    };
    (append, decision.events)
}

fn apply<A: Aggregate>(
    loaded: &mut Loaded<A>,
    stream_id: Uuid,
    events: &[LoggedEvent],
) -> Result<(), CommandError> {
    for event in events.iter().filter(|e| e.stream_id == stream_id) {
        let context = event.context();
        let body = A::Event::decode(&event.event_type, event.schema_version, &event.body)
            .map_err(CommandError::failed)?;
        loaded.apply(&body, context);
    }
    Ok(())
}
