//! The ways to write an event that are measured against each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Result, bail};
use commands::role::Definition;
use commands::store::{Append, Expected, NewEvent, Origin, Outcome, StreamAppend};
use commands::{Store, ids};
use domain::event::{Actor, ActorKind, EventBody, Metadata};
use domain::role::{Role, RoleEvent};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

/// Streams that many commands chain on at once.
const FEW_STREAMS: usize = 4;
/// Tenants enough that every log has some.
const TENANTS_PER_LOG: usize = 8;
/// A text that makes the payload about 300 bytes, as an ordinary message's.
const DESCRIPTION: &str = "Answers customers of the northern branches at night and on holidays, hands difficult \
    conversations over to the day shift with a note, and may read the reports of its own division.";

const PLAIN_TABLE: &str = "bench_inserts";
const PLAIN_INSERT: &str = "INSERT INTO bench_inserts (log_id, position, tenant_id, stream_type, stream_id, version, \
     event_type, schema_version, event_id, command_id, metadata, recorded_at, payload, payload_hash, chain_hash) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// One transaction per insert, on a connection per caller: what the others are compared with.
    Plain,
    /// Through the store, every command on a stream of its own, all in one log.
    OwnStreams,
    /// Through the store, all commands on a few streams, where each event's hash chains to the one before it.
    FewStreams,
    /// Through the store, spread over all logs.
    AllLogs,
    /// A whole command: load the stream, decide, claim a name, append.
    Command,
}

impl Contender {
    pub const ALL: [Self; 5] =
        [Self::Plain, Self::OwnStreams, Self::FewStreams, Self::AllLogs, Self::Command];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain inserts, a transaction each",
            Self::OwnStreams => "append, a stream each, one log",
            Self::FewStreams => "append, 4 streams, one log",
            Self::AllLogs => "append, a stream each, all logs",
            Self::Command => "command: load, decide, claim, append",
        }
    }
}

/// What a call of any contender needs.
#[derive(Clone)]
pub struct Ring(Arc<Shared>);

struct Shared {
    store: Store,
    plain: PgPool,
    tenants: Vec<Uuid>,
    streams: [Uuid; FEW_STREAMS],
    metadata: Metadata,
    event: NewEvent,
    position: AtomicI64,
}

impl Ring {
    /// `plain` is the pool of the plain inserts.
    ///
    /// # Errors
    /// Database errors.
    pub async fn new(store: Store, plain: PgPool) -> Result<Self> {
        // The same columns and indexes as the log's, in a table that gives no order and no idempotency.
        let ddl = format!("CREATE TABLE IF NOT EXISTS {PLAIN_TABLE} (LIKE events INCLUDING ALL)");
        sqlx::query(AssertSqlSafe(ddl)).execute(store.pool()).await?;
        let actor =
            Actor { name: Some("Siti Rahma".to_owned()), ..Actor::new(ActorKind::Agent, ids::new_id()) };
        let (event_type, payload) = created().encode();
        let event = NewEvent { schema_version: RoleEvent::schema_version(&event_type), event_type, payload };
        let tenants =
            (0..store.logs().len() * TENANTS_PER_LOG).map(|n| Uuid::from_u128(1_000 + n as u128)).collect();
        let now = store.clock().now().timestamp_micros();
        Ok(Self(Arc::new(Shared {
            store,
            plain,
            tenants,
            streams: std::array::from_fn(|_| ids::new_id()),
            metadata: Metadata::new(actor, ids::new_id()),
            event,
            // After whatever an earlier ring wrote: nothing writes a row per microsecond.
            position: AtomicI64::new(now),
        })))
    }

    pub fn payload_bytes(&self) -> usize {
        self.0.event.payload.to_string().len()
    }

    /// One event by this contender's means, on behalf of one of its callers.
    ///
    /// # Errors
    /// Whatever keeps the event from being written.
    pub async fn write(&self, contender: Contender, caller: usize) -> Result<()> {
        let Shared { tenants, streams, .. } = self.0.as_ref();
        // Boxed: the largest of them would be copied about for each call of any.
        match contender {
            Contender::Plain => Box::pin(self.insert()).await,
            Contender::OwnStreams => {
                Box::pin(self.append(tenants[0], ids::new_id(), Expected::Version(0))).await
            }
            Contender::FewStreams => {
                Box::pin(self.append(tenants[0], streams[caller % FEW_STREAMS], Expected::Any)).await
            }
            Contender::AllLogs => {
                let tenant = tenants[caller % tenants.len()];
                Box::pin(self.append(tenant, ids::new_id(), Expected::Version(0))).await
            }
            Contender::Command => Box::pin(self.command(tenants[0])).await,
        }
    }

    async fn append(&self, tenant_id: Uuid, stream_id: Uuid, expected: Expected) -> Result<()> {
        let Shared { store, metadata, event, .. } = self.0.as_ref();
        let streams =
            vec![StreamAppend { stream_type: "role", stream_id, expected, events: vec![event.clone()] }];
        let append = Append {
            tenant_id,
            command_id: ids::new_id(),
            metadata: metadata.clone(),
            streams,
            claims: Vec::new(),
            releases: Vec::new(),
        };
        match store.append(append).await? {
            Outcome::Appended(_) => Ok(()),
            other => bail!("the store answered {other:?}"),
        }
    }

    async fn command(&self, tenant_id: Uuid) -> Result<()> {
        let Shared { store, metadata, .. } = self.0.as_ref();
        let id = ids::new_id();
        let RoleEvent::Created { description, permissions, .. } = created() else { bail!("not a new role") };
        let new = Definition { name: id.to_string(), description, permissions };
        let origin = Origin::new(tenant_id, metadata.clone());
        store.execute::<Role>(&origin, id, |role| commands::role::create(role, id, &new)).await?;
        Ok(())
    }

    async fn insert(&self) -> Result<()> {
        self.insert_with(&self.0.plain).await
    }

    /// One row by plain SQL.
    ///
    /// # Errors
    /// Database errors.
    pub async fn insert_with<'c>(&self, database: impl sqlx::PgExecutor<'c>) -> Result<()> {
        let Shared { store, tenants, metadata, event, position, .. } = self.0.as_ref();
        let metadata: Value = serde_json::to_value(metadata)?;
        let hash: [u8; 32] = rand::random();
        sqlx::query(PLAIN_INSERT)
            .bind(1_i16)
            // Ascending, which an index likes best, and no sequence of the database's.
            .bind(position.fetch_add(1, Ordering::Relaxed))
            .bind(tenants[0])
            .bind("role")
            .bind(ids::new_id())
            .bind(1_i64)
            .bind(&event.event_type)
            .bind(event.schema_version)
            .bind(ids::new_id())
            .bind(ids::new_id())
            .bind(metadata)
            .bind(store.clock().now())
            .bind(&event.payload)
            .bind(hash.as_slice())
            .bind(hash.as_slice())
            .execute(database)
            .await?;
        Ok(())
    }
}

fn created() -> RoleEvent {
    RoleEvent::Created {
        name: "night shift".to_owned(),
        description: Some(DESCRIPTION.to_owned()),
        permissions: vec!["audit.view".to_owned(), "analytics.view".to_owned()],
    }
}
