//! Decisions about message templates: what we submit to Meta, what Meta tells us of them, and which may be sent.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::aggregate::Aggregate;
use domain::integration_account::IntegrationAccount;
use domain::message_content::{URL_MAX_CHARS, is_web_url};
use domain::refusal::{FieldProblem, Refusal};
use domain::wa_template::{Category, Listing, Status, WaTemplate, WaTemplateEvent};
use serde_json::Value;
use uuid::Uuid;

use crate::CommandError;
use crate::store::{Decision, Store};

/// Characters of a name. Meta's, as are the limits below, from its reference of message templates.
pub const NAME_MAX_CHARS: usize = 512;
const HEADER_MAX_CHARS: usize = 60;
const BODY_MAX_CHARS: usize = 1_024;
const FOOTER_MAX_CHARS: usize = 60;
const BUTTONS_MAX: usize = 10;
const COMPONENTS: [&str; 6] = ["HEADER", "BODY", "FOOTER", "BUTTONS", "CAROUSEL", "LIMITED_TIME_OFFER"];
const HEADER_FORMATS: [&str; 5] = ["TEXT", "IMAGE", "VIDEO", "DOCUMENT", "LOCATION"];
/// What becomes of a template that Meta's list no longer holds.
const UNLISTED: &str = "Meta no longer lists this template.";

type Decided = Result<Decision<WaTemplateEvent>, Refusal>;

/// What Meta's webhook says of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Status { status: Status, reason: Option<String> },
    Category(Category),
    Quality(String),
}

/// Whether Meta could take this at all. What only Meta can judge, such as examples and wording, is left to it.
///
/// # Errors
/// Everything that will not do, by field.
pub fn check(new: &Listing) -> Result<(), Refusal> {
    let mut problems = Vec::new();
    let mut problem = |field: String, message: String| problems.push(FieldProblem::new(field, message));
    let fits_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if new.name.is_empty() || new.name.len() > NAME_MAX_CHARS || !new.name.bytes().all(fits_name) {
        let message = format!("must be 1 to {NAME_MAX_CHARS} lower-case letters, digits and underscores");
        problem("name".to_owned(), message);
    }
    if !is_language(&new.language) {
        problem("language".to_owned(), "must be Meta's code of a language, such as id or en_US".to_owned());
    }
    let mut seen: Vec<String> = Vec::new();
    for (index, component) in new.components.iter().enumerate() {
        let kind = word(component, "type");
        if seen.contains(&kind) {
            problem(format!("components[{index}].type"), format!("must not be a second {kind}"));
        }
        if let Err((field, message)) = check_component(&kind, component, new.category) {
            problem(format!("components[{index}].{field}"), message);
        }
        seen.push(kind);
    }
    if !seen.iter().any(|kind| kind == "BODY") {
        problem("components".to_owned(), "must hold a BODY".to_owned());
    }
    if problems.is_empty() { Ok(()) } else { Err(Refusal::invalid_fields(problems)) }
}

/// Two or three letters, and perhaps a country or region.
fn is_language(code: &str) -> bool {
    let (language, region) = code.split_once('_').map_or((code, None), |(l, r)| (l, Some(r)));
    (2..=3).contains(&language.len())
        && language.bytes().all(|byte| byte.is_ascii_lowercase())
        && region
            .is_none_or(|region| region.len() == 2 && region.bytes().all(|byte| byte.is_ascii_uppercase()))
}

fn check_component(kind: &str, component: &Value, category: Category) -> Result<(), (&'static str, String)> {
    let text = component.get("text").and_then(Value::as_str).map(str::trim);
    // Meta writes the texts of authentication templates itself.
    let written_by_meta = category == Category::Authentication;
    let check_text = |max: usize| match text {
        None | Some("") if written_by_meta => Ok(()),
        None | Some("") => Err(("text", "is required".to_owned())),
        Some(text) if text.chars().count() > max => {
            Err(("text", format!("must have at most {max} characters")))
        }
        Some(_) => Ok(()),
    };
    match kind {
        "BODY" => check_text(BODY_MAX_CHARS),
        "FOOTER" => check_text(FOOTER_MAX_CHARS),
        "HEADER" => match word(component, "format").as_str() {
            "TEXT" => check_text(HEADER_MAX_CHARS),
            format if HEADER_FORMATS.contains(&format) => Ok(()),
            _ => Err(("format", format!("must be one of: {}", HEADER_FORMATS.join(", ")))),
        },
        "BUTTONS" => match component.get("buttons").and_then(Value::as_array).map(Vec::len) {
            Some(1..=BUTTONS_MAX) => Ok(()),
            _ => Err(("buttons", format!("must be a list of 1 to {BUTTONS_MAX} buttons"))),
        },
        known if COMPONENTS.contains(&known) => Ok(()),
        _ => Err(("type", format!("must be one of: {}", COMPONENTS.join(", ")))),
    }
}

fn word(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_ascii_uppercase()
}

/// Whether a template of that name and language may be submitted; a repetition of one that is here already may.
///
/// # Errors
/// When there is another one.
pub fn check_new(state: &WaTemplate, new: &Listing) -> Result<(), Refusal> {
    if state.exists() && state.listing.components != new.components {
        let detail = "This business account has a template of this name and language already.";
        return Err(Refusal::conflict("already_taken", detail));
    }
    Ok(())
}

/// Meta has taken it.
///
/// # Errors
/// When there is another one of that name and language.
pub fn submitted(state: &WaTemplate, listing: &Listing) -> Decided {
    check_new(state, listing)?;
    if state.exists() {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(WaTemplateEvent::Submitted(Box::new(listing.clone()))))
}

/// Meta lists it like this.
#[must_use]
pub fn synced(state: &WaTemplate, listing: &Listing) -> Decision<WaTemplateEvent> {
    if state.exists() && state.listing == *listing {
        return Decision::nothing();
    }
    Decision::one(WaTemplateEvent::Synced(Box::new(listing.clone())))
}

/// Meta's list, read to its end, does not hold it: it can't be sent any more. It stays here for what refers to it.
#[must_use]
pub fn unlisted(state: &WaTemplate) -> Decision<WaTemplateEvent> {
    let gone = (Status::Disabled, Some(UNLISTED.to_owned()));
    if !state.exists() || (state.listing.status, &state.listing.reason) == (gone.0, &gone.1) {
        return Decision::nothing();
    }
    Decision::one(WaTemplateEvent::StatusChanged { status: gone.0, reason: gone.1 })
}

/// Meta's news, which came at this time; older than the list that was read since, they are none.
#[must_use]
pub fn heard(state: &WaTemplate, news: &News, at: DateTime<Utc>) -> Decision<WaTemplateEvent> {
    if !state.exists() || state.synced_at.is_some_and(|synced_at| at < synced_at) {
        return Decision::nothing();
    }
    let listing = &state.listing;
    Decision::one(match news {
        News::Status { status, reason } if (listing.status, &listing.reason) != (*status, reason) => {
            WaTemplateEvent::StatusChanged { status: *status, reason: reason.clone() }
        }
        News::Category(category) if listing.category != *category => {
            WaTemplateEvent::CategoryChanged { category: *category }
        }
        News::Quality(quality) if listing.quality.as_deref() != Some(quality) => {
            WaTemplateEvent::QualityChanged { quality: quality.clone() }
        }
        _ => return Decision::nothing(),
    })
}

/// # Errors
/// When there is no such template, its header shows no media, or the address is none.
pub fn set_header_media(state: &WaTemplate, url: &str) -> Decided {
    existing(state)?;
    if !is_web_url(url) || url.chars().count() > URL_MAX_CHARS {
        let message = format!("must be an http or https URL of at most {URL_MAX_CHARS} characters");
        return Err(Refusal::invalid("header_media_url", message));
    }
    if !state.reference().takes_header_media() {
        return Err(Refusal::invalid(
            "header_media_url",
            "has no place: the template's header shows no media",
        ));
    }
    if state.header_media_url.as_deref() == Some(url) {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(WaTemplateEvent::HeaderMediaSet { url: url.to_owned() }))
}

/// # Errors
/// When there is no such template.
pub fn delete(state: &WaTemplate) -> Decided {
    existing(state)?;
    Ok(Decision::one(WaTemplateEvent::Deleted))
}

/// Whether a message may be made of the template: for a number of this business account (`None`: Meta will tell), with
/// these variables.
///
/// # Errors
/// 409 `template_not_approved`; else what is wrong with `content.template_id` or `content.variables`.
pub fn check_sendable(
    state: &WaTemplate,
    waba_id: Option<&str>,
    variables: &BTreeMap<String, String>,
) -> Result<(), Refusal> {
    const FIELD: &str = "content.template_id";
    if !state.exists() {
        return Err(Refusal::invalid(FIELD, "names no template of yours"));
    }
    let Listing { name, status, reason, .. } = &state.listing;
    if waba_id.is_some_and(|waba_id| waba_id != state.listing.waba_id) {
        let message = "belongs to another WhatsApp Business Account than the number of this conversation";
        return Err(Refusal::invalid(FIELD, message));
    }
    if *status != Status::Approved {
        let reason = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let detail = format!("The template {name} can't be sent: it is {}{reason}.", status.as_str());
        return Err(Refusal::conflict("template_not_approved", detail));
    }
    let problems = state.reference().check_variables(variables);
    if problems.is_empty() { Ok(()) } else { Err(Refusal::invalid_fields(problems)) }
}

/// As [`check_sendable`], for a template and an account by their ids. `fallback` is the business account of numbers that
/// have none of their own.
///
/// # Errors
/// As [`check_sendable`]; database errors.
pub async fn check_for_account(
    store: &Store,
    (tenant_id, account_id): (Uuid, Uuid),
    fallback: Option<&str>,
    template_id: Uuid,
    variables: &BTreeMap<String, String>,
) -> Result<(), CommandError> {
    let (template, _): (WaTemplate, _) = store.current(tenant_id, template_id).await?;
    let (account, _): (IntegrationAccount, _) = store.current(tenant_id, account_id).await?;
    check_sendable(&template, account.config.text("waba_id").or(fallback), variables)?;
    Ok(())
}

/// What news about a template wait for that is not known yet.
#[must_use]
pub fn waiting_for(meta_template_id: &str) -> String {
    format!("template {meta_template_id}")
}

fn existing(state: &WaTemplate) -> Result<(), Refusal> {
    if state.exists() { Ok(()) } else { Err(Refusal::not_found("template")) }
}

#[cfg(test)]
mod tests;
