//! Whose accounts a webhook is about, and with which secrets it must have been signed.

use std::collections::HashMap;

use domain::integration_account::IntegrationAccount;
use domain::personal::Secret;
use domain::whatsapp::Change;
use projections::documents::{self, Lookup};
use serde_json::Value;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::Ctx;
use crate::http::{Answer, Problem};

/// An account that a webhook names.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub tenant_id: Uuid,
    pub account_id: Uuid,
    app_secret: Option<Secret>,
}

/// How a change names its account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    Number(String),
    /// A change to a template concerns the whole business account.
    Business(String),
    Nothing,
}

/// The accounts of one webhook, each looked up once.
#[derive(Default)]
pub(super) struct Known(HashMap<Name, Option<Sender>>);

impl Known {
    pub(super) async fn sender_of(&mut self, ctx: &Ctx, change: &Change) -> Answer<Option<Sender>> {
        let name = match (&change.phone_number_id, &change.waba_id) {
            (Some(number), _) => Name::Number(number.clone()),
            (None, Some(waba)) => Name::Business(waba.clone()),
            (None, None) => Name::Nothing,
        };
        if let Some(known) = self.0.get(&name) {
            return Ok(known.clone());
        }
        let found = match &name {
            Name::Number(number) => by_number(ctx, number).await?,
            Name::Business(waba) => by_business(ctx, waba).await?,
            Name::Nothing => None,
        };
        self.0.insert(name, found.clone());
        Ok(found)
    }

    /// The secret of every account that was named, and the installation's where an account has none or is unknown.
    pub(super) async fn secrets(self, ctx: &Ctx) -> Answer<Vec<Option<String>>> {
        let mut secrets = Vec::with_capacity(self.0.len());
        for sender in self.0.into_values() {
            secrets.push(match sender {
                Some(Sender { tenant_id, app_secret: Some(secret), .. }) => {
                    Some(ctx.app.store().vault().open_secret(tenant_id, &secret).await?)
                }
                _ => ctx.app.meta().app_secret.clone(),
            });
        }
        Ok(secrets)
    }
}

async fn by_number(ctx: &Ctx, number: &str) -> Answer<Option<Sender>> {
    let mut db = ctx.app.store().pool().acquire().await?;
    let key = format!("wa-{number}");
    let found = documents::find_anywhere::<IntegrationAccount>(&mut db, Lookup::AccountKey, &key).await?;
    Ok(found.into_iter().next().map(|(tenant_id, account)| sender(tenant_id, account.id, account.state)))
}

/// Several numbers of a business account share what happens to its templates; the oldest stands for them. The
/// installation's business account is that of accounts that name none, unless one names it.
async fn by_business(ctx: &Ctx, waba: &str) -> Answer<Option<Sender>> {
    let row: Option<(Uuid, Uuid, Value)> = sqlx::query_as(
        "SELECT tenant_id, id, doc FROM read.documents
         WHERE collection = 'integration_account' AND (doc #>> '{config,plain,waba_id}' = $1
             OR $2 AND doc ->> 'channel' = 'whatsapp' AND doc #>> '{config,plain,waba_id}' IS NULL)
         ORDER BY doc #>> '{config,plain,waba_id}' IS NULL, created_at, id LIMIT 1",
    )
    .bind(waba)
    .bind(ctx.app.meta().waba_id.as_deref() == Some(waba))
    .fetch_optional(ctx.app.store().pool())
    .await?;
    let Some((tenant_id, account_id, doc)) = row else { return Ok(None) };
    Ok(Some(sender(tenant_id, account_id, serde_json::from_value(doc).map_err(Problem::internal)?)))
}

fn sender(tenant_id: Uuid, account_id: Uuid, mut account: IntegrationAccount) -> Sender {
    Sender { tenant_id, account_id, app_secret: account.config.secrets.remove("app_secret") }
}

/// Whether this is the verify token of any account, or the installation's own. Takes equally long for a near miss.
pub(super) async fn knows_verify_token(ctx: &Ctx, token: &str) -> Answer<bool> {
    if token.is_empty() {
        return Ok(false);
    }
    let is_it = |known: &str| bool::from(known.as_bytes().ct_eq(token.as_bytes()));
    if ctx.app.meta().verify_token.as_deref().is_some_and(is_it) {
        return Ok(true);
    }
    let tokens: Vec<(Uuid, Value)> = sqlx::query_as(
        "SELECT tenant_id, doc -> 'config' -> 'secrets' -> 'verify_token' FROM read.documents
         WHERE collection = 'integration_account' AND doc -> 'config' -> 'secrets' ? 'verify_token'",
    )
    .fetch_all(ctx.app.store().pool())
    .await?;
    for (tenant_id, sealed) in tokens {
        let secret: Secret = serde_json::from_value(sealed).map_err(Problem::internal)?;
        if is_it(&ctx.app.store().vault().open_secret(tenant_id, &secret).await?) {
            return Ok(true);
        }
    }
    Ok(false)
}
