//! Decisions that only rules make about a conversation; the others are those that agents make too.

use domain::conversation::{Conversation, ConversationEvent};
use domain::personal::Personal;
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::conversation::existing;
use crate::store::Decision;

type Decided = Result<Decision<ConversationEvent>, Refusal>;

/// # Errors
/// When there is no such conversation.
pub fn move_to_division(state: &Conversation, division_id: Uuid) -> Decided {
    existing(state)?;
    if state.division_id == Some(division_id) {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(ConversationEvent::MovedToDivision { division_id: Some(division_id) }))
}

/// # Errors
/// When there is no such conversation.
pub fn add_note(state: &Conversation, note_id: Uuid, content: &str, rule_id: Uuid) -> Decided {
    existing(state)?;
    Ok(Decision::one(ConversationEvent::NoteAdded {
        note_id,
        content: Personal::new(state.contact_id, content.to_owned()),
        agent_id: None,
        rule_id: Some(rule_id),
    }))
}

/// Lets AI answer: a certain agent, or the one that is assigned to the channel and division.
///
/// # Errors
/// When there is no such conversation.
pub fn start_ai(state: &Conversation, ai_agent_id: Option<Uuid>) -> Decided {
    existing(state)?;
    if !state.ai_stopped && ai_agent_id.is_none() {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(ConversationEvent::AiStarted { ai_agent_id }))
}

/// # Errors
/// When there is no such conversation.
pub fn stop_ai(state: &Conversation) -> Decided {
    existing(state)?;
    Ok(if state.ai_stopped { Decision::nothing() } else { Decision::one(ConversationEvent::AiStopped) })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn given() -> Conversation {
        Conversation { created_at: Some(DateTime::UNIX_EPOCH), ..Conversation::default() }
    }

    fn then(decided: Decided) -> Vec<ConversationEvent> {
        decided.unwrap().events
    }

    #[test]
    fn ai_is_started_and_stopped_only_when_that_changes_something() {
        let stopped = Conversation { ai_stopped: true, ..given() };
        let agent = Some(Uuid::from_u128(1));
        assert_eq!(then(start_ai(&given(), None)), []);
        assert_eq!(then(start_ai(&stopped, None)), [ConversationEvent::AiStarted { ai_agent_id: None }]);
        assert_eq!(then(start_ai(&given(), agent)), [ConversationEvent::AiStarted { ai_agent_id: agent }]);
        assert_eq!(then(stop_ai(&stopped)), []);
        assert_eq!(then(stop_ai(&given())), [ConversationEvent::AiStopped]);
    }

    #[test]
    fn a_conversation_is_moved_once() {
        let division = Uuid::from_u128(2);
        assert_eq!(then(move_to_division(&given(), division)).len(), 1);
        let there = Conversation { division_id: Some(division), ..given() };
        assert_eq!(then(move_to_division(&there, division)), []);
    }

    #[test]
    fn nothing_is_done_to_a_conversation_that_does_not_exist() {
        let (none, id) = (Conversation::default(), Uuid::nil());
        let all = [
            move_to_division(&none, id),
            add_note(&none, id, "hi", id),
            start_ai(&none, None),
            stop_ai(&none),
        ];
        assert!(all.into_iter().all(|decided| decided.is_err_and(|refusal| refusal.code == "not_found")));
    }
}
