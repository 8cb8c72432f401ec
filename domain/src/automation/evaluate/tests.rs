use std::cell::RefCell;

use chrono::TimeDelta;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::automation::schedule::Schedule;
use crate::automation::{EffectiveState, rollout};

/// A Sunday.
fn noon() -> DateTime<Utc> {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn conversation() -> Uuid {
    Uuid::from_u128(2)
}

/// A rule that acts on everything.
fn rule(id: u128) -> Rule {
    let definition = RuleDefinition::parse(&json!({
        "name": format!("rule {id}"), "trigger_type": "message_received_inbound",
        "actions": [{"type": "send_message", "content": {"text": "Hi {{contact.name}}"}}]
    }));
    Rule { id: Uuid::from_u128(id), definition: definition.unwrap(), snoozed_until: None, created_at: noon() }
}

fn rule_with(id: u128, change: impl FnOnce(&mut Rule)) -> Rule {
    let mut rule = rule(id);
    change(&mut rule);
    rule
}

fn conditions(value: Value) -> Conditions {
    Conditions::parse(&value).unwrap()
}

fn facts() -> Facts {
    let payload = json!({
        "conversation": {"id": conversation(), "status": "open", "contact_channel": "whatsapp"},
        "contact": {"name": "Ani"}
    });
    Facts::new(TriggerType::MessageReceivedInbound, payload).unwrap()
}

fn paused() -> Control {
    Control { is_paused: true, ..Control::default() }
}

/// When all gates but those that the rule closes are open, why does it not act?
fn skip_reason(rule: Rule) -> Option<SkipReason> {
    evaluate(&[rule], &facts(), noon(), &Control::default(), &|_, _| true)[0].skip_reason
}

fn closed_schedule() -> Schedule {
    Schedule {
        enabled: true,
        active_weekdays: vec![1],
        start_hour_utc: 9,
        end_hour_utc: 17,
        ..Schedule::default()
    }
}

#[test]
fn an_open_rule_acts() {
    let rules = [rule(1)];
    let outcomes = evaluate(&rules, &facts(), noon(), &Control::default(), &|_, _| false);
    assert!(outcomes[0].acts() && outcomes[0].matched && !outcomes[0].stopped_here);
    assert_eq!(
        serde_json::to_value(&outcomes[0].actions_preview).unwrap(),
        json!([{"type": "send_message", "content": {"text": "Hi Ani"}}])
    );
}

#[test]
fn given_a_pause_then_paused_until_it_ends() {
    let rules = [rule(1)];
    let reason = |control| evaluate(&rules, &facts(), noon(), &control, &|_, _| true)[0].skip_reason;
    assert_eq!(reason(paused()), Some(SkipReason::Paused));
    assert_eq!(reason(Control { paused_until: Some(noon()), ..paused() }), None);
}

#[test]
fn given_a_rule_switched_off_then_inactive() {
    assert_eq!(
        skip_reason(rule_with(1, |rule| rule.definition.is_active = false)),
        Some(SkipReason::Inactive)
    );
}

#[test]
fn given_a_snooze_then_snoozed_until_its_end() {
    let snoozed = |until| skip_reason(rule_with(1, |rule| rule.snoozed_until = Some(until)));
    assert_eq!(snoozed(noon() + TimeDelta::milliseconds(1)), Some(SkipReason::Snoozed));
    assert_eq!(snoozed(noon()), None);
}

#[test]
fn given_a_closed_schedule_then_schedule() {
    let rule = rule_with(1, |rule| rule.definition.schedule_settings = closed_schedule());
    assert_eq!(skip_reason(rule), Some(SkipReason::Schedule));
}

#[test]
fn given_conditions_that_fail_then_conditions_and_each_is_told() {
    let rules = [rule_with(1, |rule| {
        rule.definition.conditions =
            conditions(json!({"channel_in": ["whatsapp"], "status_in": ["resolved"]}));
    })];
    let outcomes = evaluate(&rules, &facts(), noon(), &Control::default(), &|_, _| true);
    let outcome = &outcomes[0];
    assert_eq!((outcome.matched, outcome.skip_reason), (false, Some(SkipReason::Conditions)));
    assert!(outcome.actions_preview.is_empty());
    let told = outcome.explain(&facts());
    assert_eq!((told[0].condition.as_str(), told[0].held), ("channel_in", true));
    assert_eq!(
        told[1],
        ConditionReport {
            condition: "status_in".to_owned(),
            expected: json!(["resolved"]),
            actual: json!("open"),
            held: false
        }
    );
}

#[test]
fn given_a_conversation_outside_the_rollout_then_rollout_and_still_matched() {
    let bucket = rollout::rollout_bucket(Uuid::from_u128(1), conversation());
    let at = |percentage| rule_with(1, |rule| rule.definition.rollout_percentage = percentage);
    let rules = [at(bucket)];
    let outcome = &evaluate(&rules, &facts(), noon(), &Control::default(), &|_, _| true)[0];
    assert_eq!((outcome.matched, outcome.skip_reason), (true, Some(SkipReason::Rollout)));
    assert_eq!(skip_reason(at(bucket + 1)), None);
}

#[test]
fn given_a_cooldown_that_is_taken_then_cooldown_and_still_matched() {
    let rules = [rule_with(1, |rule| rule.definition.cooldown_secs = 60)];
    let asked = RefCell::new(Vec::new());
    let taken = |rule, conversation| {
        asked.borrow_mut().push((rule, conversation));
        false
    };
    let outcome = &evaluate(&rules, &facts(), noon(), &Control::default(), &taken)[0];
    assert_eq!((outcome.matched, outcome.skip_reason), (true, Some(SkipReason::Cooldown)));
    assert_eq!(*asked.borrow(), [(Uuid::from_u128(1), conversation())]);
    let free = &evaluate(&rules, &facts(), noon(), &Control::default(), &|_, _| true)[0];
    assert!(free.acts());
}

/// Opens the gates one after the other: the reason is always the first that is still closed.
#[test]
fn the_reason_is_the_first_closed_gate() {
    let mut rule = rule_with(1, |rule| {
        rule.definition.is_active = false;
        rule.snoozed_until = Some(noon() + TimeDelta::hours(1));
        rule.definition.schedule_settings = closed_schedule();
        rule.definition.conditions = conditions(json!({"status_in": ["resolved"]}));
        rule.definition.rollout_percentage = 1;
        rule.definition.cooldown_secs = 60;
    });
    let reason = |rule: &Rule, control: &Control| {
        evaluate(std::slice::from_ref(rule), &facts(), noon(), control, &|_, _| false)[0].skip_reason
    };
    let running = Control::default();
    assert_eq!(reason(&rule, &paused()), Some(SkipReason::Paused));
    assert_eq!(reason(&rule, &running), Some(SkipReason::Inactive));
    rule.definition.is_active = true;
    assert_eq!(reason(&rule, &running), Some(SkipReason::Snoozed));
    rule.snoozed_until = None;
    assert_eq!(reason(&rule, &running), Some(SkipReason::Schedule));
    rule.definition.schedule_settings.enabled = false;
    assert_eq!(reason(&rule, &running), Some(SkipReason::Conditions));
    rule.definition.conditions = Conditions::default();
    assert_eq!(reason(&rule, &running), Some(SkipReason::Rollout));
    rule.definition.rollout_percentage = 100;
    assert_eq!(reason(&rule, &running), Some(SkipReason::Cooldown));
    rule.definition.cooldown_secs = 0;
    assert_eq!(reason(&rule, &running), None);
}

#[test]
fn reasons_have_the_contract_s_names() {
    use SkipReason::{Conditions, Cooldown, Inactive, Paused, Rollout, Schedule, Snoozed};
    for reason in [Paused, Inactive, Snoozed, Schedule, Conditions, Rollout, Cooldown] {
        assert_eq!(serde_json::to_value(reason).unwrap(), json!(reason.as_str()));
    }
}

#[test]
fn rules_of_another_trigger_are_not_considered() {
    let rules = [rule_with(1, |rule| rule.definition.trigger_type = TriggerType::SlaBreached), rule(2)];
    let outcomes = evaluate(&rules, &facts(), noon(), &Control::default(), &|_, _| true);
    assert_eq!(outcomes.iter().map(|o| o.rule.id).collect::<Vec<_>>(), [Uuid::from_u128(2)]);
}

#[test]
fn higher_priority_first_then_older_then_id() {
    let rules = [
        rule(3),
        rule(2),
        rule_with(4, |rule| rule.created_at = noon() - TimeDelta::days(1)),
        rule_with(9, |rule| rule.definition.priority = 1),
        rule_with(1, |rule| rule.definition.priority = -1),
    ];
    let outcomes = evaluate(&rules, &facts(), noon(), &Control::default(), &|_, _| true);
    let order: Vec<_> = outcomes.iter().map(|outcome| outcome.rule.id.as_u128()).collect();
    assert_eq!(order, [9, 4, 2, 3, 1]);
}

#[test]
fn a_stopping_rule_stops_only_when_it_acts() {
    let stopping = |id, change: fn(&mut Rule)| {
        rule_with(id, |rule| {
            rule.definition.stop_on_match = true;
            change(rule);
        })
    };
    let rules = [
        stopping(1, |rule| rule.definition.is_active = false),
        stopping(2, |rule| rule.definition.conditions = conditions(json!({"status_in": ["resolved"]}))),
        stopping(3, |rule| rule.definition.cooldown_secs = 60),
        stopping(4, |_| {}),
        rule(5),
    ];
    let outcomes = evaluate(&rules, &facts(), noon(), &Control::default(), &|_, _| false);
    let seen: Vec<_> = outcomes.iter().map(|o| (o.rule.id.as_u128(), o.stopped_here)).collect();
    assert_eq!(seen, [(1, false), (2, false), (3, false), (4, true)]);
}

#[test]
fn a_payload_without_a_conversation_passes_the_gates_that_are_about_one() {
    let facts = Facts::new(TriggerType::MessageReceivedInbound, json!({})).unwrap();
    let rules = [rule_with(1, |rule| {
        rule.definition.rollout_percentage = 1;
        rule.definition.cooldown_secs = 60;
    })];
    assert!(evaluate(&rules, &facts, noon(), &Control::default(), &|_, _| false)[0].acts());
}

#[test]
fn a_dry_run_tells_an_author_whether_a_rule_that_is_off_would_match() {
    let off = rule_with(1, |rule| {
        rule.definition.is_active = false;
        rule.definition.conditions = conditions(json!({"status_in": ["open"]}));
    });
    let run = dry_run(&off, &facts(), noon(), &Control::default(), &|_, _| true);
    assert!(run.matched && !run.would_execute);
    assert_eq!(run.skip_reason, Some(SkipReason::Inactive));
    assert_eq!(run.conditions.len(), 1);
    let wire = serde_json::to_value(&run).unwrap();
    assert_eq!(wire["actions_preview"], json!([{"type": "send_message", "content": {"text": "Hi Ani"}}]));
    assert_eq!(wire["skip_reason"], "inactive");
}

#[test]
fn a_dry_run_under_another_trigger_does_not_match() {
    let facts = Facts::new(TriggerType::SlaBreached, json!({})).unwrap();
    let run = dry_run(&rule(1), &facts, noon(), &Control::default(), &|_, _| true);
    assert!(!run.matched && !run.would_execute && run.actions_preview.is_empty());
}

#[test]
fn a_dry_run_request_changes_a_stored_rule_or_makes_a_draft() {
    let request = DryRunRequest::parse(&json!({
        "event_payload": {"status": "open"}, "trigger_type": "status_changed",
        "conditions": {"status_in": ["open"]}, "actions": [{"type": "unassign"}]
    }))
    .unwrap();
    let draft = request.rule(None, noon());
    let run = dry_run(&draft, &request.facts(&draft).unwrap(), noon(), &Control::default(), &|_, _| false);
    assert!(run.matched && run.would_execute);
    let stored = request.rule(Some(rule(7)), noon());
    assert_eq!((stored.id, stored.definition.actions.len()), (Uuid::from_u128(7), 1));
    assert!(!stored.definition.conditions.is_empty());
    let wrong = |body: Value| DryRunRequest::parse(&body).unwrap_err()[0].field.clone();
    assert_eq!(wrong(json!({"rule_id": Uuid::nil()})), "event_payload");
    assert_eq!(wrong(json!({"event_payload": [], "rule_id": Uuid::nil()})), "event_payload");
    assert_eq!(wrong(json!({"event_payload": {}})), "rule_id");
    assert_eq!(wrong(json!({"event_payload": {}, "rule_id": Uuid::nil(), "payload": {}})), "payload");
}

#[test]
fn the_effective_state_is_that_of_the_gates() {
    let on = rule(1);
    let state = EffectiveState::of(&on, &Control::default(), noon());
    assert!(state.effective_active && state.schedule_active);
    let off: [(Rule, Control); 4] = [
        (on.clone(), paused()),
        (rule_with(1, |rule| rule.definition.is_active = false), Control::default()),
        (rule_with(1, |rule| rule.snoozed_until = Some(noon() + TimeDelta::hours(1))), Control::default()),
        (rule_with(1, |rule| rule.definition.schedule_settings = closed_schedule()), Control::default()),
    ];
    for (rule, control) in off {
        assert!(!EffectiveState::of(&rule, &control, noon()).effective_active);
    }
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let condition = prop::sample::select(vec![
        json!({}),
        json!({"status_in": ["open"]}),
        json!({"channel_in": ["email"]}),
        json!({"assigned_is_null": true}),
    ]);
    let flags = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.3));
    (0_u128..1000, -2_i64..3, 0_i64..3, condition, flags, 1_u8..=100).prop_map(
        |(id, priority, age, condition, (is_active, stop, cooling), rollout)| {
            rule_with(id, |rule| {
                rule.created_at = noon() - TimeDelta::days(age);
                rule.definition.priority = priority;
                rule.definition.conditions = conditions(condition);
                rule.definition.is_active = is_active;
                rule.definition.stop_on_match = stop;
                rule.definition.cooldown_secs = i64::from(cooling);
                rule.definition.rollout_percentage = rollout;
            })
        },
    )
}

type Seen = (Uuid, bool, Option<SkipReason>, bool);

fn seen(rules: &[Rule]) -> Vec<Seen> {
    evaluate(rules, &facts(), noon(), &Control::default(), &|rule, _| rule.as_u128() % 2 == 0)
        .iter()
        .map(|outcome| (outcome.rule.id, outcome.matched, outcome.skip_reason, outcome.stopped_here))
        .collect()
}

fn rules_in_two_orders() -> impl Strategy<Value = (Vec<Rule>, Vec<Rule>)> {
    let unique = prop::collection::vec(any_rule(), 0..20).prop_map(|mut rules| {
        rules.sort_by_key(|rule| rule.id);
        rules.dedup_by_key(|rule| rule.id);
        rules
    });
    unique.prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle()))
}

proptest! {
    #[test]
    fn the_order_in_which_rules_are_given_does_not_matter((rules, shuffled) in rules_in_two_orders()) {
        prop_assert_eq!(seen(&rules), seen(&shuffled));
    }

    #[test]
    fn outcomes_keep_their_promises(rules in prop::collection::vec(any_rule(), 0..20)) {
        let outcomes = seen(&rules);
        for (n, (_, matched, reason, stopped)) in outcomes.iter().enumerate() {
            prop_assert_eq!(*matched, reason.is_none_or(|reason| reason > SkipReason::Conditions));
            prop_assert!(!stopped || (reason.is_none() && n + 1 == outcomes.len()));
        }
        let stopped = outcomes.last().is_some_and(|last| last.3);
        prop_assert!(stopped || outcomes.len() == rules.len());
    }
}
