//! `omnistream bench projection`: whether the read models keep up with what can be appended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use projections::{Projection, runner, shadow};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::database::BenchDatabase;
use super::finding::Finding;
use super::measure::{Figures, closed_loop};
use super::report::{Report, Row};
use super::traffic::Traffic;
use super::{Pace, progress};
use crate::server::System;
use crate::settings::Settings;

const APPENDED: &str = "appended, no read models running";
const PROJECTED: &str = "projected, nothing being appended";
const APPENDED_BOTH: &str = "appended, read models running";
const PROJECTED_BOTH: &str = "projected meanwhile, until caught up";
const AIM_TIMES_APPENDED: f64 = 1.5;
/// A read model that is behind after this long is taken for stuck.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub pace: Pace,
    /// Tenants whose customers write, spread over all logs
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    tenants: u16,
    /// Customers of each
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    customers: u32,
    /// How many exchanges between a customer and an agent go on at any moment
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    waiting: u16,
}

/// # Errors
/// When the database can't be had, a command is refused, or a read model does not catch up.
pub async fn run(settings: &Settings, database: &BenchDatabase, options: &Options) -> Result<Report> {
    let system = System::open(settings).await?;
    let mut report = Report::new("projection", database.server().await?, options.pace);
    let traffic =
        Traffic::new(system.store.clone(), options.tenants.into(), options.customers as usize).await?;
    let scene = Scene { system, traffic, waiting: options.waiting.into() };
    // What registering wrote is nobody's backlog.
    scene.alone().await?;
    let mut rounds = Vec::new();
    for round in 1..=options.pace.rounds {
        let (appended, backlog) = scene.append(options.pace).await?;
        let projected = scene.project(backlog).await?;
        let both = scene.both(options.pace).await?;
        progress(&format!(
            "round {round}: {:.0}/s appended, {:.0}/s projected; at once {:.0}/s and {:.0}/s",
            appended.per_second, projected.per_second, both.0.per_second, both.1.per_second
        ));
        rounds.push([appended, projected, both.0, both.1]);
    }
    scene.nothing_parked().await?;
    let median = |index: usize| Figures::median(&rounds.iter().map(|round| round[index]).collect::<Vec<_>>());
    let [appended, projected, appended_both, projected_both] = std::array::from_fn(median);
    let row = |name, figures| Row::new(name, scene.waiting, figures).beside(appended.per_second);
    report.rows = vec![
        Row::new(APPENDED, scene.waiting, appended),
        row(PROJECTED, projected),
        row(APPENDED_BOTH, appended_both),
        row(PROJECTED_BOTH, projected_both),
    ];
    report.findings = vec![
        Finding::new("live projection", projected.per_second, "events/s")
            .beside("appended", appended.per_second)
            .ratio_at_least(AIM_TIMES_APPENDED),
        Finding::new("live projection while appending", projected_both.per_second, "events/s")
            .beside("appended", appended_both.per_second),
    ];
    let count = scene.system.projections.len();
    report.note(format!(
        "events of messages written, answered, sent, delivered and read, through the domain's commands, of {} tenants; each \
         event is taken in by {count} read models and process managers",
        options.tenants
    ));
    report.note(
        "per second: events; p50, p99 and max: of a whole exchange, which is 5 commands one after the other",
    );
    report.note("x plain: over the rate of appending alone");
    Ok(report)
}

struct Scene {
    system: System,
    traffic: Traffic,
    waiting: usize,
}

impl Scene {
    /// Appends at full speed; answers how many events a second, and how many there are now that nobody has projected.
    async fn append(&self, pace: Pace) -> Result<(Figures, u64)> {
        let (before, begun) = (self.head().await?, Instant::now());
        let traffic = self.traffic.clone();
        let exchange = move |_| {
            let traffic = traffic.clone();
            async move { traffic.exchange().await }
        };
        let exchanges = closed_loop(self.waiting, pace.duration(), exchange).await?;
        let (took, events) = (begun.elapsed(), self.head().await? - before);
        let per_second = Figures::rate(events, took).per_second;
        Ok((Figures { per_second, ..exchanges }, events))
    }

    /// Takes in this many waiting events while nothing else happens.
    async fn project(&self, backlog: u64) -> Result<Figures> {
        Ok(Figures::rate(backlog, self.alone().await?))
    }

    /// Runs everything that follows the log until it has seen all of it; answers how long that took.
    async fn alone(&self) -> Result<Duration> {
        let readers = Readers::start(&self.system);
        let begun = Instant::now();
        self.caught_up().await?;
        let took = begun.elapsed();
        readers.stop().await;
        Ok(took)
    }

    /// Appends while everything follows; answers both rates, projecting until it has caught up.
    async fn both(&self, pace: Pace) -> Result<(Figures, Figures)> {
        let readers = Readers::start(&self.system);
        // Until they have their leases.
        self.caught_up().await?;
        let begun = Instant::now();
        let (appended, events) = self.append(pace).await?;
        self.caught_up().await?;
        let projected = Figures::rate(events, begun.elapsed());
        readers.stop().await;
        Ok((appended, projected))
    }

    /// Events in all logs.
    async fn head(&self) -> Result<u64> {
        let heads = shadow::heads(&self.system.store).await?;
        Ok(u64::try_from(heads.into_iter().sum::<i64>())?)
    }

    /// Waits until everything that runs here has seen all that is in the logs now; asks this process alone, since
    /// questions to the database would be felt.
    async fn caught_up(&self) -> Result<()> {
        let System { store, projections, .. } = &self.system;
        for (log_id, head) in store.logs().iter().zip(shadow::heads(store).await?) {
            for projection in projections {
                let mut progress = store.progress().follow(projection.name, *log_id);
                let passed = tokio::time::timeout(PATIENCE, progress.wait_for(|at| *at >= head)).await;
                passed.with_context(|| {
                    format!("{} does not reach {head} of log {log_id}", projection.name)
                })??;
            }
        }
        Ok(())
    }

    /// A read model that sets events aside is fast and wrong.
    async fn nothing_parked(&self) -> Result<()> {
        let parked = projections::status::parked(&self.system.store, 1).await?;
        ensure!(parked.is_empty(), "an event could not be applied: {parked:?}");
        Ok(())
    }
}

/// Everything that follows the log in a running program: read models and process managers.
struct Readers {
    stopping: CancellationToken,
    tasks: JoinSet<()>,
}

impl Readers {
    fn start(system: &System) -> Self {
        let stopping = CancellationToken::new();
        let projections: &[Arc<Projection>] = &system.projections;
        Self { tasks: runner::run_all(&system.store, projections, &stopping), stopping }
    }

    async fn stop(mut self) {
        self.stopping.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}
