//! Delivery statuses: which message of ours one is about, and what it changes.

use commands::delivery::{self, Identity, Report};
use commands::inbound::queue::Due;
use commands::inbound::{CHANNEL_MESSAGE, channel_message_key};
use commands::store::Origin;
use commands::{CommandError, Store, ids};
use domain::aggregate::Aggregate;
use domain::event::{Actor, Metadata};
use domain::message::Message;
use domain::whatsapp::{DeliveryStatus, SendFailure, StatusUpdate};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Verdict;

pub(super) async fn apply(
    store: &Store,
    row: &Due,
    account_id: Uuid,
    update: &StatusUpdate,
) -> Result<Verdict, CommandError> {
    let Some((message_id, conversation_id)) = find(store, row, account_id, update).await? else {
        return Ok(Verdict::Waiting(update.external_id.clone()));
    };
    let external_id = update.external_id.as_str();
    let identity = Identity { message_id, conversation_id, account_id, external_id };
    let command_id = ids::named_id(message_id, &format!("{:?} {external_id}", update.status));
    let metadata = Metadata::new(Actor::system(), row.id);
    let origin = Origin { command_id, ..Origin::new(row.tenant_id, metadata) };
    let applied = store
        .execute::<Message>(&origin, message_id, |state| {
            Ok(delivery::report(state, identity, report_of(update)))
        })
        .await;
    match applied {
        Ok(_) => Ok(Verdict::Done),
        Err(CommandError::Refused(refusal)) if refusal.code == "already_taken" => {
            Ok(Verdict::Ignored("another message has this id of the channel".to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// By the channel's id, or, before the send call's answer was recorded, by our own id that came back with the status.
async fn find(
    store: &Store,
    row: &Due,
    account_id: Uuid,
    update: &StatusUpdate,
) -> Result<Option<(Uuid, Uuid)>, CommandError> {
    let key = channel_message_key(account_id, &update.external_id);
    let ours = update.callback_data.as_deref().and_then(|data| data.parse().ok());
    let Some(message_id) = store.claim_owner(row.tenant_id, CHANNEL_MESSAGE, &key).await?.or(ours) else {
        return Ok(None);
    };
    let message: Message = store.load(row.tenant_id, message_id).await?;
    if message.exists() {
        return Ok(Some((message_id, message.conversation_id)));
    }
    let conversation_id: Option<Uuid> = sqlx::query_scalar(
        "SELECT conversation_id FROM effects
         WHERE log_id = $1 AND message_id = $2 AND tenant_id = $3 AND account_id = $4",
    )
    .bind(row.log_id)
    .bind(message_id)
    .bind(row.tenant_id)
    .bind(account_id)
    .fetch_optional(store.pool())
    .await?;
    Ok(conversation_id.map(|conversation_id| (message_id, conversation_id)))
}

fn report_of(update: &StatusUpdate) -> Report {
    match update.status {
        DeliveryStatus::Sent => Report::Sent,
        DeliveryStatus::Delivered => Report::Delivered { at: update.at, pricing: pricing(update) },
        DeliveryStatus::Read => Report::Read { at: update.at },
        DeliveryStatus::Failed => {
            let failure = SendFailure::from_errors(&update.errors);
            Report::Failed { code: failure.code, reason: failure.explanation }
        }
    }
}

fn pricing(update: &StatusUpdate) -> Option<Value> {
    let mut pricing = json!(update.pricing.as_ref()?);
    if let Some(category) = &update.conversation_category {
        pricing["conversation_category"] = json!(category);
    }
    Some(pricing)
}
