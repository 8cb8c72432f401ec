//! Signing secrets and signatures after Standard Webhooks (standardwebhooks.com, 1.0).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use domain::outgoing_webhook::OutgoingWebhook;
use domain::personal::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

use super::NewSecret;
use crate::integration_account::config::MASK;

/// What a secret in the standard's own form begins with; base64 of the key follows.
pub const PREFIX: &str = "whsec_";
/// Bytes of a key in that form, as the standard allows.
pub const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Characters of a secret in any other form: its bytes are the key.
pub const TEXT_CHARS: std::ops::RangeInclusive<usize> = 8..=256;

const NEW_KEY_BYTES: usize = 32;
const HINT_CHARS: usize = 4;

/// A secret that nobody can guess.
#[must_use]
pub fn generate() -> String {
    format!("{PREFIX}{}", BASE64.encode(rand::random::<[u8; NEW_KEY_BYTES]>()))
}

/// Reads a secret that somebody chose.
///
/// # Errors
/// What is wrong with it, as what follows the field's name.
pub fn read(tenant_id: Uuid, text: &str) -> Result<NewSecret, String> {
    if text.starts_with(MASK) {
        return Err("is masked; leave it out to keep it, or send the whole value".to_owned());
    }
    if let Some(encoded) = text.strip_prefix(PREFIX) {
        let key = BASE64.decode(encoded).map_err(|_| format!("must be base64 after {PREFIX}"))?;
        if !KEY_BYTES.contains(&key.len()) {
            return Err(format!(
                "must hold {} to {} bytes after {PREFIX}",
                KEY_BYTES.start(),
                KEY_BYTES.end()
            ));
        }
    } else if !TEXT_CHARS.contains(&text.chars().count()) {
        return Err(format!("must have {} to {} characters", TEXT_CHARS.start(), TEXT_CHARS.end()));
    }
    let shown = text.chars().count().saturating_sub(HINT_CHARS);
    Ok(NewSecret { secret: Secret::new(tenant_id, text), hint: text.chars().skip(shown).collect() })
}

/// A webhook's secret for everybody who need not know it.
#[must_use]
pub fn masked(webhook: &OutgoingWebhook) -> String {
    format!("{MASK}{}", webhook.hint)
}

/// One entry of `webhook-signature`.
///
/// # Panics
/// Never: HMAC takes keys of any length.
#[must_use]
pub fn sign(secret: &str, id: Uuid, at: DateTime<Utc>, body: &str) -> String {
    let decoded = secret.strip_prefix(PREFIX).and_then(|encoded| BASE64.decode(encoded).ok());
    let key = decoded.unwrap_or_else(|| secret.as_bytes().to_vec());
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{}.{body}", at.timestamp()).as_bytes());
    format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_secret_is_readable_and_never_the_same() {
        let (one, two) = (generate(), generate());
        assert_ne!(one, two);
        let read = read(Uuid::nil(), &one).unwrap();
        assert!(one.ends_with(&read.hint) && read.hint.chars().count() == HINT_CHARS);
    }

    #[test]
    fn secrets_that_can_not_be_right_are_refused() {
        let short = format!("{PREFIX}{}", BASE64.encode([1; 23]));
        let long = format!("{PREFIX}{}", BASE64.encode([1; 65]));
        let plain = "a".repeat(*TEXT_CHARS.end() + 1);
        for wrong in ["", "short", "whsec_", "whsec_not base64!", "••••abcd", &short, &long, &plain] {
            assert!(read(Uuid::nil(), wrong).is_err(), "{wrong}");
        }
        assert!(read(Uuid::nil(), &format!("{PREFIX}{}", BASE64.encode([1; 24]))).is_ok());
        assert!(read(Uuid::nil(), "chosen by hand").is_ok());
    }

    /// The example of the standard's reference libraries, with a UUID for its id.
    #[test]
    fn a_signature_is_what_any_library_of_the_standard_computes() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let at = DateTime::from_timestamp(1_614_265_330, 0).unwrap();
        let id = Uuid::from_u128(0x0188_0000_0000_7000_8000_0000_0000_0001);
        assert_eq!(
            sign(secret, id, at, r#"{"test": 2432232314}"#),
            "v1,T7IyLzE/oZhSEUrWyEEyk1RKX2aw7c4A9fn1dLxZZ6U="
        );
        // In another form, the text itself is the key.
        assert_eq!(sign("chosen by hand", id, at, "{}"), "v1,Tp4zEDpTWsvNBETmVCBCfqa48LyWX3JJ2mCF/IqkNsQ=");
    }
}
