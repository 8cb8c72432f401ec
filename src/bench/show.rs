//! `omnistream bench show`: the table and the plots of reports, of one run or of several that were saved.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;

use super::report::Report;
use super::{finding, plot, progress};

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// What a benchmark, or all of them, printed with --json
    #[arg(required = true)]
    reports: Vec<PathBuf>,
    /// Also draw plots (SVG) into this folder
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Saved {
    All(Vec<Report>),
    One(Box<Report>),
}

/// # Errors
/// When a file can't be read or is no report, or a plot can't be written.
pub fn run(options: &Options) -> Result<ExitCode> {
    let mut reports = Vec::new();
    for path in &options.reports {
        let read = || Ok::<_, anyhow::Error>(serde_json::from_slice(&fs::read(path)?)?);
        match read().with_context(|| format!("reading {}", path.display()))? {
            Saved::All(several) => reports.extend(several),
            Saved::One(report) => reports.push(*report),
        }
    }
    print(&reports, false)?;
    if let Some(dir) = &options.plot {
        plot(&reports, dir)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// # Errors
/// When they are no JSON, which can't be.
pub fn print(reports: &[Report], json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(reports)?);
        return Ok(());
    }
    let machines: BTreeSet<String> = reports.iter().map(|report| report.server.to_string()).collect();
    machines.iter().for_each(|machine| println!("{machine}"));
    if reports.iter().any(|report| !report.optimized) {
        println!("{}", finding::NOT_OPTIMIZED);
    }
    print!("\n{}", finding::table(reports.iter().flat_map(|report| &report.findings)));
    Ok(())
}

/// Draws what the reports have figures for.
///
/// # Errors
/// When a file can't be written.
pub fn plot(reports: &[Report], dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    for (name, svg) in plot::all(reports)? {
        let path = dir.join(name);
        fs::write(&path, svg).with_context(|| format!("writing {}", path.display()))?;
        progress(&format!("drew {}", path.display()));
    }
    Ok(())
}
