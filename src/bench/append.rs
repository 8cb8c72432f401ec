//! `omnistream bench append`: what group commit brings over one transaction per insert.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use commands::Store;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{Connection, PgConnection};

use super::contender::{Contender, Ring};
use super::database::{BenchDatabase, Server};
use super::measure::{Figures, closed_loop};
use super::report::{Aim, Commit, Report, Row};
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
    let server = database.server().await?;
    let commit = commit_time(&system.store, database, options.pace).await?;
    let mut rows = Vec::new();
    let mut payload_bytes = 0;
    for callers in &options.waiting {
        let connections = server.free_connections.min(u32::try_from(*callers).unwrap_or(u32::MAX));
        let plain = plain_pool(&system.store, connections).await?;
        let ring = Ring::new(system.store.clone(), plain.clone()).await?;
        payload_bytes = ring.payload_bytes();
        rows.extend(level(&ring, *callers, options.pace).await?);
        plain.close().await;
    }
    Ok(report(server, options, commit, rows, payload_bytes))
}

/// Takes turns (A B C A B C …), so that whatever else the machine does in the meantime meets all alike.
async fn level(ring: &Ring, callers: usize, pace: Pace) -> Result<Vec<Row>> {
    let mut measured: Vec<(Contender, Vec<Figures>)> = Contender::ALL.map(|c| (c, Vec::new())).into();
    for round in 1..=pace.rounds {
        for (contender, rounds) in &mut measured {
            let (ring, contender) = (ring.clone(), *contender);
            let write = move |caller| {
                let ring = ring.clone();
                async move { ring.write(contender, caller).await }
            };
            let figures = closed_loop(callers, pace.duration(), write).await?;
            progress(&format!(
                "{callers} waiting, round {round}: {} {:.0}/s",
                contender.name(),
                figures.per_second
            ));
            rounds.push(figures);
        }
    }
    let medians: Vec<(Contender, Figures)> =
        measured.iter().map(|(c, rounds)| (*c, Figures::median(rounds))).collect();
    let plain =
        medians.iter().find(|(c, _)| *c == Contender::Plain).map_or(0.0, |(_, figures)| figures.per_second);
    let row = |(contender, figures): (Contender, Figures)| Row {
        name: contender.name(),
        callers,
        figures,
        times_plain: (contender != Contender::Plain && plain > 0.0).then(|| figures.per_second / plain),
    };
    Ok(medians.into_iter().map(row).collect())
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

fn report(server: Server, options: &Options, commit: Commit, rows: Vec<Row>, payload_bytes: usize) -> Report {
    let at_aim = rows.iter().find(|r| r.callers == AIM_LEVEL && r.name == Contender::OwnStreams.name());
    let aims = at_aim.and_then(|row| row.times_plain).map(|times| {
        let aim = format!("at least {AIM_TIMES_PLAIN} times the plain inserts at {AIM_LEVEL} waiting");
        Aim::at_least(&aim, AIM_TIMES_PLAIN, times)
    });
    let mut notes = vec![format!(
        "each event is a row of 15 columns and 5 indexes with a payload of {payload_bytes} bytes; callers and database \
         share this machine's processors"
    )];
    let most = options.waiting.iter().copied().max().unwrap_or(0);
    if most > server.free_connections as usize {
        let connections = server.free_connections;
        notes.push(format!(
            "the server has {connections} connections to give: more plain inserts than that take turns"
        ));
    }
    Report {
        benchmark: "append",
        version: env!("CARGO_PKG_VERSION"),
        server,
        seconds: options.pace.seconds,
        rounds: options.pace.rounds,
        commit,
        rows,
        memory: Vec::new(),
        aims: aims.into_iter().collect(),
        notes,
    }
}
