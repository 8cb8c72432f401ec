//! Keys with which programs act for the agent who made them.

use chrono::{DateTime, Utc};
use commands::api_key::{self, NewKey, PREFIX_LENGTH};
use domain::api_key::{self as domain_key, KeyType};
use garde::Validate;
use projections::documents::Document;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::agents::required_text;
use crate::http::{
    Access, Answer, Body, Created, Group, Json, List, Means, Path, Permission, Problem, delete, get, group,
    post,
};
use crate::resource::Deleted;
use crate::roles::known_codes;
use crate::token::key_hash;
use crate::{App, Ctx};

pub fn routes() -> Group<App> {
    let developer = Access::Permission(Permission::DeveloperAccess);
    group("API Keys", [
        get("/api/api-keys", "List caller's API keys", developer, list)
            .describe("Newest last, with those that are revoked or expired"),
        post("/api/api-keys", "Create a new API key", developer, create).describe(
            "The plaintext is shown once and only its hash stored; needs a session of one's own, not a key and not an \
             impersonation. Scopes are permission codes; without any the key can do all that its agent can",
        ),
        delete("/api/api-keys/{id}", "Revoke an API key", developer, revoke)
            .describe("It stops working with the next request, and stays in the list"),
    ])
}

#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Type {
    Live,
    Test,
}

impl From<KeyType> for Type {
    fn from(key_type: KeyType) -> Self {
        match key_type {
            KeyType::Live => Self::Live,
            KeyType::Test => Self::Test,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct ApiKey {
    id: Uuid,
    agent_id: Uuid,
    name: String,
    #[schema(inline)]
    key_type: Type,
    /// The key's first characters.
    key_prefix: String,
    scopes: Vec<String>,
    /// Neither revoked nor expired.
    is_active: bool,
    created_at: DateTime<Utc>,
    /// Exact to ten minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct CreateApiKeyRequest {
    #[garde(length(chars, min = 1, max = 100))]
    name: String,
    #[garde(skip)]
    #[schema(inline)]
    key_type: Option<Type>,
    /// Permission codes; see `GET /api/permissions`.
    #[garde(skip)]
    scopes: Option<Vec<String>>,
    #[garde(skip)]
    expires_at: Option<DateTime<Utc>>,
}

#[derive(Serialize, ToSchema)]
struct ApiKeyCreateResponse {
    /// Shown this once.
    plaintext_key: String,
    key: ApiKey,
}

async fn list(ctx: Ctx) -> Answer<List<ApiKey>> {
    let (agent_id, now) = (ctx.member()?.agent_id, ctx.app.store().clock().now());
    let keys = ctx.documents::<domain_key::ApiKey>().await?.into_iter();
    Ok(List(keys.filter(|key| key.state.agent_id == agent_id).map(|key| shown(key, now)).collect()))
}

async fn create(ctx: Ctx, Body(new): Body<CreateApiKeyRequest>) -> Answer<Created<ApiKeyCreateResponse>> {
    let member = ctx.member()?;
    if let Means::ApiKey { .. } = member.means {
        return Err(Problem::forbidden("A key cannot make keys: sign in."));
    }
    if member.impersonator.is_some() {
        return Err(Problem::forbidden("A key would outlive the impersonation."));
    }
    let (id, now) = (ctx.new_id(1), ctx.app.store().clock().now());
    let key_type = match new.key_type {
        Some(Type::Test) => KeyType::Test,
        Some(Type::Live) | None => KeyType::Live,
    };
    let plaintext_key = plaintext(&ctx, id, key_type);
    let new = NewKey {
        agent_id: member.agent_id,
        name: required_text("name", &new.name)?,
        key_type,
        prefix: plaintext_key.chars().take(PREFIX_LENGTH).collect(),
        key_hash: key_hash(&plaintext_key),
        scopes: known_codes("scopes", new.scopes.unwrap_or_default())?,
        expires_at: new.expires_at,
    };
    ctx.execute::<domain_key::ApiKey>(id, |state| api_key::create(state, id, &new, now)).await?;
    let key = shown(ctx.document(id).await?, now);
    Ok(Created(ApiKeyCreateResponse { plaintext_key, key }))
}

async fn revoke(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<Deleted>> {
    let agent_id = ctx.member()?.agent_id;
    ctx.execute::<domain_key::ApiKey>(id, |state| api_key::revoke(state, agent_id)).await?;
    Ok(Json(Deleted { message: "The API key was revoked.".to_owned(), id }))
}

/// 256 random bits. Under an Idempotency-Key they follow from the key's id and the secret key, so that a repetition
/// of a request whose answer was lost shows the key that was stored.
fn plaintext(ctx: &Ctx, id: Uuid, key_type: KeyType) -> String {
    let bits: [u8; 32] = match ctx.idempotency {
        Some(_) => ctx.app.store().vault().derive(&format!("api key {id}")),
        None => rand::random(),
    };
    let kind = match key_type {
        KeyType::Live => "live",
        KeyType::Test => "test",
    };
    format!("os_{kind}_{}", hex::encode(bits))
}

fn shown(key: Document<domain_key::ApiKey>, now: DateTime<Utc>) -> ApiKey {
    let is_active = key.state.is_usable(now);
    let domain_key::ApiKey {
        agent_id,
        name,
        key_type,
        prefix,
        scopes,
        expires_at,
        last_used_at,
        revoked_at,
        ..
    } = key.state;
    ApiKey {
        id: key.id,
        agent_id,
        name,
        key_type: key_type.into(),
        key_prefix: prefix,
        scopes,
        is_active,
        created_at: key.created_at,
        last_used_at,
        expires_at,
        revoked_at,
    }
}
