//! `omnistream events inbound`: what channels delivered and could not be processed, and another try at it.

use anyhow::{Result, bail};
use clap::Args;
use commands::Store;
use commands::inbound::queue::{self, Listed};
use serde_json::{Value, json};
use uuid::Uuid;

/// Which payloads are meant.
#[derive(Args, Clone, Debug)]
pub struct Inbound {
    /// Payloads that could not be processed (the default)
    #[arg(long, conflicts_with_all = ["all", "replay"])]
    failed: bool,
    /// Processed ones as well
    #[arg(long, conflicts_with = "replay")]
    all: bool,
    /// Process this payload again, after a fix
    #[arg(long, value_name = "ID")]
    replay: Option<Uuid>,
    /// How many, the newest first
    #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    lines: i64,
    /// Show what they hold, personal data included
    #[arg(long)]
    open: bool,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When there is no such payload to replay, or the database can't be had.
pub async fn run(store: &Store, command: &Inbound) -> Result<()> {
    if let Some(id) = command.replay {
        if !queue::replay(store, id).await? {
            bail!("no payload that failed and is still kept has the id {id}");
        }
        eprintln!("{id} is queued again; a running worker processes it.");
        return Ok(());
    }
    for row in queue::list(store.pool(), !command.all, command.lines).await? {
        let payload = if command.open { row.payload(store) } else { None };
        if command.json {
            println!("{}", as_json(&row, payload));
        } else {
            print_line(&row, payload);
        }
    }
    Ok(())
}

fn as_json(row: &Listed, payload: Option<String>) -> Value {
    let payload = payload.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
    json!({
        "id": row.id,
        "log_id": row.log_id,
        "tenant_id": row.tenant_id,
        "account_id": row.account_id,
        "channel": row.channel,
        "status": row.status,
        "received_at": row.received_at,
        "attempts": row.attempts,
        "reason": row.reason,
        "payload": payload,
    })
}

fn print_line(row: &Listed, payload: Option<String>) {
    let at = row.received_at.format("%F %T");
    let account = row.account_id.map_or_else(|| "no account".to_owned(), |id| format!("account {id}"));
    println!("{}  {at}  {:<8} {}  {account}", row.id, row.status, row.channel);
    if let Some(reason) = &row.reason {
        println!("    {reason}");
    }
    if let Some(payload) = payload {
        println!("    {payload}");
    }
}
