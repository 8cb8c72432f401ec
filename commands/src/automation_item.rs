//! Decisions about items of the automation queue.

use chrono::{DateTime, TimeDelta, Utc};
use domain::aggregate::Aggregate;
use domain::automation_item::{AutomationItem, AutomationItemEvent, Enqueued, ItemStatus, RuleRan, Step};
use domain::event::Context;
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::store::Decision;

type Decided = Result<Decision<AutomationItemEvent>, Refusal>;

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Done,
    /// The pause kept every rule from being judged.
    Held,
    /// Something did not take effect. Without a time there is no further attempt.
    Failed {
        error: String,
        next_at: Option<DateTime<Utc>>,
    },
}

/// # Errors
/// None: an item that exists is the same event delivered again.
pub fn enqueue(state: &AutomationItem, facts: &Enqueued) -> Decided {
    if state.facts.is_some() {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(AutomationItemEvent::Enqueued(Box::new(facts.clone()))))
}

/// Begins an attempt, or takes over one whose worker has died; whoever has an older one can't record it any more.
/// Nothing happens when there is nothing to do.
///
/// # Errors
/// When there is no such item.
pub fn start(state: &AutomationItem) -> Decided {
    let step = existing(state)?;
    match state.status {
        ItemStatus::Pending | ItemStatus::Processing => {
            Ok(Decision::one(AutomationItemEvent::Started { step, attempt: state.attempts + 1 }))
        }
        ItemStatus::Done | ItemStatus::Failed => Ok(Decision::nothing()),
    }
}

/// Records what became of the rules, and of the attempt.
///
/// # Errors
/// When there is no such item.
pub fn conclude(state: &AutomationItem, runs: &[RuleRan], verdict: &Verdict) -> Decided {
    let step = existing(state)?;
    let runs = runs.iter().map(|run| AutomationItemEvent::RuleRan(Box::new(run.clone())));
    let end = match verdict.clone() {
        Verdict::Done => AutomationItemEvent::Processed { step },
        Verdict::Held => {
            let status = state.reprocessed_from.unwrap_or(ItemStatus::Pending);
            AutomationItemEvent::Held { step, status }
        }
        Verdict::Failed { error, next_at: Some(next_at) } => {
            AutomationItemEvent::AttemptFailed { step, error, next_at }
        }
        Verdict::Failed { error, next_at: None } => AutomationItemEvent::Failed { step, error },
    };
    Ok(runs.chain([end]).collect::<Vec<_>>().into())
}

/// Begins and concludes in one go, where no rule acts and so nothing can be left half done.
///
/// # Errors
/// When there is no such item.
pub fn judge(state: &AutomationItem, runs: &[RuleRan], verdict: &Verdict, now: DateTime<Utc>) -> Decided {
    let mut begun = start(state)?;
    let mut after = state.clone();
    for event in &begun.events {
        after.evolve(event, Context { stream_id: Uuid::nil(), version: 0, at: now });
    }
    begun.events.extend(conclude(&after, runs, verdict)?.events);
    Ok(begun)
}

/// Tries a failed item again.
///
/// # Errors
/// When there is no such item, or it has not failed.
pub fn retry(state: &AutomationItem) -> Decided {
    let step = existing(state)?;
    if state.status != ItemStatus::Failed {
        let detail = format!("Only a failed event can be retried; this one is {}.", state.status.as_str());
        return Err(Refusal::conflict("not_failed", detail));
    }
    Ok(Decision::one(AutomationItemEvent::Retried { step }))
}

/// Asks for an evaluation with the rules of now.
///
/// # Errors
/// When there is no such item, or it is being worked on.
pub fn request_reprocess(state: &AutomationItem) -> Decided {
    let step = existing(state)?;
    if state.status == ItemStatus::Processing || state.reprocessed_from.is_some() {
        return Err(Refusal::conflict("in_progress", "This event is being processed at the moment."));
    }
    Ok(Decision::one(AutomationItemEvent::ReprocessRequested { step, round: state.round + 1 }))
}

/// Takes a failed item that is older than `age` out of the queue.
///
/// # Errors
/// When there is no such item.
pub fn clean_up(state: &AutomationItem, age: TimeDelta, now: DateTime<Utc>) -> Decided {
    let step = existing(state)?;
    if step.from != ItemStatus::Failed || now - step.enqueued_at < age {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(AutomationItemEvent::Removed { step }))
}

fn existing(state: &AutomationItem) -> Result<Step, Refusal> {
    let step = state.step().filter(|_| state.exists());
    step.ok_or_else(|| Refusal::not_found("automation event"))
}

#[cfg(test)]
mod tests {
    use domain::automation::{Conditions, TriggerType};
    use domain::automation_item::{ActionOutcome, ActionRecord, ItemSource, RecordedRule};
    use domain::personal::Personal;
    use serde_json::json;

    use super::*;

    fn facts() -> Enqueued {
        Enqueued {
            trigger: TriggerType::ConversationCreated,
            conversation_id: Uuid::from_u128(1),
            contact_id: Uuid::from_u128(2),
            source_event_id: Uuid::from_u128(3),
            correlation_id: Uuid::from_u128(4),
            source: ItemSource::Stream,
            payload: Personal::new(Uuid::from_u128(2), json!({})),
            payload_hash: String::new(),
        }
    }

    fn after(state: &AutomationItem, decided: Decided) -> AutomationItem {
        let mut state = state.clone();
        for event in decided.unwrap().events {
            let context = Context { stream_id: Uuid::nil(), version: 1, at: DateTime::UNIX_EPOCH };
            state.evolve(&event, context);
        }
        state
    }

    fn queued() -> AutomationItem {
        after(&AutomationItem::default(), enqueue(&AutomationItem::default(), &facts()))
    }

    fn failed() -> AutomationItem {
        let started = after(&queued(), start(&queued()));
        let verdict = Verdict::Failed { error: "broken".to_owned(), next_at: None };
        after(&started, conclude(&started, &[], &verdict))
    }

    #[test]
    fn an_event_delivered_again_makes_no_second_item() {
        assert!(enqueue(&queued(), &facts()).unwrap().is_nothing());
        let removed = after(&failed(), clean_up(&failed(), TimeDelta::zero(), DateTime::UNIX_EPOCH));
        assert!(removed.removed && enqueue(&removed, &facts()).unwrap().is_nothing());
    }

    #[test]
    fn only_a_failed_item_is_retried_and_begins_its_attempts_again() {
        assert_eq!(retry(&queued()).unwrap_err().code, "not_failed");
        assert_eq!(failed().status, ItemStatus::Failed);
        let again = after(&failed(), retry(&failed()));
        assert_eq!((again.status, again.attempts), (ItemStatus::Pending, 0));
    }

    #[test]
    fn what_is_finished_is_not_started_again() {
        assert!(start(&failed()).unwrap().is_nothing());
        let started = after(&queued(), start(&queued()));
        let taken_over = after(&started, start(&started));
        assert_eq!((taken_over.status, taken_over.attempts), (ItemStatus::Processing, 2));
    }

    #[test]
    fn a_reprocessing_held_by_a_pause_leaves_the_item_as_it_was() {
        for before in [queued(), failed()] {
            let asked = after(&before, request_reprocess(&before));
            assert_eq!(request_reprocess(&asked).unwrap_err().code, "in_progress");
            let started = after(&asked, start(&asked));
            let held = after(&started, conclude(&started, &[], &Verdict::Held));
            assert_eq!((held.status, held.reprocessed_from), (before.status, None));
        }
    }

    fn ran(actions: Vec<ActionRecord>) -> RuleRan {
        RuleRan {
            run_id: Uuid::from_u128(7),
            rule_id: Uuid::from_u128(8),
            rule: RecordedRule {
                name: "Rule".to_owned(),
                conditions: Conditions::default(),
                actions: Vec::new(),
            },
            trigger: TriggerType::ConversationCreated,
            source: ItemSource::Stream,
            conversation_id: Uuid::from_u128(1),
            contact_id: Uuid::from_u128(2),
            evaluated_at: DateTime::UNIX_EPOCH,
            repeated: false,
            matched: true,
            executed: false,
            skip_reason: None,
            checks: Vec::new(),
            actions,
            duration_ms: 0,
        }
    }

    fn failed_action(permanent: bool) -> ActionRecord {
        ActionRecord {
            kind: "call_webhook".to_owned(),
            outcome: ActionOutcome::Failed,
            reason: Some("no".to_owned()),
            permanent,
            duration_ms: 0,
            position: None,
            rendered: Personal::new(Uuid::from_u128(2), json!({})),
        }
    }

    #[test]
    fn what_was_given_up_is_left_alone_until_somebody_retries() {
        let started = after(&queued(), start(&queued()));
        let (runs, verdict) = (
            [ran(vec![failed_action(true), failed_action(false)])],
            Verdict::Failed { error: "broken".to_owned(), next_at: Some(DateTime::UNIX_EPOCH) },
        );
        let tried = after(&started, conclude(&started, &runs, &verdict));
        let given_up = |state: &AutomationItem, index| state.given_up(runs[0].rule_id, index).is_some();
        assert_eq!((given_up(&tried, 0), given_up(&tried, 1), given_up(&tried, 2)), (true, false, false));
        let failed =
            after(&tried, conclude(&tried, &[], &Verdict::Failed { error: String::new(), next_at: None }));
        assert!(!given_up(&after(&failed, retry(&failed)), 0));
    }

    #[test]
    fn who_takes_an_attempt_over_knows_where_the_interrupted_one_began() {
        let mut state = queued();
        let mut begin = |version| {
            for event in start(&state).unwrap().events {
                state.evolve(&event, Context { stream_id: Uuid::nil(), version, at: DateTime::UNIX_EPOCH });
            }
            state.begun
        };
        assert_eq!((begin(2), begin(3), begin(4)), (2, 2, 2));
        let verdict = Verdict::Failed { error: "broken".to_owned(), next_at: Some(DateTime::UNIX_EPOCH) };
        let mut state = after(&state, conclude(&state, &[], &verdict));
        let again = Context { stream_id: Uuid::nil(), version: 6, at: DateTime::UNIX_EPOCH };
        let begun = start(&state).unwrap().events;
        begun.iter().for_each(|event| state.evolve(event, again));
        assert_eq!(state.begun, 6);
    }

    #[test]
    fn only_old_failed_items_are_cleaned_up() {
        let (day, now) = (TimeDelta::days(1), DateTime::UNIX_EPOCH + TimeDelta::days(1));
        assert!(clean_up(&queued(), day, now).unwrap().is_nothing());
        assert!(clean_up(&failed(), day + TimeDelta::seconds(1), now).unwrap().is_nothing());
        assert_eq!(clean_up(&failed(), day, now).unwrap().events.len(), 1);
    }
}
