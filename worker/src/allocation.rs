//! Gives a conversation that opens, reopens or arrives in a division to an agent, as the division hands them out; and
//! what waits in the queues, once an agent comes online.
//!
//! On reopening, an agent who is online keeps the conversation; one who is offline or gone loses it. Who got it together
//! with the move to another division keeps it in any case: that was somebody's decision.

use std::time::Duration;

use commands::store::{Decision, Origin};
use commands::{CommandError, Store, ids};
use domain::aggregate::Aggregate;
use domain::allocation::{Candidate, choose};
use domain::conversation::{Conversation, ConversationEvent, ConversationStatus};
use domain::division::Division;
use domain::event::{Actor, Metadata};
use projections::event::{Event, FoldError, decode};
use projections::projection::Projection;
use projections::table::{Fold, Key, table};
use projections::{allocation, documents, row};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::put_off::{Failed, put_off};
use crate::rounds::work_off;

/// The name of the process manager, and of its checkpoint.
const NAME: &str = "allocation_manager";
const BATCH: i64 = 50;
/// Waiting conversations handed out in one go, before what just came in has its turn.
const AT_ONCE: i64 = 50;
const POLL: Duration = Duration::from_secs(1);
/// The event that moves a conversation between divisions without saying to whom.
const MOVED: &str = "conversation.moved_to_division";
const CAME_ONLINE: &str = "agent.went_online";

row! {
    AllocationRow in "allocations" key (log_id, position) {
        log_id: i16,
        position: i64,
        tenant_id: Uuid,
        conversation_id: Option<Uuid>,
        agent_id: Option<Uuid>,
    }
}

#[must_use]
pub fn manager() -> Projection {
    Projection::process_manager(NAME, vec![table::<Allocations>()])
}

struct Allocations;

impl Fold for Allocations {
    type Row = AllocationRow;

    fn keys(event: &Event) -> Vec<Key> {
        match event.event_type.as_str() {
            "conversation.opened" | "conversation.status_changed" | MOVED | CAME_ONLINE => {
                vec![vec![json!(event.log_id), json!(event.position)]]
            }
            _ => Vec::new(),
        }
    }

    fn apply(_: &Key, _: Option<AllocationRow>, event: &Event) -> Result<Option<AllocationRow>, FoldError> {
        let row = AllocationRow {
            log_id: event.log_id,
            position: event.position,
            tenant_id: event.tenant_id,
            conversation_id: None,
            agent_id: None,
        };
        if event.event_type == CAME_ONLINE {
            return Ok(Some(AllocationRow { agent_id: Some(event.stream_id), ..row }));
        }
        let concerns = match decode(event)? {
            ConversationEvent::Opened { division_id, .. }
            | ConversationEvent::MovedToDivision { division_id } => division_id.is_some(),
            ConversationEvent::StatusChanged { status } => status == ConversationStatus::Open,
            _ => false,
        };
        Ok(concerns.then_some(AllocationRow { conversation_id: Some(event.stream_id), ..row }))
    }
}

/// Hands out the conversations of one log until stopped. Several processes may: a command id that follows from the
/// event makes each allocation happen once. `scale` multiplies the waits after a failure.
pub async fn run(store: Store, log_id: i16, scale: f64, stopping: CancellationToken) {
    let news = store.progress().follow_changes(NAME, log_id);
    work_off(NAME, news, &stopping, || hand_out(&store, log_id, scale)).await;
}

/// A conversation to hand out, or an agent who came online; and why.
#[derive(sqlx::FromRow)]
struct Due {
    position: i64,
    tenant_id: Uuid,
    conversation_id: Option<Uuid>,
    agent_id: Option<Uuid>,
    event_type: String,
    attempts: i32,
}

/// One after the other, so that each sees how busy the last one made its agent. What fails is tried again later, and
/// holds up nothing. False when nothing is due.
async fn hand_out(store: &Store, log_id: i16, scale: f64) -> Result<bool, CommandError> {
    let rows: Vec<Due> = sqlx::query_as(
        "SELECT a.position, a.tenant_id, a.conversation_id, a.agent_id, e.event_type, a.attempts
         FROM allocations a JOIN events e USING (log_id, position)
         WHERE a.log_id = $1 AND a.available_at <= now() ORDER BY a.position LIMIT $2",
    )
    .bind(log_id)
    .bind(BATCH)
    .fetch_all(store.pool())
    .await?;
    for due in &rows {
        match serve(store, log_id, due).await {
            Ok(true) => forget(store, log_id, due.position).await?,
            Ok(false) => {}
            Err(error) => {
                let Due { position, attempts, .. } = *due;
                tracing::error!(log_id, position, %error, "a conversation could not be handed out; trying again");
                put_off(store, "allocations", Failed { log_id, position, attempts }, scale).await?;
            }
        }
    }
    Ok(!rows.is_empty())
}

async fn forget(store: &Store, log_id: i16, position: i64) -> Result<(), CommandError> {
    sqlx::query("DELETE FROM allocations WHERE log_id = $1 AND position = $2")
        .bind(log_id)
        .bind(position)
        .execute(store.pool())
        .await?;
    Ok(())
}

/// False when there is more to do for it, after the others had their turn.
async fn serve(store: &Store, log_id: i16, due: &Due) -> Result<bool, CommandError> {
    let tenant_id = due.tenant_id;
    if let Some(conversation_id) = due.conversation_id {
        let command_id = ids::named_id(tenant_id, &format!("allocate {log_id} {}", due.position));
        let arrives = due.event_type == MOVED;
        allocate(store, log_id, command_id, (tenant_id, conversation_id), arrives).await?;
    }
    match due.agent_id {
        Some(agent_id) => hand_out_waiting(store, log_id, due, agent_id).await,
        None => Ok(true),
    }
}

/// Hands out some of what waits in the queues of an agent who came online, the longest waiting first.
async fn hand_out_waiting(
    store: &Store,
    log_id: i16,
    due: &Due,
    agent_id: Uuid,
) -> Result<bool, CommandError> {
    // Who is online, and what waits, is asked of read models.
    if !is_seen(store, log_id, due.position).await {
        return Err(CommandError::failed("the read models do not know yet who came online"));
    }
    let waiting = {
        let mut db = store.pool().acquire().await?;
        allocation::waiting_for(&mut db, due.tenant_id, agent_id, AT_ONCE).await?
    };
    let (mut given, mut failed) = (0, None);
    for conversation_id in &waiting {
        // Not from the event: a conversation that somebody has by now is left alone, which is all that is needed.
        match allocate(store, log_id, ids::new_id(), (due.tenant_id, *conversation_id), false).await {
            Ok(position) => given += usize::from(position > due.position),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(given == 0 || (waiting.len() as i64) < AT_ONCE),
    }
}

/// Answers the position of the allocation, 0 if there was none.
async fn allocate(
    store: &Store,
    log_id: i16,
    command_id: Uuid,
    (tenant_id, conversation_id): (Uuid, Uuid),
    arrives: bool,
) -> Result<i64, CommandError> {
    let conversation: Conversation = store.load(tenant_id, conversation_id).await?;
    let Some(division_id) = conversation.division_id else { return Ok(0) };
    let (division, candidates) = {
        let mut db = store.pool().acquire().await?;
        let Some(division) = documents::get::<Division>(&mut db, tenant_id, division_id).await? else {
            return Ok(0);
        };
        let mut wanted: Vec<Uuid> = division.state.agents.iter().copied().collect();
        wanted.extend(conversation.assigned_agent_id);
        (division.state, allocation::candidates(&mut db, tenant_id, &wanted).await?)
    };
    let decide = |state: &Conversation| Ok(decide(state, &division, &candidates, arrives));
    let origin =
        Origin { command_id, ..Origin::new(tenant_id, Metadata::new(Actor::system(), ids::new_id())) };
    let decided = store.execute::<Conversation>(&origin, conversation_id, decide).await?;
    is_seen(store, log_id, decided.position).await;
    Ok(decided.position)
}

/// The next choice must know of the last one. False when the read models take too long.
async fn is_seen(store: &Store, log_id: i16, position: i64) -> bool {
    for name in ["allocation", "documents", "inbox"] {
        let mut seen = store.progress().follow(name, log_id);
        if !matches!(tokio::time::timeout(POLL, seen.wait_for(|p| *p >= position)).await, Ok(Ok(_))) {
            return false;
        }
    }
    true
}

fn decide(
    state: &Conversation,
    division: &Division,
    candidates: &[Candidate],
    arrives: bool,
) -> Decision<ConversationEvent> {
    let holder = state.assigned_agent_id;
    let is_present = |id: Uuid| candidates.iter().any(|c| c.agent_id == id && c.is_online);
    let stays = holder.is_some_and(|id| arrives || is_present(id));
    // It may have been resolved in the meantime, such as by a rule.
    let is_done = state.status == ConversationStatus::Resolved;
    if stays || is_done || !division.exists() || !division.is_active {
        return Decision::nothing();
    }
    let members: Vec<Candidate> =
        candidates.iter().filter(|c| division.agents.contains(&c.agent_id)).cloned().collect();
    match choose(division.allocation_method, &members) {
        Some(agent_id) if holder != Some(agent_id) => Decision::one(ConversationEvent::Assigned { agent_id }),
        _ => Decision::nothing(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::allocation::AllocationMethod;

    fn agent(n: u128, is_online: bool, open_conversations: u32) -> Candidate {
        Candidate { agent_id: Uuid::from_u128(n), is_online, open_conversations, last_assigned_at: None }
    }

    fn support() -> Division {
        Division {
            allocation_method: AllocationMethod::LeastBusy,
            is_active: true,
            agents: [1, 2].map(Uuid::from_u128).into(),
            created_at: Some(chrono::DateTime::UNIX_EPOCH),
            ..Division::default()
        }
    }

    fn held_by(n: u128) -> Conversation {
        Conversation { assigned_agent_id: Some(Uuid::from_u128(n)), ..Conversation::default() }
    }

    #[test]
    fn a_new_conversation_goes_to_the_least_busy_member_who_is_online() {
        let team = [agent(1, true, 3), agent(2, true, 1), agent(3, true, 0)];
        let decision = decide(&Conversation::default(), &support(), &team, false);
        assert_eq!(decision.events, [ConversationEvent::Assigned { agent_id: Uuid::from_u128(2) }]);
    }

    #[test]
    fn an_agent_who_is_online_keeps_what_reopens_and_one_who_is_offline_loses_it() {
        let team = [agent(1, false, 0), agent(2, true, 9)];
        assert!(decide(&held_by(2), &support(), &team, false).events.is_empty());
        let moved = decide(&held_by(1), &support(), &team, false);
        assert_eq!(moved.events, [ConversationEvent::Assigned { agent_id: Uuid::from_u128(2) }]);
    }

    #[test]
    fn what_arrives_from_another_division_stays_with_whom_it_was_given_to() {
        let team = [agent(1, false, 0), agent(2, true, 9)];
        assert!(decide(&held_by(1), &support(), &team, true).events.is_empty());
        assert_eq!(decide(&Conversation::default(), &support(), &team, true).events.len(), 1);
    }

    #[test]
    fn what_is_resolved_by_then_is_handed_to_nobody() {
        let done = Conversation { status: ConversationStatus::Resolved, ..Conversation::default() };
        assert!(decide(&done, &support(), &[agent(1, true, 0)], false).events.is_empty());
    }

    #[test]
    fn nobody_online_or_a_switched_off_division_leaves_it_in_the_queue() {
        let offline = [agent(1, false, 0)];
        assert!(decide(&Conversation::default(), &support(), &offline, false).events.is_empty());
        let closed = Division { is_active: false, ..support() };
        assert!(decide(&Conversation::default(), &closed, &[agent(1, true, 0)], false).events.is_empty());
    }
}
