//! Templates as the Graph API answers them: one that was just submitted, and the pages of the list.

use serde_json::Value;

use crate::message_content::without_nul;
use crate::wa_template::{Category, Listing, Status};

/// What to ask for of each template in the list.
pub const LIST_FIELDS: &str = "id,name,language,status,category,components,rejected_reason,quality_score";

/// A page of `GET /{waba_id}/message_templates`.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplatePage {
    /// Each for [`listed_template`].
    pub templates: Vec<Value>,
    /// The `after` of the next page, if there is one.
    pub next: Option<String>,
}

/// Reads a page.
///
/// # Errors
/// What is wrong with the answer.
pub fn template_page(body: &Value) -> Result<TemplatePage, String> {
    let Some(templates) = body.get("data").and_then(Value::as_array) else {
        return Err("data: missing or not a list".to_owned());
    };
    // The last page has a cursor too, and no address of a next one.
    let next = body.pointer("/paging/next").and_then(Value::as_str).filter(|next| !next.is_empty());
    let after = body.pointer("/paging/cursors/after").and_then(Value::as_str);
    let next = match (next, after) {
        (None, _) => None,
        (Some(_), Some(after)) => Some(after.to_owned()),
        (Some(_), None) => return Err("paging.cursors.after: missing, and there is a next page".to_owned()),
    };
    Ok(TemplatePage { templates: templates.clone(), next })
}

/// Reads one template of a list.
///
/// # Errors
/// A sentence that names the template and what is wrong with it.
pub fn listed_template(waba_id: &str, raw: &Value) -> Result<Listing, String> {
    let raw = without_nul(raw);
    let text = |key: &str| raw.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let name = text("name").ok_or("A template has no name.")?;
    let required = |key: &str| text(key).ok_or_else(|| format!("{name}: {key} is missing."));
    let language = required("language")?;
    let status = required("status")?;
    let category = required("category")?;
    let unknown = |what: &str, word: &str| format!("{name} ({language}): the {what} {word} is not known.");
    let quality = raw.get("quality_score");
    let quality = quality.and_then(|quality| quality.get("score").unwrap_or(quality).as_str());
    Ok(Listing {
        waba_id: waba_id.to_owned(),
        name: name.to_owned(),
        language: language.to_owned(),
        category: Category::from_meta(category).ok_or_else(|| unknown("category", category))?,
        status: Status::from_meta(status).ok_or_else(|| unknown("status", status))?,
        reason: text("rejected_reason").filter(|reason| *reason != "NONE").map(str::to_owned),
        quality: quality.map(str::to_owned),
        components: raw.get("components").and_then(Value::as_array).cloned().unwrap_or_default(),
        meta_template_id: template_id(&raw),
    })
}

/// Completes what was submitted with what Meta answered to it.
#[must_use]
pub fn submitted_template(submitted: Listing, answer: &Value) -> Listing {
    let word = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
    Listing {
        // Meta puts a template into the category that it finds right.
        category: Category::from_meta(word("category")).unwrap_or(submitted.category),
        status: Status::from_meta(word("status")).unwrap_or(Status::Pending),
        meta_template_id: template_id(answer),
        ..submitted
    }
}

fn template_id(raw: &Value) -> Option<String> {
    match raw.get("id")? {
        Value::String(id) if !id.is_empty() => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw() -> Value {
        json!({
            "id": "1689031764522107", "name": "pesanan_dikirim", "language": "id", "status": "APPROVED",
            "category": "UTILITY", "components": [{ "type": "BODY", "text": "Pesanan {{1}} dikirim." }],
            "rejected_reason": "NONE", "quality_score": { "score": "GREEN", "date": 1_763_712_000 },
        })
    }

    fn with(key: &str, value: Value) -> Value {
        let mut raw = raw();
        raw[key] = value;
        raw
    }

    #[test]
    fn a_listed_template_is_read_whole() {
        let listing = listed_template("900", &raw()).unwrap();
        assert_eq!((listing.name.as_str(), listing.language.as_str()), ("pesanan_dikirim", "id"));
        assert_eq!((listing.status, listing.category), (Status::Approved, Category::Utility));
        assert_eq!((listing.quality.as_deref(), listing.reason.as_deref()), (Some("GREEN"), None));
        assert_eq!(listing.meta_template_id.as_deref(), Some("1689031764522107"));
        assert_eq!(listing.components.len(), 1);
        let rejected = with("rejected_reason", json!("INVALID_FORMAT"));
        assert_eq!(listed_template("900", &rejected).unwrap().reason.as_deref(), Some("INVALID_FORMAT"));
    }

    #[test]
    fn what_can_not_be_read_is_named() {
        for (key, value, named) in [
            ("name", json!(null), "no name"),
            ("language", json!(7), "language is missing"),
            ("status", json!("SLEEPING"), "the status SLEEPING is not known"),
            ("category", json!("OTP"), "the category OTP is not known"),
        ] {
            let reason = listed_template("900", &with(key, value)).unwrap_err();
            assert!(reason.contains(named), "{reason}");
        }
    }

    #[test]
    fn pages_end_where_meta_names_no_next_one() {
        let cursors = json!({ "before": "a", "after": "b" });
        let last = json!({ "data": [raw()], "paging": { "cursors": cursors } });
        assert_eq!(template_page(&last).unwrap().next, None);
        let more = json!({ "data": [], "paging": { "cursors": cursors, "next": "https://example.com" } });
        assert_eq!(template_page(&more).unwrap().next.as_deref(), Some("b"));
        assert_eq!(template_page(&json!({ "data": [] })).unwrap().next, None);
        assert!(template_page(&json!({ "success": true })).is_err());
    }

    #[test]
    fn metas_answer_decides_category_and_status() {
        let submitted = listed_template("900", &raw()).unwrap();
        let answer = json!({ "id": 17, "status": "PENDING", "category": "MARKETING" });
        let listing = submitted_template(submitted.clone(), &answer);
        assert_eq!((listing.status, listing.category), (Status::Pending, Category::Marketing));
        assert_eq!(listing.meta_template_id.as_deref(), Some("17"));
        let terse = submitted_template(submitted, &json!({ "id": "17" }));
        assert_eq!((terse.status, terse.category), (Status::Pending, Category::Utility));
    }
}
