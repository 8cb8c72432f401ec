//! Interactive messages: buttons, lists and forms that we send, and the customer's answer to them.
//!
//! Both stay in Meta's own form. What we send is checked first for what Meta documents, because Meta reports a wrong
//! message with a code and no field. Types whose `action` belongs to a catalogue or flow of the business are checked
//! around it and passed through.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::contains_nul;
use super::fields::Fields;
use super::limits::*;
use crate::refusal::FieldProblem;

const TYPES: [&str; 8] = [
    "button",
    "list",
    "cta_url",
    "location_request_message",
    "flow",
    "product",
    "product_list",
    "catalog_message",
];

pub(super) fn parse_outbound(
    content: &Value,
    problems: &mut Vec<FieldProblem>,
) -> Option<Map<String, Value>> {
    if contains_nul(content) {
        // Checked as a whole, since part of the content is passed through unread.
        problems.push(FieldProblem::new("content", "must not contain a NUL character"));
        return None;
    }
    let mut fields =
        Fields::open(content, "content", &["type", "header", "body", "footer", "action"], problems)?;
    let kind = fields.word("type", &TYPES)?;
    check_header(&mut fields, kind);
    // A single product carries its own picture and text, so Meta lets the body out.
    if kind != "product" || fields.get("body").is_some() {
        let max_chars = if kind == "list" { LIST_BODY_MAX_CHARS } else { INTERACTIVE_BODY_MAX_CHARS };
        if let Some(mut body) = fields.child("body", &["text"]) {
            body.text("text", max_chars);
        }
    }
    if let Some(mut footer) = fields.optional_child("footer", &["text"]) {
        footer.text("text", FOOTER_TEXT_MAX_CHARS);
    }
    match kind {
        "button" => check_reply_buttons(&mut fields),
        "list" => check_list(&mut fields),
        "cta_url" => check_link_button(&mut fields),
        "location_request_message" => {
            if let Some(mut action) = fields.child("action", &["name"]) {
                action.word("name", &["send_location"]);
            }
        }
        _ => {
            fields.loose_child("action");
        }
    }
    // A null means "not given" here, but Meta may read it otherwise.
    let given = content.as_object()?.iter().filter(|(_, value)| !value.is_null());
    Some(given.map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn check_header(fields: &mut Fields<'_, '_>, kind: &str) {
    let known = ["type", "text", "image", "video", "document"];
    let Some(mut header) = fields.optional_child("header", &known) else { return };
    let text_only = matches!(kind, "list" | "product_list");
    let header_types: &[&str] = if text_only { &["text"] } else { &["text", "image", "video", "document"] };
    match header.word("type", header_types) {
        Some("text") => {
            header.text("text", HEADER_TEXT_MAX_CHARS);
        }
        Some(media) => {
            let Some(mut media) = header.child(media, &["link", "id", "filename"]) else { return };
            if media.get("id").is_some() {
                media.text("id", MESSAGE_ID_MAX_CHARS);
            } else {
                media.url("link");
            }
        }
        None => {}
    }
}

fn check_reply_buttons(fields: &mut Fields<'_, '_>) {
    let Some(mut action) = fields.child("action", &["buttons"]) else { return };
    let Some(buttons) = action.list("buttons", 1..=REPLY_BUTTONS_MAX) else { return };
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for (index, button) in buttons.iter().enumerate() {
        let Some(mut button) = action.item("buttons", index, button, &["type", "reply"]) else { continue };
        button.word("type", &["reply"]);
        let Some(mut reply) = button.child("reply", &["id", "title"]) else { continue };
        let id = reply.text("id", REPLY_BUTTON_ID_MAX_CHARS);
        let title = reply.text("title", BUTTON_LABEL_MAX_CHARS);
        if id.is_some_and(|id| !ids.insert(id)) {
            reply.problem("id", "must differ from that of the other buttons");
        }
        if title.is_some_and(|title| !titles.insert(title)) {
            reply.problem("title", "must differ from that of the other buttons");
        }
    }
}

fn check_list(fields: &mut Fields<'_, '_>) {
    let Some(mut action) = fields.child("action", &["button", "sections"]) else { return };
    action.text("button", BUTTON_LABEL_MAX_CHARS);
    let Some(sections) = action.list("sections", 1..=LIST_SECTIONS_MAX) else { return };
    let mut ids = BTreeSet::new();
    let mut rows_in_all = 0;
    for (index, section) in sections.iter().enumerate() {
        let Some(mut section) = action.item("sections", index, section, &["title", "rows"]) else { continue };
        if sections.len() > 1 {
            section.text("title", LIST_SECTION_TITLE_MAX_CHARS);
        } else {
            section.optional_text("title", LIST_SECTION_TITLE_MAX_CHARS);
        }
        let Some(rows) = section.list("rows", 1..=LIST_ROWS_MAX) else { continue };
        rows_in_all += rows.len();
        for (index, row) in rows.iter().enumerate() {
            let Some(mut row) = section.item("rows", index, row, &["id", "title", "description"]) else {
                continue;
            };
            let id = row.text("id", LIST_ROW_ID_MAX_CHARS);
            row.text("title", LIST_ROW_TITLE_MAX_CHARS);
            row.optional_text("description", LIST_ROW_DESCRIPTION_MAX_CHARS);
            if id.is_some_and(|id| !ids.insert(id)) {
                row.problem("id", "must differ from that of the other rows");
            }
        }
    }
    if rows_in_all > LIST_ROWS_MAX {
        action.problem("sections", format!("must have at most {LIST_ROWS_MAX} rows in all"));
    }
}

fn check_link_button(fields: &mut Fields<'_, '_>) {
    let Some(mut action) = fields.child("action", &["name", "parameters"]) else { return };
    action.word("name", &["cta_url"]);
    let Some(mut parameters) = action.child("parameters", &["display_text", "url"]) else { return };
    parameters.text("display_text", BUTTON_LABEL_MAX_CHARS);
    parameters.url("url");
}

/// The id and title of the choice in a customer's answer. A submitted form (`nfm_reply`) has its name and body.
pub(crate) fn reply(interactive: &Map<String, Value>) -> Option<(&str, &str)> {
    let (object, id, title) = match interactive.get("type")?.as_str()? {
        "button_reply" => ("button_reply", "id", "title"),
        "list_reply" => ("list_reply", "id", "title"),
        "nfm_reply" => ("nfm_reply", "name", "body"),
        _ => return None,
    };
    let object = interactive.get(object)?;
    Some((object.get(id)?.as_str()?, object.get(title)?.as_str()?))
}

pub(crate) fn body_text(interactive: &Map<String, Value>) -> Option<&str> {
    interactive.get("body")?.get("text")?.as_str()
}

/// The words that people read in the message: header, body, footer, labels and the answer.
pub(super) fn texts(interactive: &Map<String, Value>) -> Vec<&str> {
    let mut texts = Vec::new();
    collect_texts(interactive, &mut texts);
    texts
}

fn collect_texts<'a>(object: &'a Map<String, Value>, texts: &mut Vec<&'a str>) {
    const READ_BY_PEOPLE: [&str; 6] = ["text", "title", "description", "display_text", "button", "body"];
    for (key, value) in object {
        match value {
            Value::String(text) if READ_BY_PEOPLE.contains(&key.as_str()) => texts.push(text),
            Value::Object(inner) => collect_texts(inner, texts),
            Value::Array(items) => {
                items.iter().filter_map(Value::as_object).for_each(|inner| collect_texts(inner, texts));
            }
            _ => {}
        }
    }
}
