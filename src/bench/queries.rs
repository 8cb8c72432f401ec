//! `omnistream bench queries`: whether lists, pages of messages and searches take longer when a tenant has more.
//!
//! One tenant of each size, from small to large. The history of a size is imported, the inbox is made of it, and
//! `omnistream serve` is started on it and asked over HTTP, before the next size comes: the smaller one is measured
//! without the larger one. So that each history can be younger than what the program wrote before, the program's clock
//! stands where that history ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use projections::{Projection, status};
use reqwest::Method;
use tokio::time::Instant;
use uuid::Uuid;

use super::database::BenchDatabase;
use super::finding::Finding;
use super::graph::GraphServer;
use super::history::{self, FREQUENT_TAG, FREQUENT_WORD, Manner, Shop, order_number, phone_number};
use super::import::SPAN;
use super::inbox::Tenant;
use super::measure::{Figures, closed_loop, in_turns};
use super::program::Program;
use super::rebuild::{SMALLER, rebuild_one};
use super::report::{Report, Row};
use super::{Pace, progress};
use crate::server::System;
use crate::settings::Settings;

const AIM_OF_SMALL: f64 = 1.5;
const AGENTS: usize = 50;
/// Messages of the longest conversation, for each of an ordinary one.
const LONGEST: u32 = 200;
/// Between a history's end and the beginning of the next: longer than any measurement.
const GAP: TimeDelta = TimeDelta::days(2);
/// Conversations that are asked for at random.
const KNOWN: i64 = 2_000;
/// The read model that is made of the history; the others are left without it, because nothing here asks them.
const INBOX: &str = "inbox";
const PER_PAGE: i64 = 100;
/// Lists are counted this far.
const DEEPEST_PAGE: i64 = 10_000 / PER_PAGE;
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub pace: Pace,
    /// Conversations of each tenant, from small to large
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 1_000_000], value_parser = clap::value_parser!(u32).range(10..=10_000_000))]
    conversations: Vec<u32>,
    /// Messages in each conversation
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    messages: u32,
    /// The same history for the same number
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Query {
    List,
    ListByStatus,
    ListByAgent,
    ListByTag,
    ListByPhone,
    DeepPage,
    NewestMessages,
    EarlierMessages,
    SearchOne,
    SearchMany,
    SearchManyAnew,
}

impl Query {
    const ALL: [Self; 11] = [
        Self::List,
        Self::ListByStatus,
        Self::ListByAgent,
        Self::ListByTag,
        Self::ListByPhone,
        Self::DeepPage,
        Self::NewestMessages,
        Self::EarlierMessages,
        Self::SearchOne,
        Self::SearchMany,
        Self::SearchManyAnew,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::List => "conversations",
            Self::ListByStatus => "conversations by status",
            Self::ListByAgent => "conversations of an agent",
            Self::ListByTag => "conversations by tag",
            Self::ListByPhone => "conversations by phone number",
            Self::DeepPage => "conversations, a deep page",
            Self::NewestMessages => "newest messages of a conversation",
            Self::EarlierMessages => "a page back in a long conversation",
            Self::SearchOne => "search for an order number",
            Self::SearchMany => "search for a frequent word, again",
            Self::SearchManyAnew => "search for a frequent word, for the first time",
        }
    }
}

/// A tenant of one size.
struct Subject {
    email: String,
    password: String,
    shop: Shop,
}

/// Whoever asks.
#[derive(Clone)]
struct Caller {
    tenant: Tenant,
    shop: Arc<Shop>,
    conversations: Arc<Vec<Uuid>>,
    /// The conversation with the most messages, and the id of the oldest one on its newest page.
    longest: (Uuid, String),
}

impl Caller {
    async fn send(&self, query: Query) -> Result<()> {
        let conversation = || self.conversations[rand::random_range(0..self.conversations.len())];
        let customer = || rand::random_range(0..self.shop.conversations);
        let path = match query {
            Query::List => "/api/conversations".to_owned(),
            Query::ListByStatus => "/api/conversations?status=resolved".to_owned(),
            Query::ListByAgent => {
                let agent = self.shop.agents[rand::random_range(0..self.shop.agents.len())];
                format!("/api/conversations?assigned_agent_id={agent}")
            }
            Query::ListByTag => format!("/api/conversations?tag={FREQUENT_TAG}"),
            Query::ListByPhone => format!("/api/conversations?search={}", phone_number(customer())),
            Query::DeepPage => {
                let page = DEEPEST_PAGE.min(i64::from(self.shop.conversations) / PER_PAGE).max(1);
                format!("/api/conversations?per_page={PER_PAGE}&page={page}")
            }
            Query::NewestMessages => format!("/api/conversations/{}/messages", conversation()),
            Query::EarlierMessages => {
                let (id, before) = &self.longest;
                format!("/api/conversations/{id}/messages?before={before}")
            }
            Query::SearchOne => format!("/api/messages/search?q={}", order_number(customer())),
            Query::SearchMany => format!("/api/messages/search?q={FREQUENT_WORD}"),
            // What nobody wrote makes it a search of its own.
            Query::SearchManyAnew => {
                format!("/api/messages/search?q={FREQUENT_WORD}+-{}", commands::ids::new_id().simple())
            }
        };
        self.tenant.call(Method::GET, &path, None).await.map(drop)
    }
}

/// # Errors
/// When the database or the program can't be had, or a request fails.
pub async fn run(settings: &Settings, database: &BenchDatabase, options: &Options) -> Result<Report> {
    let mut sizes = options.conversations.clone();
    sizes.sort_unstable();
    sizes.dedup();
    let stage = Stage::new(settings, database, options).await?;
    let subjects = stage.register(&sizes).await?;
    let mut report = Report::new("queries", database.server().await?, options.pace);
    for subject in &subjects {
        let size = subject.shop.conversations;
        progress(&format!("{size} conversations"));
        report.rows.extend(stage.fill(&subject.shop).await?);
        let figures = stage.ask(subject).await?;
        report.rows.extend(
            figures.into_iter().map(|(query, figures)| Row::new(query.name(), 1, figures).at(size.into())),
        );
    }
    if let [small, .., large] = sizes[..] {
        report.findings = findings(&report, small, large);
    }
    report.note(format!(
        "conversations with {} messages and one with {}, seed {}; asked over HTTP, one request at a time, of \
         conversations from the whole history; the tenants of the other logs are {SMALLER} times smaller",
        options.messages,
        options.messages * LONGEST,
        options.seed
    ));
    report
        .note("rows with a size: requests; those without: events, of the import and of the inbox's rebuild");
    Ok(report)
}

fn findings(report: &Report, small: u32, large: u32) -> Vec<Finding> {
    let at = |query: Query, size: u32| {
        report.rows.iter().find(|row| row.name == query.name() && row.stored == Some(size.into()))
    };
    let compare = |query| {
        let (small_row, large_row) = (at(query, small)?, at(query, large)?);
        let name = format!("{} at {large}", query.name());
        let of = |figure: fn(&Figures) -> f64, name: String| {
            Finding::new(name, figure(&large_row.figures), "ms")
                .beside(format!("at {small}"), figure(&small_row.figures))
        };
        Some([
            of(|f| f.p50_ms, format!("{name}, p50")).ratio_at_most(AIM_OF_SMALL),
            of(|f| f.p99_ms, format!("{name}, p99")),
        ])
    };
    Query::ALL.into_iter().filter_map(compare).flatten().collect()
}

/// Where everything happens, and what it is made with.
struct Stage<'a> {
    system: System,
    database: &'a BenchDatabase,
    options: &'a Options,
    graph: GraphServer,
    /// Shared with the program, which opens what was sealed here.
    secret: String,
    clock: PathBuf,
    now: DateTime<Utc>,
}

impl<'a> Stage<'a> {
    async fn new(settings: &Settings, database: &'a BenchDatabase, options: &'a Options) -> Result<Self> {
        let secret = hex::encode(rand::random::<[u8; 32]>());
        let settings = Settings { secret_key: Some(secret.clone()), ..settings.clone() };
        let system = System::open(&settings).await?;
        let clock = std::env::temp_dir().join(format!("omnistream-bench-clock-{}", std::process::id()));
        let (graph, now) = (GraphServer::start().await?, system.store.clock().now());
        Ok(Self { system, database, options, graph, secret, clock, now })
    }

    /// The program, at that time of its clock.
    async fn program(&self, at: DateTime<Utc>) -> Result<Program> {
        std::fs::write(&self.clock, (at - self.now).num_seconds().to_string())?;
        let clock = self.clock.to_str().context("a path in UTF-8")?;
        let env = [("OMNISTREAM_SECRET_KEY", self.secret.as_str()), ("OMNISTREAM_CLOCK_OFFSET_FILE", clock)];
        Program::start_with(self.database.url(), &self.graph, &env).await
    }

    /// Registers a tenant of each size, before all history begins.
    async fn register(&self, sizes: &[u32]) -> Result<Vec<Subject>> {
        let begin = self.now - (SPAN + GAP) * i32::try_from(sizes.len())?;
        let program = self.program(begin - GAP).await?;
        let mut subjects = Vec::new();
        for (index, size) in (0..).zip(sizes) {
            let (email, password) =
                (format!("bench-{index}@example.com"), hex::encode(rand::random::<[u8; 16]>()));
            let (tenant, tenant_id) = Tenant::register_as(&program.base, &email, &password).await?;
            let account = tenant
                .add_account(&format!("6200000001{index:05}"), &format!("6200000002{index:05}"))
                .await?;
            let from = begin + (SPAN + GAP) * index;
            let shop = Shop {
                account_id: account,
                conversations: *size,
                messages: self.options.messages,
                longest: self.options.messages * LONGEST,
                ..Shop::new(tenant_id, AGENTS, (from, from + SPAN))
            };
            subjects.push(Subject { email, password, shop });
        }
        self.settle().await?;
        program.stop().await?;
        Ok(subjects)
    }

    /// Waits until whoever follows the logs has seen them: history must not come between.
    async fn settle(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let behind = status::all(&self.system.store, &self.system.projections).await?;
            let Some(one) = behind.into_iter().find(|status| status.lag_events > 0) else { return Ok(()) };
            if begun.elapsed() > PATIENCE {
                bail!("{} stays {} events behind", one.name, one.lag_events);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Imports the history of this shop and of small ones in the other logs, and makes the inbox.
    async fn fill(&self, shop: &Shop) -> Result<Vec<Row>> {
        let System { store, projections, .. } = &self.system;
        let mut shops = vec![shop.clone()];
        let log_id = store.log_of(shop.tenant_id).await?;
        for tenant_id in
            history::tenant_of_each_log(store, self.options.seed + u64::from(shop.conversations)).await?
        {
            if store.log_of(tenant_id).await? != log_id {
                let conversations = shop.conversations.div_ceil(SMALLER);
                let (messages, longest) = (shop.messages, shop.messages);
                shops.push(Shop {
                    conversations,
                    messages,
                    longest,
                    ..Shop::new(tenant_id, AGENTS, (shop.from, shop.to))
                });
            }
        }
        let passing = projections.iter().filter(|p| p.name != INBOX).map(|p| p.name).collect::<Vec<_>>();
        let manner = Manner { seed: self.options.seed, keep_pages: false };
        let imported = history::import(store, &passing, &shops, manner).await?;
        let import = Figures::rate(imported.events, imported.took);
        progress(&format!("{} events imported, {:.0}/s", imported.events, import.per_second));
        let rebuilt = rebuild_one(&self.system, self.inbox()?).await?;
        for table in ["contacts", "conversations", "messages"] {
            // What autovacuum would have done by and by.
            let vacuum = format!("VACUUM (ANALYZE) read.{table}");
            sqlx::query(sqlx::AssertSqlSafe(vacuum)).execute(store.pool()).await?;
        }
        let named = |what: &str| format!("{what}, up to {} conversations", shop.conversations);
        Ok(vec![
            Row::new(&named("import"), store.logs().len(), import),
            Row::new(&named("rebuild of the inbox"), 0, rebuilt),
        ])
    }

    /// Measures all queries of a tenant when its history has just ended.
    async fn ask(&self, subject: &Subject) -> Result<Vec<(Query, Figures)>> {
        let program = self.program(subject.shop.to + TimeDelta::minutes(1)).await?;
        let tenant = Tenant::sign_in(&program.base, &subject.email, &subject.password).await?;
        let caller = self.caller(tenant, &subject.shop).await?;
        let pace = self.options.pace;
        let figures = in_turns(&Query::ALL, pace.rounds, async |query: Query, round| {
            let caller = caller.clone();
            let call = move |_| {
                let caller = caller.clone();
                async move { caller.send(query).await }
            };
            let figures = closed_loop(1, pace.duration(), call).await?;
            progress(&format!(
                "round {round}: {} {:.2} ms, p99 {:.2} ms",
                query.name(),
                figures.p50_ms,
                figures.p99_ms
            ));
            Ok(figures)
        });
        let figures = figures.await?;
        program.stop().await?;
        Ok(figures)
    }

    async fn caller(&self, tenant: Tenant, shop: &Shop) -> Result<Caller> {
        let mut db = self.system.store.pool().acquire().await?;
        // By the random end of their ids.
        let sampled =
            "SELECT id FROM read.conversations WHERE tenant_id = $1 ORDER BY right(id::text, 12) LIMIT $2";
        let conversations: Vec<Uuid> =
            sqlx::query_scalar(sampled).bind(shop.tenant_id).bind(KNOWN).fetch_all(&mut *db).await?;
        ensure!(!conversations.is_empty(), "the inbox is empty");
        // The first customer has the most to say.
        let first = "SELECT id FROM read.conversations WHERE tenant_id = $1 ORDER BY created_at LIMIT 1";
        let longest: Uuid = sqlx::query_scalar(first).bind(shop.tenant_id).fetch_one(&mut *db).await?;
        let newest =
            tenant.call(Method::GET, &format!("/api/conversations/{longest}/messages"), None).await?;
        let before =
            newest["next_cursor"].as_str().context("a long conversation has a second page")?.to_owned();
        let listed = tenant.call(Method::GET, "/api/conversations", None).await?;
        let expected = i64::from(shop.conversations).min(DEEPEST_PAGE * PER_PAGE);
        ensure!(
            listed["total"].as_i64() == Some(expected),
            "{expected} conversations, not {}",
            listed["total"]
        );
        Ok(Caller {
            tenant,
            shop: shop.clone().into(),
            conversations: conversations.into(),
            longest: (longest, before),
        })
    }

    fn inbox(&self) -> Result<&Arc<Projection>> {
        self.system.projections.iter().find(|p| p.name == INBOX).context("there is an inbox")
    }
}
