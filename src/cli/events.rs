//! `omnistream events`: the log on the command line.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::events::{StoredEvent, opened};
use clap::{Args, Subcommand};
use commands::Store;
use projections::history::{self, Filter, Stored};
use uuid::Uuid;

use super::progress;
use crate::server::System;
use crate::settings::Settings;

/// Events read at once.
const PAGE: i64 = 1_000;
/// How often `tail --follow` looks.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);

#[derive(Subcommand)]
pub enum Events {
    /// Show the latest events
    Tail {
        /// Of this tenant only
        #[arg(long)]
        tenant: Option<Uuid>,
        /// How many
        #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(0..=10_000))]
        lines: i64,
        /// Go on with those that happen
        #[arg(short, long)]
        follow: bool,
        #[command(flatten)]
        form: Form,
    },
    /// Show one event
    Show {
        event_id: Uuid,
        /// Show personal data in the clear
        #[arg(long)]
        open: bool,
    },
    /// Write a tenant's whole history to standard output, one JSON object per line
    Export {
        #[arg(long)]
        tenant: Uuid,
        /// Write personal data in the clear
        #[arg(long)]
        open: bool,
    },
    /// Show what channels delivered and could not be processed, or process it again
    Inbound(super::inbound::Inbound),
}

#[derive(Args, Clone, Copy)]
pub struct Form {
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    /// Show personal data in the clear (in JSON)
    #[arg(long)]
    open: bool,
}

/// # Errors
/// When the database can't be had, or what is asked for does not exist.
pub async fn run(settings: &Settings, command: Events) -> Result<ExitCode> {
    let system = System::open(settings).await?;
    let store = &system.store;
    let done = match command {
        Events::Tail { tenant, lines, follow, form } => tail(store, tenant, lines, follow, form).await,
        Events::Show { event_id, open } => show(store, event_id, open).await,
        Events::Export { tenant, open } => export(store, tenant, open).await,
        Events::Inbound(command) => super::inbound::run(store, &command).await,
    };
    system.database.close().await;
    match done {
        // Whoever reads, such as `head`, has seen enough.
        Err(error)
            if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(ExitCode::SUCCESS)
        }
        done => done.map(|()| ExitCode::SUCCESS),
    }
}

async fn tail(store: &Store, tenant: Option<Uuid>, lines: i64, follow: bool, form: Form) -> Result<()> {
    let logs = match tenant {
        Some(tenant) => vec![log_of(store, tenant).await?],
        None => store.logs().to_vec(),
    };
    let mut seen: BTreeMap<i16, i64> = BTreeMap::new();
    let mut latest = Vec::new();
    for log_id in logs {
        let mut db = store.pool().acquire().await?;
        // At least one, to know where to go on.
        let events = history::latest(&mut db, log_id, tenant, lines.max(1)).await?;
        seen.insert(log_id, events.last().map_or(0, |event| event.position));
        latest.extend(events);
    }
    latest.sort_by_key(|event| (event.recorded_at, event.log_id, event.position));
    let skipped = latest.len().saturating_sub(usize::try_from(lines)?);
    print(store, latest.split_off(skipped), form).await?;
    while follow && tokio::time::timeout(FOLLOW_EVERY, tokio::signal::ctrl_c()).await.is_err() {
        for (log_id, position) in &mut seen {
            let events = after(store, *log_id, tenant, *position).await?;
            *position = events.last().map_or(*position, |event| event.position);
            print(store, events, form).await?;
        }
    }
    Ok(())
}

async fn after(store: &Store, log_id: i16, tenant: Option<Uuid>, position: i64) -> Result<Vec<Stored>> {
    let mut db = store.pool().acquire().await?;
    Ok(match tenant {
        Some(tenant) => {
            history::of_tenant(&mut db, (log_id, tenant), &Filter::default(), position, PAGE).await?
        }
        None => history::of_log(&mut db, log_id, position, PAGE).await?,
    })
}

async fn print(store: &Store, events: Vec<Stored>, form: Form) -> Result<()> {
    let mut out = io::stdout().lock();
    if form.json {
        for event in rendered(store, events, form.open).await? {
            writeln!(out, "{}", serde_json::to_string(&event)?)?;
        }
    } else {
        for event in events {
            writeln!(out, "{}", line(&event))?;
        }
    }
    Ok(out.flush()?)
}

fn line(event: &Stored) -> String {
    let Stored { log_id, position, stream_type, stream_id, version, event_type, .. } = event;
    let at = event.recorded_at.format("%Y-%m-%d %H:%M:%S%.3f");
    let actor = &event.metadata["actor"];
    let who = actor["name"].as_str().or(actor["type"].as_str()).unwrap_or("?");
    format!("{at}  {log_id}:{position:<8} {event_type:<32} {stream_type}/{stream_id} v{version}  by {who}")
}

async fn rendered(store: &Store, events: Vec<Stored>, open: bool) -> Result<Vec<StoredEvent>> {
    Ok(if open { opened(store, events).await? } else { events.into_iter().map(StoredEvent::from).collect() })
}

async fn show(store: &Store, event_id: Uuid, open: bool) -> Result<()> {
    for log_id in store.logs() {
        let found = history::by_id(&mut *store.pool().acquire().await?, *log_id, event_id).await?;
        if let Some(event) = found {
            for event in rendered(store, vec![event], open).await? {
                writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&event)?)?;
            }
            return Ok(());
        }
    }
    bail!("there is no event {event_id}")
}

async fn export(store: &Store, tenant: Uuid, open: bool) -> Result<()> {
    let log_id = log_of(store, tenant).await?;
    let of: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE log_id = $1 AND tenant_id = $2")
        .bind(log_id)
        .bind(tenant)
        .fetch_one(store.pool())
        .await?;
    let bar = progress::bar("Exporting", of);
    let mut out = BufWriter::new(io::stdout());
    let mut position = 0;
    loop {
        let events = after(store, log_id, Some(tenant), position).await?;
        let Some(last) = events.last() else { break };
        position = last.position;
        bar.inc(events.len() as u64);
        for event in rendered(store, events, open).await? {
            serde_json::to_writer(&mut out, &event).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()?;
    bar.finish_and_clear();
    eprintln!("{} events written.", bar.position());
    Ok(())
}

/// The log of a tenant that exists.
///
/// # Errors
/// When there is no such tenant.
pub async fn log_of(store: &Store, tenant: Uuid) -> Result<i16> {
    let log: Option<i16> = sqlx::query_scalar("SELECT log_id FROM tenant_logs WHERE tenant_id = $1")
        .bind(tenant)
        .fetch_optional(store.pool())
        .await?;
    log.with_context(|| format!("there is no tenant {tenant}"))
}
