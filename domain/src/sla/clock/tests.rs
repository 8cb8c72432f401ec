//! Given facts, when time passes, then status and marks.

mod laws;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

use super::*;
use crate::working_hours::DaySchedule;

const MARKS: [(ClockType, MarkLevel); 4] = [
    (ClockType::FirstResponse, MarkLevel::Warning),
    (ClockType::FirstResponse, MarkLevel::Breach),
    (ClockType::Resolution, MarkLevel::Warning),
    (ClockType::Resolution, MarkLevel::Breach),
];

/// Seconds after Monday 2024-01-08 09:00 UTC.
fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_704_704_400 + seconds, 0).unwrap()
}

fn micros(count: i64) -> TimeDelta {
    TimeDelta::microseconds(count)
}

/// First response 300 s, resolution 3600 s, warning at 80 %.
fn terms(policy: u128) -> Terms {
    Terms {
        policy_id: Uuid::from_u128(policy),
        policy_name: format!("policy {policy}"),
        first_response_time_secs: 300,
        resolution_time_secs: 3600,
        warning_threshold_pct: 80,
    }
}

fn always() -> WorkingHours {
    WorkingHours::always(Tz::UTC)
}

fn started() -> SlaFact {
    SlaFact::Started { terms: Some(terms(1)), hours: always() }
}

fn applied(policy: u128) -> SlaFact {
    SlaFact::PolicyApplied { terms: terms(policy), hours: always() }
}

fn given(facts: &[(i64, SlaFact)]) -> SlaState {
    let mut state = SlaState::default();
    for (seconds, fact) in facts {
        state.evolve(fact, at(*seconds));
    }
    state
}

fn key(policy: u128, (clock, level): (ClockType, MarkLevel), cycle: u32) -> MarkKey {
    MarkKey { policy_id: Uuid::from_u128(policy), clock, level, cycle }
}

fn due(state: &SlaState, seconds: i64) -> Vec<(MarkKey, DateTime<Utc>)> {
    state.due(at(seconds)).into_iter().map(|mark| (mark.key, mark.passed_at)).collect()
}

/// The log records all that is due.
fn record_due(state: &mut SlaState, now: DateTime<Utc>) -> Vec<SlaMark> {
    let due = state.due(now);
    for mark in &due {
        state.evolve(&SlaFact::MarkRecorded(mark.key), now);
    }
    due
}

fn first_response(state: &SlaState, seconds: i64) -> (ClockStatus, i64) {
    let status = state.status_at(at(seconds)).unwrap();
    (status.frt_status, status.frt_elapsed_secs)
}

fn resolution(state: &SlaState, seconds: i64) -> (ClockStatus, i64) {
    let status = state.status_at(at(seconds)).unwrap();
    (status.resolution_status, status.resolution_elapsed_secs)
}

#[test]
fn warning_is_from_its_share_on_and_breach_is_beyond_the_threshold() {
    let state = given(&[(0, started()), (0, SlaFact::CustomerMessage)]);
    assert_eq!(first_response(&state, 239), (ClockStatus::Ok, 239));
    assert_eq!(first_response(&state, 240), (ClockStatus::Warning, 240));
    assert_eq!(first_response(&state, 300), (ClockStatus::Warning, 300));
    assert_eq!(first_response(&state, 301), (ClockStatus::Breached, 301));
    assert_eq!(state.status_at(at(301) - micros(1)).unwrap().frt_status, ClockStatus::Warning);
}

#[test]
fn a_share_that_is_no_whole_second_rounds_up() {
    let odd = Terms { first_response_time_secs: 5, warning_threshold_pct: 50, ..terms(1) };
    let start = SlaFact::Started { terms: Some(odd), hours: always() };
    let state = given(&[(0, start), (0, SlaFact::CustomerMessage)]);
    assert_eq!(
        (first_response(&state, 2).0, first_response(&state, 3).0),
        (ClockStatus::Ok, ClockStatus::Warning)
    );
}

#[test]
fn extreme_terms_do_not_overflow() {
    let extreme = Terms {
        first_response_time_secs: i64::MAX,
        resolution_time_secs: i64::MAX,
        warning_threshold_pct: i64::MAX,
        ..terms(1)
    };
    let start = SlaFact::Started { terms: Some(extreme), hours: always() };
    let state = given(&[(0, start), (0, SlaFact::CustomerMessage)]);
    assert_eq!(first_response(&state, 9), (ClockStatus::Ok, 9));
    assert_eq!(state.next_deadline(), None);
}

#[test]
fn first_response_waits_for_the_customer_and_ends_with_the_human_reply() {
    let mut state = given(&[(0, started()), (10, SlaFact::HumanReply)]);
    assert_eq!(first_response(&state, 100), (ClockStatus::Ok, 0));
    state.evolve(&SlaFact::CustomerMessage, at(100));
    state.evolve(&SlaFact::CustomerMessage, at(150));
    assert_eq!(first_response(&state, 160), (ClockStatus::Ok, 60));
    state.evolve(&SlaFact::HumanReply, at(170));
    state.evolve(&SlaFact::CustomerMessage, at(200));
    assert_eq!(first_response(&state, 9999), (ClockStatus::Ok, 70));
    assert!(due(&state, 9999).iter().all(|(key, _)| key.clock == ClockType::Resolution));
}

#[test]
fn pending_pauses_resolution_only() {
    let state = given(&[
        (0, started()),
        (0, SlaFact::CustomerMessage),
        (100, SlaFact::Pending),
        (150, SlaFact::Open),
    ]);
    assert_eq!((first_response(&state, 200).1, resolution(&state, 200).1), (200, 150));
}

#[test]
fn reopening_goes_on_with_what_had_run() {
    let mut state = given(&[
        (0, started()),
        (0, SlaFact::CustomerMessage),
        (50, SlaFact::HumanReply),
        (100, SlaFact::Resolved),
    ]);
    assert_eq!(resolution(&state, 5000), (ClockStatus::Ok, 100));
    assert_eq!(state.next_deadline(), None);
    state.evolve(&SlaFact::CustomerMessage, at(5000));
    state.evolve(&SlaFact::Open, at(5000));
    assert_eq!((resolution(&state, 5030).1, first_response(&state, 5030).1), (130, 50));
    assert_eq!(state.cycle(), 2);
    let next = state.next_deadline().unwrap();
    assert_eq!(
        (next.clock, next.level, next.at),
        (ClockType::Resolution, MarkLevel::Warning, at(5000 + 2780))
    );
}

#[test]
fn nobody_waits_for_a_first_response_while_resolved() {
    let mut state = given(&[(0, started()), (0, SlaFact::CustomerMessage), (100, SlaFact::Resolved)]);
    assert_eq!(first_response(&state, 9999), (ClockStatus::Ok, 100));
    state.evolve(&SlaFact::Open, at(10_000));
    assert_eq!(first_response(&state, 10_050), (ClockStatus::Ok, 150));
}

#[test]
fn the_next_deadline_is_the_earliest_mark_not_recorded() {
    let mut state = given(&[(0, started()), (0, SlaFact::CustomerMessage)]);
    for (mark, seconds) in MARKS.into_iter().zip([240, 301, 2880, 3601]) {
        let next = state.next_deadline().unwrap();
        assert_eq!((next.clock, next.level, next.at), (mark.0, mark.1, at(seconds)));
        assert_eq!(state.due(at(seconds) - micros(1)), []);
        assert_eq!(due(&state, seconds), [(key(1, mark, 1), at(seconds))]);
        record_due(&mut state, at(seconds));
    }
    assert_eq!(state.next_deadline(), None);
    assert_eq!(state.due(at(99_999)), []);
}

#[test]
fn a_late_reply_does_not_hide_the_breach() {
    let mut state = given(&[(0, started()), (0, SlaFact::CustomerMessage), (500, SlaFact::HumanReply)]);
    let found = state.due(at(500));
    let breach = found.iter().find(|mark| mark.key.level == MarkLevel::Breach).unwrap();
    assert_eq!((breach.passed_at, breach.actual_secs, breach.threshold_secs), (at(301), 500, 300));
    assert_eq!(state.next_deadline().unwrap().at, at(240));
    assert_eq!(record_due(&mut state, at(600)).len(), 2);
    assert_eq!(state.due(at(2000)), []);
}

#[test]
fn a_reply_at_the_instant_of_the_breach_is_too_late() {
    let state = given(&[(0, started()), (0, SlaFact::CustomerMessage), (301, SlaFact::HumanReply)]);
    let expected = [(key(1, MARKS[0], 1), at(240)), (key(1, MARKS[1], 1), at(301))];
    assert_eq!(due(&state, 2000), expected);
}

#[test]
fn a_reply_in_time_leaves_no_breach() {
    let state = given(&[(0, started()), (0, SlaFact::CustomerMessage), (300, SlaFact::HumanReply)]);
    assert_eq!(due(&state, 2000), [(key(1, MARKS[0], 1), at(240))]);
}

#[test]
fn a_reopened_conversation_past_its_threshold_is_in_breach_again() {
    let mut state = given(&[(0, started()), (0, SlaFact::CustomerMessage), (1, SlaFact::HumanReply)]);
    record_due(&mut state, at(4000));
    state.evolve(&SlaFact::Resolved, at(4000));
    assert_eq!(state.due(at(8000)), []);
    state.evolve(&SlaFact::Open, at(9000));
    // One breach, without a warning that has nothing left to warn of.
    assert_eq!(due(&state, 9000), [(key(1, MARKS[3], 2), at(9000))]);
    record_due(&mut state, at(9000));
    assert_eq!(state.next_deadline(), None);
}

#[test]
fn what_an_earlier_cycle_owes_is_not_forgotten() {
    let mut state =
        given(&[(0, started()), (0, SlaFact::Open), (4000, SlaFact::Resolved), (9000, SlaFact::Open)]);
    let expected =
        [(key(1, MARKS[2], 1), at(2880)), (key(1, MARKS[3], 1), at(3601)), (key(1, MARKS[3], 2), at(9000))];
    assert_eq!(due(&state, 9500), expected);
    assert_eq!(
        state.due(at(9500)).iter().map(|mark| mark.actual_secs).collect::<Vec<_>>(),
        [4000, 4000, 4500]
    );
    assert_eq!(record_due(&mut state, at(9500)).len(), 3);
    assert_eq!(state.due(at(99_999)), []);
}

#[test]
fn only_the_first_start_counts() {
    let other = SlaFact::Started { terms: Some(terms(2)), hours: always() };
    let state = given(&[(0, started()), (10, other)]);
    assert_eq!(state.terms(), Some(&terms(1)));
}

#[test]
fn an_applied_policy_counts_what_has_run_and_is_judged_from_then_on() {
    let strict = Terms { resolution_time_secs: 60, first_response_time_secs: 60, ..terms(2) };
    let mut state = given(&[(0, started()), (0, SlaFact::CustomerMessage)]);
    state.evolve(&SlaFact::PolicyApplied { terms: strict, hours: always() }, at(100));
    assert_eq!(first_response(&state, 100), (ClockStatus::Breached, 100));
    assert_eq!(due(&state, 100), [(key(2, MARKS[1], 1), at(100)), (key(2, MARKS[3], 1), at(100))]);
}

#[test]
fn a_replaced_policy_still_owes_its_breach_and_each_policy_has_one() {
    let mut state = given(&[(0, started()), (0, SlaFact::CustomerMessage), (400, applied(2))]);
    let found: Vec<_> = record_due(&mut state, at(400)).iter().map(|mark| mark.key).collect();
    assert_eq!(found, [key(1, MARKS[0], 1), key(1, MARKS[1], 1), key(2, MARKS[1], 1)]);
    state.evolve(&applied(1), at(500));
    assert_eq!(state.due(at(500)), []);
}

#[test]
fn applying_what_is_in_force_changes_nothing() {
    let facts = [(0, started()), (0, SlaFact::CustomerMessage)];
    let mut state = given(&facts);
    state.evolve(&applied(1), at(400));
    assert_eq!(state, given(&facts));
}

#[test]
fn without_a_policy_time_runs_but_is_not_judged() {
    let start = SlaFact::Started { terms: None, hours: always() };
    let mut state = given(&[(0, start), (0, SlaFact::CustomerMessage)]);
    assert_eq!((state.status_at(at(999)), state.next_deadline()), (None, None));
    state.evolve(&applied(1), at(200));
    assert_eq!(first_response(&state, 200), (ClockStatus::Ok, 200));
    assert_eq!(state.next_deadline().unwrap().at, at(240));
}

#[test]
fn all_days_closed_means_no_deadline() {
    let closed = DaySchedule {
        day_of_week: 1,
        start_time: "09:00".into(),
        end_time: "17:00".into(),
        is_active: false,
    };
    let never = WorkingHours::weekly(Tz::UTC, &[closed]).unwrap();
    let start = SlaFact::Started { terms: Some(terms(1)), hours: never };
    let state = given(&[(0, start), (0, SlaFact::CustomerMessage)]);
    assert_eq!(state.next_deadline(), None);
    assert_eq!(first_response(&state, 99_999_999), (ClockStatus::Ok, 0));
}

#[test]
fn clocks_stand_still_outside_working_hours() {
    let monday_morning =
        DaySchedule { day_of_week: 1, start_time: "09:00".into(), end_time: "09:05".into(), is_active: true };
    let hours = WorkingHours::weekly(Tz::UTC, &[monday_morning]).unwrap();
    let start = SlaFact::Started { terms: Some(terms(1)), hours };
    let mut state = given(&[(0, start), (0, SlaFact::CustomerMessage)]);
    record_due(&mut state, at(240));
    assert_eq!(first_response(&state, 86_400), (ClockStatus::Warning, 300));
    let week = 7 * 86_400;
    assert_eq!(state.next_deadline().unwrap().at, at(week + 1));
}

#[test]
fn facts_before_anything_is_pinned_are_bounded_and_keep_the_last_status() {
    let mut state = given(&[(0, SlaFact::CustomerMessage)]);
    for turn in 0..2000 {
        state.evolve(&SlaFact::Pending, at(2 * turn + 1));
        state.evolve(&SlaFact::CustomerMessage, at(2 * turn + 1));
        state.evolve(&SlaFact::Open, at(2 * turn + 2));
    }
    assert_eq!(state.early.len(), MAX_EARLY_FACTS);
    state.evolve(&SlaFact::Resolved, at(5000));
    state.evolve(&SlaFact::HumanReply, at(5000));
    state.evolve(&started(), at(5000));
    assert!(state.early.is_empty());
    assert_eq!(state.phase, Some(Phase::Resolved));
    assert_eq!(first_response(&state, 9000), (ClockStatus::Breached, 5000));
}

#[test]
fn a_key_reads_as_text() {
    let text = key(1, MARKS[3], 2).to_string();
    assert_eq!(text, "00000000-0000-0000-0000-000000000001:resolution:breach:2");
}
