//! Proof that history was not touched: every event's hashes, computed again from what is stored.
//!
//! A changed payload shows in its own hash; a changed header, a changed hash or a removed event shows in the chain of
//! its stream. Positions are gapless, which only someone who sees the whole log can check. What no chain can show by
//! itself is a last event that was removed or rewritten together with its hashes; a removed one shows in the positions
//! that read models have already passed.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use domain::canonical::{self, GENESIS, Hash};
use domain::event::{Metadata, Recorded};
use lru::LruCache;
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::CommandError;

/// Events read at once.
const PAGE: i64 = 1_000;
/// Ends of streams kept in memory, about 100 bytes each; one that was forgotten is read again.
const REMEMBERED_STREAMS: NonZeroUsize = NonZeroUsize::new(100_000).expect("not zero");
/// Violations that are shown; more are only counted.
pub const MAX_VIOLATIONS: usize = 100;

/// Which events are verified.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    pub log_id: i16,
    /// All tenants of the log, whose positions must then be gapless.
    pub tenant_id: Option<Uuid>,
    /// The first position.
    pub from: i64,
    /// The last position.
    pub to: i64,
    /// Events at most; a report that is not complete says where it stopped.
    pub limit: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ViolationKind {
    /// The payload is not the one that was hashed.
    PayloadHash,
    /// Version, type, time, metadata or hash are not those that were chained, or the event before was exchanged.
    ChainHash,
    /// The event before in the stream is gone.
    MissingVersion,
    /// An event is gone from the log.
    MissingPosition,
    /// The metadata holds what no event's metadata holds.
    Metadata,
}

/// One event that is not as it was written, or that is missing in front of it.
#[derive(Clone, Debug, Serialize)]
pub struct Violation {
    pub log_id: i16,
    pub position: i64,
    pub event_id: Uuid,
    pub stream_type: String,
    pub stream_id: Uuid,
    pub version: i64,
    pub kind: ViolationKind,
    /// What differs.
    pub detail: String,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub events_checked: i64,
    pub streams_checked: i64,
    pub first_position: Option<i64>,
    pub last_position: Option<i64>,
    /// The whole scope was read.
    pub complete: bool,
    pub violations_found: i64,
    /// The first [`MAX_VIOLATIONS`].
    pub violations: Vec<Violation>,
}

impl Report {
    #[must_use]
    pub const fn ok(&self) -> bool {
        self.violations_found == 0
    }

    /// Adds the report of another log.
    pub fn absorb(&mut self, other: Self) {
        self.events_checked += other.events_checked;
        self.streams_checked += other.streams_checked;
        self.first_position = self.first_position.into_iter().chain(other.first_position).min();
        self.last_position = self.last_position.max(other.last_position);
        self.complete &= other.complete;
        self.violations_found += other.violations_found;
        let room = MAX_VIOLATIONS.saturating_sub(self.violations.len());
        self.violations.extend(other.violations.into_iter().take(room));
    }
}

/// The end of a stream as far as it was read.
#[derive(Clone, Copy)]
struct End {
    version: i64,
    chain_hash: Hash,
}

/// An event as the database has it.
struct StoredEvent {
    event: Recorded<Value>,
    readable_metadata: bool,
    payload_hash: Vec<u8>,
    chain_hash: Vec<u8>,
}

/// Verifies a scope, page by page. `db` sees the tenant, or all of them. `progress` hears the position after each page.
///
/// # Errors
/// Database errors.
pub async fn verify(
    db: &mut PgConnection,
    scope: Scope,
    mut progress: impl FnMut(i64) + Send,
) -> Result<Report, CommandError> {
    let mut audit = Audit { scope, report: Report::default(), ends: LruCache::new(REMEMBERED_STREAMS) };
    let mut after = scope.from - 1;
    loop {
        let limit = PAGE.min(scope.limit - audit.report.events_checked);
        let page = if limit > 0 { read_page(db, &scope, after, limit).await? } else { Vec::new() };
        let Some(last) = page.last().map(|stored| stored.event.position) else { break };
        audit.recall(db, &page).await?;
        for stored in &page {
            audit.check_position(stored, after);
            audit.check(stored);
            after = stored.event.position;
        }
        progress(last);
        // Hashing a page takes milliseconds; others want to run too.
        tokio::task::yield_now().await;
    }
    audit.report.complete = read_page(db, &scope, after, 1).await?.is_empty();
    audit.report.last_position = (audit.report.events_checked > 0).then_some(after);
    Ok(audit.report)
}

struct Audit {
    scope: Scope,
    report: Report,
    ends: LruCache<Uuid, End>,
}

impl Audit {
    /// Reads the events before those of the page whose streams are not remembered.
    async fn recall(&mut self, db: &mut PgConnection, page: &[StoredEvent]) -> Result<(), CommandError> {
        let mut first: HashMap<Uuid, i64> = HashMap::new();
        for StoredEvent { event, .. } in page {
            first.entry(event.stream_id).or_insert(event.version);
        }
        let unknown = first.iter().filter(|(id, version)| **version > 1 && !self.ends.contains(id));
        let (streams, versions): (Vec<Uuid>, Vec<i64>) =
            unknown.map(|(id, version)| (*id, version - 1)).unzip();
        self.report.streams_checked +=
            i64::try_from(first.values().filter(|version| **version == 1).count()).unwrap_or(0);
        if streams.is_empty() {
            return Ok(());
        }
        let rows: Vec<(Uuid, i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT e.stream_id, e.version, e.position, e.chain_hash
             FROM unnest($2::uuid[], $3::bigint[]) AS w (stream_id, version)
             JOIN events e ON e.log_id = $1 AND e.stream_id = w.stream_id AND e.version = w.version",
        )
        .bind(self.scope.log_id)
        .bind(&streams)
        .bind(&versions)
        .fetch_all(db)
        .await?;
        let outside = rows.iter().filter(|row| row.2 < self.scope.from).count() + streams.len() - rows.len();
        self.report.streams_checked += i64::try_from(outside).unwrap_or(0);
        for (stream_id, version, _, chain_hash) in rows {
            // A hash of another length fits nothing, which the next event's chain will show.
            let chain_hash = Hash::try_from(chain_hash.as_slice()).unwrap_or_default();
            self.ends.put(stream_id, End { version, chain_hash });
        }
        Ok(())
    }

    fn check_position(&mut self, stored: &StoredEvent, after: i64) {
        let (position, expected) = (stored.event.position, after + 1);
        if self.scope.tenant_id.is_none() && position != expected {
            let gone = if position == expected + 1 {
                expected.to_string()
            } else {
                format!("{expected} to {}", position - 1)
            };
            self.violation(stored, ViolationKind::MissingPosition, format!("nothing is at position {gone}"));
        }
    }

    fn check(&mut self, stored: &StoredEvent) {
        let event = &stored.event;
        self.report.events_checked += 1;
        self.report.first_position.get_or_insert(event.position);
        let end = self.ends.get(&event.stream_id).copied().unwrap_or(End { version: 0, chain_hash: GENESIS });
        let follows = event.version == end.version + 1;
        if !follows {
            let detail = format!("version {} follows version {} of its stream", event.version, end.version);
            self.violation(stored, ViolationKind::MissingVersion, detail);
        }
        let payload_hash = canonical::hash(&event.body);
        if stored.payload_hash != payload_hash {
            self.violation(
                stored,
                ViolationKind::PayloadHash,
                differs("the payload", &payload_hash, &stored.payload_hash),
            );
        } else if !stored.readable_metadata {
            let detail = "its metadata is not what events are written with".to_owned();
            self.violation(stored, ViolationKind::Metadata, detail);
        } else if follows {
            let chain_hash = canonical::chain(&end.chain_hash, event);
            if stored.chain_hash != chain_hash {
                let what = "the event on top of its stream's history";
                self.violation(
                    stored,
                    ViolationKind::ChainHash,
                    differs(what, &chain_hash, &stored.chain_hash),
                );
            }
        }
        // What is stored, so that one changed event does not accuse all that came after it.
        let chain_hash = Hash::try_from(stored.chain_hash.as_slice()).unwrap_or_default();
        self.ends.put(event.stream_id, End { version: event.version, chain_hash });
    }

    fn violation(&mut self, stored: &StoredEvent, kind: ViolationKind, detail: String) {
        self.report.violations_found += 1;
        if self.report.violations.len() < MAX_VIOLATIONS {
            let event = &stored.event;
            self.report.violations.push(Violation {
                log_id: event.log_id,
                position: event.position,
                event_id: event.event_id,
                stream_type: event.stream_type.clone(),
                stream_id: event.stream_id,
                version: event.version,
                kind,
                detail,
            });
        }
    }
}

fn differs(what: &str, computed: &Hash, stored: &[u8]) -> String {
    format!("{what} hashes to {}, but {} is stored", hex::encode(computed), hex::encode(stored))
}

async fn read_page(
    db: &mut PgConnection,
    scope: &Scope,
    after: i64,
    limit: i64,
) -> Result<Vec<StoredEvent>, CommandError> {
    // Two statements, so that each has the plan of its own index.
    let sql = match scope.tenant_id {
        Some(_) => {
            "SELECT * FROM events WHERE log_id = $1 AND position > $2 AND position <= $3 AND tenant_id = $5
             ORDER BY position LIMIT $4"
        }
        None => {
            "SELECT * FROM events WHERE log_id = $1 AND position > $2 AND position <= $3 AND $5::uuid IS NULL
             ORDER BY position LIMIT $4"
        }
    };
    let rows = sqlx::query(sql)
        .bind(scope.log_id)
        .bind(after)
        .bind(scope.to)
        .bind(limit)
        .bind(scope.tenant_id)
        .fetch_all(db)
        .await?;
    Ok(rows.iter().map(stored_event).collect::<Result<_, _>>()?)
}

/// Not by `event_from_row`: what was tampered with must be reported, not fail to be read.
fn stored_event(row: &sqlx::postgres::PgRow) -> Result<StoredEvent, sqlx::Error> {
    let metadata: Value = row.try_get("metadata")?;
    let typed: Option<Metadata> = serde_json::from_value(metadata.clone()).ok();
    // A field that events don't have would be dropped when read, and so escape the hash.
    let readable_metadata =
        typed.as_ref().and_then(|t| serde_json::to_value(t).ok()).is_some_and(|t| t == metadata);
    let nobody = Metadata::new(domain::event::Actor::system(), Uuid::nil());
    let event = Recorded {
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
        metadata: typed.unwrap_or(nobody),
        recorded_at: row.try_get("recorded_at")?,
        body: row.try_get("payload")?,
    };
    let (payload_hash, chain_hash) = (row.try_get("payload_hash")?, row.try_get("chain_hash")?);
    Ok(StoredEvent { event, readable_metadata, payload_hash, chain_hash })
}

/// Positions that read models have passed but that the log no longer has: its end was cut off.
///
/// # Errors
/// Database errors.
pub async fn missing_end(db: &mut PgConnection, log_id: i16) -> Result<Option<(i64, i64)>, CommandError> {
    let (head, seen): (i64, i64) = sqlx::query_as(
        "SELECT coalesce((SELECT max(position) FROM events WHERE log_id = $1), 0),
             coalesce((SELECT max(position) FROM projections WHERE log_id = $1), 0)",
    )
    .bind(log_id)
    .fetch_one(db)
    .await?;
    Ok((seen > head).then_some((head + 1, seen)))
}
