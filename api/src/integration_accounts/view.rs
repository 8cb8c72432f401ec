//! An account as the API shows it: credentials masked.

use chrono::{DateTime, Utc};
use commands::integration_account::masked;
use domain::channel::Channel;
use domain::integration_account::IntegrationAccount;
use projections::documents::Document;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Ctx;
use crate::http::{Answer, Role};
use crate::resource::ChannelName;

#[derive(Serialize, ToSchema)]
#[schema(as = IntegrationAccount)]
pub(super) struct IntegrationAccountView {
    pub id: Uuid,
    pub channel: ChannelName,
    pub account_key: String,
    pub display_name: String,
    pub is_active: bool,
    pub is_default: bool,
    /// Tokens, secrets and passwords show their last four characters at most.
    #[schema(value_type = Object)]
    pub config: Map<String, Value>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub division_id: Option<Uuid>,
    /// What to enter at the provider beside the webhook's address; shown to admins only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_token: Option<String>,
    /// Where the provider shall deliver to.
    pub webhook_url: Option<String>,
    /// What the provider refused while the account was set up; only in the answer to that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub warnings: Vec<String>,
}

pub(super) async fn of(ctx: &Ctx, document: Document<IntegrationAccount>) -> Answer<IntegrationAccountView> {
    let Document { id, created_at, updated_at, state, .. } = document;
    let mut config: Map<String, Value> = state.config.plain.clone().into_iter().collect();
    for key in state.config.secrets.keys() {
        config.insert(key.clone(), Value::from(masked(&state.config, key)));
    }
    let verify_token = match state.config.secrets.get("verify_token") {
        Some(secret) if ctx.member()?.role == Role::Admin => {
            Some(ctx.app.store().vault().open_secret(ctx.tenant_id(), secret).await?)
        }
        _ => None,
    };
    Ok(IntegrationAccountView {
        id,
        channel: state.channel.into(),
        account_key: state.account_key,
        display_name: state.display_name,
        is_active: state.is_active,
        is_default: state.is_default,
        config,
        created_at,
        updated_at,
        division_id: state.division_id,
        verify_token,
        webhook_url: Some(format!("{}{}", ctx.app.public_url(), webhook_path(state.channel))),
        warnings: Vec::new(),
    })
}

const fn webhook_path(channel: Channel) -> &'static str {
    match channel {
        Channel::Whatsapp => "/webhook",
        Channel::Instagram => "/webhook/instagram",
        Channel::Messenger => "/webhook/messenger",
        Channel::Email => "/webhook/email",
    }
}
