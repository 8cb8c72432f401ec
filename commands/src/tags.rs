//! Labels that people put on contacts and conversations: a small set of short texts, told apart by case.

use domain::refusal::{FieldProblem, Refusal};
pub use domain::tag::{MAX_TAG_CHARS, MAX_TAGS};

/// The tags as they are kept: trimmed, each once, in the order given.
///
/// # Errors
/// 422 naming each tag that is blank or too long (`tags[2]`), or `tags` when there are too many.
pub fn normalized(tags: &[String]) -> Result<Vec<String>, Refusal> {
    let mut kept: Vec<String> = Vec::new();
    let mut problems = Vec::new();
    for (index, tag) in tags.iter().map(|tag| tag.trim()).enumerate() {
        if tag.is_empty() {
            problems.push(FieldProblem::new(format!("tags[{index}]"), "must not be blank"));
        } else if tag.chars().count() > MAX_TAG_CHARS {
            problems.push(FieldProblem::new(
                format!("tags[{index}]"),
                format!("must be at most {MAX_TAG_CHARS} characters"),
            ));
        } else if !kept.iter().any(|known| known == tag) {
            kept.push(tag.to_owned());
        }
    }
    if problems.is_empty() {
        problems.extend(too_many(&kept));
    }
    if problems.is_empty() { Ok(kept) } else { Err(Refusal::invalid_fields(problems)) }
}

/// What there is with these added.
///
/// # Errors
/// 422 when together they are too many.
pub(crate) fn with(present: &[String], added: &[String]) -> Result<Vec<String>, Refusal> {
    let new = added.iter().filter(|tag| !present.contains(tag));
    let all: Vec<String> = present.iter().chain(new).cloned().collect();
    too_many(&all).map_or(Ok(all), |problem| Err(Refusal::invalid_fields(vec![problem])))
}

/// What is left without these.
pub(crate) fn without(present: &[String], removed: &[String]) -> Vec<String> {
    present.iter().filter(|tag| !removed.contains(tag)).cloned().collect()
}

/// Order is nobody's business: the same tags in another order are the same set.
pub(crate) fn same(a: &[String], b: &[String]) -> bool {
    a.len() == b.len() && a.iter().all(|tag| b.contains(tag))
}

fn too_many(tags: &[String]) -> Option<FieldProblem> {
    (tags.len() > MAX_TAGS).then(|| FieldProblem::new("tags", format!("must be at most {MAX_TAGS}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(tags: &[&str]) -> Vec<String> {
        tags.iter().map(|tag| (*tag).to_owned()).collect()
    }

    fn fields(refusal: Refusal) -> Vec<String> {
        refusal.fields.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn tags_are_trimmed_and_kept_once() {
        assert_eq!(normalized(&list(&[" vip ", "VIP", "vip"])).unwrap(), ["vip", "VIP"]);
    }

    #[test]
    fn each_bad_tag_is_named() {
        let long = "x".repeat(MAX_TAG_CHARS + 1);
        assert_eq!(fields(normalized(&list(&["ok", " ", &long])).unwrap_err()), ["tags[1]", "tags[2]"]);
        assert!(normalized(&["é".repeat(MAX_TAG_CHARS)]).is_ok());
    }

    #[test]
    fn the_number_of_tags_is_limited_after_doubles_are_gone() {
        let mut tags: Vec<String> = (0..MAX_TAGS).map(|n| n.to_string()).collect();
        tags.push("0".to_owned());
        assert_eq!(normalized(&tags).unwrap().len(), MAX_TAGS);
        assert_eq!(fields(with(&tags[..MAX_TAGS], &list(&["one more"])).unwrap_err()), ["tags"]);
        tags.push("one more".to_owned());
        assert_eq!(fields(normalized(&tags).unwrap_err()), ["tags"]);
    }
}
