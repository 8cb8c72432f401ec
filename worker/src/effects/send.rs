//! One effect: from the event that asked for it to the call, and from the answer to the events that say so.

use commands::delivery::{self, Identity, Report};
use commands::ports::{GraphAccess, GraphError};
use commands::store::Origin;
use commands::{CommandError, Store};
use domain::aggregate::Aggregate;
use domain::channel::Channel;
use domain::contact::Contact;
use domain::conversation::{Conversation, ConversationEvent, MessageQueued};
use domain::event::{Actor, EventBody, Metadata};
use domain::integration_account::IntegrationAccount;
use domain::message::Message;
use domain::message_content::MessageContent;
use domain::wa_template::WaTemplate;
use domain::whatsapp::{OutgoingMessage, Retry, SendFailure, parse_send_response, read_receipt_body};
use serde_json::Value;
use uuid::Uuid;

use super::queue::Claimed;
use super::{Attempt, Sender, UNKNOWN};

/// Why something can't be sent at all.
struct Unsendable(String);

impl From<Unsendable> for Prepared {
    fn from(Unsendable(reason): Unsendable) -> Self {
        Self::Settled(Attempt::Failed { code: None, reason })
    }
}

/// An effect that is ready.
pub(super) enum Prepared {
    Call(Call),
    /// There is nothing to call about.
    Settled(Attempt),
}

/// A request to the Graph API, with all that it needs.
pub(super) struct Call {
    way: Way,
    body: Value,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Message,
    Receipt,
}

impl Call {
    pub(super) async fn make(&self, sender: &Sender) -> Attempt {
        match (self.way.post(sender, &self.body).await, self.kind) {
            (Ok(answer), Kind::Message) => match parse_send_response(200, &answer) {
                Ok(external_id) => Attempt::Sent(Some(external_id)),
                Err(failure) => failed(failure),
            },
            (Ok(_), Kind::Receipt) => Attempt::Sent(None),
            // A second receipt does no harm, so not knowing is no reason to give up.
            (Err(GraphError::Unknown(reason)), Kind::Receipt) => Attempt::Later { code: None, reason },
            (Err(error), _) => not_accepted(error),
        }
    }
}

pub(super) async fn prepare(sender: &Sender, effect: &Claimed) -> Result<Prepared, CommandError> {
    match event_of(&sender.store, effect).await? {
        ConversationEvent::MessageQueued(message) => prepare_message(sender, effect, &message).await,
        ConversationEvent::Read { external_id: Some(external_id) } => {
            prepare_receipt(sender, effect, &external_id).await
        }
        _ => Ok(Unsendable("The event asks for nothing.".to_owned()).into()),
    }
}

/// The event that asked for the effect, opened.
async fn event_of(store: &Store, effect: &Claimed) -> Result<ConversationEvent, CommandError> {
    let event = store.logged(effect.log_id, effect.position).await?;
    let event = event.ok_or_else(|| CommandError::failed("an effect without its event"))?;
    ConversationEvent::decode(&event.event_type, event.schema_version, &event.body)
        .map_err(CommandError::failed)
}

async fn prepare_message(
    sender: &Sender,
    effect: &Claimed,
    message: &MessageQueued,
) -> Result<Prepared, CommandError> {
    let way = match way_of(sender, effect.tenant_id, message.account_id).await? {
        Ok(way) => way,
        Err(unsendable) => return Ok(unsendable.into()),
    };
    let contact: Contact = sender.store.load(effect.tenant_id, message.contact_id).await?;
    let (Some(profile), Some(content)) = (contact.profile.known(), message.content.known()) else {
        return Ok(Unsendable("The contact was erased before this was sent.".to_owned()).into());
    };
    let callback_data = message.message_id.to_string();
    let template = match content {
        MessageContent::Template { template_id, .. } => {
            let (template, _): (WaTemplate, _) = sender.store.current(effect.tenant_id, *template_id).await?;
            template.exists().then(|| template.reference())
        }
        _ => None,
    };
    let outgoing = OutgoingMessage {
        template: template.as_ref(),
        refers_to: message.refers_to.as_deref(),
        callback_data: Some(&callback_data),
        ..OutgoingMessage::new(&profile.address, content)
    };
    let body = match outgoing.request_body() {
        Ok(body) => body,
        Err(not_sendable) => return Ok(Unsendable(not_sendable.to_string()).into()),
    };
    Ok(Prepared::Call(Call { way, body, kind: Kind::Message }))
}

async fn prepare_receipt(
    sender: &Sender,
    effect: &Claimed,
    external_id: &str,
) -> Result<Prepared, CommandError> {
    let conversation: Conversation = sender.store.load(effect.tenant_id, effect.conversation_id).await?;
    if conversation.channel != Channel::Whatsapp {
        return Ok(Prepared::Settled(Attempt::Sent(None)));
    }
    let way = match way_of(sender, effect.tenant_id, conversation.account_id).await? {
        Ok(way) => way,
        Err(unsendable) => return Ok(unsendable.into()),
    };
    Ok(Prepared::Call(Call { way, body: read_receipt_body(external_id), kind: Kind::Receipt }))
}

/// An account's way out.
struct Way {
    phone_number_id: String,
    access: GraphAccess,
}

impl Way {
    async fn post(&self, sender: &Sender, body: &Value) -> Result<Value, GraphError> {
        sender.graph.post(&self.access, &format!("/{}/messages", self.phone_number_id), body).await
    }
}

async fn way_of(
    sender: &Sender,
    tenant_id: Uuid,
    account_id: Uuid,
) -> Result<Result<Way, Unsendable>, CommandError> {
    let unsendable = |reason: &str| Ok(Err(Unsendable(reason.to_owned())));
    let (account, _): (IntegrationAccount, _) = sender.store.current(tenant_id, account_id).await?;
    if !account.exists() {
        return unsendable("The account that this conversation belongs to was disconnected.");
    }
    if !account.is_active {
        return unsendable("The account is switched off. An administrator must switch it on.");
    }
    if account.channel != Channel::Whatsapp {
        return unsendable("Messages can't be sent on this channel.");
    }
    let Some(phone_number_id) = account.config.text("phone_number_id").map(str::to_owned) else {
        return unsendable("The account has no phone_number_id. An administrator must set it.");
    };
    let access_token = match account.config.secrets.get("access_token") {
        Some(secret) => sender.store.vault().open_secret(tenant_id, secret).await?,
        None => match &sender.fallback_token {
            Some(token) => token.clone(),
            None => return unsendable("The account has no access token. An administrator must set it."),
        },
    };
    Ok(Ok(Way { phone_number_id, access: GraphAccess { access_token } }))
}

fn not_accepted(error: GraphError) -> Attempt {
    match error {
        GraphError::Refused { status, body } => failed(SendFailure::from_response(status, &body)),
        GraphError::Unreachable(cause) => {
            tracing::warn!(cause, "Meta can't be reached");
            let reason = "WhatsApp could not be reached. Try again later.".to_owned();
            Attempt::Later { code: None, reason }
        }
        GraphError::Unknown(cause) => {
            tracing::warn!(cause, "Meta did not answer");
            Attempt::Failed { code: None, reason: UNKNOWN.to_owned() }
        }
    }
}

fn failed(failure: SendFailure) -> Attempt {
    let SendFailure { code, retry, explanation: reason } = failure;
    match retry {
        Retry::Later => Attempt::Later { code, reason },
        Retry::Never => Attempt::Failed { code, reason },
    }
}

fn origin(effect: &Claimed, name: &str) -> Origin {
    let command_id = effect.command_id(name);
    Origin { command_id, ..Origin::new(effect.tenant_id, Metadata::new(Actor::system(), command_id)) }
}

pub(super) async fn record_sent(
    store: &Store,
    effect: &Claimed,
    external_id: &str,
) -> Result<(), CommandError> {
    let (Some(message_id), Some(account_id)) = (effect.message_id, effect.account_id) else {
        return Ok(());
    };
    let identity = Identity { message_id, conversation_id: effect.conversation_id, account_id, external_id };
    let sent = store
        .execute::<Message>(&origin(effect, "sent"), message_id, |state| {
            Ok(delivery::report(state, identity, Report::Sent))
        })
        .await;
    match sent {
        // Not even a channel that gives two messages one id may make us send again.
        Err(CommandError::Refused(refusal)) if refusal.code == "already_taken" => {
            tracing::error!(%message_id, external_id, "the channel gave this id to another message before");
            let unclaimed = |state: &Message| {
                let mut decision = delivery::report(state, identity, Report::Sent);
                decision.claims.clear();
                Ok(decision)
            };
            store.execute::<Message>(&origin(effect, "sent"), message_id, unclaimed).await?;
            Ok(())
        }
        settled => settled.map(|_| ()),
    }
}

pub(super) async fn record_failed(
    store: &Store,
    effect: &Claimed,
    code: Option<i64>,
    reason: &str,
) -> Result<(), CommandError> {
    let Some(message_id) = effect.message_id else { return Ok(()) };
    let failed = |state: &Message| Ok(delivery::fail(state, effect.conversation_id, code, reason));
    store.execute::<Message>(&origin(effect, "failed"), message_id, failed).await?;
    Ok(())
}
