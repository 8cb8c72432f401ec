//! Doing what a rule asks for. Everything inside is a command whose id follows from item, rule and index, so that doing
//! it again changes nothing; a call to somebody else's server bears that id, for the receiver to tell a repetition.

use commands::message::Outbound;
use commands::store::{Decision, Origin};
use commands::{
    CommandError, Refusal, Store, automation_action, conversation, csat_survey, ids, message, sla,
};
use domain::agent::Agent;
use domain::aggregate::Aggregate;
use domain::automation::RenderedAction;
use domain::automation_item::{Enqueued, action_key};
use domain::channel::Channel;
use domain::contact::Contact;
use domain::conversation::{Author, Conversation, ConversationEvent};
use domain::csat_survey::CsatSurvey;
use domain::division::Division;
use domain::event::{Actor, ActorKind, Metadata};
use domain::integration_account::IntegrationAccount;
use domain::message_content::MessageContent;
use domain::sla_policy::SlaPolicy;
use projections::documents;
use serde_json::json;
use uuid::Uuid;

use super::Engine;

/// The kind of the documents that `send_template` names.
const TEMPLATES: &str = "wa_template";

/// Which action of which rule for which item.
pub(super) struct Acting<'a> {
    pub tenant_id: Uuid,
    pub item_id: Uuid,
    pub facts: &'a Enqueued,
    pub rule_id: Uuid,
    pub rule_name: &'a str,
    pub index: usize,
}

/// Where in the log the effect stands, if it left something there; or why there is none, for a person.
pub(super) type Effect = Result<Option<i64>, String>;

impl Acting<'_> {
    fn key(&self) -> Uuid {
        action_key(self.item_id, self.rule_id, self.index)
    }

    fn origin(&self) -> Origin {
        let name = Some(self.rule_name.to_owned());
        let actor = Actor { name, ..Actor::new(ActorKind::AutomationRule, self.rule_id) };
        let metadata = Metadata {
            causation_id: Some(self.facts.source_event_id),
            ..Metadata::new(actor, self.facts.correlation_id)
        };
        Origin { command_id: self.key(), ..Origin::new(self.tenant_id, metadata) }
    }
}

pub(super) async fn act(engine: &Engine, acting: &Acting<'_>, action: &RenderedAction) -> Effect {
    let effect = match action {
        RenderedAction::CallWebhook { url, headers } => {
            let body = webhook_body(acting);
            return engine.webhooks.post(url, headers, acting.key(), &body).await.map(|()| None);
        }
        RenderedAction::SendMessage { content } => {
            let content = MessageContent::Text { text: content.text.clone() };
            send(&engine.store, acting, content).await
        }
        RenderedAction::SendTemplate { template_id, variables } => {
            let variables = variables.clone();
            send_template(&engine.store, acting, *template_id, variables).await
        }
        RenderedAction::SendCsat => send_csat(&engine.store, acting).await,
        RenderedAction::ApplySla { policy_id } => apply_sla(&engine.store, acting, *policy_id).await,
        RenderedAction::AssignAgent { agent_id } => assign(&engine.store, acting, *agent_id).await,
        RenderedAction::AssignDivision { division_id } => {
            assign_division(&engine.store, acting, *division_id).await
        }
        simple => decide(&engine.store, acting, |state| change(state, acting, simple)).await,
    };
    effect.map_err(|error| reason(&error))
}

/// What needs nothing but the conversation.
fn change(
    state: &Conversation,
    acting: &Acting<'_>,
    action: &RenderedAction,
) -> Result<Decision<ConversationEvent>, Refusal> {
    match action {
        RenderedAction::Unassign => conversation::assign(state, None),
        RenderedAction::SetStatus { status } => conversation::set_status(state, *status),
        RenderedAction::AddTags { tags } => conversation::add_tags(state, tags),
        RenderedAction::RemoveTags { tags } => conversation::remove_tags(state, tags),
        RenderedAction::AddNote { content } => {
            let note_id = ids::named_id(acting.key(), "note");
            automation_action::add_note(state, note_id, content, acting.rule_id)
        }
        RenderedAction::StartAi { ai_agent_id } => automation_action::start_ai(state, *ai_agent_id),
        RenderedAction::StopAi => automation_action::stop_ai(state),
        other => Err(Refusal::conflict("not_possible", format!("{} is not a change.", other.name()))),
    }
}

fn reason(error: &CommandError) -> String {
    match error {
        CommandError::Refused(refusal) if refusal.fields.is_empty() => {
            format!("{}: {}", refusal.code, refusal.detail)
        }
        CommandError::Refused(refusal) => {
            let fields = refusal.fields.iter().map(|field| format!("{} {}", field.field, field.message));
            format!("{}: {}", refusal.code, fields.collect::<Vec<_>>().join(", "))
        }
        error => {
            tracing::warn!(%error, "an action of automation failed");
            "It could not be carried out at the moment.".to_owned()
        }
    }
}

fn gone(what: &str) -> CommandError {
    Refusal::conflict("target_gone", format!("The {what} does not exist any more.")).into()
}

async fn decide(
    store: &Store,
    acting: &Acting<'_>,
    decide: impl Fn(&Conversation) -> Result<Decision<ConversationEvent>, Refusal> + Send,
) -> Result<Option<i64>, CommandError> {
    let done = store.execute::<Conversation>(&acting.origin(), acting.facts.conversation_id, decide).await?;
    Ok((done.position > 0).then_some(done.position))
}

async fn assign(store: &Store, acting: &Acting<'_>, agent_id: Uuid) -> Result<Option<i64>, CommandError> {
    let agent: Agent = store.load(acting.tenant_id, agent_id).await?;
    if !agent.exists() {
        return Err(gone("agent"));
    }
    if agent.is_suspended {
        return Err(Refusal::conflict("agent_suspended", "The agent is suspended.").into());
    }
    decide(store, acting, |state| conversation::assign(state, Some(agent_id))).await
}

async fn assign_division(
    store: &Store,
    acting: &Acting<'_>,
    division_id: Uuid,
) -> Result<Option<i64>, CommandError> {
    let division: Division = store.load(acting.tenant_id, division_id).await?;
    if !division.exists() {
        return Err(gone("division"));
    }
    decide(store, acting, |state| automation_action::move_to_division(state, division_id)).await
}

async fn apply_sla(store: &Store, acting: &Acting<'_>, policy_id: Uuid) -> Result<Option<i64>, CommandError> {
    let policy: SlaPolicy = store.load(acting.tenant_id, policy_id).await?;
    if !policy.exists() {
        return Err(gone("SLA policy"));
    }
    let state: Conversation = store.load(acting.tenant_id, acting.facts.conversation_id).await?;
    let hours = crate::sla::hours_of(store, acting.tenant_id, state.division_id).await?;
    let (terms, now) = (policy.as_policy(policy_id).terms(), store.clock().now());
    decide(store, acting, |state| sla::apply(state, &terms, &hours, now)).await
}

async fn send_template(
    store: &Store,
    acting: &Acting<'_>,
    template_id: Uuid,
    variables: std::collections::BTreeMap<String, String>,
) -> Result<Option<i64>, CommandError> {
    let state: Conversation = store.load(acting.tenant_id, acting.facts.conversation_id).await?;
    if state.channel != Channel::Whatsapp {
        return Err(Refusal::conflict("wrong_channel", "Only WhatsApp has message templates.").into());
    }
    let known = {
        let mut db = store.pool().acquire().await?;
        documents::exists(&mut db, acting.tenant_id, TEMPLATES, template_id).await?
    };
    if !known {
        return Err(gone("template"));
    }
    send(store, acting, MessageContent::Template { template_id, variables }).await
}

async fn send(
    store: &Store,
    acting: &Acting<'_>,
    content: MessageContent,
) -> Result<Option<i64>, CommandError> {
    can_write(store, acting).await?;
    let message_id = ids::named_id(acting.key(), "message");
    let outbound = Outbound { message_id, content, author: Author::Automation, refers_to: None };
    let now = store.clock().now();
    decide(store, acting, |state| message::queue(state, now, &outbound)).await
}

/// Whether the account can send and the contact can be written to.
async fn can_write(store: &Store, acting: &Acting<'_>) -> Result<(), CommandError> {
    let state: Conversation = store.load(acting.tenant_id, acting.facts.conversation_id).await?;
    let account: IntegrationAccount = store.load(acting.tenant_id, state.account_id).await?;
    if !account.exists() || !account.is_active {
        let detail = "The account of this conversation is not active.";
        return Err(Refusal::conflict("channel_inactive", detail).into());
    }
    let contact: Contact = store.load(acting.tenant_id, state.contact_id).await?;
    if contact.erased_at.is_some() {
        return Err(Refusal::conflict("contact_erased", "The contact was erased.").into());
    }
    Ok(())
}

/// A survey, and on WhatsApp within the messaging window the question to the customer.
async fn send_csat(store: &Store, acting: &Acting<'_>) -> Result<Option<i64>, CommandError> {
    let (conversation_id, now) = (acting.facts.conversation_id, store.clock().now());
    let state: Conversation = store.load(acting.tenant_id, conversation_id).await?;
    let open = store.claim_owner(acting.tenant_id, csat_survey::OPEN, &conversation_id.to_string()).await?;
    if let Some(old) = open {
        let origin = acting.origin().part("expire");
        store.execute::<CsatSurvey>(&origin, old, |survey| Ok(csat_survey::expire(survey, old, now))).await?;
    }
    let id = ids::named_id(acting.key(), "survey");
    let asked = store
        .execute::<CsatSurvey>(&acting.origin(), id, |survey| {
            csat_survey::request(survey, id, conversation_id, &state)
        })
        .await?;
    if state.channel == Channel::Whatsapp && state.window_open(now) {
        can_write(store, acting).await?;
        let question = Outbound {
            message_id: ids::named_id(acting.key(), "question"),
            content: csat_survey::question(id),
            author: Author::Survey,
            refers_to: None,
        };
        let origin = acting.origin().part("ask");
        store
            .execute::<Conversation>(&origin, conversation_id, |state| message::queue(state, now, &question))
            .await?;
    }
    Ok((asked.position > 0).then_some(asked.position))
}

fn webhook_body(acting: &Acting<'_>) -> serde_json::Value {
    json!({
        "id": acting.key(),
        "type": "automation.webhook",
        "rule": { "id": acting.rule_id, "name": acting.rule_name },
        "event": { "id": acting.item_id, "type": acting.facts.trigger },
        "conversation_id": acting.facts.conversation_id,
        "payload": acting.facts.payload.known(),
    })
}
