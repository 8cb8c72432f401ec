//! Ends stale conversations now instead of when the worker next looks.

use commands::chat_expiration_rule as rules;
use domain::chat_expiration_rule::ChatExpirationRule;
use domain::conversation::Conversation;
use projections::chat_expiration as read_model;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Ctx;
use crate::http::{Answer, Json};

/// Conversations of one channel ended by one request; the worker ends the rest.
const MAX_EXPIRED: i64 = 500;
/// They share commits, and leave room in the append queue for others.
const COMMANDS_AT_ONCE: usize = 50;

#[derive(Serialize, ToSchema)]
pub(super) struct ExpireConversationsResponse {
    message: String,
    /// Conversations that this request resolved.
    expired_count: i64,
}

pub(super) async fn run(ctx: Ctx) -> Answer<Json<ExpireConversationsResponse>> {
    let (mut log_id, mut last, mut expired_count) = (0, 0, 0);
    let now = ctx.app.store().clock().now();
    for rule in ctx.documents::<ChatExpirationRule>().await? {
        let rule = rule.state;
        for ids in due(&ctx, &rule).await?.chunks(COMMANDS_AT_ONCE) {
            let commands = ids.iter().map(|id| {
                let origin = ctx.origin().part(&id.to_string());
                let (store, rule) = (ctx.app.store(), &rule);
                async move {
                    let decide = |state: &Conversation| rules::expire(state, rule, now);
                    store.execute::<Conversation>(&origin, *id, decide).await
                }
            });
            for outcome in futures::future::join_all(commands).await {
                let decided = outcome?;
                // A tenant's events are all in one log. Position 0: somebody else was faster.
                (log_id, last) = (decided.log_id, decided.position.max(last));
                expired_count += i64::from(decided.position > 0);
            }
        }
    }
    ctx.settle(log_id, last).await;
    let message = match expired_count {
        0 => "No conversation is stale.".to_owned(),
        1 => "1 conversation was resolved.".to_owned(),
        count => format!("{count} conversations were resolved."),
    };
    Ok(Json(ExpireConversationsResponse { message, expired_count }))
}

async fn due(ctx: &Ctx, rule: &ChatExpirationRule) -> Answer<Vec<Uuid>> {
    let Some(silence) = rule.resolves_after() else { return Ok(Vec::new()) };
    let whose = (ctx.tenant_id(), rule.terms.channel);
    let now = ctx.app.store().clock().now();
    Ok(read_model::silent_for(&mut *ctx.reader().await?, whose, silence, now, MAX_EXPIRED).await?)
}
