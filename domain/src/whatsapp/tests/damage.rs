//! Webhooks that are wrong, by accident or on purpose.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{items, only_message};
use crate::message_content::contains_nul;
use crate::message_content::tests::{any_json, any_text};
use crate::whatsapp::*;

/// A body with one message, made from a good one by `spoil`.
fn spoiled(spoil: impl Fn(&mut Value)) -> Vec<Item> {
    let mut body: Value = serde_json::from_str(fixture!("text")).unwrap();
    spoil(&mut body["entry"][0]["changes"][0]["value"]["messages"][0]);
    items(&body.to_string())
}

fn external_id(item: &Item) -> Option<&str> {
    match item {
        Item::Message(message) => Some(&message.external_id),
        _ => None,
    }
}

fn only_reason(items: Vec<Item>) -> String {
    match <[Item; 1]>::try_from(items) {
        Ok([Item::Malformed { reason, .. }]) => reason,
        other => panic!("not one malformed item: {other:?}"),
    }
}

#[test]
fn one_malformed_item_never_loses_the_others() {
    let changes = parse(fixture!("mixed_batch").as_bytes()).unwrap();
    let accounts: Vec<_> = changes.iter().map(|change| change.phone_number_id.as_deref()).collect();
    assert_eq!(accounts, [Some("284719350164928"), None, None, None, Some("284719350164929")]);
    let told: Vec<String> = changes
        .iter()
        .flat_map(|change| interpret(&change.raw))
        .map(|item| match item {
            Item::Message(message) => {
                format!("{}: {}", message.profile_name.unwrap_or_default(), message.content.preview())
            }
            Item::Status(status) => format!("{:?}", status.status),
            Item::Malformed { reason, .. } => reason,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            "Siti Rahayu: satu",
            "timestamp: not a time in seconds since 1970",
            "Agus: tiga",
            "Delivered",
            "id: missing",
            "field: missing or not a string",
            "messages: not a list",
            "field: missing or not a string",
            "Dewi: empat",
        ]
    );
}

#[test]
fn malformed_messages_name_the_field_and_keep_the_original() {
    let reason = |spoil: fn(&mut Value)| only_reason(spoiled(spoil));
    assert_eq!(reason(|m| m["id"] = json!(null)), "id: missing");
    assert_eq!(reason(|m| m["id"] = json!(" ")), "id: not an id");
    assert_eq!(reason(|m| m["id"] = json!("x".repeat(513))), "id: longer than 512 characters");
    assert_eq!(reason(|m| m["from"] = json!({})), "from: not an id");
    assert_eq!(reason(|m| m["type"] = json!(7)), "type: not a string");
    assert_eq!(reason(|m| m["text"] = json!([])), "text.text: not an object");
    assert_eq!(reason(|m| m["text"] = json!({ "body": 5 })), "text.body: not a string");
    for timestamp in [
        json!("-1"),
        json!("1e9"),
        json!(""),
        json!(-5),
        json!(1.5),
        json!(u64::MAX),
        json!("99999999999999999999"),
    ] {
        let found = only_reason(spoiled(|m| m["timestamp"] = timestamp.clone()));
        assert_eq!(found, "timestamp: not a time in seconds since 1970", "{timestamp}");
    }
    assert_eq!(reason(|m| *m = json!(null)), "id: missing");
    let found = spoiled(|m| m["timestamp"] = json!("soon"));
    assert!(matches!(&found[..], [Item::Malformed { raw, .. }] if raw["timestamp"] == "soon"));
}

#[test]
fn malformed_contents_name_the_field() {
    let reason = |kind: &str, object: Value| {
        only_reason(spoiled(|m| {
            m["type"] = json!(kind);
            m[kind] = object.clone();
        }))
    };
    assert_eq!(reason("image", json!({})), "image.id: missing");
    assert_eq!(reason("location", json!({ "latitude": "a" })), "location.latitude: not a number");
    assert_eq!(
        reason("location", json!({ "latitude": 1e300, "longitude": 0 })),
        "location.latitude: the point is not on Earth"
    );
    assert_eq!(reason("contacts", json!([5])), "contacts.contacts: not a list of contact cards");
    assert_eq!(reason("reaction", json!({ "emoji": "👍" })), "reaction.message_id: missing");
    assert_eq!(reason("interactive", json!({ "type": "button_reply" })), "interactive.button_reply: missing");
    assert_eq!(
        reason("interactive", json!({ "type": "list_reply", "list_reply": { "id": "a" } })),
        "interactive.list_reply.title: missing"
    );
    assert_eq!(reason("button", json!({ "payload": "a" })), "button.text: missing");
}

#[test]
fn numbers_serve_as_ids_and_times() {
    let message = only_message(spoiled(|m| {
        m["from"] = json!(6_281_234_567_801_u64);
        m["timestamp"] = json!(1_763_712_000);
    }));
    assert_eq!(message.from, "6281234567801");
}

#[test]
fn refuses_what_is_no_whatsapp_webhook() {
    assert!(matches!(parse(b""), Err(NotAWebhook::NotJson(_))));
    assert!(matches!(parse(b"{\"object\":"), Err(NotAWebhook::NotJson(_))));
    assert_eq!(parse(b"[]"), Err(NotAWebhook::OtherObject));
    assert_eq!(parse(br#"{"object":"page","entry":[]}"#), Err(NotAWebhook::OtherObject));
    assert_eq!(parse(br#"{"object":"whatsapp_business_account"}"#), Err(NotAWebhook::NoEntries));
    assert_eq!(parse(br#"{"object":"whatsapp_business_account","entry":[]}"#), Ok(vec![]));
}

#[test]
fn survives_hostile_bodies() {
    let deep = format!(
        r#"{{"object":"whatsapp_business_account","entry":{}{}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    assert!(matches!(parse(deep.as_bytes()), Err(NotAWebhook::NotJson(_))));
    let huge = r#"{"object":"whatsapp_business_account","entry":[{"id":1e400}]}"#;
    assert!(matches!(parse(huge.as_bytes()), Err(NotAWebhook::NotJson(_))));
    // Of duplicate keys the last counts.
    let twice = r#"{"object":"page","object":"whatsapp_business_account","entry":[]}"#;
    assert_eq!(parse(twice.as_bytes()), Ok(vec![]));
}

#[test]
fn text_damage_costs_a_character_and_not_the_batch() {
    let damaged = |text: &[u8]| {
        let body = fixture!("text").as_bytes();
        let at = body.windows(4).position(|window| window == b"Halo").unwrap();
        let damaged = [&body[..at], text, &body[at + 4..]].concat();
        let changes = parse(&damaged).unwrap();
        let message = only_message(interpret(&changes[0].raw));
        message.content.searchable_text().split(" kak").next().unwrap().to_owned()
    };
    assert_eq!(damaged(br"a\ud83d"), "a\u{FFFD}");
    assert_eq!(damaged(br"a\ude00b"), "a\u{FFFD}b");
    assert_eq!(damaged(br"\ud83d\ud83d\ude00"), "\u{FFFD}😀");
    assert_eq!(damaged(br"\\ud83d \ud83d"), "\\ud83d \u{FFFD}");
    assert_eq!(damaged(b"a\xF0\x9F"), "a\u{FFFD}");
    assert_eq!(damaged(br"a\u0000b"), "a\u{FFFD}b");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_change_makes_at_least_one_item(change in any_json()) {
        prop_assert!(!interpret(&change).is_empty());
    }

    /// Whatever a message holds, it becomes one item, and nothing in it has a character that the database refuses.
    #[test]
    fn any_message_makes_exactly_one_item(
        kind in prop_oneof![
            proptest::sample::select(vec![
                "text", "image", "audio", "location", "contacts", "reaction", "interactive", "button", "unsupported",
            ]).prop_map(str::to_owned),
            any_text(),
        ],
        object in any_json(),
        extra in any_json(),
        text in any_text(),
    ) {
        let mut message = json!({
            "id": "wamid.A", "from": "62811", "timestamp": "1763712000", "type": kind, "context": extra,
            "text": { "body": text },
        });
        message[kind.as_str()] = object;
        let neighbour = json!({ "id": "wamid.B", "from": "62811", "timestamp": "1", "type": "text", "text": { "body": "b" } });
        let value = json!({ "contacts": extra, "messages": [message, neighbour] });
        let body = json!({ "object": "whatsapp_business_account",
            "entry": [{ "id": "1", "changes": [{ "field": "messages", "value": value }] }] });
        let changes = parse(body.to_string().as_bytes()).unwrap();
        prop_assert!(!contains_nul(&changes[0].raw));
        // A change that never went through `parse` is judged and cleaned the same way.
        for change in [&changes[0].raw, &json!({ "field": "messages", "value": value })] {
            let found = interpret(change);
            prop_assert_eq!(found.len(), 2);
            prop_assert_eq!(external_id(&found[1]), Some("wamid.B"));
            match &found[0] {
                Item::Message(message) => {
                    prop_assert!(!contains_nul(&serde_json::to_value(&message.content).unwrap()));
                }
                Item::Malformed { raw, .. } => prop_assert!(!contains_nul(raw)),
                other => prop_assert!(false, "neither read nor kept: {:?}", other),
            }
        }
    }

    #[test]
    fn any_status_makes_exactly_one_item(
        status in proptest::sample::select(vec!["sent", "failed", "warning"]),
        extra in any_json(),
    ) {
        let status = json!({ "id": "wamid.A", "status": status, "timestamp": "1", "errors": [extra, extra],
            "pricing": extra, "conversation": extra, "recipient_id": extra });
        let found = interpret(&json!({ "field": "messages", "value": { "statuses": [status] } }));
        prop_assert_eq!(found.len(), 1);
        let malformed = matches!(found[0], Item::Malformed { .. });
        prop_assert!(!malformed);
    }
}
