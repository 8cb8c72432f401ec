//! `omnistream bench http`: what a client waits for, over HTTP, from a process of its own.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::append::commit_time;
use super::database::BenchDatabase;
use super::graph::GraphServer;
use super::inbox::Tenant;
use super::measure::{Figures, closed_loop};
use super::program::Program;
use super::report::{Aim, Memory, Report, Row};
use super::{Pace, progress};
use crate::server::System;
use crate::settings::Settings;

const CONNECTIONS: [usize; 2] = [1, 16];
const AIM_OVER_COMMIT_MS: f64 = 3.0;
const AIM_IDLE_MB: f64 = 60.0;
/// After the start, until everything that happens once has happened.
const IDLE_AFTER: Duration = Duration::from_secs(5);

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub pace: Pace,
    /// Conversations in the inbox that is listed
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    conversations: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    SendMessage,
    ListConversations,
    CreateRole,
}

impl Request {
    const ALL: [Self; 3] = [Self::SendMessage, Self::ListConversations, Self::CreateRole];

    const fn name(self) -> &'static str {
        match self {
            Self::SendMessage => "POST /api/conversations/{id}/messages",
            Self::ListConversations => "GET /api/conversations",
            Self::CreateRole => "POST /api/roles",
        }
    }
}

#[derive(Clone)]
struct Caller {
    tenant: Tenant,
    conversations: std::sync::Arc<Vec<String>>,
}

impl Caller {
    async fn send(&self, request: Request) -> Result<()> {
        let (method, path, body) = match request {
            Request::SendMessage => {
                let any = rand::random_range(0..self.conversations.len());
                let path = format!("/api/conversations/{}/messages", self.conversations[any]);
                let body =
                    json!({ "type": "text", "content": { "text": "Masih ada, Kak. Silakan dipesan." } });
                (Method::POST, path, Some(body))
            }
            Request::ListConversations => (Method::GET, "/api/conversations".to_owned(), None),
            Request::CreateRole => {
                let body = json!({ "name": commands::ids::new_id(), "permissions": ["audit.view"] });
                (Method::POST, "/api/roles".to_owned(), Some(body))
            }
        };
        self.tenant.call(method, &path, body.as_ref()).await.map(|_| ())
    }
}

/// # Errors
/// When the database or the program can't be had, or a request fails.
pub async fn run(settings: &Settings, database: &BenchDatabase, options: &Options) -> Result<Report> {
    let system = System::open(settings).await?;
    let graph = GraphServer::start().await?;
    let program = Program::start(database.url(), &graph).await?;
    progress("omnistream serve listens; letting it rest");
    tokio::time::sleep(IDLE_AFTER).await;
    let mut memory = Vec::new();
    let mut note_memory =
        |when| memory.extend(program.resident_mb().map(|resident_mb| Memory { when, resident_mb }));
    note_memory("idle after 5 s");
    let tenant = Tenant::register(&program.base).await?;
    progress(&format!("{} customers write", options.conversations));
    let conversations = tenant.fill_inbox(options.conversations as usize, system.store.clock()).await?;
    ensure!(!conversations.is_empty(), "the inbox is empty");
    note_memory("with the inbox filled");
    let commit = commit_time(&system.store, database, options.pace).await?;
    let caller = Caller { tenant, conversations: conversations.into() };
    let rows = measure(&caller, options.pace).await?;
    note_memory("under load");
    ensure!(graph.accepted() > 0, "no message reached the provider");
    let server = database.server().await?;
    program.stop().await?;
    let aims = aims(commit.p50_ms, &rows, &memory);
    Ok(Report {
        benchmark: "http",
        version: env!("CARGO_PKG_VERSION"),
        server,
        seconds: options.pace.seconds,
        rounds: options.pace.rounds,
        commit,
        rows,
        memory,
        aims,
        notes: vec![
            format!("{} conversations; every request signs in anew and is answered after all read models", options.conversations),
            "the client, the program, its worker that sends, and the database share this machine's processors".to_owned(),
            "resident memory is the serving process's VmRSS, without PostgreSQL's".to_owned(),
        ],
    })
}

/// Takes turns, as `bench append` does.
async fn measure(caller: &Caller, pace: Pace) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        let mut measured: Vec<(Request, Vec<Figures>)> = Request::ALL.map(|r| (r, Vec::new())).into();
        for round in 1..=pace.rounds {
            for (request, rounds) in &mut measured {
                let (caller, request) = (caller.clone(), *request);
                let call = move |_| {
                    let caller = caller.clone();
                    async move { caller.send(request).await }
                };
                let figures = closed_loop(connections, pace.duration(), call).await?;
                progress(&format!(
                    "{connections} connections, round {round}: {} {:.2} ms",
                    request.name(),
                    figures.p50_ms
                ));
                rounds.push(figures);
            }
        }
        rows.extend(measured.iter().map(|(request, rounds)| Row {
            name: request.name(),
            callers: connections,
            figures: Figures::median(rounds),
            times_plain: None,
        }));
    }
    Ok(rows)
}

fn aims(commit_ms: f64, rows: &[Row], memory: &[Memory]) -> Vec<Aim> {
    let alone = rows.iter().find(|row| row.callers == 1 && row.name == Request::SendMessage.name());
    let command = alone.map(|row| {
        let over = row.figures.p50_ms - commit_ms;
        Aim::at_most(
            &format!("p50 of sending a message within {AIM_OVER_COMMIT_MS} ms of a commit"),
            AIM_OVER_COMMIT_MS,
            over,
        )
    });
    let idle = memory.first().map(|idle| {
        Aim::at_most(
            &format!("resident memory when idle below {AIM_IDLE_MB} MB"),
            AIM_IDLE_MB,
            idle.resident_mb,
        )
    });
    command.into_iter().chain(idle).collect()
}
