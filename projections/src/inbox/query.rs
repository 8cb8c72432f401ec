//! What the inbox's lists and searches ask.
//!
//! Which rows a list holds is found by functions of the database (migrations 0003, 0045, 0046 and 0048), because an
//! operator such as LIKE can't use an index under row-level security; the rows themselves are read under it. Counting
//! stops at `at_most`, and each filter has an index, as a rule one that also gives the order:
//!
//! | filter | index |
//! |---|---|
//! | conversations: none, or `sort_by` | `conversations_recent`, `_created`, `_unread` |
//! | `status`, `channel`, agent, division | `conversations_status`, `_channel`, `_agent`, `_division` |
//! | `unassigned` | `conversations_unassigned` (partial) |
//! | `tag` | `conversations_tags` (GIN) |
//! | `search` | `contacts_search` (trigrams) or, for a number, `contacts_numbers`; then `conversations_contact` |
//! | contacts: none, `channel`, `tag`, `search` | `contacts_created`, `_channel`, `_tags`, `_search` or `_numbers` |
//! | messages: conversation, search | `messages_conversation`, `messages_search` (GIN) |
//!
//! What a GIN index finds has no order. Where it is too much to be counted, the page is looked for among the latest rows
//! of the order's index first (for messages `messages_object_id`), and only then by sorting all that is found. Of several
//! filters the planner takes the one that leaves the fewest rows.
//!
//! Whether a search of all messages finds more than is counted is looked for in the newest stretches of time first
//! (`read.finds_many`). Where those hold few matches, as after a quiet night, all are counted.

use domain::aggregate::Aggregate;
use domain::channel::Channel;
use domain::chat_expiration_rule::ChatExpirationRule;
use domain::conversation::ConversationStatus;
use domain::integration_account::IntegrationAccount;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::contacts::ContactRow;
use super::conversations::ConversationRow;
use super::messages::MessageRow;
use crate::table::Row;

/// Part of a list.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub limit: i64,
    /// Rows before it.
    pub offset: i64,
}

#[derive(Clone, Debug, Default, Hash)]
pub struct ContactFilter {
    /// A piece of the name, phone number or email address, without regard to case.
    pub search: Option<String>,
    pub channel: Option<Channel>,
    pub tag: Option<String>,
}

#[derive(Clone, Debug, Default, Hash)]
pub struct ConversationFilter {
    pub status: Option<ConversationStatus>,
    pub channel: Option<Channel>,
    pub assigned_agent_id: Option<Uuid>,
    /// Only those that nobody has.
    pub unassigned: bool,
    pub division_id: Option<Uuid>,
    pub tag: Option<String>,
    /// A piece of the contact's name, phone number or email address, without regard to case.
    pub search: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
pub enum SortBy {
    #[default]
    LastMessageAt,
    CreatedAt,
    UnreadCount,
}

impl SortBy {
    const fn column(self) -> &'static str {
        match self {
            Self::LastMessageAt => "last_message_at",
            Self::CreatedAt => "created_at",
            Self::UnreadCount => "unread_count",
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Order {
    pub by: SortBy,
    pub ascending: bool,
}

#[derive(Clone, Debug, Default, Hash)]
pub struct MessageSearch {
    /// As a web search has it: words, "phrases", or, -not.
    pub query: String,
    pub conversation_id: Option<Uuid>,
    pub channel: Option<Channel>,
}

/// A conversation and whom it is with.
#[derive(Clone, Debug)]
pub struct ConversationWithContact {
    pub row: ConversationRow,
    pub contact_name: Option<String>,
    pub contact_phone: Option<String>,
}

type WithContact = (Json<ConversationRow>, Option<String>, Option<String>);

impl From<WithContact> for ConversationWithContact {
    fn from((Json(row), contact_name, contact_phone): WithContact) -> Self {
        Self { row, contact_name, contact_phone }
    }
}

/// # Errors
/// Database errors, or a row that does not decode; as with all functions here.
pub async fn contact(
    db: &mut PgConnection,
    tenant_id: Uuid,
    id: Uuid,
) -> Result<Option<ContactRow>, sqlx::Error> {
    let sql =
        format!("SELECT to_jsonb(r) FROM ({} WHERE t.tenant_id = $1 AND t.id = $2) r", rows::<ContactRow>());
    let row = sqlx::query_scalar(AssertSqlSafe(sql)).bind(tenant_id).bind(id).fetch_optional(db).await?;
    Ok(row.map(|Json(row)| row))
}

/// Contacts that were not erased, newest first.
pub async fn contacts(
    db: &mut PgConnection,
    tenant_id: Uuid,
    filter: &ContactFilter,
    page: Page,
) -> Result<Vec<ContactRow>, sqlx::Error> {
    let sql = format!(
        "SELECT to_jsonb(r) FROM read.find_contacts($2, $3, $4, $5, $6) WITH ORDINALITY AS found (id, place)
         CROSS JOIN LATERAL ({} WHERE t.tenant_id = $1 AND t.id = found.id) r ORDER BY found.place",
        rows::<ContactRow>()
    );
    let found = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(tenant_id)
        .bind(&filter.search)
        .bind(filter.channel.map(Channel::as_str))
        .bind(&filter.tag)
        .bind(page.limit)
        .bind(page.offset);
    Ok(found.fetch_all(db).await?.into_iter().map(|Json(row)| row).collect())
}

/// How many contacts there are, counting no further than `at_most`.
pub async fn count_contacts(
    db: &mut PgConnection,
    filter: &ContactFilter,
    at_most: i64,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM read.find_contacts($1, $2, $3, $4, 0)")
        .bind(&filter.search)
        .bind(filter.channel.map(Channel::as_str))
        .bind(&filter.tag)
        .bind(at_most)
        .fetch_one(db)
        .await
}

pub async fn conversation(
    db: &mut PgConnection,
    tenant_id: Uuid,
    id: Uuid,
) -> Result<Option<ConversationWithContact>, sqlx::Error> {
    let sql =
        with_contacts(&format!("({} WHERE t.tenant_id = $1 AND t.id = $2) r", rows::<ConversationRow>()), "");
    let row: Option<WithContact> =
        sqlx::query_as(AssertSqlSafe(sql)).bind(tenant_id).bind(id).fetch_optional(db).await?;
    Ok(row.map(Into::into))
}

/// What decides whether something can be written in a conversation.
#[derive(Clone, Debug)]
pub struct Writable {
    pub conversation: ConversationRow,
    pub account_is_active: bool,
    /// False once the contact was erased.
    pub contact_is_known: bool,
    /// Of the conversation's channel.
    pub rule: ChatExpirationRule,
}

type WritableColumns = (Json<ConversationRow>, bool, bool, Option<Json<ChatExpirationRule>>);

pub async fn writable(
    db: &mut PgConnection,
    tenant_id: Uuid,
    id: Uuid,
) -> Result<Option<Writable>, sqlx::Error> {
    let sql = format!(
        "SELECT to_jsonb(r),
             EXISTS (SELECT FROM read.documents a WHERE a.tenant_id = $1 AND a.collection = $3
                 AND a.id = r.account_id AND (a.doc -> 'is_active')::boolean),
             EXISTS (SELECT FROM read.contacts c
                 WHERE c.tenant_id = $1 AND c.id = r.contact_id AND c.erased_at IS NULL),
             (SELECT e.doc FROM read.documents e WHERE e.tenant_id = $1 AND e.collection = $4
                 AND e.doc -> 'terms' ->> 'channel' = r.channel LIMIT 1)
         FROM ({} WHERE t.tenant_id = $1 AND t.id = $2) r",
        rows::<ConversationRow>()
    );
    let found: Option<WritableColumns> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(tenant_id)
        .bind(id)
        .bind(IntegrationAccount::STREAM)
        .bind(ChatExpirationRule::STREAM)
        .fetch_optional(db)
        .await?;
    Ok(found.map(|(Json(conversation), account_is_active, contact_is_known, rule)| {
        let rule = rule.map_or_else(ChatExpirationRule::default, |Json(rule)| rule);
        Writable { conversation, account_is_active, contact_is_known, rule }
    }))
}

/// A page of the conversations that there are, and how many, counting no further than `at_most`; not at all where that
/// is `None`, for a list that is known to be long.
pub async fn conversations(
    db: &mut PgConnection,
    tenant_id: Uuid,
    filter: &ConversationFilter,
    order: Order,
    page: Page,
    at_most: Option<i64>,
) -> Result<(Vec<ConversationWithContact>, Option<i64>), sqlx::Error> {
    let (ids, counted): (Vec<Uuid>, Option<i64>) = sqlx::query_as(
        "SELECT ids, counted FROM read.list_conversations($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(filter.status.map(ConversationStatus::as_str))
    .bind(filter.channel.map(Channel::as_str))
    .bind(filter.assigned_agent_id)
    .bind(filter.unassigned)
    .bind(filter.division_id)
    .bind(&filter.tag)
    .bind(&filter.search)
    .bind(order.by.column())
    .bind(order.ascending)
    .bind(page.limit)
    .bind(page.offset)
    .bind(at_most)
    .fetch_one(&mut *db)
    .await?;
    let found = format!(
        "unnest($2::uuid[]) WITH ORDINALITY AS found (id, place)
         CROSS JOIN LATERAL ({} WHERE t.tenant_id = $1 AND t.id = found.id) r",
        rows::<ConversationRow>()
    );
    let sql = with_contacts(&found, "ORDER BY found.place");
    let found: Vec<WithContact> =
        sqlx::query_as(AssertSqlSafe(sql)).bind(tenant_id).bind(ids).fetch_all(db).await?;
    Ok((found.into_iter().map(Into::into).collect(), counted))
}

/// All conversations of a contact, the latest first; there is one for each account that it wrote to.
pub async fn conversations_of(
    db: &mut PgConnection,
    tenant_id: Uuid,
    contact_id: Uuid,
    limit: i64,
) -> Result<Vec<ConversationWithContact>, sqlx::Error> {
    let latest = format!(
        "({} WHERE t.tenant_id = $1 AND t.contact_id = $2 ORDER BY t.last_message_at DESC, t.id LIMIT $3) r",
        rows::<ConversationRow>()
    );
    let sql = with_contacts(&latest, "ORDER BY r.last_message_at DESC, r.id");
    let found: Vec<WithContact> =
        sqlx::query_as(AssertSqlSafe(sql)).bind(tenant_id).bind(contact_id).bind(limit).fetch_all(db).await?;
    Ok(found.into_iter().map(Into::into).collect())
}

pub async fn message(
    db: &mut PgConnection,
    tenant_id: Uuid,
    id: Uuid,
) -> Result<Option<MessageRow>, sqlx::Error> {
    let sql =
        format!("SELECT to_jsonb(r) FROM ({} WHERE t.tenant_id = $1 AND t.id = $2) r", rows::<MessageRow>());
    let row = sqlx::query_scalar(AssertSqlSafe(sql)).bind(tenant_id).bind(id).fetch_optional(db).await?;
    Ok(row.map(|Json(row)| row))
}

/// A message by the id that clients know.
pub async fn message_by_object_id(
    db: &mut PgConnection,
    tenant_id: Uuid,
    object_id: &str,
) -> Result<Option<MessageRow>, sqlx::Error> {
    let sql = format!(
        "SELECT to_jsonb(r) FROM ({} WHERE t.tenant_id = $1 AND t.object_id = $2) r",
        rows::<MessageRow>()
    );
    let row =
        sqlx::query_scalar(AssertSqlSafe(sql)).bind(tenant_id).bind(object_id).fetch_optional(db).await?;
    Ok(row.map(|Json(row)| row))
}

/// The newest messages of a conversation, or the newest of those before a message.
pub async fn messages(
    db: &mut PgConnection,
    tenant_id: Uuid,
    conversation_id: Uuid,
    before: Option<&str>,
    limit: i64,
) -> Result<Vec<MessageRow>, sqlx::Error> {
    let earlier = if before.is_some() { "AND t.object_id < $4" } else { "" };
    let sql = format!(
        "SELECT to_jsonb(r) FROM ({} WHERE t.tenant_id = $1 AND t.conversation_id = $2 {earlier}
             ORDER BY t.object_id DESC LIMIT $3) r ORDER BY r.object_id DESC",
        rows::<MessageRow>()
    );
    let newest = sqlx::query_scalar(AssertSqlSafe(sql)).bind(tenant_id).bind(conversation_id).bind(limit);
    let newest = match before {
        Some(object_id) => newest.bind(object_id),
        None => newest,
    };
    Ok(newest.fetch_all(db).await?.into_iter().map(|Json(row)| row).collect())
}

/// The newest messages that a search finds, and how many it finds, counting no further than `at_most`; not at all where
/// that is `None`, for a search that is known to find many.
pub async fn search_messages(
    db: &mut PgConnection,
    tenant_id: Uuid,
    search: &MessageSearch,
    limit: i64,
    at_most: Option<i64>,
) -> Result<(Vec<MessageRow>, Option<i64>), sqlx::Error> {
    let sql = format!(
        "SELECT coalesce(jsonb_agg(r ORDER BY f.place) FILTER (WHERE r.id IS NOT NULL), '[]'), max(s.counted)
         FROM read.search_messages($2, $3, $4, $6, $5) s
         LEFT JOIN LATERAL unnest(s.ids) WITH ORDINALITY AS f (id, place) ON true
         LEFT JOIN LATERAL ({} WHERE t.tenant_id = $1 AND t.id = f.id) r ON true",
        rows::<MessageRow>()
    );
    let (Json(messages), counted) = sqlx::query_as(AssertSqlSafe(sql))
        .bind(tenant_id)
        .bind(&search.query)
        .bind(search.conversation_id)
        .bind(search.channel.map(Channel::as_str))
        .bind(at_most)
        .bind(limit)
        .fetch_one(db)
        .await?;
    Ok((messages, counted))
}

/// Selects what a row holds, without the columns that only searching needs. The names are those that `row!` declares.
fn rows<R: Row>() -> String {
    format!("SELECT t.{} FROM read.{} t", R::COLUMNS.join(", t."), R::TABLE)
}

/// Conversations `r` of `source`, with their contacts.
fn with_contacts(source: &str, order: &str) -> String {
    format!(
        "SELECT to_jsonb(r), p.name, p.phone_number FROM {source}
         LEFT JOIN read.contacts p ON p.tenant_id = $1 AND p.id = r.contact_id {order}"
    )
}
