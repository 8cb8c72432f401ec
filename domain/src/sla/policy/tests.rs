use chrono::DateTime;
use uuid::Uuid;

use super::{Policy, choose};
use crate::channel::Channel;

const SALES: Uuid = Uuid::from_u128(0xA);
const SUPPORT: Uuid = Uuid::from_u128(0xB);

fn policy(id: u128, channel: Option<Channel>, division_id: Option<Uuid>) -> Policy {
    Policy {
        id: Uuid::from_u128(id),
        name: format!("policy {id}"),
        first_response_time_secs: 300,
        resolution_time_secs: 3600,
        warning_threshold_pct: 80,
        priority: 0,
        channel,
        division_id,
        is_active: true,
        is_default: false,
        created_at: DateTime::UNIX_EPOCH,
    }
}

fn chosen(policies: &[Policy], channel: Channel, division: Option<Uuid>) -> Option<u128> {
    choose(policies, channel, division).map(|policy| policy.id.as_u128())
}

#[test]
fn the_most_specific_match_wins_over_any_priority() {
    let mut policies = vec![
        Policy { priority: 99, ..policy(1, None, None) },
        Policy { priority: 50, ..policy(2, Some(Channel::Email), None) },
        Policy { priority: 10, ..policy(3, None, Some(SALES)) },
        policy(4, Some(Channel::Email), Some(SALES)),
    ];
    for expected in [4, 3, 2, 1] {
        assert_eq!(chosen(&policies, Channel::Email, Some(SALES)), Some(expected));
        policies.pop();
    }
    assert_eq!(chosen(&policies, Channel::Email, Some(SALES)), None);
}

#[test]
fn a_policy_of_another_channel_or_division_does_not_match() {
    let policies =
        [policy(1, Some(Channel::Email), None), policy(2, None, Some(SALES)), policy(3, None, None)];
    assert_eq!(chosen(&policies, Channel::Whatsapp, Some(SUPPORT)), Some(3));
    assert_eq!(chosen(&policies, Channel::Whatsapp, None), Some(3));
    assert_eq!(chosen(&policies[..2], Channel::Whatsapp, None), None);
}

#[test]
fn equals_are_ordered_by_priority_then_age_then_id() {
    let (older, newer) = (DateTime::UNIX_EPOCH, DateTime::from_timestamp(1, 0).unwrap());
    let by_priority =
        [policy(1, None, None), Policy { priority: 1, created_at: newer, ..policy(2, None, None) }];
    assert_eq!(chosen(&by_priority, Channel::Email, None), Some(2));
    let by_age = [
        Policy { created_at: newer, ..policy(1, None, None) },
        Policy { created_at: older, ..policy(2, None, None) },
    ];
    assert_eq!(chosen(&by_age, Channel::Email, None), Some(2));
    assert_eq!(chosen(&[policy(2, None, None), policy(1, None, None)], Channel::Email, None), Some(1));
}

#[test]
fn the_default_is_for_conversations_that_nothing_matches() {
    let default = Policy { is_default: true, ..policy(1, Some(Channel::Email), None) };
    let policies = [default.clone(), policy(2, Some(Channel::Whatsapp), None)];
    assert_eq!(chosen(&policies, Channel::Whatsapp, None), Some(2));
    assert_eq!(chosen(&policies, Channel::Instagram, None), Some(1));
    assert_eq!(chosen(&[default], Channel::Email, None), Some(1));
}

#[test]
fn inactive_policies_apply_nowhere() {
    let off = |policy: Policy| Policy { is_active: false, ..policy };
    let policies = [
        off(policy(1, Some(Channel::Email), Some(SALES))),
        off(Policy { is_default: true, ..policy(2, None, None) }),
        policy(3, Some(Channel::Email), None),
    ];
    assert_eq!(chosen(&policies, Channel::Email, Some(SALES)), Some(3));
    assert_eq!(chosen(&policies, Channel::Whatsapp, Some(SALES)), None);
}
