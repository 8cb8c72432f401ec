//! History in bulk: what happened before, written through COPY, many times as fast as command by command.
//!
//! A [`Recorder`] turns facts into rows, with the same seals, hashes and chains as an append, and needs no database; a
//! [`Writer`] puts the rows into one log, a page in each transaction. So the two run side by side. What holds for every
//! append holds here too:
//!
//! - positions are gapless, because a page is written under the log's lock;
//! - recorded times never decrease, so history that is older than the log's last event is refused;
//! - personal data is sealed, and whoever is new gets a key in the transaction that writes what it seals;
//! - keys are claimed in the transaction that writes the events, and one that is held refuses the page.
//!
//! History has no effects: the process managers that are named when an import begins stand behind each page when it is
//! committed, without having seen it. One that still has to read something from before the page refuses it.
//!
//! Only streams that begin with the history can be imported.

mod rows;
mod writer;

use std::collections::HashSet;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use domain::aggregate::Aggregate;
use domain::canonical::{self, GENESIS, Hash, Header};
use domain::event::{Context, EventBody, Metadata, Recorded};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Claim, Store};
use crate::CommandError;
use crate::vault::{self, NewKey, Vault};

pub use rows::{CLAIMS, EVENTS, KEYS, Page, Rows};
pub use writer::Writer;

/// Events in a page, roughly: enough that a transaction costs nothing beside them, and few enough that commands which
/// wait for the log's lock meanwhile don't wait long.
pub const PAGE_EVENTS: usize = 5_000;

/// A stream that begins with the history, and where it stands.
#[derive(Clone, Debug)]
pub struct Strand {
    tenant_id: Uuid,
    stream_type: &'static str,
    stream_id: Uuid,
    version: i64,
    chain_hash: Hash,
}

impl Strand {
    #[must_use]
    pub const fn new<A: Aggregate>(tenant_id: Uuid, stream_id: Uuid) -> Self {
        Self { tenant_id, stream_type: A::STREAM, stream_id, version: 0, chain_hash: GENESIS }
    }

    #[must_use]
    pub const fn stream_id(&self) -> Uuid {
        self.stream_id
    }
}

/// What the events of one command have in common.
#[derive(Clone, Debug)]
pub struct Deed {
    at: DateTime<Utc>,
    command_id: Uuid,
    metadata: Metadata,
    metadata_text: Box<RawValue>,
}

impl Deed {
    /// `at` counts in the microseconds that the database keeps.
    #[must_use]
    pub fn new(at: DateTime<Utc>, command_id: Uuid, metadata: Metadata) -> Self {
        let at = at.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(at);
        Self { at, command_id, metadata_text: metadata.canonical(), metadata }
    }
}

/// Turns facts into the rows of one log, in the order in which they happened.
pub struct Recorder {
    log_id: i16,
    tenants: HashSet<Uuid>,
    vault: Vault,
    page: Page,
    at: DateTime<Utc>,
}

impl Store {
    /// Begins an import into the log of these tenants, past these process managers.
    ///
    /// # Errors
    /// When the tenants are of different logs, or there is none; database errors.
    pub async fn import(
        &self,
        tenants: &[Uuid],
        managers: &[&'static str],
    ) -> Result<(Recorder, Writer), CommandError> {
        let mut log = None;
        for tenant_id in tenants {
            let log_id = self.log_of(*tenant_id).await?;
            if *log.get_or_insert(log_id) != log_id {
                return Err(CommandError::failed("the tenants of an import are of one log"));
            }
        }
        let log_id = log.ok_or_else(|| CommandError::failed("an import is for some tenant"))?;
        let recorder = Recorder {
            log_id,
            tenants: tenants.iter().copied().collect(),
            vault: self.vault().clone(),
            page: Page::new(log_id, 0),
            at: DateTime::<Utc>::MIN_UTC,
        };
        Ok((recorder, Writer::open(self, log_id, managers).await?))
    }
}

impl Recorder {
    /// A key for someone whom nobody knows yet.
    ///
    /// # Errors
    /// When the tenant is none of this import, or encryption fails.
    pub fn introduce(
        &mut self,
        tenant_id: Uuid,
        subject_id: Uuid,
        at: DateTime<Utc>,
    ) -> Result<NewKey, CommandError> {
        self.check_tenant(tenant_id)?;
        let key = self.vault.new_key(tenant_id, subject_id)?;
        self.page.push_key(tenant_id, subject_id, &key, at);
        Ok(key)
    }

    /// Appends an event to its stream; `person` is whom its personal data is about.
    ///
    /// # Errors
    /// When it happened before the one recorded last, holds personal data of somebody else, or the tenant is none of
    /// this import.
    pub fn record<E: EventBody>(
        &mut self,
        strand: &mut Strand,
        deed: &Deed,
        person: Option<&NewKey>,
        event: &E,
    ) -> Result<Context, CommandError> {
        self.check_tenant(strand.tenant_id)?;
        if deed.at < self.at {
            return Err(CommandError::failed("history goes forward only"));
        }
        let (event_type, mut payload) = event.encode();
        match person {
            Some(key) => key.seal(&mut payload)?,
            None if vault::is_clear(&payload) => {
                return Err(CommandError::failed(format!("{event_type} tells about a person without a key")));
            }
            None => {}
        }
        let (payload, payload_hash) = canonical::text_and_hash(&payload);
        let event = Recorded {
            log_id: self.log_id,
            // Not known yet, and not part of the chain.
            position: 0,
            tenant_id: strand.tenant_id,
            stream_type: strand.stream_type.to_owned(),
            stream_id: strand.stream_id,
            version: strand.version + 1,
            schema_version: E::schema_version(&event_type),
            event_type,
            event_id: crate::ids::new_id(),
            command_id: deed.command_id,
            metadata: deed.metadata.clone(),
            recorded_at: deed.at,
            body: (),
        };
        let recorded_at = canonical::timestamp(deed.at);
        let header = Header::of(&event, &deed.metadata_text, &recorded_at);
        let chain_hash = header.chain(&strand.chain_hash, &payload_hash);
        self.page.push_event(&event, deed.metadata_text.get(), &payload, &payload_hash, &chain_hash);
        (strand.version, strand.chain_hash, self.at) = (event.version, chain_hash, deed.at);
        Ok(event.context())
    }

    /// Claims a key together with the events of its page.
    ///
    /// # Errors
    /// When the tenant is none of this import.
    pub fn claim(&mut self, tenant_id: Uuid, claim: &Claim) -> Result<(), CommandError> {
        self.check_tenant(tenant_id)?;
        self.page.push_claim(tenant_id, claim);
        Ok(())
    }

    /// Events recorded since the last page was taken.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.page.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.page.is_empty()
    }

    /// What was recorded since the last page was taken, to be written in that order. Whatever belongs to one command
    /// must have been recorded by now.
    #[must_use]
    pub fn take_page(&mut self) -> Page {
        let next = Page::new(self.log_id, self.page.number + 1);
        std::mem::replace(&mut self.page, next)
    }

    fn check_tenant(&self, tenant_id: Uuid) -> Result<(), CommandError> {
        if self.tenants.contains(&tenant_id) {
            Ok(())
        } else {
            Err(CommandError::failed("this tenant is none of the import's"))
        }
    }
}
