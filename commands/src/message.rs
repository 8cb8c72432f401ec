//! Decisions about what we send.

use chrono::{DateTime, Utc};
use domain::conversation::{Author, Conversation, ConversationEvent, MessageQueued};
use domain::message_content::MessageContent;
use domain::personal::Personal;
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::conversation::existing;
use crate::store::Decision;

/// A message that someone wants to send.
#[derive(Clone, Debug)]
pub struct Outbound {
    pub message_id: Uuid,
    pub content: MessageContent,
    pub author: Author,
    /// The channel's id of the message that a reaction is put on.
    pub refers_to: Option<String>,
}

/// Takes a message for sending. The status of the conversation stays as it is: a last word to a resolved one does not
/// open it again.
///
/// # Errors
/// When there is no such conversation, or the customer has been silent for longer than the channel allows free text.
pub fn queue(
    state: &Conversation,
    at: DateTime<Utc>,
    message: &Outbound,
) -> Result<Decision<ConversationEvent>, Refusal> {
    existing(state)?;
    let approved_text = matches!(message.content, MessageContent::Template { .. });
    if !approved_text && !state.window_open(at) {
        let hours = state.channel.window_hours().unwrap_or_default();
        let detail = format!(
            "The customer's last message is {hours} hours old or older; only an approved template may be sent."
        );
        return Err(Refusal::conflict("window_closed", detail));
    }
    let Outbound { message_id, content, author, refers_to } = message.clone();
    Ok(Decision::one(ConversationEvent::MessageQueued(Box::new(MessageQueued {
        message_id,
        contact_id: state.contact_id,
        account_id: state.account_id,
        channel: state.channel,
        kind: content.kind().to_owned(),
        content: Personal::new(state.contact_id, content),
        author,
        refers_to,
    }))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::TimeDelta;
    use domain::channel::Channel;
    use domain::conversation::ConversationStatus;

    use super::*;

    fn noon() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn given(channel: Channel) -> Conversation {
        Conversation {
            contact_id: Uuid::from_u128(3),
            account_id: Uuid::from_u128(4),
            channel,
            last_customer_message_at: Some(noon()),
            created_at: Some(noon()),
            ..Conversation::default()
        }
    }

    fn outbound(content: MessageContent) -> Outbound {
        Outbound { message_id: Uuid::from_u128(5), content, author: Author::Human, refers_to: None }
    }

    fn text() -> Outbound {
        outbound(MessageContent::Text { text: "Siap, kak".to_owned() })
    }

    fn code(decided: Result<Decision<ConversationEvent>, Refusal>) -> &'static str {
        decided.unwrap_err().code
    }

    #[test]
    fn a_queued_message_belongs_to_the_contact_and_leaves_through_the_account() {
        let decision = queue(&given(Channel::Whatsapp), noon(), &text()).unwrap();
        let [ConversationEvent::MessageQueued(queued)] = &decision.events[..] else { panic!("{decision:?}") };
        assert_eq!((queued.contact_id, queued.account_id), (Uuid::from_u128(3), Uuid::from_u128(4)));
        assert_eq!((queued.kind.as_str(), queued.channel), ("text", Channel::Whatsapp));
        assert_eq!(queued.content, Personal::new(Uuid::from_u128(3), text().content));
    }

    #[test]
    fn the_window_closes_at_exactly_24_hours() {
        let (state, day) = (given(Channel::Instagram), TimeDelta::hours(24));
        assert!(queue(&state, noon() + day - TimeDelta::microseconds(1), &text()).is_ok());
        assert_eq!(code(queue(&state, noon() + day, &text())), "window_closed");
    }

    #[test]
    fn a_template_passes_a_closed_window() {
        let template = outbound(MessageContent::Template {
            template_id: Uuid::from_u128(6),
            variables: BTreeMap::new(),
        });
        assert!(queue(&given(Channel::Whatsapp), noon() + TimeDelta::days(30), &template).is_ok());
    }

    #[test]
    fn email_has_no_window() {
        assert!(queue(&given(Channel::Email), noon() + TimeDelta::days(30), &text()).is_ok());
    }

    #[test]
    fn a_customer_who_never_wrote_gets_no_free_text() {
        let silent = Conversation { last_customer_message_at: None, ..given(Channel::Whatsapp) };
        assert_eq!(code(queue(&silent, noon(), &text())), "window_closed");
    }

    #[test]
    fn a_resolved_conversation_stays_resolved() {
        let resolved = Conversation { status: ConversationStatus::Resolved, ..given(Channel::Whatsapp) };
        assert_eq!(queue(&resolved, noon(), &text()).unwrap().events.len(), 1);
    }

    #[test]
    fn nothing_is_sent_into_nowhere() {
        assert_eq!(code(queue(&Conversation::default(), noon(), &text())), "not_found");
    }
}
