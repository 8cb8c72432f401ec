//! The HTTP framework of the API: one typed table of routes, and what holds for every route.
//!
//! A resource is a file with handlers and a `Group` of rows; a row is method, path, summary, access and handler. What
//! a handler takes ([`input`]) and answers ([`output`]) stands in its signature, and nowhere else: the router, the
//! OpenAPI document, the checks of who may call and the refusal of what is not known are folds of the table
//! ([`Api`]).
//!
//! Every request goes the same way: id and span, sign-in, rate, access, unknown parameters, body limit, idempotency,
//! inputs, handler. Whatever goes wrong is a [`Problem`].

pub mod access;
pub mod context;
mod docs;
pub mod idempotency;
pub mod input;
mod json;
pub mod limits;
mod observe;
pub mod openapi;
pub mod output;
pub mod permission;
pub mod problem;
pub mod route;
mod router;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use uuid::Uuid;

pub use access::{Access, Caller, Credentials, Means, Member, Realm, Role, SuperAdmin};
pub use context::Ctx;
pub use idempotency::{Begin, CallerScope, IdempotencyKey, StoredAnswer};
pub use input::{
    Body, Headers, Input, OptionalBody, PageNumbers, Paging, Path, PathParam, Query, RawBody, Upload,
};
pub use openapi::serve_document;
pub use output::{Accepted, Created, Csv, EventStream, File, Json, List, Output, Text, Versioned};
pub use permission::{Permission, Permissions};
pub use problem::{Answer, FieldError, Problem};
pub use route::{Group, Listener, Route, delete, get, group, patch, post, put};
pub use router::{Api, FaultyTable};

/// What the framework needs to know from configuration.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Origins whose pages may call the API from a browser, such as `https://app.example.com`.
    pub cors_origins: Vec<String>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Requests per caller; 0 means no limit.
    pub rate_limit_per_minute: u32,
    /// Secret under which requests are fingerprinted for idempotency; must outlive the keys (24 h).
    pub fingerprint_key: [u8; 32],
}

/// What the framework needs from the application around it. Cheap to clone.
pub trait Host: Clone + Send + Sync + 'static {
    fn settings(&self) -> &HttpSettings;

    /// A new id for a request that brought none.
    fn new_id(&self) -> Uuid;

    /// Who these credentials belong to.
    ///
    /// # Errors
    /// 401 if they are missing, unknown, expired, revoked, or of the other realm.
    fn authenticate(
        &self,
        credentials: Credentials,
        realm: Realm,
    ) -> impl Future<Output = Answer<Caller>> + Send;

    /// Claims a key for 24 hours, or says what came of it before.
    fn idempotency_begin(
        &self,
        scope: CallerScope,
        key: &str,
        fingerprint: [u8; 32],
    ) -> impl Future<Output = Answer<Begin>> + Send;

    /// Keeps others from taking the request for dead; called every [`RENEWAL`](commands::idempotency::RENEWAL) while
    /// it runs.
    fn idempotency_renew(&self, key: &IdempotencyKey) -> impl Future<Output = Answer<()>> + Send;

    /// Keeps the answer for whoever comes with the key again.
    fn idempotency_finish(
        &self,
        key: &IdempotencyKey,
        answer: StoredAnswer,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Gives the key back: the attempt failed through no fault of the caller's.
    fn idempotency_abandon(&self, key: &IdempotencyKey) -> impl Future<Output = Answer<()>> + Send;
}
