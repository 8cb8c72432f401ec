//! Messages: reading a conversation, answering in it, and searching all of them.

use chrono::{DateTime, Utc};
use commands::message::{self, Outbound};
use commands::{Refusal, contact, wa_template};
use domain::billing::LimitName;
use domain::channel::Channel;
use domain::conversation::Conversation as State;
use domain::message::MessageStatus;
use domain::message_content::MessageContent;
use domain::object_id::{is_object_id, object_id};
use garde::Validate;
use projections::inbox::conversations::ConversationRow;
use projections::inbox::messages::{Direction, MessageRow};
use projections::inbox::query::{self, MessageSearch, Writable};
use projections::usage;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::contacts::MAX_SEARCH_CHARS;
use crate::conversations;
use crate::http::{Access, Answer, Body, Created, Group, Json, Path, Problem, Query, get, group, post};
use crate::resource::ChannelName;
use crate::{App, Ctx};

/// Messages in one answer, unless the client says how many.
const DEFAULT_LIMIT: i64 = 50;
/// Messages in one answer at most.
const MAX_LIMIT: i64 = 100;

pub fn routes() -> Group<App> {
    group("Messages", [
        get("/api/conversations/{id}/messages", "List messages in a conversation", Access::Any, list)
            .describe("newest first; next_cursor goes into before"),
        post("/api/conversations/{id}/messages", "Send an outbound message", Access::Any, send).describe(
            "The message is stored as pending and sent by the worker; its status tells what became of it. 409 \
             window_closed: the customer has been silent for too long for anything but an approved template, by the \
             channel's 24 h or the tenant's chat expiration rule. \
             409 template_not_approved, channel_inactive, contact_erased, limit_reached. Sending does not reopen a resolved conversation.",
        ),
        get("/api/messages/search", "Search messages across conversations", Access::Any, search)
            .describe("full-text: words, \"phrases\", or, -not; newest first"),
    ])
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum DirectionName {
    Inbound,
    Outbound,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum MessageStatusName {
    /// Inbound.
    Received,
    Pending,
    Sent,
    Delivered,
    Read,
    Failed,
}

#[derive(Serialize, ToSchema)]
struct Message {
    /// 24 hex digits, ordered by time.
    #[serde(rename = "_id")]
    #[schema(pattern = "^[0-9a-f]{24}$")]
    id: String,
    conversation_id: Uuid,
    direction: DirectionName,
    r#type: String,
    /// By type: text {text}; image, video, audio, document, sticker {url, caption?, filename?}; location {latitude,
    /// longitude, name?, address?}; template {template_id, variables}; reaction {message_id, emoji}; interactive as
    /// Meta defines it. Empty once the contact is erased.
    #[schema(value_type = Object)]
    content: Value,
    status: MessageStatusName,
    /// The channel's id.
    external_id: Option<String>,
    sender_phone: Option<String>,
    /// Why it failed, and what can be done about it.
    error_message: Option<String>,
    created_at: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
struct MessageListResponse {
    messages: Vec<Message>,
    has_more: bool,
    #[schema(pattern = "^[0-9a-f]{24}$")]
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct MessageSearchResponse {
    messages: Vec<Message>,
    /// All that the search finds; exact up to 10,000, see `X-Total-Capped`.
    total: i64,
}

#[derive(Deserialize, IntoParams, Validate)]
struct ListMessages {
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 100, default = 50)]
    #[garde(range(min = 1, max = MAX_LIMIT))]
    limit: i64,
    /// Only messages before this one.
    #[param(pattern = "^[0-9a-f]{24}$")]
    #[garde(custom(cursor))]
    before: Option<String>,
}

#[derive(Deserialize, IntoParams, Validate)]
struct SearchMessages {
    #[garde(length(chars, min = 1, max = MAX_SEARCH_CHARS))]
    q: String,
    #[garde(skip)]
    conversation_id: Option<Uuid>,
    #[param(inline)]
    #[garde(skip)]
    channel: Option<ChannelName>,
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 100, default = 50)]
    #[garde(range(min = 1, max = MAX_LIMIT))]
    limit: i64,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct SendMessageRequest {
    /// text, image, video, audio, document, sticker, location, template, reaction or interactive.
    #[garde(skip)]
    r#type: String,
    /// As in a message of this type; the message_id of a reaction is the `_id` of a message of this conversation.
    #[schema(value_type = Object)]
    #[garde(skip)]
    content: Value,
}

const fn default_limit() -> i64 {
    DEFAULT_LIMIT
}

fn cursor(before: &Option<String>, _: &()) -> garde::Result {
    match before {
        Some(id) if !is_object_id(id) => Err(garde::Error::new("must be the next_cursor of another answer")),
        _ => Ok(()),
    }
}

async fn list(
    ctx: Ctx,
    Path(conversation_id): Path<Uuid>,
    Query(wanted): Query<ListMessages>,
) -> Answer<Json<MessageListResponse>> {
    conversations::find(&ctx, conversation_id).await?;
    let mut db = ctx.reader().await?;
    let before = wanted.before.as_deref();
    // One more than asked for tells whether there are more.
    let mut rows =
        query::messages(&mut db, ctx.tenant_id(), conversation_id, before, wanted.limit + 1).await?;
    let has_more = rows.len() as i64 > wanted.limit;
    if has_more {
        rows.pop();
    }
    let next_cursor = rows.last().filter(|_| has_more).map(|row| row.object_id.clone());
    let messages = rows.into_iter().map(|row| shown(&ctx, row)).collect();
    Ok(Json(MessageListResponse { messages, has_more, next_cursor }))
}

async fn search(ctx: Ctx, Query(wanted): Query<SearchMessages>) -> Answer<Json<MessageSearchResponse>> {
    let SearchMessages { q, conversation_id, channel, limit } = wanted;
    let search = MessageSearch { query: q, conversation_id, channel: channel.map(Into::into) };
    let mut db = ctx.reader().await?;
    let total = ctx.total_of(&search);
    let (rows, counted) =
        query::search_messages(&mut db, ctx.tenant_id(), &search, limit, total.at_most()).await?;
    let total = total.shown(counted);
    Ok(Json(MessageSearchResponse {
        messages: rows.into_iter().map(|row| shown(&ctx, row)).collect(),
        total,
    }))
}

async fn send(
    ctx: Ctx,
    Path(conversation_id): Path<Uuid>,
    Body(wanted): Body<SendMessageRequest>,
) -> Answer<Created<Message>> {
    let content =
        MessageContent::parse_outbound(&wanted.r#type, &wanted.content).map_err(Refusal::invalid_fields)?;
    let admission = usage::admit(ctx.app.store(), ctx.tenant_id(), LimitName::MaxMessagesMonth);
    let (found, admission) = tokio::join!(writable(&ctx, conversation_id), admission);
    let Writable { conversation, rule, .. } = found?;
    let refers_to = references(&ctx, &conversation, &content).await?;
    let _admission = admission?;
    let now = ctx.app.store().clock().now();
    let outbound = Outbound {
        message_id: ctx.new_id(1),
        content,
        author: domain::conversation::Author::Human,
        refers_to,
    };
    let decided =
        ctx.execute::<State>(conversation_id, |state| message::queue(state, &rule, now, &outbound)).await?;
    if let Some(queued_at) = decided.at {
        return Ok(Created(as_queued(&ctx, conversation_id, outbound, queued_at, decided.position)));
    }
    // It was queued before, by a request whose answer got lost, and may have been sent in the meantime.
    let row = query::message(&mut *ctx.reader().await?, ctx.tenant_id(), outbound.message_id).await?;
    Ok(Created(match row {
        Some(row) => shown(&ctx, row),
        None => {
            let recorded_at = ctx.app.store().recorded_at(decided.log_id, decided.position).await?;
            let queued_at = recorded_at.ok_or_else(|| Problem::internal("a command without its event"))?;
            as_queued(&ctx, conversation_id, outbound, queued_at, decided.position)
        }
    }))
}

/// # Errors
/// 404; 409 when the account cannot send or the contact cannot be written to.
async fn writable(ctx: &Ctx, conversation_id: Uuid) -> Answer<Writable> {
    let found = query::writable(&mut *ctx.reader().await?, ctx.tenant_id(), conversation_id).await?;
    let found = found.ok_or_else(|| Problem::not_found("conversation"))?;
    if !found.account_is_active {
        return Err(Problem::conflict("channel_inactive", "The account of this conversation is not active."));
    }
    if !found.contact_is_known {
        return Err(contact::erased().into());
    }
    Ok(found)
}

/// What the content names must exist. Answers the channel's id of the message that a reaction is put on.
///
/// # Errors
/// 422 naming the field, 409 for a template that Meta has not approved.
async fn references(
    ctx: &Ctx,
    conversation: &ConversationRow,
    content: &MessageContent,
) -> Answer<Option<String>> {
    match content {
        MessageContent::Template { template_id, variables } => {
            if conversation.channel != Channel::Whatsapp {
                return Err(Problem::invalid("type", "must not be template: only WhatsApp has them"));
            }
            let (whose, fallback) =
                ((ctx.tenant_id(), conversation.account_id), ctx.app.meta().waba_id.as_deref());
            let store = ctx.app.store();
            wa_template::check_for_account(store, whose, fallback, *template_id, variables).await?;
            Ok(None)
        }
        MessageContent::Reaction { message_id, .. } => {
            let mut db = ctx.reader().await?;
            let row = query::message_by_object_id(&mut db, ctx.tenant_id(), message_id).await?;
            let external_id =
                row.filter(|row| row.conversation_id == conversation.id).and_then(|row| row.external_id);
            let unknown = || {
                Problem::invalid(
                    "content.message_id",
                    "names no message of this conversation that the channel knows",
                )
            };
            Ok(Some(external_id.ok_or_else(unknown)?))
        }
        _ => Ok(None),
    }
}

fn shown(ctx: &Ctx, row: MessageRow) -> Message {
    Message {
        id: row.object_id,
        conversation_id: row.conversation_id,
        direction: row.direction.into(),
        r#type: row.kind,
        content: row.content.map_or_else(|| json!({}), |content| to_wire(ctx, &content)),
        status: row.status.into(),
        external_id: row.external_id,
        sender_phone: row.sender_phone,
        error_message: row.error_message,
        created_at: row.created_at,
    }
}

/// The message as the log has it, before anything became of it.
fn as_queued(
    ctx: &Ctx,
    conversation_id: Uuid,
    outbound: Outbound,
    queued_at: DateTime<Utc>,
    position: i64,
) -> Message {
    Message {
        id: object_id(queued_at, position),
        conversation_id,
        direction: DirectionName::Outbound,
        r#type: outbound.content.kind().to_owned(),
        content: to_wire(ctx, &outbound.content),
        status: MessageStatusName::Pending,
        external_id: None,
        sender_phone: None,
        error_message: None,
        created_at: queued_at,
    }
}

fn to_wire(ctx: &Ctx, content: &MessageContent) -> Value {
    content.to_wire(|media_id| format!("{}/api/media/{media_id}", ctx.app.public_url()))
}

impl From<Direction> for DirectionName {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Inbound => Self::Inbound,
            Direction::Outbound => Self::Outbound,
        }
    }
}

impl From<MessageStatus> for MessageStatusName {
    fn from(status: MessageStatus) -> Self {
        match status {
            MessageStatus::Received => Self::Received,
            MessageStatus::Pending => Self::Pending,
            MessageStatus::Sent => Self::Sent,
            MessageStatus::Delivered => Self::Delivered,
            MessageStatus::Read => Self::Read,
            MessageStatus::Failed => Self::Failed,
        }
    }
}
