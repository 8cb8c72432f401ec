//! Session tokens and API keys: who a caller is, asked anew at each request, so that a revocation holds at the next.

use chrono::{DateTime, TimeDelta, Utc};
use commands::clock::Clock;
use domain::agent::Agent;
use domain::aggregate::Aggregate;
use domain::api_key::{ApiKey, ApiKeyEvent};
use domain::event::{Actor, Metadata, PLATFORM_TENANT};
use domain::organization::OrganizationStatus;
use domain::role;
use domain::super_admin::SuperAdmin as SuperAdminState;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use projections::documents::{self, Document, Lookup};
use projections::standing::{self, Standing};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::App;
use crate::http::{
    Answer, Caller, Credentials, Means, Member, Permissions, Problem, Realm, Role, SuperAdmin,
};

/// How long a token is good for; `GET /api/auth/token` gives a fresh one while the session lasts.
pub const TOKEN_LIFETIME: TimeDelta = TimeDelta::hours(1);
/// How long a session lasts.
pub const SESSION_LIFETIME: TimeDelta = TimeDelta::days(30);
/// How long a super-admin may act as someone else.
pub const IMPERSONATION_LIFETIME: TimeDelta = TimeDelta::minutes(30);
/// An API key's last use is recorded at most this often.
const KEY_USE_RECORDED_EVERY: TimeDelta = TimeDelta::minutes(10);

const TENANT_AUDIENCE: &str = "tenant";
const SUPER_AUDIENCE: &str = "super-admin";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    aud: String,
    exp: i64,
    iat: i64,
    /// The agent or super-admin.
    pub sub: Uuid,
    /// The tenant.
    pub tid: Uuid,
    /// The session.
    pub sid: Uuid,
    /// The super-admin behind an impersonated session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imp: Option<Uuid>,
}

/// Signs and reads session tokens (JWT, HS256).
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    clock: Clock,
}

impl Tokens {
    #[must_use]
    pub fn new(key: &[u8; 32], clock: Clock) -> Self {
        Self { encoding: EncodingKey::from_secret(key), decoding: DecodingKey::from_secret(key), clock }
    }

    /// A token for a session of an agent.
    ///
    /// # Errors
    /// When signing fails.
    pub fn for_agent(
        &self,
        tenant_id: Uuid,
        agent_id: Uuid,
        session_id: Uuid,
        imp: Option<Uuid>,
    ) -> Answer<String> {
        self.sign(TENANT_AUDIENCE, agent_id, tenant_id, session_id, imp)
    }

    /// A token for a session of a super-admin.
    ///
    /// # Errors
    /// When signing fails.
    pub fn for_super_admin(&self, admin_id: Uuid, session_id: Uuid) -> Answer<String> {
        self.sign(SUPER_AUDIENCE, admin_id, PLATFORM_TENANT, session_id, None)
    }

    fn sign(&self, aud: &str, sub: Uuid, tid: Uuid, sid: Uuid, imp: Option<Uuid>) -> Answer<String> {
        let now = self.clock.now();
        let lifetime = if imp.is_some() { IMPERSONATION_LIFETIME } else { TOKEN_LIFETIME };
        let (iat, exp) = (now.timestamp(), (now + lifetime).timestamp());
        let claims = Claims { aud: aud.to_owned(), exp, iat, sub, tid, sid, imp };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .map_err(Problem::internal)
    }

    fn read(&self, token: &str, realm: Realm) -> Option<Claims> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[match realm {
            Realm::Tenant => TENANT_AUDIENCE,
            Realm::SuperAdmin => SUPER_AUDIENCE,
        }]);
        // By our own clock, which a test can move.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation).ok()?.claims;
        (claims.exp > self.clock.now().timestamp()).then_some(claims)
    }
}

/// # Errors
/// 401 for whatever does not prove who is calling.
pub async fn authenticate(app: &App, credentials: Credentials, realm: Realm) -> Answer<Caller> {
    let token = match credentials {
        Credentials::None => return Err(Problem::unauthenticated()),
        Credentials::ApiKey(key) if realm == Realm::Tenant => return by_api_key(app, &key).await,
        Credentials::ApiKey(_) => return Err(Problem::unauthenticated()),
        Credentials::Bearer(token) | Credentials::Cookie(token) => token,
    };
    let claims = app.tokens().read(&token, realm).ok_or_else(rejected)?;
    match realm {
        Realm::Tenant => by_session(app, &claims).await,
        Realm::SuperAdmin => by_super_session(app, &claims).await,
    }
}

fn rejected() -> Problem {
    Problem::unauthenticated_because("The token or key is unknown, expired or revoked.")
}

async fn by_super_session(app: &App, claims: &Claims) -> Answer<Caller> {
    let mut db = app.store().pool().acquire().await?;
    let admin: Document<SuperAdminState> =
        documents::get(&mut db, PLATFORM_TENANT, claims.sub).await?.ok_or_else(rejected)?;
    if !admin.state.sessions.holds(claims.sid, app.store().clock().now()) {
        return Err(rejected());
    }
    Ok(Caller::SuperAdmin(SuperAdmin { id: claims.sub, session_id: claims.sid, name: admin.state.full_name }))
}

async fn by_session(app: &App, claims: &Claims) -> Answer<Caller> {
    let mut db = app.store().pool().acquire().await?;
    let (agent, role) = active_agent(&mut db, claims.tid, claims.sub, claims.imp).await?;
    if !agent.sessions.holds(claims.sid, app.store().clock().now()) {
        return Err(rejected());
    }
    Ok(Caller::Member(Member {
        tenant_id: claims.tid,
        agent_id: claims.sub,
        name: agent.full_name,
        role,
        means: Means::Session { id: claims.sid },
        impersonator: claims.imp,
    }))
}

async fn by_api_key(app: &App, key: &str) -> Answer<Caller> {
    let now = app.store().clock().now();
    let mut db = app.store().pool().acquire().await?;
    let found: Vec<(Uuid, Document<ApiKey>)> =
        documents::find_anywhere(&mut db, Lookup::KeyHash, &key_hash(key)).await?;
    let (tenant_id, document) =
        found.into_iter().find(|(_, d)| d.state.is_usable(now)).ok_or_else(rejected)?;
    let (agent, role) = active_agent(&mut db, tenant_id, document.state.agent_id, None).await?;
    record_use(app, tenant_id, &document, now);
    let scopes = &document.state.scopes;
    // A key that names no scope can do all that its agent can.
    let scopes = if scopes.is_empty() { Permissions::ALL } else { Permissions::from_codes(scopes) };
    Ok(Caller::Member(Member {
        tenant_id,
        agent_id: document.state.agent_id,
        name: agent.full_name,
        role,
        means: Means::ApiKey { id: document.id, scopes },
        impersonator: None,
    }))
}

/// SHA-256 of an API key, hex.
#[must_use]
pub fn key_hash(key: &str) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}

fn record_use(app: &App, tenant_id: Uuid, key: &Document<ApiKey>, now: DateTime<Utc>) {
    if key.state.last_used_at.is_some_and(|last| now - last < KEY_USE_RECORDED_EVERY) {
        return;
    }
    let (store, id) = (app.store().clone(), key.id);
    tokio::spawn(async move {
        let metadata = Metadata::new(Actor::system(), commands::ids::new_id());
        let origin = commands::store::Origin::new(tenant_id, metadata);
        let used = store.execute::<ApiKey>(&origin, id, |key| {
            let recent = key.last_used_at.is_some_and(|last| now - last < KEY_USE_RECORDED_EVERY);
            Ok(if recent || !key.exists() { Vec::new() } else { vec![ApiKeyEvent::Used] }.into())
        });
        if let Err(error) = used.await {
            tracing::warn!(%error, "the use of an API key was not recorded");
        }
    });
}

/// The agent with its role, if it, its organization and whoever acts as it may act. Whoever was deleted acts as nobody
/// any more.
async fn active_agent(
    db: &mut PgConnection,
    tenant_id: Uuid,
    agent_id: Uuid,
    impersonator: Option<Uuid>,
) -> Answer<(Agent, Role)> {
    let standing = standing::of_agent(db, tenant_id, agent_id, impersonator).await?.ok_or_else(rejected)?;
    let Standing { agent, organization, permissions, impersonator_exists } = standing;
    let may_act = organization.is_some_and(|status| status != OrganizationStatus::Suspended);
    if agent.is_suspended || !may_act || !impersonator_exists {
        return Err(rejected());
    }
    let role = match agent.role.as_str() {
        role::ADMIN => Role::Admin,
        role::SUPERVISOR => Role::Supervisor,
        role::AGENT => Role::Agent,
        name => {
            let codes = permissions.ok_or_else(rejected)?;
            Role::Custom { name: name.to_owned(), permissions: Permissions::from_codes(&codes) }
        }
    };
    Ok((agent, role))
}
