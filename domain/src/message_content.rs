//! What a message says, on any channel and in either direction.
//!
//! On the wire a message is a pair: `type`, a word, and `content`, an object whose fields depend on it. Inside, the
//! pair is one typed value, so a message that cannot exist (an image without an image) cannot be stored. Its serde
//! form is that same pair with the provider's media id in place of our own address, which is what events hold.

mod fields;
mod interactive;
mod limits;
mod nul;
mod outbound;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::refusal::FieldProblem;

pub use fields::is_web_url;
pub use limits::*;
pub use nul::{contains_nul, without_nul};
pub use outbound::OUTBOUND_TYPES;

pub(crate) use interactive::{body_text as interactive_body_text, reply as interactive_reply};

/// The content of one message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "content", rename_all = "snake_case")]
pub enum MessageContent {
    Text {
        text: String,
    },
    Image(Media),
    Video(Media),
    /// A sound file, or a voice message recorded in the app ([`Media::voice`]).
    Audio(Media),
    Document(Media),
    Sticker(Media),
    Location(Location),
    /// Contact cards, each as the provider describes one.
    Contacts {
        contacts: Vec<Value>,
    },
    /// An emoji put on an earlier message; an empty one takes the sender's reaction back.
    Reaction {
        /// The provider's id of that message in stored inbound content; an agent's request may name ours.
        message_id: String,
        emoji: String,
    },
    /// Buttons, lists and forms that we send, and the customer's choice coming back, as Meta defines both.
    Interactive(Map<String, Value>),
    /// The customer tapped a quick reply of a template.
    Button {
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payload: Option<String>,
    },
    Template {
        template_id: Uuid,
        /// Values by the placeholder's name: `1`, `2` … or names. See [`crate::whatsapp::TemplateRef`] for headers
        /// and buttons.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        variables: BTreeMap<String, String>,
    },
    /// Something that the channel delivers and we have no form for, kept whole.
    Unsupported {
        /// The provider's word for it, such as `order`.
        kind: String,
        raw: Value,
    },
}

/// A picture, film, sound, file or sticker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Media {
    #[serde(flatten)]
    pub source: MediaSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// SHA-256 of the file as the provider states it (WhatsApp: base64).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// Recorded in the app, so shown as a voice message.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub voice: bool,
    /// A moving sticker.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub animated: bool,
}

/// Where the bytes of a [`Media`] are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MediaSource {
    /// Held by the provider and fetched with the account's credentials. WhatsApp keeps it for 30 days.
    Provider { media_id: String },
    /// At a public address from which the provider takes it.
    Link { url: String },
}

impl Media {
    /// Media that is nothing but its source; set the other fields with struct update syntax.
    pub fn new(source: MediaSource) -> Self {
        Self {
            source,
            mime_type: None,
            sha256: None,
            caption: None,
            filename: None,
            voice: false,
            animated: false,
        }
    }

    pub fn from_provider(media_id: impl Into<String>) -> Self {
        Self::new(MediaSource::Provider { media_id: media_id.into() })
    }

    pub fn from_link(url: impl Into<String>) -> Self {
        Self::new(MediaSource::Link { url: url.into() })
    }
}

/// A point on the map, WGS 84.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Location {
    /// Degrees, -90 to 90, at most [`COORDINATE_DECIMALS`] decimals.
    pub latitude: f64,
    /// Degrees, -180 to 180, at most [`COORDINATE_DECIMALS`] decimals.
    pub longitude: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The website of the place, which only a provider sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Location {
    /// A bare point, or `None` when the coordinates are not on Earth.
    ///
    /// Rounds to [`COORDINATE_DECIMALS`]: so few digits pass through every JSON reader and writer unchanged, and the
    /// hash of an event that holds them never moves.
    pub fn at(latitude: f64, longitude: f64) -> Option<Self> {
        let on_earth = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        on_earth.then(|| Self {
            latitude: round_coordinate(latitude),
            longitude: round_coordinate(longitude),
            name: None,
            address: None,
            url: None,
        })
    }
}

fn round_coordinate(degrees: f64) -> f64 {
    let scale = 10_f64.powi(COORDINATE_DECIMALS);
    // Adding zero turns -0.0 into 0.0: databases have only one zero, and what they give back should be equal.
    (degrees * scale).round() / scale + 0.0
}

impl MessageContent {
    /// Reads what an agent, a rule or an integration asks to send.
    ///
    /// # Errors
    /// Every problem found, by field: an unknown type or field, a missing or over-long value, a NUL character.
    pub fn parse_outbound(kind: &str, content: &Value) -> Result<Self, Vec<FieldProblem>> {
        outbound::parse(kind, content)
    }

    /// The `type` on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::Image(_) => "image",
            Self::Video(_) => "video",
            Self::Audio(_) => "audio",
            Self::Document(_) => "document",
            Self::Sticker(_) => "sticker",
            Self::Location(_) => "location",
            Self::Contacts { .. } => "contacts",
            Self::Reaction { .. } => "reaction",
            Self::Interactive(_) => "interactive",
            Self::Button { .. } => "button",
            Self::Template { .. } => "template",
            Self::Unsupported { .. } => "unsupported",
        }
    }

    /// The `content` on the wire. `media_url` turns the provider's media id into an address of ours.
    pub fn to_wire(&self, media_url: impl Fn(&str) -> String) -> Value {
        match self {
            Self::Text { text } => json!({ "text": text }),
            Self::Contacts { contacts } => json!({ "contacts": contacts }),
            Self::Reaction { message_id, emoji } => json!({ "message_id": message_id, "emoji": emoji }),
            Self::Interactive(interactive) => Value::Object(interactive.clone()),
            Self::Button { text, payload } => object([("text", Some(text)), ("payload", payload.as_ref())]),
            Self::Template { template_id, variables } => {
                json!({ "template_id": template_id, "variables": variables })
            }
            Self::Unsupported { kind, raw } => json!({ "kind": kind, "raw": raw }),
            Self::Location(location) => location_to_wire(location),
            Self::Image(media)
            | Self::Video(media)
            | Self::Audio(media)
            | Self::Document(media)
            | Self::Sticker(media) => media_to_wire(media, media_url),
        }
    }

    /// The media of the message, if it has any.
    pub fn media(&self) -> Option<&Media> {
        match self {
            Self::Image(media)
            | Self::Video(media)
            | Self::Audio(media)
            | Self::Document(media)
            | Self::Sticker(media) => Some(media),
            _ => None,
        }
    }

    /// The id and title that the customer chose from buttons or a list, or the payload and text of a tapped quick
    /// reply: what automation reacts to.
    pub fn chosen_reply(&self) -> Option<(&str, &str)> {
        match self {
            Self::Interactive(interactive) => interactive_reply(interactive),
            Self::Button { text, payload } => Some((payload.as_deref().unwrap_or(text), text)),
            _ => None,
        }
    }

    /// One short line for the inbox, at most [`PREVIEW_MAX_CHARS`] characters.
    pub fn preview(&self) -> String {
        let line = match self {
            Self::Text { text } | Self::Button { text, .. } => text.clone(),
            Self::Image(media) => captioned("Photo", media),
            Self::Video(media) => captioned("Video", media),
            Self::Audio(media) if media.voice => "Voice message".to_owned(),
            Self::Audio(_) => "Audio".to_owned(),
            Self::Document(media) => match &media.filename {
                Some(filename) => format!("Document: {filename}"),
                None => captioned("Document", media),
            },
            Self::Sticker(_) => "Sticker".to_owned(),
            Self::Location(place) => match place.name.as_ref().or(place.address.as_ref()) {
                Some(name) => format!("Location: {name}"),
                None => "Location".to_owned(),
            },
            Self::Contacts { contacts } => match contacts.as_slice() {
                [only] => {
                    card_name(only).map_or_else(|| "Contact".to_owned(), |name| format!("Contact: {name}"))
                }
                several => format!("{} contacts", several.len()),
            },
            Self::Reaction { emoji, .. } if emoji.is_empty() => "Removed a reaction".to_owned(),
            Self::Reaction { emoji, .. } => format!("Reacted {emoji}"),
            Self::Interactive(interactive) => interactive_reply(interactive)
                .map(|(_, title)| title)
                .or_else(|| interactive_body_text(interactive))
                .unwrap_or("Interactive message")
                .to_owned(),
            Self::Template { .. } => "Template message".to_owned(),
            Self::Unsupported { kind, raw } => {
                // A system notice ("… changed their number") says itself what happened.
                let notice = raw.pointer("/system/body").and_then(Value::as_str);
                notice.map_or_else(|| format!("Unsupported message ({kind})"), ToOwned::to_owned)
            }
        };
        one_line(&line)
    }

    /// Everything in the message that a person may search for, separated by spaces; empty when there is nothing.
    pub fn searchable_text(&self) -> String {
        let words: Vec<&str> = match self {
            Self::Text { text } | Self::Button { text, .. } => vec![text],
            Self::Image(media)
            | Self::Video(media)
            | Self::Audio(media)
            | Self::Document(media)
            | Self::Sticker(media) => {
                media.caption.iter().chain(&media.filename).map(String::as_str).collect()
            }
            Self::Location(place) => place.name.iter().chain(&place.address).map(String::as_str).collect(),
            Self::Contacts { contacts } => contacts.iter().filter_map(card_name).collect(),
            Self::Interactive(interactive) => interactive::texts(interactive),
            Self::Template { variables, .. } => variables.values().map(String::as_str).collect(),
            Self::Unsupported { raw, .. } => {
                raw.pointer("/system/body").and_then(Value::as_str).into_iter().collect()
            }
            Self::Reaction { .. } => Vec::new(),
        };
        words.join(" ")
    }
}

fn media_to_wire(media: &Media, media_url: impl Fn(&str) -> String) -> Value {
    let (url, media_id) = match &media.source {
        MediaSource::Provider { media_id } => (media_url(media_id), Some(media_id)),
        MediaSource::Link { url } => (url.clone(), None),
    };
    let mut wire = object([
        ("url", Some(&url)),
        ("media_id", media_id),
        ("mime_type", media.mime_type.as_ref()),
        ("sha256", media.sha256.as_ref()),
        ("caption", media.caption.as_ref()),
        ("filename", media.filename.as_ref()),
    ]);
    if media.voice {
        wire["voice"] = Value::Bool(true);
    }
    if media.animated {
        wire["animated"] = Value::Bool(true);
    }
    wire
}

fn location_to_wire(location: &Location) -> Value {
    let mut wire = object([
        ("name", location.name.as_ref()),
        ("address", location.address.as_ref()),
        ("url", location.url.as_ref()),
    ]);
    wire["latitude"] = json!(location.latitude);
    wire["longitude"] = json!(location.longitude);
    wire
}

/// An object of the fields that have a value.
pub(crate) fn object<const N: usize>(fields: [(&str, Option<&String>); N]) -> Value {
    let present = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value?))));
    Value::Object(present.collect())
}

fn captioned(noun: &str, media: &Media) -> String {
    match media.caption.as_deref().filter(|caption| !caption.trim().is_empty()) {
        Some(caption) => format!("{noun}: {caption}"),
        None => noun.to_owned(),
    }
}

fn card_name(card: &Value) -> Option<&str> {
    card.pointer("/name/formatted_name").or_else(|| card.pointer("/name/first_name")).and_then(Value::as_str)
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= PREVIEW_MAX_CHARS {
        return line;
    }
    let mut cut: String = line.chars().take(PREVIEW_MAX_CHARS - 1).collect();
    cut.truncate(cut.trim_end().len());
    cut.push('…');
    cut
}
