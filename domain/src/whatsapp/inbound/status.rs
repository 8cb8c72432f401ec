//! What became of messages and templates that we sent to Meta.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Item;
use super::read::{id, optional_id, optional_text, text, timestamp};
use crate::whatsapp::errors::ProviderError;

/// How far a message got. The order is that of progress, except that a failure is final wherever it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryStatus {
    Sent,
    Delivered,
    Read,
    Failed,
}

/// A change in the delivery of a message that we sent.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusUpdate {
    /// Meta's id of the message, as the send call returned it.
    pub external_id: String,
    /// The customer's number or business-scoped user id.
    pub recipient: Option<String>,
    pub status: DeliveryStatus,
    pub at: DateTime<Utc>,
    /// Why it failed; see [`SendFailure::from_errors`](crate::whatsapp::SendFailure::from_errors).
    pub errors: Vec<ProviderError>,
    pub pricing: Option<Pricing>,
    /// What opened the conversation that Meta bills, such as `marketing`. Only where it bills conversations.
    pub conversation_category: Option<String>,
    pub conversation_id: Option<String>,
    /// What we attached when sending ([`OutgoingMessage::callback_data`](crate::whatsapp::OutgoingMessage)): names
    /// our message even when the answer to the send call never arrived.
    pub callback_data: Option<String>,
}

/// How Meta bills a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pricing {
    pub billable: Option<bool>,
    /// Such as `marketing`, `utility`, `service`.
    pub category: Option<String>,
    /// `PMP` (per message) or the older `CBP` (per conversation).
    pub model: Option<String>,
    /// `regular`, `free_customer_service` or `free_entry_point`.
    pub kind: Option<String>,
}

/// News about one of our message templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateUpdate {
    /// Meta's id of the template.
    pub template_id: String,
    pub name: String,
    pub language: String,
    pub change: TemplateChange,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateChange {
    Status {
        /// Meta's word: `APPROVED`, `REJECTED`, `PAUSED`, `DISABLED`, `FLAGGED`, `REINSTATED`, `PENDING_DELETION` …
        event: String,
        /// Why, as a code or in Meta's words; `None` where Meta writes `NONE`.
        reason: Option<String>,
    },
    /// `GREEN`, `YELLOW`, `RED` or `UNKNOWN`.
    Quality(String),
    /// The category that the template has now, in Meta's word. An announcement of another one names that beside it,
    /// and is followed by an update once it is so.
    Category(String),
}

pub(super) fn status_item(raw: &Value) -> Result<Item, String> {
    let external_id = id(raw, "id")?;
    let word = text(raw, "status")?;
    let status = match word.as_str() {
        "sent" => DeliveryStatus::Sent,
        "delivered" => DeliveryStatus::Delivered,
        // A voice message that was played was also seen.
        "read" | "played" => DeliveryStatus::Read,
        "failed" => DeliveryStatus::Failed,
        // "deleted" and "warning" say nothing about delivery, and Meta may add more of that kind.
        other => return Ok(Item::Ignored { field: format!("messages.statuses.{other}") }),
    };
    let conversation = raw.get("conversation").unwrap_or(&Value::Null);
    let errors = raw.get("errors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Ok(Item::Status(StatusUpdate {
        external_id,
        recipient: optional_id(raw, "recipient_id").or_else(|| optional_id(raw, "recipient_user_id")),
        status,
        at: timestamp(raw, "timestamp")?,
        errors: errors.iter().filter_map(ProviderError::from_value).collect(),
        pricing: raw.get("pricing").filter(|pricing| pricing.is_object()).map(pricing),
        conversation_category: conversation.get("origin").and_then(|origin| optional_text(origin, "type")),
        conversation_id: optional_id(conversation, "id"),
        callback_data: optional_text(raw, "biz_opaque_callback_data"),
    }))
}

fn pricing(raw: &Value) -> Pricing {
    Pricing {
        billable: raw.get("billable").and_then(Value::as_bool),
        category: optional_text(raw, "category"),
        model: optional_text(raw, "pricing_model"),
        kind: optional_text(raw, "type"),
    }
}

pub(super) fn template_update(value: &Value, change: TemplateChange) -> Result<TemplateUpdate, String> {
    Ok(TemplateUpdate {
        template_id: id(value, "message_template_id")?,
        name: text(value, "message_template_name")?,
        language: text(value, "message_template_language")?,
        change,
    })
}

pub(super) fn template_status(value: &Value) -> Result<TemplateChange, String> {
    let stated = optional_text(value, "reason").filter(|reason| !reason.is_empty() && reason != "NONE");
    let in_words = ["/rejection_info/reason", "/other_info/description"]
        .into_iter()
        .find_map(|path| value.pointer(path).and_then(Value::as_str).map(ToOwned::to_owned));
    let reason = match (stated, in_words) {
        (Some(code), Some(words)) => Some(format!("{code}: {words}")),
        (code, words) => code.or(words),
    };
    Ok(TemplateChange::Status { event: text(value, "event")?, reason })
}

pub(super) fn template_quality(value: &Value) -> Result<TemplateChange, String> {
    Ok(TemplateChange::Quality(text(value, "new_quality_score")?))
}

pub(super) fn template_category(value: &Value) -> Result<TemplateChange, String> {
    Ok(TemplateChange::Category(text(value, "new_category")?))
}
