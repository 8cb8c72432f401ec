//! What an account's number is told and asked at Meta.

use std::time::Duration;

use axum::http::StatusCode;
use commands::integration_account::config::PIN;
use commands::ports::{GraphAccess, GraphError};
use domain::channel::Channel;
use domain::integration_account::IntegrationAccount;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Ctx;
use crate::http::{Answer, Json, Path, Problem};
use crate::meta::{self, explained};

/// Settings on which registration and subscription depend.
pub(super) const SET_UP_BY: [&str; 4] = ["phone_number_id", "waba_id", "access_token", PIN];
/// The account exists already, so its answer does not wait longer than this for Meta.
const PATIENCE: Duration = Duration::from_secs(10);
const HEALTH_FIELDS: &str =
    "quality_rating,messaging_limit_tier,verified_name,display_phone_number,code_verification_status";

#[derive(Serialize, ToSchema)]
pub(super) struct WhatsAppHealth {
    account_id: Uuid,
    /// `healthy`, `degraded` (a yellow rating, or a name or number that is not verified) or `unhealthy` (a red rating).
    status: &'static str,
    /// Meta's: `GREEN`, `YELLOW`, `RED` or `UNKNOWN`.
    quality_rating: Option<String>,
    messaging_limit_tier: Option<String>,
    verified_name: Option<String>,
    display_phone_number: Option<String>,
    code_verification_status: Option<String>,
}

/// Registers a WhatsApp number and subscribes it to this installation's app. Answers what Meta refused.
pub(super) async fn set_up(ctx: &Ctx, account: &IntegrationAccount) -> Answer<Vec<String>> {
    let Some((number, access)) = way_to(ctx, account).await? else { return Ok(Vec::new()) };
    let mut registration = json!({ "messaging_product": "whatsapp" });
    if let Some(pin) = account.config.secrets.get(PIN) {
        registration["pin"] = json!(ctx.app.store().vault().open_secret(ctx.tenant_id(), pin).await?);
    }
    let register_path = format!("/{number}/register");
    let register = within_patience(ctx.app.graph().post(&access, &register_path, &registration));
    let subscribe = async {
        let Some(business) = meta::business_of(ctx, account) else {
            return Err("waba_id is not set.".to_owned());
        };
        let path = format!("/{business}/subscribed_apps");
        within_patience(ctx.app.graph().post(&access, &path, &json!({}))).await
    };
    let (registered, subscribed) = tokio::join!(register, subscribe);
    let mut warnings = Vec::new();
    if let Err(reason) = registered {
        warnings.push(format!("The number was not registered at WhatsApp: {reason}"));
    }
    if let Err(reason) = subscribed {
        warnings
            .push(format!("Messages to the number will not arrive here, as it was not subscribed: {reason}"));
    }
    Ok(warnings)
}

async fn within_patience(call: impl Future<Output = Result<Value, GraphError>>) -> Result<Value, String> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(answer) => answer.map_err(|error| explained(&error)),
        Err(_) => Err("Meta did not answer in time.".to_owned()),
    }
}

pub(super) async fn health(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<WhatsAppHealth>> {
    let account = ctx.document::<IntegrationAccount>(id).await?.state;
    if account.channel != Channel::Whatsapp {
        return Err(Problem::conflict("wrong_channel", "This is not a WhatsApp account."));
    }
    let Some((number, access)) = way_to(&ctx, &account).await? else {
        return Err(Problem::conflict("not_configured", "The account has no access token."));
    };
    let answer = ctx.app.graph().get(&access, &format!("/{number}"), &[("fields", HEALTH_FIELDS)]).await;
    let answer = answer.map_err(|error| {
        Problem::new(StatusCode::BAD_GATEWAY, "provider_error", explained(&error)).caused_by(&error)
    })?;
    let text = |key: &str| answer.get(key).and_then(Value::as_str).map(str::to_owned);
    let (quality_rating, code_verification_status) =
        (text("quality_rating"), text("code_verification_status"));
    Ok(Json(WhatsAppHealth {
        account_id: id,
        status: status(quality_rating.as_deref(), code_verification_status.as_deref()),
        quality_rating,
        messaging_limit_tier: text("messaging_limit_tier"),
        verified_name: text("verified_name"),
        display_phone_number: text("display_phone_number"),
        code_verification_status,
    }))
}

fn status(quality: Option<&str>, verification: Option<&str>) -> &'static str {
    match (quality, verification) {
        (Some("RED"), _) => "unhealthy",
        (Some("YELLOW"), _) | (_, Some("NOT_VERIFIED" | "EXPIRED")) => "degraded",
        _ => "healthy",
    }
}

/// The number and the token to speak for it; `None` without a token or for other channels.
async fn way_to(ctx: &Ctx, account: &IntegrationAccount) -> Answer<Option<(String, GraphAccess)>> {
    let number = account.config.text("phone_number_id").filter(|_| account.channel == Channel::Whatsapp);
    Ok(number.map(str::to_owned).zip(meta::access(ctx, account).await?))
}
