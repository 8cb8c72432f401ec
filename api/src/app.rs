//! What every handler can reach, and what the HTTP framework asks of it.

use std::sync::Arc;

use commands::Store;
use commands::billing::Billing;
use commands::idempotency::{self, Scope};
use commands::outbound::Guard;
use commands::ports::GraphApi;
use domain::event::PLATFORM_TENANT;
use projections::{Projection, Waiter};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::http::{
    Answer, Begin, Caller, CallerScope, Credentials, Host, HttpSettings, IdempotencyKey, Problem, Realm,
    StoredAnswer,
};
use crate::invoice_pdf::Party;
use crate::payment_webhooks::PaymentWebhookSettings;
use crate::token::Tokens;
use crate::totals::LongLists;

const ANSWER_PURPOSE: &str = "idempotent answers";

/// Meta settings that hold where an account has none of its own (CONFIG.md).
#[derive(Clone, Debug, Default)]
pub struct MetaSettings {
    pub app_secret: Option<String>,
    pub verify_token: Option<String>,
    pub access_token: Option<String>,
    pub phone_number_id: Option<String>,
    pub waba_id: Option<String>,
}

pub struct Settings {
    pub http: HttpSettings,
    /// Without a slash at the end; for links in answers.
    pub public_url: String,
    pub meta: MetaSettings,
    pub payment_webhooks: PaymentWebhookSettings,
    /// Who invoices are from.
    pub seller: Party,
    /// Judges addresses that clients write down.
    pub guard: Guard,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    store: Store,
    waiter: Waiter,
    projections: Vec<Arc<Projection>>,
    settings: Settings,
    tokens: Tokens,
    graph: Arc<dyn GraphApi>,
    billing: Billing,
    stopping: CancellationToken,
    long_lists: LongLists,
}

impl App {
    #[must_use]
    pub fn new(
        store: Store,
        projections: Vec<Arc<Projection>>,
        settings: Settings,
        graph: Arc<dyn GraphApi>,
        billing: Billing,
        stopping: CancellationToken,
    ) -> Self {
        let waiter = Waiter::new(store.clone(), &projections);
        let tokens = Tokens::new(&store.vault().derive("session tokens"), store.clock().clone());
        Self(Arc::new(Shared {
            store,
            waiter,
            projections,
            settings,
            tokens,
            graph,
            billing,
            stopping,
            long_lists: LongLists::default(),
        }))
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    #[must_use]
    pub fn waiter(&self) -> &Waiter {
        &self.0.waiter
    }

    #[must_use]
    pub fn projections(&self) -> &[Arc<Projection>] {
        &self.0.projections
    }

    #[must_use]
    pub fn meta(&self) -> &MetaSettings {
        &self.0.settings.meta
    }

    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.0.settings.guard
    }

    #[must_use]
    pub fn payment_webhooks(&self) -> &PaymentWebhookSettings {
        &self.0.settings.payment_webhooks
    }

    /// Who invoices are from.
    #[must_use]
    pub fn seller(&self) -> &Party {
        &self.0.settings.seller
    }

    #[must_use]
    pub fn public_url(&self) -> &str {
        &self.0.settings.public_url
    }

    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    #[must_use]
    pub fn graph(&self) -> &dyn GraphApi {
        self.0.graph.as_ref()
    }

    #[must_use]
    pub fn billing(&self) -> &Billing {
        &self.0.billing
    }

    pub(crate) fn long_lists(&self) -> &LongLists {
        &self.0.long_lists
    }

    /// Cancelled when the program shuts down: streams end then.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }
}

/// What is kept of an answer besides its status.
#[derive(Serialize, Deserialize)]
struct Kept {
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Host for App {
    fn settings(&self) -> &HttpSettings {
        &self.0.settings.http
    }

    fn new_id(&self) -> Uuid {
        commands::ids::new_id()
    }

    async fn authenticate(&self, credentials: Credentials, realm: Realm) -> Answer<Caller> {
        crate::token::authenticate(self, credentials, realm).await
    }

    async fn idempotency_begin(&self, scope: CallerScope, key: &str, fingerprint: [u8; 32]) -> Answer<Begin> {
        let now = self.store().clock().now();
        let begun = idempotency::begin(self.store().pool(), owner(scope), key, &fingerprint, now).await;
        Ok(match begun? {
            idempotency::Begin::New { started_at } => Begin::New { started_at },
            idempotency::Begin::InProgress => Begin::InProgress,
            idempotency::Begin::Mismatch => Begin::Mismatch,
            idempotency::Begin::Done { status, answer } => {
                let opened =
                    self.store().vault().open_bytes(ANSWER_PURPOSE, &answer).map_err(Problem::internal)?;
                let kept: Kept = serde_json::from_slice(&opened).map_err(Problem::internal)?;
                let status = u16::try_from(status).map_err(Problem::internal)?;
                Begin::Replay(StoredAnswer { status, headers: kept.headers, body: kept.body.into() })
            }
        })
    }

    async fn idempotency_renew(&self, key: &IdempotencyKey) -> Answer<()> {
        let now = self.store().clock().now();
        Ok(idempotency::renew(self.store().pool(), owner(key.scope), &key.key, now).await?)
    }

    async fn idempotency_finish(&self, key: &IdempotencyKey, answer: StoredAnswer) -> Answer<()> {
        let status = i16::try_from(answer.status).map_err(Problem::internal)?;
        let kept = Kept { headers: answer.headers, body: answer.body.to_vec() };
        let clear = serde_json::to_vec(&kept).map_err(Problem::internal)?;
        let sealed = self.store().vault().seal_bytes(ANSWER_PURPOSE, &clear).map_err(Problem::internal)?;
        let finished =
            idempotency::finish(self.store().pool(), owner(key.scope), &key.key, status, &sealed).await;
        Ok(finished?)
    }

    async fn idempotency_abandon(&self, key: &IdempotencyKey) -> Answer<()> {
        let now = self.store().clock().now();
        let abandoned = idempotency::abandon(self.store().pool(), owner(key.scope), &key.key, now).await;
        Ok(abandoned?)
    }
}

fn owner(scope: CallerScope) -> Scope {
    let tenant_id = scope.tenant_id.or(scope.caller_id.map(|_| PLATFORM_TENANT)).unwrap_or(Uuid::nil());
    Scope { tenant_id, caller_id: scope.caller_id.unwrap_or(Uuid::nil()) }
}
