//! One change of a webhook: its items, in which order they must be worked on, and what each one does.

use std::collections::HashMap;

use commands::inbound::queue::{self, Arrival, Due, Form};
use commands::inbound::{self, Incoming};
use commands::{CommandError, Store, ids};
use domain::channel::Channel;
use domain::contact::Profile;
use domain::integration_account::IntegrationAccount;
use domain::whatsapp::{self, InboundMessage, Item, StatusUpdate, TemplateUpdate};
use projections::documents;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Verdict, status, template};

/// The lists of a change whose elements are items.
const LISTS: [&str; 4] = ["messages", "statuses", "errors", "message_echoes"];

/// The accounts that a batch met.
pub(super) type Accounts = HashMap<(Uuid, Uuid), Option<IntegrationAccount>>;

/// One item that has an effect.
pub(super) enum Work {
    Message {
        message: Box<InboundMessage>,
        division_id: Option<Uuid>,
    },
    Status(Box<StatusUpdate>),
    Template {
        update: Box<TemplateUpdate>,
        waba_id: String,
    },
    /// Decided while reading.
    Nothing(Verdict),
}

/// The items of a row. A malformed one is kept as a failed row of its own, unless it is all that there is. `business` is
/// the business account of accounts that name none.
pub(super) async fn works_of(
    store: &Store,
    accounts: &mut Accounts,
    row: &Due,
    business: Option<&str>,
) -> Result<Result<Vec<Work>, Verdict>, CommandError> {
    let failed = |reason: &str| Ok(Err(Verdict::Failed(reason.to_owned())));
    let Some(account) = account_of(store, accounts, row).await? else {
        return failed("the account was disconnected");
    };
    if !account.is_active {
        return failed("the account is switched off; replay this after switching it on");
    }
    if row.channel != Channel::Whatsapp || row.form != Form::Change {
        return failed("nothing here reads this kind of payload");
    }
    let change: Value = match serde_json::from_slice(&row.raw) {
        Ok(change) => change,
        Err(error) => return failed(&format!("not JSON: {error}")),
    };
    let items = whatsapp::interpret(&change);
    if let [Item::Malformed { reason, .. }] = &items[..] {
        return failed(reason);
    }
    let mut works = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        works.push(match item {
            Item::Message(message) => {
                Work::Message { message: Box::new(message), division_id: account.division_id }
            }
            Item::Status(update) => Work::Status(Box::new(update)),
            // The account was found by this id, unless it was given another one since.
            Item::Template(update) => match account.config.text("waba_id").or(business) {
                Some(waba_id) => Work::Template { update: Box::new(update), waba_id: waba_id.to_owned() },
                None => Work::Nothing(Verdict::Failed("the account has no waba_id".to_owned())),
            },
            Item::Malformed { reason, raw } => {
                keep_malformed(store, row, index, &change, &raw, reason).await?;
                Work::Nothing(Verdict::Done)
            }
            other => Work::Nothing(Verdict::Ignored(why_ignored(&other, row))),
        });
    }
    Ok(Ok(works))
}

async fn account_of(
    store: &Store,
    accounts: &mut Accounts,
    row: &Due,
) -> Result<Option<IntegrationAccount>, CommandError> {
    let Some(account_id) = row.account_id else { return Ok(None) };
    if let Some(known) = accounts.get(&(row.tenant_id, account_id)) {
        return Ok(known.clone());
    }
    let mut db = store.pool().acquire().await?;
    let found =
        documents::get::<IntegrationAccount>(&mut db, row.tenant_id, account_id).await?.map(|d| d.state);
    accounts.insert((row.tenant_id, account_id), found.clone());
    Ok(found)
}

fn why_ignored(item: &Item, row: &Due) -> String {
    match item {
        Item::Echo(_) => "written in the WhatsApp Business app".to_owned(),
        Item::AccountError(error) => {
            let reason = whatsapp::SendFailure::from_error(error).explanation;
            tracing::warn!(account_id = ?row.account_id, code = error.code, reason, "an account reports trouble");
            reason
        }
        Item::Ignored { field } => format!("nothing here depends on {field}"),
        Item::Message(_) | Item::Status(_) | Item::Template(_) | Item::Malformed { .. } => String::new(),
    }
}

/// Under an id that follows from the row's, so that a second look keeps it once.
async fn keep_malformed(
    store: &Store,
    row: &Due,
    index: usize,
    change: &Value,
    raw: &Value,
    reason: String,
) -> Result<(), CommandError> {
    let ordinal = u32::try_from(index).unwrap_or(u32::MAX);
    let arrival = Arrival {
        id: ids::derived_id(row.received_at, &row.id.to_string(), ordinal),
        tenant_id: row.tenant_id,
        account_id: row.account_id,
        channel: row.channel,
        form: Form::Change,
        received_at: row.received_at,
        raw: only_item(change, raw).to_string().into_bytes(),
        failed: Some(reason),
    };
    queue::keep(store, vec![arrival]).await
}

/// The change as if it held this item only, so that it can be read again after a fix.
fn only_item(change: &Value, item: &Value) -> Value {
    let value = &change["value"];
    let holds = |list: &str| value[list].as_array().is_some_and(|items| items.contains(item));
    let Some(list) = LISTS.into_iter().find(|list| holds(list)) else {
        return change.clone();
    };
    let mut only = json!({ "field": change["field"], "value": { list: [item] } });
    for context in ["messaging_product", "metadata", "contacts"] {
        if let Some(kept) = value.get(context) {
            only["value"][context] = kept.clone();
        }
    }
    only
}

impl Work {
    /// Works with the same lane follow each other: one sender's messages, one message's statuses, one template's news.
    pub(super) fn lane(&self) -> String {
        match self {
            Self::Message { message, .. } => format!("from {}", message.from),
            Self::Status(update) => format!("about {}", update.external_id),
            Self::Template { update, .. } => format!("template {}", update.template_id),
            Self::Nothing(_) => String::new(),
        }
    }

    pub(super) async fn run(self, store: &Store, row: &Due) -> Verdict {
        let Some(account_id) = row.account_id else {
            return Verdict::Failed("no account".to_owned());
        };
        let settled = match self {
            Self::Message { message, division_id } => {
                let incoming = incoming(account_id, division_id, *message);
                inbound::receive(store, row.tenant_id, row.id, &incoming).await.map(|_| Verdict::Done)
            }
            Self::Status(update) => status::apply(store, row, account_id, &update).await,
            Self::Template { update, waba_id } => template::apply(store, row, &waba_id, &update).await,
            Self::Nothing(verdict) => Ok(verdict),
        };
        settled.unwrap_or_else(|error| Verdict::Error(error.to_string()))
    }
}

fn incoming(account_id: Uuid, division_id: Option<Uuid>, message: InboundMessage) -> Incoming {
    let is_number = message.from.bytes().all(|b| b.is_ascii_digit());
    Incoming {
        account_id,
        channel: Channel::Whatsapp,
        division_id,
        external_id: message.external_id,
        sender: Profile {
            phone_number: is_number.then(|| format!("+{}", message.from)),
            address: message.from,
            name: message.profile_name,
            email: None,
        },
        content: message.content,
        sent_at: message.sent_at,
        reply_to: message.reply_to,
        forwarded: message.forwarded,
        referral: message.referral,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_item_is_kept_with_what_it_takes_to_read_it() {
        let (good, bad) = (json!({ "id": "a" }), json!({ "id": 1.5 }));
        let change = json!({ "field": "messages", "value": {
            "metadata": { "phone_number_id": "10" }, "contacts": [{ "wa_id": "62" }], "messages": [good, bad],
        }});
        let expected = json!({ "field": "messages", "value": {
            "metadata": { "phone_number_id": "10" }, "contacts": [{ "wa_id": "62" }], "messages": [bad],
        }});
        assert_eq!(only_item(&change, &bad), expected);
        assert_eq!(only_item(&change, &json!("elsewhere")), change);
    }
}
