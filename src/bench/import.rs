//! `omnistream bench import`: how fast history comes into the log, beside COPY of the very same rows.

use std::time::Instant;

use anyhow::{Result, ensure};
use chrono::TimeDelta;
use clap::Args;
use commands::Store;
use commands::audit::{self, Scope};
use commands::store::import::{CLAIMS, EVENTS, KEYS, Page, Rows};
use sqlx::{AssertSqlSafe, Connection};
use tokio::task::JoinSet;

use super::database::BenchDatabase;
use super::finding::Finding;
use super::history::{self, Manner, Shop};
use super::measure::Figures;
use super::report::{Report, Row};
use super::{Pace, progress};
use crate::server::System;
use crate::settings::Settings;

const IMPORT: &str = "import: decided, sealed, hashed, written";
const COPY: &str = "plain COPY of the same rows";
const AIM_OF_COPY: f64 = 0.5;
const AGENTS: usize = 20;
/// How long each round's history goes on.
pub const SPAN: TimeDelta = TimeDelta::days(30);

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub pace: Pace,
    /// Conversations in each round, over all logs; the rows of a round are kept in memory
    #[arg(long, default_value_t = 8_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    conversations: u32,
    /// Messages in each conversation
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    messages: u32,
    /// The same history for the same number
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// # Errors
/// When the database can't be had, or a row can't be written.
pub async fn run(settings: &Settings, database: &BenchDatabase, options: &Options) -> Result<Report> {
    let system = System::open(settings).await?;
    let managers = managers(&system);
    let store = &system.store;
    for table in [EVENTS.table, CLAIMS.table, KEYS.table] {
        let ddl = format!("CREATE TABLE bench_{table} (LIKE {table} INCLUDING ALL)");
        sqlx::query(AssertSqlSafe(ddl)).execute(store.pool()).await?;
    }
    let mut report = Report::new("import", database.server().await?, options.pace);
    let (mut imports, mut copies, mut bytes) = (Vec::new(), Vec::new(), 0);
    for round in 1..=options.pace.rounds {
        let shops = shops(store, options, round).await?;
        let manner = Manner { seed: options.seed, keep_pages: true };
        let imported = history::import(store, &managers, &shops, manner).await?;
        let import = Figures::rate(imported.events, imported.took);
        bytes = imported.pages.iter().flatten().map(|page| page.events.bytes() as u64).sum::<u64>()
            / imported.events;
        let copy = copy(store, imported.pages).await?;
        progress(&format!(
            "round {round}: {} events, {:.0}/s imported, {:.0}/s copied",
            imported.events, import.per_second, copy.per_second
        ));
        imports.push(import);
        copies.push(copy);
    }
    check(store).await?;
    let (import, copy) = (Figures::median(&imports), Figures::median(&copies));
    let logs = store.logs().len();
    report.rows = vec![Row::new(COPY, logs, copy), Row::new(IMPORT, logs, import).beside(copy.per_second)];
    report.findings = vec![
        Finding::new("import of history", import.per_second, "events/s")
            .beside(COPY, copy.per_second)
            .ratio_at_least(AIM_OF_COPY),
    ];
    report.note(format!(
        "events of {} conversations with {} messages in each round, a tenant in each log, seed {}; {bytes} bytes an \
         event; with them the keys that seal and the claims, which are copied too",
        options.conversations, options.messages, options.seed
    ));
    report
        .note("callers: logs written at the same time, each over a connection; seconds has no meaning here");
    report.note(
        "COPY writes rows that are there already, in one transaction, into tables with the same indexes; an \
                 import also decides, seals and hashes, and takes the way around row-level security",
    );
    report.note("every imported event was verified afterwards as `omnistream audit verify` does");
    Ok(report)
}

/// Whoever would do something about what happened.
pub fn managers(system: &System) -> Vec<&'static str> {
    system.projections.iter().filter(|p| !p.is_read_model()).map(|p| p.name).collect()
}

/// A shop in each log, whose history begins where that of the round before ended.
async fn shops(store: &Store, options: &Options, round: u16) -> Result<Vec<Shop>> {
    let to = store.clock().now() - SPAN * i32::from(options.pace.rounds - round);
    let tenants = history::tenant_of_each_log(store, options.seed + u64::from(round)).await?;
    let each = options.conversations.div_ceil(u32::try_from(tenants.len())?);
    let shop = |tenant_id| Shop {
        conversations: each,
        messages: options.messages,
        longest: options.messages,
        ..Shop::new(tenant_id, AGENTS, (to - SPAN, to))
    };
    Ok(tenants.into_iter().map(shop).collect())
}

/// The rows of each log in one transaction, all logs at the same time, as the import had it.
async fn copy(store: &Store, logs: Vec<Vec<Page>>) -> Result<Figures> {
    let events = logs.iter().flatten().map(|page| page.len() as u64).sum();
    let begun = Instant::now();
    let mut copying = JoinSet::new();
    for pages in logs {
        let store = store.clone();
        copying.spawn(async move {
            let mut connection = store.pool().acquire().await?;
            let mut tx = connection.begin().await?;
            let tables: [(_, fn(&Page) -> &Rows); 3] =
                [(KEYS, |page| &page.keys), (CLAIMS, |page| &page.claims), (EVENTS, |page| &page.events)];
            for (columns, rows) in tables {
                let rows: Vec<&Rows> = pages.iter().map(rows).collect();
                Rows::copy(&mut tx, &format!("bench_{}", columns.table), &rows).await?;
            }
            tx.commit().await
        });
    }
    while let Some(copied) = copying.join_next().await {
        copied??;
    }
    Ok(Figures::rate(events, begun.elapsed()))
}

/// A fast import of what nobody could verify would be worth nothing.
async fn check(store: &Store) -> Result<()> {
    let mut db = store.pool().acquire().await?;
    for log_id in store.logs() {
        let scope = Scope { log_id: *log_id, tenant_id: None, from: 1, to: i64::MAX, limit: i64::MAX };
        let report = audit::verify(&mut db, scope, |_| {}).await?;
        ensure!(report.ok() && report.complete, "log {log_id} is not as written: {report:?}");
    }
    Ok(())
}
