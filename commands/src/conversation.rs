//! Decisions about conversations: who works on one, in which status, under which tags.

use domain::aggregate::Aggregate;
use domain::conversation::{Conversation, ConversationEvent, ConversationStatus};
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::store::Decision;
use crate::tags;

/// The claim that makes one conversation of all that a contact and an account say to each other.
pub const PARTNERS: &str = "conversation";

/// The key of the [`PARTNERS`] claim.
#[must_use]
pub fn partners_key(contact_id: Uuid, account_id: Uuid) -> String {
    format!("{contact_id}:{account_id}")
}

type Decided = Result<Decision<ConversationEvent>, Refusal>;

/// Gives the conversation to an agent, or to nobody.
///
/// # Errors
/// When there is no such conversation.
pub fn assign(state: &Conversation, agent_id: Option<Uuid>) -> Decided {
    existing(state)?;
    Ok(assignment(state, agent_id).into_iter().collect::<Vec<_>>().into())
}

/// # Errors
/// When there is no such conversation.
pub fn set_status(state: &Conversation, status: ConversationStatus) -> Decided {
    existing(state)?;
    Ok(if state.status == status {
        Decision::nothing()
    } else {
        Decision::one(ConversationEvent::StatusChanged { status })
    })
}

/// Someone has seen what the customer wrote.
///
/// # Errors
/// When there is no such conversation.
pub fn mark_read(state: &Conversation) -> Decided {
    existing(state)?;
    Ok(if state.unread_count == 0 {
        Decision::nothing()
    } else {
        Decision::one(ConversationEvent::Read { external_id: state.last_customer_external_id.clone() })
    })
}

/// Replaces all tags.
///
/// # Errors
/// When there is no such conversation, or a tag will not do.
pub fn set_tags(state: &Conversation, tags: &[String]) -> Decided {
    existing(state)?;
    Ok(tagged(state, tags::normalized(tags)?))
}

/// # Errors
/// When there is no such conversation, a tag will not do, or there are too many then.
pub fn add_tags(state: &Conversation, tags: &[String]) -> Decided {
    existing(state)?;
    Ok(tagged(state, tags::with(&state.tags, &tags::normalized(tags)?)?))
}

/// # Errors
/// When there is no such conversation, or a tag could never have been there.
pub fn remove_tags(state: &Conversation, tags: &[String]) -> Decided {
    existing(state)?;
    Ok(tagged(state, tags::without(&state.tags, &tags::normalized(tags)?)))
}

/// An agent takes over from whoever had it, above all from the AI, whose answers stop.
///
/// # Errors
/// When there is no such conversation.
pub fn take_over(state: &Conversation, agent_id: Uuid) -> Decided {
    existing(state)?;
    Ok(if state.assigned_agent_id == Some(agent_id) && state.ai_stopped {
        Decision::nothing()
    } else {
        Decision::one(ConversationEvent::TakenOver { agent_id })
    })
}

/// Moves the conversation to a division, an agent, or both; what is `None` stays.
///
/// # Errors
/// When there is no such conversation.
pub fn transfer(state: &Conversation, division_id: Option<Uuid>, agent_id: Option<Uuid>) -> Decided {
    existing(state)?;
    let moved = division_id
        .filter(|_| state.division_id != division_id)
        .map(|id| ConversationEvent::MovedToDivision { division_id: Some(id) });
    let assigned = agent_id.and_then(|_| assignment(state, agent_id));
    Ok(moved.into_iter().chain(assigned).collect::<Vec<_>>().into())
}

pub(crate) fn existing(state: &Conversation) -> Result<(), Refusal> {
    if state.exists() { Ok(()) } else { Err(Refusal::not_found("conversation")) }
}

fn assignment(state: &Conversation, agent_id: Option<Uuid>) -> Option<ConversationEvent> {
    match agent_id {
        _ if state.assigned_agent_id == agent_id => None,
        Some(agent_id) => Some(ConversationEvent::Assigned { agent_id }),
        None => Some(ConversationEvent::Unassigned),
    }
}

fn tagged(state: &Conversation, tags: Vec<String>) -> Decision<ConversationEvent> {
    if tags::same(&state.tags, &tags) {
        Decision::nothing()
    } else {
        Decision::one(ConversationEvent::Tagged { tags })
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    const BUDI: Uuid = Uuid::from_u128(1);
    const SARI: Uuid = Uuid::from_u128(2);

    fn given() -> Conversation {
        Conversation {
            tags: vec!["vip".to_owned()],
            assigned_agent_id: Some(BUDI),
            created_at: Some(DateTime::UNIX_EPOCH),
            ..Conversation::default()
        }
    }

    fn then(decided: Decided) -> Vec<ConversationEvent> {
        decided.unwrap().events
    }

    fn list(tags: &[&str]) -> Vec<String> {
        tags.iter().map(|tag| (*tag).to_owned()).collect()
    }

    #[test]
    fn assigning_to_another_to_nobody_and_to_the_same() {
        assert_eq!(then(assign(&given(), Some(SARI))), [ConversationEvent::Assigned { agent_id: SARI }]);
        assert_eq!(then(assign(&given(), None)), [ConversationEvent::Unassigned]);
        assert_eq!(then(assign(&given(), Some(BUDI))), []);
    }

    #[test]
    fn a_status_is_changed_once() {
        let status = ConversationStatus::Resolved;
        assert_eq!(then(set_status(&given(), status)), [ConversationEvent::StatusChanged { status }]);
        assert_eq!(then(set_status(&given(), ConversationStatus::Open)), []);
    }

    #[test]
    fn reading_names_the_newest_customer_message_for_the_receipt() {
        let external_id = Some("wamid.2".to_owned());
        let unread =
            Conversation { unread_count: 2, last_customer_external_id: external_id.clone(), ..given() };
        assert_eq!(then(mark_read(&unread)), [ConversationEvent::Read { external_id }]);
        assert_eq!(then(mark_read(&given())), []);
    }

    #[test]
    fn tags_are_replaced_added_and_removed() {
        let tagged = |tags: &[&str]| [ConversationEvent::Tagged { tags: list(tags) }];
        assert_eq!(then(set_tags(&given(), &list(&["new", " new "]))), tagged(&["new"]));
        assert_eq!(then(set_tags(&given(), &list(&["vip"]))), []);
        assert_eq!(then(add_tags(&given(), &list(&["new", "vip"]))), tagged(&["vip", "new"]));
        assert_eq!(then(remove_tags(&given(), &list(&["vip", "new"]))), tagged(&[]));
        assert_eq!(then(remove_tags(&given(), &list(&["new"]))), []);
    }

    #[test]
    fn taking_over_stops_the_ai_even_in_ones_own_conversation() {
        let taken = [ConversationEvent::TakenOver { agent_id: BUDI }];
        assert_eq!(then(take_over(&given(), BUDI)), taken);
        assert_eq!(then(take_over(&Conversation { ai_stopped: true, ..given() }, BUDI)), []);
        assert_eq!(then(take_over(&Conversation { ai_stopped: true, ..given() }, SARI)).len(), 1);
    }

    #[test]
    fn a_transfer_changes_only_what_it_names() {
        let division = Uuid::from_u128(9);
        let moved = ConversationEvent::MovedToDivision { division_id: Some(division) };
        let assigned = ConversationEvent::Assigned { agent_id: SARI };
        assert_eq!(then(transfer(&given(), Some(division), None)), std::slice::from_ref(&moved));
        assert_eq!(then(transfer(&given(), Some(division), Some(SARI))), [moved, assigned.clone()]);
        let there = Conversation { division_id: Some(division), ..given() };
        assert_eq!(then(transfer(&there, Some(division), Some(SARI))), [assigned]);
        assert_eq!(then(transfer(&there, Some(division), Some(BUDI))), []);
    }

    #[test]
    fn what_does_not_exist_cannot_be_changed() {
        let none = Conversation::default();
        let all = [
            assign(&none, None),
            set_status(&none, ConversationStatus::Open),
            mark_read(&none),
            set_tags(&none, &[]),
            add_tags(&none, &[]),
            remove_tags(&none, &[]),
            take_over(&none, BUDI),
            transfer(&none, None, None),
        ];
        assert!(all.into_iter().all(|decided| decided.is_err_and(|refusal| refusal.code == "not_found")));
    }
}
