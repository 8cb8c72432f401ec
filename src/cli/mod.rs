//! Subcommands other than the server itself.

pub mod admin;
pub mod audit;
pub mod automation;
pub mod events;
pub mod inbound;
mod progress;
pub mod projections;

use std::process::ExitCode;

use anyhow::Result;

use crate::server::System;
use crate::settings::Settings;

/// # Errors
/// When the database can't be had or migrated.
pub async fn migrate(settings: &Settings) -> Result<ExitCode> {
    System::open(settings).await?;
    eprintln!("The schema is up to date.");
    Ok(ExitCode::SUCCESS)
}

/// # Errors
/// When the route table contradicts itself.
pub async fn openapi(settings: &Settings) -> Result<ExitCode> {
    let system = System::open(settings).await?;
    println!("{}", serde_json::to_string_pretty(system.api(settings)?.document())?);
    Ok(ExitCode::SUCCESS)
}
