use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::message_content::tests::any_json;
use crate::message_content::{Location, Media, MessageContent};
use crate::whatsapp::*;

const TO: &str = "6281234567801";

fn body(kind: &str, content: Value) -> Value {
    let content = MessageContent::parse_outbound(kind, &content).unwrap();
    OutgoingMessage::new(TO, &content).request_body().unwrap()
}

/// The body with what all messages share taken off.
fn own_part(kind: &str, content: Value) -> Value {
    let mut body = body(kind, content);
    let body = body.as_object_mut().unwrap();
    assert_eq!(body.remove("messaging_product"), Some(json!("whatsapp")));
    assert_eq!(body.remove("recipient_type"), Some(json!("individual")));
    assert_eq!(body.remove("to"), Some(json!(TO)));
    Value::Object(body.clone())
}

#[test]
fn texts_preview_their_links() {
    assert_eq!(
        own_part("text", json!({ "text": "Hello" })),
        json!({ "type": "text", "text": { "body": "Hello", "preview_url": false } })
    );
    assert_eq!(body("text", json!({ "text": "See https://a.example" }))["text"]["preview_url"], true);
}

#[test]
fn media_goes_by_link_with_the_fields_of_its_type() {
    let url = "https://cdn.example/f";
    assert_eq!(
        own_part("image", json!({ "url": url, "caption": "C" })),
        json!({ "type": "image", "image": { "link": url, "caption": "C" } })
    );
    assert_eq!(
        own_part("document", json!({ "url": url, "filename": "f.pdf" })),
        json!({ "type": "document", "document": { "link": url, "filename": "f.pdf" } })
    );
    assert_eq!(
        own_part("audio", json!({ "url": url })),
        json!({ "type": "audio", "audio": { "link": url } })
    );
    assert_eq!(
        own_part("sticker", json!({ "url": url })),
        json!({ "type": "sticker", "sticker": { "link": url } })
    );
}

#[test]
fn media_that_whatsapp_holds_goes_by_id() {
    let received = MessageContent::Video(Media {
        mime_type: Some("video/mp4".into()),
        filename: Some("v".into()),
        ..Media::from_provider("77")
    });
    assert_eq!(OutgoingMessage::new(TO, &received).request_body().unwrap()["video"], json!({ "id": "77" }));
}

#[test]
fn places_people_and_reactions() {
    assert_eq!(
        own_part("location", json!({ "latitude": -6.2, "longitude": 106.8, "name": "Office" })),
        json!({ "type": "location", "location": { "latitude": -6.2, "longitude": 106.8, "name": "Office" } })
    );
    let place = Location { url: Some("https://a.example".into()), ..Location::at(1.0, 2.0).unwrap() };
    let place = MessageContent::Location(place);
    let sent = OutgoingMessage::new(TO, &place).request_body().unwrap();
    assert_eq!(sent["location"], json!({ "latitude": 1.0, "longitude": 2.0 }));
    let card = json!({ "name": { "formatted_name": "Budi", "first_name": "Budi" } });
    let people = MessageContent::Contacts { contacts: vec![card.clone()] };
    assert_eq!(OutgoingMessage::new(TO, &people).request_body().unwrap()["contacts"], json!([card]));
    assert_eq!(
        own_part("reaction", json!({ "message_id": "wamid.A", "emoji": "👍" })),
        json!({ "type": "reaction", "reaction": { "message_id": "wamid.A", "emoji": "👍" } })
    );
}

#[test]
fn interactive_messages_go_as_they_are() {
    let buttons = json!({
        "type": "button", "body": { "text": "Right?" },
        "action": { "buttons": [{ "type": "reply", "reply": { "id": "y", "title": "Yes" } }] },
    });
    assert_eq!(
        own_part("interactive", buttons.clone()),
        json!({ "type": "interactive", "interactive": buttons })
    );
}

#[test]
fn a_reference_is_a_quote_or_the_target_of_a_reaction() {
    let text = MessageContent::Text { text: "a".into() };
    let message = OutgoingMessage {
        refers_to: Some("wamid.Q"),
        callback_data: Some("our-id"),
        ..OutgoingMessage::new(TO, &text)
    };
    let sent = message.request_body().unwrap();
    assert_eq!(sent["context"], json!({ "message_id": "wamid.Q" }));
    assert_eq!(sent["biz_opaque_callback_data"], "our-id");
    let reaction = MessageContent::Reaction { message_id: "wamid.A".into(), emoji: "👍".into() };
    let sent = OutgoingMessage { content: &reaction, ..message }.request_body().unwrap();
    assert_eq!(sent.get("context"), None);
    assert_eq!(sent["reaction"], json!({ "message_id": "wamid.Q", "emoji": "👍" }));
}

#[test]
fn customers_without_a_number_are_addressed_by_user_id() {
    let text = MessageContent::Text { text: "a".into() };
    let sent = OutgoingMessage::new("ID.90817263544536271", &text).request_body().unwrap();
    assert_eq!((sent.get("to"), &sent["recipient"]), (None, &json!("ID.90817263544536271")));
}

#[test]
fn what_only_customers_send_is_refused() {
    let reply = json!({ "type": "button_reply", "button_reply": { "id": "a", "title": "b" } });
    for content in [
        MessageContent::Button { text: "a".into(), payload: None },
        MessageContent::Unsupported { kind: "order".into(), raw: json!({}) },
        MessageContent::Interactive(reply.as_object().unwrap().clone()),
    ] {
        let refused = OutgoingMessage::new(TO, &content).request_body();
        assert!(matches!(refused, Err(NotSendable::ReceiveOnly(_))), "{refused:?}");
    }
    let template = MessageContent::Template { template_id: Uuid::nil(), variables: BTreeMap::new() };
    assert_eq!(OutgoingMessage::new(TO, &template).request_body(), Err(NotSendable::NoTemplate));
}

#[test]
fn read_receipts_name_the_message() {
    assert_eq!(
        read_receipt_body("wamid.A"),
        json!({ "messaging_product": "whatsapp", "status": "read", "message_id": "wamid.A" })
    );
}

#[test]
fn a_send_answer_gives_the_external_id() {
    let answer = json!({
        "messaging_product": "whatsapp",
        "contacts": [{ "input": "+62 812-3456-7801", "wa_id": TO }],
        "messages": [{ "id": "wamid.HBgN", "message_status": "accepted" }],
    });
    assert_eq!(parse_send_response(200, &answer), Ok("wamid.HBgN".to_owned()));
}

#[test]
fn an_unclear_send_answer_is_never_retried() {
    for (status, body) in [
        (200, json!({})),
        (200, json!({ "messages": [] })),
        (200, json!({ "messages": [{ "id": "" }] })),
        (502, Value::Null),
        (500, json!("Bad gateway")),
        (404, json!({ "error": "not found" })),
    ] {
        assert_eq!(parse_send_response(status, &body).unwrap_err().retry, Retry::Never, "{status} {body}");
    }
    assert_eq!(parse_send_response(429, &Value::Null).unwrap_err().retry, Retry::Later);
}

proptest! {
    #[test]
    fn any_answer_is_read(status in 100..600_u16, body in any_json()) {
        if let Err(failure) = parse_send_response(status, &body) {
            prop_assert!(!failure.explanation.is_empty());
        }
    }

    /// What an agent may send has a body, except that a template needs its definition.
    #[test]
    fn whatever_was_accepted_can_be_sent(kind in proptest::sample::select(vec!["text", "reaction", "location"]),
                                         text in "[a-z]{1,20}", latitude in -90.0..90.0) {
        let content = match kind {
            "text" => json!({ "text": text }),
            "reaction" => json!({ "message_id": text, "emoji": "👍" }),
            _ => json!({ "latitude": latitude, "longitude": latitude, "name": text }),
        };
        let sent = body(kind, content);
        prop_assert_eq!(&sent["type"], kind);
        prop_assert!(sent[kind].is_object());
    }
}
