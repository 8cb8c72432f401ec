//! Messages in webhooks: from customers, and echoes of what the business wrote in its own app.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::read::{flag, id, object, optional_id, optional_text, text, timestamp};
use crate::message_content::{Location, Media, MessageContent};

/// Length to which the name of an unknown message type is cut.
const KIND_MAX_CHARS: usize = 64;

/// A message from a customer.
#[derive(Debug, Clone, PartialEq)]
pub struct InboundMessage {
    /// Meta's id of the message, unique (`wamid.…`).
    pub external_id: String,
    /// Whom to answer: the sender's number (digits, no `+`), or the business-scoped user id (such as
    /// `ID.1234567890`) of a customer who hides the number behind a username.
    pub from: String,
    /// The sender's business-scoped user id, which outlives a change of number. Not in older webhooks.
    pub user_id: Option<String>,
    pub profile_name: Option<String>,
    pub sent_at: DateTime<Utc>,
    pub content: MessageContent,
    /// The external id of the message that this one quotes or answers.
    pub reply_to: Option<String>,
    pub forwarded: bool,
    /// The advertisement that the customer came from, as Meta describes it.
    pub referral: Option<Value>,
}

/// A message that the business itself wrote in its WhatsApp Business app, on a number used with both.
#[derive(Debug, Clone, PartialEq)]
pub struct Echo {
    pub external_id: String,
    /// The customer: a number, or a business-scoped user id.
    pub to: String,
    pub sent_at: DateTime<Utc>,
    pub content: MessageContent,
    pub reply_to: Option<String>,
}

/// The names that a change gives for the senders of its messages.
pub(super) struct Profiles<'a> {
    contacts: &'a [Value],
    /// Whether all messages of the change come from one sender.
    one_sender: bool,
}

impl<'a> Profiles<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        let list =
            |key: &str| value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut senders =
            list("messages").iter().map(|message| (message.get("from"), message.get("from_user_id")));
        let first = senders.next();
        Self { contacts: list("contacts"), one_sender: senders.all(|sender| Some(sender) == first) }
    }

    fn name_of(&self, from: &str, user_id: Option<&str>) -> Option<String> {
        let is_sender = |contact: &&Value| {
            let (wa_id, contact_user_id) = (optional_id(contact, "wa_id"), optional_id(contact, "user_id"));
            wa_id.as_deref() == Some(from) || (user_id.is_some() && contact_user_id.as_deref() == user_id)
        };
        // In some countries a number and its WhatsApp id differ by a digit; a sole contact is the sole sender's.
        let sole = || self.contacts.first().filter(|_| self.one_sender && self.contacts.len() == 1);
        let contact = self.contacts.iter().find(is_sender).or_else(sole)?;
        optional_text(contact.get("profile")?, "name").filter(|name| !name.trim().is_empty())
    }
}

pub(super) fn inbound(raw: &Value, profiles: &Profiles<'_>) -> Result<InboundMessage, String> {
    let external_id = id(raw, "id")?;
    let user_id = optional_id(raw, "from_user_id");
    let from = id(raw, "from").or_else(|missing| user_id.clone().ok_or(missing))?;
    let context = raw.get("context").unwrap_or(&Value::Null);
    Ok(InboundMessage {
        external_id,
        profile_name: profiles.name_of(&from, user_id.as_deref()),
        from,
        user_id,
        sent_at: timestamp(raw, "timestamp")?,
        content: content(raw)?,
        reply_to: optional_id(context, "id"),
        forwarded: flag(context, "forwarded") || flag(context, "frequently_forwarded"),
        referral: raw.get("referral").filter(|referral| referral.is_object()).cloned(),
    })
}

pub(super) fn echo(raw: &Value) -> Result<Echo, String> {
    Ok(Echo {
        external_id: id(raw, "id")?,
        to: id(raw, "to").or_else(|missing| optional_id(raw, "to_user_id").ok_or(missing))?,
        sent_at: timestamp(raw, "timestamp")?,
        content: content(raw)?,
        reply_to: raw.get("context").and_then(|context| optional_id(context, "id")),
    })
}

fn content(raw: &Value) -> Result<MessageContent, String> {
    let kind = text(raw, "type")?;
    let known = match kind.as_str() {
        "text" => object(raw, "text")
            .and_then(|object| text(object, "body"))
            .map(|text| MessageContent::Text { text }),
        "image" => media(raw, "image").map(MessageContent::Image),
        "video" => media(raw, "video").map(MessageContent::Video),
        "audio" | "voice" => media(raw, &kind).map(MessageContent::Audio),
        "document" => media(raw, "document").map(MessageContent::Document),
        "sticker" => media(raw, "sticker").map(MessageContent::Sticker),
        "location" => object(raw, "location").and_then(location).map(MessageContent::Location),
        "contacts" => contacts(raw),
        "reaction" => object(raw, "reaction").and_then(reaction),
        "interactive" => object(raw, "interactive").and_then(|object| interactive(raw, object)),
        "button" => object(raw, "button").and_then(|button| {
            Ok(MessageContent::Button {
                text: text(button, "text")?,
                payload: optional_text(button, "payload"),
            })
        }),
        _ => Ok(unsupported(&kind, raw)),
    };
    match known {
        // Meta names the type of a message that it could not pass on, and gives errors in place of the content.
        Err(_) if raw.get("errors").is_some_and(Value::is_array) => Ok(unsupported(&kind, raw)),
        other => other.map_err(|reason| format!("{kind}.{reason}")),
    }
}

fn media(raw: &Value, kind: &str) -> Result<Media, String> {
    let object = object(raw, kind)?;
    Ok(Media {
        mime_type: optional_text(object, "mime_type"),
        sha256: optional_text(object, "sha256"),
        caption: optional_text(object, "caption"),
        filename: optional_text(object, "filename"),
        voice: kind == "voice" || flag(object, "voice"),
        animated: flag(object, "animated"),
        ..Media::from_provider(id(object, "id")?)
    })
}

fn location(object: &Value) -> Result<Location, String> {
    let degrees =
        |key: &str| object.get(key).and_then(Value::as_f64).ok_or_else(|| format!("{key}: not a number"));
    let point = Location::at(degrees("latitude")?, degrees("longitude")?)
        .ok_or_else(|| "latitude: the point is not on Earth".to_owned())?;
    Ok(Location {
        name: optional_text(object, "name"),
        address: optional_text(object, "address"),
        url: optional_text(object, "url"),
        ..point
    })
}

fn contacts(raw: &Value) -> Result<MessageContent, String> {
    match raw.get("contacts") {
        Some(Value::Array(contacts)) if !contacts.is_empty() && contacts.iter().all(Value::is_object) => {
            Ok(MessageContent::Contacts { contacts: contacts.clone() })
        }
        _ => Err("contacts: not a list of contact cards".to_owned()),
    }
}

fn reaction(object: &Value) -> Result<MessageContent, String> {
    Ok(MessageContent::Reaction {
        message_id: id(object, "message_id")?,
        // Left out, or empty, when the customer takes the reaction back.
        emoji: optional_text(object, "emoji").unwrap_or_default(),
    })
}

fn interactive(raw: &Value, object: &Value) -> Result<MessageContent, String> {
    let kind = text(object, "type")?;
    let (id_key, title_key) = match kind.as_str() {
        "button_reply" | "list_reply" => ("id", "title"),
        "nfm_reply" => ("name", "response_json"),
        _ => return Ok(unsupported(&kind, raw)),
    };
    let reply = self::object(object, &kind)?;
    for key in [id_key, title_key] {
        text(reply, key).map_err(|reason| format!("{kind}.{reason}"))?;
    }
    let fields = object.as_object().cloned().unwrap_or_default();
    Ok(MessageContent::Interactive(fields))
}

fn unsupported(kind: &str, raw: &Value) -> MessageContent {
    // A message of the type "unsupported" says inside what it really was, such as a poll.
    let inner = raw.get("unsupported").and_then(|object| optional_text(object, "type"));
    let kind = inner.as_deref().filter(|inner| kind == "unsupported" && !inner.is_empty()).unwrap_or(kind);
    MessageContent::Unsupported { kind: kind.chars().take(KIND_MAX_CHARS).collect(), raw: raw.clone() }
}
