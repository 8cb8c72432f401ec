//! What Meta's webhooks say.
//!
//! Reading goes in two steps so that damage stays where it is. [`parse`] only cuts a body into changes; each can be
//! routed to its account and kept as it came. [`interpret`] reads one change and judges every message and status in
//! it on its own: a bad one becomes [`Item::Malformed`] beside its good neighbours. Fields that we don't know are
//! ignored everywhere, since Meta adds some without notice.

mod message;
mod read;
mod status;

use serde_json::Value;
use thiserror::Error;

pub use message::{Echo, InboundMessage};
pub use status::{DeliveryStatus, Pricing, StatusUpdate, TemplateChange, TemplateUpdate};

use super::errors::ProviderError;
use super::repair::mended;
use crate::message_content::without_nul;
use read::optional_id;

/// The `object` of every webhook that concerns WhatsApp.
pub const WEBHOOK_OBJECT: &str = "whatsapp_business_account";

const FIELD_MESSAGES: &str = "messages";
const FIELD_ECHOES: &str = "smb_message_echoes";
const FIELD_TEMPLATE_STATUS: &str = "message_template_status_update";
const FIELD_TEMPLATE_QUALITY: &str = "message_template_quality_update";
const FIELD_TEMPLATE_CATEGORY: &str = "template_category_update";

/// Why a body is not a WhatsApp webhook at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotAWebhook {
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    #[error("the body's object is not {WEBHOOK_OBJECT}")]
    OtherObject,
    #[error("the body has no list of entries")]
    NoEntries,
}

/// One change of one entry: the unit that belongs to a single account.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The WhatsApp Business Account that the entry is about.
    pub waba_id: Option<String>,
    /// The business number, which names the integration account; template changes have none.
    pub phone_number_id: Option<String>,
    /// What the change is about, such as `messages`; empty when the change doesn't say, see [`interpret`].
    pub field: String,
    /// The change as it came, without NUL characters: the input of [`interpret`].
    pub raw: Value,
}

/// One thing that a change reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    Message(InboundMessage),
    /// A message that the business wrote in its WhatsApp Business app.
    Echo(Echo),
    Status(StatusUpdate),
    Template(TemplateUpdate),
    /// Trouble with the account or the app as a whole, not with one message.
    AccountError(ProviderError),
    /// Understood, and of no interest: a field or a status that changes nothing here.
    Ignored {
        /// The change's field, or `messages.statuses.<status>`.
        field: String,
    },
    /// Could not be read. Kept where support can see it; its neighbours are unaffected.
    Malformed {
        /// What is wrong, naming the field.
        reason: String,
        raw: Value,
    },
}

/// Cuts a webhook body into its changes, in their order.
///
/// Entries and changes of the wrong shape are cut out too, for [`interpret`] to report. Of duplicate keys in an
/// object the last counts.
///
/// # Errors
/// [`NotAWebhook`] when there is nothing to cut: not JSON (or nested deeper than 128), or another product's webhook.
pub fn parse(body: &[u8]) -> Result<Vec<Change>, NotAWebhook> {
    let parsed = serde_json::from_slice(body).or_else(|error| {
        serde_json::from_str(&mended(body)).map_err(|_| NotAWebhook::NotJson(error.to_string()))
    });
    let parsed: Value = parsed?;
    if parsed.get("object").and_then(Value::as_str) != Some(WEBHOOK_OBJECT) {
        return Err(NotAWebhook::OtherObject);
    }
    let entries = parsed.get("entry").and_then(Value::as_array).ok_or(NotAWebhook::NoEntries)?;
    Ok(entries.iter().flat_map(changes_of).collect())
}

fn changes_of(entry: &Value) -> Vec<Change> {
    let waba_id = optional_id(entry, "id");
    match entry.get("changes").and_then(Value::as_array) {
        Some(changes) => changes.iter().map(|change| change_of(waba_id.clone(), change)).collect(),
        // No list of changes: the entry itself stands for the one that cannot be read.
        None => vec![change_of(waba_id, entry)],
    }
}

fn change_of(waba_id: Option<String>, change: &Value) -> Change {
    let raw = without_nul(change).into_owned();
    let phone_number_id = raw
        .get("value")
        .and_then(|value| value.get("metadata"))
        .and_then(|meta| optional_id(meta, "phone_number_id"));
    let field = raw.get("field").and_then(Value::as_str).unwrap_or_default().to_owned();
    let waba_id = waba_id.map(|id| id.replace('\0', "\u{FFFD}"));
    Change { waba_id, phone_number_id, field, raw }
}

/// Reads one change ([`Change::raw`]): messages first, then statuses, then errors, each in their order.
pub fn interpret(change: &Value) -> Vec<Item> {
    let clean = without_nul(change);
    let change = clean.as_ref();
    let malformed = |reason: &str| vec![Item::Malformed { reason: reason.to_owned(), raw: change.clone() }];
    let Some(field) = change.get("field").and_then(Value::as_str) else {
        return malformed("field: missing or not a string");
    };
    const OF_INTEREST: [&str; 5] = [
        FIELD_MESSAGES,
        FIELD_ECHOES,
        FIELD_TEMPLATE_STATUS,
        FIELD_TEMPLATE_QUALITY,
        FIELD_TEMPLATE_CATEGORY,
    ];
    if !OF_INTEREST.contains(&field) {
        return vec![Item::Ignored { field: field.to_owned() }];
    }
    let Some(value) = change.get("value").filter(|value| value.is_object()) else {
        return malformed("value: missing or not an object");
    };
    let items = match field {
        FIELD_TEMPLATE_STATUS => vec![template(value, status::template_status(value))],
        FIELD_TEMPLATE_QUALITY => vec![template(value, status::template_quality(value))],
        FIELD_TEMPLATE_CATEGORY => vec![template(value, status::template_category(value))],
        FIELD_ECHOES => each(value, "message_echoes", |raw| message::echo(raw).map(Item::Echo)),
        _ => messages_change(value),
    };
    if items.is_empty() { vec![Item::Ignored { field: field.to_owned() }] } else { items }
}

fn messages_change(value: &Value) -> Vec<Item> {
    let profiles = message::Profiles::of(value);
    let mut items = each(value, "messages", |raw| message::inbound(raw, &profiles).map(Item::Message));
    items.extend(each(value, "statuses", status::status_item));
    items.extend(each(value, "errors", |raw| {
        ProviderError::from_value(raw)
            .map(Item::AccountError)
            .ok_or_else(|| "code: missing or not a number".to_owned())
    }));
    items
}

/// Reads every element of a list on its own.
fn each(value: &Value, key: &str, read: impl Fn(&Value) -> Result<Item, String>) -> Vec<Item> {
    match value.get(key) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(raws)) => raws.iter().map(|raw| item(raw, read(raw))).collect(),
        Some(other) => vec![Item::Malformed { reason: format!("{key}: not a list"), raw: other.clone() }],
    }
}

fn template(value: &Value, change: Result<TemplateChange, String>) -> Item {
    item(value, change.and_then(|change| status::template_update(value, change)).map(Item::Template))
}

fn item(raw: &Value, read: Result<Item, String>) -> Item {
    read.unwrap_or_else(|reason| Item::Malformed { reason, raw: raw.clone() })
}
