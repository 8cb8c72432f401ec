use serde_json::json;

use super::*;
use crate::automation::TriggerType;

const ID: &str = "00000000-0000-0000-0000-000000000007";

/// One of each type, as the contract writes them.
fn one_of_each() -> Vec<Value> {
    vec![
        json!({"type": "assign_agent", "agent_id": ID}),
        json!({"type": "unassign"}),
        json!({"type": "assign_division", "division_id": ID}),
        json!({"type": "set_status", "status": "pending"}),
        json!({"type": "add_tags", "tags": ["vip"]}),
        json!({"type": "remove_tags", "tags": ["new", "cold"]}),
        json!({"type": "send_message", "content": {"text": "Hi {{contact.name}}"}}),
        json!({"type": "send_template", "template_id": ID, "variables": {"1": "{{contact.name}}", "2": "x"}}),
        json!({"type": "add_note", "content": "wrote {{message.text}}"}),
        json!({"type": "send_csat"}),
        json!({"type": "call_webhook", "url": "https://example.com/hook?a=1", "headers": {"X-Token": "abc"}}),
        json!({"type": "apply_sla", "policy_id": ID}),
        json!({"type": "start_ai", "ai_agent_id": ID}),
        json!({"type": "stop_ai"}),
    ]
}

fn facts() -> Facts {
    let payload = json!({"contact": {"name": "Ani"}, "message": {"content": {"text": "help"}}});
    Facts::new(TriggerType::MessageReceivedInbound, payload).unwrap()
}

/// The fields that are wrong with one action, without its prefix.
fn wrong(action: Value) -> Vec<String> {
    Action::parse(&action).unwrap_err().into_iter().map(|problem| problem.field).collect()
}

#[test]
fn all_fourteen_are_written_as_they_were_read() {
    let all = one_of_each();
    let actions = Action::parse_all(&json!(all)).unwrap();
    assert_eq!(serde_json::to_value(&actions).unwrap(), json!(all));
    let again: Vec<Action> = serde_json::from_value(json!(all)).unwrap();
    assert_eq!(again, actions);
    let names: std::collections::BTreeSet<_> = actions.iter().map(Action::name).collect();
    assert_eq!(names.len(), 14);
    for (action, value) in actions.iter().zip(&all) {
        assert_eq!(value["type"], action.name());
    }
}

#[test]
fn optional_fields_may_be_left_out() {
    for action in [
        json!({"type": "start_ai"}),
        json!({"type": "send_template", "template_id": ID}),
        json!({"type": "call_webhook", "url": "http://example.com"}),
    ] {
        assert!(Action::parse(&action).is_ok(), "{action}");
    }
}

#[test]
fn text_is_rendered_and_the_rest_stays() {
    let rendered: Vec<RenderedAction> = Action::parse_all(&json!(one_of_each()))
        .unwrap()
        .iter()
        .map(|action| action.render(&facts()))
        .collect();
    let mut expected = one_of_each();
    expected[6]["content"]["text"] = json!("Hi Ani");
    expected[7]["variables"]["1"] = json!("Ani");
    expected[8]["content"] = json!("wrote help");
    assert_eq!(serde_json::to_value(&rendered).unwrap(), json!(expected));
    let read_back: Vec<RenderedAction> = serde_json::from_value(json!(expected)).unwrap();
    assert_eq!(read_back, rendered);
}

#[test]
fn only_what_a_customer_notices_is_customer_facing() {
    let actions = Action::parse_all(&json!(one_of_each())).unwrap();
    let facing: Vec<_> =
        actions.iter().filter(|action| action.is_customer_facing()).map(Action::name).collect();
    assert_eq!(facing, ["send_message", "send_template", "send_csat"]);
}

#[test]
fn references_name_their_field_and_kind() {
    let actions = Action::parse_all(&json!(one_of_each())).unwrap();
    let references: Vec<_> =
        actions.iter().filter_map(Action::reference).map(|(field, kind, _)| (field, kind)).collect();
    assert_eq!(
        references,
        [
            ("agent_id", ReferenceKind::Agent),
            ("division_id", ReferenceKind::Division),
            ("template_id", ReferenceKind::Template),
            ("policy_id", ReferenceKind::SlaPolicy),
            ("ai_agent_id", ReferenceKind::AiAgent),
        ]
    );
}

#[test]
fn unknown_types_and_fields_are_refused_by_their_path() {
    let actions = json!([
        {"type": "unassign"},
        {"type": "explode"},
        {"type": "assign_agent", "agent_id": "me"},
        {"type": "send_csat", "agent_id": ID},
        {"type": "send_message", "content": {"text": "Hi {{contact.nick}}", "html": "x"}},
        {"agent_id": ID},
        "unassign"
    ]);
    let fields: Vec<_> =
        Action::parse_all(&actions).unwrap_err().into_iter().map(|problem| problem.field).collect();
    assert_eq!(
        fields,
        [
            "actions[1].type",
            "actions[2].agent_id",
            "actions[3].agent_id",
            "actions[4].content.text",
            "actions[4].content.html",
            "actions[5].type",
            "actions[6]"
        ]
    );
}

#[test]
fn missing_and_empty_fields_are_refused() {
    for (action, field) in [
        (json!({"type": "assign_agent"}), "agent_id"),
        (json!({"type": "assign_division"}), "division_id"),
        (json!({"type": "set_status", "status": "closed"}), "status"),
        (json!({"type": "add_tags"}), "tags"),
        (json!({"type": "add_tags", "tags": []}), "tags"),
        (json!({"type": "remove_tags", "tags": ["ok", " "]}), "tags[1]"),
        (json!({"type": "send_message", "content": "Hi"}), "content"),
        (json!({"type": "send_message", "content": {}}), "content.text"),
        (json!({"type": "send_message", "content": {"text": "  "}}), "content.text"),
        (json!({"type": "send_template", "variables": {}}), "template_id"),
        (json!({"type": "send_template", "template_id": ID, "variables": {"1": 5}}), "variables.1"),
        (json!({"type": "send_template", "template_id": ID, "variables": []}), "variables"),
        (json!({"type": "add_note", "content": {"text": "x"}}), "content"),
        (json!({"type": "apply_sla"}), "policy_id"),
        (json!({"type": "start_ai", "ai_agent_id": null}), "ai_agent_id"),
        (json!({"type": "call_webhook"}), "url"),
    ] {
        assert_eq!(wrong(action.clone()), [field], "{action}");
    }
}

#[test]
fn texts_and_lists_are_limited() {
    let text = |n| json!({"type": "send_message", "content": {"text": "é".repeat(n)}});
    assert!(Action::parse(&text(MAX_MESSAGE_CHARS)).is_ok());
    assert_eq!(wrong(text(MAX_MESSAGE_CHARS + 1)), ["content.text"]);
    let many = |n| Action::parse_all(&json!(vec![json!({"type": "unassign"}); n]));
    assert!(many(MAX_ACTIONS).is_ok());
    assert!(many(MAX_ACTIONS + 1).is_err());
    assert_eq!(many(0).unwrap_err()[0].message, "must hold at least one action");
}

#[test]
fn webhook_addresses_must_be_of_the_web() {
    let call = |url: &str| Action::parse(&json!({"type": "call_webhook", "url": url}));
    for good in ["https://example.com", "HTTP://example.com:8080/a?b#c", "http://[2001:db8::1]/x"] {
        assert!(call(good).is_ok(), "{good}");
    }
    for bad in [
        "ftp://example.com",
        "example.com",
        "https://",
        "https:///path",
        "http://:80/",
        "https://user:pw@example.com",
        "https://example.com/a b",
        "https://example.com/\n",
        "https://example.com/{{contact.name}}",
    ] {
        assert!(call(bad).is_err(), "{bad}");
    }
}

#[test]
fn webhook_headers_cannot_forge_the_request() {
    let call = |name: &str, value: &str| {
        Action::parse(
            &json!({"type": "call_webhook", "url": "https://example.com", "headers": {name: value}}),
        )
    };
    assert!(call("Authorization", "Bearer abc").is_ok());
    for (name, value) in [
        ("Host", "evil"),
        ("content-length", "0"),
        ("Webhook-Signature", "v1,x"),
        ("X-A", "b\r\nX-C: d"),
        ("X A", "b"),
        ("", "b"),
        ("X-A", "{{contact.name}}"),
    ] {
        let problems = call(name, value).unwrap_err();
        assert_eq!(problems[0].field, format!("headers.{name}"));
    }
}

#[test]
fn tags_hold_no_placeholders() {
    assert_eq!(wrong(json!({"type": "add_tags", "tags": ["{{contact.name}}"]})), ["tags[0]"]);
}
