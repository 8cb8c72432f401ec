//! One conversation's life: a customer asks, an agent is given it, they write to and fro, and most are resolved.
//!
//! - Of the messages, 6 in 10 are the customer's; now and then one comes back to what was resolved.
//! - 9 in 10 conversations get an agent and 4 in 10 a tag; 17 in 20 end resolved, 1 in 20 waits for the customer.
//! - One time in five the agent marks the conversation as read before answering.
//! - Each answer is sent; of every tenth it is known that it was delivered and read.
//! - Between two messages there is a minute to an hour.

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use commands::contact::{IDENTITY, identity_key};
use commands::conversation::{self, PARTNERS, partners_key};
use commands::delivery::{self, Identity, Report};
use commands::inbound::{CHANNEL_MESSAGE, channel_message_key, decide};
use commands::message::{self, Outbound};
use commands::store::import::{Deed, Recorder, Strand};
use commands::store::{Claim, Decision};
use commands::vault::{NewKey, Vault};
use commands::{ids, sla};
use domain::aggregate::Aggregate;
use domain::channel::Channel;
use domain::chat_expiration_rule::ChatExpirationRule;
use domain::contact::{Contact, Profile};
use domain::conversation::{Author, Conversation, ConversationEvent, ConversationStatus, MessageReceived};
use domain::event::{Actor, ActorKind, Metadata};
use domain::message::Message;
use domain::message_content::MessageContent;
use domain::personal::Personal;
use rand::RngExt;
use rand::rngs::StdRng;
use uuid::Uuid;

use super::shop::Desk;
use super::words;

const CHANNEL: Channel = Channel::Whatsapp;
/// Who writes which of every five messages.
const BY_CUSTOMER: [bool; 5] = [true, true, false, true, false];
const ASSIGNED: f64 = 0.9;
const MARKED_READ: f64 = 0.2;
const REPORTED: f64 = 0.1;
const TAGGED: f64 = 0.4;
const RESOLVED: f64 = 0.85;
const PENDING: f64 = 0.05;
const COMES_BACK: f64 = 0.05;
/// Messages in a conversation that takes its time; in longer ones everything happens faster.
const LEISURELY: u32 = 10;

/// What a conversation needs from around it, at one moment.
pub struct Scene<'a> {
    pub desk: &'a mut Desk,
    pub at: DateTime<Utc>,
    pub rng: &'a mut StdRng,
    pub recorder: &'a mut Recorder,
    pub vault: &'a Vault,
}

impl Scene<'_> {
    fn new_id(&mut self) -> Uuid {
        self.desk.new_id(self.at)
    }

    fn deed(&mut self, actor: Actor) -> Deed {
        let command_id = self.new_id();
        self.deed_of(actor, command_id)
    }

    fn deed_of(&mut self, actor: Actor, command_id: Uuid) -> Deed {
        Deed::new(self.at, command_id, Metadata::new(actor, self.new_id()))
    }

    fn claim(&mut self, claims: &[Claim]) -> Result<()> {
        let tenant_id = self.desk.shop.tenant_id;
        claims.iter().try_for_each(|claim| Ok(self.recorder.claim(tenant_id, claim)?))
    }

    fn claim_one(&mut self, scope: &'static str, key: String, owner: Uuid) -> Result<()> {
        self.claim(&[Claim { scope, key, owner }])
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    StartClock,
    Assign,
    CustomerWrites,
    AgentReads,
    AgentWrites,
    Sent,
    Delivered,
    CustomerReads,
    Tag,
    Close(ConversationStatus),
}

pub struct Talk {
    /// Whose customer it is, of the desks of the log.
    pub desk: usize,
    agent: Actor,
    person: NewKey,
    customer: Customer,
    strand: Strand,
    state: Conversation,
    said: u32,
    messages: u32,
    is_tagged: bool,
    sending: Option<Sending>,
    next: Act,
}

#[derive(Clone)]
struct Customer {
    id: Uuid,
    profile: Profile,
}

/// An answer on its way.
struct Sending {
    message_id: Uuid,
    external_id: String,
    strand: Strand,
    state: Message,
}

impl Talk {
    /// Somebody writes for the first time. Answers when the next thing happens, in microseconds.
    ///
    /// # Errors
    /// When the product would not have it so.
    pub fn begin(desk: usize, scene: &mut Scene<'_>) -> Result<(Self, i64)> {
        let number = scene.desk.welcome();
        let (id, conversation_id) = (scene.new_id(), scene.new_id());
        let tenant_id = scene.desk.shop.tenant_id;
        let agent = scene.rng.random_range(0..scene.desk.agents.len());
        let messages = if number == 0 { scene.desk.shop.longest } else { scene.desk.shop.messages };
        let address = words::phone_number(number);
        let profile = Profile {
            phone_number: Some(format!("+{address}")),
            name: Some(words::name(scene.rng)),
            email: None,
            address,
        };
        let mut talk = Self {
            desk,
            agent: scene.desk.agents[agent].clone(),
            person: scene.recorder.introduce(tenant_id, id, scene.at)?,
            customer: Customer { id, profile },
            strand: Strand::new::<Conversation>(tenant_id, conversation_id),
            state: Conversation::default(),
            said: 0,
            messages,
            is_tagged: false,
            sending: None,
            next: Act::StartClock,
        };
        let text = words::greeting(number, scene.rng);
        talk.greet(scene, conversation_id, text)?;
        let next = talk.after(scene, Act::StartClock, 1.0, 2.0);
        Ok((talk, next))
    }

    fn greet(&mut self, scene: &mut Scene<'_>, conversation_id: Uuid, text: String) -> Result<()> {
        let (deed, message) = self.incoming(scene, text);
        let Customer { id, profile } = self.customer.clone();
        let mut strand = Strand::new::<Contact>(scene.desk.shop.tenant_id, id);
        for event in decide::create_contact(&Contact::default(), id, CHANNEL, &profile).events {
            scene.recorder.record(&mut strand, &deed, Some(&self.person), &event)?;
        }
        scene.claim_one(IDENTITY, identity_key(scene.vault, CHANNEL, &profile.address), id)?;
        scene.claim_one(PARTNERS, partners_key(id, scene.desk.shop.account_id), conversation_id)?;
        self.hear(scene, &deed, message)
    }

    /// What was planned happens. Answers when the next thing does, in microseconds; nothing if it is over.
    ///
    /// # Errors
    /// When the product would not have it so.
    pub fn happen(&mut self, scene: &mut Scene<'_>) -> Result<Option<i64>> {
        match self.next {
            Act::StartClock => {
                let decision = sla::start(&self.state, &[], &scene.desk.hours, scene.at)?;
                self.decided(scene, Actor::system(), decision)?;
            }
            Act::Assign => {
                let decision = conversation::assign(&self.state, Some(self.agent.id))?;
                self.decided(scene, self.agent.clone(), decision)?;
            }
            Act::CustomerWrites => {
                let text = words::text(scene.rng);
                let (deed, message) = self.incoming(scene, text);
                self.hear(scene, &deed, message)?;
            }
            Act::AgentReads => {
                let decision = conversation::mark_read(&self.state)?;
                self.decided(scene, self.agent.clone(), decision)?;
            }
            Act::AgentWrites => self.answer(scene)?,
            Act::Sent => self.report(scene, Report::Sent)?,
            Act::Delivered => {
                let at = scene.at;
                self.report(scene, Report::Delivered { at, pricing: None })?;
            }
            Act::CustomerReads => {
                let at = scene.at;
                self.report(scene, Report::Read { at })?;
            }
            Act::Tag => {
                let tag = words::tag(scene.rng);
                let decision = conversation::set_tags(&self.state, &[tag])?;
                self.decided(scene, self.agent.clone(), decision)?;
            }
            Act::Close(status) => {
                let decision = conversation::set_status(&self.state, status)?;
                self.decided(scene, self.agent.clone(), decision)?;
            }
        }
        Ok(self.go_on(scene))
    }

    fn go_on(&mut self, scene: &mut Scene<'_>) -> Option<i64> {
        let chance = |scene: &mut Scene<'_>, of: f64| scene.rng.random_bool(of);
        match self.next {
            Act::StartClock if chance(scene, ASSIGNED) => Some(self.after(scene, Act::Assign, 5.0, 600.0)),
            Act::AgentReads => Some(self.after(scene, Act::AgentWrites, 5.0, 60.0)),
            Act::AgentWrites => Some(self.after(scene, Act::Sent, 0.2, 1.0)),
            Act::Sent if chance(scene, REPORTED) => Some(self.after(scene, Act::Delivered, 0.5, 5.0)),
            Act::Delivered => Some(self.after(scene, Act::CustomerReads, 5.0, 600.0)),
            Act::Close(_) if self.said == self.messages => None,
            _ if self.said < self.messages => Some(self.take_turns(scene)),
            _ if !self.is_tagged && chance(scene, TAGGED) => {
                self.is_tagged = true;
                Some(self.after(scene, Act::Tag, 5.0, 60.0))
            }
            _ => {
                let status = match scene.rng.random::<f64>() {
                    fate if fate < RESOLVED => ConversationStatus::Resolved,
                    fate if fate < RESOLVED + PENDING => ConversationStatus::Pending,
                    _ => return None,
                };
                Some(self.after(scene, Act::Close(status), 5.0, 600.0))
            }
        }
    }

    /// The next message, and what goes before it.
    fn take_turns(&mut self, scene: &mut Scene<'_>) -> i64 {
        let is_resolved = self.state.status == ConversationStatus::Resolved;
        if BY_CUSTOMER[self.said as usize % BY_CUSTOMER.len()] {
            if !is_resolved && scene.rng.random_bool(COMES_BACK) {
                return self.after(scene, Act::Close(ConversationStatus::Resolved), 60.0, 600.0);
            }
            return self.after(scene, Act::CustomerWrites, 60.0, 3600.0);
        }
        if self.state.unread_count > 0 && scene.rng.random_bool(MARKED_READ) {
            return self.after(scene, Act::AgentReads, 60.0, 1800.0);
        }
        self.after(scene, Act::AgentWrites, 60.0, 3600.0)
    }

    /// Plans what happens within this many seconds.
    fn after(&mut self, scene: &mut Scene<'_>, act: Act, least: f64, most: f64) -> i64 {
        self.next = act;
        let haste = f64::from(LEISURELY) / f64::from(self.messages.max(LEISURELY));
        let seconds = scene.rng.random_range(least..most) * haste;
        (scene.at + TimeDelta::microseconds((seconds * 1e6) as i64)).timestamp_micros()
    }

    fn incoming(&self, scene: &mut Scene<'_>, text: String) -> (Deed, MessageReceived) {
        let (message_id, account_id) = (scene.new_id(), scene.desk.shop.account_id);
        let external_id = external_id(message_id);
        let Customer { id: contact_id, profile } = &self.customer;
        let command_id = ids::named_id(account_id, &format!("message:{external_id}"));
        let deed = scene.deed_of(Actor::new(ActorKind::Contact, *contact_id), command_id);
        let content = MessageContent::Text { text };
        let message = MessageReceived {
            message_id,
            contact_id: *contact_id,
            account_id,
            channel: CHANNEL,
            external_id,
            kind: content.kind().to_owned(),
            sender: Personal::new(*contact_id, profile.phone_number.clone().unwrap_or_default()),
            content: Personal::new(*contact_id, content),
            sent_at: scene.at,
            reply_to: None,
            forwarded: false,
            referral: None,
        };
        (deed, message)
    }

    fn hear(&mut self, scene: &mut Scene<'_>, deed: &Deed, message: MessageReceived) -> Result<()> {
        let (message_id, key) =
            (message.message_id, channel_message_key(message.account_id, &message.external_id));
        self.said += 1;
        self.record(scene, deed, &decide::next_message(&self.state, None, message))?;
        scene.claim_one(CHANNEL_MESSAGE, key, message_id)
    }

    fn answer(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        let message_id = scene.new_id();
        let content = MessageContent::Text { text: words::text(scene.rng) };
        let outbound = Outbound { message_id, content, author: Author::Human, refers_to: None };
        let decision = message::queue(&self.state, &ChatExpirationRule::default(), scene.at, &outbound)?;
        self.said += 1;
        self.sending = Some(Sending {
            message_id,
            external_id: external_id(message_id),
            strand: Strand::new::<Message>(scene.desk.shop.tenant_id, message_id),
            state: Message::default(),
        });
        self.decided(scene, self.agent.clone(), decision)
    }

    fn report(&mut self, scene: &mut Scene<'_>, report: Report) -> Result<()> {
        let Some(sending) = &mut self.sending else { return Ok(()) };
        let identity = Identity {
            message_id: sending.message_id,
            conversation_id: self.strand.stream_id(),
            account_id: scene.desk.shop.account_id,
            external_id: &sending.external_id,
        };
        let decision = delivery::report(&sending.state, identity, report);
        let deed = scene.deed(Actor::system());
        for event in &decision.events {
            let context = scene.recorder.record(&mut sending.strand, &deed, None, event)?;
            sending.state.evolve(event, context);
        }
        scene.claim(&decision.claims)
    }

    fn decided(
        &mut self,
        scene: &mut Scene<'_>,
        actor: Actor,
        decision: Decision<ConversationEvent>,
    ) -> Result<()> {
        let deed = scene.deed(actor);
        self.record(scene, &deed, &decision.events)
    }

    fn record(&mut self, scene: &mut Scene<'_>, deed: &Deed, events: &[ConversationEvent]) -> Result<()> {
        for event in events {
            let context = scene.recorder.record(&mut self.strand, deed, Some(&self.person), event)?;
            self.state.evolve(event, context);
        }
        Ok(())
    }
}

/// Opaque, as WhatsApp's.
fn external_id(message_id: Uuid) -> String {
    format!("wamid.{}", message_id.simple())
}
