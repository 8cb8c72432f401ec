//! Asking Meta on behalf of an account, and what to say when Meta does not play along.

use commands::ports::{GraphAccess, GraphError};
use domain::integration_account::IntegrationAccount;
use domain::whatsapp::ProviderError;

use crate::Ctx;
use crate::http::Answer;

/// The account's token, or the installation's; `None` without either.
pub(crate) async fn access(ctx: &Ctx, account: &IntegrationAccount) -> Answer<Option<GraphAccess>> {
    let access_token = match account.config.secrets.get("access_token") {
        Some(secret) => Some(ctx.app.store().vault().open_secret(ctx.tenant_id(), secret).await?),
        None => ctx.app.meta().access_token.clone(),
    };
    Ok(access_token.map(|access_token| GraphAccess { access_token }))
}

/// The WhatsApp Business Account of an account, or the installation's.
pub(crate) fn business_of<'a>(ctx: &'a Ctx, account: &'a IntegrationAccount) -> Option<&'a str> {
    account.config.text("waba_id").or(ctx.app.meta().waba_id.as_deref())
}

/// For an administrator, in Meta's words where there are any.
pub(crate) fn explained(error: &GraphError) -> String {
    match error {
        GraphError::Unreachable(_) => "Meta could not be reached.".to_owned(),
        GraphError::Unknown(_) => "Meta did not answer.".to_owned(),
        GraphError::Refused { status, body } => match ProviderError::from_graph_body(body) {
            Some(error) => {
                format!("Meta answered: {} (code {})", error.words().unwrap_or_default(), error.code)
            }
            None => format!("Meta answered with the status {status}."),
        },
    }
}
