//! What happens to a batch of queued commands, decided without a database: each command gets its own outcome, and one
//! bad command never harms its neighbours.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::canonical::{self, GENESIS, Hash};
use domain::event::{Metadata, Recorded};
use serde::Deserialize;
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
    Appended(Vec<Recorded<Value>>),
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

/// What the database knew when the log's lock was granted.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Facts {
    position: i64,
    recorded_at: Option<DateTime<Utc>>,
    commands: Vec<KnownCommand>,
    streams: Vec<StreamHead>,
    claims: Vec<HeldClaim>,
}

#[derive(Debug, Deserialize)]
struct KnownCommand {
    command_id: Uuid,
    last_position: i64,
}

#[derive(Debug, Deserialize)]
struct StreamHead {
    stream_id: Uuid,
    version: i64,
    #[serde(with = "hex::serde")]
    chain_hash: Hash,
}

#[derive(Debug, Deserialize)]
struct HeldClaim {
    tenant_id: Uuid,
    scope: String,
    key: String,
    owner: Uuid,
}

/// An event with its hashes, ready to insert.
pub(super) struct Row {
    pub event: Recorded<Value>,
    pub payload_hash: Hash,
    pub chain_hash: Hash,
}

type ClaimKey = (Uuid, String, String);

/// The batch as it will be written, growing command by command.
pub(super) struct Plan {
    log_id: i16,
    recorded_at: DateTime<Utc>,
    position: i64,
    heads: HashMap<Uuid, (i64, Hash)>,
    known: HashMap<Uuid, i64>,
    claims: HashMap<ClaimKey, Uuid>,
    pub rows: Vec<Row>,
    pub claimed: Vec<(Uuid, Claim)>,
    pub released: Vec<(Uuid, Claim)>,
}

impl Plan {
    /// `now` moves forward only: recorded times never decrease with the position.
    pub fn new(log_id: i16, now: DateTime<Utc>, facts: Facts) -> Self {
        Self {
            log_id,
            recorded_at: facts.recorded_at.map_or(now, |last| last.max(now)),
            position: facts.position,
            heads: facts.streams.into_iter().map(|s| (s.stream_id, (s.version, s.chain_hash))).collect(),
            known: facts.commands.into_iter().map(|c| (c.command_id, c.last_position)).collect(),
            claims: facts.claims.into_iter().map(|c| ((c.tenant_id, c.scope, c.key), c.owner)).collect(),
            rows: Vec::new(),
            claimed: Vec::new(),
            released: Vec::new(),
        }
    }

    /// The log's head as it will be after this batch.
    pub const fn position(&self) -> i64 {
        self.position
    }

    pub fn add(&mut self, command: &Append) -> Outcome {
        if let Some(last_position) = self.known.get(&command.command_id) {
            return Outcome::Duplicate { last_position: *last_position };
        }
        for stream in &command.streams {
            let actual = self.heads.get(&stream.stream_id).map_or(0, |head| head.0);
            if matches!(stream.expected, Expected::Version(expected) if expected != actual) {
                return Outcome::Conflict { stream_id: stream.stream_id, actual };
            }
        }
        for (index, claim) in command.claims.iter().enumerate() {
            if let Some(owner) = self.holder(command, index).filter(|owner| *owner != claim.owner) {
                return Outcome::Taken { scope: claim.scope, owner };
            }
        }
        self.take_claims(command);
        let first_row = self.rows.len();
        for stream in &command.streams {
            for event in &stream.events {
                self.push(command, stream, event);
            }
        }
        // Without an event the log does not remember the command, so neither does the batch.
        if self.rows.len() > first_row {
            self.known.insert(command.command_id, self.position);
        }
        Outcome::Appended(self.rows[first_row..].iter().map(|row| row.event.clone()).collect())
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

    /// Whether there is anything to write.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.claimed.is_empty() && self.released.is_empty()
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

    fn push(&mut self, command: &Append, stream: &StreamAppend, new: &NewEvent) {
        let (version, previous) = self.heads.get(&stream.stream_id).copied().unwrap_or((0, GENESIS));
        self.position += 1;
        let event = Recorded {
            log_id: self.log_id,
            position: self.position,
            tenant_id: command.tenant_id,
            stream_type: stream.stream_type.to_owned(),
            stream_id: stream.stream_id,
            version: version + 1,
            event_type: new.event_type.clone(),
            schema_version: new.schema_version,
            event_id: crate::ids::new_id(),
            command_id: command.command_id,
            metadata: command.metadata.clone(),
            recorded_at: self.recorded_at,
            body: new.payload.clone(),
        };
        let chain_hash = canonical::chain(&previous, &event);
        self.heads.insert(stream.stream_id, (event.version, chain_hash));
        self.rows.push(Row { payload_hash: canonical::hash(&event.body), chain_hash, event });
    }
}

fn key(tenant_id: Uuid, claim: &Claim) -> ClaimKey {
    (tenant_id, claim.scope.to_owned(), claim.key.clone())
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
