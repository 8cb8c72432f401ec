use super::*;
use crate::refusal::{Reason, Refusal};
use serde_json::json;

#[test]
fn without_a_plan() {
    let free = Limits::effective(None, None);
    assert_eq!(free, Limits::free_tier());
    let expected = json!({
        "max_agents": 10, "max_contacts": 10_000, "max_messages_month": 10_000, "max_channels": null, "max_ai_agents": 1,
    });
    assert_eq!(serde_json::to_value(&free).unwrap(), expected);
}

#[test]
fn a_plan_stands_for_all_and_a_tenants_own_limits_for_what_they_name() {
    let plan = Limits::default().with(LimitName::MaxAgents, Some(5)).with(LimitName::MaxContacts, Some(100));
    let own = Limits::default().with(LimitName::MaxAgents, Some(8)).with(LimitName::MaxContacts, None);
    let get = |own, plan, name| Limits::effective(own, plan).get(name);
    assert_eq!(get(None, Some(&plan), LimitName::MaxAgents), Some(5));
    assert_eq!(get(None, Some(&plan), LimitName::MaxAiAgents), None, "not mentioned is not limited");
    assert_eq!(get(Some(&own), Some(&plan), LimitName::MaxAgents), Some(8));
    assert_eq!(
        get(Some(&own), Some(&plan), LimitName::MaxContacts),
        None,
        "an explicit null lifts the limit"
    );
    assert_eq!(get(Some(&own), None, LimitName::MaxAiAgents), Some(1));
}

#[test]
fn the_last_one_fits_and_the_next_is_refused_by_name() {
    let limits = Limits::free_tier();
    assert_eq!(limits.check(LimitName::MaxAgents, 9, 1), Ok(()));
    let reached = LimitReached { name: LimitName::MaxAgents, allowed: 10, current: 10 };
    assert_eq!(limits.check(LimitName::MaxAgents, 10, 1), Err(reached));
    assert_eq!(limits.check(LimitName::MaxContacts, 9_990, 11).map_err(|error| error.current), Err(9_990));
    assert_eq!(limits.check(LimitName::MaxChannels, u64::MAX, 1), Ok(()));
    assert_eq!(limits.check(LimitName::MaxAgents, 50, 0), Ok(()), "what is there stays after a downgrade");
    let refusal = Refusal::from(reached);
    assert_eq!((refusal.reason, refusal.code), (Reason::Conflict, "limit_reached"));
    let text = "The plan's limit max_agents is reached: 10 agents are allowed and there are 10.";
    assert_eq!(refusal.detail, text);
}

#[test]
fn messages_with_a_price_are_charged_and_without_one_refused() {
    let limits = Limits::free_tier();
    assert!(limits.check_messages(Decimal::ZERO, 10_000, 1).is_err());
    assert_eq!(limits.check_messages(decimal("50"), 10_000, 1), Ok(()));
    assert_eq!(limits.overage(LimitName::MaxMessagesMonth, 10_000), 0);
    assert_eq!(limits.overage(LimitName::MaxMessagesMonth, 10_250), 250);
    assert_eq!(limits.overage(LimitName::MaxChannels, 10_250), 0);
}

#[test]
fn limits_of_a_request_are_read_strictly() {
    let parse = |value: serde_json::Value| Limits::parse("limits", value.as_object().unwrap());
    let limits = parse(json!({"max_agents": 0, "max_channels": null})).unwrap();
    assert_eq!((limits.get(LimitName::MaxAgents), limits.get(LimitName::MaxChannels)), (Some(0), None));
    let bad = json!({"max_agent": 5, "max_agents": -1, "max_contacts": 1.5, "max_channels": "3", "max_ai_agents": 2});
    let mut fields: Vec<String> = parse(bad).unwrap_err().into_iter().map(|problem| problem.field).collect();
    fields.sort();
    assert_eq!(
        fields,
        ["limits.max_agent", "limits.max_agents", "limits.max_channels", "limits.max_contacts"]
    );
}

proptest! {
    #[test]
    fn adding_one_by_one_stops_exactly_at_the_limit(allowed in 0_u64..200, tries in 0_u64..400) {
        let limits = Limits::default().with(LimitName::MaxAgents, Some(allowed));
        let count = (0..tries).fold(0, |count, _| count + u64::from(limits.check(LimitName::MaxAgents, count, 1).is_ok()));
        prop_assert_eq!(count, allowed.min(tries));
    }

    #[test]
    fn used_is_what_is_allowed_and_what_is_over(allowed in any::<u64>(), used in any::<u64>()) {
        let limits = Limits::default().with(LimitName::MaxMessagesMonth, Some(allowed));
        let over = limits.overage(LimitName::MaxMessagesMonth, used);
        prop_assert_eq!(used.min(allowed) + over, used);
    }
}
