//! `omnistream bench http`: what a client waits for, over HTTP, from a process of its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::append::commit_time;
use super::database::BenchDatabase;
use super::finding::Finding;
use super::graph::GraphServer;
use super::inbox::Tenant;
use super::measure::{closed_loop, in_turns};
use super::program::Program;
use super::report::{Memory, Report, Row};
use super::{Pace, positive_seconds, progress};
use crate::server::System;
use crate::settings::Settings;

const CONNECTIONS: [usize; 2] = [1, 16];
const AIM_OVER_COMMIT_MS: f64 = 3.0;
const AIM_IDLE_MB: f64 = 60.0;

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub pace: Pace,
    /// Conversations in the inbox that is listed
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    conversations: u32,
    /// Seconds after the start, until everything that happens once has happened, when the idle memory is read
    #[arg(long, default_value_t = 5.0, value_parser = positive_seconds)]
    idle: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    /// What HTTP itself takes: a message for a server that reads it and does nothing.
    Bare,
    SendMessage,
    SendMessageAsync,
    ListConversations,
    CreateRole,
}

impl Request {
    const ALL: [Self; 5] =
        [Self::Bare, Self::SendMessage, Self::SendMessageAsync, Self::ListConversations, Self::CreateRole];

    const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare axum: reads the body, answers 200",
            Self::SendMessage => "POST /api/conversations/{id}/messages",
            Self::SendMessageAsync => "the same, Prefer: respond-async",
            Self::ListConversations => "GET /api/conversations",
            Self::CreateRole => "POST /api/roles",
        }
    }
}

#[derive(Clone)]
struct Caller {
    tenant: Tenant,
    /// The same client, speaking to the server that does nothing.
    bare: Tenant,
    /// The same tenant, not waiting for read models.
    hasty: Tenant,
    conversations: Arc<[String]>,
}

impl Caller {
    async fn send(&self, request: Request) -> Result<()> {
        let any = rand::random_range(0..self.conversations.len());
        let path = format!("/api/conversations/{}/messages", self.conversations[any]);
        let message = || json!({ "type": "text", "content": { "text": "Masih ada, Kak. Silakan dipesan." } });
        let role = || json!({ "name": commands::ids::new_id(), "permissions": ["audit.view"] });
        match request {
            Request::Bare => self.bare.call(Method::POST, &path, Some(&message())).await,
            Request::SendMessage => self.tenant.call(Method::POST, &path, Some(&message())).await,
            Request::SendMessageAsync => self.hasty.call(Method::POST, &path, Some(&message())).await,
            Request::ListConversations => self.tenant.call(Method::GET, "/api/conversations", None).await,
            Request::CreateRole => self.tenant.call(Method::POST, "/api/roles", Some(&role())).await,
        }
        .map(|_| ())
    }
}

/// # Errors
/// When the database or the program can't be had, or a request fails.
pub async fn run(settings: &Settings, database: &BenchDatabase, options: &Options) -> Result<Report> {
    let system = System::open(settings).await?;
    let mut report = Report::new("http", database.server().await?, options.pace);
    let graph = GraphServer::start().await?;
    let (program, bare) = (Program::start(database.url(), &graph).await?, Program::bare().await?);
    progress("omnistream serve listens; letting it rest");
    tokio::time::sleep(Duration::from_secs_f64(options.idle)).await;
    let mut memory = Vec::new();
    let mut note_memory = |when: &str| {
        memory.extend(program.resident_mb().map(|resident_mb| Memory { when: when.to_owned(), resident_mb }));
    };
    note_memory("idle");
    let tenant = Tenant::register(&program.base).await?;
    progress(&format!("{} customers write", options.conversations));
    let conversations = tenant.fill_inbox(options.conversations as usize, system.store.clock()).await?;
    ensure!(!conversations.is_empty(), "the inbox is empty");
    note_memory("with the inbox filled");
    let commit = commit_time(&system.store, database, options.pace).await?;
    let caller = Caller {
        bare: tenant.elsewhere(&bare.base),
        hasty: tenant.respond_async()?,
        tenant,
        conversations: conversations.into(),
    };
    for connections in CONNECTIONS {
        report.rows.extend(measure(&caller, connections, options.pace).await?);
    }
    note_memory("under load");
    ensure!(graph.accepted() > 0, "no message reached the provider");
    program.stop().await?;
    report.commit = Some(commit);
    report.findings = findings(&report, commit.p50_ms, &memory);
    report.memory = memory;
    let conversations = options.conversations;
    report.note(format!(
        "{conversations} conversations; every request signs in anew and is answered after all read models, if it does \
         not say otherwise"
    ));
    report.note(
        "the client, the program, its worker that sends, and the database share this machine's processors",
    );
    report.note("resident memory is the serving process's VmRSS, without PostgreSQL's");
    Ok(report)
}

async fn measure(caller: &Caller, connections: usize, pace: Pace) -> Result<Vec<Row>> {
    let medians = in_turns(&Request::ALL, pace.rounds, async |request, round| {
        let caller = caller.clone();
        let call = move |_| {
            let caller = caller.clone();
            async move { caller.send(request).await }
        };
        let figures = closed_loop(connections, pace.duration(), call).await?;
        let name = request.name();
        progress(&format!("{connections} connections, round {round}: {name} {:.2} ms", figures.p50_ms));
        Ok(figures)
    })
    .await?;
    let bare = medians.iter().find(|(r, _)| *r == Request::Bare).map(|(_, figures)| figures.per_second);
    let rows = medians.into_iter().map(|(request, figures)| {
        let row = Row::new(request.name(), connections, figures);
        if request == Request::Bare { row } else { row.beside(bare.unwrap_or_default()) }
    });
    Ok(rows.collect())
}

fn findings(report: &Report, commit_ms: f64, memory: &[Memory]) -> Vec<Finding> {
    let [alone, busy] = CONNECTIONS;
    let latency = |name: &str, request: Request| {
        let row = report.row(request.name(), alone)?;
        Some(Finding::new(name, row.figures.p50_ms, "ms").beside("commit of a row", commit_ms))
    };
    let sending = latency("send a message, 1 connection, p50", Request::SendMessage)
        .map(|finding| finding.at_most(commit_ms + AIM_OVER_COMMIT_MS));
    let hasty = latency("the same, before it can be read (respond-async)", Request::SendMessageAsync);
    let rates = [Request::SendMessage, Request::ListConversations, Request::CreateRole].into_iter();
    let rates = rates.filter_map(|request| {
        let rate = |request: Request| Some(report.row(request.name(), busy)?.figures.per_second);
        let name = format!("{}, {busy} connections", request.name());
        Some(Finding::new(name, rate(request)?, "requests/s").beside("bare axum", rate(Request::Bare)?))
    });
    let idle = memory.first().map(|idle| Finding::new("resident memory, idle", idle.resident_mb, "MB"));
    sending.into_iter().chain(hasty).chain(rates).chain(idle.map(|idle| idle.at_most(AIM_IDLE_MB))).collect()
}
