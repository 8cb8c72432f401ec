//! Decisions about chat expiration: what the rules are, and which conversations end by them.

use chrono::{DateTime, Utc};
use domain::aggregate::Aggregate;
use domain::channel::Channel;
use domain::chat_expiration_rule::{ChatExpirationRule, ChatExpirationRuleEvent, Terms, stream_id};
use domain::conversation::{Conversation, ConversationEvent, ConversationStatus};
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::CommandError;
use crate::conversation::existing;
use crate::store::{Decision, Store};

/// A year: whoever waits longer means never, which is 0.
pub const MAX_WINDOW_HOURS: i64 = 8_760;

/// A rule as asked for; `None` leaves what was there, or takes the default of a new rule: it is active and does nothing.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub window_hours: i64,
    pub auto_resolve: Option<bool>,
    pub block_text_after_window: Option<bool>,
    pub is_active: Option<bool>,
}

/// # Errors
/// When the window is negative or longer than [`MAX_WINDOW_HOURS`].
pub fn set(
    state: &ChatExpirationRule,
    channel: Channel,
    change: Change,
) -> Result<Decision<ChatExpirationRuleEvent>, Refusal> {
    if !(0..=MAX_WINDOW_HOURS).contains(&change.window_hours) {
        let message = format!("must be 0 (never) to {MAX_WINDOW_HOURS} hours");
        return Err(Refusal::invalid("window_hours", message));
    }
    let before = &state.terms;
    let terms = Terms {
        channel,
        window_hours: change.window_hours,
        auto_resolve: change.auto_resolve.unwrap_or(before.auto_resolve),
        block_text_after_window: change.block_text_after_window.unwrap_or(before.block_text_after_window),
        is_active: change.is_active.unwrap_or(before.is_active || !state.exists()),
    };
    if state.exists() && terms == *before {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(ChatExpirationRuleEvent::Set(terms)))
}

/// Resolves a conversation whose customer has been silent for the rule's window, and says that this is why.
///
/// # Errors
/// When there is no such conversation.
pub fn expire(
    state: &Conversation,
    rule: &ChatExpirationRule,
    now: DateTime<Utc>,
) -> Result<Decision<ConversationEvent>, Refusal> {
    existing(state)?;
    let (Some(window), Some(silent_since)) = (rule.resolves_after(), state.silent_since()) else {
        return Ok(Decision::nothing());
    };
    if now < silent_since + window {
        return Ok(Decision::nothing());
    }
    let window_hours = window.num_hours();
    Ok(Decision::all(vec![
        ConversationEvent::Expired { window_hours, silent_since },
        ConversationEvent::StatusChanged { status: ConversationStatus::Resolved },
    ]))
}

/// The rule that holds for a channel now; the default where there is none.
///
/// # Errors
/// Database errors.
pub async fn of_channel(
    store: &Store,
    tenant_id: Uuid,
    channel: Channel,
) -> Result<ChatExpirationRule, CommandError> {
    Ok(store.current(tenant_id, stream_id(tenant_id, channel)).await?.0)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use domain::event::Context;

    use super::*;

    fn noon() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn rule(window_hours: i64, auto_resolve: bool) -> ChatExpirationRule {
        let terms = Terms {
            channel: Channel::Whatsapp,
            window_hours,
            auto_resolve,
            block_text_after_window: false,
            is_active: true,
        };
        ChatExpirationRule { terms, created_at: Some(noon()) }
    }

    fn change(window_hours: i64) -> Change {
        Change { window_hours, auto_resolve: None, block_text_after_window: None, is_active: None }
    }

    /// The customer's last word was at noon.
    fn silent() -> Conversation {
        Conversation {
            created_at: Some(noon()),
            last_customer_message_at: Some(noon()),
            ..Conversation::default()
        }
    }

    fn after(state: &Conversation, status: ConversationStatus, at: DateTime<Utc>) -> Conversation {
        let mut state = state.clone();
        let context = Context { stream_id: Uuid::nil(), version: 2, at };
        state.evolve(&ConversationEvent::StatusChanged { status }, context);
        state
    }

    #[test]
    fn a_new_rule_is_active_and_an_old_one_keeps_what_is_not_said() {
        let made = set(&ChatExpirationRule::default(), Channel::Whatsapp, change(12)).unwrap();
        let expected = Terms { is_active: true, window_hours: 12, ..Terms::default() };
        assert_eq!(made.events, [ChatExpirationRuleEvent::Set(expected)]);
        let kept = set(&rule(12, true), Channel::Whatsapp, change(6)).unwrap();
        assert_eq!(kept.events, [ChatExpirationRuleEvent::Set(rule(6, true).terms)]);
        let off = Change { is_active: Some(false), ..change(12) };
        let off = set(&rule(12, true), Channel::Whatsapp, off).unwrap();
        assert!(
            matches!(&off.events[..], [ChatExpirationRuleEvent::Set(terms)] if !terms.is_active),
            "{off:?}"
        );
        assert!(set(&rule(12, true), Channel::Whatsapp, change(12)).unwrap().is_nothing());
    }

    #[test]
    fn a_window_is_never_negative_or_longer_than_a_year() {
        for hours in [-1, MAX_WINDOW_HOURS + 1] {
            let refused = set(&ChatExpirationRule::default(), Channel::Email, change(hours)).unwrap_err();
            assert_eq!(refused.fields[0].field, "window_hours");
        }
        assert!(set(&ChatExpirationRule::default(), Channel::Email, change(MAX_WINDOW_HOURS)).is_ok());
    }

    #[test]
    fn a_conversation_ends_at_exactly_the_window() {
        let at = noon() + TimeDelta::hours(12);
        let early = expire(&silent(), &rule(12, true), at - TimeDelta::microseconds(1)).unwrap();
        assert!(early.is_nothing());
        let ended = expire(&silent(), &rule(12, true), at).unwrap();
        let expected = [
            ConversationEvent::Expired { window_hours: 12, silent_since: noon() },
            ConversationEvent::StatusChanged { status: ConversationStatus::Resolved },
        ];
        assert_eq!(ended.events, expected);
    }

    #[test]
    fn what_is_resolved_or_has_no_such_rule_stays_as_it_is() {
        let late = noon() + TimeDelta::days(30);
        let resolved = after(&silent(), ConversationStatus::Resolved, noon());
        assert!(expire(&resolved, &rule(12, true), late).unwrap().is_nothing());
        for harmless in [rule(12, false), rule(0, true), ChatExpirationRule::default()] {
            assert!(expire(&silent(), &harmless, late).unwrap().is_nothing(), "{harmless:?}");
        }
        assert_eq!(expire(&Conversation::default(), &rule(1, true), late).unwrap_err().code, "not_found");
    }

    #[test]
    fn who_opens_a_stale_conversation_again_has_a_whole_window_for_it() {
        let (late, window) = (noon() + TimeDelta::days(30), TimeDelta::hours(12));
        let resolved = after(&silent(), ConversationStatus::Resolved, late - TimeDelta::hours(1));
        let reopened = after(&resolved, ConversationStatus::Open, late);
        // Waiting for the customer is not opening again.
        let pending = after(&reopened, ConversationStatus::Pending, late + TimeDelta::hours(1));
        for state in [&reopened, &pending] {
            assert!(expire(state, &rule(12, true), late + TimeDelta::hours(11)).unwrap().is_nothing());
            assert_eq!(expire(state, &rule(12, true), late + window).unwrap().events.len(), 2);
        }
    }

    #[test]
    fn a_customer_who_never_wrote_is_silent_from_the_start() {
        let unanswered = Conversation { last_customer_message_at: None, ..silent() };
        assert_eq!(
            expire(&unanswered, &rule(1, true), noon() + TimeDelta::hours(1)).unwrap().events.len(),
            2
        );
    }
}
