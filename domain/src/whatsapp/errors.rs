//! Meta's errors, as the Graph API and the webhooks report them, turned into what an agent can act on.

use serde_json::Value;

use super::error_codes::{EXPLANATIONS, is_permission_error};

/// Length to which an explanation is cut, since it may quote Meta.
pub const EXPLANATION_MAX_CHARS: usize = 500;

/// HTTP status by which Meta says, without further words, that it took nothing.
const TOO_MANY_REQUESTS: u16 = 429;

/// An error in Meta's words. The same fields come in a Graph error body and in a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderError {
    /// The only part that Meta promises to keep stable.
    pub code: i64,
    pub subcode: Option<i64>,
    /// Graph: the exception's type; webhook: the error's title.
    pub title: Option<String>,
    pub message: Option<String>,
    /// What Meta would show to a person who did this in its own pages.
    pub for_people: Option<String>,
    /// What was wrong in this case, such as the parameter's name.
    pub details: Option<String>,
    /// The id by which Meta's support finds the request.
    pub trace_id: Option<String>,
    /// Meta expects that the same request may succeed later.
    pub transient: bool,
}

impl ProviderError {
    /// Reads one error object; `None` without a code.
    pub fn from_value(error: &Value) -> Option<Self> {
        let text = |key: &str| error.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        Some(Self {
            code: error.get("code")?.as_i64()?,
            subcode: error.get("error_subcode").and_then(Value::as_i64),
            title: text("title").or_else(|| text("type")),
            message: text("message"),
            for_people: text("error_user_msg"),
            details: error.pointer("/error_data/details").and_then(Value::as_str).map(ToOwned::to_owned),
            trace_id: text("fbtrace_id"),
            transient: error.get("is_transient").and_then(Value::as_bool).unwrap_or(false),
        })
    }

    /// Reads the body of a failed Graph call, `{"error": {…}}`.
    pub fn from_graph_body(body: &Value) -> Option<Self> {
        Self::from_value(body.get("error")?)
    }

    /// The most specific words that Meta gave.
    pub fn words(&self) -> Option<&str> {
        [&self.details, &self.for_people, &self.message, &self.title]
            .into_iter()
            .flatten()
            .map(|text| text.trim())
            .find(|text| !text.is_empty())
    }
}

/// Whether sending the same message again can succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// No, or it is not certain that the first attempt did nothing.
    Never,
    /// Yes, after a pause: Meta said that it did not send the message, for a reason that passes.
    Later,
}

/// Why a message was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendFailure {
    /// Meta's code, if it gave one.
    pub code: Option<i64>,
    pub retry: Retry,
    /// One or two sentences for the agent, at most [`EXPLANATION_MAX_CHARS`] characters.
    pub explanation: String,
}

impl SendFailure {
    /// Explains an error of Meta's.
    pub fn from_error(error: &ProviderError) -> Self {
        let known = EXPLANATIONS.iter().find(|known| known.code == error.code);
        let (retry, explanation) = match known {
            Some(known) => {
                let details = error.details.as_deref().map(str::trim).filter(|details| !details.is_empty());
                let explanation = match details.filter(|_| known.quote_details) {
                    Some(details) => format!("{} Meta says: {details}", known.text),
                    None => known.text.to_owned(),
                };
                (known.retry, explanation)
            }
            None if is_permission_error(error.code) => (
                Retry::Never,
                "Meta doesn't allow this account to send messages. An administrator must check its permissions."
                    .to_owned(),
            ),
            None => {
                let retry = if error.transient { Retry::Later } else { Retry::Never };
                let words = error.words().unwrap_or("Meta gave no reason.");
                (retry, format!("WhatsApp refused the message (code {}): {words}", error.code))
            }
        };
        Self { code: Some(error.code), retry, explanation: shortened(&explanation) }
    }

    /// Explains the errors of a failed status in a webhook; the first is the cause.
    pub fn from_errors(errors: &[ProviderError]) -> Self {
        match errors.first() {
            Some(error) => Self::from_error(error),
            None => {
                Self::unexplained(Retry::Never, "WhatsApp couldn't deliver the message and gave no reason.")
            }
        }
    }

    /// Explains a failed answer to a send call.
    ///
    /// An answer without an error of Meta's own comes from something in between, and then nobody knows whether the
    /// message went out: that is never retried.
    pub fn from_response(http_status: u16, body: &Value) -> Self {
        match ProviderError::from_graph_body(body) {
            Some(error) => Self::from_error(&error),
            None if http_status == TOO_MANY_REQUESTS => Self::unexplained(
                Retry::Later,
                "WhatsApp is receiving too many requests from this account. Try again later.",
            ),
            None => Self::unexplained(
                Retry::Never,
                "WhatsApp didn't confirm the message, so it may or may not have arrived. Check with the customer \
                 before sending it again.",
            ),
        }
    }

    fn unexplained(retry: Retry, explanation: &str) -> Self {
        Self { code: None, retry, explanation: explanation.to_owned() }
    }
}

/// The text on one line, without control characters, cut to [`EXPLANATION_MAX_CHARS`].
fn shortened(text: &str) -> String {
    let visible: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    let line = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= EXPLANATION_MAX_CHARS {
        return line;
    }
    let mut cut: String = line.chars().take(EXPLANATION_MAX_CHARS - 1).collect();
    cut.push('…');
    cut
}
