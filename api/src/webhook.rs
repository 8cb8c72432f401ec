//! Meta's webhooks: verified over the raw bytes, stored durably, answered, and processed afterwards.

mod senders;

use axum::http::{HeaderMap, HeaderName};
use commands::ids;
use commands::inbound::queue::{self, Arrival, Form};
use domain::channel::Channel;
use domain::event::PLATFORM_TENANT;
use domain::whatsapp::{self, Change};
use garde::Validate;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use utoipa::IntoParams;

use crate::http::{Access, Answer, Group, Headers, Problem, Query, RawBody, Text, get, group, post};
use crate::{App, Ctx};

/// Bytes of a webhook; Meta sends at most 3 MB.
const PAYLOAD_LIMIT: usize = 3 * 1024 * 1024;

const SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");
const SUBSCRIBE: &str = "subscribe";
const ACCEPTED: &str = "EVENT_RECEIVED";

pub fn routes() -> Group<App> {
    const VERIFICATION: &str = "echoes hub.challenge, 403 on a wrong token";
    const DELIVERY: &str = "X-Hub-Signature-256 over the raw bytes; 200 only once the payload is durable; redelivery has \
         no second effect; /webhook/whatsapp is an alias of both";
    let verification = |path| {
        get(path, "Meta webhook verification", Access::Public, verify).describe(VERIFICATION).tolerant()
    };
    let delivery = |path| {
        post(path, "Receive Meta webhook (WhatsApp + Instagram)", Access::Signature, receive)
            .describe(DELIVERY)
            .reads::<serde_json::Value>("application/json")
            .body_limit(PAYLOAD_LIMIT)
    };
    group(
        "Webhooks",
        [
            verification("/webhook"),
            delivery("/webhook"),
            verification("/webhook/whatsapp"),
            delivery("/webhook/whatsapp"),
        ],
    )
}

/// What Meta sends once, when an administrator enters the address.
#[derive(Deserialize, IntoParams, Validate)]
struct Verification {
    /// `subscribe`.
    #[serde(rename = "hub.mode")]
    #[garde(skip)]
    mode: String,
    /// The verify token of an account, or of the installation.
    #[serde(rename = "hub.verify_token")]
    #[garde(skip)]
    verify_token: String,
    /// Comes back as it is.
    #[serde(rename = "hub.challenge")]
    #[garde(length(chars, max = 1000))]
    challenge: String,
}

async fn verify(ctx: Ctx, Query(asked): Query<Verification>) -> Answer<Text> {
    if asked.mode == SUBSCRIBE && senders::knows_verify_token(&ctx, &asked.verify_token).await? {
        return Ok(Text(asked.challenge));
    }
    Err(Problem::forbidden("The verify token is not known here."))
}

async fn receive(ctx: Ctx, Headers(headers): Headers, RawBody(body): RawBody) -> Answer<Text> {
    let arrivals = match whatsapp::parse(&body) {
        Ok(changes) if !changes.is_empty() => from_changes(&ctx, &headers, &body, changes).await?,
        Ok(_) => unreadable(&ctx, &headers, &body, "it holds no change")?,
        Err(error) => unreadable(&ctx, &headers, &body, &error.to_string())?,
    };
    queue::keep(ctx.app.store(), arrivals).await?;
    Ok(Text(ACCEPTED.to_owned()))
}

/// Every account that the body names must have signed it; a change that names none was signed by the installation's.
async fn from_changes(
    ctx: &Ctx,
    headers: &HeaderMap,
    body: &[u8],
    changes: Vec<Change>,
) -> Answer<Vec<Arrival>> {
    let now = ctx.app.store().clock().now();
    let mut known = senders::Known::default();
    let mut arrivals = Vec::with_capacity(changes.len());
    for change in changes {
        let sender = known.sender_of(ctx, &change).await?;
        let (tenant_id, account_id) =
            sender.map_or((PLATFORM_TENANT, None), |s| (s.tenant_id, Some(s.account_id)));
        let nobody = || match &change.phone_number_id {
            Some(number) => format!("no account has the phone_number_id {number}"),
            None => "it names no account that is known here".to_owned(),
        };
        arrivals.push(Arrival {
            id: ids::new_id(),
            tenant_id,
            account_id,
            channel: Channel::Whatsapp,
            form: Form::Change,
            received_at: now,
            raw: change.raw.to_string().into_bytes(),
            failed: account_id.is_none().then(nobody),
        });
    }
    for secret in known.secrets(ctx).await? {
        check_signature(headers, body, secret.as_deref())?;
    }
    Ok(arrivals)
}

/// Kept where support finds it, if it comes from whom it should.
fn unreadable(ctx: &Ctx, headers: &HeaderMap, body: &[u8], reason: &str) -> Answer<Vec<Arrival>> {
    check_signature(headers, body, ctx.app.meta().app_secret.as_deref())?;
    Ok(vec![Arrival {
        id: ids::new_id(),
        tenant_id: PLATFORM_TENANT,
        account_id: None,
        channel: Channel::Whatsapp,
        form: Form::Body,
        received_at: ctx.app.store().clock().now(),
        raw: body.to_vec(),
        failed: Some(reason.to_owned()),
    }])
}

/// # Errors
/// 403 without a secret, 401 unless the signature over the bytes holds.
fn check_signature(headers: &HeaderMap, body: &[u8], secret: Option<&str>) -> Answer<()> {
    let Some(secret) = secret.filter(|secret| !secret.is_empty()) else {
        return Err(Problem::forbidden("No app secret is configured, so no webhook can be believed."));
    };
    let sent = headers.get(SIGNATURE).and_then(|value| value.to_str().ok());
    let sent =
        sent.and_then(|value| value.strip_prefix("sha256=")).and_then(|digest| hex::decode(digest).ok());
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(Problem::internal)?;
    mac.update(body);
    // Compares in constant time.
    mac.verify_slice(&sent.unwrap_or_default()).map_err(|_| Problem::bad_signature())
}
