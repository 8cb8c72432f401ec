//! Approved message templates: which values one asks for, and how a send call passes them.
//!
//! A template's definition, as Meta lists it, has components: header, body, footer, buttons. Variables are named by
//! the agent like this:
//!
//! | where | placeholder | variable |
//! |---|---|---|
//! | body | `{{1}}`, `{{2}}` … | `1`, `2` … |
//! | body or header, named | `{{first_name}}` | `first_name` |
//! | header, numbered | `{{1}}` | `header.1` |
//! | link, copy-code or one-time-password button, first of all buttons is 0 | `{{1}}` in the link, or the code | `button.0` |
//!
//! A media header takes [`TemplateRef::header_media_url`]. The code of a one-time-password button is that of the
//! body, so `button.0` may be left out for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::outbound::NotSendable;
use crate::refusal::FieldProblem;

/// Links of one-time-password buttons begin so, in the form in which Meta lists approved templates.
const OTP_LINK_PREFIX: &str = "https://www.whatsapp.com/otp/";

/// What sending a template takes from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TemplateRef {
    pub name: String,
    /// Meta's code, such as `en_US` or `id`.
    pub language: String,
    /// The definition's components, in Meta's form.
    pub components: Vec<Value>,
    /// Public address of the picture, film or file that the header shows.
    pub header_media_url: Option<String>,
}

type Variables = BTreeMap<String, String>;

/// A value that the template takes, in the order in which it is passed.
struct Slot {
    place: Place,
    /// Names that may fill the slot; the first is the one we ask for.
    keys: Vec<String>,
    required: bool,
}

enum Place {
    /// The placeholder's name where placeholders are named.
    Header(Option<String>),
    Body(Option<String>),
    /// `sub_type` of the button, its index, and the type of its parameter.
    Button {
        sub_type: &'static str,
        index: usize,
        parameter: &'static str,
    },
}

impl Slot {
    fn value<'v>(&self, variables: &'v Variables) -> Option<&'v str> {
        self.keys.iter().find_map(|key| variables.get(key)).map(String::as_str)
    }
}

impl TemplateRef {
    /// Compares the agent's variables with what the template asks for: a problem for each one missing, each one
    /// unknown, and each part of the template that cannot be filled in at all.
    pub fn check_variables(&self, variables: &Variables) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        if let Err(problem) = self.header_media() {
            problems.push(FieldProblem::new("content.template_id", problem.to_string()));
        }
        if let Some(part) = self.unfillable_part() {
            let problem = NotSendable::UnfillableTemplate(part);
            problems.push(FieldProblem::new("content.template_id", problem.to_string()));
        }
        let slots = self.slots(variables);
        for slot in slots.iter().filter(|slot| slot.required && slot.value(variables).is_none()) {
            if let Some(key) = slot.keys.first() {
                problems.push(FieldProblem::new(
                    format!("content.variables.{key}"),
                    "is required by the template",
                ));
            }
        }
        for name in variables.keys().filter(|name| !slots.iter().any(|slot| slot.keys.contains(name))) {
            problems.push(FieldProblem::new(
                format!("content.variables.{name}"),
                "is not a variable of the template",
            ));
        }
        problems
    }

    /// Whether the header shows a picture, film or file, so that messages need an address of one.
    pub fn takes_header_media(&self) -> bool {
        !matches!(Self { header_media_url: None, ..self.clone() }.header_media(), Ok(None))
    }

    /// The body as the customer will read it; a placeholder without a value stays as it is. `None` when the
    /// definition has no body text.
    pub fn rendered_body(&self, variables: &Variables) -> Option<String> {
        let text = self.component("BODY")?.get("text")?.as_str()?;
        let mut rendered = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, name, after)) = next_placeholder(rest) {
            rendered.push_str(before);
            match variables.get(name) {
                Some(value) => rendered.push_str(value),
                None => rendered.push_str(&rest[before.len()..rest.len() - after.len()]),
            }
            rest = after;
        }
        rendered.push_str(rest);
        Some(rendered)
    }

    /// The `template` object of the send call.
    pub(super) fn send_object(&self, variables: &Variables) -> Result<Value, NotSendable> {
        if let Some(part) = self.unfillable_part() {
            return Err(NotSendable::UnfillableTemplate(part));
        }
        let slots = self.slots(variables);
        let missing: Vec<String> = slots
            .iter()
            .filter(|slot| slot.required && slot.value(variables).is_none())
            .filter_map(|slot| slot.keys.first().cloned())
            .collect();
        if !missing.is_empty() {
            return Err(NotSendable::MissingVariables(missing));
        }
        let mut header: Vec<Value> = self.header_media()?.into_iter().collect();
        let (mut body, mut buttons) = (Vec::new(), Vec::new());
        for slot in &slots {
            let Some(value) = slot.value(variables) else { continue };
            match &slot.place {
                Place::Header(name) => header.push(text_parameter(name.as_deref(), value)),
                Place::Body(name) => body.push(text_parameter(name.as_deref(), value)),
                Place::Button { sub_type, index, parameter } => buttons.push(json!({
                    "type": "button",
                    "sub_type": sub_type,
                    "index": index.to_string(),
                    "parameters": [{ "type": parameter, *parameter: value }],
                })),
            }
        }
        let mut components = Vec::new();
        for (kind, parameters) in [("header", header), ("body", body)] {
            if !parameters.is_empty() {
                components.push(json!({ "type": kind, "parameters": parameters }));
            }
        }
        components.append(&mut buttons);
        let mut template = json!({ "name": self.name, "language": { "code": self.language } });
        if !components.is_empty() {
            template["components"] = Value::Array(components);
        }
        Ok(template)
    }

    fn component(&self, kind: &str) -> Option<&Value> {
        self.components.iter().find(|component| has_word(component, "type", kind))
    }

    /// Everything the template takes, the body's values from the agent's names where the definition has no body.
    fn slots(&self, variables: &Variables) -> Vec<Slot> {
        let mut slots = Vec::new();
        let header = self.component("HEADER").filter(|header| has_word(header, "format", "TEXT"));
        for name in placeholders(header.and_then(|header| header.get("text"))) {
            let numbered = is_number(&name);
            let key = if numbered { format!("header.{name}") } else { name.clone() };
            let place = Place::Header((!numbered).then_some(name));
            slots.push(Slot { place, keys: vec![key], required: true });
        }
        let body = match self.component("BODY") {
            Some(body) => placeholders(body.get("text")),
            None => in_passing_order(variables.keys().filter(|key| !key.contains('.')).cloned().collect()),
        };
        for name in body {
            let place = Place::Body((!is_number(&name)).then(|| name.clone()));
            slots.push(Slot { place, keys: vec![name], required: true });
        }
        let buttons =
            self.component("BUTTONS").and_then(|buttons| buttons.get("buttons")).and_then(Value::as_array);
        slots.extend(
            buttons
                .into_iter()
                .flatten()
                .enumerate()
                .filter_map(|(index, button)| button_slot(index, button)),
        );
        slots
    }

    /// The parameter of a media header; `None` for any other header.
    fn header_media(&self) -> Result<Option<Value>, NotSendable> {
        let Some(header) = self.component("HEADER") else { return Ok(None) };
        let formats = [("IMAGE", "image"), ("VIDEO", "video"), ("DOCUMENT", "document")];
        let Some((_, kind)) = formats.into_iter().find(|(format, _)| has_word(header, "format", format))
        else {
            return Ok(None);
        };
        let url = self.header_media_url.as_deref().ok_or(NotSendable::MissingHeaderMedia(kind))?;
        Ok(Some(json!({ "type": kind, kind: { "link": url } })))
    }

    /// A component that asks for more than texts and one header media.
    fn unfillable_part(&self) -> Option<String> {
        let location_header =
            self.component("HEADER").filter(|header| has_word(header, "format", "LOCATION"));
        if location_header.is_some() {
            return Some("a location header".to_owned());
        }
        let unfillable = [("CAROUSEL", "a carousel"), ("LIMITED_TIME_OFFER", "a limited-time offer")];
        unfillable
            .into_iter()
            .find(|(kind, _)| self.component(kind).is_some())
            .map(|(_, name)| name.to_owned())
    }
}

fn button_slot(index: usize, button: &Value) -> Option<Slot> {
    let own_key = format!("button.{index}");
    let link = button.get("url").and_then(Value::as_str).unwrap_or_default();
    let (sub_type, parameter, required) =
        match button.get("type").and_then(Value::as_str)?.to_ascii_uppercase().as_str() {
            "URL" if next_placeholder(link).is_some() => ("url", "text", true),
            "OTP" => ("url", "text", true),
            "COPY_CODE" => ("copy_code", "coupon_code", true),
            "QUICK_REPLY" => ("quick_reply", "payload", false),
            _ => return None,
        };
    let is_otp = has_word(button, "type", "OTP") || link.starts_with(OTP_LINK_PREFIX);
    let keys = if is_otp { vec![own_key, "1".to_owned()] } else { vec![own_key] };
    Some(Slot { place: Place::Button { sub_type, index, parameter }, keys, required })
}

fn text_parameter(name: Option<&str>, value: &str) -> Value {
    match name {
        Some(name) => json!({ "type": "text", "parameter_name": name, "text": value }),
        None => json!({ "type": "text", "text": value }),
    }
}

/// Meta writes these words in capitals and takes them in either case.
fn has_word(value: &Value, key: &str, word: &str) -> bool {
    value.get(key).and_then(Value::as_str).is_some_and(|given| given.eq_ignore_ascii_case(word))
}

fn is_number(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// The distinct names of the placeholders in a text, in the order in which their values are passed.
fn placeholders(text: Option<&Value>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut rest = text.and_then(Value::as_str).unwrap_or_default();
    while let Some((_, name, after)) = next_placeholder(rest) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
        rest = after;
    }
    in_passing_order(names)
}

/// Numbers by size (`2` before `10`), then names as they come.
fn in_passing_order(mut names: Vec<String>) -> Vec<String> {
    names.sort_by_key(|name| name.parse::<u32>().unwrap_or(u32::MAX));
    names
}

/// Splits at the next `{{name}}`: the text before, the name, the text after.
fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(open) = text[from..].find("{{").map(|at| from + at) {
        let inner = &text[open + 2..];
        let close = inner.find("}}")?;
        let name = inner[..close].trim();
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Some((&text[..open], name, &inner[close + 2..]));
        }
        from = open + 1;
    }
    None
}
