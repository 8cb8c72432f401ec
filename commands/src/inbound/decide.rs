//! What a customer's message changes, decided on the state alone.

use domain::aggregate::Aggregate;
use domain::channel::Channel;
use domain::contact::{Contact, ContactEvent, Profile};
use domain::conversation::{Conversation, ConversationEvent, ConversationStatus, MessageReceived};
use domain::personal::Personal;
use uuid::Uuid;

use crate::store::Decision;

/// Someone who never wrote before becomes a contact.
#[must_use]
pub fn create_contact(
    state: &Contact,
    id: Uuid,
    channel: Channel,
    sender: &Profile,
) -> Decision<ContactEvent> {
    if state.exists() {
        return Decision::nothing();
    }
    Decision::one(ContactEvent::Created { channel, profile: Personal::new(id, sender.clone()) })
}

/// What the channel says about a sender fills in what we don't know; it never overwrites what an agent wrote.
#[must_use]
pub fn complete_profile(state: &Contact, id: Uuid, sender: &Profile) -> Decision<ContactEvent> {
    let Some(known) = state.profile.known() else {
        return Decision::nothing();
    };
    let profile = Profile {
        address: known.address.clone(),
        name: known.name.clone().or_else(|| sender.name.clone()),
        phone_number: known.phone_number.clone().or_else(|| sender.phone_number.clone()),
        email: known.email.clone().or_else(|| sender.email.clone()),
    };
    if profile == *known {
        return Decision::nothing();
    }
    Decision::one(ContactEvent::Updated { profile: Personal::new(id, profile) })
}

/// The message, and what it does to its conversation: opens it, or opens it again.
#[must_use]
pub fn next_message(
    state: &Conversation,
    division_id: Option<Uuid>,
    message: MessageReceived,
) -> Vec<ConversationEvent> {
    let mut events = Vec::new();
    if !state.exists() {
        let MessageReceived { contact_id, account_id, channel, .. } = message;
        events.push(ConversationEvent::Opened { contact_id, account_id, channel, division_id });
    } else if state.status != ConversationStatus::Open {
        events.push(ConversationEvent::StatusChanged { status: ConversationStatus::Open });
    }
    events.push(ConversationEvent::MessageReceived(Box::new(message)));
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use domain::message_content::MessageContent;

    fn message() -> MessageReceived {
        let (contact_id, content) = (Uuid::from_u128(1), MessageContent::Text { text: "halo".to_owned() });
        MessageReceived {
            message_id: Uuid::from_u128(2),
            contact_id,
            account_id: Uuid::from_u128(3),
            channel: Channel::Whatsapp,
            external_id: "wamid.1".to_owned(),
            kind: "text".to_owned(),
            sender: Personal::new(contact_id, "+628".to_owned()),
            content: Personal::new(contact_id, content),
            sent_at: DateTime::UNIX_EPOCH,
            reply_to: None,
            forwarded: false,
            referral: None,
        }
    }

    fn conversation(status: ConversationStatus) -> Conversation {
        Conversation { status, created_at: Some(DateTime::UNIX_EPOCH), ..Conversation::default() }
    }

    fn names(events: &[ConversationEvent]) -> Vec<String> {
        events.iter().map(|e| domain::event::EventBody::encode(e).0).collect()
    }

    fn contact(name: Option<&str>) -> Contact {
        let profile =
            Profile { address: "628".to_owned(), name: name.map(str::to_owned), ..Profile::default() };
        Contact {
            profile: Personal::new(Uuid::from_u128(1), profile),
            created_at: Some(DateTime::UNIX_EPOCH),
            ..Contact::default()
        }
    }

    #[test]
    fn the_first_message_opens_a_conversation_in_the_accounts_division() {
        let division = Some(Uuid::from_u128(9));
        let events = next_message(&Conversation::default(), division, message());
        assert_eq!(names(&events), ["conversation.opened", "message.received"]);
        let ConversationEvent::Opened { division_id, contact_id, account_id, .. } = &events[0] else {
            panic!()
        };
        assert_eq!(
            (*division_id, *contact_id, *account_id),
            (division, Uuid::from_u128(1), Uuid::from_u128(3))
        );
    }

    #[test]
    fn a_message_to_an_open_conversation_is_just_that() {
        assert_eq!(
            names(&next_message(&conversation(ConversationStatus::Open), None, message())),
            ["message.received"]
        );
    }

    #[test]
    fn a_message_opens_a_resolved_or_pending_conversation_again() {
        for status in [ConversationStatus::Resolved, ConversationStatus::Pending] {
            let events = next_message(&conversation(status), None, message());
            assert_eq!(events[0], ConversationEvent::StatusChanged { status: ConversationStatus::Open });
            assert_eq!(names(&events)[1], "message.received");
        }
    }

    #[test]
    fn a_missing_name_is_filled_in_and_a_known_one_kept() {
        let sender =
            Profile { address: "628".to_owned(), name: Some("Ani".to_owned()), ..Profile::default() };
        let filled = complete_profile(&contact(None), Uuid::from_u128(1), &sender);
        let [ContactEvent::Updated { profile }] = &filled.events[..] else { panic!("{filled:?}") };
        assert_eq!(profile.known().and_then(|p| p.name.as_deref()), Some("Ani"));
        assert!(complete_profile(&contact(Some("Ibu Ani")), Uuid::from_u128(1), &sender).events.is_empty());
    }

    #[test]
    fn nothing_is_learned_about_someone_who_was_erased() {
        let erased = Contact { profile: Personal::Erased, ..contact(None) };
        assert!(complete_profile(&erased, Uuid::from_u128(1), &Profile::default()).events.is_empty());
    }

    #[test]
    fn a_contact_is_created_once() {
        let sender = Profile { address: "628".to_owned(), ..Profile::default() };
        let id = Uuid::from_u128(1);
        assert_eq!(create_contact(&Contact::default(), id, Channel::Whatsapp, &sender).events.len(), 1);
        assert!(create_contact(&contact(None), id, Channel::Whatsapp, &sender).events.is_empty());
    }
}
