//! `omnistream admin`: the platform's own administrators.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::server::System;
use crate::settings::Settings;

#[derive(Subcommand)]
pub enum Admin {
    /// Create a super-admin
    Create {
        #[arg(long)]
        email: String,
        #[arg(long)]
        full_name: String,
        /// At least 6 characters
        #[arg(long, env = "OMNISTREAM_NEW_PASSWORD", hide_env_values = true)]
        password: String,
    },
}

/// # Errors
/// When the address is taken, or the database can't be had.
pub async fn run(settings: &Settings, command: Admin) -> Result<ExitCode> {
    let Admin::Create { email, full_name, password } = command;
    let system = System::open(settings).await?;
    let id = commands::super_admin::create(&system.store, &email, &full_name, password).await?;
    println!("{id}");
    Ok(ExitCode::SUCCESS)
}

/// Makes the configured first super-admin if there is none yet.
///
/// # Errors
/// When only half of the account is configured, or it can't be made.
pub async fn create_first(system: &System, settings: &Settings) -> Result<()> {
    match (&settings.super_admin_email, &settings.super_admin_password) {
        (Some(email), Some(password)) => {
            commands::super_admin::create_first(&system.store, email, password.clone()).await?;
        }
        (None, None) => {}
        _ => anyhow::bail!("OMNISTREAM_SUPER_ADMIN_EMAIL and OMNISTREAM_SUPER_ADMIN_PASSWORD go together"),
    }
    Ok(())
}
