//! How long a chat waits for its customer: after that it may end by itself, and free text may be refused. A tenant has
//! at most one rule per channel.

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::channel::Channel;
use crate::event::{Context, EventBody};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum ChatExpirationRuleEvent {
    /// The whole rule after the change.
    #[serde(rename = "chat_expiration_rule.set")]
    Set(Terms),
}

impl EventBody for ChatExpirationRuleEvent {}

/// All that can be said of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Terms {
    pub channel: Channel,
    /// Hours of the customer's silence after which the window has passed; 0: it never passes.
    pub window_hours: i64,
    pub auto_resolve: bool,
    pub block_text_after_window: bool,
    pub is_active: bool,
}

/// The default is a channel without a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatExpirationRule {
    pub terms: Terms,
    pub created_at: Option<DateTime<Utc>>,
}

/// The stream of a tenant's rule for a channel.
#[must_use]
pub fn stream_id(tenant_id: Uuid, channel: Channel) -> Uuid {
    Uuid::new_v5(&tenant_id, format!("chat_expiration_rule {channel}").as_bytes())
}

impl ChatExpirationRule {
    /// The customer's silence after which a conversation is resolved by itself; `None`: however long.
    #[must_use]
    pub fn resolves_after(&self) -> Option<TimeDelta> {
        self.window().filter(|_| self.terms.auto_resolve).map(TimeDelta::hours)
    }

    /// Hours after the customer's last message in which free text may be sent: the channel's own, or this rule's where
    /// they are fewer. A rule can't give what the channel refuses.
    #[must_use]
    pub fn text_hours(&self, channel: Channel) -> Option<i64> {
        let own = self.window().filter(|_| self.terms.block_text_after_window);
        channel.window_hours().into_iter().chain(own).min()
    }

    fn window(&self) -> Option<i64> {
        Some(self.terms.window_hours).filter(|hours| self.terms.is_active && *hours > 0)
    }
}

impl Aggregate for ChatExpirationRule {
    const STREAM: &'static str = "chat_expiration_rule";
    type Event = ChatExpirationRuleEvent;

    fn evolve(&mut self, event: &ChatExpirationRuleEvent, context: Context) {
        let ChatExpirationRuleEvent::Set(terms) = event;
        self.terms = terms.clone();
        self.created_at = self.created_at.or(Some(context.at));
    }

    fn exists(&self) -> bool {
        self.created_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(window_hours: i64) -> ChatExpirationRule {
        let terms = Terms {
            channel: Channel::Whatsapp,
            window_hours,
            auto_resolve: true,
            block_text_after_window: true,
            is_active: true,
        };
        ChatExpirationRule { terms, created_at: Some(DateTime::UNIX_EPOCH) }
    }

    #[test]
    fn a_window_of_zero_hours_and_a_rule_that_is_off_never_pass() {
        assert_eq!(rule(12).resolves_after(), Some(TimeDelta::hours(12)));
        assert_eq!(rule(0).resolves_after(), None);
        let off = ChatExpirationRule { terms: Terms { is_active: false, ..rule(12).terms }, ..rule(12) };
        assert_eq!((off.resolves_after(), off.text_hours(Channel::Email)), (None, None));
        assert_eq!(ChatExpirationRule::default().resolves_after(), None);
    }

    #[test]
    fn free_text_ends_with_the_shorter_window() {
        assert_eq!(rule(12).text_hours(Channel::Whatsapp), Some(12));
        assert_eq!(rule(48).text_hours(Channel::Whatsapp), Some(24));
        assert_eq!(rule(0).text_hours(Channel::Whatsapp), Some(24));
        assert_eq!(rule(48).text_hours(Channel::Email), Some(48));
        assert_eq!(ChatExpirationRule::default().text_hours(Channel::Email), None);
    }
}
