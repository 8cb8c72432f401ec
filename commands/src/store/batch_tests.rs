//! Batches against a naive model that runs one command after the other: grouping commits must change nothing but speed.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use domain::event::Actor;
use proptest::prelude::*;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::*;

const LOG: i16 = 3;
const SCOPES: [&str; 2] = ["email", "slug"];

/// What the database would hold, with its constraints.
#[derive(Default)]
struct World {
    rows: Vec<Stored>,
    claims: HashMap<ClaimKey, Uuid>,
}

struct Stored {
    event: Recorded<Value>,
    payload: String,
    payload_hash: Hash,
    chain_hash: Hash,
}

impl World {
    /// As the SQL function reads them.
    fn facts(&self, commands: &[Prepared]) -> Facts {
        let commands = || commands.iter().map(|command| &command.append);
        let last = self.rows.last();
        let known = commands().filter_map(|command| {
            let rows = self.rows.iter().filter(|row| row.event.command_id == command.command_id);
            let last_position = rows.map(|row| row.event.position).max()?;
            Some(KnownCommand { command_id: command.command_id, last_position })
        });
        let ids: std::collections::BTreeSet<Uuid> =
            commands().flat_map(|command| command.streams.iter().map(|stream| stream.stream_id)).collect();
        let heads = ids.into_iter().filter_map(|stream_id| {
            let head = self.rows.iter().rev().find(|row| row.event.stream_id == stream_id)?;
            Some(StreamHead { stream_id, version: head.event.version, chain_hash: head.chain_hash })
        });
        let held = self.claims.iter().map(|((tenant_id, scope, key), owner)| HeldClaim {
            tenant_id: *tenant_id,
            scope: scope.clone(),
            key: key.clone(),
            owner: *owner,
        });
        Facts {
            recorded_at: last.map(|row| row.event.recorded_at),
            commands: known.collect(),
            streams: heads.collect(),
            claims: held.collect(),
        }
    }

    /// Deletes, then inserts, as `append_batch` does; answers the position before the batch.
    fn commit(&mut self, plan: &Plan) -> i64 {
        for (tenant, claim) in &plan.released {
            self.claims.remove(&key(*tenant, claim));
        }
        for (tenant, claim) in &plan.claimed {
            let old = self.claims.insert(key(*tenant, claim), claim.owner);
            assert_eq!(old, None, "the primary key of claims would be violated by {claim:?}");
        }
        let before = self.rows.len() as i64;
        self.rows.extend((before + 1..).zip(&plan.rows).map(|(position, row)| Stored {
            event: as_inserted(position, plan.recorded_at, row),
            payload: row.payload.text.clone(),
            payload_hash: row.payload.hash,
            chain_hash: row.chain_hash,
        }));
        before
    }

    fn run(&mut self, now: DateTime<Utc>, commands: &[Append]) -> Vec<Outcome> {
        let commands: Vec<Prepared> = commands.iter().cloned().map(Prepared::new).collect();
        let mut plan = Plan::new(now, &self.facts(&commands));
        commands.iter().for_each(|command| plan.add(command));
        let before = self.commit(&plan);
        let written = plan.written(LOG, before);
        assert_eq!(written.head(), self.rows.len() as i64);
        let outcomes = written.outcomes(commands);
        let answered = outcomes.iter().flat_map(|outcome| match outcome {
            Outcome::Appended(events) => events.as_slice(),
            _ => &[],
        });
        let inserted = self.rows[usize::try_from(before).unwrap()..].iter().map(|row| &row.event);
        assert!(answered.map(Arc::as_ref).eq(inserted), "who appends is told what is in the log");
        outcomes
    }
}

fn as_inserted(position: i64, recorded_at: DateTime<Utc>, row: &Row) -> Recorded<Value> {
    Recorded {
        log_id: LOG,
        position,
        tenant_id: row.append.tenant_id,
        stream_type: row.stream.stream_type.to_owned(),
        stream_id: row.stream.stream_id,
        version: row.version,
        event_type: row.event.event_type.clone(),
        schema_version: row.event.schema_version,
        event_id: row.event_id,
        command_id: row.append.command_id,
        metadata: serde_json::from_str(row.metadata.get()).unwrap(),
        recorded_at,
        body: row.event.payload.clone(),
    }
}

/// The meaning of a log, one command at a time.
#[derive(Default)]
struct Model {
    /// Stream and command of each event; the index is the position less one.
    events: Vec<(Uuid, Uuid)>,
    claims: BTreeMap<(Uuid, &'static str, String), Uuid>,
}

#[derive(Debug, PartialEq)]
enum Verdict {
    /// The positions.
    Appended(Vec<i64>),
    Duplicate(i64),
    Conflict(Uuid, i64),
    Taken(&'static str, Uuid),
}

impl Model {
    fn version(&self, stream: Uuid) -> i64 {
        self.events.iter().filter(|(id, _)| *id == stream).count() as i64
    }

    fn run(&mut self, command: &Append) -> Verdict {
        if let Some(last) = self.events.iter().rposition(|(_, id)| *id == command.command_id) {
            return Verdict::Duplicate(last as i64 + 1);
        }
        for stream in &command.streams {
            let actual = self.version(stream.stream_id);
            if ![Expected::Any, Expected::Version(actual)].contains(&stream.expected) {
                return Verdict::Conflict(stream.stream_id, actual);
            }
        }
        let mut claims = self.claims.clone();
        let place = |claim: &Claim| (command.tenant_id, claim.scope, claim.key.clone());
        for release in &command.releases {
            if claims.get(&place(release)) == Some(&release.owner) {
                claims.remove(&place(release));
            }
        }
        for claim in &command.claims {
            let owner = *claims.entry(place(claim)).or_insert(claim.owner);
            if owner != claim.owner {
                return Verdict::Taken(claim.scope, owner);
            }
        }
        self.claims = claims;
        let before = self.events.len() as i64;
        for stream in &command.streams {
            self.events.extend(stream.events.iter().map(|_| (stream.stream_id, command.command_id)));
        }
        Verdict::Appended((before + 1..=self.events.len() as i64).collect())
    }
}

fn verdict(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Appended(events) => Verdict::Appended(events.iter().map(|event| event.position).collect()),
        Outcome::Duplicate { last_position } => Verdict::Duplicate(*last_position),
        Outcome::Conflict { stream_id, actual } => Verdict::Conflict(*stream_id, *actual),
        Outcome::Taken { scope, owner } => Verdict::Taken(scope, *owner),
    }
}

/// A command before the model has said what "the current version" is.
#[derive(Clone, Debug)]
struct Draft {
    command: u8,
    tenant: u8,
    /// Stream, how far the expected version is off (nothing: any version will do), number of events.
    streams: Vec<(u8, Option<i64>, usize)>,
    claims: Vec<(usize, u8, u8)>,
    releases: Vec<(usize, u8, u8)>,
}

impl Draft {
    fn command(&self, model: &Model) -> Append {
        let claim = |(scope, key, owner): &(usize, u8, u8)| claim(SCOPES[*scope], *key, *owner);
        let streams = self.streams.iter().map(|(stream, off, events)| {
            // A stream belongs to one tenant.
            let id = Uuid::from_u128(u128::from(self.tenant) << 8 | u128::from(*stream));
            let expected = off.map_or(Expected::Any, |off| Expected::Version(model.version(id) + off));
            stream_append(id, expected, *events)
        });
        Append {
            tenant_id: tenant(self.tenant),
            command_id: Uuid::from_u128(u128::from(self.command)),
            metadata: metadata(),
            streams: streams.collect(),
            claims: self.claims.iter().map(claim).collect(),
            releases: self.releases.iter().map(claim).collect(),
        }
    }
}

fn tenant(n: u8) -> Uuid {
    Uuid::from_u128(0xA000 + u128::from(n))
}

fn metadata() -> Metadata {
    Metadata::new(Actor::system(), Uuid::from_u128(0xC0))
}

fn claim(scope: &'static str, key: u8, owner: u8) -> Claim {
    Claim { scope, key: format!("key-{key}"), owner: Uuid::from_u128(u128::from(owner)) }
}

fn stream_append(stream_id: Uuid, expected: Expected, events: usize) -> StreamAppend {
    let event =
        |n| NewEvent { event_type: "thing.done".to_owned(), schema_version: 2, payload: json!({ "n": n }) };
    StreamAppend { stream_type: "thing", stream_id, expected, events: (0..events).map(event).collect() }
}

fn drafts() -> impl Strategy<Value = Vec<(i64, Vec<Draft>)>> {
    // Mostly current versions, so that streams grow; sometimes stale or ahead.
    let off = prop_oneof![2 => Just(None), 5 => Just(Some(0)), 1 => Just(Some(-1)), 1 => Just(Some(1))];
    let streams = prop::collection::btree_map(0u8..3, (off, 0usize..3), 1..3).prop_map(|streams| {
        streams.into_iter().map(|(stream, (off, events))| (stream, off, events)).collect()
    });
    let claims = || prop::collection::vec((0..SCOPES.len(), 0u8..2, 0u8..3), 0..3);
    let draft = (0u8..40, 0u8..2, streams, claims(), claims()).prop_map(
        |(command, tenant, streams, claims, releases)| Draft { command, tenant, streams, claims, releases },
    );
    let seconds = -5i64..10;
    prop::collection::vec((seconds, prop::collection::vec(draft, 1..8)), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_batch_means_what_its_commands_mean_one_by_one(batches in drafts()) {
        let (mut world, mut model) = (World::default(), Model::default());
        let mut now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        for (seconds, batch) in &batches {
            // The clock of a machine may go back.
            now += TimeDelta::seconds(*seconds);
            let mut commands = Vec::new();
            let mut wanted = Vec::new();
            for draft in batch {
                let command = draft.command(&model);
                wanted.push(model.run(&command));
                commands.push(command);
            }
            let before = world.rows.len();
            let outcomes = world.run(now, &commands);
            prop_assert_eq!(outcomes.iter().map(verdict).collect::<Vec<_>>(), wanted);
            for row in &world.rows[before..] {
                prop_assert!(row.event.recorded_at >= now);
            }
        }
        prop_assert_eq!(&claims_of(&world), &model.claims);
        check_log(&world, &model)?;
    }
}

fn claims_of(world: &World) -> BTreeMap<(Uuid, &'static str, String), Uuid> {
    let scope = |text: &str| SCOPES.into_iter().find(|scope| *scope == text).expect("a scope of this test");
    world.claims.iter().map(|((tenant, s, key), owner)| ((*tenant, scope(s), key.clone()), *owner)).collect()
}

/// Gapless positions and versions, times that never go back, and hashes that someone else can compute.
fn check_log(world: &World, model: &Model) -> Result<(), TestCaseError> {
    let written: Vec<(Uuid, Uuid)> =
        world.rows.iter().map(|r| (r.event.stream_id, r.event.command_id)).collect();
    prop_assert_eq!(&written, &model.events);
    let mut heads: HashMap<Uuid, (i64, Hash)> = HashMap::new();
    for (index, row) in world.rows.iter().enumerate() {
        let event = &row.event;
        prop_assert_eq!((event.log_id, event.position), (LOG, index as i64 + 1));
        let (version, previous) = heads.get(&event.stream_id).copied().unwrap_or((0, [0; 32]));
        prop_assert_eq!(event.version, version + 1);
        prop_assert!(index == 0 || world.rows[index - 1].event.recorded_at <= event.recorded_at);
        prop_assert_eq!(&row.payload, &payload_text(event));
        prop_assert_eq!(row.payload_hash, sha256(&[row.payload.as_bytes()]));
        prop_assert_eq!(
            row.chain_hash,
            sha256(&[&previous, &row.payload_hash, header_text(event).as_bytes()])
        );
        heads.insert(event.stream_id, (event.version, row.chain_hash));
    }
    Ok(())
}

fn sha256(parts: &[&[u8]]) -> Hash {
    parts.iter().fold(Sha256::new(), |digest, part| digest.chain_update(part)).finalize().into()
}

/// RFC 8785 by hand, for the payloads of this test.
fn payload_text(event: &Recorded<Value>) -> String {
    format!(r#"{{"n":{}}}"#, event.body["n"])
}

/// The header that the chain hash covers, written out as SEMANTICS lists it, keys sorted.
fn header_text(event: &Recorded<Value>) -> String {
    let Recorded { tenant_id, stream_id, version, event_id, .. } = event;
    let at = event.recorded_at.format("%Y-%m-%dT%H:%M:%S%.6fZ");
    let actor = format!(r#"{{"id":"{}","type":"system"}}"#, Uuid::nil());
    let metadata = format!(r#"{{"actor":{actor},"correlation_id":"{}"}}"#, Uuid::from_u128(0xC0));
    format!(
        r#"{{"event_id":"{event_id}","event_type":"thing.done","metadata":{metadata},"recorded_at":"{at}","schema_version":2,"stream_id":"{stream_id}","stream_type":"thing","tenant_id":"{tenant_id}","version":{version}}}"#
    )
}

fn command(id: u8, stream: u8, expected: Expected) -> Append {
    Append {
        tenant_id: tenant(0),
        command_id: Uuid::from_u128(u128::from(id)),
        metadata: metadata(),
        streams: vec![stream_append(Uuid::from_u128(u128::from(stream)), expected, 1)],
        claims: Vec::new(),
        releases: Vec::new(),
    }
}

fn claiming(id: u8, claims: Vec<Claim>, releases: Vec<Claim>) -> Append {
    Append { claims, releases, ..command(id, id, Expected::Any) }
}

fn run(commands: &[Append]) -> Vec<Verdict> {
    World::default().run(DateTime::UNIX_EPOCH, commands).iter().map(verdict).collect()
}

#[test]
fn two_commands_on_one_stream_chain_within_a_batch() {
    let batch = [command(1, 9, Expected::Version(0)), command(2, 9, Expected::Version(1))];
    assert_eq!(run(&batch), [Verdict::Appended(vec![1]), Verdict::Appended(vec![2])]);
}

#[test]
fn a_stale_command_leaves_its_neighbours_alone() {
    let (good, bad) = (command(1, 9, Expected::Version(0)), command(2, 9, Expected::Version(0)));
    let conflict = Verdict::Conflict(Uuid::from_u128(9), 1);
    let neighbour = command(3, 8, Expected::Version(0));
    assert_eq!(
        run(&[good, bad, neighbour]),
        [Verdict::Appended(vec![1]), conflict, Verdict::Appended(vec![2])]
    );
}

#[test]
fn a_command_that_comes_twice_in_one_batch_happens_once() {
    let batch = [command(1, 9, Expected::Any), command(1, 9, Expected::Any)];
    assert_eq!(run(&batch), [Verdict::Appended(vec![1]), Verdict::Duplicate(1)]);
}

#[test]
fn a_claim_goes_from_hand_to_hand_within_a_batch() {
    let mail = |owner| vec![claim("email", 1, owner)];
    let batch = [
        claiming(1, mail(1), vec![]),
        claiming(2, mail(2), vec![]),
        claiming(3, vec![], mail(1)),
        claiming(4, mail(2), vec![]),
        claiming(5, vec![], mail(1)),
        claiming(6, mail(1), vec![]),
    ];
    let mut world = World::default();
    let outcomes = world.run(DateTime::UNIX_EPOCH, &batch);
    let taken: Vec<bool> = outcomes.iter().map(|o| matches!(o, Outcome::Taken { .. })).collect();
    assert_eq!(taken, [false, true, false, false, false, true]);
    assert_eq!(world.claims.values().collect::<Vec<_>>(), [&Uuid::from_u128(2)]);
}

#[test]
fn a_command_can_hand_a_claim_over() {
    let (from, to) = (claim("email", 1, 1), claim("email", 1, 2));
    let batch = [claiming(1, vec![from.clone()], vec![]), claiming(2, vec![to], vec![from])];
    assert_eq!(run(&batch), [Verdict::Appended(vec![1]), Verdict::Appended(vec![2])]);
}

#[test]
fn tenants_claim_the_same_key_independently() {
    let mine = claiming(1, vec![claim("email", 1, 1)], vec![]);
    let theirs = Append { tenant_id: tenant(1), ..claiming(2, vec![claim("email", 1, 2)], vec![]) };
    assert_eq!(run(&[mine, theirs]), [Verdict::Appended(vec![1]), Verdict::Appended(vec![2])]);
}
