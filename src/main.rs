//! `omnistream`: the one executable and its subcommands.

mod bench;
mod cli;
mod database;
mod demo;
mod payments;
mod postgres;
mod secret;
mod server;
mod settings;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use settings::Settings;

/// OmniStream, the backend of an omnichannel CRM.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the API and the worker together
    Serve,
    /// Run the API and the worker together, with a demo tenant whose customers write and whose agents answer
    Demo,
    /// Run the API only; a worker must run elsewhere
    Api,
    /// Run projections, inbound processing and sending only
    Worker,
    /// Bring the database's schema up to date and exit
    Migrate,
    /// Print the OpenAPI document
    Openapi,
    /// Measure this program on this machine, beside plain SQL and a web server that does nothing
    Bench(bench::Bench),
    /// The log: tail, show, export
    #[command(subcommand)]
    Events(cli::events::Events),
    /// Read models: list, rebuild, verify, roll back
    Projections(cli::projections::Projections),
    /// Proof that nobody touched history
    #[command(subcommand)]
    Audit(cli::audit::Audit),
    /// Automation: the story of a run, and what would be different
    #[command(subcommand)]
    Automation(cli::automation::Automation),
    /// Accounts of the platform's own administrators
    #[command(subcommand)]
    Admin(cli::admin::Admin),
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|name| name == postgres::GUARD_SUBCOMMAND) {
        return args.next().map_or(ExitCode::FAILURE, |dir| postgres::run_guard(Path::new(&dir)));
    }
    let _ = dotenvy::dotenv();
    let cli = Cli::parse();
    let unknown = settings::unknown_names::<Cli>();
    if !unknown.is_empty() {
        eprintln!("error: no setting is called {}; see --help", unknown.join(" or "));
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let settings = cli.settings;
    match cli.command {
        Command::Serve => server::run(settings, server::Parts::Both, None).await,
        Command::Demo => {
            let mut settings = settings;
            let counterpart = demo::prepare(&mut settings).await?;
            server::run(settings, server::Parts::Both, Some(counterpart)).await
        }
        Command::Api => server::run(settings, server::Parts::Api, None).await,
        Command::Worker => server::run(settings, server::Parts::Worker, None).await,
        Command::Migrate => cli::migrate(&settings).await,
        Command::Openapi => cli::openapi(&settings).await,
        Command::Bench(command) => bench::run(&settings, command).await,
        Command::Events(command) => cli::events::run(&settings, command).await,
        Command::Projections(command) => cli::projections::run(&settings, command).await,
        Command::Audit(command) => cli::audit::run(&settings, command).await,
        Command::Automation(command) => cli::automation::run(&settings, command).await,
        Command::Admin(command) => cli::admin::run(&settings, command).await,
    }
}
