//! What the Graph API wants to hear: bodies for `POST /{phone_number_id}/messages`, and the answer to them.

use serde_json::{Value, json};
use thiserror::Error;

use super::errors::{Retry, SendFailure};
use super::template::TemplateRef;
use crate::message_content::{Location, Media, MediaSource, MessageContent, object};

/// Longest [`OutgoingMessage::callback_data`] that Meta takes.
pub const CALLBACK_DATA_MAX_CHARS: usize = 512;

/// A message with everything that WhatsApp needs to know about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutgoingMessage<'a> {
    /// The customer's number (digits, optional `+`) or business-scoped user id.
    pub to: &'a str,
    pub content: &'a MessageContent,
    /// The template that a [`MessageContent::Template`] names; unused for other content.
    pub template: Option<&'a TemplateRef>,
    /// The external id of the message that this one quotes or reacts to. A reaction without it takes the `message_id`
    /// of its content, which then must be an external id.
    pub refers_to: Option<&'a str>,
    /// Comes back with every status of this message: with our own id in it, a status tells what became of a message
    /// whose send call was never answered. At most [`CALLBACK_DATA_MAX_CHARS`].
    pub callback_data: Option<&'a str>,
}

/// Why a content has no form that WhatsApp would take.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotSendable {
    #[error("The template of this message no longer exists.")]
    NoTemplate,
    #[error("The template needs a value for: {}.", .0.join(", "))]
    MissingVariables(Vec<String>),
    #[error("The template has a media header ({0}), and no media address is set for it.")]
    MissingHeaderMedia(&'static str),
    #[error("The template has a part that can't be filled in from here: {0}.")]
    UnfillableTemplate(String),
    #[error("A message of the type {0} can be received but not sent.")]
    ReceiveOnly(&'static str),
}

impl<'a> OutgoingMessage<'a> {
    /// A message without template, reference or callback data; set those with struct update syntax.
    pub fn new(to: &'a str, content: &'a MessageContent) -> Self {
        Self { to, content, template: None, refers_to: None, callback_data: None }
    }

    /// The request body.
    ///
    /// # Errors
    /// [`NotSendable`], whose text is for the agent.
    pub fn request_body(&self) -> Result<Value, NotSendable> {
        let kind = self.content.kind();
        let mut body = json!({
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "type": kind,
        });
        body[addressee_key(self.to)] = json!(self.to);
        body[kind] = self.content_object()?;
        let is_reaction = matches!(self.content, MessageContent::Reaction { .. });
        // A reaction names its message itself, and Meta refuses a quote beside that.
        if let Some(quoted) = self.refers_to.filter(|_| !is_reaction) {
            body["context"] = json!({ "message_id": quoted });
        }
        if let Some(data) = self.callback_data {
            body["biz_opaque_callback_data"] = json!(data);
        }
        Ok(body)
    }

    fn content_object(&self) -> Result<Value, NotSendable> {
        Ok(match self.content {
            MessageContent::Text { text } => json!({ "body": text, "preview_url": has_link(text) }),
            MessageContent::Image(media) | MessageContent::Video(media) => media_object(media, &["caption"]),
            MessageContent::Document(media) => media_object(media, &["caption", "filename"]),
            MessageContent::Audio(media) | MessageContent::Sticker(media) => media_object(media, &[]),
            MessageContent::Location(location) => location_object(location),
            MessageContent::Contacts { contacts } => json!(contacts),
            MessageContent::Reaction { message_id, emoji } => {
                json!({ "message_id": self.refers_to.unwrap_or(message_id), "emoji": emoji })
            }
            MessageContent::Interactive(interactive) => {
                // An answer of the customer's has no action, and nothing that we can send has none.
                if !interactive.contains_key("action") {
                    return Err(NotSendable::ReceiveOnly("interactive reply"));
                }
                Value::Object(interactive.clone())
            }
            MessageContent::Template { variables, .. } => {
                let template = self.template.ok_or(NotSendable::NoTemplate)?;
                template.send_object(variables)?
            }
            MessageContent::Button { .. } | MessageContent::Unsupported { .. } => {
                return Err(NotSendable::ReceiveOnly(self.content.kind()));
            }
        })
    }
}

/// Numbers go into `to`. A business-scoped user id, two letters of a country and a dot before the rest, goes into
/// `recipient`.
fn addressee_key(to: &str) -> &'static str {
    let is_user_id = to.split_once('.').is_some_and(|(country, _)| {
        country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase())
    });
    if is_user_id { "recipient" } else { "to" }
}

fn has_link(text: &str) -> bool {
    text.contains("http://") || text.contains("https://")
}

/// Media by link, or by the id that WhatsApp gave it, with those of the optional fields that the type has.
fn media_object(media: &Media, optional: &[&str]) -> Value {
    let source = match &media.source {
        MediaSource::Link { url } => ("link", Some(url)),
        MediaSource::Provider { media_id } => ("id", Some(media_id)),
    };
    let caption = media.caption.as_ref().filter(|_| optional.contains(&"caption"));
    let filename = media.filename.as_ref().filter(|_| optional.contains(&"filename"));
    object([source, ("caption", caption), ("filename", filename)])
}

fn location_object(location: &Location) -> Value {
    let mut place = object([("name", location.name.as_ref()), ("address", location.address.as_ref())]);
    place["latitude"] = json!(location.latitude);
    place["longitude"] = json!(location.longitude);
    place
}

/// The body that shows the customer the blue ticks, for this inbound message and all before it.
pub fn read_receipt_body(external_id: &str) -> Value {
    json!({ "messaging_product": "whatsapp", "status": "read", "message_id": external_id })
}

/// Reads the answer to a send call: the external id of the message.
///
/// # Errors
/// What went wrong. A success without an id counts as unknown and is not retried: Meta may have sent the message.
pub fn parse_send_response(http_status: u16, body: &Value) -> Result<String, SendFailure> {
    if !(200..300).contains(&http_status) || body.get("error").is_some() {
        return Err(SendFailure::from_response(http_status, body));
    }
    let id = body.pointer("/messages/0/id").and_then(Value::as_str).filter(|id| !id.is_empty());
    id.map(ToOwned::to_owned).ok_or_else(|| SendFailure {
        code: None,
        retry: Retry::Never,
        explanation: "WhatsApp took the message without naming it, so its delivery can't be followed."
            .to_owned(),
    })
}
