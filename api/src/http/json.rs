//! Reading JSON bodies strictly, and saying in plain words which field is wrong.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::limits::JSON_DEPTH;
use super::problem::{Answer, FieldError, Problem};

/// How a NUL character may appear in JSON text; a raw one is malformed anyway.
const ESCAPED_NUL: &[u8] = b"\\u0000";

/// What a field error is filed under when the whole body is wrong.
pub(super) const WHOLE_BODY: &str = "body";

/// # Errors
/// 400 for text that is not JSON or nests too deeply, 422 naming the field for JSON that is not a `T`.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    if depth(bytes) > JSON_DEPTH {
        return Err(Problem::malformed(format!("The JSON may nest at most {JSON_DEPTH} levels.")));
    }
    if bytes.windows(ESCAPED_NUL.len()).any(|window| window == ESCAPED_NUL) {
        refuse_nul(bytes)?;
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        match error.classify() {
            Category::Data => {
                Problem::invalid_fields(vec![field_error(&path, &error.to_string(), WHOLE_BODY)])
            }
            Category::Syntax | Category::Eof | Category::Io => not_json(&error),
        }
    })?;
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::malformed(format!("The body is not valid JSON: {error}."))
}

/// The deepest nesting, found without recursion and before anything is built.
fn depth(bytes: &[u8]) -> usize {
    let (mut level, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                level += 1;
                deepest = deepest.max(level);
            }
            b']' | b'}' if !in_string => level = level.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// PostgreSQL's text and jsonb cannot hold the character.
fn refuse_nul(bytes: &[u8]) -> Answer<()> {
    // What is no JSON at all is refused as that.
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return Ok(()) };
    let mut fields = Vec::new();
    find_nul(&value, String::new(), &mut fields);
    if fields.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(fields)) }
}

fn find_nul(value: &Value, path: String, fields: &mut Vec<FieldError>) {
    match value {
        Value::String(text) if text.contains('\0') => fields.push(nul_error(path)),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                find_nul(item, format!("{path}[{i}]"), fields);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let path = child(&path, name);
                if name.contains('\0') {
                    fields.push(nul_error(path.replace('\0', "\\u0000")));
                } else {
                    find_nul(member, path, fields);
                }
            }
        }
        _ => {}
    }
}

pub(super) fn nul_error(field: impl Into<String>) -> FieldError {
    let field = field.into();
    let field = if field.is_empty() { WHOLE_BODY.to_owned() } else { field };
    FieldError::new(field, "must not contain NUL characters")
}

fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A serde error in the words of someone who reads API documentation. `whole` stands for the root.
pub(super) fn field_error(path: &str, message: &str, whole: &str) -> FieldError {
    // serde_json appends where it happened, which the path says better.
    let message = message.rsplit_once(" at line ").map_or(message, |(text, _)| text);
    let path = if path == "." { "" } else { path };
    let named = |prefix: &str| message.strip_prefix(prefix)?.split('`').next();
    for (prefix, text) in [
        ("unknown field `", "is not a known field"),
        ("missing field `", "is required"),
        ("duplicate field `", "is given twice"),
    ] {
        if let Some(name) = named(prefix) {
            // The path of an unknown or duplicate field may already end with its name.
            let known = path == name || path.ends_with(&format!(".{name}"));
            let field = if known { path.to_owned() } else { child(path, name) };
            return FieldError::new(field, text);
        }
    }
    FieldError::new(if path.is_empty() { whole } else { path }, plain(message))
}

fn plain(message: &str) -> String {
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        let allowed = rest.split_once("expected ").map_or("", |(_, allowed)| allowed);
        let allowed = allowed.trim_start_matches("one of ").replace('`', "");
        return format!("must be one of: {allowed}");
    }
    for prefix in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some((found, expected)) =
            message.strip_prefix(prefix).and_then(|rest| rest.split_once(", expected "))
        {
            let expected = noun(expected);
            return match prefix {
                "invalid type: " => format!("must be {expected}, not {}", found_kind(found)),
                _ => format!("must be {expected}"),
            };
        }
    }
    let known = [
        ("UUID parsing failed", "must be a UUID"),
        ("invalid digit found in string", "must be a whole number"),
        ("cannot parse integer from empty string", "must be a whole number"),
        ("number too large to fit in target type", "is too large a number"),
        ("number too small to fit in target type", "is too small a number"),
        ("invalid float literal", "must be a number"),
        ("provided string was not `true` or `false`", "must be true or false"),
        ("premature end of input", "must be a date or time as in RFC 3339"),
        ("input contains invalid characters", "must be a date or time as in RFC 3339"),
        ("input is out of range", "must be a date or time as in RFC 3339"),
        ("trailing input", "must be a date or time as in RFC 3339"),
    ];
    let plain = known.iter().find(|(start, _)| message.starts_with(start)).map(|(_, plain)| *plain);
    plain.map_or_else(|| format!("is not valid: {message}"), str::to_owned)
}

/// What serde expected, as a noun.
fn noun(expected: &str) -> &str {
    match expected {
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of 0 or more",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        text if text.starts_with("struct ") => "an object",
        text if text.starts_with("enum ") => "one of the documented values",
        text if text.contains("formatted date") || text.contains("RFC 3339") => {
            "a date or time as in RFC 3339"
        }
        text if text.contains("Decimal type") => "a decimal number",
        text => text,
    }
}

/// The kind of what serde found, without the value: it may be long or secret.
fn found_kind(found: &str) -> &str {
    match found.split_whitespace().next().unwrap_or_default() {
        "string" => "a string",
        "integer" => "a whole number",
        "floating" => "a fraction",
        "boolean" => "true or false",
        "sequence" => "a list",
        "map" => "an object",
        "null" | "unit" | "Option" => "null",
        _ => "this",
    }
}
