//! Rows as COPY takes them in PostgreSQL's binary format.

use chrono::{DateTime, Utc};
use domain::canonical::Hash;
use domain::event::Recorded;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::store::Claim;
use crate::vault::NewKey;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// No flags, and no extension of the header.
const HEADER_REST: [u8; 8] = [0; 8];
/// Where a row would have its number of fields.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// Of the binary form of `jsonb`.
const JSONB_VERSION: u8 = 1;
/// 2000-01-01 in Unix time, where the database's time begins.
const DATABASE_EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Bytes handed to the connection at once.
const CHUNK: usize = 1 << 20;
/// Where an event's position stands in its row: after the number of fields, the log and its own length.
const POSITION_OFFSET: usize = 2 + (4 + 2) + 4;

/// A table's columns, in the order in which rows hold them.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    pub table: &'static str,
    pub names: &'static str,
    count: i16,
}

pub const EVENTS: Columns = Columns {
    table: "events",
    names: "log_id, position, tenant_id, stream_type, stream_id, version, event_type, schema_version, event_id, \
            command_id, metadata, recorded_at, payload, payload_hash, chain_hash",
    count: 15,
};
pub const CLAIMS: Columns =
    Columns { table: "claims", names: "log_id, tenant_id, scope, key, owner", count: 5 };
pub const KEYS: Columns =
    Columns { table: "subject_keys", names: "tenant_id, subject_id, wrapped_key, created_at", count: 4 };

/// Rows of one table, encoded.
#[derive(Clone, Debug)]
pub struct Rows {
    columns: Columns,
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Rows {
    const fn new(columns: Columns) -> Self {
        Self { columns, bytes: Vec::new(), starts: Vec::new() }
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.starts.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// What they measure, encoded.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Copies all of these in one statement into a table that has these columns; its name is put into the statement
    /// as it is.
    ///
    /// # Errors
    /// Database errors; the transaction is over then.
    pub async fn copy(connection: &mut PgConnection, table: &str, all: &[&Self]) -> Result<(), sqlx::Error> {
        let Some(first) = all.iter().find(|rows| !rows.is_empty()) else { return Ok(()) };
        let statement = format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", first.columns.names);
        let mut copy = connection.copy_in_raw(&statement).await?;
        copy.send([SIGNATURE, &HEADER_REST].concat()).await?;
        for chunk in all.iter().flat_map(|rows| rows.bytes.chunks(CHUNK)) {
            copy.send(chunk).await?;
        }
        copy.send(TRAILER.as_slice()).await?;
        copy.finish().await.map(|_| ())
    }

    fn begin(&mut self) {
        self.starts.push(self.bytes.len());
        self.bytes.extend(self.columns.count.to_be_bytes());
    }

    fn field(&mut self, value: &[u8]) {
        // A value is as long as a message may be, which is far from 2 GB.
        self.bytes.extend((value.len() as u32).to_be_bytes());
        self.bytes.extend(value);
    }

    fn json(&mut self, text: &str) {
        self.bytes.extend((text.len() as u32 + 1).to_be_bytes());
        self.bytes.push(JSONB_VERSION);
        self.bytes.extend(text.as_bytes());
    }

    fn time(&mut self, at: DateTime<Utc>) {
        self.field(&(at.timestamp_micros() - DATABASE_EPOCH_MICROS).to_be_bytes());
    }
}

/// What is written to one log in one transaction.
#[derive(Clone, Debug)]
pub struct Page {
    pub(super) log_id: i16,
    /// From 0; pages are written in this order.
    pub(super) number: u64,
    pub events: Rows,
    pub claims: Rows,
    pub keys: Rows,
    /// When the first event happened.
    pub(super) first_at: Option<DateTime<Utc>>,
}

impl Page {
    pub(super) const fn new(log_id: i16, number: u64) -> Self {
        Self {
            log_id,
            number,
            events: Rows::new(EVENTS),
            claims: Rows::new(CLAIMS),
            keys: Rows::new(KEYS),
            first_at: None,
        }
    }

    /// How many events it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.events.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn push_event(
        &mut self,
        event: &Recorded<()>,
        metadata: &str,
        payload: &str,
        payload_hash: &Hash,
        chain_hash: &Hash,
    ) {
        self.first_at.get_or_insert(event.recorded_at);
        let rows = &mut self.events;
        rows.begin();
        rows.field(&event.log_id.to_be_bytes());
        rows.field(&event.position.to_be_bytes());
        rows.field(event.tenant_id.as_bytes());
        rows.field(event.stream_type.as_bytes());
        rows.field(event.stream_id.as_bytes());
        rows.field(&event.version.to_be_bytes());
        rows.field(event.event_type.as_bytes());
        rows.field(&event.schema_version.to_be_bytes());
        rows.field(event.event_id.as_bytes());
        rows.field(event.command_id.as_bytes());
        rows.json(metadata);
        rows.time(event.recorded_at);
        rows.json(payload);
        rows.field(payload_hash);
        rows.field(chain_hash);
    }

    pub(super) fn push_claim(&mut self, tenant_id: Uuid, claim: &Claim) {
        let rows = &mut self.claims;
        rows.begin();
        rows.field(&self.log_id.to_be_bytes());
        rows.field(tenant_id.as_bytes());
        rows.field(claim.scope.as_bytes());
        rows.field(claim.key.as_bytes());
        rows.field(claim.owner.as_bytes());
    }

    pub(super) fn push_key(&mut self, tenant_id: Uuid, subject_id: Uuid, key: &NewKey, at: DateTime<Utc>) {
        let rows = &mut self.keys;
        rows.begin();
        rows.field(tenant_id.as_bytes());
        rows.field(subject_id.as_bytes());
        rows.field(key.wrapped());
        rows.time(at);
    }

    /// Gives the events the positions after this one.
    pub(super) fn place_after(&mut self, position: i64) {
        let Rows { bytes, starts, .. } = &mut self.events;
        for (position, start) in (position + 1..).zip(starts) {
            let at = *start + POSITION_OFFSET;
            bytes[at..at + size_of::<i64>()].copy_from_slice(&position.to_be_bytes());
        }
    }
}
