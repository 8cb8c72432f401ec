//! Contacts with their personal data in the clear; erased with the person.

use chrono::{DateTime, Utc};
use domain::channel::Channel;
use domain::contact::{ContactEvent, Profile};
use domain::personal::Personal;
use serde_json::json;
use uuid::Uuid;

use crate::event::{Event, FoldError, decode};
use crate::row;
use crate::table::{Fold, Key};

row! {
    ContactRow in "contacts" key (tenant_id, id) {
        tenant_id: Uuid,
        id: Uuid,
        channel: Channel,
        address: Option<String>,
        name: Option<String>,
        phone_number: Option<String>,
        email: Option<String>,
        tags: Vec<String>,
        version: i64,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
        erased_at: Option<DateTime<Utc>>,
    }
}

pub struct Contacts;

impl Fold for Contacts {
    type Row = ContactRow;

    fn keys(event: &Event) -> Vec<Key> {
        if event.stream_type != "contact" {
            return Vec::new();
        }
        vec![vec![json!(event.tenant_id), json!(event.stream_id)]]
    }

    fn begins(event: &Event) -> bool {
        event.version == 1
    }

    fn apply(_: &Key, row: Option<ContactRow>, event: &Event) -> Result<Option<ContactRow>, FoldError> {
        let body: ContactEvent = decode(event)?;
        let mut row = match (&body, row) {
            (ContactEvent::Created { channel, .. }, None) => new_row(event, *channel),
            (_, Some(row)) => row,
            (_, None) => {
                return Err(FoldError::Inconsistent(format!(
                    "contact {} was never created",
                    event.stream_id
                )));
            }
        };
        row.version = event.version;
        row.updated_at = event.recorded_at;
        match body {
            ContactEvent::Created { profile, .. } | ContactEvent::Updated { profile } => {
                show(&mut row, &profile)
            }
            ContactEvent::Tagged { tags } => row.tags = tags,
            ContactEvent::Erased => {
                show(&mut row, &Personal::Erased);
                row.erased_at = Some(event.recorded_at);
            }
        }
        Ok(Some(row))
    }
}

fn new_row(event: &Event, channel: Channel) -> ContactRow {
    ContactRow {
        tenant_id: event.tenant_id,
        id: event.stream_id,
        channel,
        address: None,
        name: None,
        phone_number: None,
        email: None,
        tags: Vec::new(),
        version: event.version,
        created_at: event.recorded_at,
        updated_at: event.recorded_at,
        erased_at: None,
    }
}

fn show(row: &mut ContactRow, profile: &Personal<Profile>) {
    let profile = profile.known().cloned().map(|p| (Some(p.address), p.name, p.phone_number, p.email));
    (row.address, row.name, row.phone_number, row.email) = profile.unwrap_or_default();
}
