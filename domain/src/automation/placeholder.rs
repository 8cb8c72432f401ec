//! Text with placeholders: `Hello {{contact.name}}` is filled in from the facts.
//!
//! A name that does not exist is refused when the rule is written. A fact that is missing when the rule runs becomes
//! empty text: a customer should never read `{{contact.name}}`. What a fact says is put in as it is and not looked at
//! again, so a customer who calls himself `{{contact.email}}` gets just that.

use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::facts::{Facts, find, paths};

/// How a placeholder opens and closes; white space inside is allowed.
pub const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// A fact that text may name.
#[derive(Debug, PartialEq, Eq)]
pub struct Placeholder {
    pub name: &'static str,
    paths: &'static [&'static str],
}

const fn at(name: &'static str, paths: &'static [&'static str]) -> Placeholder {
    Placeholder { name, paths }
}

/// Every placeholder there is.
pub const PLACEHOLDERS: &[Placeholder] = &[
    at("contact.id", &["contact.id", "conversation.contact_id"]),
    at("contact.name", &["contact.name", "conversation.contact_name"]),
    at("contact.phone_number", &["contact.phone_number", "conversation.contact_phone"]),
    at("contact.email", &["contact.email"]),
    at("contact.channel_source", &["contact.channel_source", "conversation.contact_channel"]),
    at("contact.tags", &["contact.tags"]),
    at("conversation.id", paths::CONVERSATION_ID),
    at("conversation.status", paths::STATUS),
    at("conversation.previous_status", &["conversation.previous_status"]),
    at("conversation.channel", paths::CHANNEL),
    at("conversation.tags", paths::TAGS),
    at("conversation.created_at", &["conversation.created_at"]),
    at("message.id", &["message._id", "message.id"]),
    at("message.type", &["message.type"]),
    at("message.text", &["message.content.text", "message.text"]),
    at("message.created_at", &["message.created_at"]),
    at("agent.id", paths::AGENT_ID),
    at("agent.name", &["agent.full_name", "agent.name"]),
    at("agent.full_name", &["agent.full_name", "agent.name"]),
    at("division.id", paths::DIVISION_ID),
    at("division.name", &["division.name"]),
    at("sla.policy_name", &["sla.policy_name"]),
    at("sla.breach_type", &["sla.breach_type"]),
    at("sla.threshold_secs", &["sla.threshold_secs"]),
    at("sla.actual_secs", &["sla.actual_secs"]),
];

impl Placeholder {
    fn by_name(name: &str) -> Option<&'static Self> {
        PLACEHOLDERS.iter().find(|placeholder| placeholder.name == name)
    }

    fn append(&self, payload: &Value, out: &mut String) {
        if let Some(value) = find(payload, self.paths) {
            append_plain(value, out);
        }
    }
}

/// Lists read as `a, b`; an object has no plain text and says nothing.
fn append_plain(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => out.push_str(text),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { ", " });
                append_plain(item, out);
            }
        }
        Value::Null | Value::Object(_) => {}
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    #[error("names the placeholder {{{{{0}}}}}, which does not exist; known are {known}", known = known_names())]
    Unknown(String),
    #[error("opens a placeholder with {{{{ and does not close it")]
    Unclosed,
}

fn known_names() -> String {
    PLACEHOLDERS.iter().map(|placeholder| placeholder.name).collect::<Vec<_>>().join(", ")
}

/// Text whose placeholders all exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Range<usize>),
    Fact(&'static Placeholder),
}

impl Template {
    /// # Errors
    /// A placeholder that does not exist, or is not closed.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(open) = source[at..].find(OPEN).map(|offset| at + offset) {
            let name_at = open + OPEN.len();
            let close = source[name_at..].find(CLOSE).map(|offset| name_at + offset);
            let close = close.ok_or(TemplateError::Unclosed)?;
            let name = source[name_at..close].trim();
            let placeholder =
                Placeholder::by_name(name).ok_or_else(|| TemplateError::Unknown(name.to_owned()))?;
            if open > at {
                parts.push(Part::Literal(at..open));
            }
            parts.push(Part::Fact(placeholder));
            at = close + CLOSE.len();
        }
        if at < source.len() {
            parts.push(Part::Literal(at..source.len()));
        }
        Ok(Self { source: source.to_owned(), parts })
    }

    /// The text with its placeholders filled; missing facts become empty text.
    #[must_use]
    pub fn render(&self, facts: &Facts) -> String {
        let mut out = String::with_capacity(self.source.len());
        for part in &self.parts {
            match part {
                Part::Literal(range) => out.push_str(&self.source[range.clone()]),
                Part::Fact(placeholder) => placeholder.append(facts.payload(), &mut out),
            }
        }
        out
    }

    /// The text as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// Written as its source.
impl JsonSchema for Template {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Template".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(source: String) -> Result<Self, TemplateError> {
        Self::parse(&source)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.source
    }
}
