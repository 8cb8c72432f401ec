//! Decisions about what we send.

use chrono::{DateTime, Utc};
use domain::aggregate::Aggregate;
use domain::channel::Channel;
use domain::chat_expiration_rule::ChatExpirationRule;
use domain::contact::Contact;
use domain::conversation::{Author, Conversation, ConversationEvent, MessageQueued};
use domain::integration_account::IntegrationAccount;
use domain::message_content::MessageContent;
use domain::personal::Personal;
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::conversation::existing;
use crate::store::{Decision, Store};
use crate::{CommandError, contact};

/// A message that someone wants to send.
#[derive(Clone, Debug)]
pub struct Outbound {
    pub message_id: Uuid,
    pub content: MessageContent,
    pub author: Author,
    /// The channel's id of the message that a reaction is put on.
    pub refers_to: Option<String>,
}

/// Takes a message for sending, given the chat expiration rule of the channel. The status of the conversation stays as
/// it is: a last word to a resolved one does not open it again.
///
/// # Errors
/// When there is no such conversation, or the customer has been silent for longer than the channel and the rule allow
/// free text.
pub fn queue(
    state: &Conversation,
    rule: &ChatExpirationRule,
    at: DateTime<Utc>,
    message: &Outbound,
) -> Result<Decision<ConversationEvent>, Refusal> {
    existing(state)?;
    let approved_text = matches!(message.content, MessageContent::Template { .. });
    if !approved_text && !state.window_open(rule, at) {
        return Err(window_closed(state.channel, rule));
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

fn window_closed(channel: Channel, rule: &ChatExpirationRule) -> Refusal {
    let hours = rule.text_hours(channel).unwrap_or_default();
    let remedy = match channel {
        Channel::Whatsapp => "only an approved template may be sent",
        Channel::Instagram | Channel::Messenger | Channel::Email => {
            "nothing may be sent until the customer writes"
        }
    };
    let detail = format!("The customer's last message is {hours} hours old or older; {remedy}.");
    Refusal::conflict("window_closed", detail)
}

/// Whether the account of a conversation can send, and the contact can be written to.
///
/// # Errors
/// 409 when not; database errors.
pub async fn check_partners(
    store: &Store,
    tenant_id: Uuid,
    state: &Conversation,
) -> Result<(), CommandError> {
    let (account, _): (IntegrationAccount, _) = store.current(tenant_id, state.account_id).await?;
    if !account.exists() || !account.is_active {
        let detail = "The account of this conversation is not active.";
        return Err(Refusal::conflict("channel_inactive", detail).into());
    }
    let (contact, _): (Contact, _) = store.current(tenant_id, state.contact_id).await?;
    if contact.erased_at.is_some() {
        return Err(contact::erased().into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::TimeDelta;
    use domain::chat_expiration_rule::Terms;
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

    /// What comes of a message where the tenant has no rule.
    fn sent(
        state: &Conversation,
        at: DateTime<Utc>,
        message: &Outbound,
    ) -> Result<Decision<ConversationEvent>, Refusal> {
        queue(state, &ChatExpirationRule::default(), at, message)
    }

    fn blocking(window_hours: i64) -> ChatExpirationRule {
        let terms =
            Terms { window_hours, block_text_after_window: true, is_active: true, ..Terms::default() };
        ChatExpirationRule { terms, created_at: Some(noon()) }
    }

    fn code(decided: Result<Decision<ConversationEvent>, Refusal>) -> &'static str {
        decided.unwrap_err().code
    }

    #[test]
    fn a_queued_message_belongs_to_the_contact_and_leaves_through_the_account() {
        let decision = sent(&given(Channel::Whatsapp), noon(), &text()).unwrap();
        let [ConversationEvent::MessageQueued(queued)] = &decision.events[..] else { panic!("{decision:?}") };
        assert_eq!((queued.contact_id, queued.account_id), (Uuid::from_u128(3), Uuid::from_u128(4)));
        assert_eq!((queued.kind.as_str(), queued.channel), ("text", Channel::Whatsapp));
        assert_eq!(queued.content, Personal::new(Uuid::from_u128(3), text().content));
    }

    #[test]
    fn the_window_closes_at_exactly_24_hours() {
        let (state, day) = (given(Channel::Instagram), TimeDelta::hours(24));
        assert!(sent(&state, noon() + day - TimeDelta::microseconds(1), &text()).is_ok());
        assert_eq!(code(sent(&state, noon() + day, &text())), "window_closed");
    }

    #[test]
    fn a_template_passes_a_closed_window() {
        let template = outbound(MessageContent::Template {
            template_id: Uuid::from_u128(6),
            variables: BTreeMap::new(),
        });
        assert!(sent(&given(Channel::Whatsapp), noon() + TimeDelta::days(30), &template).is_ok());
    }

    #[test]
    fn email_has_no_window() {
        assert!(sent(&given(Channel::Email), noon() + TimeDelta::days(30), &text()).is_ok());
    }

    #[test]
    fn a_rule_closes_the_window_earlier_and_never_later() {
        let (state, hour) = (given(Channel::Whatsapp), TimeDelta::hours(1));
        assert!(queue(&state, &blocking(12), noon() + hour * 11, &text()).is_ok());
        assert_eq!(code(queue(&state, &blocking(12), noon() + hour * 12, &text())), "window_closed");
        assert_eq!(code(queue(&state, &blocking(48), noon() + hour * 24, &text())), "window_closed");
        assert!(queue(&state, &blocking(0), noon() + hour * 23, &text()).is_ok());
        assert_eq!(
            code(queue(&given(Channel::Email), &blocking(48), noon() + hour * 48, &text())),
            "window_closed"
        );
    }

    #[test]
    fn a_customer_who_never_wrote_gets_no_free_text() {
        let silent = Conversation { last_customer_message_at: None, ..given(Channel::Whatsapp) };
        assert_eq!(code(sent(&silent, noon(), &text())), "window_closed");
    }

    #[test]
    fn a_resolved_conversation_stays_resolved() {
        let resolved = Conversation { status: ConversationStatus::Resolved, ..given(Channel::Whatsapp) };
        assert_eq!(sent(&resolved, noon(), &text()).unwrap().events.len(), 1);
    }

    #[test]
    fn nothing_is_sent_into_nowhere() {
        assert_eq!(code(sent(&Conversation::default(), noon(), &text())), "not_found");
    }
}
