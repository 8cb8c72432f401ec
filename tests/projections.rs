//! Read models: what holds of the engine that fills them, and what operators can do with them.

mod engine;
mod group;
mod operators;
mod poison;
mod rebuilding;

use std::collections::HashMap;
use std::sync::Arc;

use commands::Store;
use commands::clock::Clock;
use commands::role::{self, Definition};
use commands::store::{Append, Expected, NewEvent, Origin, StreamAppend};
use domain::event::{Actor, Metadata};
use domain::role::Role;
use projections::Projection;
use projections::runner::{Runner, Slot};
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::cluster::{self, TestDatabase};
use crate::support::{command, eventually};

pub const SECRET: &[u8] = b"a secret for tests only, long enough";
const ROLE: &str = "role";

/// A store on a database of its own, without a server.
pub struct Lab {
    pub store: Store,
    pub tenant: Uuid,
    pub database: TestDatabase,
}

impl Lab {
    pub async fn new() -> Self {
        let database = cluster::fresh_database(|url| async move {
            let migrated =
                command(&url, &HashMap::new()).arg("migrate").status().expect("the program starts");
            assert!(migrated.success(), "the migrations run");
        })
        .await;
        let store = open(&database.owner_url).await;
        Self { store, tenant: Uuid::new_v4(), database }
    }

    pub fn pool(&self) -> &PgPool {
        self.store.pool()
    }

    pub async fn log_id(&self) -> i16 {
        self.store.log_of(self.tenant).await.expect("a log")
    }

    /// The runner of one projection on the tenant's log.
    pub async fn runner(&self, projection: Projection) -> Runner {
        Runner::new(self.store.clone(), Arc::new(projection), self.log_id().await, Slot::Live)
    }

    /// Runs a projection on all logs until the token is cancelled.
    pub fn run(&self, projection: &Arc<Projection>) -> CancellationToken {
        let stop = CancellationToken::new();
        projections::runner::run_all(&self.store, &[Arc::clone(projection)], &stop).detach_all();
        stop
    }

    pub async fn role(&self, name: &str) -> Uuid {
        self.role_of(self.tenant, name).await
    }

    pub async fn role_of(&self, tenant: Uuid, name: &str) -> Uuid {
        let id = Uuid::new_v4();
        let origin = Origin::new(tenant, Metadata::new(Actor::system(), Uuid::new_v4()));
        let new = Definition { name: name.to_owned(), description: None, permissions: Vec::new() };
        let created = self.store.execute::<Role>(&origin, id, |state| role::create(state, id, &new)).await;
        created.expect("a role is created");
        id
    }

    /// Appends to a role whatever payload it is.
    pub async fn append(&self, stream_id: Uuid, event_type: &str, payloads: Vec<Value>) {
        let event = |payload| NewEvent { event_type: event_type.to_owned(), schema_version: 1, payload };
        let events = payloads.into_iter().map(event).collect();
        let append = Append {
            tenant_id: self.tenant,
            command_id: Uuid::new_v4(),
            metadata: Metadata::new(Actor::system(), Uuid::new_v4()),
            streams: vec![StreamAppend { stream_type: ROLE, stream_id, expected: Expected::Any, events }],
            claims: Vec::new(),
            releases: Vec::new(),
        };
        self.store.append(append).await.expect("appended");
    }

    /// A long history: one role that was renamed so often.
    pub async fn many_events(&self, count: usize) -> Uuid {
        let id = self.role("renamed-often").await;
        for from in (0..count).step_by(500) {
            let payloads = (from..count.min(from + 500)).map(|n| renamed(&format!("name-{n}"))).collect();
            self.append(id, "role.updated", payloads).await;
        }
        id
    }

    /// The names of the tenant's roles in the read model, sorted.
    pub async fn names(&self) -> Vec<String> {
        sqlx::query_scalar(
            "SELECT doc ->> 'name' FROM read.documents WHERE tenant_id = $1 AND collection = 'role' ORDER BY 1",
        )
        .bind(self.tenant)
        .fetch_all(self.pool())
        .await
        .expect("names")
    }

    /// Waits until a projection has seen the whole log.
    pub async fn caught_up(&self, name: &str) {
        let behind = "SELECT count(*) FROM logs l LEFT JOIN projections p ON p.log_id = l.log_id AND p.name = $1 AND p.slot = 'live'
             WHERE coalesce(p.position, 0) < (SELECT coalesce(max(position), 0) FROM events e WHERE e.log_id = l.log_id)";
        eventually("the projection catches up", async || {
            let left: i64 =
                sqlx::query_scalar(behind).bind(name).fetch_one(self.pool()).await.expect("a count");
            (left == 0).then_some(())
        })
        .await;
    }
}

pub async fn open(owner_url: &str) -> Store {
    let pool = PgPoolOptions::new()
        .max_connections(20)
        .after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::query("SET ROLE omnistream_engine").execute(&mut *connection).await?;
                sqlx::query("SET timezone TO 'UTC'").execute(connection).await.map(|_| ())
            })
        })
        .connect(owner_url)
        .await
        .expect("a pool");
    Store::open(pool, Clock::default(), SECRET).await.expect("a store")
}

pub fn renamed(name: &str) -> Value {
    json!({ "name": name, "description": null, "permissions": [] })
}

pub fn documents() -> Arc<Projection> {
    Arc::new(projections::documents::projection())
}
