//! `omnistream projections`: looking after read models, while a server runs on the same database or not.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use commands::Store;
use projections::rebuild::{self, RebuildError, Step};
use projections::runner::{Runner, Slot};
use projections::verify::{Verified, verify};
use projections::{Projection, parking, status};
use serde_json::json;
use tokio::time::Instant;

use super::progress;
use crate::server::System;
use crate::settings::Settings;

/// Whoever was killed while it held a lease holds it a little longer; it is waited for.
const LEASE_PATIENCE: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Parked events that are shown.
const PARKED_SHOWN: i64 = 1_000;

#[derive(Args)]
pub struct Projections {
    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show how far each projection is
    List,
    /// Build a read model anew beside the live one, then switch; goes on where an interrupted rebuild stopped
    Rebuild { name: String },
    /// Build read models anew and compare them with the live ones; ends with 1 if any row differs
    Verify {
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        name: Option<String>,
        /// Every read model
        #[arg(long)]
        all: bool,
    },
    /// Go back to the version before the last rebuild
    Rollback { name: String },
    /// Show the events that projections have set aside
    Parked,
    /// Try a projection's parked events again; ends with 1 if any remains parked
    ReplayParked { name: String },
}

/// # Errors
/// When the database can't be had, or there is no such projection.
pub async fn run(settings: &Settings, Projections { json, command }: Projections) -> Result<ExitCode> {
    let system = System::open(settings).await?;
    let done = match command {
        Command::List => list(&system, json).await,
        Command::Rebuild { name } => rebuild_one(&system, &name, json).await,
        Command::Verify { name, .. } => verify_some(&system, name.as_deref(), json).await,
        Command::Rollback { name } => roll_back(&system, &name, json).await,
        Command::Parked => parked(&system.store, json).await,
        Command::ReplayParked { name } => replay_parked(&system, &name, json).await,
    };
    system.database.close().await;
    done
}

fn find(system: &System, name: &str) -> Result<Arc<Projection>> {
    let found = system.projections.iter().find(|p| p.name == name);
    let names = || system.projections.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
    found.cloned().with_context(|| format!("no projection is called {name}; there are {}", names()))
}

async fn list(system: &System, as_json: bool) -> Result<ExitCode> {
    let all = status::all(&system.store, &system.projections).await?;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{:<20} {:>7} {:<11} {:>10} {:>10} {:>8}  error",
        "name", "version", "state", "position", "lag", "lag ms"
    );
    for p in all {
        let state = match p.rebuild_progress_pct {
            Some(percent) => format!("{} {percent:.0}%", state_name(p.state)),
            None => state_name(p.state).to_owned(),
        };
        let error = p.error.unwrap_or_default();
        println!(
            "{:<20} {:>7} {state:<11} {:>10} {:>10} {:>8}  {error}",
            p.name, p.generation, p.position, p.lag_events, p.lag_ms
        );
    }
    Ok(ExitCode::SUCCESS)
}

const fn state_name(state: status::State) -> &'static str {
    match state {
        status::State::Live => "live",
        status::State::Rebuilding => "rebuilding",
        status::State::Paused => "paused",
        status::State::Failed => "failed",
    }
}

async fn rebuild_one(system: &System, name: &str, as_json: bool) -> Result<ExitCode> {
    let projection = find(system, name)?;
    when_free(name, async |report| rebuild::rebuild(&system.store, &projection, report).await).await?;
    eprintln!("{name} was rebuilt; the version before is kept for `projections rollback {name}`.");
    show_one(system, &projection, as_json).await
}

async fn roll_back(system: &System, name: &str, as_json: bool) -> Result<ExitCode> {
    let projection = find(system, name)?;
    when_free(name, async |report| rebuild::roll_back(&system.store, &projection, report).await).await?;
    eprintln!("{name} is as it was before the last rebuild, and up to date.");
    show_one(system, &projection, as_json).await
}

async fn show_one(system: &System, projection: &Arc<Projection>, as_json: bool) -> Result<ExitCode> {
    if as_json {
        let status = status::all(&system.store, std::slice::from_ref(projection)).await?;
        println!("{}", serde_json::to_string_pretty(&status)?);
    }
    Ok(ExitCode::SUCCESS)
}

async fn verify_some(system: &System, name: Option<&str>, as_json: bool) -> Result<ExitCode> {
    let wanted = match name {
        Some(name) => vec![find(system, name)?],
        None => system.projections.iter().filter(|p| p.is_read_model()).cloned().collect(),
    };
    let mut all = Vec::new();
    for projection in wanted {
        let verified =
            when_free(projection.name, async |report| verify(&system.store, &projection, report).await)
                .await?;
        if !as_json {
            print(&verified);
        }
        all.push(verified);
    }
    let ok = all.iter().all(|verified| verified.ok);
    if as_json {
        println!("{}", serde_json::to_string_pretty(&json!({ "ok": ok, "projections": all }))?);
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(verified: &Verified) {
    let verdict = if verified.ok { "equal" } else { "DIFFERENT" };
    println!(
        "{}: {verdict} ({} rows compared, {} differ)",
        verified.name, verified.rows_compared, verified.rows_different
    );
    for difference in &verified.differences {
        let kind = json!(difference.kind);
        println!(
            "  {} {}: {} {}",
            difference.table,
            difference.key,
            kind.as_str().unwrap_or_default(),
            difference.columns.join(", ")
        );
    }
}

async fn parked(store: &Store, as_json: bool) -> Result<ExitCode> {
    let parked = status::parked(store, PARKED_SHOWN).await?;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&parked)?);
        return Ok(ExitCode::SUCCESS);
    }
    for p in &parked {
        let why = p.error.as_deref().unwrap_or("waits behind an earlier event of its stream");
        println!(
            "{}  {}:{} {} {}/{} v{}: {why}",
            p.projection, p.log_id, p.position, p.event_type, p.stream_type, p.stream_id, p.version
        );
    }
    eprintln!("{} events are parked.", parked.len());
    Ok(ExitCode::SUCCESS)
}

async fn replay_parked(system: &System, name: &str, as_json: bool) -> Result<ExitCode> {
    let projection = find(system, name)?;
    let (mut applied, mut remaining) = (0, 0);
    for log_id in system.store.logs() {
        let runner = Runner::new(system.store.clone(), Arc::clone(&projection), *log_id, Slot::Live);
        let replayed = parking::replay(&runner).await?;
        applied += replayed.0;
        remaining += replayed.1;
    }
    if as_json {
        println!("{}", json!({ "applied": applied, "remaining": remaining }));
    } else {
        println!("{applied} events applied, {remaining} remain parked.");
    }
    Ok(if remaining == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Does the work with a progress bar, as soon as nobody else does it.
async fn when_free<T>(
    name: &str,
    work: impl AsyncFn(&mut (dyn FnMut(Step) + Send)) -> Result<T, RebuildError>,
) -> Result<T> {
    let bar = progress::bar(name, 0);
    let deadline = Instant::now() + LEASE_PATIENCE;
    loop {
        let mut report = |step: Step| progress::show(&bar, step.done, step.of);
        match work(&mut report).await {
            Err(RebuildError::Busy(_)) if Instant::now() < deadline => tokio::time::sleep(ASK_AGAIN).await,
            Err(error) => bail!(error),
            Ok(done) => {
                bar.finish_and_clear();
                return Ok(done);
            }
        }
    }
}
