//! What the lists of runs and of the queue share: cursors, order, and how a row is shown.

use chrono::{DateTime, Utc};
use domain::aggregate::Aggregate;
use domain::automation_item::{ItemSource, ItemStatus};
use domain::cursor::{Cursor, NotACursor};
use projections::automation::query::{ItemSort, Page, RunSort};
use projections::automation::queue::ItemRow;
use projections::automation::runs::RunRow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::wire::TriggerName;
use crate::Ctx;
use crate::http::{Answer, Paging, Problem};

/// What was deleted since still has its history.
///
/// # Errors
/// 404 when the tenant never had such a thing.
pub(super) async fn has_existed<A: Aggregate>(ctx: &Ctx, id: Uuid, what: &str) -> Answer<()> {
    let (_, version) = ctx.app.store().current::<A>(ctx.tenant_id(), id).await?;
    if version == 0 { Err(Problem::not_found(what)) } else { Ok(()) }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum SortOrder {
    Asc,
    #[default]
    Desc,
}

/// By whatever a list of runs can be sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RunOrder {
    #[default]
    CreatedAt,
    Matched,
    Executed,
    RuleId,
    EventId,
}

/// By whatever a list of the queue can be sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum EventOrder {
    #[default]
    CreatedAt,
    AvailableAt,
    ProcessedAt,
    Attempts,
    Status,
    EventType,
}

impl From<RunOrder> for RunSort {
    fn from(order: RunOrder) -> Self {
        match order {
            RunOrder::CreatedAt => Self::CreatedAt,
            RunOrder::Matched => Self::Matched,
            RunOrder::Executed => Self::Executed,
            RunOrder::RuleId => Self::RuleId,
            RunOrder::EventId => Self::EventId,
        }
    }
}

impl From<EventOrder> for ItemSort {
    fn from(order: EventOrder) -> Self {
        match order {
            EventOrder::CreatedAt => Self::CreatedAt,
            EventOrder::AvailableAt => Self::AvailableAt,
            EventOrder::ProcessedAt => Self::ProcessedAt,
            EventOrder::Attempts => Self::Attempts,
            EventOrder::Status => Self::Status,
            EventOrder::EventType => Self::EventType,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum EventStatus {
    Pending,
    Processing,
    Done,
    Failed,
}

impl EventStatus {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl From<ItemStatus> for EventStatus {
    fn from(status: ItemStatus) -> Self {
        match status {
            ItemStatus::Pending => Self::Pending,
            ItemStatus::Processing => Self::Processing,
            ItemStatus::Done => Self::Done,
            ItemStatus::Failed => Self::Failed,
        }
    }
}

pub(super) const fn source_name(source: ItemSource) -> &'static str {
    match source {
        ItemSource::Stream => "stream",
        ItemSource::Manual => "manual",
        ItemSource::Replay => "replay",
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct AutomationRuleRun {
    pub id: Uuid,
    /// The item of the queue that it ran for.
    pub event_id: Uuid,
    pub rule_id: Uuid,
    pub conversation_id: Uuid,
    /// The conditions held.
    pub matched: bool,
    /// Every action took effect.
    pub executed: bool,
    /// `skip_reason`, `checks` (each condition with what it asked for and found), `actions` (each with outcome, reason,
    /// duration, the position of its event and, until the contact is erased, what it was with placeholders filled).
    #[schema(value_type = Object)]
    pub result: Value,
    pub created_at: DateTime<Utc>,
    /// As it was then.
    pub rule_name: Option<String>,
}

impl From<RunRow> for AutomationRuleRun {
    fn from(row: RunRow) -> Self {
        Self {
            result: row.full_result(),
            id: row.id,
            event_id: row.event_id,
            rule_id: row.rule_id,
            conversation_id: row.conversation_id,
            matched: row.matched,
            executed: row.executed,
            created_at: row.created_at,
            rule_name: Some(row.rule_name),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct AutomationEventQueueItem {
    pub id: Uuid,
    pub event_type: TriggerName,
    pub conversation_id: Uuid,
    /// The facts at that moment; empty once the contact is erased.
    #[schema(value_type = Object)]
    pub payload: Value,
    /// Hex SHA-256 of the payload's canonical form (RFC 8785).
    pub payload_hash: String,
    /// `stream`, `manual` or `replay`.
    pub source: String,
    pub status: EventStatus,
    /// Since it was enqueued, or last retried or reprocessed.
    pub attempts: i64,
    pub available_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub contact_id: Option<Uuid>,
    pub processed_at: Option<DateTime<Utc>>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

impl From<ItemRow> for AutomationEventQueueItem {
    fn from(row: ItemRow) -> Self {
        Self {
            id: row.id,
            event_type: row.event_type.into(),
            conversation_id: row.conversation_id,
            payload: row.payload.unwrap_or_else(|| json!({})),
            payload_hash: row.payload_hash,
            source: source_name(row.source).to_owned(),
            status: row.status.into(),
            attempts: row.attempts,
            available_at: row.available_at,
            created_at: row.created_at,
            contact_id: Some(row.contact_id),
            processed_at: row.processed_at,
            error: row.error,
        }
    }
}

/// The page that a request asks for, one row longer, so that its end can be told.
///
/// # Errors
/// 422 for a cursor that is none, or that does not go with the order or the page.
pub(super) fn page<S>(
    paging: Paging,
    cursor: Option<&str>,
    sort_by: S,
    order: Option<SortOrder>,
    by_creation: bool,
) -> Answer<Page<S>> {
    let after = cursor
        .map(str::parse)
        .transpose()
        .map_err(|error: NotACursor| Problem::invalid("cursor", error.to_string()))?;
    if after.is_some() && !by_creation {
        return Err(Problem::invalid("cursor", "goes only with sort_by created_at"));
    }
    if after.is_some() && paging.page > 1 {
        return Err(Problem::invalid("cursor", "cannot be given together with page"));
    }
    Ok(Page {
        sort_by,
        ascending: order == Some(SortOrder::Asc),
        after,
        limit: paging.limit() + 1,
        offset: paging.offset(),
    })
}

/// Takes the extra row off, and says where the next page begins.
pub(super) fn cut<R>(
    rows: &mut Vec<R>,
    paging: Paging,
    by_creation: bool,
    at: impl Fn(&R) -> Cursor,
) -> Option<String> {
    let limit = usize::try_from(paging.limit()).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    rows.last().filter(|_| more && by_creation).map(|row| at(row).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_page_in_order_of_creation_has_a_next_one() {
        let paging = Paging { page: 1, per_page: 2 };
        let at = |_: &u8| Cursor { at: DateTime::UNIX_EPOCH, id: Uuid::nil() };
        assert!(cut(&mut vec![1, 2], paging, true, at).is_none());
        assert!(cut(&mut vec![1, 2, 3], paging, false, at).is_none());
        let mut rows = vec![1, 2, 3];
        assert!(cut(&mut rows, paging, true, at).is_some());
        assert_eq!(rows, [1, 2]);
    }
}
