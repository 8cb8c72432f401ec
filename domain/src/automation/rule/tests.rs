use chrono::TimeDelta;
use serde_json::json;

use super::*;

fn noon() -> DateTime<Utc> {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn least() -> Value {
    json!({"name": "Greet", "trigger_type": "conversation_created", "actions": [{"type": "unassign"}]})
}

fn fields(problems: Problems) -> Vec<String> {
    problems.into_iter().map(|problem| problem.field).collect()
}

/// The least rule with one field more, or another value in it.
fn with(name: &str, value: Value) -> Value {
    let mut body = least();
    body[name] = value;
    body
}

#[test]
fn the_rest_has_the_contract_s_defaults() {
    let rule = RuleDefinition::parse(&least()).unwrap();
    assert!(rule.is_active && !rule.stop_on_match && rule.conditions.is_empty());
    assert_eq!((rule.priority, rule.rollout_percentage, rule.cooldown_secs), (0, 100, 0));
    assert_eq!(rule.description, "");
    assert_eq!(rule.schedule_settings, Schedule::default());
    assert_eq!(rule.alert_settings, AlertSettings::default());
}

#[test]
fn what_is_required_is_asked_for() {
    assert_eq!(fields(RuleDefinition::parse(&json!({})).unwrap_err()), ["name", "trigger_type", "actions"]);
    assert!(RuleDefinition::parse(&json!([])).is_err());
}

#[test]
fn every_field_has_its_range() {
    for (name, bad) in [
        ("name", json!("  ")),
        ("name", json!("x".repeat(MAX_NAME_CHARS + 1))),
        ("description", json!(5)),
        ("description", json!("x".repeat(MAX_DESCRIPTION_CHARS + 1))),
        ("is_active", json!("true")),
        ("trigger_type", json!("message_sent")),
        ("conditions", json!([])),
        ("actions", json!([])),
        ("priority", json!(MAX_PRIORITY + 1)),
        ("priority", json!(1.5)),
        ("rollout_percentage", json!(0)),
        ("rollout_percentage", json!(101)),
        ("stop_on_match", json!(null)),
        ("cooldown_secs", json!(-1)),
        ("cooldown_secs", json!(MAX_COOLDOWN_SECS + 1)),
        ("colour", json!("red")),
    ] {
        let body = with(name, bad);
        assert_eq!(fields(RuleDefinition::parse(&body).unwrap_err()), [name], "{body}");
        assert_eq!(fields(RulePatch::parse(&body).unwrap_err()), [name], "{body}");
    }
    for (name, good) in [
        ("priority", json!(MIN_PRIORITY)),
        ("rollout_percentage", json!(1)),
        ("cooldown_secs", json!(MAX_COOLDOWN_SECS)),
    ] {
        assert!(RuleDefinition::parse(&with(name, good)).is_ok(), "{name}");
    }
}

#[test]
fn problems_deep_inside_keep_their_path() {
    let body = json!({
        "name": "", "trigger_type": "status_changed",
        "conditions": {"status_in": ["closed"]},
        "actions": [{"type": "unassign"}, {"type": "assign_agent", "agent": "x"}],
        "schedule_settings": {"enabled": true}
    });
    let found = fields(RuleDefinition::parse(&body).unwrap_err());
    for field in [
        "name",
        "conditions.status_in[0]",
        "actions[1].agent_id",
        "actions[1].agent",
        "schedule_settings.invert",
        "schedule_settings.active_weekdays",
    ] {
        assert!(found.iter().any(|f| f == field), "{field} in {found:?}");
    }
}

#[test]
fn a_patch_changes_what_it_names() {
    let rule = RuleDefinition::parse(&least()).unwrap();
    let patch = RulePatch::parse(&json!({"name": " Hello ", "priority": 5})).unwrap();
    let changed = rule.with(patch.clone());
    assert_eq!((changed.name.as_str(), changed.priority), ("Hello", 5));
    assert_eq!(RuleDefinition { name: rule.name.clone(), priority: 0, ..changed }, rule);
    assert_eq!(rule.with(RulePatch::parse(&json!({})).unwrap()), rule);
    assert_eq!(serde_json::to_value(patch).unwrap(), json!({"name": "Hello", "priority": 5}));
}

#[test]
fn a_rule_is_flat_on_the_wire_and_reads_back() {
    let definition = RuleDefinition::parse(&with("conditions", json!({"has_any_tags": ["VIP"]}))).unwrap();
    let rule = Rule { id: Uuid::from_u128(1), definition, snoozed_until: None, created_at: noon() };
    let value = serde_json::to_value(&rule).unwrap();
    assert_eq!(value["conditions"], json!({"has_any_tags": ["VIP"]}));
    assert_eq!(value["actions"], json!([{"type": "unassign"}]));
    assert_eq!(value["schedule_settings"]["end_hour_utc"], 24);
    assert!(value.get("snoozed_until").is_none());
    assert_eq!(serde_json::from_value::<Rule>(value).unwrap(), rule);
}

#[test]
fn references_are_listed_by_path() {
    let id = Uuid::from_u128(9);
    let body = json!({
        "name": "x", "trigger_type": "status_changed", "conditions": {"division_id_in": [id]},
        "actions": [{"type": "unassign"}, {"type": "apply_sla", "policy_id": id}]
    });
    let expected = [
        Reference { field: "conditions.division_id_in[0]".to_owned(), kind: ReferenceKind::Division, id },
        Reference { field: "actions[1].policy_id".to_owned(), kind: ReferenceKind::SlaPolicy, id },
    ];
    assert_eq!(RuleDefinition::parse(&body).unwrap().references(), expected);
    assert_eq!(RulePatch::parse(&body).unwrap().references(), expected);
    assert_eq!(RulePatch::parse(&json!({"name": "y"})).unwrap().references(), []);
}

#[test]
fn operations_on_one_part_know_only_that() {
    let patch = RulePatch::parse_only("rollout_percentage", &json!({"rollout_percentage": 30})).unwrap();
    assert_eq!(patch, RulePatch { rollout_percentage: Some(30), ..RulePatch::default() });
    let wrong = |body: Value| fields(RulePatch::parse_only("is_active", &body).unwrap_err());
    assert_eq!(wrong(json!({})), ["is_active"]);
    assert_eq!(wrong(json!({"is_active": true, "name": "x"})), ["name"]);
    assert_eq!(wrong(json!({"is_active": 1})), ["is_active"]);
    assert_eq!(wrong(json!(true)), [""]);
}

#[test]
fn a_snooze_ends_in_the_future() {
    let later = noon() + TimeDelta::hours(1);
    assert_eq!(parse_snooze(&json!({ "snoozed_until": later }), noon()).unwrap(), later);
    for bad in [json!({ "snoozed_until": noon() }), json!({"snoozed_until": "tomorrow"}), json!({})] {
        assert_eq!(fields(parse_snooze(&bad, noon()).unwrap_err()), ["snoozed_until"], "{bad}");
    }
    let id = Uuid::from_u128(1);
    let bulk = parse_snooze_bulk(&json!({"rule_ids": [id], "snoozed_until": later}), noon());
    assert_eq!(bulk.unwrap(), (vec![id], later));
    let none = parse_snooze_bulk(&json!({"rule_ids": [], "snoozed_until": later}), noon());
    assert_eq!(fields(none.unwrap_err()), ["rule_ids"]);
    let bad = parse_snooze_bulk(&json!({"rule_ids": [id, "x"], "snoozed_until": later}), noon());
    assert_eq!(fields(bad.unwrap_err()), ["rule_ids[1]"]);
}
