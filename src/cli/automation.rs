//! `omnistream automation`: why a rule did or did not act, for whoever has to explain it.

mod replay;
mod story;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};
use commands::Store;
use domain::automation_item::item_id;
use projections::automation::query::{self, Page, RunFilter, RunSort};
use projections::automation::queue::ItemRow;
use projections::automation::runs::RunRow;
use projections::event::Event;
use sqlx::PgConnection;
use uuid::Uuid;
use worker::automation::trigger::trigger_of;

use crate::server::System;
use crate::settings::Settings;

/// Runs of one item that are looked at.
const MAX_RUNS: i64 = 10_000;

#[derive(Subcommand)]
pub enum Automation {
    /// Tell the story of a run: the trigger, the facts, each rule and why it acted or not, each action, the events
    Run {
        /// Of a run, of an item of the queue, or of the event in the log that set it off
        id: Uuid,
        #[arg(long)]
        json: bool,
        /// Show personal data in the clear
        #[arg(long)]
        open: bool,
    },
    /// Judge an item again without doing anything, and show what would differ
    Replay {
        /// An item of the queue, or the event in the log that set it off
        event: Uuid,
        /// With the rules and the time of now, or of then
        #[arg(long, value_enum, default_value_t = At::Now)]
        at: At,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum At {
    Now,
    Then,
}

/// # Errors
/// When the database can't be had, or there is no such run or item.
pub async fn run(settings: &Settings, command: Automation) -> Result<ExitCode> {
    let system = System::open(settings).await?;
    let text = match command {
        Automation::Run { id, json, open } => story::tell(&system.store, id, json, open).await,
        Automation::Replay { event, at, json } => replay::judge(&system.store, event, at, json).await,
    };
    system.database.close().await;
    println!("{}", text?.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// An item and its runs, in the order in which they were judged.
struct Case {
    tenant_id: Uuid,
    item: ItemRow,
    runs: Vec<RunRow>,
}

/// The case that a run, an item or what set it off belongs to.
async fn case_of(store: &Store, id: Uuid) -> Result<Case> {
    let id = set_off_by(store, id).await?.unwrap_or(id);
    let mut db = store.pool().acquire().await?;
    let tenant_id = query::tenant_of(&mut db, id)
        .await?
        .context("there is no such run or item, nor an event that set rules off")?;
    let item_id = query::run(&mut db, tenant_id, id).await?.map_or(id, |run| run.event_id);
    let item = query::item(&mut db, tenant_id, item_id).await?.context("the item was cleaned up")?;
    let filter = RunFilter { event_id: Some(item_id), ..RunFilter::default() };
    let page = Page { sort_by: RunSort::CreatedAt, ascending: true, after: None, limit: MAX_RUNS, offset: 0 };
    let mut runs = query::runs(&mut db, tenant_id, &filter, &page).await?;
    let order = judged(&mut db, store.log_of(tenant_id).await?, item_id).await?;
    runs.sort_by_key(|run| order.iter().position(|id| *id == run.id));
    Ok(Case { tenant_id, item, runs })
}

/// The item that an event of the log was made, if it is one that sets rules off.
async fn set_off_by(store: &Store, event_id: Uuid) -> Result<Option<Uuid>> {
    let found: Option<(i16, i64)> =
        sqlx::query_as("SELECT log_id, position FROM events WHERE log_id = ANY ($1) AND event_id = $2")
            .bind(store.logs())
            .bind(event_id)
            .fetch_optional(store.pool())
            .await?;
    let Some((log_id, position)) = found else { return Ok(None) };
    let event = store.read_log(log_id, position - 1, 1).await?.pop();
    let item = |event: Event| Some(item_id(event.tenant_id, trigger_of(&event)?, event_id));
    Ok(event.and_then(item))
}

/// The runs of an item in the order in which their rules were judged, as the log has it.
async fn judged(db: &mut PgConnection, log_id: i16, item_id: Uuid) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT (payload ->> 'run_id')::uuid FROM events
         WHERE log_id = $1 AND stream_id = $2 AND event_type = 'automation.rule_ran' ORDER BY version",
    )
    .bind(log_id)
    .bind(item_id)
    .fetch_all(db)
    .await
}
