//! The event store: several logs on PostgreSQL, read by stream and appended in groups.

mod appender;
mod batch;
mod execute;
mod feed;
pub mod import;
mod load;
mod memory;
mod pool;
mod progress;
mod statement;
mod tenants;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

pub use appender::{MAX_BATCH, QUEUE_LIMIT};
pub use batch::{Append, Claim, Expected, NewEvent, Outcome, StreamAppend};
pub use execute::{Decided, Decision, Origin, Part};
pub use feed::LoggedEvent;
pub use load::{EVENT_COLUMNS, event_from_row};
pub use pool::Pool;
pub use progress::{HEAD, Progress};

/// For a session that looks everything up by keys: its statements are planned once, and for one key after the other,
/// however many there are.
pub const LOOKUPS_BY_KEY: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
     SET enable_hashjoin = off; SET enable_mergejoin = off";

use crate::CommandError;
use crate::clock::Clock;
use crate::vault::Vault;
use appender::Appender;
use execute::{StateCache, Turns};
use feed::Feed;
use tenants::Tenants;

/// Cheap to clone; all clones share the queues and the caches.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    pool: Pool,
    clock: Clock,
    vault: Vault,
    progress: Arc<Progress>,
    appenders: HashMap<i16, Appender>,
    tenants: Tenants,
    cache: StateCache,
    turns: Turns,
    feed: Arc<Feed>,
}

impl Store {
    /// `connections` are those of the engine role.
    ///
    /// # Errors
    /// When the database can't be read, has no logs, or the secret is too short.
    pub async fn open(connections: PgPool, clock: Clock, secret: &[u8]) -> Result<Self, CommandError> {
        let pool = Pool::new(connections);
        let logs: Vec<i16> =
            sqlx::query_scalar("SELECT log_id FROM logs ORDER BY log_id").fetch_all(&pool).await?;
        if logs.is_empty() {
            return Err(CommandError::failed("the database has no logs: run the migrations"));
        }
        let vault = Vault::new(pool.clone(), clock.clone(), secret)?;
        let progress = Arc::new(Progress::default());
        let feed = Arc::new(Feed::new(&logs));
        progress.connect(&pool);
        tokio::spawn(feed::look_for_heads(pool.clone(), Arc::clone(&progress)));
        let appenders = logs
            .iter()
            .map(|log| {
                let (progress, feed) = (Arc::clone(&progress), Arc::clone(&feed));
                (*log, Appender::start(*log, pool.clone(), clock.clone(), progress, feed))
            })
            .collect();
        let tenants = Tenants::new(pool.clone(), logs);
        let (cache, turns) = (StateCache::default(), Turns::default());
        Ok(Self(Arc::new(Shared { pool, clock, vault, progress, appenders, tenants, cache, turns, feed })))
    }

    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.0.pool
    }

    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.0.vault
    }

    #[must_use]
    pub fn progress(&self) -> &Arc<Progress> {
        &self.0.progress
    }

    #[must_use]
    pub fn logs(&self) -> &[i16] {
        self.0.tenants.logs()
    }

    /// The log that holds a tenant's events; a new tenant gets one.
    ///
    /// # Errors
    /// Database errors.
    pub async fn log_of(&self, tenant_id: Uuid) -> Result<i16, CommandError> {
        self.0.tenants.log_of(tenant_id).await
    }

    /// Who holds a claim.
    ///
    /// # Errors
    /// Database errors.
    pub async fn claim_owner(
        &self,
        tenant_id: Uuid,
        scope: &str,
        key: &str,
    ) -> Result<Option<Uuid>, CommandError> {
        let log_id = self.log_of(tenant_id).await?;
        Ok(sqlx::query_scalar(
            "SELECT owner FROM claims WHERE log_id = $1 AND tenant_id = $2 AND scope = $3 AND key = $4",
        )
        .bind(log_id)
        .bind(tenant_id)
        .bind(scope)
        .bind(key)
        .fetch_optional(&self.0.pool)
        .await?)
    }

    /// Where the last event of a command stands; nothing if it did not happen or changed nothing.
    ///
    /// # Errors
    /// Database errors.
    pub async fn position_of(&self, tenant_id: Uuid, command_id: Uuid) -> Result<Option<i64>, CommandError> {
        let log_id = self.log_of(tenant_id).await?;
        let sql = "SELECT max(position) FROM events WHERE log_id = $1 AND command_id = $2 AND tenant_id = $3";
        let position = sqlx::query_scalar(sql).bind(log_id).bind(command_id).bind(tenant_id);
        Ok(position.fetch_one(&self.0.pool).await?)
    }

    /// When the event at a position was recorded.
    ///
    /// # Errors
    /// Database errors.
    pub async fn recorded_at(
        &self,
        log_id: i16,
        position: i64,
    ) -> Result<Option<DateTime<Utc>>, CommandError> {
        let sql = "SELECT recorded_at FROM events WHERE log_id = $1 AND position = $2";
        Ok(sqlx::query_scalar(sql).bind(log_id).bind(position).fetch_optional(self.pool()).await?)
    }

    /// Seals and appends, without deciding anything.
    ///
    /// # Errors
    /// `Busy` when the log's queue is full; sealing and database errors.
    pub async fn append(&self, mut append: Append) -> Result<Outcome, CommandError> {
        let log_id = self.log_of(append.tenant_id).await?;
        for event in append.streams.iter_mut().flat_map(|s| &mut s.events) {
            self.0.vault.seal(append.tenant_id, &mut event.payload).await?;
        }
        let appender = self.0.appenders.get(&log_id).ok_or_else(|| CommandError::failed("no such log"))?;
        appender.append(append).await
    }
}
