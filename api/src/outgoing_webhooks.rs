//! Outgoing webhooks: who is told what, whether it arrived, and trying it out.

mod deliveries;

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use commands::outbound::URL_MAX_CHARS;
use commands::outgoing_webhook::{self, Change, Definition, MAX_WEBHOOKS, NewSecret, secret};
use domain::outgoing_webhook::{OutgoingWebhook as State, Topic};
use garde::Validate;
use projections::documents::Document;
use projections::webhooks::{HealthRow, query};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::agents::required_text;
use crate::http::{
    Access, Answer, Body, Created, FieldError, Group, Json, List, Path, Permission, Problem, Versioned,
    delete, get, group, patch, post,
};
use crate::resource::Deleted;
use crate::{App, Ctx};

const NAME_MAX_CHARS: usize = 100;

pub fn routes() -> Group<App> {
    let developer = Access::Permission(Permission::DeveloperAccess);
    group("Outgoing Webhooks", [
        get("/api/webhooks", "List outgoing webhooks", developer, list)
            .describe("oldest first; secret masked except in the create response"),
        post("/api/webhooks", "Create an outgoing webhook", developer, create).describe(
            "url http(s) and not a private address, now and whenever it is called; events from the list below. Without a \
             secret a new one is made, and this answer is the only one that shows it. Deliveries are signed after \
             Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature). 2xx is success, redirects are not \
             followed, 410 switches the webhook off, and so do 5 days without a success. Anything else is tried again \
             after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h with the same id and body.",
        ),
        get("/api/webhooks/event-types", "List available webhook event types", developer, event_types).describe(
            "message.received, message.sent, message.status, conversation.created, conversation.resolved, \
             conversation.assigned, contact.created",
        ),
        delete("/api/webhooks/{id}", "Delete an outgoing webhook", developer, remove)
            .describe("what is still to be delivered to it fails"),
        patch("/api/webhooks/{id}", "Update an outgoing webhook", developer, update).describe(
            "events are replaced. A replaced secret signs beside the new one for 24 hours. is_active true switches a \
             webhook on again that was switched off because of its receiver, and gives it 5 days again.",
        ),
        get("/api/webhooks/{id}/deliveries", "List deliveries for a webhook", developer, deliveries::list)
            .describe("newest first; those of the last 30 days"),
        post("/api/webhooks/{id}/test", "Send a test event to the webhook", developer, deliveries::test).describe(
            "webhook.test, once, also to a webhook that is switched off; the answer waits for the receiver's",
        ),
    ])
}

#[derive(Serialize, ToSchema)]
struct OutgoingWebhook {
    id: Uuid,
    name: String,
    #[schema(format = "uri")]
    url: String,
    /// Its last four characters, except in the answer to its creation.
    secret: String,
    events: Vec<&'static str>,
    is_active: bool,
    /// Attempts that failed since the last one that did not.
    consecutive_failures: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    created_by: Option<Uuid>,
    /// When there was news for it.
    last_triggered_at: Option<DateTime<Utc>>,
    last_success_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct CreateOutgoingWebhook {
    #[garde(length(chars, min = 1, max = NAME_MAX_CHARS))]
    name: String,
    /// http:// or https://, without a user name or password.
    #[schema(format = "uri")]
    #[garde(length(chars, max = URL_MAX_CHARS))]
    url: String,
    /// `whsec_` and the base64 of 24 to 64 bytes; or any text of 8 to 256 characters, whose bytes are the key.
    #[garde(skip)]
    secret: Option<String>,
    /// At least one.
    #[garde(skip)]
    events: Vec<String>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct UpdateOutgoingWebhook {
    #[garde(length(chars, min = 1, max = NAME_MAX_CHARS))]
    name: Option<String>,
    #[schema(format = "uri")]
    #[garde(length(chars, max = URL_MAX_CHARS))]
    url: Option<String>,
    /// As when it is created; the masked one stays what it is.
    #[garde(skip)]
    secret: Option<String>,
    /// Replaces the whole list.
    #[garde(skip)]
    events: Option<Vec<String>>,
    #[garde(skip)]
    is_active: Option<bool>,
}

async fn list(ctx: Ctx) -> Answer<List<OutgoingWebhook>> {
    let rows = query::health(&mut *ctx.reader().await?, ctx.tenant_id()).await?;
    let mut health: HashMap<Uuid, HealthRow> = rows.into_iter().map(|row| (row.webhook_id, row)).collect();
    let webhooks = ctx.documents::<State>().await?.into_iter();
    Ok(List(webhooks.map(|webhook| shown(health.remove(&webhook.id), webhook)).collect()))
}

async fn create(ctx: Ctx, Body(new): Body<CreateOutgoingWebhook>) -> Answer<Created<OutgoingWebhook>> {
    let definition = Definition {
        name: required_text("name", &new.name)?,
        topics: known_topics(&new.events)?,
        secret: chosen(&ctx, &new.secret.unwrap_or_else(secret::generate))?,
        url: reachable(&ctx, new.url).await?,
    };
    if ctx.documents::<State>().await?.len() >= MAX_WEBHOOKS {
        return Err(Problem::conflict(
            "limit_reached",
            format!("There can be {MAX_WEBHOOKS} webhooks at most."),
        ));
    }
    let (id, by) = (ctx.new_id(1), ctx.member()?.agent_id);
    ctx.execute::<State>(id, |state| outgoing_webhook::create(state, &definition, Some(by))).await?;
    let document = ctx.document::<State>(id).await?;
    // What was recorded, should this be the repetition of a request whose answer was lost.
    let recorded = document.state.secret.clone();
    let recorded = recorded.ok_or_else(|| Problem::not_found("outgoing webhook"))?;
    let secret = ctx.app.store().vault().open_secret(ctx.tenant_id(), &recorded).await?;
    Ok(Created(OutgoingWebhook { secret, ..shown(None, document) }))
}

async fn event_types(_: Ctx) -> Answer<List<&'static str>> {
    Ok(List(Topic::ALL.map(Topic::as_str).to_vec()))
}

async fn update(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Body(wanted): Body<UpdateOutgoingWebhook>,
) -> Answer<Versioned<OutgoingWebhook>> {
    let before = ctx.document::<State>(id).await?.state;
    let new_secret = wanted.secret.filter(|secret| *secret != secret::masked(&before));
    let change = Change {
        name: wanted.name.map(|name| required_text("name", &name)).transpose()?,
        topics: wanted.events.map(|events| known_topics(&events)).transpose()?,
        secret: new_secret.map(|secret| chosen(&ctx, &secret)).transpose()?,
        url: match wanted.url {
            Some(url) => Some(reachable(&ctx, url).await?),
            None => None,
        },
        is_active: wanted.is_active,
    };
    let done = ctx.execute::<State>(id, |state| outgoing_webhook::update(state, &change)).await?;
    let document = ctx.document::<State>(id).await?;
    let health = query::health_of(&mut *ctx.reader().await?, ctx.tenant_id(), id).await?;
    Ok(Versioned { version: done.version, value: shown(health, document) })
}

async fn remove(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    ctx.execute::<State>(id, outgoing_webhook::delete).await?;
    Ok(Json(Deleted::new("outgoing webhook", id)))
}

fn chosen(ctx: &Ctx, text: &str) -> Answer<NewSecret> {
    secret::read(ctx.tenant_id(), text).map_err(|message| Problem::invalid("secret", message))
}

/// The URL, unless it leads inside.
async fn reachable(ctx: &Ctx, url: String) -> Answer<String> {
    match ctx.app.guard().check(&url).await {
        Ok(()) => Ok(url),
        Err(refused) => Err(Problem::invalid("url", refused.to_string())),
    }
}

/// Topics by their names, in the order of the list and without doubles.
///
/// # Errors
/// 422 naming each that is none.
fn known_topics(names: &[String]) -> Answer<Vec<Topic>> {
    if names.is_empty() {
        return Err(Problem::invalid("events", "must name at least one event type"));
    }
    let (mut topics, mut errors) = (BTreeSet::new(), Vec::new());
    for (index, name) in names.iter().enumerate() {
        match Topic::from_name(name) {
            Some(topic) => drop(topics.insert(topic)),
            None => errors.push(FieldError::new(
                format!("events[{index}]"),
                "is not an event type; see GET /api/webhooks/event-types",
            )),
        }
    }
    if errors.is_empty() { Ok(topics.into_iter().collect()) } else { Err(Problem::invalid_fields(errors)) }
}

fn shown(health: Option<HealthRow>, document: Document<State>) -> OutgoingWebhook {
    let Document { id, created_at, updated_at, state, .. } = document;
    let health = health.unwrap_or_default();
    OutgoingWebhook {
        id,
        secret: secret::masked(&state),
        events: state.topics.iter().map(|topic| topic.as_str()).collect(),
        name: state.name,
        url: state.url,
        is_active: state.is_active,
        consecutive_failures: health.consecutive_failures,
        created_at,
        updated_at,
        created_by: state.created_by,
        last_triggered_at: health.last_triggered_at,
        last_success_at: health.last_success_at,
    }
}
