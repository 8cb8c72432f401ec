//! Payloads that named nobody's account when they came, looked at again because someone asked for a replay.

use commands::inbound::queue::{self, Arrival, Due, Form};
use commands::{CommandError, Store, ids};
use domain::integration_account::IntegrationAccount;
use domain::whatsapp::{self, Change};
use projections::documents::{self, Lookup};

use super::Verdict;

/// Hands a payload over to the accounts that it names by now, in their own logs.
pub(super) async fn find_account(store: &Store, row: &Due) -> Result<Verdict, CommandError> {
    let changes = match read(row) {
        Ok(changes) => changes,
        Err(reason) => return Ok(Verdict::Failed(reason)),
    };
    let mut arrivals = Vec::with_capacity(changes.len());
    for (index, change) in changes.into_iter().enumerate() {
        let Some(number) = change.phone_number_id else {
            return Ok(Verdict::Failed("it names no phone_number_id".to_owned()));
        };
        let mut db = store.pool().acquire().await?;
        let key = format!("wa-{number}");
        let found = documents::find_anywhere::<IntegrationAccount>(&mut db, Lookup::AccountKey, &key).await?;
        let Some((tenant_id, account)) = found.into_iter().next() else {
            return Ok(Verdict::Failed(format!("no account has the phone_number_id {number}")));
        };
        let ordinal = u32::try_from(index).unwrap_or(u32::MAX);
        arrivals.push(Arrival {
            id: ids::derived_id(row.received_at, &row.id.to_string(), ordinal),
            tenant_id,
            account_id: Some(account.id),
            channel: row.channel,
            form: Form::Change,
            received_at: row.received_at,
            raw: change.raw.to_string().into_bytes(),
            failed: None,
        });
    }
    queue::keep(store, arrivals).await?;
    Ok(Verdict::Done)
}

fn read(row: &Due) -> Result<Vec<Change>, String> {
    // A change alone is read as the only one of a body.
    let body = match row.form {
        Form::Body => row.raw.clone(),
        Form::Change => {
            [br#"{"object":"whatsapp_business_account","entry":[{"changes":["#, &row.raw[..], b"]}]}"]
                .concat()
        }
    };
    whatsapp::parse(&body).map_err(|error| error.to_string())
}
