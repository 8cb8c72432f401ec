//! A customer's message, as a channel delivered it, becomes facts: the contact, the conversation and the message.
//!
//! A channel delivers a message more than once and in any order. Claims make the outcome the same: one contact per
//! address, one conversation per contact and account, one message per id of the channel. Whoever loses a race for a
//! claim looks again and finds what the winner made.

pub mod decide;
pub mod queue;

use chrono::{DateTime, Utc};
use domain::channel::Channel;
use domain::contact::{Contact, Profile};
use domain::conversation::{Conversation, ConversationEvent, MessageReceived};
use domain::event::{Actor, ActorKind, Metadata};
use domain::message_content::MessageContent;
use domain::personal::Personal;
use serde_json::Value;
use uuid::Uuid;

use crate::contact::{IDENTITY, identity_key};
use crate::conversation::{PARTNERS, partners_key};
use crate::store::{Decided, Expected, Origin, Part};
use crate::{CommandError, Store, ids};

/// The claim on a channel's id of a message; its owner is our message.
pub const CHANNEL_MESSAGE: &str = "channel_message";

/// How often a message is looked at again after someone else was faster.
const MAX_TRIES: u32 = 8;

/// The key of the [`CHANNEL_MESSAGE`] claim.
#[must_use]
pub fn channel_message_key(account_id: Uuid, external_id: &str) -> String {
    format!("{account_id}:{external_id}")
}

/// A message as a channel delivered it.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub account_id: Uuid,
    pub channel: Channel,
    /// The account's, which a new conversation takes.
    pub division_id: Option<Uuid>,
    pub external_id: String,
    pub sender: Profile,
    pub content: MessageContent,
    /// By the channel's clock.
    pub sent_at: DateTime<Utc>,
    pub reply_to: Option<String>,
    pub forwarded: bool,
    pub referral: Option<Value>,
}

/// What came of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    New {
        message_id: Uuid,
        conversation_id: Uuid,
        contact_id: Uuid,
    },
    /// Delivered before.
    Known {
        message_id: Uuid,
    },
}

/// Records a customer's message, once however often it is delivered. `correlation_id` names the delivery.
///
/// # Errors
/// `Busy` when the log is full or too many others write the same conversation; sealing and database errors.
pub async fn receive(
    store: &Store,
    tenant_id: Uuid,
    correlation_id: Uuid,
    incoming: &Incoming,
) -> Result<Received, CommandError> {
    for _ in 0..MAX_TRIES {
        let known = look_up(store, tenant_id, incoming).await?;
        if let Some(message_id) = known.message {
            return Ok(Received::Known { message_id });
        }
        let delivery = Delivery { store, tenant_id, correlation_id, incoming };
        let attempt = match (known.contact, known.conversation) {
            (None, _) => delivery.of_stranger(None).await,
            (Some(contact_id), conversation) => delivery.of_contact(contact_id, conversation).await,
        };
        match attempt {
            // Someone else made the contact, the conversation or this very message at the same moment.
            Err(CommandError::Refused(refusal)) if matches!(refusal.code, "already_taken" | "contended") => {}
            settled => return settled,
        }
    }
    Err(CommandError::Busy)
}

/// Who holds the three claims of a message.
#[derive(Debug, Default, sqlx::FromRow)]
struct Known {
    message: Option<Uuid>,
    contact: Option<Uuid>,
    conversation: Option<Uuid>,
}

async fn look_up(store: &Store, tenant_id: Uuid, incoming: &Incoming) -> Result<Known, CommandError> {
    Ok(sqlx::query_as(
        "SELECT contact.owner AS contact, conversation.owner AS conversation, message.owner AS message
         FROM (SELECT 1) AS one
         LEFT JOIN claims contact ON contact.log_id = $1 AND contact.tenant_id = $2 AND contact.scope = $3
             AND contact.key = $4
         LEFT JOIN claims conversation ON conversation.log_id = $1 AND conversation.tenant_id = $2
             AND conversation.scope = $5 AND conversation.key = contact.owner::text || ':' || $6::text
         LEFT JOIN claims message ON message.log_id = $1 AND message.tenant_id = $2 AND message.scope = $7
             AND message.key = $8",
    )
    .bind(store.log_of(tenant_id).await?)
    .bind(tenant_id)
    .bind(IDENTITY)
    .bind(identity_key(store.vault(), incoming.channel, &incoming.sender.address))
    .bind(PARTNERS)
    .bind(incoming.account_id.to_string())
    .bind(CHANNEL_MESSAGE)
    .bind(channel_message_key(incoming.account_id, &incoming.external_id))
    .fetch_one(store.pool())
    .await?)
}

/// One attempt to record a message.
struct Delivery<'a> {
    store: &'a Store,
    tenant_id: Uuid,
    correlation_id: Uuid,
    incoming: &'a Incoming,
}

impl Delivery<'_> {
    /// The first words of someone unknown, or of someone who was erased (`replacing`) and is a stranger again.
    async fn of_stranger(&self, replacing: Option<Uuid>) -> Result<Received, CommandError> {
        let (contact_id, conversation_id, message_id) = (ids::new_id(), ids::new_id(), ids::new_id());
        let message = self.message(message_id, contact_id);
        let spoken = decide::next_message(&Conversation::default(), self.incoming.division_id, message);
        let address = identity_key(self.store.vault(), self.incoming.channel, &self.incoming.sender.address);
        let decided: Result<Decided<Contact>, CommandError> = self
            .store
            .execute(&self.origin(contact_id), contact_id, |state| {
                let mut decision =
                    decide::create_contact(state, contact_id, self.incoming.channel, &self.incoming.sender)
                        .also(Part::of::<Conversation>(conversation_id, Expected::Version(0), &spoken))
                        .claiming(IDENTITY, address.clone(), contact_id)
                        .claiming(PARTNERS, self.conversation_key(contact_id), conversation_id)
                        .claiming(CHANNEL_MESSAGE, self.message_key(), message_id);
                if let Some(erased) = replacing {
                    decision = decision.releasing(IDENTITY, address.clone(), erased);
                }
                Ok(decision)
            })
            .await;
        decided?;
        self.outcome(message_id, conversation_id, contact_id).await
    }

    async fn of_contact(&self, contact_id: Uuid, known: Option<Uuid>) -> Result<Received, CommandError> {
        let origin = self.origin(contact_id);
        let contact: Decided<Contact> = self
            .store
            .execute(&origin.part("profile"), contact_id, |state| {
                Ok(decide::complete_profile(state, contact_id, &self.incoming.sender))
            })
            .await?;
        if contact.state.erased_at.is_some() {
            return self.of_stranger(Some(contact_id)).await;
        }
        let (conversation_id, message_id) = (known.unwrap_or_else(ids::new_id), ids::new_id());
        let message = self.message(message_id, contact_id);
        let _: Decided<Conversation> = self
            .store
            .execute(&origin, conversation_id, |state| {
                let events = decide::next_message(state, self.incoming.division_id, message.clone());
                let decision = crate::store::Decision::<ConversationEvent>::all(events).claiming(
                    CHANNEL_MESSAGE,
                    self.message_key(),
                    message_id,
                );
                Ok(decision.claiming(PARTNERS, self.conversation_key(contact_id), conversation_id))
            })
            .await?;
        self.outcome(message_id, conversation_id, contact_id).await
    }

    /// An append under a command id that is in the log already succeeds without having made this message.
    async fn outcome(
        &self,
        message_id: Uuid,
        conversation_id: Uuid,
        contact_id: Uuid,
    ) -> Result<Received, CommandError> {
        let owner = self.store.claim_owner(self.tenant_id, CHANNEL_MESSAGE, &self.message_key()).await?;
        Ok(match owner {
            Some(first) if first != message_id => Received::Known { message_id: first },
            _ => Received::New { message_id, conversation_id, contact_id },
        })
    }

    /// The command's id follows from the channel's: a second delivery finds the first one in the log.
    fn origin(&self, contact_id: Uuid) -> Origin {
        let actor = Actor::new(ActorKind::Contact, contact_id);
        let command_id =
            ids::named_id(self.incoming.account_id, &format!("message:{}", self.incoming.external_id));
        Origin { command_id, ..Origin::new(self.tenant_id, Metadata::new(actor, self.correlation_id)) }
    }

    fn conversation_key(&self, contact_id: Uuid) -> String {
        partners_key(contact_id, self.incoming.account_id)
    }

    fn message_key(&self) -> String {
        channel_message_key(self.incoming.account_id, &self.incoming.external_id)
    }

    fn message(&self, message_id: Uuid, contact_id: Uuid) -> MessageReceived {
        let incoming = self.incoming.clone();
        MessageReceived {
            message_id,
            contact_id,
            account_id: incoming.account_id,
            channel: incoming.channel,
            external_id: incoming.external_id,
            kind: incoming.content.kind().to_owned(),
            sender: Personal::new(
                contact_id,
                incoming.sender.phone_number.unwrap_or(incoming.sender.address),
            ),
            content: Personal::new(contact_id, incoming.content),
            sent_at: incoming.sent_at,
            reply_to: incoming.reply_to,
            forwarded: incoming.forwarded,
            referral: incoming.referral,
        }
    }
}
