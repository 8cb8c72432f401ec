//! Decisions about what became of a message that we sent.
//!
//! The send call's answer, the channel's callbacks and the search for sends that were never answered may come in any
//! order, and each may come twice. A status only ever moves forward, and a failure is the last word.

use chrono::{DateTime, Utc};
use domain::message::{Message, MessageEvent, MessageStatus};
use serde_json::Value;
use uuid::Uuid;

use crate::inbound::{CHANNEL_MESSAGE, channel_message_key};
use crate::store::Decision;

/// Our message, and what its channel calls it.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    pub message_id: Uuid,
    pub conversation_id: Uuid,
    pub account_id: Uuid,
    pub external_id: &'a str,
}

/// How far the channel says that a message got.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    Sent,
    Delivered { at: DateTime<Utc>, pricing: Option<Value> },
    Read { at: DateTime<Utc> },
    Failed { code: Option<i64>, reason: String },
}

impl Report {
    const fn status(&self) -> MessageStatus {
        match self {
            Self::Sent => MessageStatus::Sent,
            Self::Delivered { .. } => MessageStatus::Delivered,
            Self::Read { .. } => MessageStatus::Read,
            Self::Failed { .. } => MessageStatus::Failed,
        }
    }
}

/// What the channel reports. A report may be the first that we hear of the channel's id: then the message was sent,
/// whatever became of the answer to the send call.
#[must_use]
pub fn report(state: &Message, identity: Identity<'_>, report: Report) -> Decision<MessageEvent> {
    let Identity { message_id, conversation_id, account_id, external_id } = identity;
    if state.status == MessageStatus::Failed {
        return Decision::nothing();
    }
    let mut events = Vec::new();
    if state.external_id.is_none() && state.status < MessageStatus::Sent {
        events.push(MessageEvent::Sent { conversation_id, external_id: external_id.to_owned() });
    }
    if report.status() > state.status.max(MessageStatus::Sent) {
        events.push(match report {
            Report::Sent => MessageEvent::Sent { conversation_id, external_id: external_id.to_owned() },
            Report::Delivered { at, pricing } => MessageEvent::Delivered { conversation_id, at, pricing },
            Report::Read { at } => MessageEvent::Read { conversation_id, at },
            Report::Failed { code, reason } => MessageEvent::Failed { conversation_id, code, reason },
        });
    }
    let decision = Decision::all(events);
    if state.external_id.is_some() {
        return decision;
    }
    decision.claiming(CHANNEL_MESSAGE, channel_message_key(account_id, external_id), message_id)
}

/// The message was not sent, or nobody can know whether it was. One that the channel has already reported on was.
#[must_use]
pub fn fail(
    state: &Message,
    conversation_id: Uuid,
    code: Option<i64>,
    reason: &str,
) -> Decision<MessageEvent> {
    if state.status != MessageStatus::Pending {
        return Decision::nothing();
    }
    Decision::one(MessageEvent::Failed { conversation_id, code, reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::aggregate::fold;
    use domain::event::Context;

    const CONVERSATION: Uuid = Uuid::from_u128(2);
    const IDENTITY: Identity<'_> = Identity {
        message_id: Uuid::from_u128(1),
        conversation_id: CONVERSATION,
        account_id: Uuid::from_u128(3),
        external_id: "wamid.1",
    };

    fn given(events: &[MessageEvent]) -> Message {
        let context = Context { stream_id: Uuid::from_u128(1), version: 1, at: DateTime::UNIX_EPOCH };
        fold(events.iter().map(|event| (event, context)))
    }

    fn sent() -> MessageEvent {
        MessageEvent::Sent { conversation_id: CONVERSATION, external_id: "wamid.1".to_owned() }
    }

    fn delivered() -> MessageEvent {
        MessageEvent::Delivered { conversation_id: CONVERSATION, at: DateTime::UNIX_EPOCH, pricing: None }
    }

    fn read() -> MessageEvent {
        MessageEvent::Read { conversation_id: CONVERSATION, at: DateTime::UNIX_EPOCH }
    }

    fn failed() -> MessageEvent {
        MessageEvent::Failed { conversation_id: CONVERSATION, code: Some(131_026), reason: "no".to_owned() }
    }

    fn as_report(event: &MessageEvent) -> Report {
        match event.clone() {
            MessageEvent::Sent { .. } => Report::Sent,
            MessageEvent::Delivered { at, pricing, .. } => Report::Delivered { at, pricing },
            MessageEvent::Read { at, .. } => Report::Read { at },
            MessageEvent::Failed { code, reason, .. } => Report::Failed { code, reason },
        }
    }

    #[test]
    fn a_status_moves_forward_only() {
        let order = [sent(), delivered(), read(), failed()];
        for (reached, _) in order.iter().enumerate() {
            for (reported, next) in order.iter().enumerate() {
                let events = report(&given(&order[..=reached]), IDENTITY, as_report(next)).events;
                let expected = if reported > reached { vec![next.clone()] } else { Vec::new() };
                assert_eq!(events, expected, "{reached} {reported}");
            }
        }
    }

    #[test]
    fn a_report_before_the_answer_says_that_it_was_sent() {
        let early = report(&Message::default(), IDENTITY, as_report(&delivered()));
        assert_eq!(early.events, [sent(), delivered()]);
        assert_eq!(early.claims[0].owner, IDENTITY.message_id);
        let answer = report(&given(&early.events), IDENTITY, Report::Sent);
        assert!(answer.events.is_empty() && answer.claims.is_empty());
    }

    #[test]
    fn a_refusal_in_a_callback_fails_a_message_that_was_never_answered() {
        assert_eq!(report(&Message::default(), IDENTITY, as_report(&failed())).events, [sent(), failed()]);
    }

    #[test]
    fn only_a_message_that_nobody_heard_of_is_given_up() {
        assert_eq!(fail(&Message::default(), CONVERSATION, Some(131_026), "no").events, [failed()]);
        for known in [sent(), delivered(), read(), failed()] {
            assert!(fail(&given(&[known]), CONVERSATION, None, "no").events.is_empty());
        }
    }
}
