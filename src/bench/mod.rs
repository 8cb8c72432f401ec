//! `omnistream bench`: how fast this program is on this machine, beside what plain means (SQL, COPY, a bare web server) do
//! in the same run. Only such ratios can be compared between machines.
//!
//! Everything happens in a database that is made for the run and dropped after it, on the server that the settings
//! name (or on the program's own), with that server's real durability.

mod all;
mod append;
mod automation;
mod bare;
mod contender;
mod database;
mod finding;
mod graph;
mod history;
mod http;
mod import;
mod inbox;
mod judging;
mod measure;
mod plot;
mod program;
mod projection;
mod queries;
mod rebuild;
mod receiver;
mod report;
mod show;
mod table;
mod traffic;
mod webhooks;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::settings::Settings;
use database::BenchDatabase;
use report::Report;

/// Without a name: all of them, one after the other, and one table.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Bench {
    #[command(subcommand)]
    one: Option<Command>,
    #[command(flatten)]
    all: all::Options,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Benchmark(Benchmark),
    /// Print the table of reports that were saved with --json, and draw their plots
    Show(show::Options),
    /// What the others are compared with: a server that reads requests and answers 200
    #[command(hide = true)]
    Bare,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Events per second through the event store, beside one transaction per insert
    Append(append::Options),
    /// Latency of commands and lists over HTTP beside a bare web server, and the memory of the serving process
    Http(http::Options),
    /// How soon signed webhooks that come at a fixed rate are acknowledged, beside a bare web server
    Webhooks(webhooks::Options),
    /// Events per second that the read models take in, beside how fast they are appended
    Projection(projection::Options),
    /// Rules judged, items finished, and the delay from a customer's message to what a rule does about it
    Automation(automation::Options),
    /// Events per second that come into the log from an invented history, beside plain COPY of the same rows
    Import(import::Options),
    /// Events per second of an imported history that become read models
    Rebuild(rebuild::Options),
    /// Latency of lists, message pages and searches of a small tenant and of a large one
    Queries(queries::Options),
}

impl Benchmark {
    const fn pace(&self) -> Pace {
        match self {
            Self::Append(options) => options.pace,
            Self::Http(options) => options.pace,
            Self::Webhooks(options) => options.pace,
            Self::Projection(options) => options.pace,
            Self::Automation(options) => options.pace,
            Self::Import(options) => options.pace,
            Self::Rebuild(options) => options.pace,
            Self::Queries(options) => options.pace,
        }
    }

    async fn measure(&self, settings: &Settings, database: &BenchDatabase) -> Result<Report> {
        match self {
            Self::Append(options) => append::run(settings, database, options).await,
            Self::Http(options) => http::run(settings, database, options).await,
            Self::Webhooks(options) => webhooks::run(settings, database, options).await,
            Self::Projection(options) => projection::run(settings, database, options).await,
            Self::Automation(options) => automation::run(settings, database, options).await,
            Self::Import(options) => import::run(settings, database, options).await,
            Self::Rebuild(options) => rebuild::run(settings, database, options).await,
            Self::Queries(options) => queries::run(settings, database, options).await,
        }
    }

    /// On a database of its own.
    async fn run(&self, settings: &Settings) -> Result<Report> {
        let database = BenchDatabase::create(settings).await?;
        let settings = database.settings(settings);
        let outcome = tokio::select! {
            report = self.measure(&settings, &database) => report,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        };
        let dropped = database.drop().await;
        let report = outcome?;
        dropped?;
        if report.is_empty() { bail!("nothing was measured") } else { Ok(report) }
    }
}

/// What every benchmark takes.
#[derive(Args, Clone, Copy, Debug)]
pub struct Pace {
    /// Length of each measurement
    #[arg(long, default_value_t = 2.0, value_parser = positive_seconds)]
    seconds: f64,
    /// How often all measurements take turns; the medians count
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

impl Pace {
    fn duration(self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn positive_seconds(text: &str) -> Result<f64, String> {
    /// Longer measurements tell nothing more.
    const LONGEST: f64 = 3600.0;
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if seconds > 0.0 && seconds <= LONGEST {
        Ok(seconds)
    } else {
        Err(format!("must be above 0 and at most {LONGEST}"))
    }
}

/// Runs a benchmark, or all, and prints what was found; aims that are missed are shown and are no failure.
///
/// # Errors
/// When the database can't be made, or what is measured fails.
pub async fn run(settings: &Settings, bench: Bench) -> Result<ExitCode> {
    match bench.one {
        None => all::run(settings, &bench.all).await,
        Some(Command::Show(options)) => show::run(&options),
        Some(Command::Bare) => bare::run().await,
        Some(Command::Benchmark(benchmark)) => {
            let report = benchmark.run(settings).await?;
            if benchmark.pace().json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{report}");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Where the run is; on stderr, so that stdout holds the report alone.
fn progress(step: &str) {
    eprintln!("  {step}");
}
