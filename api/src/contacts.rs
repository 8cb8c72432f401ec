//! Contacts: the people who write to a tenant, what is known about them, and forgetting them.

use chrono::{DateTime, Utc};
use commands::contact::{self, Change};
use domain::contact::Contact as State;
use garde::Validate;
use projections::inbox::contacts::ContactRow;
use projections::inbox::query::{self, ContactFilter, Page};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::conversations::ConversationWithContact;
use crate::http::{
    Access, Answer, Body, Group, Json, List, PageNumbers, Paging, Path, Permission, Problem, Query,
    Versioned, get, group, patch, post,
};
use crate::resource::ChannelName;
use crate::{App, Ctx};

/// Characters of a text that is searched for.
pub(crate) const MAX_SEARCH_CHARS: usize = 200;
/// Conversations of one contact in one answer; there is one for each account that it wrote to.
const MAX_CONVERSATIONS: i64 = 100;

pub fn routes() -> Group<App> {
    group("Contacts", [
        get("/api/contacts", "List contacts", Access::Any, list)
            .describe("newest first; search finds a piece of the name, phone number or email address"),
        get("/api/contacts/{id}", "Get a contact by ID", Access::Any, get_one),
        patch("/api/contacts/{id}", "Update a contact", Access::Any, update)
            .describe("a field left out stays as it is, null clears it; tags are replaced; 409 once erased"),
        get("/api/contacts/{id}/conversations", "List conversations for a contact", Access::Any, conversations),
        post(
            "/api/contacts/{id}/erase",
            "Erase a contact's personal data",
            Access::Permission(Permission::ContactsManage),
            erase,
        )
        .describe(
            "Destroys the key of everything personal that was ever recorded about the contact, message contents \
             included. It cannot be undone. Whoever writes from the same address later is a new contact.",
        ),
    ])
}

#[derive(Serialize, ToSchema)]
struct Contact {
    id: Uuid,
    channel_source: ChannelName,
    name: Option<String>,
    phone_number: Option<String>,
    email: Option<String>,
    tags: Vec<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// When the personal data was erased; no name, number or address is known since.
    erased_at: Option<DateTime<Utc>>,
}

#[derive(Serialize, ToSchema)]
struct ContactPage {
    contacts: Vec<Contact>,
    #[serde(flatten)]
    numbers: PageNumbers,
}

#[derive(Deserialize, IntoParams, Validate)]
struct ListContacts {
    /// A piece of the name, phone number or email address; one or two characters must begin a word.
    #[garde(length(chars, max = MAX_SEARCH_CHARS))]
    search: Option<String>,
    #[param(inline)]
    #[garde(skip)]
    channel: Option<ChannelName>,
    #[garde(length(chars, max = commands::tags::MAX_TAG_CHARS))]
    tag: Option<String>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct UpdateContact {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    #[garde(inner(length(chars, max = 200)))]
    name: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    #[garde(inner(email, length(chars, max = 254)))]
    email: Option<Option<String>>,
    /// Digits with country code; spaces, dots, hyphens and parentheses are taken out.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    #[garde(inner(length(chars, max = 40)))]
    phone_number: Option<Option<String>>,
    /// Replaces the whole set: at most 50, each of at most 64 characters.
    #[garde(skip)]
    tags: Option<Vec<String>>,
}

/// Tells `null`, which clears a field, from a field that is not there.
fn given<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(field).map(Some)
}

impl From<ContactRow> for Contact {
    fn from(row: ContactRow) -> Self {
        Self {
            id: row.id,
            channel_source: row.channel.into(),
            name: row.name,
            phone_number: row.phone_number,
            email: row.email,
            tags: row.tags,
            created_at: row.created_at,
            updated_at: row.updated_at,
            erased_at: row.erased_at,
        }
    }
}

async fn list(ctx: Ctx, paging: Paging, Query(wanted): Query<ListContacts>) -> Answer<Json<ContactPage>> {
    let filter = ContactFilter {
        search: wanted.search.as_deref().and_then(search_text),
        channel: wanted.channel.map(Into::into),
        tag: wanted.tag,
    };
    let page = Page { limit: paging.limit(), offset: paging.offset() };
    let mut db = ctx.reader().await?;
    let contacts = query::contacts(&mut db, ctx.tenant_id(), &filter, page).await?;
    let count = async |at_most| query::count_contacts(&mut db, &filter, at_most).await;
    let total = ctx.total_of(&filter).counted(count).await?;
    let contacts = contacts.into_iter().map(Into::into).collect();
    Ok(Json(ContactPage { contacts, numbers: paging.numbers(total) }))
}

async fn get_one(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Versioned<Contact>> {
    let row = find(&ctx, id).await?;
    Ok(Versioned { version: row.version, value: row.into() })
}

async fn update(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(wanted): Body<UpdateContact>,
) -> Answer<Versioned<Contact>> {
    let UpdateContact { name, email, phone_number, tags } = wanted;
    let change = Change { name, email, phone_number, tags };
    ctx.execute::<State>(id, |state| contact::update(state, id, &change)).await?;
    get_one(ctx, Path(id)).await
}

async fn erase(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Versioned<Contact>> {
    let vault = ctx.app.store().vault();
    let key_of = |channel, address: &str| contact::identity_key(vault, channel, address);
    ctx.execute::<State>(id, |state| contact::erase(state, id, key_of)).await?;
    get_one(ctx, Path(id)).await
}

async fn conversations(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<List<ConversationWithContact>> {
    find(&ctx, id).await?;
    let mut db = ctx.reader().await?;
    let found = query::conversations_of(&mut db, ctx.tenant_id(), id, MAX_CONVERSATIONS).await?;
    Ok(List(found.into_iter().map(Into::into).collect()))
}

async fn find(ctx: &Ctx, id: Uuid) -> Answer<ContactRow> {
    let row = query::contact(&mut *ctx.reader().await?, ctx.tenant_id(), id).await?;
    row.ok_or_else(|| Problem::not_found("contact"))
}

/// What is looked for among names, phone numbers and email addresses. A phone number is found however it is written.
pub(crate) fn search_text(typed: &str) -> Option<String> {
    let typed = typed.trim();
    let punctuation = |c: char| matches!(c, ' ' | '-' | '.' | '(' | ')' | '+');
    let digits = typed.chars().filter(char::is_ascii_digit).count();
    let is_number = digits >= 3 && typed.chars().all(|c| c.is_ascii_digit() || punctuation(c));
    let text = if is_number { typed.replace(punctuation, "") } else { typed.to_owned() };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::search_text;

    #[test]
    fn a_phone_number_is_found_however_it_is_written() {
        assert_eq!(search_text(" +62 812-345 ").as_deref(), Some("62812345"));
        assert_eq!(search_text("(021) 55").as_deref(), Some("02155"));
    }

    #[test]
    fn other_text_is_only_trimmed() {
        assert_eq!(search_text(" Ani-Sari ").as_deref(), Some("Ani-Sari"));
        assert_eq!(search_text("1-2").as_deref(), Some("1-2"));
        assert_eq!(search_text("  "), None);
    }
}
