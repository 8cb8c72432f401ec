//! Reading an action that a supervisor wrote.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Action, MAX_HEADER_CHARS, MAX_HEADERS, MAX_MESSAGE_CHARS, MAX_NOTE_CHARS, MAX_URL_CHARS,
    MAX_VARIABLE_CHARS, MAX_VARIABLES, TextContent,
};
use crate::automation::facts::STATUSES;
use crate::automation::fields::{Fields, Problems, filled_text, item, items, one_of, text, uuid};
use crate::automation::placeholder::{OPEN, Template};
use crate::refusal::FieldProblem;
use crate::tag::{MAX_TAG_CHARS, MAX_TAGS};

/// Headers that the sender sets itself; a rule that set them could break or forge the request.
const RESERVED_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

pub(super) fn action(value: &Value, path: &str, problems: &mut Problems) -> Option<Action> {
    let mut fields = Fields::open(value, path, problems)?;
    let name =
        fields.required("type", |value| value.as_str().ok_or_else(|| "must be a string".to_owned()))?;
    let action = match name {
        "assign_agent" => fields.required("agent_id", uuid).map(|agent_id| Action::AssignAgent { agent_id }),
        "unassign" => Some(Action::Unassign),
        "assign_division" => {
            fields.required("division_id", uuid).map(|division_id| Action::AssignDivision { division_id })
        }
        "set_status" => {
            fields.required("status", one_of(STATUSES)).map(|status| Action::SetStatus { status })
        }
        "add_tags" => fields.nested_required("tags", tags).map(|tags| Action::AddTags { tags }),
        "remove_tags" => fields.nested_required("tags", tags).map(|tags| Action::RemoveTags { tags }),
        "send_message" => {
            fields.nested_required("content", message_content).map(|content| Action::SendMessage { content })
        }
        "send_template" => send_template(&mut fields),
        "add_note" => fields
            .required("content", |value| template(filled_text(MAX_NOTE_CHARS)(value)?))
            .map(|content| Action::AddNote { content }),
        "send_csat" => Some(Action::SendCsat),
        "call_webhook" => call_webhook(&mut fields),
        "apply_sla" => fields.required("policy_id", uuid).map(|policy_id| Action::ApplySla { policy_id }),
        "start_ai" => Some(Action::StartAi { ai_agent_id: fields.optional("ai_agent_id", uuid) }),
        "stop_ai" => Some(Action::StopAi),
        _ => {
            // Whether its other fields are known cannot be said.
            fields.problem(
                "type",
                format!("{name:?} is not a known action; see the list in the documentation"),
            );
            return None;
        }
    };
    fields.finish();
    action
}

fn template(source: &str) -> Result<Template, String> {
    Template::parse(source).map_err(|error| error.to_string())
}

/// Where placeholders are not filled, one that is written is a mistake and not text.
fn literal(text: &str) -> Result<&str, String> {
    if text.contains(OPEN) { Err("must not hold placeholders".to_owned()) } else { Ok(text) }
}

fn tags(value: &Value, path: &str, problems: &mut Problems) -> Option<Vec<String>> {
    let tag = |value| filled_text(MAX_TAG_CHARS)(value).and_then(literal).map(|tag| tag.trim().to_owned());
    let tags = items(value, path, MAX_TAGS, problems, item(tag))?;
    if tags.is_empty() {
        problems.push(FieldProblem::new(path, "must hold at least one tag"));
        return None;
    }
    Some(tags)
}

fn message_content(value: &Value, path: &str, problems: &mut Problems) -> Option<TextContent<Template>> {
    let mut fields = Fields::open(value, path, problems)?;
    let text = fields.required("text", |value| template(filled_text(MAX_MESSAGE_CHARS)(value)?));
    fields.finish();
    text.map(|text| TextContent { text })
}

/// `variables` may be left out for a template that has none.
fn send_template(fields: &mut Fields<'_, '_>) -> Option<Action> {
    let template_id = fields.required("template_id", uuid);
    let variables = if fields.has("variables") {
        fields.nested("variables", |value, path, problems| {
            entries(value, path, MAX_VARIABLES, problems, |_, value| {
                template(text(MAX_VARIABLE_CHARS)(value)?)
            })
        })
    } else {
        Some(BTreeMap::new())
    };
    Some(Action::SendTemplate { template_id: template_id?, variables: variables? })
}

fn call_webhook(fields: &mut Fields<'_, '_>) -> Option<Action> {
    let url = fields.required("url", |value| web_address(filled_text(MAX_URL_CHARS)(value)?));
    let headers = if fields.has("headers") {
        fields.nested("headers", |value, path, problems| entries(value, path, MAX_HEADERS, problems, header))
    } else {
        Some(BTreeMap::new())
    };
    Some(Action::CallWebhook { url: url?, headers: headers? })
}

/// The entries of an object by name, each read by `read`.
fn entries<T>(
    value: &Value,
    path: &str,
    max: usize,
    problems: &mut Problems,
    read: impl Fn(&str, &Value) -> Result<T, String>,
) -> Option<BTreeMap<String, T>> {
    let Value::Object(object) = value else {
        problems.push(FieldProblem::new(path, "must be an object"));
        return None;
    };
    if object.len() > max {
        problems.push(FieldProblem::new(path, format!("must have at most {max} entries")));
        return None;
    }
    let mut all = BTreeMap::new();
    for (name, value) in object {
        match read(name, value) {
            Ok(entry) => drop(all.insert(name.clone(), entry)),
            Err(message) => problems.push(FieldProblem::new(format!("{path}.{name}"), message)),
        }
    }
    (all.len() == object.len()).then_some(all)
}

/// Only the form is judged here. Whether the address may be reached (not private, not loopback) needs the network
/// and is decided when the rule is written and again on every call.
fn web_address(url: &str) -> Result<String, String> {
    const FORM: &str = "must be an http:// or https:// address";
    literal(url)?;
    let scheme = url.find("://").filter(|end| matches!(&*url[..*end].to_ascii_lowercase(), "http" | "https"));
    let rest = &url[scheme.ok_or(FORM)? + "://".len()..];
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("must not hold a user name or password; use a header".to_owned());
    }
    let host_is_missing = authority.is_empty() || authority.starts_with(':');
    if host_is_missing || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(FORM.to_owned());
    }
    Ok(url.to_owned())
}

/// A header as RFC 9110 (5.1, 5.5) allows it, without line breaks.
fn header(name: &str, value: &Value) -> Result<String, String> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        return Err("is not a valid header name".to_owned());
    }
    if RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err("is set by the sender and cannot be chosen".to_owned());
    }
    let text = literal(text(MAX_HEADER_CHARS)(value)?)?;
    if !text.chars().all(|c| c == '\t' || (' '..='~').contains(&c)) {
        return Err("must hold only printable ASCII characters".to_owned());
    }
    Ok(text.to_owned())
}
