//! Whatever is posted to the webhook is cut into changes and each change interpreted, or refused: never a panic, and
//! what was cut once is not read differently when it is processed again. Nothing is lost: each message, status and
//! error of a payload becomes one item in its order, what it is or what could not be read about it.
#![no_main]

use domain::message_content::{MessageContent, contains_nul};
use domain::whatsapp::{self, Change, Item};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let Ok(changes) = whatsapp::parse(body) else { return };
    if let Ok(sent) = serde_json::from_slice::<Value>(body) {
        assert_eq!(changes.len(), expected_changes(&sent));
    }
    for change in &changes {
        assert!(!contains_nul(&change.raw));
        let items = whatsapp::interpret(&change.raw);
        let kept: Value = serde_json::from_str(&change.raw.to_string()).expect("it was JSON");
        assert_eq!(whatsapp::interpret(&kept), items);
        assert!(!items.is_empty());
        if change.field == "messages" {
            all_there(change, &items);
        }
    }
});

/// One for each change of each entry, and for an entry that has none.
fn expected_changes(sent: &Value) -> usize {
    let entries = sent["entry"].as_array().expect("it was parsed");
    entries.iter().map(|entry| entry["changes"].as_array().map_or(1, Vec::len)).sum()
}

fn all_there(change: &Change, items: &[Item]) {
    let value = &change.raw["value"];
    if !value.is_object() {
        return assert!(matches!(items, [Item::Malformed { raw, .. }] if *raw == change.raw));
    }
    let sent: Vec<(&str, &Value)> = ["messages", "statuses", "errors"]
        .into_iter()
        .flat_map(|list| match &value[list] {
            Value::Null => Vec::new(),
            Value::Array(raws) => raws.iter().map(|raw| (list, raw)).collect(),
            other => vec![("not a list", other)],
        })
        .collect();
    if sent.is_empty() {
        return assert!(matches!(items, [Item::Ignored { .. }]));
    }
    assert_eq!(items.len(), sent.len());
    for (item, (list, sent)) in items.iter().zip(sent) {
        match item {
            Item::Malformed { raw, .. } => assert_eq!(raw, sent),
            Item::Message(message) => {
                assert_eq!(list, "messages");
                assert!(sent["id"] == message.external_id || sent["id"].to_string() == message.external_id);
                says_what_was_sent(&message.content, sent);
            }
            Item::Status(status) => {
                assert_eq!(list, "statuses");
                assert!(sent["id"] == status.external_id || sent["id"].to_string() == status.external_id);
            }
            Item::AccountError(_) => assert_eq!(list, "errors"),
            // Statuses that change nothing, by their names.
            Item::Ignored { .. } => assert_eq!(list, "statuses"),
            Item::Echo(_) | Item::Template(_) => panic!("not in a change of messages: {item:?}"),
        }
    }
}

fn says_what_was_sent(content: &MessageContent, sent: &Value) {
    match content {
        MessageContent::Text { text } => assert_eq!(sent["text"]["body"], **text),
        MessageContent::Contacts { contacts } => assert_eq!(sent["contacts"].as_array(), Some(contacts)),
        MessageContent::Interactive(fields) => assert_eq!(sent["interactive"].as_object(), Some(fields)),
        MessageContent::Unsupported { raw, .. } => assert_eq!(raw, sent),
        _ => {}
    }
}
