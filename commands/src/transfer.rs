//! Decisions about handing a conversation on.

use domain::conversation::{Conversation, ConversationEvent, Transfer};
use domain::refusal::Refusal;

use crate::conversation::existing;
use crate::store::Decision;

/// # Errors
/// When there is no such conversation, or it is already where it shall go.
pub fn transfer(state: &Conversation, transfer: &Transfer) -> Result<Decision<ConversationEvent>, Refusal> {
    existing(state)?;
    let stays = transfer.to_division_id.is_none_or(|id| state.division_id == Some(id))
        && transfer.to_agent_id == state.assigned_agent_id;
    if stays {
        return Err(Refusal::conflict("already_there", "The conversation is already with them."));
    }
    let transfer = Transfer {
        from_agent_id: state.assigned_agent_id,
        contact_id: state.contact_id,
        note: transfer.note.clone(),
        ..transfer.clone()
    };
    Ok(Decision::one(ConversationEvent::Transferred(Box::new(transfer))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use uuid::Uuid;

    fn held() -> Conversation {
        Conversation {
            assigned_agent_id: Some(Uuid::from_u128(1)),
            created_at: Some(DateTime::UNIX_EPOCH),
            ..Conversation::default()
        }
    }

    fn to(agent: u128) -> Transfer {
        Transfer { to_agent_id: Some(Uuid::from_u128(agent)), ..Transfer::default() }
    }

    #[test]
    fn a_transfer_remembers_who_had_it() {
        let decision = transfer(&held(), &to(2)).unwrap();
        let [ConversationEvent::Transferred(transfer)] = &decision.events[..] else { panic!("{decision:?}") };
        assert_eq!(
            (transfer.from_agent_id, transfer.to_agent_id),
            (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)))
        );
    }

    #[test]
    fn a_transfer_to_whoever_has_it_is_refused() {
        assert_eq!(transfer(&held(), &to(1)).unwrap_err().code, "already_there");
        assert_eq!(transfer(&Conversation::default(), &to(1)).unwrap_err().code, "not_found");
    }
}
