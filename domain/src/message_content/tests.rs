use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Any JSON value of moderate size, with the characters that make trouble.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(any_text(), inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

pub(crate) fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,12}", "[\\x00a\\u{FFFD}👍\" \\\\]{0,6}", Just("\0".to_owned())]
}

fn any_media() -> impl Strategy<Value = Media> {
    let source = prop_oneof![
        "[0-9]{1,20}".prop_map(|media_id| MediaSource::Provider { media_id }),
        "https://[a-z]{1,9}\\.example/[a-z]{0,9}".prop_map(|url| MediaSource::Link { url }),
    ];
    let texts = proptest::array::uniform4(proptest::option::of(".{0,20}"));
    (source, texts, any::<bool>(), any::<bool>()).prop_map(|(source, texts, voice, animated)| {
        let [mime_type, sha256, caption, filename] = texts;
        Media { source, mime_type, sha256, caption, filename, voice, animated }
    })
}

fn any_content() -> impl Strategy<Value = MessageContent> {
    use MessageContent::*;
    let name = || proptest::option::of(".{0,20}");
    prop_oneof![
        ".{0,200}".prop_map(|text| Text { text }),
        any_media().prop_map(Image),
        any_media().prop_map(Video),
        any_media().prop_map(Audio),
        any_media().prop_map(Document),
        any_media().prop_map(Sticker),
        (-90.0..=90.0, -180.0..=180.0, name(), name(), name()).prop_map(
            |(latitude, longitude, name, address, url)| {
                let point = super::Location::at(latitude, longitude).unwrap();
                Location(super::Location { name, address, url, ..point })
            }
        ),
        proptest::collection::vec(any::<i64>().prop_map(|n| json!({ "n": n })), 0..3)
            .prop_map(|contacts| Contacts { contacts }),
        (".{1,20}", ".{0,3}").prop_map(|(message_id, emoji)| Reaction { message_id, emoji }),
        ".{0,20}".prop_map(|id| {
            let reply = json!({ "type": "button_reply", "button_reply": { "id": id, "title": "Yes" } });
            Interactive(reply.as_object().unwrap().clone())
        }),
        (".{0,20}", name()).prop_map(|(text, payload)| Button { text, payload }),
        (any::<u128>(), proptest::collection::btree_map(".{1,5}", ".{0,9}", 0..4))
            .prop_map(|(id, variables)| { Template { template_id: Uuid::from_u128(id), variables } }),
        (".{0,9}", any::<i64>()).prop_map(|(kind, n)| Unsupported { kind, raw: json!({ "n": [n] }) }),
    ]
}

proptest! {
    #[test]
    fn stored_form_is_lossless(content in any_content()) {
        let text = serde_json::to_string(&content).unwrap();
        prop_assert_eq!(&serde_json::from_str::<MessageContent>(&text).unwrap(), &content);
        let value: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&value["type"], content.kind());
        prop_assert!(value["content"].is_object());
    }

    #[test]
    fn preview_is_one_short_line(content in any_content()) {
        let preview = content.preview();
        prop_assert!(preview.chars().count() <= PREVIEW_MAX_CHARS);
        prop_assert!(!preview.contains(['\n', '\r']));
    }

    #[test]
    fn wire_content_is_an_object(content in any_content()) {
        let wire = content.to_wire(|id| format!("https://crm.example/media/{id}"));
        prop_assert!(wire.is_object());
    }

    #[test]
    fn reading_any_request_either_succeeds_or_says_why(
        kind in prop_oneof![proptest::sample::select(OUTBOUND_TYPES.to_vec()).prop_map(str::to_owned), ".{0,9}"],
        content in any_json(),
    ) {
        match MessageContent::parse_outbound(&kind, &content) {
            Ok(parsed) => {
                prop_assert_eq!(parsed.kind(), kind);
                prop_assert!(!contains_nul(&serde_json::to_value(parsed).unwrap()));
            }
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                prop_assert!(problems.iter().all(|problem| !problem.field.contains('\0')));
            }
        }
    }

    #[test]
    fn nul_is_replaced_and_nothing_else(value in any_json()) {
        let clean = without_nul(&value);
        prop_assert!(!contains_nul(&clean));
        if !contains_nul(&value) {
            prop_assert_eq!(clean.as_ref(), &value);
        }
    }

    #[test]
    fn coordinates_survive_any_number_of_round_trips(latitude in -90.0..=90.0f64, longitude in -180.0..=180.0f64) {
        let point = Location::at(latitude, longitude).unwrap();
        prop_assert!((point.latitude - latitude).abs() < 1e-7);
        let text = serde_json::to_string(&point).unwrap();
        let again: Location = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(serde_json::to_string(&again).unwrap(), text);
        prop_assert_eq!(Location::at(again.latitude, again.longitude), Some(point));
    }
}

fn parse(kind: &str, content: Value) -> Result<MessageContent, Vec<FieldProblem>> {
    MessageContent::parse_outbound(kind, &content)
}

/// The fields that a request is refused for.
fn refused(kind: &str, content: Value) -> Vec<String> {
    let problems = parse(kind, content).expect_err("the request should be refused");
    problems.into_iter().map(|problem| problem.field).collect()
}

#[test]
fn accepts_every_type_that_can_be_sent() {
    let id = Uuid::from_u128(7).to_string();
    let url = "https://cdn.example/file?a=1";
    for (kind, content) in [
        ("text", json!({ "text": "Hello" })),
        ("image", json!({ "url": url, "caption": "A" })),
        ("video", json!({ "url": url, "caption": null })),
        ("audio", json!({ "url": url })),
        ("document", json!({ "url": url, "caption": "A", "filename": "a.pdf" })),
        ("sticker", json!({ "url": "HTTP://cdn.example:8080" })),
        ("location", json!({ "latitude": -6.2, "longitude": 106, "name": "Office" })),
        ("template", json!({ "template_id": id, "variables": { "1": "Siti" } })),
        ("template", json!({ "template_id": id })),
        ("reaction", json!({ "message_id": "65f000000000000000000001", "emoji": "1️⃣" })),
        ("reaction", json!({ "message_id": "wamid.A", "emoji": "" })),
    ] {
        assert_eq!(parse(kind, content.clone()).map(|content| content.kind()), Ok(kind), "{content}");
    }
}

#[test]
fn names_each_bad_field() {
    let no_fields = |kind| refused(kind, json!({}));
    assert_eq!(no_fields("text"), ["content.text"]);
    assert_eq!(no_fields("image"), ["content.url"]);
    assert_eq!(no_fields("location"), ["content.latitude", "content.longitude"]);
    assert_eq!(no_fields("reaction"), ["content.message_id", "content.emoji"]);
    assert_eq!(no_fields("template"), ["content.template_id"]);
    assert_eq!(no_fields("interactive"), ["content.type"]);
    assert_eq!(no_fields("button"), ["type"]);
    assert_eq!(refused("text", json!("Hello")), ["content"]);
    assert_eq!(refused("text", json!({ "text": "a", "txet": 1 })), ["content.txet"]);
    assert_eq!(refused("text", json!({ "text": " \n" })), ["content.text"]);
    assert_eq!(refused("text", json!({ "text": "a\0b" })), ["content.text"]);
    assert_eq!(refused("audio", json!({ "url": "https://a.example", "caption": "A" })), ["content.caption"]);
    assert_eq!(refused("location", json!({ "latitude": 90.1, "longitude": "1" })).len(), 2);
    assert_eq!(refused("reaction", json!({ "message_id": "m", "emoji": "great" })), ["content.emoji"]);
    assert_eq!(refused("template", json!({ "template_id": "order_sent" })), ["content.template_id"]);
}

#[test]
fn refuses_links_that_cannot_work() {
    for url in [
        "",
        "cdn.example/a.jpg",
        "ftp://cdn.example/a",
        "https://",
        "https:///a",
        "https://a b.example",
        "file:///a",
    ] {
        assert_eq!(refused("image", json!({ "url": url })), ["content.url"], "{url}");
    }
}

#[test]
fn lengths_are_counted_in_characters() {
    let emoji = |count| "😀".repeat(count);
    assert!(parse("text", json!({ "text": emoji(TEXT_MAX_CHARS) })).is_ok());
    assert_eq!(refused("text", json!({ "text": emoji(TEXT_MAX_CHARS + 1) })), ["content.text"]);
    let url = "https://a.example";
    let caption = emoji(CAPTION_MAX_CHARS + 1);
    assert_eq!(refused("image", json!({ "url": url, "caption": caption })), ["content.caption"]);
    let filename = emoji(FILENAME_MAX_CHARS + 1);
    assert_eq!(refused("document", json!({ "url": url, "filename": filename })), ["content.filename"]);
}

#[test]
fn refuses_template_variables_that_meta_would() {
    let with =
        |variables: Value| refused("template", json!({ "template_id": Uuid::nil(), "variables": variables }));
    assert_eq!(with(json!(["a"])), ["content.variables"]);
    for bad in [json!(5), json!(""), json!("two\nlines"), json!("a\tb"), json!("a     b"), json!("a\0b")] {
        assert_eq!(with(json!({ "1": "fine    still", "2": bad })), ["content.variables.2"], "{bad}");
    }
    let many: serde_json::Map<_, _> =
        (0..=TEMPLATE_VARIABLES_MAX).map(|n| (n.to_string(), json!("a"))).collect();
    assert_eq!(with(Value::Object(many)), ["content.variables"]);
}

fn buttons(buttons: Value) -> Value {
    json!({ "type": "button", "body": { "text": "Which?" }, "action": { "buttons": buttons } })
}

fn reply_button(id: &str, title: &str) -> Value {
    json!({ "type": "reply", "reply": { "id": id, "title": title } })
}

#[test]
fn checks_reply_buttons() {
    let (a, b) = (reply_button("a", "Yes"), reply_button("b", "No"));
    assert!(parse("interactive", buttons(json!([a, b]))).is_ok());
    assert_eq!(refused("interactive", buttons(json!([]))), ["content.action.buttons"]);
    let four: Vec<_> =
        (0..=REPLY_BUTTONS_MAX).map(|n| reply_button(&n.to_string(), &n.to_string())).collect();
    assert_eq!(refused("interactive", buttons(json!(four))), ["content.action.buttons"]);
    let long = reply_button("b", &"x".repeat(BUTTON_LABEL_MAX_CHARS + 1));
    assert_eq!(refused("interactive", buttons(json!([a, long]))), ["content.action.buttons[1].reply.title"]);
    let path = "content.action.buttons[1].reply";
    assert_eq!(
        refused("interactive", buttons(json!([a, a]))),
        [format!("{path}.id"), format!("{path}.title")]
    );
    let mut with_header = buttons(json!([a]));
    with_header["header"] = json!({ "type": "image", "image": { "link": "here.jpg" } });
    assert_eq!(refused("interactive", with_header), ["content.header.image.link"]);
}

fn list(sections: Value) -> Value {
    json!({ "type": "list", "body": { "text": "Which?" }, "action": { "button": "Choose", "sections": sections } })
}

#[test]
fn checks_lists() {
    let rows = |from: usize, to: usize| -> Value {
        (from..to).map(|n| json!({ "id": n.to_string(), "title": "Row", "description": "More" })).collect()
    };
    assert!(parse("interactive", list(json!([{ "rows": rows(0, 10) }]))).is_ok());
    let sections = list(json!([{ "title": "A", "rows": rows(0, 6) }, { "title": "B", "rows": rows(6, 11) }]));
    assert_eq!(refused("interactive", sections), ["content.action.sections"]);
    let untitled = list(json!([{ "title": "A", "rows": rows(0, 1) }, { "rows": rows(1, 2) }]));
    assert_eq!(refused("interactive", untitled), ["content.action.sections[1].title"]);
    let twice = list(json!([{ "title": "A", "rows": rows(0, 1) }, { "title": "B", "rows": rows(0, 1) }]));
    assert_eq!(refused("interactive", twice), ["content.action.sections[1].rows[0].id"]);
    assert_eq!(refused("interactive", list(json!([{ "rows": [] }]))), ["content.action.sections[0].rows"]);
}

#[test]
fn passes_other_interactive_messages_through() {
    let flow = json!({
        "type": "flow", "body": { "text": "Rate us" }, "footer": null,
        "action": { "name": "flow", "parameters": { "flow_id": "1", "flow_cta": "Open", "mode": "published" } },
    });
    let Ok(MessageContent::Interactive(kept)) = parse("interactive", flow.clone()) else { panic!("refused") };
    assert_eq!(Value::Object(kept.clone())["action"], flow["action"]);
    assert!(!kept.contains_key("footer"));
    let link = json!({
        "type": "cta_url", "body": { "text": "Track" },
        "action": { "name": "cta_url", "parameters": { "display_text": "Open", "url": "https://a.example" } },
    });
    assert!(parse("interactive", link).is_ok());
    assert_eq!(refused("interactive", json!({ "type": "hologram" })), ["content.type"]);
    let hidden = json!({ "type": "flow", "body": { "text": "a" }, "action": { "deep": [{ "a\0": 1 }] } });
    assert_eq!(refused("interactive", hidden), ["content"]);
}

#[test]
fn previews_and_search_text_say_what_people_read() {
    let image = |caption: Option<&str>| {
        MessageContent::Image(Media { caption: caption.map(str::to_owned), ..Media::from_provider("1") })
    };
    let reply = json!({ "type": "list_reply", "list_reply": { "id": "x", "title": "Express", "description": "1 day" } });
    let reply = MessageContent::Interactive(reply.as_object().unwrap().clone());
    let order = MessageContent::Unsupported { kind: "order".into(), raw: json!({}) };
    for (content, preview, search) in [
        (MessageContent::Text { text: "two\nlines".into() }, "two lines", "two\nlines"),
        (image(None), "Photo", ""),
        (image(Some("Blue")), "Photo: Blue", "Blue"),
        (MessageContent::Audio(Media { voice: true, ..Media::from_provider("1") }), "Voice message", ""),
        (MessageContent::Reaction { message_id: "m".into(), emoji: "👍".into() }, "Reacted 👍", ""),
        (MessageContent::Reaction { message_id: "m".into(), emoji: String::new() }, "Removed a reaction", ""),
        (
            MessageContent::Contacts { contacts: vec![json!({ "name": { "formatted_name": "Budi" } })] },
            "Contact: Budi",
            "Budi",
        ),
        (reply, "Express", "1 day Express"),
        (order, "Unsupported message (order)", ""),
    ] {
        assert_eq!(content.preview(), preview);
        assert_eq!(content.searchable_text(), search);
    }
    let long = MessageContent::Text { text: "word ".repeat(100) }.preview();
    assert!(long.ends_with('…') && long.chars().count() <= PREVIEW_MAX_CHARS, "{long}");
}

#[test]
fn wire_form_gives_provider_media_an_address_of_ours() {
    let media = Media { mime_type: Some("image/webp".into()), animated: true, ..Media::from_provider("77") };
    let wire = MessageContent::Sticker(media).to_wire(|id| format!("/media/{id}"));
    assert_eq!(
        wire,
        json!({ "url": "/media/77", "media_id": "77", "mime_type": "image/webp", "animated": true })
    );
    let sent = parse("image", json!({ "url": "https://a.example/b", "caption": "C" })).unwrap();
    assert_eq!(
        sent.to_wire(|_| panic!("a link stays")),
        json!({ "url": "https://a.example/b", "caption": "C" })
    );
}
