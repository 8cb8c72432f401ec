//! `omnistream bench webhooks`: how soon Meta has its 200, which it gets once a delivery is stored for good.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use commands::Store;

use super::append::commit_time;
use super::database::BenchDatabase;
use super::finding::Finding;
use super::graph::GraphServer;
use super::inbox::{Delivery, Said, Tenant};
use super::measure::{Figures, in_turns, open_loop};
use super::program::Program;
use super::report::{Report, Row};
use super::{Pace, progress};
use crate::server::System;
use crate::settings::Settings;

const BARE: &str = "bare axum: reads the body, answers 200";
const OURS: &str = "POST /webhook: verified and stored";
const AIM_P99_MS: f64 = 50.0;
/// The rate that the aim is about.
const AIM_RATE: u32 = 200;
/// Deliveries that are not worked off after this long are taken for stuck.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub pace: Pace,
    /// Webhooks a second, sent at fixed instants whether or not earlier ones were answered; one message each
    #[arg(long, default_value_t = AIM_RATE, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Customers who write, each in a conversation that exists
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    customers: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Bare,
    Ours,
}

/// # Errors
/// When the database or a server can't be had, or a webhook is not acknowledged.
pub async fn run(settings: &Settings, database: &BenchDatabase, options: &Options) -> Result<Report> {
    let system = System::open(settings).await?;
    let graph = GraphServer::start().await?;
    let (program, bare) = (Program::start(database.url(), &graph).await?, Program::bare().await?);
    let tenant = Tenant::register(&program.base).await?;
    progress(&format!("{} customers write for the first time", options.customers));
    tenant.fill_inbox(options.customers as usize, system.store.clock()).await?;
    let mut report = Report::new("webhooks", database.server().await?, options.pace);
    report.commit = Some(commit_time(&system.store, database, options.pace).await?);
    let scene = Scene { tenant, bare: bare.base.clone(), store: system.store.clone() };
    let measured = in_turns(&[Target::Bare, Target::Ours], options.pace.rounds, async |target, round| {
        let figures = scene.deliver(target, options).await?;
        let name = if target == Target::Bare { BARE } else { OURS };
        progress(&format!(
            "round {round}: {name}: p50 {:.2} ms, p99 {:.2} ms",
            figures.p50_ms, figures.p99_ms
        ));
        Ok(figures)
    })
    .await?;
    let figures = |wanted| measured.iter().find(|(target, _)| *target == wanted).map(|(_, figures)| *figures);
    let (plain, ours) = figures(Target::Bare).zip(figures(Target::Ours)).context("both were measured")?;
    program.stop().await?;
    report.rows = vec![Row::new(BARE, 0, plain), Row::new(OURS, 0, ours)];
    let at_rate = |what: &str| format!("webhook acknowledged at {}/s, {what}", options.rate);
    let p99 = Finding::new(at_rate("p99"), ours.p99_ms, "ms").beside("bare axum", plain.p99_ms);
    report.findings = vec![
        Finding::new(at_rate("p50"), ours.p50_ms, "ms").beside("bare axum", plain.p50_ms),
        if options.rate >= AIM_RATE { p99.at_most(AIM_P99_MS) } else { p99 },
    ];
    report.note(format!(
        "{} deliveries a second at fixed instants, each with a valid signature and one message; a latency counts from the \
         instant at which the delivery was due, so that whoever would have come during a stall counts too",
        options.rate
    ));
    report.note("the worker turns the deliveries into events meanwhile; client, servers and database share this machine's processors");
    Ok(report)
}

struct Scene {
    tenant: Tenant,
    /// The address of the server that only reads.
    bare: String,
    store: Store,
}

impl Scene {
    /// One measurement; ends when the worker has nothing left to do, which the next one would feel.
    async fn deliver(&self, target: Target, options: &Options) -> Result<Figures> {
        /// The most that a measurement and its warm-up can ask for.
        const SHARE: f64 = 1.5;
        let now = self.store.clock().now().timestamp();
        let count = (options.pace.seconds * f64::from(options.rate) * SHARE).ceil() as usize + 2;
        // Made before, so that their making takes no time of the measurement's.
        let deliveries: Vec<Delivery> = (0..count)
            .map(|number| {
                let customer = number % options.customers as usize;
                Delivery::signed(&[Said { customer, text: format!("Pesan nomor {number}") }], now)
            })
            .collect::<Result<_>>()?;
        let deliveries: Arc<[Delivery]> = deliveries.into();
        let tenant = match target {
            Target::Bare => self.tenant.elsewhere(&self.bare),
            Target::Ours => self.tenant.clone(),
        };
        let call = move |number: usize| {
            let (tenant, deliveries) = (tenant.clone(), Arc::clone(&deliveries));
            async move { tenant.deliver(&deliveries[number]).await }
        };
        let figures = open_loop(options.rate.into(), options.pace.duration(), call).await?;
        self.worked_off().await?;
        Ok(figures)
    }

    async fn worked_off(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let (pending, failed): (i64, i64) = sqlx::query_as(
                "SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'failed') FROM inbound",
            )
            .fetch_one(self.store.pool())
            .await?;
            ensure!(failed == 0, "{failed} deliveries could not be processed");
            if pending == 0 {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                bail!("{pending} deliveries stay unprocessed");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
