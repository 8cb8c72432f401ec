//! Conversations: the inbox that agents work in.

mod bulk;
mod expire;

use chrono::{DateTime, Utc};
use commands::store::Decision;
use commands::{Refusal, conversation};
use domain::conversation::{Conversation as State, ConversationEvent, ConversationStatus};
use garde::Validate;
use projections::inbox::query::{self, ConversationFilter, Order, Page, SortBy};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::contacts::{MAX_SEARCH_CHARS, search_text};
use crate::http::{
    Access, Answer, Body, Group, Json, PageNumbers, Paging, Path, Permission, Problem, Query, Versioned, get,
    group, patch, post,
};
use crate::resource::ChannelName;
use crate::{App, Ctx};

pub fn routes() -> Group<App> {
    group("Conversations", [
        get("/api/conversations", "List conversations", Access::Any, list)
            .describe("search finds a piece of the contact's name, phone number or email address"),
        get("/api/conversations/{id}", "Get a single conversation", Access::Any, get_one),
        patch("/api/conversations/{id}/assign", "Assign or unassign an agent", Access::Any, assign)
            .describe("agent_id null unassigns"),
        patch("/api/conversations/{id}/status", "Update conversation status", Access::Any, set_status),
        post("/api/conversations/{id}/read", "Mark conversation as read", Access::Any, mark_read)
            .describe("unread_count becomes 0; sends the channel's read receipt where it has one"),
        patch("/api/conversations/{id}/tags", "Update conversation tags", Access::Any, set_tags)
            .describe("replaces the whole set"),
        post("/api/conversations/{id}/takeover", "Takeover a conversation", Access::Any, take_over)
            .describe("caller becomes assignee and AI replies stop; an API key acts as its agent"),
        post(
            "/api/conversations/expire",
            "Expire stale conversations",
            Access::Supervisor(Permission::SettingsManage),
            expire::run,
        )
        .describe("applies the chat expiration rules now; at most 500 conversations of each channel"),
        post("/api/conversations/bulk", "Bulk conversation actions", Access::Any, bulk::run).describe(
            "at most 100 ids; each id succeeds or fails on its own. assign needs agent_id, set_status needs status, \
             add_tags and remove_tags need tags, transfer needs division_id, agent_id or both",
        ),
    ])
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StatusName {
    Open,
    /// Waiting for the customer.
    Pending,
    Resolved,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ConversationWithContact {
    id: Uuid,
    contact_id: Uuid,
    contact_channel: ChannelName,
    contact_name: Option<String>,
    contact_phone: Option<String>,
    /// The integration account that the contact wrote to.
    account_id: Uuid,
    status: StatusName,
    assigned_agent_id: Option<Uuid>,
    division_id: Option<Uuid>,
    tags: Vec<String>,
    unread_count: i64,
    /// An agent took over: AI answers stay away.
    ai_stopped: bool,
    last_message_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
struct ConversationPage {
    conversations: Vec<ConversationWithContact>,
    #[serde(flatten)]
    numbers: PageNumbers,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SortColumn {
    #[default]
    LastMessageAt,
    CreatedAt,
    UnreadCount,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SortOrder {
    Asc,
    #[default]
    Desc,
}

#[derive(Deserialize, IntoParams, Validate)]
struct ListConversations {
    #[param(inline)]
    #[garde(skip)]
    status: Option<StatusName>,
    #[param(inline)]
    #[garde(skip)]
    channel: Option<ChannelName>,
    #[garde(skip)]
    assigned_agent_id: Option<Uuid>,
    /// `true`: only those that nobody has. `false` is no filter.
    #[garde(skip)]
    unassigned: Option<bool>,
    #[garde(skip)]
    division_id: Option<Uuid>,
    #[garde(length(chars, max = commands::tags::MAX_TAG_CHARS))]
    tag: Option<String>,
    /// A piece of the contact's name, phone number or email address; one or two characters must begin a word.
    #[garde(length(chars, max = MAX_SEARCH_CHARS))]
    search: Option<String>,
    #[param(inline)]
    #[garde(skip)]
    #[serde(default)]
    sort_by: SortColumn,
    #[param(inline)]
    #[garde(skip)]
    #[serde(default)]
    sort_order: SortOrder,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct AssignConversation {
    /// Null or left out: nobody.
    #[garde(skip)]
    agent_id: Option<Uuid>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct UpdateConversationStatus {
    #[garde(skip)]
    status: StatusName,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct UpdateConversationTags {
    /// At most 50, each of at most 64 characters.
    #[garde(skip)]
    tags: Vec<String>,
}

type Shown = Answer<Versioned<ConversationWithContact>>;

async fn list(
    ctx: Ctx,
    paging: Paging,
    Query(wanted): Query<ListConversations>,
) -> Answer<Json<ConversationPage>> {
    let order = Order { by: wanted.sort_by.into(), ascending: wanted.sort_order == SortOrder::Asc };
    let filter = ConversationFilter::from(wanted);
    let page = Page { limit: paging.limit(), offset: paging.offset() };
    let mut db = ctx.reader().await?;
    let total = ctx.total_of(&filter);
    let (found, counted) =
        query::conversations(&mut db, ctx.tenant_id(), &filter, order, page, total.at_most()).await?;
    let total = total.shown(counted);
    let conversations = found.into_iter().map(Into::into).collect();
    Ok(Json(ConversationPage { conversations, numbers: paging.numbers(total) }))
}

async fn get_one(ctx: Ctx, Path(id): Path<Uuid>) -> Shown {
    let found = find(&ctx, id).await?;
    Ok(Versioned { version: found.row.version, value: found.into() })
}

async fn assign(ctx: Ctx, Path(id): Path<Uuid>, Body(wanted): Body<AssignConversation>) -> Shown {
    if let Some(agent_id) = wanted.agent_id {
        ctx.require_receiver("agent_id", agent_id).await?;
    }
    change(ctx, id, |state| conversation::assign(state, wanted.agent_id)).await
}

async fn set_status(ctx: Ctx, Path(id): Path<Uuid>, Body(wanted): Body<UpdateConversationStatus>) -> Shown {
    change(ctx, id, |state| conversation::set_status(state, wanted.status.into())).await
}

async fn mark_read(ctx: Ctx, Path(id): Path<Uuid>) -> Shown {
    change(ctx, id, conversation::mark_read).await
}

async fn set_tags(ctx: Ctx, Path(id): Path<Uuid>, Body(wanted): Body<UpdateConversationTags>) -> Shown {
    change(ctx, id, |state| conversation::set_tags(state, &wanted.tags)).await
}

async fn take_over(ctx: Ctx, Path(id): Path<Uuid>) -> Shown {
    let agent_id = ctx.member()?.agent_id;
    change(ctx, id, |state| conversation::take_over(state, agent_id)).await
}

/// Runs a command on a conversation and answers it as it is then.
async fn change(
    ctx: Ctx,
    id: Uuid,
    decide: impl Fn(&State) -> Result<Decision<ConversationEvent>, Refusal> + Send,
) -> Shown {
    ctx.execute::<State>(id, decide).await?;
    get_one(ctx, Path(id)).await
}

/// # Errors
/// 404.
pub(crate) async fn find(ctx: &Ctx, id: Uuid) -> Answer<query::ConversationWithContact> {
    let found = query::conversation(&mut *ctx.reader().await?, ctx.tenant_id(), id).await?;
    found.ok_or_else(|| Problem::not_found("conversation"))
}

impl From<ListConversations> for ConversationFilter {
    fn from(wanted: ListConversations) -> Self {
        Self {
            status: wanted.status.map(Into::into),
            channel: wanted.channel.map(Into::into),
            assigned_agent_id: wanted.assigned_agent_id,
            unassigned: wanted.unassigned.unwrap_or_default(),
            division_id: wanted.division_id,
            tag: wanted.tag,
            search: wanted.search.as_deref().and_then(search_text),
        }
    }
}

impl From<query::ConversationWithContact> for ConversationWithContact {
    fn from(found: query::ConversationWithContact) -> Self {
        let query::ConversationWithContact { row, contact_name, contact_phone } = found;
        Self {
            id: row.id,
            contact_id: row.contact_id,
            contact_channel: row.channel.into(),
            contact_name,
            contact_phone,
            account_id: row.account_id,
            status: row.status.into(),
            assigned_agent_id: row.assigned_agent_id,
            division_id: row.division_id,
            tags: row.tags,
            unread_count: row.unread_count,
            ai_stopped: row.ai_stopped,
            last_message_at: row.last_message_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl From<SortColumn> for SortBy {
    fn from(column: SortColumn) -> Self {
        match column {
            SortColumn::LastMessageAt => Self::LastMessageAt,
            SortColumn::CreatedAt => Self::CreatedAt,
            SortColumn::UnreadCount => Self::UnreadCount,
        }
    }
}

impl From<StatusName> for ConversationStatus {
    fn from(name: StatusName) -> Self {
        match name {
            StatusName::Open => Self::Open,
            StatusName::Pending => Self::Pending,
            StatusName::Resolved => Self::Resolved,
        }
    }
}

impl From<ConversationStatus> for StatusName {
    fn from(status: ConversationStatus) -> Self {
        match status {
            ConversationStatus::Open => Self::Open,
            ConversationStatus::Pending => Self::Pending,
            ConversationStatus::Resolved => Self::Resolved,
        }
    }
}
