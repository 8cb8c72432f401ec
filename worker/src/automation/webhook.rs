//! Calls that rules make to other people's servers.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use uuid::Uuid;

use super::failure::Failure;
use crate::outbound::{Outbound, Received, Unanswered};

/// Posts once. `id` and the bytes of the body are the same whenever the same call is repeated, so that a receiver can
/// tell.
///
/// # Errors
/// Why it did not succeed, and whether that passes.
pub(super) async fn call(
    outbound: &Outbound,
    url: &str,
    headers: &BTreeMap<String, String>,
    (id, at): (Uuid, DateTime<Utc>),
    body: &Value,
) -> Result<(), Failure> {
    let headers = with_own(headers, id, at)?;
    let body = domain::canonical::to_string(body).into_bytes();
    judge(outbound.post(url, headers, body).await)
}

/// The rule's headers and ours; a rule can't hold one of our names.
fn with_own(chosen: &BTreeMap<String, String>, id: Uuid, at: DateTime<Utc>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    let (id, at) = (id.to_string(), at.timestamp().to_string());
    let own = [("webhook-id", id.as_str()), ("webhook-timestamp", at.as_str())];
    let chosen = chosen.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in chosen.chain(own) {
        let impossible = || Failure::permanent(format!("The header {name} can't be sent."));
        let name = HeaderName::try_from(name).map_err(|_| impossible())?;
        headers.insert(name, HeaderValue::try_from(value).map_err(|_| impossible())?);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(headers)
}

fn judge(answer: Result<Received, Unanswered>) -> Result<(), Failure> {
    let status = match answer {
        Ok(answer) => answer.status,
        Err(refused @ Unanswered::Refused(_)) => return Err(Failure::permanent(refused.to_string())),
        Err(unanswered) => return Err(Failure::passing(unanswered.to_string())),
    };
    let answered = format!("The receiver answered {status}.");
    match StatusCode::from_u16(status) {
        Ok(success) if success.is_success() => Ok(()),
        // Too early, too slow, too often, or its own fault: another time it may be different.
        Ok(StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS) => {
            Err(Failure::passing(answered))
        }
        Ok(fault) if fault.is_server_error() => Err(Failure::passing(answered)),
        _ => Err(Failure::permanent(answered)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commands::outbound::Refused;

    fn answered(status: u16) -> Result<(), Failure> {
        judge(Ok(Received { status, retry_after: None, body: String::new() }))
    }

    #[test]
    fn what_may_pass_is_told_from_what_does_not() {
        assert_eq!(answered(204), Ok(()));
        for passing in [408, 425, 429, 500, 503] {
            assert!(answered(passing).is_err_and(|failure| !failure.permanent), "{passing}");
        }
        for permanent in [307, 400, 404, 410] {
            assert!(answered(permanent).is_err_and(|failure| failure.permanent), "{permanent}");
        }
        let refused = judge(Err(Unanswered::Refused(Refused::Private))).unwrap_err();
        assert!(refused.permanent && refused.reason.contains("private"), "{refused:?}");
        assert!(judge(Err(Unanswered::TimedOut)).is_err_and(|failure| !failure.permanent));
    }

    #[test]
    fn a_call_bears_the_rules_headers_and_ours() {
        let chosen = BTreeMap::from([("X-Shop".to_owned(), "maju".to_owned())]);
        let headers = with_own(&chosen, Uuid::nil(), DateTime::UNIX_EPOCH).unwrap();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap();
        assert_eq!((text("x-shop"), text("content-type")), ("maju", "application/json"));
        assert_eq!((text("webhook-id"), text("webhook-timestamp")), (Uuid::nil().to_string().as_str(), "0"));
        let broken = BTreeMap::from([("X-Shop".to_owned(), "a\nb".to_owned())]);
        assert!(with_own(&broken, Uuid::nil(), DateTime::UNIX_EPOCH).unwrap_err().permanent);
    }
}
