//! `omnistream bench`: how fast this program is on this machine, beside what plain SQL does on the same database in the
//! same run. Only such ratios can be compared between machines.
//!
//! Everything happens in a database that is made for the run and dropped after it, on the server that the settings
//! name (or on the program's own), with that server's real durability.

mod append;
mod automation;
mod contender;
mod database;
mod graph;
mod http;
mod inbox;
mod judging;
mod measure;
mod program;
mod receiver;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::settings::Settings;
use database::BenchDatabase;
use report::Report;

#[derive(Subcommand)]
pub enum Bench {
    /// Events per second through the event store, beside one transaction per insert
    Append(append::Options),
    /// Latency of commands and lists over HTTP, and the memory of the serving process
    Http(http::Options),
    /// Rules judged, items finished, and the delay from a customer's message to what a rule does about it
    Automation(automation::Options),
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

/// Runs a benchmark and prints its report; aims that are missed are shown and are no failure.
///
/// # Errors
/// When the database can't be made, or what is measured fails.
pub async fn run(settings: &Settings, bench: Bench) -> Result<ExitCode> {
    let database = BenchDatabase::create(settings).await?;
    let settings = database.settings(settings);
    let measured = async {
        match &bench {
            Bench::Append(options) => append::run(&settings, &database, options).await,
            Bench::Http(options) => http::run(&settings, &database, options).await,
            Bench::Automation(options) => automation::run(&settings, &database, options).await,
        }
    };
    let outcome = tokio::select! {
        report = measured => report,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    let dropped = database.drop().await;
    let report = outcome?;
    let json = match bench {
        Bench::Append(options) => options.pace.json,
        Bench::Http(options) => options.pace.json,
        Bench::Automation(options) => options.pace.json,
    };
    print(&report, json)?;
    dropped.map(|()| ExitCode::SUCCESS)
}

fn print(report: &Report, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{report}");
    }
    if report.is_empty() { bail!("nothing was measured") } else { Ok(()) }
}

/// Where the run is; on stderr, so that stdout holds the report alone.
fn progress(step: &str) {
    eprintln!("  {step}");
}
