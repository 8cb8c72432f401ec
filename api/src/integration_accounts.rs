//! Connected senders: WhatsApp numbers, Instagram accounts, Messenger pages, mailboxes.

mod business;
mod provider;
mod view;

use std::collections::BTreeMap;

use commands::Refusal;
use commands::channel_address;
use commands::integration_account::{self as account, Change, DEFAULT, Definition, Given};
use commands::store::Decision;
use domain::billing::LimitName;
use domain::channel::Channel;
use domain::division::Division;
use domain::event::PLATFORM_TENANT;
use domain::integration_account::{Config, IntegrationAccount, IntegrationAccountEvent};
use domain::personal::Secret;
use garde::Validate;
use projections::documents::Document;
use projections::usage;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::http::{
    Access, Answer, Body, Created, Group, Json, List, Path, Permission, Problem, Query, Versioned, delete,
    get, group, patch, post,
};
use crate::resource::{ChannelName, Deleted};
use crate::{App, Ctx};
use view::IntegrationAccountView;

/// How often the default of a channel is moved again after someone else moved it at the same moment.
const DEFAULT_TRIES: u32 = 5;
const KEY_MAX_CHARS: usize = 200;
const NAME_MAX_CHARS: usize = 100;

pub fn routes() -> Group<App> {
    let leads = Access::Supervisor(Permission::IntegrationsManage);
    group("Integrations", [
        get("/api/integration-accounts", "List integration accounts", leads, list),
        post("/api/integration-accounts", "Create an integration account", Access::Admin, create).describe(
            "account_key unique per channel across tenants; WhatsApp derives wa-<phone_number_id> and registers + \
             subscribes the number. A waba_id belongs to the first tenant that names it (409). The account is created even if Meta refuses that; `warnings` then says why, and an \
             update of its credentials tries again. The first account of a channel becomes its default. 409 limit_reached \
             (max_channels).",
        ),
        get("/api/integration-accounts/{id}", "Get an integration account by ID", leads, get_one),
        delete("/api/integration-accounts/{id}", "Delete an integration account", Access::Admin, remove).describe(
            "its conversations stay; what is still queued for it fails, and the oldest other account of the channel \
             becomes the default",
        ),
        patch("/api/integration-accounts/{id}", "Update an integration account", Access::Admin, update).describe(
            "`config` is merged: null removes a setting, a masked secret stays as it is",
        ),
        post(
            "/api/integration-accounts/{id}/default",
            "Set an integration account as the default for its channel",
            Access::Admin,
            set_default,
        ),
        get(
            "/api/integration-accounts/{id}/whatsapp-health",
            "Fetch WhatsApp account health from Meta Graph API",
            leads,
            provider::health,
        ),
    ])
}

#[derive(Deserialize, IntoParams, Validate)]
struct Filter {
    #[param(inline)]
    #[garde(skip)]
    channel: Option<ChannelName>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct CreateIntegrationAccount {
    #[garde(skip)]
    channel: ChannelName,
    /// Follows from the settings where it is left out; for WhatsApp always.
    #[garde(length(chars, min = 1, max = KEY_MAX_CHARS))]
    account_key: Option<String>,
    #[garde(length(chars, min = 1, max = NAME_MAX_CHARS))]
    display_name: Option<String>,
    #[garde(skip)]
    is_active: Option<bool>,
    #[garde(skip)]
    is_default: Option<bool>,
    /// New conversations go there.
    #[garde(skip)]
    division_id: Option<Uuid>,
    #[garde(skip)]
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct UpdateIntegrationAccount {
    #[garde(length(chars, min = 1, max = KEY_MAX_CHARS))]
    account_key: Option<String>,
    #[garde(length(chars, min = 1, max = NAME_MAX_CHARS))]
    display_name: Option<String>,
    /// While false, nothing is sent, and what arrives is kept but not processed.
    #[garde(skip)]
    is_active: Option<bool>,
    /// Can only be set: make another account the default instead of taking it from this one.
    #[garde(skip)]
    is_default: Option<bool>,
    #[garde(skip)]
    division_id: Option<Uuid>,
    #[garde(skip)]
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
}

async fn list(ctx: Ctx, Query(filter): Query<Filter>) -> Answer<List<IntegrationAccountView>> {
    let wanted = filter.channel.map(Channel::from);
    let mut views = Vec::new();
    for document in ctx.documents::<IntegrationAccount>().await? {
        if wanted.is_none_or(|channel| channel == document.state.channel) {
            views.push(view::of(&ctx, document).await?);
        }
    }
    Ok(List(views))
}

async fn get_one(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Versioned<IntegrationAccountView>> {
    let document = ctx.document::<IntegrationAccount>(id).await?;
    Ok(Versioned { version: document.version, value: view::of(&ctx, document).await? })
}

async fn create(
    ctx: Ctx,
    Body(new): Body<CreateIntegrationAccount>,
) -> Answer<Created<IntegrationAccountView>> {
    let (id, channel) = (ctx.new_id(1), Channel::from(new.channel));
    if let Some(division_id) = new.division_id {
        ctx.require::<Division>("division_id", division_id).await?;
    }
    let mut settings = new.config.unwrap_or_default();
    if let (Channel::Whatsapp, Some(number)) = (channel, &ctx.app.meta().phone_number_id) {
        settings.entry("phone_number_id").or_insert_with(|| Value::from(number.as_str()));
    }
    account::add_generated(channel, &mut settings);
    let given = Given { tenant_id: ctx.tenant_id(), settings: &settings, opened: &BTreeMap::new() };
    let config = account::configure(channel, &Config::default(), given)?;
    let account_key = key_for(channel, new.account_key.as_deref(), None, &config)?;
    let display_name = new.display_name.unwrap_or_else(|| account_key.clone());
    let is_active = new.is_active.unwrap_or(true);
    let definition =
        Definition { channel, account_key, display_name, is_active, division_id: new.division_id, config };
    let _admission = usage::admit(ctx.app.store(), ctx.tenant_id(), LimitName::MaxChannels).await?;
    business::reserve(&ctx, &definition.config, id).await?;
    reserve(&ctx, channel, &definition.account_key, id).await?;
    let make_default = new.is_default.unwrap_or(false);
    let connected = execute(&ctx, id, channel, |state, holder| {
        account::connect(state, id, &definition, holder, make_default)
    });
    if let Err(problem) = connected.await {
        release(&ctx, channel, &definition.account_key, id).await;
        return Err(problem);
    }
    let document = ctx.document::<IntegrationAccount>(id).await?;
    let warnings = provider::set_up(&ctx, &document.state).await?;
    Ok(Created(IntegrationAccountView { warnings, ..view::of(&ctx, document).await? }))
}

async fn update(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(change): Body<UpdateIntegrationAccount>,
) -> Answer<Versioned<IntegrationAccountView>> {
    let before = ctx.document::<IntegrationAccount>(id).await?.state;
    if let Some(division_id) = change.division_id {
        ctx.require::<Division>("division_id", division_id).await?;
    }
    if change.is_default == Some(false) && before.is_default {
        return Err(Problem::invalid("is_default", "can't be taken away; make another account the default"));
    }
    let settings = change.config.clone().unwrap_or_default();
    let opened = opened(&ctx, &before.config).await?;
    let given = Given { tenant_id: ctx.tenant_id(), settings: &settings, opened: &opened };
    let wanted = account::configure(before.channel, &before.config, given)?;
    let key = key_for(before.channel, change.account_key.as_deref(), Some(&before), &wanted)?;
    if wanted.text("waba_id") != before.config.text("waba_id") {
        business::reserve(&ctx, &wanted, id).await?;
    }
    reserve(&ctx, before.channel, &key, id).await?;
    let updated = execute(&ctx, id, before.channel, |state, holder| {
        let config = account::configure(state.channel, &state.config, given)?;
        let (display_name, account_key) = (change.display_name.as_deref(), key.clone());
        let (is_active, division_id) = (change.is_active, change.division_id);
        let updated =
            account::update(state, &Change { display_name, is_active, division_id, account_key, config })?;
        let default = match change.is_default {
            Some(true) => account::make_default(state, id, holder)?,
            _ => Decision::nothing(),
        };
        Ok(account::together(updated, default))
    });
    let updated = updated.await;
    if key != before.account_key {
        let unused = if updated.is_ok() { &before.account_key } else { &key };
        release(&ctx, before.channel, unused, id).await;
    }
    updated?;
    let document = ctx.document::<IntegrationAccount>(id).await?;
    let concerned = provider::SET_UP_BY.iter().any(|key| settings.contains_key(*key));
    let warnings = if concerned { provider::set_up(&ctx, &document.state).await? } else { Vec::new() };
    let version = document.version;
    Ok(Versioned { version, value: IntegrationAccountView { warnings, ..view::of(&ctx, document).await? } })
}

async fn set_default(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Versioned<IntegrationAccountView>> {
    let channel = ctx.document::<IntegrationAccount>(id).await?.state.channel;
    execute(&ctx, id, channel, |state, holder| account::make_default(state, id, holder)).await?;
    get_one(ctx, Path(id)).await
}

async fn remove(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    let before = ctx.document::<IntegrationAccount>(id).await?.state;
    let is_heir =
        |other: &Document<IntegrationAccount>| other.id != id && other.state.channel == before.channel;
    let heir =
        ctx.documents::<IntegrationAccount>().await?.into_iter().find(is_heir).map(|d| (d.id, d.version));
    ctx.execute::<IntegrationAccount>(id, |state| account::disconnect(state, id, heir)).await?;
    release(&ctx, before.channel, &before.account_key, id).await;
    Ok(Json(Deleted::new("integration account", id)))
}

/// The key of an account: what follows from its settings for WhatsApp, else what is asked for, what it was, or what
/// follows.
fn key_for(
    channel: Channel,
    wanted: Option<&str>,
    before: Option<&IntegrationAccount>,
    config: &Config,
) -> Answer<String> {
    let derived = account::derived_key(channel, config);
    if channel == Channel::Whatsapp {
        let derived = derived.ok_or_else(|| Problem::invalid("config.phone_number_id", "is required"))?;
        return match wanted {
            Some(wanted) if wanted != derived => Err(Problem::invalid(
                "account_key",
                format!("follows from the phone_number_id and is {derived}"),
            )),
            _ => Ok(derived),
        };
    }
    let wanted = wanted.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
    let key = wanted.or_else(|| before.map(|b| b.account_key.clone())).or(derived);
    key.ok_or_else(|| {
        Problem::invalid("account_key", "is required unless the settings say who the account is")
    })
}

/// Runs a command that needs to know the default account of the channel, again when that has changed meanwhile.
async fn execute(
    ctx: &Ctx,
    id: Uuid,
    channel: Channel,
    decide: impl Fn(&IntegrationAccount, Option<Uuid>) -> Result<Decision<IntegrationAccountEvent>, Refusal>
    + Send
    + Sync,
) -> Answer<()> {
    for _ in 0..DEFAULT_TRIES {
        let holder = ctx.app.store().claim_owner(ctx.tenant_id(), DEFAULT, channel.as_str()).await?;
        match ctx.execute::<IntegrationAccount>(id, |state| decide(state, holder)).await {
            Err(problem) if problem.code == "already_taken" => {}
            settled => return settled.map(drop),
        }
    }
    Err(Problem::conflict("contended", "The default account is being changed by others; try again."))
}

async fn reserve(ctx: &Ctx, channel: Channel, account_key: &str, id: Uuid) -> Answer<()> {
    let origin = ctx.origin_in(PLATFORM_TENANT).part(&format!("reserve {account_key}"));
    let whose = (ctx.tenant_id(), id);
    channel_address::reserve_for(ctx.app.store(), &origin, channel, account_key, whose).await?;
    Ok(())
}

/// A failure is only logged: an address without an account is free again after a while.
async fn release(ctx: &Ctx, channel: Channel, account_key: &str, id: Uuid) {
    let origin = ctx.origin_in(PLATFORM_TENANT).part(&format!("release {account_key}"));
    let released = channel_address::release_from(ctx.app.store(), &origin, channel, account_key, id).await;
    if let Err(error) = released {
        tracing::warn!(%error, account_key, "an account key was not released");
    }
}

/// The account's credentials in the clear, beside their envelopes.
async fn opened(ctx: &Ctx, config: &Config) -> Answer<BTreeMap<String, (Secret, String)>> {
    let mut opened = BTreeMap::new();
    for (key, secret) in &config.secrets {
        let clear = ctx.app.store().vault().open_secret(ctx.tenant_id(), secret).await?;
        opened.insert(key.clone(), (secret.clone(), clear));
    }
    Ok(opened)
}
