//! How long chats wait for their customers, by channel.

use chrono::{DateTime, Utc};
use commands::chat_expiration_rule::{self as rules, Change, MAX_WINDOW_HOURS};
use domain::chat_expiration_rule::{ChatExpirationRule as State, stream_id};
use garde::Validate;
use projections::documents::Document;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::{Access, Answer, Body, Group, List, Path, Permission, Versioned, get, group, put};
use crate::resource::ChannelName;
use crate::{App, Ctx};

pub fn routes() -> Group<App> {
    let leads = Access::Supervisor(Permission::SettingsManage);
    group("Chat Expiration", [
        get("/api/chat-expiration-rules", "List chat expiration rules", leads, list)
            .describe("one for each channel that has one"),
        put("/api/chat-expiration-rules/{channel}", "Upsert a chat expiration rule for a channel", leads, set).describe(
            "window_hours 0 = never. The window runs from the customer's last message, and again in full from opening \
             the conversation by hand. auto_resolve resolves a conversation within seconds of its window's end, also \
             those whose window has passed already. block_text_after_window refuses free text (409 window_closed); the \
             channel's own 24 h hold without it too. What is left out stays as it was.",
        ),
    ])
}

#[derive(Serialize, ToSchema)]
struct ChatExpirationRule {
    id: Uuid,
    channel: ChannelName,
    /// Hours of the customer's silence; 0: the window never ends.
    window_hours: i64,
    auto_resolve: bool,
    block_text_after_window: bool,
    is_active: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct UpsertChatExpirationRule {
    /// Hours of the customer's silence; 0: the window never ends.
    #[garde(range(min = 0, max = MAX_WINDOW_HOURS))]
    window_hours: i64,
    /// Of a new rule: false.
    #[garde(skip)]
    auto_resolve: Option<bool>,
    /// Of a new rule: false.
    #[garde(skip)]
    block_text_after_window: Option<bool>,
    /// Of a new rule: true.
    #[garde(skip)]
    is_active: Option<bool>,
}

async fn list(ctx: Ctx) -> Answer<List<ChatExpirationRule>> {
    Ok(List(ctx.documents::<State>().await?.into_iter().map(shown).collect()))
}

async fn set(
    ctx: Ctx,
    Path(channel): Path<ChannelName>,
    Body(wanted): Body<UpsertChatExpirationRule>,
) -> Answer<Versioned<ChatExpirationRule>> {
    let change = Change {
        window_hours: wanted.window_hours,
        auto_resolve: wanted.auto_resolve,
        block_text_after_window: wanted.block_text_after_window,
        is_active: wanted.is_active,
    };
    let id = stream_id(ctx.tenant_id(), channel.into());
    let done = ctx.execute::<State>(id, |state| rules::set(state, channel.into(), change)).await?;
    Ok(Versioned { version: done.version, value: shown(ctx.document(id).await?) })
}

fn shown(document: Document<State>) -> ChatExpirationRule {
    let terms = document.state.terms;
    ChatExpirationRule {
        id: document.id,
        channel: terms.channel.into(),
        window_hours: terms.window_hours,
        auto_resolve: terms.auto_resolve,
        block_text_after_window: terms.block_text_after_window,
        is_active: terms.is_active,
        created_at: document.created_at,
        updated_at: document.updated_at,
    }
}
