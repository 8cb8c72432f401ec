//! Text damage that would make a whole webhook body unreadable, mended in place.
//!
//! A name or message cut in the middle of an emoji reaches us as half of a surrogate pair, which no JSON string can
//! hold. One such name must not cost the other messages of its batch.

/// The body with invalid UTF-8 and unpaired `\u` surrogate escapes replaced by U+FFFD. Valid JSON keeps its meaning.
pub(super) fn mended(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut mended = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(at) = rest.find('\\') {
        mended.push_str(&rest[..at]);
        rest = &rest[at..];
        let (replacement, length) = mended_escape(rest);
        mended.push_str(replacement.unwrap_or(&rest[..length]));
        rest = &rest[length..];
    }
    mended.push_str(rest);
    mended
}

/// What the escape at the start of the text becomes, if it cannot stay, and how many bytes it takes.
fn mended_escape(text: &str) -> (Option<&'static str>, usize) {
    const ESCAPE_BYTES: usize = "\\uXXXX".len();
    match escaped_unit(text) {
        None => {
            // `\\`, `\"` and the like: both characters together, so that `\\u` isn't taken for an escape.
            let length = text.chars().take(2).map(char::len_utf8).sum();
            (None, length)
        }
        Some(0xD800..=0xDBFF) => match escaped_unit(&text[ESCAPE_BYTES..]) {
            Some(0xDC00..=0xDFFF) => (None, 2 * ESCAPE_BYTES),
            _ => (Some("\\ufffd"), ESCAPE_BYTES),
        },
        Some(0xDC00..=0xDFFF) => (Some("\\ufffd"), ESCAPE_BYTES),
        Some(_) => (None, ESCAPE_BYTES),
    }
}

/// The UTF-16 code unit of a `\uXXXX` escape at the start of the text.
fn escaped_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let all_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    all_hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}
