//! What a rule does once it matched: fourteen kinds of action, with text that may hold placeholders.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::facts::Facts;
use super::fields::{Problems, items, settle};
use super::placeholder::Template;
use crate::conversation::ConversationStatus;
use crate::refusal::FieldProblem;

mod parse;

/// Actions of one rule.
pub const MAX_ACTIONS: usize = 20;
/// Characters in a message's text, as anywhere.
pub const MAX_MESSAGE_CHARS: usize = crate::message_content::TEXT_MAX_CHARS;
/// Characters in a note.
pub const MAX_NOTE_CHARS: usize = 10_000;
/// Variables of a message template, and characters in the value of one.
pub const MAX_VARIABLES: usize = 50;
pub const MAX_VARIABLE_CHARS: usize = 1024;
/// Characters in a webhook's URL, headers of its request, characters in the value of one.
pub const MAX_URL_CHARS: usize = 2048;
pub const MAX_HEADERS: usize = 20;
pub const MAX_HEADER_CHARS: usize = 1024;

/// One action. `T` is its text: a [`Template`] in a rule, a `String` once rendered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Action<T = Template> {
    AssignAgent {
        agent_id: Uuid,
    },
    Unassign,
    AssignDivision {
        division_id: Uuid,
    },
    SetStatus {
        status: ConversationStatus,
    },
    AddTags {
        tags: Vec<String>,
    },
    RemoveTags {
        tags: Vec<String>,
    },
    SendMessage {
        content: TextContent<T>,
    },
    SendTemplate {
        template_id: Uuid,
        /// Values by the variable's number or name: `{"1": "{{contact.name}}"}`.
        variables: BTreeMap<String, T>,
    },
    AddNote {
        content: T,
    },
    SendCsat,
    CallWebhook {
        url: String,
        #[serde(default = "BTreeMap::<String, String>::new", skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
    },
    ApplySla {
        policy_id: Uuid,
    },
    /// Without an agent the assignment by channel and division decides.
    StartAi {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ai_agent_id: Option<Uuid>,
    },
    StopAi,
}

/// The content of a text message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TextContent<T> {
    pub text: T,
}

/// An action whose placeholders are filled: what is carried out, shown in a preview and recorded with the run.
pub type RenderedAction = Action<String>;

/// What an id in a rule points to; the write side checks that it exists in the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReferenceKind {
    Agent,
    Division,
    /// A WhatsApp message template.
    Template,
    SlaPolicy,
    AiAgent,
}

/// An id that a rule holds, and the path of the field that holds it (`actions[2].agent_id`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub field: String,
    pub kind: ReferenceKind,
    pub id: Uuid,
}

impl<T> Action<T> {
    /// The wire name, `type`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AssignAgent { .. } => "assign_agent",
            Self::Unassign => "unassign",
            Self::AssignDivision { .. } => "assign_division",
            Self::SetStatus { .. } => "set_status",
            Self::AddTags { .. } => "add_tags",
            Self::RemoveTags { .. } => "remove_tags",
            Self::SendMessage { .. } => "send_message",
            Self::SendTemplate { .. } => "send_template",
            Self::AddNote { .. } => "add_note",
            Self::SendCsat => "send_csat",
            Self::CallWebhook { .. } => "call_webhook",
            Self::ApplySla { .. } => "apply_sla",
            Self::StartAi { .. } => "start_ai",
            Self::StopAi => "stop_ai",
        }
    }

    /// Whether the customer notices: such an action is skipped as stale when it comes a day late.
    #[must_use]
    pub const fn is_customer_facing(&self) -> bool {
        matches!(self, Self::SendMessage { .. } | Self::SendTemplate { .. } | Self::SendCsat)
    }

    /// The field of this action that names another resource.
    #[must_use]
    pub const fn reference(&self) -> Option<(&'static str, ReferenceKind, Uuid)> {
        match self {
            Self::AssignAgent { agent_id } => Some(("agent_id", ReferenceKind::Agent, *agent_id)),
            Self::AssignDivision { division_id } => {
                Some(("division_id", ReferenceKind::Division, *division_id))
            }
            Self::SendTemplate { template_id, .. } => {
                Some(("template_id", ReferenceKind::Template, *template_id))
            }
            Self::ApplySla { policy_id } => Some(("policy_id", ReferenceKind::SlaPolicy, *policy_id)),
            Self::StartAi { ai_agent_id: Some(id) } => Some(("ai_agent_id", ReferenceKind::AiAgent, *id)),
            _ => None,
        }
    }
}

impl Action {
    /// Reads one action.
    ///
    /// # Errors
    /// An unknown type, unknown or missing fields, wrong types, placeholders that do not exist; fields are named
    /// relative to the action (`content.text`).
    pub fn parse(value: &Value) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let action = parse::action(value, "", &mut problems);
        settle(action, problems)
    }

    /// Reads a rule's `actions`, at least one.
    ///
    /// # Errors
    /// As [`Action::parse`], fields named from the rule (`actions[2].agent_id`).
    pub fn parse_all(value: &Value) -> Result<Vec<Self>, Problems> {
        let mut problems = Problems::new();
        let actions = Self::read_all(value, "actions", &mut problems);
        settle(actions, problems)
    }

    pub(super) fn read_all(value: &Value, path: &str, problems: &mut Problems) -> Option<Vec<Self>> {
        let actions = items(value, path, MAX_ACTIONS, problems, parse::action)?;
        if actions.is_empty() {
            problems.push(FieldProblem::new(path, "must hold at least one action"));
            return None;
        }
        Some(actions)
    }

    /// The action with its placeholders filled from the facts.
    #[must_use]
    pub fn render(&self, facts: &Facts) -> RenderedAction {
        match self.clone() {
            Self::AssignAgent { agent_id } => Action::AssignAgent { agent_id },
            Self::Unassign => Action::Unassign,
            Self::AssignDivision { division_id } => Action::AssignDivision { division_id },
            Self::SetStatus { status } => Action::SetStatus { status },
            Self::AddTags { tags } => Action::AddTags { tags },
            Self::RemoveTags { tags } => Action::RemoveTags { tags },
            Self::SendMessage { content } => {
                Action::SendMessage { content: TextContent { text: content.text.render(facts) } }
            }
            Self::SendTemplate { template_id, variables } => Action::SendTemplate {
                template_id,
                variables: variables.into_iter().map(|(name, text)| (name, text.render(facts))).collect(),
            },
            Self::AddNote { content } => Action::AddNote { content: content.render(facts) },
            Self::SendCsat => Action::SendCsat,
            Self::CallWebhook { url, headers } => Action::CallWebhook { url, headers },
            Self::ApplySla { policy_id } => Action::ApplySla { policy_id },
            Self::StartAi { ai_agent_id } => Action::StartAi { ai_agent_id },
            Self::StopAi => Action::StopAi,
        }
    }
}

#[cfg(test)]
mod tests;
