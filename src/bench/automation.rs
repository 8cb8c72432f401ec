//! `omnistream bench automation`: how fast rules are judged, how many items are finished, and how long it takes from a
//! customer's message to what a rule does about it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::append::commit_time;
use super::database::BenchDatabase;
use super::finding::Finding;
use super::graph::GraphServer;
use super::inbox::{Said, Tenant};
use super::judging;
use super::measure::Figures;
use super::program::Program;
use super::receiver::Receiver;
use super::report::{Report, Row};
use super::{Pace, progress};
use crate::server::System;
use crate::settings::Settings;

const JUDGED: &str = "rules judged on one processor, 200 an item";
const FINISHED: &str = "items finished, 10 rules, 3 act";
const DELAY: &str = "a message to its action, one at a time";
const RULES_JUDGED: usize = 200;
const AIM_CHECKS: f64 = 50_000.0;
const AIM_DELAY_MS: f64 = 100.0;
/// Between two probes, so that each finds a machine at rest.
const BREATH: Duration = Duration::from_millis(20);
/// Customers in one webhook while the queue is filled.
const BATCH: usize = 50;
/// Without a finished item for this long the program is taken for stuck.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub pace: Pace,
    /// Messages, each of another customer, that make the items of a round
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    items: u32,
    /// Messages heard one at a time, over all rounds
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    probes: u32,
}

/// # Errors
/// When the database or the program can't be had, a request fails, or a rule does not act.
pub async fn run(settings: &Settings, database: &BenchDatabase, options: &Options) -> Result<Report> {
    let system = System::open(settings).await?;
    let mut report = Report::new("automation", database.server().await?, options.pace);
    let judged = judge(options.pace).await?;
    report.commit = Some(commit_time(&system.store, database, options.pace).await?);
    let (graph, mut receiver) = (GraphServer::start().await?, Receiver::start().await?);
    let program = Program::start(database.url(), &graph).await?;
    let tenant = Tenant::register(&program.base).await?;
    progress(&format!("{} customers write for the first time", options.items));
    tenant.fill_inbox(options.items as usize, system.store.clock()).await?;
    let now = system.store.clock().now().timestamp();
    // Each conversation and each message has been an item by now.
    let mut scene =
        Scene { tenant, customers: options.items as usize, now, items: 2 * u64::from(options.items) };
    scene.settled().await?;
    scene.write_rules(&receiver.url).await?;
    let found = scene.rounds(&program, &mut receiver, options).await?;
    ensure!(graph.accepted() > 0, "no answer reached the provider");
    program.stop().await?;
    report.rows = vec![
        Row::new(JUDGED, 1, judged),
        Row::new(FINISHED, scene.customers, found.finished),
        Row::new(DELAY, 1, found.delays),
    ];
    report.findings = vec![
        Finding::new("rule checks of one processor", judged.per_second, "checks/s").at_least(AIM_CHECKS),
        Finding::new("automation items, 10 rules, 3 act", found.finished.per_second, "items/s"),
        Finding::new("a message to its action, p99", found.delays.p99_ms, "ms").at_most(AIM_DELAY_MS),
    ];
    report.notes = notes(found.busy_ms);
    Ok(report)
}

fn notes(busy_ms: f64) -> Vec<String> {
    vec![
        "judged: p50 and p99 are of a whole item, facts read and every reason written down".to_owned(),
        "finished: from the first webhook of the provider until the last item is done; the acting rules add a tag and a \
         note, call a webhook, and send an answer; p50 and p99 are from a message to its webhook call in that flood"
            .to_owned(),
        format!("finished: {busy_ms:.2} ms of the program's processor time an item, sending and all read models included"),
        "one at a time: from the provider's webhook to the arrival of the rule's call at the receiver".to_owned(),
        "the client, the program, the receiver and the database share this machine's processors".to_owned(),
    ]
}

async fn judge(pace: Pace) -> Result<Figures> {
    let mut rounds = Vec::new();
    for _ in 0..pace.rounds {
        let measured = tokio::task::spawn_blocking(move || judging::measure(RULES_JUDGED, pace.duration()));
        rounds.push(measured.await??);
    }
    let figures = Figures::median(&rounds);
    progress(&format!("{:.0} rules judged a second", figures.per_second));
    Ok(figures)
}

struct Scene {
    tenant: Tenant,
    customers: usize,
    /// What the provider says the time is.
    now: i64,
    /// Of the queue so far.
    items: u64,
}

/// The medians of all rounds.
struct Found {
    finished: Figures,
    delays: Figures,
    /// Processor time of the program for each finished item.
    busy_ms: f64,
}

impl Scene {
    async fn rounds(
        &mut self,
        program: &Program,
        receiver: &mut Receiver,
        options: &Options,
    ) -> Result<Found> {
        let rounds = options.pace.rounds;
        let (mut finished, mut delays, mut busy) = (Vec::new(), Vec::new(), Duration::ZERO);
        for round in 1..=rounds {
            let delayed = self.probe(receiver, round, options.probes.div_ceil(rounds.into())).await?;
            progress(&format!("round {round}: {:.1} ms from a message to its action", delayed.p50_ms));
            delays.push(delayed);
            let before = program.processor_time().unwrap_or_default();
            let flood = self.flood(receiver, round).await?;
            busy += program.processor_time().unwrap_or_default().saturating_sub(before);
            progress(&format!("round {round}: {:.0} items/s", flood.per_second));
            finished.push(flood);
        }
        let items = f64::from(options.items) * f64::from(rounds);
        let busy_ms = busy.as_secs_f64() * 1e3 / items;
        Ok(Found { finished: Figures::median(&finished), delays: Figures::median(&delays), busy_ms })
    }

    /// Three rules that act, and seven that have a reason not to.
    async fn write_rules(&self, receiver: &str) -> Result<()> {
        let acting = [
            json!([{ "type": "add_tags", "tags": ["heard"] }, { "type": "add_note", "content": "From {{contact.name}}" }]),
            json!([{ "type": "call_webhook", "url": receiver }]),
            json!([{ "type": "send_message", "content": { "text": "Terima kasih, {{contact.name}}. Kami segera membalas." } }]),
        ];
        let reasons = [
            json!({ "channel_in": ["email"] }),
            json!({ "status_in": ["resolved"] }),
            json!({ "has_any_tags": ["vip", "press"] }),
            json!({ "assigned_is_null": false }),
            json!({ "channel_in": ["whatsapp"], "status_in": ["pending"] }),
            json!({ "channel_in": ["whatsapp"], "has_any_tags": ["complaint"] }),
            json!({ "channel_in": ["instagram", "messenger"] }),
        ];
        let acting = acting.into_iter().map(|actions| (actions, json!({})));
        let idle = reasons.into_iter().map(|conditions| (json!([{ "type": "unassign" }]), conditions));
        for (number, (actions, conditions)) in acting.chain(idle).enumerate() {
            let rule = json!({
                "name": format!("Rule {number}"), "trigger_type": "message_received_inbound", "actions": actions,
                "conditions": conditions,
            });
            self.tenant.call(Method::POST, "/api/automation-rules", Some(&rule)).await?;
        }
        Ok(())
    }

    /// Messages one after the other, each when the rules have answered the one before.
    async fn probe(&mut self, receiver: &mut Receiver, round: u16, count: u32) -> Result<Figures> {
        let mut latencies = Vec::new();
        for number in 0..count as usize {
            tokio::time::sleep(BREATH).await;
            let text = format!("probe {round} {number}");
            let sent = Instant::now();
            self.tenant
                .hear(&[Said { customer: number % self.customers, text: text.clone() }], self.now)
                .await?;
            let (heard, at) = receiver.next().await?;
            ensure!(heard == text, "{heard:?} came instead of {text:?}");
            latencies.push(at - sent);
        }
        self.items += u64::from(count);
        self.settled().await?;
        let busy = latencies.iter().sum();
        Ok(Figures::of(latencies, busy))
    }

    /// One message of each customer, as fast as they are taken.
    async fn flood(&mut self, receiver: &mut Receiver, round: u16) -> Result<Figures> {
        let said: Vec<Said> = (0..self.customers)
            .map(|customer| Said { customer, text: format!("flood {round} {customer}") })
            .collect();
        let (begun, mut sent) = (Instant::now(), HashMap::new());
        for batch in said.chunks(BATCH) {
            let now = Instant::now();
            sent.extend(batch.iter().map(|said| (said.text.clone(), now)));
            self.tenant.hear(batch, self.now).await?;
        }
        let mut latencies = Vec::with_capacity(said.len());
        while latencies.len() < said.len() {
            let (heard, at) = receiver.next().await?;
            let since = sent.remove(&heard).with_context(|| format!("{heard:?} came twice"))?;
            latencies.push(at - since);
        }
        self.items += self.customers as u64;
        self.settled().await?;
        Ok(Figures::of(latencies, begun.elapsed()))
    }

    /// Waits until every item there must be is finished.
    async fn settled(&self) -> Result<()> {
        let (mut seen, mut since) = (u64::MAX, Instant::now());
        loop {
            let stats = self.tenant.call(Method::GET, "/api/automation-events/stats", None).await?;
            let count = |name: &str| stats[name].as_u64().with_context(|| format!("{name} in {stats}"));
            ensure!(count("failed_events")? == 0, "items failed: {stats}");
            let left = self.items.saturating_sub(count("done_events")?);
            if left == 0 {
                return Ok(());
            }
            if left != seen {
                (seen, since) = (left, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                bail!("{left} items stay unfinished");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
