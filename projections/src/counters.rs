//! Counts kept by the event instead of counted at query time: what usage and limits are about.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::event::{Event, FoldError};
use crate::projection::Projection;
use crate::row;
use crate::table::{Fold, Key, table};

/// Contacts that exist, over all time.
pub const CONTACTS: &str = "contacts";
/// Messages in both directions, per UTC month.
pub const MESSAGES: &str = "messages";

row! {
    CounterRow in "counters" key (tenant_id, name, period) {
        tenant_id: Uuid,
        name: String,
        period: String,
        value: i64,
    }
}

#[must_use]
pub fn projection() -> Projection {
    Projection::read_model("counters", vec![table::<Counters>()])
}

/// A count of a tenant; `period` as `2026-11` for a month, empty for all time.
///
/// # Errors
/// Database errors.
pub async fn read(
    db: &mut PgConnection,
    tenant_id: Uuid,
    name: &str,
    period: &str,
) -> Result<i64, sqlx::Error> {
    let sql = "SELECT value FROM read.counters WHERE tenant_id = $1 AND name = $2 AND period = $3";
    let value = sqlx::query_scalar(sql).bind(tenant_id).bind(name).bind(period).fetch_optional(db).await?;
    Ok(value.unwrap_or(0))
}

/// The period of a moment.
#[must_use]
pub fn month_of(at: DateTime<Utc>) -> String {
    at.format("%Y-%m").to_string()
}

struct Counters;

impl Fold for Counters {
    type Row = CounterRow;

    fn keys(event: &Event) -> Vec<Key> {
        let (name, period) = match event.event_type.as_str() {
            "contact.created" | "contact.erased" => (CONTACTS, String::new()),
            "message.received" | "message.queued" => (MESSAGES, month_of(event.recorded_at)),
            _ => return Vec::new(),
        };
        vec![vec![json!(event.tenant_id), json!(name), json!(period)]]
    }

    fn apply(key: &Key, row: Option<CounterRow>, event: &Event) -> Result<Option<CounterRow>, FoldError> {
        let text = |index: usize| key.get(index).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        let mut row = row.unwrap_or_else(|| CounterRow {
            tenant_id: event.tenant_id,
            name: text(1),
            period: text(2),
            value: 0,
        });
        row.value += if event.event_type == "contact.erased" { -1 } else { 1 };
        Ok(Some(row))
    }
}
