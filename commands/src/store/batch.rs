//! What happens to a batch of queued commands, decided without a database: each command gets its own outcome, and one
//! bad command never harms its neighbours.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::canonical::{self, GENESIS, Hash};
use domain::event::{Metadata, Recorded};
use serde::{Deserialize, Serialize};
use serde_json::Value;
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
    /// Canonical JSON.
    metadata: String,
    /// Of every event of every stream, in order.
    payloads: Vec<Payload>,
}

pub(super) struct Payload {
    /// As it came: the canonical form, which the hash is of, would round integers beyond 2^53.
    pub text: String,
    pub hash: Hash,
}

impl Prepared {
    pub fn new(append: Append) -> Self {
        let events = append.streams.iter().flat_map(|stream| &stream.events);
        let payloads = events
            .map(|event| Payload { text: event.payload.to_string(), hash: canonical::hash(&event.payload) });
        Self { metadata: canonical::to_string(&append.metadata), payloads: payloads.collect(), append }
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

/// An event with its hashes, ready to insert. Its position is the place in the batch, until the log gives it one.
pub(super) struct Row<'a> {
    pub event: Recorded<Value>,
    pub metadata: &'a str,
    pub payload: &'a Payload,
    pub chain_hash: Hash,
}

type ClaimKey = (Uuid, String, String);

/// The batch as it will be written, growing command by command.
pub(super) struct Plan<'a> {
    log_id: i16,
    pub recorded_at: DateTime<Utc>,
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
    /// So many of the next rows.
    Appended(usize),
    Duplicate(Place),
    Refused(Outcome),
}

impl<'a> Plan<'a> {
    /// `now` moves forward only: recorded times never decrease with the position.
    pub fn new(log_id: i16, now: DateTime<Utc>, facts: &Facts) -> Self {
        let claims = facts.claims.iter();
        Self {
            log_id,
            recorded_at: facts.recorded_at.map_or(now, |last| last.max(now)),
            heads: facts.streams.iter().map(|s| (s.stream_id, (s.version, s.chain_hash))).collect(),
            known: facts.commands.iter().map(|c| (c.command_id, Place::Log(c.last_position))).collect(),
            claims: claims.map(|c| ((c.tenant_id, c.scope.clone(), c.key.clone()), c.owner)).collect(),
            rows: Vec::new(),
            claimed: Vec::new(),
            released: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    /// An outcome per command, in order, for a batch that was written after a position.
    pub fn outcomes(self, before: i64) -> Vec<Outcome> {
        let mut events = self.rows.into_iter().map(|row| {
            let mut event = row.event;
            event.position += before;
            Arc::new(event)
        });
        let place = |place| match place {
            Place::Log(position) => position,
            Place::Batch(place) => before + place,
        };
        let settle = |verdict| match verdict {
            Verdict::Appended(count) => Outcome::Appended(events.by_ref().take(count).collect()),
            Verdict::Duplicate(last) => Outcome::Duplicate { last_position: place(last) },
            Verdict::Refused(outcome) => outcome,
        };
        self.verdicts.into_iter().map(settle).collect()
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
        Verdict::Appended(command.payloads.len())
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

    fn push(&mut self, command: &'a Prepared, stream: &StreamAppend, new: &NewEvent, payload: &'a Payload) {
        let (version, previous) = self.heads.get(&stream.stream_id).copied().unwrap_or((0, GENESIS));
        let event = Recorded {
            log_id: self.log_id,
            position: self.rows.len() as i64 + 1,
            tenant_id: command.append.tenant_id,
            stream_type: stream.stream_type.to_owned(),
            stream_id: stream.stream_id,
            version: version + 1,
            event_type: new.event_type.clone(),
            schema_version: new.schema_version,
            event_id: crate::ids::new_id(),
            command_id: command.append.command_id,
            metadata: command.append.metadata.clone(),
            recorded_at: self.recorded_at,
            body: new.payload.clone(),
        };
        let chain_hash = canonical::chain_prepared(&previous, &event, &command.metadata, &payload.hash);
        self.heads.insert(stream.stream_id, (event.version, chain_hash));
        self.rows.push(Row { event, metadata: &command.metadata, payload, chain_hash });
    }
}

fn key(tenant_id: Uuid, claim: &Claim) -> ClaimKey {
    (tenant_id, claim.scope.to_owned(), claim.key.clone())
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
