//! Reading a JSON object that somebody wrote: every problem is collected and named by its path
//! (`actions[2].agent_id`), so that one answer shows all that is wrong.

use std::fmt::Display;
use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::refusal::FieldProblem;

pub type Problems = Vec<FieldProblem>;

/// The value if nothing was wrong, else all the problems.
pub(super) fn settle<T>(value: Option<T>, problems: Problems) -> Result<T, Problems> {
    match value {
        Some(value) if problems.is_empty() => Ok(value),
        _ => Err(problems),
    }
}

/// A JSON object being read. A field is known once it was asked for; [`Fields::finish`] refuses the others.
pub(super) struct Fields<'v, 'p> {
    object: &'v Map<String, Value>,
    path: String,
    known: Vec<&'static str>,
    problems: &'p mut Problems,
}

impl<'v, 'p> Fields<'v, 'p> {
    /// Starts to read `value` found at `path` (empty at the root); anything but an object is a problem.
    pub(super) fn open(value: &'v Value, path: &str, problems: &'p mut Problems) -> Option<Self> {
        let Value::Object(object) = value else {
            problems.push(FieldProblem::new(path, "must be an object"));
            return None;
        };
        Some(Self { object, path: path.to_owned(), known: Vec::new(), problems })
    }

    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    pub(super) fn problem(&mut self, name: &str, message: impl Display) {
        let field = self.path(name);
        self.problems.push(FieldProblem::new(field, message.to_string()));
    }

    /// A field that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'v Value) -> Result<T, String>,
    ) -> Option<T> {
        self.known.push(name);
        read(self.object.get(name)?).map_err(|message| self.problem(name, message)).ok()
    }

    /// A field that must be there.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'v Value) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(name) {
            self.known.push(name);
            self.problem(name, "is required");
            return None;
        }
        self.optional(name, read)
    }

    /// A field that has fields or items of its own: `read` gets its path and reports problems by itself.
    pub(super) fn nested<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'v Value, &str, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        self.known.push(name);
        let path = self.path(name);
        read(self.object.get(name)?, &path, self.problems)
    }

    pub(super) fn nested_required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'v Value, &str, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        if !self.has(name) {
            self.problem(name, "is required");
        }
        self.nested(name, read)
    }

    /// Refuses the fields that nobody asked for: a typo must not be dropped silently.
    pub(super) fn finish(mut self) {
        let object = self.object;
        for name in object.keys().filter(|name| !self.known.contains(&name.as_str())).collect::<Vec<_>>() {
            self.problem(name, "is not a known field here");
        }
    }
}

pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "must be true or false".to_owned())
}

pub(super) fn integer(range: RangeInclusive<i64>) -> impl FnOnce(&Value) -> Result<i64, String> {
    move |value| match value.as_i64() {
        Some(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("must be a whole number from {} to {}", range.start(), range.end())),
    }
}

pub(super) fn percentage(value: &Value) -> Result<f64, String> {
    let number = value.as_f64().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "must be a number from 0 to 100".to_owned())
}

/// Text of at most `max` characters (Unicode scalar values); may be empty.
pub(super) fn text(max: usize) -> impl FnOnce(&Value) -> Result<&str, String> {
    move |value| {
        let text = value.as_str().ok_or("must be a string")?;
        if text.chars().count() > max {
            return Err(format!("must be at most {max} characters long"));
        }
        Ok(text)
    }
}

/// Text that says something: at most `max` characters and not only white space.
pub(super) fn filled_text(max: usize) -> impl FnOnce(&Value) -> Result<&str, String> {
    move |value| {
        let text = text(max)(value)?;
        if text.trim().is_empty() { Err("must not be empty".to_owned()) } else { Ok(text) }
    }
}

pub(super) fn uuid(value: &Value) -> Result<Uuid, String> {
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| "must be a UUID".to_owned())
}

pub(super) fn time(value: &Value) -> Result<DateTime<Utc>, String> {
    let parsed = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    parsed.map(|time| time.to_utc()).ok_or_else(|| "must be a time as RFC 3339 writes it".to_owned())
}

/// A time after `now`.
pub(super) fn future(now: DateTime<Utc>) -> impl FnOnce(&Value) -> Result<DateTime<Utc>, String> {
    move |value| {
        let time = time(value)?;
        if time > now { Ok(time) } else { Err("must be in the future".to_owned()) }
    }
}

/// The items of an array, each read by `read` under its own path (`tags[3]`); `None` if any was bad.
pub(super) fn items<'v, T>(
    value: &'v Value,
    path: &str,
    max: usize,
    problems: &mut Problems,
    mut read: impl FnMut(&'v Value, &str, &mut Problems) -> Option<T>,
) -> Option<Vec<T>> {
    let Value::Array(values) = value else {
        problems.push(FieldProblem::new(path, "must be an array"));
        return None;
    };
    if values.len() > max {
        problems.push(FieldProblem::new(path, format!("must have at most {max} items")));
        return None;
    }
    // Read them all before giving up, so that every bad item is named.
    let read: Vec<Option<T>> =
        values.iter().enumerate().map(|(n, item)| read(item, &format!("{path}[{n}]"), problems)).collect();
    read.into_iter().collect()
}

/// An item reader for [`items`] made of a plain reader.
pub(super) fn item<'v, T>(
    read: impl Fn(&'v Value) -> Result<T, String>,
) -> impl FnMut(&'v Value, &str, &mut Problems) -> Option<T> {
    move |value, path, problems| {
        read(value).map_err(|message| problems.push(FieldProblem::new(path, message))).ok()
    }
}

/// A word out of a closed list, by the names that the contract gives them.
pub(super) fn one_of<T: Copy>(choices: &'static [(&'static str, T)]) -> impl Fn(&Value) -> Result<T, String> {
    move |value| {
        let found = value.as_str().and_then(|text| choices.iter().find(|(name, _)| *name == text));
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            format!("must be one of {}", names.join(", "))
        })
    }
}
