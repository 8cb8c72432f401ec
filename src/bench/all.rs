//! `omnistream bench`: every benchmark, one after the other, and one table of what was found.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser};

use super::{Benchmark, progress, show};
use crate::settings::Settings;

/// Each benchmark as it may be run alone, and a short run of it.
const PLAN: [Planned; 8] = [
    Planned { full: "append", quick: "append --seconds 0.5 --rounds 1 --waiting 1,64" },
    Planned { full: "http", quick: "http --seconds 0.5 --rounds 1 --conversations 500" },
    Planned { full: "webhooks --seconds 10", quick: "webhooks --seconds 2 --rounds 1" },
    Planned { full: "projection --seconds 5", quick: "projection --seconds 1 --rounds 1" },
    Planned { full: "import", quick: "import --rounds 1 --conversations 800" },
    Planned {
        full: "rebuild --conversations 4000",
        quick: "rebuild --seconds 0.5 --rounds 1 --conversations 300",
    },
    Planned {
        full: "queries --conversations 1000,10000",
        quick: "queries --seconds 0.5 --rounds 1 --conversations 100,1000",
    },
    Planned { full: "automation", quick: "automation --seconds 0.5 --rounds 1 --items 200 --probes 50" },
];

struct Planned {
    full: &'static str,
    quick: &'static str,
}

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Shorter runs over less data; their figures vary more
    #[arg(long)]
    quick: bool,
    /// Print all reports as JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Also draw plots (SVG) into this folder
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
}

#[derive(Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(subcommand)]
    benchmark: Benchmark,
}

fn parse(line: &str) -> Result<Benchmark> {
    Ok(Line::try_parse_from(line.split_whitespace())?.benchmark)
}

/// One that fails does not keep the others from being run and shown.
///
/// # Errors
/// When a benchmark failed, or the plots can't be written.
pub async fn run(settings: &Settings, options: &Options) -> Result<ExitCode> {
    let (mut reports, mut failed) = (Vec::new(), None);
    for Planned { full, quick } in PLAN {
        let line = if options.quick { quick } else { full };
        eprintln!("omnistream bench {line}");
        match parse(line)?.run(settings).await.with_context(|| format!("omnistream bench {line}")) {
            Ok(report) => reports.push(report),
            Err(error) => {
                progress(&format!("FAILED: {error:#}"));
                failed = failed.or(Some(error));
            }
        }
    }
    show::print(&reports, options.json)?;
    if let Some(dir) = &options.plot {
        show::plot(&reports, dir)?;
    }
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_planned_line_is_a_command() {
        for line in PLAN.iter().flat_map(|planned| [planned.full, planned.quick]) {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
        }
    }
}
