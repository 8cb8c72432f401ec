//! `omnistream bench append`: what group commit brings over one transaction per insert.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use commands::Store;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{Connection, PgConnection};

use super::contender::{Contender, Ring};
use super::database::BenchDatabase;
use super::finding::Finding;
use super::measure::{Figures, closed_loop, in_turns};
use super::report::{Commit, Report, Row};
use super::{Pace, progress};
use crate::server::System;
use crate::settings::Settings;

/// The level that the aim is about.
const AIM_LEVEL: usize = 64;
const AIM_TIMES_PLAIN: f64 = 3.0;
/// Time to get a connection; with many callers on a small machine it takes a while.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub pace: Pace,
    /// How many commands wait for an answer at any moment
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, AIM_LEVEL, 256], value_parser = parse_callers)]
    waiting: Vec<usize>,
}

fn parse_callers(text: &str) -> Result<usize, String> {
    /// As many as a log's queue takes.
    const MOST: usize = commands::store::QUEUE_LIMIT;
    match text.parse() {
        Ok(callers) if (1..=MOST).contains(&callers) => Ok(callers),
        _ => Err(format!("must be 1 to {MOST}")),
    }
}

/// # Errors
/// When the database can't be had, or a write fails.
pub async fn run(settings: &Settings, database: &BenchDatabase, options: &Options) -> Result<Report> {
    let system = System::open(settings).await?;
    let mut report = Report::new("append", database.server().await?, options.pace);
    report.commit = Some(commit_time(&system.store, database, options.pace).await?);
    let connections = report.server.free_connections;
    let mut payload_bytes = 0;
    for callers in &options.waiting {
        let plain = plain_pool(&system.store, connections.min(u32::try_from(*callers)?)).await?;
        let ring = Ring::new(system.store.clone(), plain.clone()).await?;
        payload_bytes = ring.payload_bytes();
        report.rows.extend(level(&ring, *callers, options.pace).await?);
        plain.close().await;
    }
    report.findings = options.waiting.iter().filter_map(|callers| finding(&report, *callers)).collect();
    report.note(format!(
        "each event is a row with a payload of {payload_bytes} bytes in a table with the log's indexes; callers and \
         database share this machine's processors"
    ));
    if options.waiting.iter().any(|callers| *callers > connections as usize) {
        report.note(format!(
            "the server has {connections} connections to give: more plain inserts than that take turns"
        ));
    }
    Ok(report)
}

async fn level(ring: &Ring, callers: usize, pace: Pace) -> Result<Vec<Row>> {
    let medians = in_turns(&Contender::ALL, pace.rounds, async |contender, round| {
        let ring = ring.clone();
        let write = move |caller| {
            let ring = ring.clone();
            async move { ring.write(contender, caller).await }
        };
        let figures = closed_loop(callers, pace.duration(), write).await?;
        let name = contender.name();
        progress(&format!("{callers} waiting, round {round}: {name} {:.0}/s", figures.per_second));
        Ok(figures)
    })
    .await?;
    let plain = medians.iter().find(|(c, _)| *c == Contender::Plain).map(|(_, figures)| figures.per_second);
    let row = |(contender, figures): (Contender, Figures)| {
        let row = Row::new(contender.name(), callers, figures);
        if contender == Contender::Plain { row } else { row.beside(plain.unwrap_or_default()) }
    };
    Ok(medians.into_iter().map(row).collect())
}

fn finding(report: &Report, callers: usize) -> Option<Finding> {
    let rate = |contender: Contender| Some(report.row(contender.name(), callers)?.figures.per_second);
    let finding =
        Finding::new(format!("append, {callers} waiting"), rate(Contender::OwnStreams)?, "events/s")
            .beside("plain inserts", rate(Contender::Plain)?);
    Some(if callers == AIM_LEVEL { finding.ratio_at_least(AIM_TIMES_PLAIN) } else { finding })
}

/// The floor under every command's latency.
///
/// # Errors
/// Database errors.
pub async fn commit_time(store: &Store, database: &BenchDatabase, pace: Pace) -> Result<Commit> {
    let pool = plain_pool(store, 1).await?;
    let ring = Ring::new(store.clone(), pool.clone()).await?;
    let mut connection = PgConnection::connect(database.url()).await?;
    let synced = alone(&ring, &mut connection, pace.duration()).await?;
    sqlx::query("SET synchronous_commit = off").execute(&mut connection).await?;
    let unsynced = alone(&ring, &mut connection, pace.duration()).await?;
    connection.close().await?;
    pool.close().await;
    progress(&format!("commit of one row alone: {:.2} ms", synced.p50_ms));
    Ok(Commit { p50_ms: synced.p50_ms, unsynced_p50_ms: unsynced.p50_ms })
}

async fn alone(ring: &Ring, connection: &mut PgConnection, duration: Duration) -> Result<Figures> {
    let end = tokio::time::Instant::now() + duration;
    let mut latencies = Vec::new();
    loop {
        let begun = tokio::time::Instant::now();
        if begun >= end {
            return Ok(Figures::of(latencies, duration));
        }
        ring.insert_with(&mut *connection).await?;
        latencies.push(begun.elapsed());
    }
}

/// Connections as the store has them, without the tests of them that would slow plain inserts down.
async fn plain_pool(store: &Store, connections: u32) -> Result<PgPool> {
    let options = store.pool().connect_options().as_ref().clone();
    let pool = PgPoolOptions::new()
        .min_connections(connections)
        .max_connections(connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        .test_before_acquire(false)
        .connect_with(options)
        .await?;
    Ok(pool)
}
