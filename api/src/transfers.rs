//! Handing conversations on, and the history of that.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use commands::transfer;
use domain::agent::Agent;
use domain::aggregate::Aggregate;
use domain::allocation::choose;
use domain::conversation::{Conversation, ConversationEvent, Transfer};
use domain::division::Division;
use domain::event::EventBody;
use domain::personal::Personal;
use garde::Validate;
use projections::allocation::{self, TransferRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::{Access, Answer, Body, Created, Group, List, Path, Problem, get, group, post};
use crate::{App, Ctx};

/// Transfers shown of one conversation, newest first.
const MAX_TRANSFERS: i64 = 200;

pub fn routes() -> Group<App> {
    group(
        "Transfers",
        [
            post("/api/conversations/{id}/transfer", "Transfer a conversation", Access::Any, create)
                .describe(
                    "to_agent_id or to_division_id (then the division's allocation_method picks the agent)",
                ),
            get(
                "/api/conversations/{id}/transfers",
                "List transfer history for a conversation",
                Access::Any,
                list,
            ),
        ],
    )
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct TransferConversationRequest {
    #[garde(skip)]
    to_agent_id: Option<Uuid>,
    #[garde(skip)]
    to_division_id: Option<Uuid>,
    #[garde(length(chars, max = 2000))]
    note: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct ConversationTransfer {
    id: Uuid,
    conversation_id: Uuid,
    transferred_by: Uuid,
    created_at: DateTime<Utc>,
    from_agent_id: Option<Uuid>,
    to_agent_id: Option<Uuid>,
    to_division_id: Option<Uuid>,
    note: Option<String>,
    from_agent_name: Option<String>,
    to_agent_name: Option<String>,
    to_division_name: Option<String>,
    transferred_by_name: Option<String>,
}

async fn create(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(new): Body<TransferConversationRequest>,
) -> Answer<Created<ConversationTransfer>> {
    let conversation: Conversation = ctx.app.store().load(ctx.tenant_id(), id).await?;
    let contact_id = conversation.contact_id;
    let transfer_id = ctx.new_id(1);
    let transfer = Transfer {
        transfer_id,
        transferred_by: ctx.member()?.agent_id,
        from_agent_id: None,
        to_agent_id: receiver(&ctx, &new).await?,
        to_division_id: new.to_division_id,
        note: new.note.map(|note| Personal::new(contact_id, note)),
        contact_id,
    };
    let done = ctx.execute::<Conversation>(id, |state| transfer::transfer(state, &transfer)).await?;
    let rows = allocation::transfers(&mut *ctx.reader().await?, ctx.tenant_id(), id, MAX_TRANSFERS).await?;
    let made = match rows.into_iter().find(|row| row.id == transfer_id) {
        Some(row) => Some(row),
        None => of_log(&ctx, id, done.version, transfer_id).await?,
    };
    let made = made.ok_or_else(|| Problem::unavailable("the transfer is not readable yet"))?;
    let shown = named(&ctx, vec![made]).await?;
    Ok(Created(shown.into_iter().next().ok_or_else(|| Problem::internal("a row without its transfer"))?))
}

/// The transfer at this version of the conversation, which the read model does not have yet.
async fn of_log(ctx: &Ctx, id: Uuid, version: i64, transfer_id: Uuid) -> Answer<Option<TransferRow>> {
    let (store, tenant_id) = (ctx.app.store(), ctx.tenant_id());
    let events = store.read_stream(tenant_id, Conversation::STREAM, id, version - 1, 1).await?;
    let Some(mut event) = events.into_iter().next() else { return Ok(None) };
    let keys = store.vault().keys_of(std::iter::once((tenant_id, &event.body))).await?;
    keys.open(tenant_id, &mut event.body);
    let body = ConversationEvent::decode(&event.event_type, event.schema_version, &event.body);
    Ok(match body.map_err(Problem::internal)? {
        ConversationEvent::Transferred(transfer) if transfer.transfer_id == transfer_id => {
            Some(TransferRow::of(tenant_id, id, event.recorded_at, *transfer))
        }
        _ => None,
    })
}

/// The agent named, or the one whom the division picks; nobody when people there pick themselves.
async fn receiver(ctx: &Ctx, new: &TransferConversationRequest) -> Answer<Option<Uuid>> {
    if let Some(agent_id) = new.to_agent_id {
        ctx.require_receiver("to_agent_id", agent_id).await?;
    }
    let division = match new.to_division_id {
        Some(id) => Some(ctx.require::<Division>("to_division_id", id).await?.state),
        None => None,
    };
    match (new.to_agent_id, division) {
        (Some(agent_id), _) => Ok(Some(agent_id)),
        // A division that is switched off hands nothing out.
        (None, Some(division)) if !division.is_active => Ok(None),
        (None, Some(division)) => {
            let members: Vec<Uuid> = division.agents.iter().copied().collect();
            let candidates =
                allocation::candidates(&mut *ctx.reader().await?, ctx.tenant_id(), &members).await?;
            Ok(choose(division.allocation_method, &candidates))
        }
        (None, None) => Err(Problem::invalid("to_agent_id", "or to_division_id is needed")),
    }
}

async fn list(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<List<ConversationTransfer>> {
    let conversation: Conversation = ctx.app.store().load(ctx.tenant_id(), id).await?;
    if conversation.created_at.is_none() {
        return Err(Problem::not_found("conversation"));
    }
    Ok(List(history(&ctx, id).await?))
}

async fn history(ctx: &Ctx, id: Uuid) -> Answer<Vec<ConversationTransfer>> {
    let rows = allocation::transfers(&mut *ctx.reader().await?, ctx.tenant_id(), id, MAX_TRANSFERS).await?;
    named(ctx, rows).await
}

async fn named(ctx: &Ctx, rows: Vec<TransferRow>) -> Answer<Vec<ConversationTransfer>> {
    let agents: HashMap<Uuid, String> =
        ctx.documents::<Agent>().await?.into_iter().map(|agent| (agent.id, agent.state.full_name)).collect();
    let divisions: HashMap<Uuid, String> = ctx
        .documents::<Division>()
        .await?
        .into_iter()
        .map(|division| (division.id, division.state.name))
        .collect();
    let shown = |row: TransferRow| {
        let name_of = |id: Option<Uuid>| id.and_then(|id| agents.get(&id).cloned());
        ConversationTransfer {
            from_agent_name: name_of(row.from_agent_id),
            to_agent_name: name_of(row.to_agent_id),
            to_division_name: row.to_division_id.and_then(|id| divisions.get(&id).cloned()),
            transferred_by_name: name_of(Some(row.transferred_by)),
            id: row.id,
            conversation_id: row.conversation_id,
            transferred_by: row.transferred_by,
            created_at: row.created_at,
            from_agent_id: row.from_agent_id,
            to_agent_id: row.to_agent_id,
            to_division_id: row.to_division_id,
            note: row.note,
        }
    };
    Ok(rows.into_iter().map(shown).collect())
}
