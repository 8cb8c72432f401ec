//! Reads what someone asks us to send, strictly: a typo is an answer with the field's name, not a message that lacks
//! something.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use super::fields::Fields;
use super::limits::*;
use super::{Location, Media, MessageContent, interactive};
use crate::refusal::FieldProblem;

/// The message types that can be sent.
pub const OUTBOUND_TYPES: [&str; 10] = [
    "text",
    "image",
    "video",
    "audio",
    "document",
    "sticker",
    "location",
    "template",
    "reaction",
    "interactive",
];

pub(super) fn parse(kind: &str, content: &Value) -> Result<MessageContent, Vec<FieldProblem>> {
    let mut problems = Vec::new();
    let parsed = match kind {
        "text" => text(content, &mut problems),
        "image" => media(content, &["url", "caption"], &mut problems).map(MessageContent::Image),
        "video" => media(content, &["url", "caption"], &mut problems).map(MessageContent::Video),
        "audio" => media(content, &["url"], &mut problems).map(MessageContent::Audio),
        "document" => {
            media(content, &["url", "caption", "filename"], &mut problems).map(MessageContent::Document)
        }
        "sticker" => media(content, &["url"], &mut problems).map(MessageContent::Sticker),
        "location" => location(content, &mut problems),
        "template" => template(content, &mut problems),
        "reaction" => reaction(content, &mut problems),
        "interactive" => interactive::parse_outbound(content, &mut problems).map(MessageContent::Interactive),
        _ => {
            problems
                .push(FieldProblem::new("type", format!("must be one of: {}", OUTBOUND_TYPES.join(", "))));
            None
        }
    };
    match parsed {
        Some(content) if problems.is_empty() => Ok(content),
        _ => Err(problems),
    }
}

fn text(content: &Value, problems: &mut Vec<FieldProblem>) -> Option<MessageContent> {
    let mut fields = Fields::open(content, "content", &["text"], problems)?;
    let text = fields.text("text", TEXT_MAX_CHARS)?;
    Some(MessageContent::Text { text: text.to_owned() })
}

/// Which fields go with which media is Meta's: audio and stickers have no caption, only documents have a name.
fn media(content: &Value, known: &[&str], problems: &mut Vec<FieldProblem>) -> Option<Media> {
    let mut fields = Fields::open(content, "content", known, problems)?;
    let url = fields.url("url");
    let caption =
        known.contains(&"caption").then(|| fields.optional_text("caption", CAPTION_MAX_CHARS)).flatten();
    let filename =
        known.contains(&"filename").then(|| fields.optional_text("filename", FILENAME_MAX_CHARS)).flatten();
    Some(Media { caption, filename, ..Media::from_link(url?) })
}

fn location(content: &Value, problems: &mut Vec<FieldProblem>) -> Option<MessageContent> {
    let mut fields =
        Fields::open(content, "content", &["latitude", "longitude", "name", "address"], problems)?;
    let latitude = fields.number("latitude", -90.0..=90.0);
    let longitude = fields.number("longitude", -180.0..=180.0);
    let name = fields.optional_text("name", PLACE_MAX_CHARS);
    let address = fields.optional_text("address", PLACE_MAX_CHARS);
    let point = Location::at(latitude?, longitude?)?;
    Some(MessageContent::Location(Location { name, address, ..point }))
}

fn reaction(content: &Value, problems: &mut Vec<FieldProblem>) -> Option<MessageContent> {
    let mut fields = Fields::open(content, "content", &["message_id", "emoji"], problems)?;
    let message_id = fields.text("message_id", MESSAGE_ID_MAX_CHARS);
    let value = fields.required("emoji")?;
    let emoji = fields.string("emoji", value, EMOJI_MAX_CHARS)?;
    if !is_emoji_or_empty(emoji) {
        fields.problem("emoji", "must be one emoji, or empty to take the reaction back");
        return None;
    }
    Some(MessageContent::Reaction { message_id: message_id?.to_owned(), emoji: emoji.to_owned() })
}

/// Rules out words and punctuation without a table of all emoji: one always has a character beyond ASCII (the keycap
/// `1️⃣` too) and never a letter or white space.
fn is_emoji_or_empty(text: &str) -> bool {
    text.is_empty()
        || (!text.is_ascii() && !text.chars().any(|char| char.is_alphabetic() || char.is_whitespace()))
}

fn template(content: &Value, problems: &mut Vec<FieldProblem>) -> Option<MessageContent> {
    let mut fields = Fields::open(content, "content", &["template_id", "variables"], problems)?;
    let template_id =
        fields.required("template_id").and_then(Value::as_str).and_then(|id| Uuid::parse_str(id).ok());
    if template_id.is_none() && fields.get("template_id").is_some() {
        fields.problem("template_id", "must be a UUID");
    }
    let variables = match fields.get("variables") {
        None => BTreeMap::new(),
        Some(Value::Object(variables)) if variables.len() > TEMPLATE_VARIABLES_MAX => {
            fields.problem("variables", format!("must have at most {TEMPLATE_VARIABLES_MAX} entries"));
            return None;
        }
        Some(variables) => template_variables(&mut fields, variables)?,
    };
    Some(MessageContent::Template { template_id: template_id?, variables })
}

fn template_variables(fields: &mut Fields<'_, '_>, given: &Value) -> Option<BTreeMap<String, String>> {
    let Value::Object(given) = given else {
        fields.problem("variables", "must be an object of strings");
        return None;
    };
    let mut variables = BTreeMap::new();
    for (name, value) in given {
        let key =
            format!("variables.{}", name.chars().take(TEMPLATE_VARIABLE_NAME_MAX_CHARS).collect::<String>());
        let key = key.replace('\0', "\u{FFFD}");
        if name.is_empty() || name.contains('\0') || name.chars().count() > TEMPLATE_VARIABLE_NAME_MAX_CHARS {
            fields.problem(&key, "is not the name of a variable");
            continue;
        }
        match value.as_str() {
            None => fields.problem(&key, "must be a string"),
            Some(text) => match unfit_for_template(text) {
                Some(message) => fields.problem(&key, message),
                None => {
                    variables.insert(name.clone(), text.to_owned());
                }
            },
        }
    }
    Some(variables)
}

fn unfit_for_template(text: &str) -> Option<String> {
    if text.trim().is_empty() {
        return Some("must not be empty".to_owned());
    }
    if text.contains('\0') {
        return Some("must not contain a NUL character".to_owned());
    }
    if text.chars().count() > TEMPLATE_VARIABLE_MAX_CHARS {
        return Some(format!("must be at most {TEMPLATE_VARIABLE_MAX_CHARS} characters"));
    }
    let too_many_spaces = " ".repeat(TEMPLATE_VARIABLE_MAX_SPACES + 1);
    if text.contains(['\n', '\r', '\t']) || text.contains(&too_many_spaces) {
        return Some(format!(
            "must not contain a line break, a tab or more than {TEMPLATE_VARIABLE_MAX_SPACES} spaces in a row"
        ));
    }
    None
}
