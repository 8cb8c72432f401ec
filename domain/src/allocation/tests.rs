use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use uuid::Uuid;

use super::{AllocationMethod, Candidate, choose};

fn instant(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

fn candidate(id: u128, is_online: bool, open_conversations: u32, idle_since: Option<i64>) -> Candidate {
    Candidate {
        agent_id: Uuid::from_u128(id),
        is_online,
        open_conversations,
        last_assigned_at: idle_since.map(instant),
    }
}

#[test]
fn manual_leaves_the_choice_to_people() {
    assert_eq!(choose(AllocationMethod::Manual, &[candidate(1, true, 0, None)]), None);
}

#[test]
fn nobody_online_leaves_the_conversation_in_the_queue() {
    let offline = [candidate(1, false, 0, None), candidate(2, false, 3, Some(1))];
    assert_eq!(choose(AllocationMethod::RoundRobin, &offline), None);
    assert_eq!(choose(AllocationMethod::LeastBusy, &offline), None);
}

#[test]
fn round_robin_takes_the_longest_idle_whatever_their_load() {
    let team =
        [candidate(1, true, 0, Some(30)), candidate(2, true, 9, Some(10)), candidate(3, false, 0, None)];
    assert_eq!(choose(AllocationMethod::RoundRobin, &team), Some(Uuid::from_u128(2)));
}

#[test]
fn never_assigned_counts_as_idle_longest() {
    let team = [candidate(1, true, 0, Some(-1_000_000)), candidate(2, true, 0, None)];
    assert_eq!(choose(AllocationMethod::RoundRobin, &team), Some(Uuid::from_u128(2)));
    assert_eq!(choose(AllocationMethod::LeastBusy, &team), Some(Uuid::from_u128(2)));
}

#[test]
fn least_busy_takes_the_fewest_open_then_the_longest_idle_then_the_id() {
    let fewest = [candidate(1, true, 2, Some(1)), candidate(2, true, 1, Some(9))];
    assert_eq!(choose(AllocationMethod::LeastBusy, &fewest), Some(Uuid::from_u128(2)));
    let idle = [candidate(1, true, 1, Some(9)), candidate(2, true, 1, Some(1))];
    assert_eq!(choose(AllocationMethod::LeastBusy, &idle), Some(Uuid::from_u128(2)));
    let equal = [candidate(2, true, 1, Some(1)), candidate(1, true, 1, Some(1))];
    assert_eq!(choose(AllocationMethod::LeastBusy, &equal), Some(Uuid::from_u128(1)));
}

proptest! {
    /// Over any number of turns nobody gets a second more than a colleague has not had yet.
    #[test]
    fn round_robin_is_fair(agents in 1_u128..8, turns in 0_usize..60) {
        let mut team: Vec<_> = (0..agents).map(|id| candidate(id, true, 0, None)).collect();
        for turn in 0..turns {
            let chosen = choose(AllocationMethod::RoundRobin, &team).unwrap();
            let agent = team.iter_mut().find(|agent| agent.agent_id == chosen).unwrap();
            agent.open_conversations += 1;
            agent.last_assigned_at = Some(instant(0) + TimeDelta::seconds(turn as i64));
        }
        let loads = team.iter().map(|agent| agent.open_conversations);
        prop_assert!(loads.clone().max().unwrap() - loads.min().unwrap() <= 1);
    }

    #[test]
    fn the_order_of_candidates_does_not_matter(
        mut team in proptest::collection::vec((any::<bool>(), 0_u32..3, proptest::option::of(0_i64..3)), 0..8)
            .prop_map(|rows| rows.into_iter().enumerate()
                .map(|(id, (online, open, idle))| candidate(id as u128, online, open, idle))
                .collect::<Vec<_>>())
    ) {
        for method in [AllocationMethod::RoundRobin, AllocationMethod::LeastBusy] {
            let forward = choose(method, &team);
            team.reverse();
            prop_assert_eq!(choose(method, &team), forward);
        }
    }
}
