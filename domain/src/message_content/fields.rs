//! Reads a JSON object field by field and notes every problem instead of stopping at the first.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::contains_nul;
use super::limits::URL_MAX_CHARS;
use crate::refusal::FieldProblem;

/// Length to which a caller's own field name is cut before it is quoted back.
const QUOTED_NAME_MAX_CHARS: usize = 64;

pub(super) struct Fields<'a, 'p> {
    object: &'a Map<String, Value>,
    path: String,
    problems: &'p mut Vec<FieldProblem>,
}

impl<'a, 'p> Fields<'a, 'p> {
    /// Opens an object that may have the `known` fields and no other.
    pub(super) fn open(
        value: &'a Value,
        path: impl Into<String>,
        known: &[&str],
        problems: &'p mut Vec<FieldProblem>,
    ) -> Option<Self> {
        let fields = Self::open_loose(value, path, problems)?;
        for key in fields.object.keys().filter(|key| !known.contains(&key.as_str())) {
            let quoted: String = key.chars().take(QUOTED_NAME_MAX_CHARS).collect();
            let field = format!("{}.{}", fields.path, quoted.replace('\0', "\u{FFFD}"));
            fields.problems.push(FieldProblem::new(field, "is not a field of this object"));
        }
        Some(fields)
    }

    /// Opens an object whose fields are the provider's business.
    pub(super) fn open_loose(
        value: &'a Value,
        path: impl Into<String>,
        problems: &'p mut Vec<FieldProblem>,
    ) -> Option<Self> {
        let path = path.into();
        let Value::Object(object) = value else {
            problems.push(FieldProblem::new(path, "must be an object"));
            return None;
        };
        Some(Self { object, path, problems })
    }

    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>) {
        let field = self.path_of(key);
        self.problems.push(FieldProblem::new(field, message));
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// The value of a field; an explicit `null` counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn required(&mut self, key: &str) -> Option<&'a Value> {
        let value = self.get(key);
        if value.is_none() {
            self.problem(key, "is required");
        }
        value
    }

    pub(super) fn child(&mut self, key: &str, known: &[&str]) -> Option<Fields<'a, '_>> {
        let value = self.required(key)?;
        Fields::open(value, self.path_of(key), known, self.problems)
    }

    pub(super) fn optional_child(&mut self, key: &str, known: &[&str]) -> Option<Fields<'a, '_>> {
        let value = self.get(key)?;
        Fields::open(value, self.path_of(key), known, self.problems)
    }

    pub(super) fn loose_child(&mut self, key: &str) -> Option<Fields<'a, '_>> {
        let value = self.required(key)?;
        Fields::open_loose(value, self.path_of(key), self.problems)
    }

    /// Opens item `index` of the list in field `key`, which the caller already holds.
    pub(super) fn item(
        &mut self,
        key: &str,
        index: usize,
        item: &'a Value,
        known: &[&str],
    ) -> Option<Fields<'a, '_>> {
        Fields::open(item, format!("{}.{key}[{index}]", self.path), known, self.problems)
    }

    /// A list with an allowed number of items.
    pub(super) fn list(&mut self, key: &str, count: RangeInclusive<usize>) -> Option<&'a [Value]> {
        let Value::Array(items) = self.required(key)? else {
            self.problem(key, "must be a list");
            return None;
        };
        if !count.contains(&items.len()) {
            self.problem(key, format!("must have {} to {} items", count.start(), count.end()));
            return None;
        }
        Some(items)
    }

    /// A text that is more than white space.
    pub(super) fn text(&mut self, key: &str, max_chars: usize) -> Option<&'a str> {
        let value = self.required(key)?;
        self.checked_text(key, value, max_chars)
    }

    pub(super) fn optional_text(&mut self, key: &str, max_chars: usize) -> Option<String> {
        let value = self.get(key)?;
        self.checked_text(key, value, max_chars).map(ToOwned::to_owned)
    }

    fn checked_text(&mut self, key: &str, value: &'a Value, max_chars: usize) -> Option<&'a str> {
        let text = self.string(key, value, max_chars)?;
        if text.trim().is_empty() {
            self.problem(key, "must not be empty");
            return None;
        }
        Some(text)
    }

    /// A string of limited length, possibly empty.
    pub(super) fn string(&mut self, key: &str, value: &'a Value, max_chars: usize) -> Option<&'a str> {
        let Value::String(text) = value else {
            self.problem(key, "must be a string");
            return None;
        };
        if contains_nul(value) {
            self.problem(key, "must not contain a NUL character");
            return None;
        }
        if text.chars().count() > max_chars {
            self.problem(key, format!("must be at most {max_chars} characters"));
            return None;
        }
        Some(text)
    }

    /// A number; out of `range`, or not a number, is a problem.
    pub(super) fn number(&mut self, key: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let value = self.required(key)?;
        let number = value.as_f64().filter(|number| range.contains(number));
        if number.is_none() {
            self.problem(key, format!("must be a number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// A public web address.
    pub(super) fn url(&mut self, key: &str) -> Option<&'a str> {
        let url = self.text(key, URL_MAX_CHARS)?;
        if !is_web_url(url) {
            self.problem(key, "must be an http or https URL");
            return None;
        }
        Some(url)
    }

    /// One of a few words.
    pub(super) fn word<'w>(&mut self, key: &str, words: &[&'w str]) -> Option<&'w str> {
        let value = self.required(key)?;
        let word = words.iter().copied().find(|word| value.as_str() == Some(word));
        if word.is_none() {
            self.problem(key, format!("must be one of: {}", words.join(", ")));
        }
        word
    }
}

/// Whether the text is an absolute http(s) URL with a host. The provider fetches it, so reachability is not our
/// question; this only catches what can never work.
pub fn is_web_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default().rsplit('@').next().unwrap_or_default();
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
        && !host.is_empty()
        && !host.starts_with(':')
        && !url.chars().any(|char| char.is_whitespace() || char.is_control())
}
