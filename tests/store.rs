//! The event store on a real PostgreSQL, without the program around it: what it promises to every caller.

mod concurrency;
mod failures;
mod idempotency;
mod importing;
mod loading;
mod payloads;
mod pool;
mod turns;
mod vault;

use std::collections::HashMap;

use commands::clock::Clock;
use commands::store::{Append, Claim, Expected, NewEvent, Store, StreamAppend, event_from_row};
use domain::aggregate::Aggregate;
use domain::canonical::{self, GENESIS, Hash};
use domain::event::{Actor, Context, EventBody, Metadata, Recorded};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::support::cluster::{self, TestDatabase};

const SECRET: &[u8] = b"a secret for tests only, long enough";
pub(crate) const ENGINE: &str = "omnistream_engine";
pub(crate) const APP: &str = "omnistream_app";

/// A migrated database, on which several stores may work as several processes do.
pub(crate) struct Logs {
    pub(crate) database: TestDatabase,
}

impl Logs {
    pub(crate) async fn start() -> Self {
        let database = cluster::fresh_database(|url| async move {
            let migrated = crate::support::command(&url, &HashMap::new()).arg("migrate").status();
            assert!(migrated.expect("the program starts").success(), "the migrations run");
        })
        .await;
        Self { database }
    }

    /// Connections as the program has them.
    pub(crate) async fn pool_as(&self, role: &'static str) -> PgPool {
        PgPoolOptions::new()
            .max_connections(10)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    let set = sqlx::query(
                        "SELECT set_config('role', $1, false), set_config('timezone', 'UTC', false)",
                    );
                    set.bind(role).execute(connection).await.map(drop)
                })
            })
            .connect(&self.database.owner_url)
            .await
            .expect("a pool")
    }

    async fn store(&self) -> Store {
        Store::open(self.pool_as(ENGINE).await, Clock::default(), SECRET).await.expect("a store")
    }
}

/// Tenants that share a log.
fn tenant(n: u128) -> Uuid {
    // Whatever the number of logs, up to 64 of them.
    Uuid::from_u128(0x7e_0000 + n * 64)
}

fn metadata() -> Metadata {
    Metadata::new(Actor::system(), Uuid::from_u128(0xc0))
}

fn origin(tenant_id: Uuid) -> commands::store::Origin {
    commands::store::Origin::new(tenant_id, metadata())
}

/// One event on one stream, whatever its version.
fn fact(tenant_id: Uuid, stream_id: Uuid, payload: Value) -> Append {
    let event = NewEvent { event_type: "tally.added".to_owned(), schema_version: 1, payload };
    Append {
        tenant_id,
        command_id: Uuid::new_v4(),
        metadata: metadata(),
        streams: vec![StreamAppend {
            stream_type: "tally",
            stream_id,
            expected: Expected::Any,
            events: vec![event],
        }],
        claims: Vec::new(),
        releases: Vec::new(),
    }
}

fn claim(key: impl Into<String>, owner: Uuid) -> Claim {
    Claim { scope: "email", key: key.into(), owner }
}

/// The smallest aggregate: a sum. `SHAPE` stands for the release of its code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Tally<const SHAPE: u32 = 1> {
    sum: i64,
    closed: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
enum TallyEvent {
    #[serde(rename = "tally.added")]
    Added { n: i64 },
    #[serde(rename = "tally.closed")]
    Closed,
}

impl EventBody for TallyEvent {}

impl<const SHAPE: u32> Aggregate for Tally<SHAPE> {
    const STREAM: &'static str = "tally";
    const SHAPE: u32 = SHAPE;
    type Event = TallyEvent;

    fn evolve(&mut self, event: &TallyEvent, _: Context) {
        match event {
            TallyEvent::Added { n } => self.sum += n,
            TallyEvent::Closed => self.closed = true,
        }
    }

    fn exists(&self) -> bool {
        true
    }
}

fn added(n: i64) -> Value {
    json!({ "n": n })
}

/// A stored row with its hashes.
struct Stored {
    event: Recorded<Value>,
    payload_hash: Vec<u8>,
    chain_hash: Vec<u8>,
}

async fn read_log(pool: &PgPool, log_id: i16) -> Vec<Stored> {
    let rows = sqlx::query("SELECT * FROM events WHERE log_id = $1 ORDER BY position")
        .bind(log_id)
        .fetch_all(pool)
        .await;
    let stored = |row: &sqlx::postgres::PgRow| Stored {
        event: event_from_row(row).expect("an event"),
        payload_hash: row.get("payload_hash"),
        chain_hash: row.get("chain_hash"),
    };
    rows.expect("the log").iter().map(stored).collect()
}

/// What holds for every log at any time: gapless positions and versions, times that never go back, and hashes that
/// follow from what is stored.
fn check_log(log: &[Stored]) {
    let mut heads: HashMap<Uuid, (i64, Hash)> = HashMap::new();
    for (index, Stored { event, payload_hash, chain_hash }) in log.iter().enumerate() {
        assert_eq!(event.position, index as i64 + 1, "positions are gapless");
        let (version, previous) = heads.get(&event.stream_id).copied().unwrap_or((0, GENESIS));
        assert_eq!(event.version, version + 1, "versions are gapless");
        assert!(index == 0 || log[index - 1].event.recorded_at <= event.recorded_at, "time goes forward");
        assert_eq!(payload_hash, &canonical::hash(&event.body), "the payload is as hashed: {}", event.body);
        let chain = canonical::chain(&previous, event);
        assert_eq!(chain_hash, &chain, "the chain holds");
        heads.insert(event.stream_id, (event.version, chain));
    }
}
