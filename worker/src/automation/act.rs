//! Doing what a rule asks for. Everything inside is a command whose id follows from item, rule and index, so that doing
//! it again changes nothing; a call to somebody else's server bears that id, for the receiver to tell a repetition.

use std::collections::BTreeMap;

use commands::automation_call::{self, Call, Noted};
use commands::csat_survey::Ask;
use commands::message::Outbound;
use commands::store::{Decision, Origin};
use commands::{
    CommandError, Refusal, Store, automation_action, chat_expiration_rule, conversation, csat_survey, ids,
    message, sla, wa_template,
};
use domain::agent::Agent;
use domain::aggregate::Aggregate;
use domain::automation::RenderedAction;
use domain::automation_item::{Enqueued, action_key};
use domain::billing::LimitName;
use domain::channel::Channel;
use domain::conversation::{Author, Conversation, ConversationEvent};
use domain::division::Division;
use domain::event::{Actor, ActorKind, Metadata};
use domain::message_content::MessageContent;
use domain::sla_policy::SlaPolicy;
use domain::wa_template::WaTemplate;
use projections::usage;
use serde_json::json;
use uuid::Uuid;

use super::failure::Failure;
use super::{Engine, webhook};

/// Which action of which rule for which item.
pub(super) struct Acting<'a> {
    pub tenant_id: Uuid,
    pub item_id: Uuid,
    pub facts: &'a Enqueued,
    pub rule_id: Uuid,
    pub rule_name: &'a str,
    pub index: usize,
    /// The item's version since this attempt began, and since the first of those that were interrupted before it.
    pub attempt: i64,
    pub begun: i64,
}

/// What a person reads when nobody knows whether a call arrived.
const INTERRUPTED: &str = "The program was interrupted while calling, so the call may or may not have arrived. If it did not, \
     retry: it bears the same webhook-id.";

/// Where in the log the effect stands, if it left something there; or why there is none.
pub(super) type Effect = Result<Option<i64>, Failure>;

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
            return call_webhook(engine, acting, url, headers).await;
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
    match effect {
        // Refused now, but it took effect before the attempt that did it was interrupted.
        Err(CommandError::Refused(refusal)) => match done_before(&engine.store, acting).await? {
            Some(position) => Ok(Some(position)),
            None => Err(CommandError::Refused(refusal).into()),
        },
        effect => Ok(effect?),
    }
}

async fn call_webhook(
    engine: &Engine,
    acting: &Acting<'_>,
    url: &str,
    headers: &BTreeMap<String, String>,
) -> Effect {
    let Acting { tenant_id, attempt, begun, .. } = *acting;
    let call = Call { tenant_id, key: acting.key(), attempt, begun };
    match automation_call::begin(&engine.store, call).await? {
        Noted::New => {}
        Noted::Arrived => return Ok(None),
        Noted::Unknown => return Err(Failure::permanent(INTERRUPTED)),
    }
    let (body, now) = (webhook_body(acting), engine.store.clock().now());
    let called = webhook::call(&engine.outbound, url, headers, (call.key, now), &body).await;
    if let Err(error) = automation_call::end(&engine.store, call, called.is_ok()).await {
        // The item's own record says what came of it, unless this process dies before that.
        tracing::warn!(item_id = %acting.item_id, %error, "what came of a call was not noted");
    }
    called.map(|()| None)
}

async fn done_before(store: &Store, acting: &Acting<'_>) -> Result<Option<i64>, CommandError> {
    store.position_of(acting.tenant_id, acting.key()).await
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
    let (agent, _): (Agent, _) = store.current(acting.tenant_id, agent_id).await?;
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
    let (division, _): (Division, _) = store.current(acting.tenant_id, division_id).await?;
    if !division.exists() {
        return Err(gone("division"));
    }
    decide(store, acting, |state| automation_action::move_to_division(state, division_id)).await
}

async fn apply_sla(store: &Store, acting: &Acting<'_>, policy_id: Uuid) -> Result<Option<i64>, CommandError> {
    let (policy, _): (SlaPolicy, _) = store.current(acting.tenant_id, policy_id).await?;
    if !policy.exists() {
        return Err(gone("SLA policy"));
    }
    let state = conversation_of(store, acting).await?;
    let hours = crate::sla::hours_of(store, acting.tenant_id, state.division_id).await?;
    let (terms, now) = (policy.as_policy(policy_id).terms(), store.clock().now());
    decide(store, acting, |state| sla::apply(state, &terms, &hours, now)).await
}

async fn send_template(
    store: &Store,
    acting: &Acting<'_>,
    template_id: Uuid,
    variables: BTreeMap<String, String>,
) -> Result<Option<i64>, CommandError> {
    let state = conversation_of(store, acting).await?;
    if state.channel != Channel::Whatsapp {
        return Err(Refusal::conflict("wrong_channel", "Only WhatsApp has message templates.").into());
    }
    let (template, _): (WaTemplate, _) = store.current(acting.tenant_id, template_id).await?;
    if !template.exists() {
        return Err(gone("template"));
    }
    let whose = (acting.tenant_id, state.account_id);
    wa_template::check_for_account(store, whose, None, template_id, &variables).await?;
    send(store, acting, MessageContent::Template { template_id, variables }).await
}

async fn send(
    store: &Store,
    acting: &Acting<'_>,
    content: MessageContent,
) -> Result<Option<i64>, CommandError> {
    let (tenant_id, now) = (acting.tenant_id, store.clock().now());
    let state = conversation_of(store, acting).await?;
    message::check_partners(store, tenant_id, &state).await?;
    let _admission = usage::admit(store, acting.tenant_id, LimitName::MaxMessagesMonth).await?;
    let rule = chat_expiration_rule::of_channel(store, tenant_id, state.channel).await?;
    let message_id = ids::named_id(acting.key(), "message");
    let outbound = Outbound { message_id, content, author: Author::Automation, refers_to: None };
    decide(store, acting, |state| message::queue(state, &rule, now, &outbound)).await
}

/// A survey, and on WhatsApp within the messaging window the question to the customer.
async fn send_csat(store: &Store, acting: &Acting<'_>) -> Result<Option<i64>, CommandError> {
    let _admission = usage::admit(store, acting.tenant_id, LimitName::MaxMessagesMonth).await?;
    let ask = Ask {
        survey_id: ids::named_id(acting.key(), "survey"),
        message_id: ids::named_id(acting.key(), "question"),
        conversation_id: acting.facts.conversation_id,
    };
    let asked = csat_survey::ask(store, &acting.origin(), &ask).await?;
    Ok((asked.position > 0).then_some(asked.position))
}

async fn conversation_of(store: &Store, acting: &Acting<'_>) -> Result<Conversation, CommandError> {
    Ok(store.current(acting.tenant_id, acting.facts.conversation_id).await?.0)
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
