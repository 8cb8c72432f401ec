//! Torture: several processes on a durable PostgreSQL of their own, clients who want things and keep a ledger, a world
//! outside that fails and hangs, and somebody who kills processes and the database at random and at named places. At the
//! end everything acknowledged must be there, once, and everything else that is promised must hold.
//!
//! `cargo test` runs a short one. `OMNISTREAM_TEST_TORTURE=<seed>:<kills>` makes it a long one with so many kills of
//! processes and so many of the database; `scripts/torture` does that and shows the report.

mod chaos;
mod checks;
mod database;
mod evidence;
mod fleet;
mod ledger;
mod outside;
mod planted;
mod writers;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chaos::Chaos;
use checks::Faults;
use database::Database;
use evidence::Evidence;
use fleet::{Address, Launch, Member};
use ledger::{Entry, Ledger};
use outside::{Provider, Receiver};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use writers::{Shop, Writer};

use crate::support::whatsapp::{Number, conversation_with};
use crate::support::{Client, PASSWORD, Tenant, command, id_of};

const SETTING: &str = "OMNISTREAM_TEST_TORTURE";
const APIS: usize = 2;
const WORKERS: usize = 2;
const WRITERS: u64 = 24;
/// Customers with whom there is a conversation before the torture.
const CUSTOMERS: usize = 4;
/// Longest that the system may take to be all up, to answer what is open, and to come to rest.
const PATIENCE: Duration = Duration::from_secs(180);
/// Passes the lease of an Idempotency-Key whose request died with its process.
const A_WHILE_LATER_SECS: &str = "120";

/// How much and how long.
#[derive(Clone, Copy, Debug)]
struct Plan {
    seed: u64,
    kills: u32,
    database_kills: u32,
    longest: Duration,
}

impl Plan {
    /// The long one if the environment asks for it.
    fn of_environment() -> Self {
        let Ok(setting) = std::env::var(SETTING) else {
            return Self { seed: 1, kills: 10, database_kills: 4, longest: Duration::from_secs(15) };
        };
        let (seed, kills) = setting.split_once(':').unwrap_or((&setting, "200"));
        let (Ok(seed), Ok(kills)) = (seed.parse(), kills.parse()) else {
            panic!("{SETTING} is <seed>:<kills>, two numbers, and not {setting}");
        };
        // Half a second for each kill, and as much again for what comes in between.
        let longest = Duration::from_secs(60) + Duration::from_secs(3) * kills;
        Self { seed, kills, database_kills: kills, longest }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_every_kill() {
    let plan = Plan::of_environment();
    let mut run = Run::start(plan.seed).await;
    let begun = Instant::now();
    run.torture(plan).await;
    let tortured = begun.elapsed();
    let faults = run.settle_and_check().await;
    let report = json!({
        "seed": plan.seed,
        "seconds_of_torture": tortured.as_secs(),
        "seconds_in_all": begun.elapsed().as_secs(),
        "deeds": run.chaos.deeds,
        "clients": run.shop.ledger.summary(),
        "messages_taken_by_the_provider": run.provider.sendings().len(),
        "rule_calls": run.receiver.counts().values().sum::<usize>(),
        "faults": faults,
    });
    println!("{report:#}");
    assert!(run.chaos.deeds.processes_killed > 0 && run.chaos.deeds.database_killed > 0, "{report:#}");
    if cfg!(debug_assertions) {
        assert!(!run.chaos.deeds.at_failpoints.is_empty(), "nobody came to a failpoint: {report:#}");
    }
    assert!(faults.is_empty(), "what the processes printed is in {}: {report:#}", run.folder.display());
    run.destroy().await;
}

/// The system, its clients, and the world around it.
struct Run {
    chaos: Chaos,
    shop: Arc<Shop>,
    tenant: Tenant,
    provider: Provider,
    receiver: Receiver,
    launch: Launch,
    folder: PathBuf,
    seed: u64,
}

impl Run {
    async fn start(seed: u64) -> Self {
        let folder = std::env::temp_dir().join(format!("omnistream-torture-{}-{seed}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let database = Database::start(&folder).await;
        for made in ["logs", "armed", "held"] {
            fs::create_dir(folder.join(made)).expect("a folder of ours");
        }
        let (provider, receiver) = (Provider::start(seed).await, Receiver::start(seed).await);
        let launch = Launch {
            database_url: database.url().to_owned(),
            env: environment(&folder, &provider),
            logs: folder.join("logs"),
        };
        let api = |n| Member::new(&["api"], n, &launch);
        let worker = |n| Member::new(&["worker"], n, &launch);
        let members: Vec<Member> = (0..APIS).map(api).chain((0..WORKERS).map(worker)).collect();
        let apis: Vec<Address> = members[..APIS].iter().map(|api| Arc::clone(&api.address)).collect();
        let rebuild = launch.clone();
        let mut chaos = Chaos {
            rng: StdRng::seed_from_u64(seed),
            database,
            members,
            rebuilds: Vec::new(),
            folder: folder.clone(),
            armed: HashMap::new(),
            deeds: chaos::Deeds::default(),
            start_rebuild: Box::new(move |rng| {
                let all = projections::all();
                let name = all[rng.random_range(0..all.len())].name;
                Member::new(&["projections", "rebuild", name], 0, &rebuild)
            }),
        };
        chaos.end(PATIENCE).await;
        let (shop, tenant) = open_shop(apis, &provider, &receiver).await;
        Self { chaos, shop: Arc::new(shop), tenant, provider, receiver, launch, folder, seed }
    }

    /// Clients want things while everything is killed.
    async fn torture(&mut self, plan: Plan) {
        let stop = CancellationToken::new();
        let writers: Vec<_> = (0..WRITERS)
            .map(|n| tokio::spawn(Writer::new(&self.shop, plan.seed * 1_000 + n).run(stop.clone())))
            .collect();
        self.chaos.run(plan.kills, plan.database_kills, Instant::now() + plan.longest).await;
        self.chaos.end(PATIENCE).await;
        stop.cancel();
        for writer in writers {
            writer.await.expect("a writer does not panic");
        }
    }

    async fn settle_and_check(&self) -> Faults {
        self.provider.calm_down();
        self.receiver.calm_down();
        fs::write(self.folder.join("clock"), A_WHILE_LATER_SECS).expect("a file of ours");
        self.ask_until_answered().await;
        let mut db = evidence::connect(&self.launch.database_url).await;
        let mut faults: Faults = evidence::quiet(&mut db, PATIENCE).await.err().into_iter().collect();
        let found = evidence::gather(&mut db, self.tenant.id, &self.client()).await;
        faults.extend(self.faults_in(&self.shop.ledger.entries(), &found));
        faults.extend(self.proofs_of_the_program());
        faults
    }

    /// What is open is asked for until there is an answer.
    async fn ask_until_answered(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut rng = StdRng::seed_from_u64(self.seed);
        loop {
            let open = self.shop.ledger.open();
            if open.is_empty() || Instant::now() > deadline {
                return;
            }
            for number in open {
                self.shop.ask(&mut rng, number).await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn faults_in(&self, entries: &[Entry], found: &Evidence) -> Faults {
        let mut faults = checks::acknowledged_is_present_once(entries, found);
        faults.extend(checks::repetitions_are_answered_alike(entries));
        faults.extend(checks::customers_are_known_once(entries, found));
        faults.extend(checks::history_is_gapless(found));
        faults.extend(checks::outbox_is_settled(found, &self.provider.sendings()));
        faults.extend(checks::automation_acted_once(found, &self.receiver.calls()));
        faults
    }

    /// Read models are what the log says, nothing is parked, and nobody has touched history.
    fn proofs_of_the_program(&self) -> Faults {
        let proofs: [&[&str]; 2] =
            [&["projections", "verify", "--all", "--json"], &["audit", "verify", "--json"]];
        let mut faults = Faults::new();
        for args in proofs {
            let (text, ok) = self.program(args);
            if !ok || serde_json::from_str::<Value>(&text).is_ok_and(|proof| proof["ok"] != true) {
                faults.push(format!("{}: {text}", args.join(" ")));
            }
        }
        let (parked, ok) = self.program(&["projections", "parked", "--json"]);
        if !ok || parked.trim() != "[]" {
            faults.push(format!("events are parked: {parked}"));
        }
        faults
    }

    /// What a subcommand prints, and whether it succeeded.
    fn program(&self, args: &[&str]) -> (String, bool) {
        let mut command = command(&self.launch.database_url, &self.launch.env);
        let output = command.env_remove("TEST_DATABASE_MAY_LOSE_DATA").args(args).output();
        let output = output.expect("the program starts");
        let errors = if output.status.success() { "" } else { &*String::from_utf8_lossy(&output.stderr) };
        (String::from_utf8_lossy(&output.stdout).into_owned() + errors, output.status.success())
    }

    fn client(&self) -> Client {
        let base = self.shop.apis[0].lock().expect("not poisoned").clone().expect("all is up");
        Client::new(&base).with_token(&self.shop.token)
    }

    async fn destroy(self) {
        let Self { chaos: Chaos { members, database, .. }, .. } = self;
        drop(members);
        database.destroy().await;
    }
}

fn environment(folder: &Path, provider: &Provider) -> HashMap<String, String> {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    HashMap::from([
        ("META_API_URL".to_owned(), provider.graph.base.clone()),
        ("OMNISTREAM_CLOCK_OFFSET_FILE".to_owned(), path("clock")),
        ("TEST_FAILPOINTS".to_owned(), folder.to_string_lossy().into_owned()),
        ("OMNISTREAM_DATA_DIR".to_owned(), path("data")),
        // Long enough for a worker that was stopped or killed to be replaced before an item has failed for good.
        ("OMNISTREAM_RETRY_SCALE".to_owned(), "0.05".to_owned()),
    ])
}

/// A tenant with a number, rules, and customers who have written.
async fn open_shop(apis: Vec<Address>, provider: &Provider, receiver: &Receiver) -> (Shop, Tenant) {
    let base = apis[0].lock().expect("not poisoned").clone().expect("it is up");
    let email = "admin@example.com";
    let body = json!({ "org_name": "Toko Maju", "admin_email": email, "admin_password": PASSWORD });
    let registered = Client::new(&base).post("/api/auth/register", body).await.expect(StatusCode::CREATED);
    let token = registered["token"].as_str().expect("a token").to_owned();
    let id = registered["org_id"].as_str().and_then(|id| id.parse().ok()).expect("a tenant id");
    let tenant = Tenant { id, admin: Client::new(&base).with_token(&token), email: email.to_owned() };
    let number = Number::connect_with(&tenant, json!({ "access_token": "EAAG", "waba_id": "900" })).await;
    for (trigger, action) in [
        ("message_received_inbound", json!({ "type": "call_webhook", "url": receiver.url })),
        ("conversation_created", json!({ "type": "send_message", "content": { "text": checks::WELCOME } })),
    ] {
        let rule = json!({ "name": trigger, "trigger_type": trigger, "actions": [action] });
        tenant.admin.post("/api/automation-rules", rule).await.expect(StatusCode::CREATED);
    }
    let ledger = Ledger::default();
    let mut conversations = Vec::new();
    for n in 0..CUSTOMERS {
        let customer = format!("6281200000{n:02}");
        number.hear(&customer, "Halo").await;
        conversations.push((customer.clone(), id_of(&conversation_with(&tenant.admin, &customer).await)));
    }
    let (graph, http) = (provider.graph.clone(), Shop::http());
    (Shop { token, number, conversations, apis, graph, ledger, http }, tenant)
}
