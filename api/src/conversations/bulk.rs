//! One action on many conversations at once, each of which succeeds or fails on its own.

use std::collections::HashSet;

use commands::store::Decision;
use commands::{Refusal, conversation, tags};
use domain::conversation::{Conversation as State, ConversationEvent, ConversationStatus};
use domain::division::Division;
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::StatusName;
use crate::Ctx;
use crate::http::{Answer, Body, Json, Problem};

/// Conversations in one request.
const MAX_IDS: usize = 100;

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    Assign,
    Unassign,
    SetStatus,
    AddTags,
    RemoveTags,
    MarkRead,
    Transfer,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct BulkConversationAction {
    #[garde(length(min = 1, max = MAX_IDS))]
    conversation_ids: Vec<Uuid>,
    #[garde(skip)]
    action: Action,
    /// For assign and transfer.
    #[garde(skip)]
    agent_id: Option<Uuid>,
    /// For transfer.
    #[garde(skip)]
    division_id: Option<Uuid>,
    /// For set_status.
    #[garde(skip)]
    status: Option<StatusName>,
    /// For add_tags and remove_tags.
    #[garde(skip)]
    tags: Option<Vec<String>>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct BulkConversationResult {
    succeeded: Vec<Uuid>,
    failed: Vec<BulkFailure>,
}

#[derive(Serialize, ToSchema)]
struct BulkFailure {
    id: Uuid,
    /// Why, for a person.
    error: String,
}

/// What is to happen to each conversation, with everything that it names known to exist.
enum Change {
    Assign(Option<Uuid>),
    SetStatus(ConversationStatus),
    AddTags(Vec<String>),
    RemoveTags(Vec<String>),
    MarkRead,
    Transfer { division_id: Option<Uuid>, agent_id: Option<Uuid> },
}

impl Change {
    fn decide(&self, state: &State) -> Result<Decision<ConversationEvent>, Refusal> {
        match self {
            Self::Assign(agent_id) => conversation::assign(state, *agent_id),
            Self::SetStatus(status) => conversation::set_status(state, *status),
            Self::AddTags(tags) => conversation::add_tags(state, tags),
            Self::RemoveTags(tags) => conversation::remove_tags(state, tags),
            Self::MarkRead => conversation::mark_read(state),
            Self::Transfer { division_id, agent_id } => {
                conversation::transfer(state, *division_id, *agent_id)
            }
        }
    }
}

/// All commands are queued at once, so that they share commits.
pub(super) async fn run(
    ctx: Ctx,
    Body(wanted): Body<BulkConversationAction>,
) -> Answer<Json<BulkConversationResult>> {
    let change = &change(&ctx, &wanted).await?;
    let origin = ctx.origin();
    let mut seen = HashSet::new();
    let commands = wanted.conversation_ids.iter().filter(|id| seen.insert(**id)).map(|id| {
        let origin = origin.part(&id.to_string());
        let store = ctx.app.store();
        async move { (*id, store.execute::<State>(&origin, *id, |state| change.decide(state)).await) }
    });
    let mut result = BulkConversationResult { succeeded: Vec::new(), failed: Vec::new() };
    let (mut log_id, mut last) = (0, 0);
    for (id, outcome) in futures::future::join_all(commands).await {
        match outcome {
            Ok(decided) => {
                // A tenant's events are all in one log.
                (log_id, last) = (decided.log_id, decided.position.max(last));
                result.succeeded.push(id);
            }
            Err(error) => result.failed.push(failure(&ctx, id, error.into())),
        }
    }
    ctx.settle(log_id, last).await;
    Ok(Json(result))
}

fn failure(ctx: &Ctx, id: Uuid, problem: Problem) -> BulkFailure {
    if problem.is_ours() {
        let cause = problem.cause.as_deref().unwrap_or_default();
        tracing::error!(request_id = %ctx.request_id, conversation_id = %id, cause, "one of a bulk failed");
    }
    BulkFailure { id, error: problem.detail }
}

/// # Errors
/// 422 naming what the action lacks, or an id that names nothing. What another action would need is ignored.
async fn change(ctx: &Ctx, wanted: &BulkConversationAction) -> Answer<Change> {
    let lacks = |field: &str| Problem::invalid(field, "is required for this action");
    let tags = || match wanted.tags.as_deref() {
        None | Some([]) => Err(lacks("tags")),
        Some(tags) => Ok(tags::normalized(tags)?),
    };
    let change = match wanted.action {
        Action::Assign => Change::Assign(Some(wanted.agent_id.ok_or_else(|| lacks("agent_id"))?)),
        Action::Unassign => Change::Assign(None),
        Action::SetStatus => Change::SetStatus(wanted.status.ok_or_else(|| lacks("status"))?.into()),
        Action::AddTags => Change::AddTags(tags()?),
        Action::RemoveTags => Change::RemoveTags(tags()?),
        Action::MarkRead => Change::MarkRead,
        Action::Transfer => match (wanted.division_id, wanted.agent_id) {
            (None, None) => {
                return Err(Problem::invalid("division_id", "or agent_id is required for this action"));
            }
            (division_id, agent_id) => Change::Transfer { division_id, agent_id },
        },
    };
    if let Change::Assign(Some(agent_id)) | Change::Transfer { agent_id: Some(agent_id), .. } = &change {
        ctx.require_receiver("agent_id", *agent_id).await?;
    }
    if let Change::Transfer { division_id: Some(division_id), .. } = &change {
        ctx.require::<Division>("division_id", *division_id).await?;
    }
    Ok(change)
}
