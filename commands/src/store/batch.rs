//! What happens to a batch of queued commands, decided without a database: each command gets its own outcome, and one
//! bad command never harms its neighbours.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::canonical::{self, GENESIS, Hash, Header};
use domain::event::{Metadata, Recorded};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

/// What a stream must look like for its events to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Its latest version; 0 means that the stream does not exist yet.
    Version(i64),
    /// For facts that hold whatever else happened.
    Any,
}

#[derive(Clone, Debug)]
pub struct NewEvent {
    pub event_type: String,
    pub schema_version: i16,
    /// Sealed: no personal data or secret in the clear.
    pub payload: Value,
}

#[derive(Clone, Debug)]
pub struct StreamAppend {
    pub stream_type: &'static str,
    pub stream_id: Uuid,
    pub expected: Expected,
    pub events: Vec<NewEvent>,
}

/// A key that one owner at a time can hold within a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    pub scope: &'static str,
    pub key: String,
    pub owner: Uuid,
}

/// All that one command wants to happen, or not at all.
#[derive(Clone, Debug)]
pub struct Append {
    pub tenant_id: Uuid,
    pub command_id: Uuid,
    pub metadata: Metadata,
    pub streams: Vec<StreamAppend>,
    pub claims: Vec<Claim>,
    /// Given back; one that someone else holds is left alone.
    pub releases: Vec<Claim>,
}

#[derive(Clone, Debug)]
pub enum Outcome {
    Appended(Vec<Arc<Recorded<Value>>>),
    /// The command is already in the log.
    Duplicate {
        last_position: i64,
    },
    Conflict {
        stream_id: Uuid,
        actual: i64,
    },
    Taken {
        scope: &'static str,
        owner: Uuid,
    },
}

/// A command with what its caller works out before it queues, so that the writer of the log does not have to.
pub(super) struct Prepared {
    pub append: Append,
    /// In canonical form.
    metadata: Box<RawValue>,
    /// Of every event of every stream, in order.
    payloads: Vec<Payload>,
}

pub(super) struct Payload {
    /// As it came: the canonical form, which the hash is of, would round integers beyond 2^53.
    pub text: String,
    pub hash: Hash,
}

impl Payload {
    fn of(event: &NewEvent) -> Self {
        let (text, hash) = canonical::text_and_hash(&event.payload);
        Self { text, hash }
    }
}

impl Prepared {
    pub fn new(append: Append) -> Self {
        let events = append.streams.iter().flat_map(|stream| &stream.events);
        Self { metadata: append.metadata.canonical(), payloads: events.map(Payload::of).collect(), append }
    }
}

/// What is so in the log, about all that a batch names. Lists are sorted, because the database compares them with its
/// own as JSON (`append_batch`).
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Facts {
    /// Of the log's last event.
    #[serde(skip_serializing)]
    pub recorded_at: Option<DateTime<Utc>>,
    pub commands: Vec<KnownCommand>,
    pub streams: Vec<StreamHead>,
    pub claims: Vec<HeldClaim>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct KnownCommand {
    pub command_id: Uuid,
    pub last_position: i64,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct StreamHead {
    pub stream_id: Uuid,
    pub version: i64,
    #[serde(with = "hex::serde")]
    pub chain_hash: Hash,
}

#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct HeldClaim {
    pub tenant_id: Uuid,
    pub scope: String,
    pub key: String,
    pub owner: Uuid,
}

/// An event with its hashes, ready to insert: its position is its place in the batch, after the log's head.
pub(super) struct Row<'a> {
    pub append: &'a Append,
    pub metadata: &'a RawValue,
    pub stream: &'a StreamAppend,
    pub event: &'a NewEvent,
    pub payload: &'a Payload,
    pub event_id: Uuid,
    pub version: i64,
    pub chain_hash: Hash,
}

type ClaimKey = (Uuid, String, String);

/// The batch as it will be written, growing command by command.
pub(super) struct Plan<'a> {
    pub recorded_at: DateTime<Utc>,
    /// As the chain has it.
    recorded_text: String,
    heads: HashMap<Uuid, (i64, Hash)>,
    known: HashMap<Uuid, Place>,
    claims: HashMap<ClaimKey, Uuid>,
    pub rows: Vec<Row<'a>>,
    pub claimed: Vec<(Uuid, Claim)>,
    pub released: Vec<(Uuid, Claim)>,
    verdicts: Vec<Verdict>,
}

/// Where a command's last event is.
#[derive(Clone, Copy)]
enum Place {
    Log(i64),
    Batch(i64),
}

/// An outcome before the log has given positions.
enum Verdict {
    /// All its events are among the rows.
    Appended,
    Duplicate(Place),
    Refused(Outcome),
}

impl<'a> Plan<'a> {
    /// `now` moves forward only: recorded times never decrease with the position.
    pub fn new(now: DateTime<Utc>, facts: &Facts) -> Self {
        let claims = facts.claims.iter();
        let recorded_at = facts.recorded_at.map_or(now, |last| last.max(now));
        Self {
            recorded_at,
            recorded_text: canonical::timestamp(recorded_at),
            heads: facts.streams.iter().map(|s| (s.stream_id, (s.version, s.chain_hash))).collect(),
            known: facts.commands.iter().map(|c| (c.command_id, Place::Log(c.last_position))).collect(),
            claims: claims.map(|c| ((c.tenant_id, c.scope.clone(), c.key.clone()), c.owner)).collect(),
            rows: Vec::new(),
            claimed: Vec::new(),
            released: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    /// The batch was written after a position.
    pub fn written(self, log_id: i16, before: i64) -> Written {
        Written {
            log_id,
            before,
            recorded_at: self.recorded_at,
            events: self.rows.iter().map(|row| (row.event_id, row.version)).collect(),
            verdicts: self.verdicts,
        }
    }

    pub fn add(&mut self, command: &'a Prepared) {
        let verdict = self.judge(command);
        self.verdicts.push(verdict);
    }

    fn judge(&mut self, command: &'a Prepared) -> Verdict {
        let append = &command.append;
        if let Some(last) = self.known.get(&append.command_id) {
            return Verdict::Duplicate(*last);
        }
        for stream in &append.streams {
            let actual = self.heads.get(&stream.stream_id).map_or(0, |head| head.0);
            if matches!(stream.expected, Expected::Version(expected) if expected != actual) {
                return Verdict::Refused(Outcome::Conflict { stream_id: stream.stream_id, actual });
            }
        }
        for (index, claim) in append.claims.iter().enumerate() {
            if let Some(owner) = self.holder(append, index).filter(|owner| *owner != claim.owner) {
                return Verdict::Refused(Outcome::Taken { scope: claim.scope, owner });
            }
        }
        self.take_claims(append);
        let events = append.streams.iter().flat_map(|s| s.events.iter().map(move |event| (s, event)));
        for ((stream, event), payload) in events.zip(&command.payloads) {
            self.push(command, stream, event, payload);
        }
        // Without an event the log does not remember the command, so neither does the batch.
        if !command.payloads.is_empty() {
            self.known.insert(append.command_id, Place::Batch(self.rows.len() as i64));
        }
        Verdict::Appended
    }

    /// Who would stand in the way of one of the command's claims: its releases count as done, its earlier claims too.
    fn holder(&self, command: &Append, index: usize) -> Option<Uuid> {
        let claim = &command.claims[index];
        let same = |other: &&Claim| (other.scope, &other.key) == (claim.scope, &claim.key);
        if let Some(earlier) = command.claims[..index].iter().find(same) {
            return Some(earlier.owner);
        }
        let owner = *self.claims.get(&key(command.tenant_id, claim))?;
        let given_back = command.releases.iter().filter(same).any(|release| release.owner == owner);
        (!given_back).then_some(owner)
    }

    fn take_claims(&mut self, command: &Append) {
        for claim in &command.releases {
            let key = key(command.tenant_id, claim);
            if self.claims.get(&key) == Some(&claim.owner) {
                self.claims.remove(&key);
                self.claimed
                    .retain(|(tenant, c)| (*tenant, c.scope, &c.key) != (key.0, claim.scope, &claim.key));
                self.released.push((command.tenant_id, claim.clone()));
            }
        }
        for claim in &command.claims {
            if self.claims.insert(key(command.tenant_id, claim), claim.owner).is_none() {
                self.claimed.push((command.tenant_id, claim.clone()));
            }
        }
    }

    fn push(
        &mut self,
        command: &'a Prepared,
        stream: &'a StreamAppend,
        event: &'a NewEvent,
        payload: &'a Payload,
    ) {
        let (version, previous) = self.heads.get(&stream.stream_id).copied().unwrap_or((0, GENESIS));
        let header = Header {
            event_id: crate::ids::new_id(),
            event_type: &event.event_type,
            metadata: &command.metadata,
            recorded_at: &self.recorded_text,
            schema_version: event.schema_version,
            stream_id: stream.stream_id,
            stream_type: stream.stream_type,
            tenant_id: command.append.tenant_id,
            version: version + 1,
        };
        let chain_hash = header.chain(&previous, &payload.hash);
        let (event_id, version) = (header.event_id, header.version);
        self.heads.insert(stream.stream_id, (version, chain_hash));
        let (append, metadata) = (&command.append, &*command.metadata);
        self.rows.push(Row { append, metadata, stream, event, payload, event_id, version, chain_hash });
    }
}

/// What became of a batch.
pub(super) struct Written {
    log_id: i16,
    /// The position after which it stands.
    before: i64,
    recorded_at: DateTime<Utc>,
    /// Ids and versions, in order.
    events: Vec<(Uuid, i64)>,
    verdicts: Vec<Verdict>,
}

impl Written {
    /// The log's last position.
    pub fn head(&self) -> i64 {
        self.before + self.events.len() as i64
    }

    /// An outcome per command of the batch, in order.
    pub fn outcomes(self, commands: Vec<Prepared>) -> Vec<Outcome> {
        let Self { log_id, before, recorded_at, events, verdicts } = self;
        let mut placed = (before + 1..).zip(events);
        let outcome = |(verdict, command): (Verdict, Prepared)| match verdict {
            Verdict::Appended => {
                Outcome::Appended(recorded(log_id, recorded_at, command.append, &mut placed))
            }
            Verdict::Duplicate(Place::Log(last_position)) => Outcome::Duplicate { last_position },
            Verdict::Duplicate(Place::Batch(place)) => Outcome::Duplicate { last_position: before + place },
            Verdict::Refused(outcome) => outcome,
        };
        verdicts.into_iter().zip(commands).map(outcome).collect()
    }
}

/// A command's events as the log has them; `placed` gives position, id and version of each.
fn recorded(
    log_id: i16,
    recorded_at: DateTime<Utc>,
    append: Append,
    placed: impl Iterator<Item = (i64, (Uuid, i64))>,
) -> Vec<Arc<Recorded<Value>>> {
    let Append { tenant_id, command_id, metadata, streams, .. } = append;
    let count = streams.iter().map(|stream| stream.events.len()).sum();
    let events = streams.into_iter().flat_map(|stream| {
        let (stream_type, stream_id) = (stream.stream_type, stream.stream_id);
        stream.events.into_iter().map(move |event| (stream_type, stream_id, event))
    });
    let record = |(((stream_type, stream_id, event), metadata), (position, (event_id, version)))| {
        let NewEvent { event_type, schema_version, payload } = event;
        let stream_type = String::from(stream_type);
        Arc::new(Recorded {
            log_id,
            position,
            tenant_id,
            stream_type,
            stream_id,
            version,
            event_type,
            schema_version,
            event_id,
            command_id,
            metadata,
            recorded_at,
            body: payload,
        })
    };
    events.zip(std::iter::repeat_n(metadata, count)).zip(placed).map(record).collect()
}

fn key(tenant_id: Uuid, claim: &Claim) -> ClaimKey {
    (tenant_id, claim.scope.to_owned(), claim.key.clone())
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
