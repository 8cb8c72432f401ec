//! Reading streams, and folding them into state.

use domain::aggregate::Aggregate;
use domain::event::{Context, EventBody, Metadata, Recorded};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::Store;
use crate::CommandError;

/// Events read at once; a longer stream is read in pages, so that memory stays bounded.
const PAGE: i64 = 1_000;
/// A stream that is this much longer than its snapshot gets a new one.
const SNAPSHOT_EVERY: i64 = 200;

/// The columns that [`event_from_row`] reads.
pub const EVENT_COLUMNS: &str = "log_id, position, tenant_id, stream_type, stream_id, version, event_type, \
     schema_version, event_id, command_id, metadata, recorded_at, payload";

/// # Errors
/// When a column is missing or does not decode.
pub fn event_from_row(row: &PgRow) -> Result<Recorded<Value>, sqlx::Error> {
    let Json(metadata): Json<Metadata> = row.try_get("metadata")?;
    Ok(Recorded {
        log_id: row.try_get("log_id")?,
        position: row.try_get("position")?,
        tenant_id: row.try_get("tenant_id")?,
        stream_type: row.try_get("stream_type")?,
        stream_id: row.try_get("stream_id")?,
        version: row.try_get("version")?,
        event_type: row.try_get("event_type")?,
        schema_version: row.try_get("schema_version")?,
        event_id: row.try_get("event_id")?,
        command_id: row.try_get("command_id")?,
        metadata,
        recorded_at: row.try_get("recorded_at")?,
        body: row.try_get("payload")?,
    })
}

/// State at a version.
#[derive(Clone)]
pub(super) struct Loaded<A> {
    pub state: A,
    pub version: i64,
    /// The version at which what readers see changed last.
    pub seen: i64,
}

impl<A: Aggregate> Loaded<A> {
    /// Takes in the stream's next event.
    pub fn apply(&mut self, event: &A::Event, context: Context) {
        self.state.evolve(event, context);
        self.version = context.version;
        if A::is_seen(event) {
            self.seen = context.version;
        }
    }
}

impl<A: Aggregate> Default for Loaded<A> {
    fn default() -> Self {
        Self { state: A::default(), version: 0, seen: 0 }
    }
}

impl Store {
    /// The state of a stream now; the default where there is none.
    ///
    /// # Errors
    /// Database errors, or an event that does not decode.
    pub async fn load<A: Aggregate>(&self, tenant_id: Uuid, stream_id: Uuid) -> Result<A, CommandError> {
        Ok(self.load_stream::<A>(tenant_id, stream_id).await?.state)
    }

    pub(super) async fn load_stream<A: Aggregate>(
        &self,
        tenant_id: Uuid,
        stream_id: Uuid,
    ) -> Result<Loaded<A>, CommandError> {
        let (mut loaded, more) =
            self.fold_page(tenant_id, stream_id, Loaded::default(), SNAPSHOT_EVERY).await?;
        if !more {
            return Ok(loaded);
        }
        // A snapshot would keep what may have to be forgotten.
        if A::HOLDS_PERSONAL_DATA {
            return self.catch_up(tenant_id, stream_id, loaded).await;
        }
        let snapshot = self.snapshot::<A>(tenant_id, stream_id).await?;
        let from = snapshot.as_ref().map_or(0, |snapshot| snapshot.version);
        loaded = snapshot.filter(|snapshot| snapshot.version > loaded.version).unwrap_or(loaded);
        let loaded = self.catch_up(tenant_id, stream_id, loaded).await?;
        // A snapshot does not say what was seen last, so it is taken where that was the last event.
        if loaded.version - from >= SNAPSHOT_EVERY && loaded.seen == loaded.version {
            self.save_snapshot(tenant_id, stream_id, &loaded).await?;
        }
        Ok(loaded)
    }

    /// The state now, from one that was so before.
    pub(super) async fn renew<A: Aggregate>(
        &self,
        tenant_id: Uuid,
        stream_id: Uuid,
        loaded: Loaded<A>,
    ) -> Result<Loaded<A>, CommandError> {
        if loaded.version == 0 {
            return self.load_stream(tenant_id, stream_id).await;
        }
        self.catch_up(tenant_id, stream_id, loaded).await
    }

    /// Folds what came after `loaded`.
    pub(super) async fn catch_up<A: Aggregate>(
        &self,
        tenant_id: Uuid,
        stream_id: Uuid,
        mut loaded: Loaded<A>,
    ) -> Result<Loaded<A>, CommandError> {
        loop {
            let more;
            (loaded, more) = self.fold_page(tenant_id, stream_id, loaded, PAGE).await?;
            if !more {
                return Ok(loaded);
            }
        }
    }

    /// Folds up to so many events, and answers whether there may be more.
    async fn fold_page<A: Aggregate>(
        &self,
        tenant_id: Uuid,
        stream_id: Uuid,
        mut loaded: Loaded<A>,
        limit: i64,
    ) -> Result<(Loaded<A>, bool), CommandError> {
        let mut events = self.read_stream(tenant_id, A::STREAM, stream_id, loaded.version, limit).await?;
        if A::HOLDS_PERSONAL_DATA {
            let keys = self.vault().keys_of(events.iter().map(|e| (e.tenant_id, &e.body))).await?;
            events.iter_mut().for_each(|e| keys.open(e.tenant_id, &mut e.body));
        }
        let more = events.len() as i64 == limit;
        for event in events {
            let context = event.context();
            let body = A::Event::decode(&event.event_type, event.schema_version, &event.body)
                .map_err(|e| CommandError::failed(format!("event {}: {e}", event.event_id)))?;
            loaded.apply(&body, context);
        }
        Ok((loaded, more))
    }

    /// A page of a stream after a version, sealed.
    ///
    /// # Errors
    /// Database errors.
    pub async fn read_stream(
        &self,
        tenant_id: Uuid,
        stream_type: &str,
        stream_id: Uuid,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Recorded<Value>>, CommandError> {
        let log_id = self.log_of(tenant_id).await?;
        let rows = sqlx::query(
            "SELECT log_id, position, tenant_id, stream_type, stream_id, version, event_type, schema_version, event_id,
                 command_id, metadata, recorded_at, payload
             FROM events WHERE log_id = $1 AND stream_id = $2 AND version > $3 AND tenant_id = $4 AND stream_type = $5
             ORDER BY version LIMIT $6",
        )
        .bind(log_id)
        .bind(stream_id)
        .bind(after)
        .bind(tenant_id)
        .bind(stream_type)
        .bind(limit)
        .fetch_all(self.pool())
        .await?;
        Ok(rows.iter().map(event_from_row).collect::<Result<_, _>>()?)
    }

    async fn snapshot<A: Aggregate>(
        &self,
        tenant_id: Uuid,
        stream_id: Uuid,
    ) -> Result<Option<Loaded<A>>, CommandError> {
        let row: Option<(i64, Value)> = sqlx::query_as(
            "SELECT version, state FROM snapshots WHERE tenant_id = $1 AND stream_id = $2 AND shape = $3",
        )
        .bind(tenant_id)
        .bind(stream_id)
        .bind(shape::<A>())
        .fetch_optional(self.pool())
        .await?;
        Ok(row.and_then(|(version, state)| {
            Some(Loaded { state: serde_json::from_value(state).ok()?, version, seen: version })
        }))
    }

    async fn save_snapshot<A: Aggregate>(
        &self,
        tenant_id: Uuid,
        stream_id: Uuid,
        loaded: &Loaded<A>,
    ) -> Result<(), CommandError> {
        let state = serde_json::to_value(&loaded.state).map_err(CommandError::failed)?;
        sqlx::query(
            "INSERT INTO snapshots AS old (tenant_id, stream_id, version, shape, state) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (tenant_id, stream_id) DO UPDATE SET version = $3, shape = $4, state = $5
             WHERE old.version < $3 OR old.shape <> $4",
        )
        .bind(tenant_id)
        .bind(stream_id)
        .bind(loaded.version)
        .bind(shape::<A>())
        .bind(state)
        .execute(self.pool())
        .await?;
        Ok(())
    }
}

/// A snapshot of another shape or another release of `evolve` is not used.
fn shape<A: Aggregate>() -> String {
    format!("{}-{}", A::STREAM, A::SHAPE)
}
