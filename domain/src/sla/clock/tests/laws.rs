//! What holds for every history.

use proptest::prelude::*;

use super::*;
use crate::working_hours::tests::{any_hours, any_instant};

#[derive(Debug, Clone)]
struct History {
    hours: WorkingHours,
    terms: Terms,
    facts: Vec<(SlaFact, DateTime<Utc>)>,
    end: DateTime<Utc>,
}

fn any_terms() -> impl Strategy<Value = Terms> {
    (1_i64..200_000, 1_i64..400_000, 1_i64..=100).prop_map(|(first, resolution, pct)| Terms {
        first_response_time_secs: first,
        resolution_time_secs: resolution,
        warning_threshold_pct: pct,
        ..terms(1)
    })
}

fn any_fact() -> impl Strategy<Value = SlaFact> {
    prop_oneof![
        2 => Just(SlaFact::CustomerMessage),
        1 => Just(SlaFact::HumanReply),
        2 => Just(SlaFact::Open),
        1 => Just(SlaFact::Pending),
        1 => Just(SlaFact::Resolved),
    ]
}

/// Up to a dozen facts, minutes to days apart, without the start.
fn any_history() -> impl Strategy<Value = History> {
    let gap = prop_oneof![Just(0), 0_i64..3_600_000_000, 0_i64..4 * 86_400_000_000];
    let steps = proptest::collection::vec((any_fact(), gap.clone()), 1..12);
    (any_hours(), any_terms(), any_instant(), steps, gap).prop_map(|(hours, terms, from, steps, last)| {
        let mut now = from;
        let facts = steps.into_iter().map(|(fact, gap)| {
            now += micros(gap);
            (fact, now)
        });
        let facts: Vec<_> = facts.collect();
        History { hours, terms, facts, end: now + micros(last) }
    })
}

impl History {
    fn start(&self) -> SlaFact {
        SlaFact::Started { terms: Some(self.terms.clone()), hours: self.hours.clone() }
    }

    /// The facts with the start as number `place`.
    fn started_at(&self, place: usize) -> Vec<(SlaFact, DateTime<Utc>)> {
        let place = place % (self.facts.len() + 1);
        let when = if place == 0 { self.facts[0].1 } else { self.facts[place - 1].1 };
        let mut facts = self.facts.clone();
        facts.insert(place, (self.start(), when));
        facts
    }

    fn fold(&self, place: usize) -> SlaState {
        let mut state = SlaState::default();
        for (fact, at) in self.started_at(place) {
            state.evolve(&fact, at);
        }
        state
    }

    /// The definition of both clocks, interval by interval, in whole seconds.
    fn expected(&self) -> (i64, i64) {
        let (mut asked, mut answered, mut status) = (false, false, SlaFact::Open);
        let (mut first, mut resolution) = (TimeDelta::zero(), TimeDelta::zero());
        let ends = self.facts.iter().skip(1).map(|(_, at)| *at).chain([self.end]);
        for ((fact, from), to) in self.facts.iter().zip(ends) {
            match fact {
                SlaFact::CustomerMessage => asked = true,
                SlaFact::HumanReply => answered |= asked,
                other => status = other.clone(),
            }
            let worked = self.hours.elapsed(*from, to);
            if asked && !answered && status != SlaFact::Resolved {
                first += worked;
            }
            if status == SlaFact::Open {
                resolution += worked;
            }
        }
        (first.num_seconds(), resolution.num_seconds())
    }
}

/// A timer that looks on time: between facts it records each mark at the instant it is passed.
fn on_time(history: &History) -> Vec<(MarkKey, DateTime<Utc>)> {
    let mut state = SlaState::default();
    let mut found = Vec::new();
    let end = (SlaFact::MarkRecorded(key(9, MARKS[0], 1)), history.end);
    for (fact, at) in history.started_at(0).into_iter().chain([end]) {
        while let Some(next) = state.next_deadline().filter(|next| next.at < at) {
            let marks = record_due(&mut state, next.at);
            assert!(!marks.is_empty(), "a deadline at which nothing is due");
            found.extend(marks.iter().map(|mark| (mark.key, mark.passed_at)));
        }
        state.evolve(&fact, at);
    }
    found.extend(record_due(&mut state, history.end).iter().map(|mark| (mark.key, mark.passed_at)));
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_status_is_what_the_intervals_add_up_to(history in any_history()) {
        let status = history.fold(0).status_at(history.end).unwrap();
        prop_assert_eq!((status.frt_elapsed_secs, status.resolution_elapsed_secs), history.expected());
        let judge = |elapsed: i64, threshold: i64| {
            if elapsed > threshold { ClockStatus::Breached }
            else if elapsed * 100 >= threshold * history.terms.warning_threshold_pct { ClockStatus::Warning }
            else { ClockStatus::Ok }
        };
        prop_assert_eq!(status.frt_status, judge(status.frt_elapsed_secs, status.frt_threshold_secs));
        prop_assert_eq!(status.resolution_status, judge(status.resolution_elapsed_secs, status.resolution_threshold_secs));
    }

    #[test]
    fn a_start_that_comes_late_is_as_good(history in any_history(), place in 0_usize..13) {
        let (late, first) = (history.fold(place), history.fold(0));
        prop_assert_eq!(late.status_at(history.end), first.status_at(history.end));
        prop_assert_eq!(late.due(history.end), first.due(history.end));
        prop_assert_eq!(late.next_deadline(), first.next_deadline());
    }

    #[test]
    fn asking_and_storing_in_between_change_nothing(history in any_history()) {
        let mut state = SlaState::default();
        for (fact, at) in history.started_at(2) {
            state.evolve(&fact, at);
            let _ = state.status_at(at);
            let _ = state.due(at);
            let stored = serde_json::to_value(&state).unwrap();
            state = serde_json::from_value(stored).unwrap();
        }
        prop_assert_eq!(state, history.fold(2));
    }

    #[test]
    fn late_finds_what_on_time_finds(history in any_history()) {
        let mut late = record_due(&mut history.fold(0), history.end);
        late.sort_by_key(|mark| (mark.passed_at, mark.key));
        let late: Vec<_> = late.into_iter().map(|mark| (mark.key, mark.passed_at)).collect();
        let mut prompt = on_time(&history);
        prompt.sort_by_key(|(key, at)| (*at, *key));
        prop_assert_eq!(prompt, late);
    }

    #[test]
    fn each_mark_is_recorded_once(history in any_history()) {
        let found = on_time(&history);
        let keys: BTreeSet<_> = found.iter().map(|(key, _)| *key).collect();
        prop_assert_eq!(keys.len(), found.len());
    }

    #[test]
    fn a_breached_clock_has_its_breach_due_and_no_other_has(history in any_history()) {
        let state = history.fold(0);
        let status = state.status_at(history.end).unwrap();
        let due = state.due(history.end);
        for (clock, shown) in [
            (ClockType::FirstResponse, status.frt_status),
            (ClockType::Resolution, status.resolution_status),
        ] {
            let cycle = if clock == ClockType::Resolution { state.cycle() } else { 1 };
            let has = |level| due.iter().any(|mark| mark.key == key(1, (clock, level), cycle));
            prop_assert_eq!(shown == ClockStatus::Breached, has(MarkLevel::Breach));
            prop_assert!(shown != ClockStatus::Ok || !has(MarkLevel::Warning));
            prop_assert!(shown != ClockStatus::Warning || has(MarkLevel::Warning));
        }
    }

    #[test]
    fn a_deadline_to_come_is_exact_to_the_microsecond(history in any_history()) {
        let mut state = history.fold(0);
        record_due(&mut state, history.end);
        if let Some(next) = state.next_deadline() {
            prop_assert!(next.at > history.end);
            let read = |at| {
                let status = state.status_at(at).unwrap();
                if next.clock == ClockType::FirstResponse { status.frt_status } else { status.resolution_status }
            };
            let reached = match next.level {
                MarkLevel::Warning => ClockStatus::Warning,
                MarkLevel::Breach => ClockStatus::Breached,
            };
            prop_assert_eq!(read(next.at), reached);
            prop_assert_ne!(read(next.at - micros(1)), reached);
        }
    }
}
