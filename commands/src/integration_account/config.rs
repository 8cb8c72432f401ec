//! Settings of an account: which ones a channel has, which are credentials, and how those are shown.

use std::collections::BTreeMap;

use domain::channel::Channel;
use domain::integration_account::{Config, SECRET_KEYS};
use domain::personal::Secret;
use domain::refusal::{FieldProblem, Refusal};
use serde_json::{Map, Value};
use uuid::Uuid;

/// Characters of one setting.
pub const SETTING_MAX_CHARS: usize = 4096;
/// Digits of a number's two-step verification PIN, as Meta's registration takes it.
pub const PIN_DIGITS: usize = 6;
/// The setting that holds it: ours, beside those of CONFIG.md.
pub const PIN: &str = "pin";
/// What stands for the hidden part of a credential.
pub const MASK: &str = "••••";

/// A credential shorter than this shows none of its characters.
const SHOWN_FROM_CHARS: usize = 8;
const SHOWN_CHARS: usize = 4;
const VERIFY_TOKEN_BYTES: usize = 16;

/// A request's settings, with what is needed to see whether a credential is new.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    pub tenant_id: Uuid,
    pub settings: &'a Map<String, Value>,
    /// The account's credentials, opened, beside the envelopes that they were opened from.
    pub opened: &'a BTreeMap<String, (Secret, String)>,
}

/// The settings of a channel's accounts (CONFIG.md).
#[must_use]
pub const fn keys_of(channel: Channel) -> &'static [&'static str] {
    match channel {
        Channel::Whatsapp => {
            &["phone_number_id", "waba_id", "access_token", "app_secret", "verify_token", PIN]
        }
        Channel::Instagram => &["ig_user_id", "access_token", "app_secret", "verify_token"],
        Channel::Messenger => &["page_id", "access_token", "app_secret", "verify_token"],
        Channel::Email => &["address", "smtp_url", "from_name"],
    }
}

#[must_use]
pub fn is_secret(key: &str) -> bool {
    key == PIN || SECRET_KEYS.contains(&key)
}

/// The settings after a change: what is given replaces, `null` removes, a masked credential stays what it is.
///
/// # Errors
/// Every unknown key and unfit value, as `config.<key>`.
pub fn configure(channel: Channel, known: &Config, given: Given<'_>) -> Result<Config, Refusal> {
    let mut config = known.clone();
    let mut problems = Vec::new();
    for (key, value) in given.settings {
        if let Err(message) = set(channel, &mut config, key, value, given) {
            problems.push(FieldProblem::new(format!("config.{key}"), message));
        }
    }
    if problems.is_empty() { Ok(config) } else { Err(Refusal::invalid_fields(problems)) }
}

fn set(
    channel: Channel,
    config: &mut Config,
    key: &str,
    value: &Value,
    given: Given<'_>,
) -> Result<(), String> {
    if !keys_of(channel).contains(&key) {
        return Err(format!(
            "is not a setting of {channel} accounts; those are {}",
            keys_of(channel).join(", ")
        ));
    }
    if value.is_null() {
        config.plain.remove(key);
        config.secrets.remove(key);
        config.hints.remove(key);
        return Ok(());
    }
    let text = value.as_str().ok_or("must be a string")?.trim();
    if text.is_empty() {
        return Err("must not be empty; null removes it".to_owned());
    }
    if text.chars().count() > SETTING_MAX_CHARS {
        return Err(format!("must have at most {SETTING_MAX_CHARS} characters"));
    }
    check_form(key, text)?;
    if !is_secret(key) {
        config.plain.insert(key.to_owned(), Value::from(text));
        return Ok(());
    }
    let unchanged = given.opened.get(key).is_some_and(|(from, clear)| {
        config.secrets.get(key) == Some(from) && (clear == text || masked(config, key) == text)
    });
    if unchanged {
        return Ok(());
    }
    if text.starts_with(MASK) {
        return Err("is masked; leave it out to keep it, or send the whole value".to_owned());
    }
    config.secrets.insert(key.to_owned(), Secret::new(given.tenant_id, text));
    config.hints.insert(key.to_owned(), hint(key, text));
    Ok(())
}

fn check_form(key: &str, text: &str) -> Result<(), String> {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    match key {
        PIN if text.starts_with(MASK) => Ok(()),
        PIN if text.len() != PIN_DIGITS || !digits(text) => Err(format!("must be {PIN_DIGITS} digits")),
        // They become part of a URL.
        "phone_number_id" | "waba_id" | "ig_user_id" | "page_id"
            if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') =>
        {
            Err("must consist of letters and digits".to_owned())
        }
        "address" if !text.contains('@') => Err("must be an email address".to_owned()),
        _ => Ok(()),
    }
}

fn hint(key: &str, secret: &str) -> String {
    let length = secret.chars().count();
    if key == PIN || length < SHOWN_FROM_CHARS {
        return String::new();
    }
    secret.chars().skip(length - SHOWN_CHARS).collect()
}

/// How a credential is shown.
#[must_use]
pub fn masked(config: &Config, key: &str) -> String {
    format!("{MASK}{}", config.hints.get(key).map_or("", String::as_str))
}

/// What a new account gets where it brings none: a PIN to register the number with, and a token by which Meta's
/// verification call is recognised.
pub fn add_generated(channel: Channel, settings: &mut Map<String, Value>) {
    let mut missing = |key: &str, make: fn() -> String| {
        if keys_of(channel).contains(&key) && settings.get(key).is_none_or(Value::is_null) {
            settings.insert(key.to_owned(), Value::from(make()));
        }
    };
    missing(PIN, || format!("{:0PIN_DIGITS$}", rand::random::<u32>() % 1_000_000));
    missing("verify_token", || hex::encode(rand::random::<[u8; VERIFY_TOKEN_BYTES]>()));
}

/// The account key that follows from what the account is at its channel.
#[must_use]
pub fn derived_key(channel: Channel, config: &Config) -> Option<String> {
    match channel {
        Channel::Whatsapp => Some(format!("wa-{}", config.text("phone_number_id")?)),
        Channel::Instagram => Some(format!("ig-{}", config.text("ig_user_id")?)),
        Channel::Messenger => Some(format!("fb-{}", config.text("page_id")?)),
        Channel::Email => Some(config.text("address")?.to_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn given(settings: &Value, opened: &BTreeMap<String, (Secret, String)>) -> Result<Config, Refusal> {
        changed(&Config::default(), settings, opened)
    }

    fn changed(
        known: &Config,
        settings: &Value,
        opened: &BTreeMap<String, (Secret, String)>,
    ) -> Result<Config, Refusal> {
        let settings = settings.as_object().unwrap();
        configure(Channel::Whatsapp, known, Given { tenant_id: Uuid::nil(), settings, opened })
    }

    fn connected() -> (Config, BTreeMap<String, (Secret, String)>) {
        let config =
            given(&json!({ "phone_number_id": "10", "access_token": "EAAG-token-9876" }), &BTreeMap::new())
                .unwrap();
        let secret = config.secrets["access_token"].clone();
        (config, BTreeMap::from([("access_token".to_owned(), (secret, "EAAG-token-9876".to_owned()))]))
    }

    #[test]
    fn credentials_are_sealed_and_shown_by_their_last_four() {
        let (config, _) = connected();
        assert_eq!(masked(&config, "access_token"), "••••9876");
        assert_eq!(config.text("access_token"), None);
        assert_eq!(derived_key(Channel::Whatsapp, &config).as_deref(), Some("wa-10"));
    }

    #[test]
    fn a_masked_or_equal_credential_stays_and_a_new_one_replaces() {
        let (config, opened) = connected();
        for same in ["••••9876", "EAAG-token-9876"] {
            assert_eq!(changed(&config, &json!({ "access_token": same }), &opened).unwrap(), config);
        }
        let new = changed(&config, &json!({ "access_token": "EAAG-token-1234" }), &opened).unwrap();
        assert_eq!(masked(&new, "access_token"), "••••1234");
    }

    #[test]
    fn null_removes_a_setting() {
        let (config, opened) = connected();
        let without = changed(&config, &json!({ "access_token": null }), &opened).unwrap();
        assert!(without.secrets.is_empty() && without.hints.is_empty());
    }

    #[test]
    fn unknown_keys_and_unfit_values_are_named() {
        let bad = json!({ "token": "x", "waba_id": 5, "phone_number_id": "../me", "access_token": "••••0000", "pin": "12" });
        let refusal = given(&bad, &BTreeMap::new()).unwrap_err();
        let mut fields: Vec<&str> = refusal.fields.iter().map(|f| f.field.as_str()).collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            ["config.access_token", "config.phone_number_id", "config.pin", "config.token", "config.waba_id"]
        );
    }

    #[test]
    fn what_is_missing_is_generated_and_what_is_given_stays() {
        let mut settings = json!({ "verify_token": "mine" }).as_object().unwrap().clone();
        add_generated(Channel::Whatsapp, &mut settings);
        assert_eq!(settings["verify_token"], "mine");
        assert!(given(&Value::Object(settings), &BTreeMap::new()).is_ok());
        let mut email = Map::new();
        add_generated(Channel::Email, &mut email);
        assert!(email.is_empty());
    }

    #[test]
    fn short_credentials_and_pins_show_nothing() {
        let config = given(&json!({ "app_secret": "1234567", "pin": "123456" }), &BTreeMap::new()).unwrap();
        assert_eq!(
            (masked(&config, "app_secret"), masked(&config, "pin")),
            (MASK.to_owned(), MASK.to_owned())
        );
    }
}
