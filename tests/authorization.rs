//! Who may do what: every operation of the served document against every kind of caller, and forged tokens.

use std::collections::{BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use commands::clock::Clock;
use commands::store::Pool;
use commands::vault::Vault;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use crate::openapi::{Document, Operation};
use crate::support::{Client, PASSWORD, Server, Tenant};

/// What the supervisor's role lacks (SEMANTICS, "Permissions").
const ADMINS_ONLY: [&str; 4] = ["agents.manage", "integrations.manage", "roles.manage", "billing.manage"];
const OF_AGENTS: [&str; 2] = ["conversations.manage", "contacts.manage"];
/// One ends the session, the other renews it: the first would sign the caller out, and a key has none.
const ABOUT_THE_SESSION: [&str; 2] = ["/api/auth/logout", "/api/auth/token"];

type Codes = BTreeSet<String>;

#[derive(Clone, Debug, PartialEq)]
enum Role {
    Admin,
    Supervisor,
    Agent,
    Custom(Codes),
}

#[derive(Clone, Debug)]
enum Who {
    Nobody,
    Member { role: Role, scopes: Option<Codes> },
    SuperAdmin,
}

/// Someone who calls.
#[derive(Clone)]
struct Caller {
    who: Who,
    client: Client,
}

impl Role {
    fn holds(&self, permission: &str) -> bool {
        match self {
            Self::Admin => true,
            Self::Supervisor => !ADMINS_ONLY.contains(&permission),
            Self::Agent => OF_AGENTS.contains(&permission),
            Self::Custom(codes) => codes.contains(permission),
        }
    }
}

impl Who {
    /// The status with which the operation is refused; nothing if it is not.
    fn refused_by(&self, operation: &Operation) -> Option<u16> {
        let auth = operation.auth.as_str();
        match (auth, self) {
            ("public", _) | ("super", Self::SuperAdmin) => None,
            ("super", _) | (_, Self::Nobody | Self::SuperAdmin) => Some(401),
            (_, Self::Member { role, scopes }) => {
                (!may(role, scopes.as_ref(), auth, operation.permission.as_deref())).then_some(403)
            }
        }
    }
}

fn may(role: &Role, scopes: Option<&Codes>, auth: &str, permission: Option<&str>) -> bool {
    let in_scope = |permission: &str| scopes.is_none_or(|scopes| scopes.contains(permission));
    match auth {
        "any" => true,
        "admin" => *role == Role::Admin && scopes.is_none(),
        "supervisor" => {
            let permission = permission.expect("x-permission stands beside x-auth: supervisor");
            let leads = matches!(role, Role::Admin | Role::Supervisor);
            in_scope(permission) && (leads || role.holds(permission))
        }
        other => {
            let permission = other.strip_prefix("perm:").unwrap_or_else(|| panic!("{other} is no x-auth"));
            in_scope(permission) && role.holds(permission)
        }
    }
}

/// The callers of one tenant, made when first needed.
struct Cast {
    tenant: Tenant,
    all_codes: Codes,
    fixed: Vec<Caller>,
    by_permission: HashMap<String, Vec<Caller>>,
}

impl Cast {
    async fn of(server: &Server) -> Self {
        let tenant = server.tenant().await;
        // More callers than an organization without a plan may have agents.
        let roomy = json!({ "limits": { "max_agents": 200 } });
        let path = format!("/api/super-admin/tenants/{}", tenant.id);
        server.super_admin().await.patch(&path, roomy).await.expect(StatusCode::OK);
        let listed = tenant.admin.get("/api/permissions").await.expect(StatusCode::OK);
        let all_codes: Codes = listed
            .as_array()
            .expect("permissions")
            .iter()
            .map(|permission| permission["code"].as_str().expect("a code").to_owned())
            .collect();
        let member = |role, client| Caller { who: Who::Member { role, scopes: None }, client };
        let fixed = vec![
            Caller { who: Who::Nobody, client: server.client() },
            Caller { who: Who::SuperAdmin, client: server.super_admin().await },
            member(Role::Admin, tenant.admin.clone()),
            member(Role::Supervisor, tenant.agent("supervisor").await.0),
            member(Role::Agent, tenant.agent("agent").await.0),
            member(Role::Admin, key(&tenant.admin, &Codes::new()).await),
        ];
        Self { tenant, all_codes, fixed, by_permission: HashMap::new() }
    }

    /// Custom roles and keys of an admin that hold just this permission, and all but this one.
    async fn around(&mut self, permission: &str) -> Vec<Caller> {
        if let Some(callers) = self.by_permission.get(permission) {
            return callers.clone();
        }
        let only: Codes = [permission.to_owned()].into();
        let others: Codes = self.all_codes.iter().filter(|code| *code != permission).cloned().collect();
        let mut callers = Vec::new();
        for (name, codes) in [("only", only), ("no", others)] {
            let name = format!("{name}-{permission}");
            let role = json!({ "name": name, "permissions": codes });
            self.tenant.admin.post("/api/roles", role).await.expect(StatusCode::CREATED);
            let (client, _) = self.tenant.agent(&name).await;
            callers.push(Caller {
                who: Who::Member { role: Role::Custom(codes.clone()), scopes: None },
                client,
            });
            let client = key(&self.tenant.admin, &codes).await;
            callers.push(Caller { who: Who::Member { role: Role::Admin, scopes: Some(codes) }, client });
        }
        self.by_permission.insert(permission.to_owned(), callers.clone());
        callers
    }
}

async fn key(admin: &Client, scopes: &Codes) -> Client {
    let created = admin.post("/api/api-keys", json!({ "name": "key", "scopes": scopes })).await;
    let created = created.expect(StatusCode::CREATED);
    admin.anonymous().with_header("x-api-key", created["plaintext_key"].as_str().expect("a key"))
}

/// The permission that decides about an operation; any will do where none does.
fn decisive(operation: &Operation) -> &str {
    operation.permission.as_deref().or_else(|| operation.auth.strip_prefix("perm:")).unwrap_or("audit.view")
}

/// The status alone: streams have no end to wait for. No body is sent, so whoever gets in does nothing.
async fn status(client: &Client, operation: &Operation) -> u16 {
    let path = operation.at(|_, _| Uuid::now_v7().to_string());
    client.request(operation.method.clone(), &path).send().await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn every_operation_admits_whom_it_says_and_nobody_else() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    let mut cast = Cast::of(&server).await;
    let mut wrong = Vec::new();
    for operation in document.operations().iter().filter(|operation| operation.auth != "signature") {
        let mut callers = cast.fixed.clone();
        callers.extend(cast.around(decisive(operation)).await);
        for Caller { who, client } in callers {
            let refusal = who.refused_by(operation);
            if refusal.is_none() && ABOUT_THE_SESSION.contains(&operation.path.as_str()) {
                continue;
            }
            let status = status(&client, operation).await;
            let right = match refusal {
                Some(expected) => status == expected,
                None => ![401, 403].contains(&status) && status < 500,
            };
            if !right {
                let expected = refusal.map_or("admittance".to_owned(), |code| code.to_string());
                let Operation { method, path, auth, .. } = operation;
                wrong.push(format!("{method} {path} ({auth}) by {who:?}: {status} instead of {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_signature_cannot_be_left_out() {
    let server = Server::start().await;
    for operation in Document::of(&server).await.operations().iter().filter(|o| o.auth == "signature") {
        let path = operation.at(|_, parameter| match parameter {
            "gateway" => "stripe".to_owned(),
            _ => Uuid::now_v7().to_string(),
        });
        let answer =
            server.client().post(&path, json!({ "object": "whatsapp_business_account", "entry": [] })).await;
        assert!([401, 403].contains(&answer.status.as_u16()), "{path}: {} {}", answer.status, answer.text);
    }
}

/// What a token says, and the key that signs such tokens.
struct Genuine {
    token: String,
    claims: Value,
}

async fn signed_in(server: &Server, tenant: &Tenant) -> Genuine {
    let login = json!({ "email": tenant.email, "password": PASSWORD });
    let answer = server.client().post("/api/auth/login", login).await.expect(StatusCode::OK);
    let token = answer["token"].as_str().expect("a token").to_owned();
    let payload = BASE64URL.decode(token.split('.').nth(1).expect("three parts")).expect("base64");
    Genuine { claims: serde_json::from_slice(&payload).expect("claims"), token }
}

/// The server's own, from the secret that all test servers have.
async fn signing_key(server: &Server) -> [u8; 32] {
    let pool = PgPoolOptions::new().connect_lazy(&server.database.owner_url).expect("a URL");
    let vault = Vault::new(Pool::new(pool), Clock::default(), b"a secret for tests only, long enough");
    vault.expect("a vault").derive("session tokens")
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()))
}

fn signed(header: &Value, claims: &Value, key: &[u8]) -> String {
    let text = unsigned(header, claims);
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key");
    mac.update(text.as_bytes());
    format!("{text}.{}", BASE64URL.encode(mac.finalize().into_bytes()))
}

fn signed_sha512(header: &Value, claims: &Value, key: &[u8]) -> String {
    let text = unsigned(header, claims);
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("any key");
    mac.update(text.as_bytes());
    format!("{text}.{}", BASE64URL.encode(mac.finalize().into_bytes()))
}

fn header(alg: &str) -> Value {
    json!({ "typ": "JWT", "alg": alg })
}

/// The claims with one of them changed, or taken away.
fn with(claims: &Value, name: &str, value: Option<Value>) -> Value {
    let mut changed = claims.clone();
    let members = changed.as_object_mut().expect("an object");
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    changed
}

/// Tokens that must not work, each with what is wrong with it.
fn forgeries(mine: &Genuine, theirs: &Genuine, right: &[u8]) -> Vec<(&'static str, String)> {
    let (claims, other) = (&mine.claims, &theirs.claims);
    let hs256 = header("HS256");
    let resigned = |name, value| signed(&hs256, &with(claims, name, value), right);
    let (head, rest) = mine.token.split_once('.').expect("three parts");
    let (payload, signature) = rest.split_once('.').expect("three parts");
    let long_ago = claims["iat"].as_i64().expect("seconds") - 1;
    vec![
        ("empty", String::new()),
        ("dots", "..".to_owned()),
        ("text", "bearer of good news".to_owned()),
        ("no signature", format!("{head}.{payload}")),
        ("an empty signature", format!("{head}.{payload}.")),
        ("a truncated signature", mine.token[..mine.token.len() - 4].to_owned()),
        ("a fourth part", format!("{}.{signature}", mine.token)),
        (
            "someone else's payload",
            format!("{head}.{}.{signature}", theirs.token.split('.').nth(1).expect("a payload")),
        ),
        ("alg none", format!("{}.", unsigned(&header("none"), claims))),
        ("alg nOnE", format!("{}.", unsigned(&header("nOnE"), claims))),
        ("alg none, though signed", signed(&header("none"), claims, right)),
        ("alg RS256", signed(&header("RS256"), claims, right)),
        ("alg HS512", signed_sha512(&header("HS512"), claims, right)),
        ("no alg", signed(&json!({ "typ": "JWT" }), claims, right)),
        ("another key", signed(&hs256, claims, &[7; 32])),
        ("an empty key", signed(&hs256, claims, b"")),
        ("the secret itself as key", signed(&hs256, claims, b"a secret for tests only, long enough")),
        (
            "a key of its own",
            signed(&json!({ "alg": "HS256", "jwk": { "kty": "oct", "k": "AAAA" } }), claims, &[0; 3]),
        ),
        ("expired", resigned("exp", Some(json!(long_ago)))),
        ("no expiry", resigned("exp", None)),
        ("an expiry in words", resigned("exp", Some(json!("never")))),
        ("no audience", resigned("aud", None)),
        ("another audience", resigned("aud", Some(json!("super-admin")))),
        ("a session of another tenant", resigned("sid", Some(other["sid"].clone()))),
        ("a session that never was", resigned("sid", Some(json!(Uuid::now_v7())))),
        ("another tenant", resigned("tid", Some(other["tid"].clone()))),
        ("a tenant that never was", resigned("tid", Some(json!(Uuid::now_v7())))),
        ("an agent of another tenant", resigned("sub", Some(other["sub"].clone()))),
        ("no agent", resigned("sub", None)),
    ]
}

#[tokio::test]
async fn a_forged_token_opens_nothing() {
    let server = Server::start().await;
    let (mine, theirs) = (server.tenant().await, server.tenant().await);
    let (mine, theirs) = (signed_in(&server, &mine).await, signed_in(&server, &theirs).await);
    let right = signing_key(&server).await;
    // That this one works shows that the others fail for what is wrong with them.
    let copy = signed(&header("HS256"), &mine.claims, &right);
    for good in [&mine.token, &copy] {
        server.client().with_token(good).get("/api/auth/me").await.expect(StatusCode::OK);
        let by_cookie = server.client().with_header("cookie", &format!("access_token={good}"));
        by_cookie.get("/api/auth/me").await.expect(StatusCode::OK);
    }
    for (flaw, token) in forgeries(&mine, &theirs, &right) {
        let by_header = server.client().with_token(&token).get("/api/auth/me").await;
        assert_eq!(by_header.status, StatusCode::UNAUTHORIZED, "{flaw}: {}", by_header.text);
        let by_cookie = server.client().with_header("cookie", &format!("access_token={token}"));
        let by_cookie = by_cookie.get("/api/auth/me").await;
        assert_eq!(by_cookie.status, StatusCode::UNAUTHORIZED, "{flaw}, as cookie: {}", by_cookie.text);
    }
}

#[tokio::test]
async fn the_platforms_audience_is_not_a_tenants() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let mine = signed_in(&server, &tenant).await;
    let right = signing_key(&server).await;
    let path = "/api/super-admin/tenants";
    let promoted = signed(&header("HS256"), &with(&mine.claims, "aud", Some(json!("super-admin"))), &right);
    for token in [&mine.token, &promoted] {
        server.client().with_token(token).get(path).await.problem(401, "unauthenticated");
    }
    key(&tenant.admin, &Codes::new()).await.get(path).await.problem(401, "unauthenticated");
    let platform = server.super_admin().await;
    platform.get(path).await.expect(StatusCode::OK);
    platform.get("/api/auth/me").await.problem(401, "unauthenticated");
}
