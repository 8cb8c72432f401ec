//! Decisions about a conversation's service level.

use chrono::{DateTime, Utc};
use domain::aggregate::Aggregate;
use domain::conversation::{Conversation, ConversationEvent};
use domain::refusal::Refusal;
use domain::sla::{MarkLevel, Policy, Terms, choose};
use domain::working_hours::WorkingHours;

use crate::store::Decision;

/// Pins the policy that fits, and the hours that hold; with it whatever is overdue already.
///
/// # Errors
/// When there is no such conversation.
pub fn start(
    state: &Conversation,
    policies: &[Policy],
    hours: &WorkingHours,
    now: DateTime<Utc>,
) -> Result<Decision<ConversationEvent>, Refusal> {
    exists(state)?;
    if state.sla.is_started() {
        return Ok(Decision::nothing());
    }
    let terms = choose(policies, state.channel, state.division_id).map(Policy::terms);
    let started = ConversationEvent::SlaStarted { terms, hours: hours.clone() };
    Ok(with_marks(state, started, now))
}

/// Another policy from now on, as a rule's `apply_sla` asks.
///
/// # Errors
/// When there is no such conversation.
pub fn apply(
    state: &Conversation,
    terms: &Terms,
    hours: &WorkingHours,
    now: DateTime<Utc>,
) -> Result<Decision<ConversationEvent>, Refusal> {
    exists(state)?;
    if state.sla.terms() == Some(terms) {
        return Ok(Decision::nothing());
    }
    let applied = ConversationEvent::SlaPolicyApplied { terms: terms.clone(), hours: hours.clone() };
    Ok(with_marks(state, applied, now))
}

/// The warnings and breaches that are due and not recorded.
///
/// # Errors
/// When there is no such conversation.
pub fn record_marks(
    state: &Conversation,
    now: DateTime<Utc>,
) -> Result<Decision<ConversationEvent>, Refusal> {
    exists(state)?;
    Ok(marks(state, now).into())
}

fn with_marks(
    state: &Conversation,
    event: ConversationEvent,
    now: DateTime<Utc>,
) -> Decision<ConversationEvent> {
    let mut after = state.clone();
    if let Some(fact) = event.sla_fact() {
        after.sla.evolve(&fact, now);
    }
    std::iter::once(event).chain(marks(&after, now)).collect::<Vec<_>>().into()
}

fn marks(state: &Conversation, now: DateTime<Utc>) -> Vec<ConversationEvent> {
    let event = |mark: domain::sla::SlaMark| match mark.key.level {
        MarkLevel::Warning => ConversationEvent::SlaWarned(mark),
        MarkLevel::Breach => ConversationEvent::SlaBreached(mark),
    };
    state.sla.due(now).into_iter().map(event).collect()
}

fn exists(state: &Conversation) -> Result<(), Refusal> {
    if state.exists() { Ok(()) } else { Err(Refusal::not_found("conversation")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use domain::channel::Channel;
    use domain::event::Context;
    use domain::sla_policy::{SlaPolicy, Terms as PolicyTerms};
    use uuid::Uuid;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn evolved(state: &Conversation, events: &[ConversationEvent], now: DateTime<Utc>) -> Conversation {
        let mut state = state.clone();
        for event in events {
            state.evolve(event, Context { stream_id: Uuid::nil(), version: 1, at: now });
        }
        state
    }

    /// Opened at second 0, with a customer message that waits for a first response.
    fn waiting() -> Conversation {
        let opened = ConversationEvent::Opened {
            contact_id: Uuid::from_u128(1),
            account_id: Uuid::from_u128(2),
            channel: Channel::Whatsapp,
            division_id: None,
        };
        let mut state = evolved(&Conversation::default(), &[opened], at(0));
        state.sla.evolve(&domain::sla::SlaFact::CustomerMessage, at(0));
        state
    }

    fn policy() -> Policy {
        let terms = PolicyTerms {
            name: "Gold".to_owned(),
            first_response_time_secs: 100,
            resolution_time_secs: 1_000,
            warning_threshold_pct: 80,
            is_active: true,
            is_default: true,
            ..PolicyTerms::default()
        };
        SlaPolicy { terms, created_at: Some(at(0)) }.as_policy(Uuid::from_u128(9))
    }

    fn always() -> WorkingHours {
        WorkingHours::always(chrono_tz::UTC)
    }

    #[test]
    fn a_conversation_gets_its_policy_once() {
        let decision = start(&waiting(), &[policy()], &always(), at(1)).unwrap();
        assert!(
            matches!(&decision.events[..], [ConversationEvent::SlaStarted { terms: Some(_), .. }]),
            "{decision:?}"
        );
        let started = evolved(&waiting(), &decision.events, at(1));
        assert!(start(&started, &[policy()], &always(), at(2)).unwrap().events.is_empty());
    }

    #[test]
    fn a_warning_and_a_breach_are_recorded_once_each() {
        let started = start(&waiting(), &[policy()], &always(), at(1)).unwrap().events;
        let running = evolved(&waiting(), &started, at(1));
        assert!(record_marks(&running, at(79)).unwrap().events.is_empty());
        let warned = record_marks(&running, at(80)).unwrap().events;
        assert!(matches!(&warned[..], [ConversationEvent::SlaWarned(_)]), "{warned:?}");
        let running = evolved(&running, &warned, at(80));
        assert!(record_marks(&running, at(100)).unwrap().events.is_empty());
        let breached = record_marks(&running, at(101)).unwrap().events;
        assert!(matches!(&breached[..], [ConversationEvent::SlaBreached(_)]), "{breached:?}");
        assert!(record_marks(&evolved(&running, &breached, at(101)), at(500)).unwrap().events.is_empty());
    }

    #[test]
    fn a_late_start_records_what_is_overdue_with_it() {
        let events = start(&waiting(), &[policy()], &always(), at(500)).unwrap().events;
        let kinds: Vec<_> = events.iter().map(|e| domain::event::EventBody::encode(e).0).collect();
        assert_eq!(kinds, ["sla.started", "sla.warned", "sla.breached"]);
    }
}
