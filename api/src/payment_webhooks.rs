//! Webhooks of payment gateways: verified over the raw bytes, stored durably, answered, and applied afterwards.

use axum::http::{HeaderMap, HeaderName};
use chrono::{DateTime, TimeDelta, Utc};
use commands::payment_notice::Sender;
use commands::payment_notice::queue::{self, Arrival};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::http::{Access, Answer, Group, Headers, Path, Problem, RawBody, Text, group, post};
use crate::{App, Ctx};

const STRIPE_SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");
const XENDIT_TOKEN: HeaderName = HeaderName::from_static("x-callback-token");
const XENDIT_ID: HeaderName = HeaderName::from_static("webhook-id");

/// How far the time that Stripe signed may be from ours, as in Stripe's own libraries: whoever has overheard a webhook
/// can't play it back later.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

const RECEIVED: &str = "RECEIVED";

/// What webhooks of payment gateways are verified with; a gateway without it is not believed.
#[derive(Clone, Default)]
pub struct PaymentWebhookSettings {
    /// The signing secret of the endpoint at Stripe.
    pub stripe_webhook_secret: Option<String>,
    /// The verification token of the account at Xendit.
    pub xendit_callback_token: Option<String>,
}

pub fn routes() -> Group<App> {
    const DELIVERY: &str = "gateway is stripe (Stripe-Signature over the raw bytes, at most 5 minutes old) or xendit \
         (x-callback-token); 200 only once the notice is durable; redelivery has no second effect, the order of \
         arrival does not matter; 401 on a bad signature, 403 where the gateway is not configured";
    let receive =
        post("/webhook/payments/{gateway}", "Receive payment gateway webhook", Access::Signature, receive);
    group("Webhooks", [receive.describe(DELIVERY).reads::<Value>("application/json")])
}

async fn receive(
    ctx: Ctx,
    Path(gateway): Path<String>,
    Headers(headers): Headers,
    RawBody(body): RawBody,
) -> Answer<Text> {
    let sender = Sender::named(&gateway).ok_or_else(|| Problem::not_found("payment gateway"))?;
    let (store, settings) = (ctx.app.store(), ctx.app.payment_webhooks());
    let received_at = store.clock().now();
    let event_id = match sender {
        Sender::Stripe => {
            let secret = configured(settings.stripe_webhook_secret.as_deref())?;
            check_stripe(&headers, &body, secret, received_at)?;
            let event: Value = serde_json::from_slice(&body).unwrap_or_default();
            event["id"].as_str().map(str::to_owned)
        }
        Sender::Xendit => {
            check_xendit(&headers, configured(settings.xendit_callback_token.as_deref())?)?;
            headers.get(XENDIT_ID).and_then(|id| id.to_str().ok()).map(str::to_owned)
        }
    };
    // What has no name of its own is recognised by what it says.
    let event_id = event_id.unwrap_or_else(|| hex::encode(Sha256::digest(&body)));
    let arrival = Arrival { sender, event_id, received_at, raw: body.to_vec() };
    if !queue::keep(store, &arrival).await? {
        tracing::debug!(gateway, event_id = arrival.event_id, "a payment notice came again");
    }
    Ok(Text(RECEIVED.to_owned()))
}

fn configured(secret: Option<&str>) -> Answer<&str> {
    secret.filter(|secret| !secret.is_empty()).ok_or_else(|| {
        Problem::forbidden(
            "No webhook secret of this gateway is configured, so nothing of it can be believed.",
        )
    })
}

/// `t=<unix time>,v1=<hex HMAC-SHA256 of "t.body">,…`; while a secret is being replaced there is one `v1` for each.
fn check_stripe(headers: &HeaderMap, body: &[u8], secret: &str, now: DateTime<Utc>) -> Answer<()> {
    let header = headers.get(STRIPE_SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parts: Vec<(&str, &str)> = header.split(',').filter_map(|part| part.trim().split_once('=')).collect();
    let signed_at = parts.iter().find(|(name, _)| *name == "t").map_or("", |(_, time)| time);
    let time = signed_at.parse().ok().and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0));
    let recent = time.is_some_and(|time| (now - time).abs() <= TOLERANCE);
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(Problem::internal)?;
    mac.update(signed_at.as_bytes());
    mac.update(b".");
    mac.update(body);
    let signatures =
        parts.iter().filter(|(name, _)| *name == "v1").filter_map(|(_, hex)| hex::decode(hex).ok());
    // Compares in constant time.
    let genuine =
        signatures.fold(false, |found, signature| found | mac.clone().verify_slice(&signature).is_ok());
    if recent && genuine { Ok(()) } else { Err(Problem::bad_signature()) }
}

fn check_xendit(headers: &HeaderMap, token: &str) -> Answer<()> {
    let sent = headers.get(XENDIT_TOKEN).map_or(&b""[..], |value| value.as_bytes());
    if bool::from(sent.ct_eq(token.as_bytes())) { Ok(()) } else { Err(Problem::bad_signature()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_test";
    const BODY: &[u8] = br#"{"id":"evt_1"}"#;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn signature(secret: &str, time: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(time.as_bytes());
        mac.update(b".");
        mac.update(BODY);
        hex::encode(mac.finalize().into_bytes())
    }

    fn check(header: &str, now: i64) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(STRIPE_SIGNATURE, header.parse().unwrap());
        check_stripe(&headers, BODY, SECRET, at(now)).is_ok()
    }

    #[test]
    fn stripe_signs_time_and_body_and_any_of_several_signatures_will_do() {
        let good = signature(SECRET, "1000");
        assert!(check(&format!("t=1000,v1={good}"), 1000));
        let old = signature("whsec_old", "1000");
        assert!(check(&format!("t=1000,v1={old},v1={good},v0=00"), 1000));
        assert!(!check(&format!("t=1000,v1={old}"), 1000));
        // A signature of another scheme is none, nor is one over another time.
        assert!(!check(&format!("t=1000,v0={good}"), 1000));
        assert!(!check(&format!("t=1001,v1={good}"), 1001));
        for header in ["", "t=,v1=", "v1=00", "t=abc,v1=zz", "nonsense"] {
            assert!(!check(header, 1000), "{header}");
        }
    }

    #[test]
    fn a_stripe_signature_is_good_for_five_minutes_either_way() {
        let header = format!("t=1000,v1={}", signature(SECRET, "1000"));
        assert!(check(&header, 1300) && check(&header, 700));
        assert!(!check(&header, 1301) && !check(&header, 699));
    }

    #[test]
    fn xendits_token_has_to_be_the_very_one() {
        let check = |sent: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(sent) = sent {
                headers.insert(XENDIT_TOKEN, sent.parse().unwrap());
            }
            check_xendit(&headers, "a token").is_ok()
        };
        assert!(check(Some("a token")));
        assert!(!check(Some("a toke")) && !check(Some("a token ")) && !check(Some("")) && !check(None));
    }
}
