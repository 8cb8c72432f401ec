//! Facts, conditions, placeholders, control and the payload's hash.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::condition::Condition;
use super::facts::{
    AgentFacts, BusinessHoursFacts, ContactFacts, ConversationFacts, DivisionFacts, MessageFacts, SlaFacts,
};
use super::placeholder::{PLACEHOLDERS, TemplateError};
use super::*;
use crate::channel::Channel;
use crate::conversation::ConversationStatus;
use crate::tag::MAX_TAG_CHARS;

const TRIGGER: TriggerType = TriggerType::MessageReceivedInbound;

fn noon() -> DateTime<Utc> {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn snapshot() -> Snapshot {
    Snapshot {
        conversation: ConversationFacts {
            id: Uuid::from_u128(1),
            contact_id: Uuid::from_u128(2),
            status: ConversationStatus::Open,
            previous_status: Some(ConversationStatus::Pending),
            contact_channel: Channel::Whatsapp,
            assigned_agent_id: Some(Uuid::from_u128(3)),
            division_id: Some(Uuid::from_u128(4)),
            created_at: noon(),
        },
        contact: ContactFacts {
            id: Uuid::from_u128(2),
            channel_source: Channel::Whatsapp,
            tags: vec!["gold".to_owned(), "jakarta".to_owned()],
            name: Some("Ani".to_owned()),
            phone_number: Some("628111".to_owned()),
            email: Some("ani@example.com".to_owned()),
        },
        message: Some(MessageFacts {
            id: "0123456789abcdef01234567".to_owned(),
            message_type: "text".to_owned(),
            content: json!({"text": "Where is my order?"}),
            created_at: noon(),
        }),
        agent: Some(AgentFacts { id: Uuid::from_u128(3), full_name: "Budi".to_owned() }),
        division: Some(DivisionFacts { id: Uuid::from_u128(4), name: "Sales".to_owned() }),
        tags: vec!["VIP".to_owned()],
        sla: Some(SlaFacts {
            policy_id: Uuid::from_u128(5),
            policy_name: "Fast".to_owned(),
            breach_type: Some("first_response".to_owned()),
            threshold_secs: Some(300),
            actual_secs: Some(301),
        }),
        business_hours: BusinessHoursFacts { is_open: false },
    }
}

fn facts_of(payload: Value) -> Facts {
    Facts::new(TRIGGER, payload).unwrap()
}

fn full_facts() -> Facts {
    facts_of(serde_json::to_value(snapshot()).unwrap())
}

fn holds(conditions: Value, facts: &Facts) -> bool {
    Conditions::parse(&conditions).unwrap().hold(facts)
}

#[test]
fn trigger_names_are_the_contract_s() {
    for (name, trigger) in TriggerType::NAMES {
        assert_eq!(TriggerType::from_name(name), Some(*trigger));
        assert_eq!(serde_json::to_value(trigger).unwrap(), json!(name));
        assert_eq!(trigger.to_string(), *name);
    }
    assert_eq!(TriggerType::from_name("message_sent"), None);
}

#[test]
fn each_condition_looks_at_its_fact() {
    let facts = full_facts();
    for (yes, no) in [
        (json!({"channel_in": ["email", "whatsapp"]}), json!({"channel_in": ["email"]})),
        (json!({"status_in": ["open"]}), json!({"status_in": ["pending", "resolved"]})),
        (json!({"assigned_is_null": false}), json!({"assigned_is_null": true})),
        (json!({"has_any_tags": ["new", "vip"]}), json!({"has_any_tags": ["new", "gold"]})),
        (json!({"division_id_in": [Uuid::from_u128(4)]}), json!({"division_id_in": [Uuid::from_u128(3)]})),
        (json!({"business_hours_only": false}), json!({"business_hours_only": true})),
    ] {
        assert!(holds(yes.clone(), &facts), "{yes}");
        assert!(!holds(no.clone(), &facts), "{no}");
    }
}

#[test]
fn all_conditions_must_hold_and_none_means_always() {
    let facts = full_facts();
    assert!(holds(json!({"channel_in": ["whatsapp"], "status_in": ["open"]}), &facts));
    assert!(!holds(json!({"channel_in": ["whatsapp"], "status_in": ["resolved"]}), &facts));
    assert!(holds(json!({}), &facts));
    assert!(holds(json!({"channel_in": [], "has_any_tags": []}), &facts), "an empty list asks for nothing");
}

#[test]
fn unknown_facts_are_in_no_list_and_hours_that_nobody_set_are_open() {
    let facts = facts_of(json!({"conversation": {"status": 7, "assigned_agent_id": null}}));
    assert!(!holds(json!({"status_in": ["open"]}), &facts));
    assert!(!holds(json!({"channel_in": ["email"]}), &facts));
    assert!(!holds(json!({"division_id_in": [Uuid::nil()]}), &facts));
    assert!(holds(json!({"assigned_is_null": true, "business_hours_only": true}), &facts));
}

#[test]
fn a_hand_written_payload_may_be_short() {
    let facts = facts_of(json!({"channel": "email", "status": "open", "tags": ["vip"]}));
    assert!(holds(json!({"channel_in": ["email"], "status_in": ["open"], "has_any_tags": ["VIP"]}), &facts));
    assert_eq!(Facts::new(TRIGGER, json!([])).unwrap_err().field, "event_payload");
}

#[test]
fn a_snapshot_survives_its_payload() {
    let payload = serde_json::to_value(snapshot()).unwrap();
    assert_eq!(serde_json::from_value::<Snapshot>(payload).unwrap(), snapshot());
}

#[test]
fn bad_conditions_are_named_one_by_one() {
    let problems = Conditions::parse(&json!({
        "channel_in": ["whatsapp", "fax"],
        "status_in": "open",
        "assigned_is_null": 1,
        "has_any_tags": [""],
        "division_id_in": ["not-an-id", 5],
        "business_hours_only": null,
        "chanel_in": []
    }))
    .unwrap_err();
    let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "conditions.channel_in[1]",
            "conditions.status_in",
            "conditions.assigned_is_null",
            "conditions.has_any_tags[0]",
            "conditions.division_id_in[0]",
            "conditions.division_id_in[1]",
            "conditions.business_hours_only",
            "conditions.chanel_in"
        ]
    );
    assert_eq!(problems[0].message, "must be one of whatsapp, instagram, messenger, email");
}

#[test]
fn lists_are_limited() {
    let many = vec!["x"; condition::MAX_LIST + 1];
    let problems = Conditions::parse(&json!({ "has_any_tags": many })).unwrap_err();
    assert_eq!(problems[0].field, "conditions.has_any_tags");
    let tagged = |chars: usize| Conditions::parse(&json!({ "has_any_tags": ["x".repeat(chars)] }));
    assert!(tagged(MAX_TAG_CHARS).is_ok() && tagged(MAX_TAG_CHARS + 1).is_err(), "as on a conversation");
}

#[test]
fn a_condition_can_tell_what_it_wanted_and_found() {
    let conditions = Conditions::parse(&json!({"has_any_tags": ["New"]})).unwrap();
    let condition: &Condition = conditions.iter().next().unwrap();
    assert_eq!(condition.expected(), json!(["New"]));
    assert_eq!(condition.actual(&full_facts()), json!(["vip"]));
}

#[test]
fn placeholders_are_filled() {
    let template =
        Template::parse("Hi {{contact.name}}, {{ division.name }}: {{message.text}} ({{conversation.tags}})");
    assert_eq!(template.unwrap().render(&full_facts()), "Hi Ani, Sales: Where is my order? (VIP)");
    let numbers = Template::parse("{{sla.actual_secs}}/{{sla.threshold_secs}} {{contact.tags}}").unwrap();
    assert_eq!(numbers.render(&full_facts()), "301/300 gold, jakarta");
}

#[test]
fn every_placeholder_finds_its_fact_in_a_snapshot() {
    for placeholder in PLACEHOLDERS {
        let source = format!("{{{{{}}}}}", placeholder.name);
        let rendered = Template::parse(&source).unwrap().render(&full_facts());
        assert!(!rendered.is_empty(), "{source}");
    }
}

#[test]
fn a_missing_fact_is_empty_text() {
    let template = Template::parse("Hi {{contact.name}}!").unwrap();
    for payload in
        [json!({}), json!({"contact": {"name": null}}), json!({"contact": {"name": {"first": "A"}}})]
    {
        assert_eq!(template.render(&facts_of(payload)), "Hi !");
    }
}

#[test]
fn what_a_customer_writes_is_never_a_placeholder() {
    let facts = facts_of(json!({"contact": {"name": "{{contact.email}}", "email": "secret@example.com"}}));
    assert_eq!(Template::parse("Hi {{contact.name}}").unwrap().render(&facts), "Hi {{contact.email}}");
}

#[test]
fn placeholders_that_do_not_exist_are_refused() {
    let unknown = |name: &str| Err(TemplateError::Unknown(name.to_owned()));
    assert_eq!(Template::parse("{{contact.nmae}}"), unknown("contact.nmae"));
    assert_eq!(Template::parse("{{}}"), unknown(""));
    assert_eq!(Template::parse("{{{contact.name}}}"), unknown("{contact.name"));
    assert_eq!(Template::parse("{{contact.name"), Err(TemplateError::Unclosed));
    assert_eq!(Template::parse("a } b }} c { d").unwrap().render(&full_facts()), "a } b }} c { d");
    let message = TemplateError::Unknown("x".to_owned()).to_string();
    assert!(message.starts_with("names the placeholder {{x}}, which does not exist; known are contact.id, "));
}

#[test]
fn a_pause_ends_at_its_time_or_never() {
    let paused = Control { is_paused: true, ..Control::default() };
    assert!(paused.paused_at(noon()));
    let until = Control { paused_until: Some(noon()), ..paused };
    assert!(until.paused_at(noon() - TimeDelta::milliseconds(1)));
    assert!(!until.paused_at(noon()));
    assert!(!Control { is_paused: false, ..until }.paused_at(noon() - TimeDelta::hours(1)));
}

#[test]
fn a_change_of_control_must_make_sense() {
    let later = "2026-11-21T13:00:00+00:00";
    let change = json!({"is_paused": true, "pause_reason": "maintenance", "paused_until": later});
    let control = Control::parse_change(&change, noon()).unwrap();
    assert_eq!(control.pause_reason.as_deref(), Some("maintenance"));
    assert_eq!(control.paused_until, Some(noon() + TimeDelta::hours(1)));
    let problem = |change: Value| Control::parse_change(&change, noon()).unwrap_err()[0].field.clone();
    assert_eq!(problem(json!({})), "is_paused");
    assert_eq!(problem(json!({"is_paused": true, "paused_until": "2026-11-21T12:00:00Z"})), "paused_until");
    assert_eq!(problem(json!({"is_paused": false, "paused_until": later})), "paused_until");
    assert_eq!(problem(json!({"is_paused": false, "pause_reason": "why"})), "pause_reason");
    assert_eq!(problem(json!({"is_paused": true, "until": later})), "until");
}

/// Computed with another implementation over the canonical text `{"a":[1,2.5,"é"],"b":{"x":null,"y":true}}`.
#[test]
fn the_payload_s_hash_is_that_of_its_canonical_form() {
    let payload: Value =
        serde_json::from_str(r#"{"b":{"y":true,"x":null},"a":[1.0,25e-1,"\u00e9"]}"#).unwrap();
    assert_eq!(payload_hash(&payload), "07a7aab2850bf0d507fc256afd037f9c20955103fc5327db30de36a7a9ba2173");
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        ]
    })
}

/// The value as text with the keys of every object in reverse.
fn reversed_text(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let entries =
                object.iter().rev().map(|(key, value)| format!("{}: {}", json!(key), reversed_text(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(" , "))
        }
        Value::Array(items) => {
            format!("[ {} ]", items.iter().map(reversed_text).collect::<Vec<_>>().join(", "))
        }
        leaf => leaf.to_string(),
    }
}

fn conditions_value() -> impl Strategy<Value = Value> {
    use prop::collection::vec;
    use prop::option::of;
    let channels = of(vec(prop::sample::select(vec!["whatsapp", "instagram", "messenger", "email"]), 0..5));
    let statuses = of(vec(prop::sample::select(vec!["open", "pending", "resolved"]), 0..4));
    let tags = of(vec("[A-Za-z0-9ÄÖß]{1,8}", 0..4));
    let divisions = of(vec(any::<u128>().prop_map(Uuid::from_u128), 0..4));
    (channels, statuses, of(any::<bool>()), tags, divisions, of(any::<bool>())).prop_map(
        |(channels, statuses, unassigned, tags, divisions, hours)| {
            let mut all = json!({
                "channel_in": channels, "status_in": statuses, "assigned_is_null": unassigned,
                "has_any_tags": tags, "division_id_in": divisions, "business_hours_only": hours
            });
            all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            all
        },
    )
}

proptest! {
    #[test]
    fn the_hash_does_not_depend_on_the_order_of_keys(value in json_value()) {
        let again: Value = serde_json::from_str(&reversed_text(&value)).unwrap();
        prop_assert_eq!(payload_hash(&value), payload_hash(&again));
    }

    #[test]
    fn conditions_are_written_as_they_were_read(value in conditions_value()) {
        let conditions = Conditions::parse(&value).unwrap();
        let written = serde_json::to_value(&conditions).unwrap();
        prop_assert_eq!(&written, &value);
        prop_assert_eq!(serde_json::from_value::<Conditions>(written).unwrap(), conditions);
    }

    #[test]
    fn parsing_never_panics(value in json_value(), text in "[{} a-z.]{0,40}") {
        let _ = (Conditions::parse(&value), Action::parse(&value), RuleDefinition::parse(&value));
        if let Ok(template) = Template::parse(&text) {
            prop_assert_eq!(template.source(), text.as_str());
        }
    }
}
