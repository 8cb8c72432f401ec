//! `omnistream bench rebuild`: how fast the read models are made anew from an imported history.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use projections::{Projection, rebuild, shadow, status, verify};

use super::database::BenchDatabase;
use super::finding::Finding;
use super::history::{self, Manner, Shop};
use super::import::{SPAN, managers};
use super::measure::Figures;
use super::report::{Report, Row};
use super::{Pace, progress};
use crate::server::System;
use crate::settings::Settings;

const INBOX: &str = "inbox";
const AGENTS: usize = 50;
/// The tenants of the other logs are smaller by this.
pub const SMALLER: u32 = 100;

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub pace: Pace,
    /// Conversations of the largest tenant
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    conversations: u32,
    /// Messages in each conversation
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    messages: u32,
    /// The same history for the same number
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only the inbox
    #[arg(long)]
    inbox_only: bool,
    /// Compare each read model with another rebuild of it afterwards
    #[arg(long)]
    verify: bool,
}

/// # Errors
/// When the database can't be had, or a read model can't be made.
pub async fn run(settings: &Settings, database: &BenchDatabase, options: &Options) -> Result<Report> {
    let system = System::open(settings).await?;
    let store = &system.store;
    let mut report = Report::new("rebuild", database.server().await?, options.pace);
    let now = store.clock().now();
    let tenants = history::tenant_of_each_log(store, options.seed).await?;
    let shop = |(n, tenant_id)| {
        let conversations =
            if n == 0 { options.conversations } else { options.conversations.div_ceil(SMALLER) };
        let (messages, longest) = (options.messages, options.messages);
        Shop { conversations, messages, longest, ..Shop::new(tenant_id, AGENTS, (now - SPAN, now)) }
    };
    let shops: Vec<Shop> = tenants.into_iter().enumerate().map(shop).collect();
    let manner = Manner { seed: options.seed, keep_pages: false };
    let imported = history::import(store, &managers(&system), &shops, manner).await?;
    progress(&format!("{} events imported in {:.1} s", imported.events, imported.took.as_secs_f64()));
    let wanted = |projection: &&Arc<Projection>| {
        projection.is_read_model() && (!options.inbox_only || projection.name == INBOX)
    };
    let models: Vec<Arc<Projection>> = system.projections.iter().filter(wanted).cloned().collect();
    let mut rates: Vec<Vec<Figures>> = vec![Vec::new(); models.len()];
    for _ in 0..options.pace.rounds {
        for (model, rates) in models.iter().zip(&mut rates) {
            rates.push(rebuild_one(&system, model).await?);
        }
    }
    let parked = status::parked(store, 1).await?;
    ensure!(parked.is_empty(), "an event could not be applied: {parked:?}");
    if options.verify {
        for model in &models {
            let verified = verify::verify(store, model, |_| {}).await?;
            ensure!(verified.ok && verified.rows_compared > 0 || model.name != INBOX, "{verified:?}");
            ensure!(verified.ok, "{} is not what the log says: {verified:?}", model.name);
        }
    }
    let medians: Vec<(&str, Figures)> =
        models.iter().map(|model| model.name).zip(rates.iter().map(|rates| Figures::median(rates))).collect();
    // One after the other, each reads all events.
    let seconds_each: f64 = medians.iter().map(|(_, figures)| 1.0 / figures.per_second).sum();
    report.rows = medians.iter().map(|(name, figures)| Row::new(name, 0, *figures)).collect();
    for (name, figures) in medians.iter().filter(|(name, _)| *name == INBOX) {
        report.findings.push(Finding::new(format!("rebuild of the {name}"), figures.per_second, "events/s"));
    }
    if !options.inbox_only {
        report.findings.push(Finding::new("rebuild of all read models", 1.0 / seconds_each, "events/s"));
    }
    report.note(format!(
        "{} events of {} conversations with {} messages, most of them one tenant's, seed {}; per second: events of the \
         log, whether they concern the read model or not; until the new tables have their indexes and are in place",
        imported.events, options.conversations, options.messages, options.seed
    ));
    Ok(report)
}

/// # Errors
/// When it can't be made.
pub async fn rebuild_one(system: &System, model: &Arc<Projection>) -> Result<Figures> {
    let events: i64 = shadow::heads(&system.store).await?.into_iter().sum();
    let begun = Instant::now();
    rebuild::rebuild(&system.store, model, |_| {}).await?;
    let figures = Figures::rate(u64::try_from(events)?, begun.elapsed());
    progress(&format!(
        "{}: {:.1} s, {:.0} events/s",
        model.name,
        begun.elapsed().as_secs_f64(),
        figures.per_second
    ));
    Ok(figures)
}
