//! A running OmniStream with a database of its own, and a client that speaks to it as users do.

pub mod clock;
pub mod cluster;
pub mod graph;
pub mod inbox;
pub mod places;
pub mod provider;
pub mod receiver;
pub mod stripe;
pub mod whatsapp;
pub mod xendit;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::TestDatabase;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_omnistream");
/// Long enough for a loaded machine; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(40);
pub const PASSWORD: &str = "correct horse";
pub const SUPER_ADMIN: (&str, &str) = ("root@example.com", "platform secret");

/// A process of the program.
pub struct Process {
    child: Child,
    pub base: String,
    pub operator: String,
    said: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts `omnistream <part>` on this database and waits until it listens.
    pub fn start(part: &str, database_url: &str, env: &HashMap<String, String>) -> Self {
        Self::start_logging(part, database_url, env, Stdio::inherit())
    }

    /// As [`Process::start`]; what it logs goes there.
    pub fn start_logging(part: &str, database_url: &str, env: &HashMap<String, String>, log: Stdio) -> Self {
        let mut command = command(database_url, env);
        let mut child =
            command.arg(part).stdout(Stdio::piped()).stderr(log).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut next =
            || lines.next().and_then(Result::ok).unwrap_or_else(|| panic!("the program ended at start"));
        let (mut base, mut operator) = (String::new(), String::new());
        while operator.is_empty() {
            let line = next();
            if let Some(url) = line.strip_prefix("Listening on ") {
                base = url.to_owned();
            }
            if let Some(url) = line.strip_prefix("Operators: ") {
                operator = url.trim_end_matches("/metrics").to_owned();
            }
        }
        let said = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&said);
        // Keeps the pipe open and empty for as long as the process lives.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().expect("not poisoned").push(line);
            }
        });
        Self { child, base, operator, said }
    }

    /// What it has printed since it listens.
    pub fn said(&self) -> String {
        self.said.lock().expect("not poisoned").join("\n")
    }

    /// Sends SIGSTOP, as a stalled machine would, or another signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("it runs");
    }

    /// SIGTERM, as an operator would; waits until it has finished what it began.
    pub fn stop(mut self) {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(self.child.wait().expect("it ends").success(), "it ends well");
    }

    /// SIGKILL, as a crash would.
    pub fn kill(mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with a test's settings.
pub fn command(database_url: &str, env: &HashMap<String, String>) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| ["PATH", "HOME", "TMPDIR"].contains(&name.as_str())))
        .env("DATABASE_URL", database_url)
        .env("TEST_DATABASE_MAY_LOSE_DATA", "1")
        .env("OMNISTREAM_SECRET_KEY", "a secret for tests only, long enough")
        .env("OMNISTREAM_LOGS", "2")
        .env("OMNISTREAM_LISTEN", "127.0.0.1:0")
        .env("OMNISTREAM_OPERATOR_LISTEN", "127.0.0.1:0")
        .env("OMNISTREAM_RATE_LIMIT_PER_MINUTE", "0")
        .env("OMNISTREAM_ALLOW_PRIVATE_ADDRESSES", "true")
        .env("OMNISTREAM_RETRY_SCALE", "0.001")
        .env("OMNISTREAM_SUPER_ADMIN_EMAIL", SUPER_ADMIN.0)
        .env("OMNISTREAM_SUPER_ADMIN_PASSWORD", SUPER_ADMIN.1)
        .env("META_APP_SECRET", "app-secret")
        .env("META_VERIFY_TOKEN", "verify-token")
        .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned()))
        .envs(env);
    command
}

/// One `omnistream serve` on a fresh database.
pub struct Server {
    pub process: Process,
    pub database: TestDatabase,
    pub env: HashMap<String, String>,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further settings, as environment variables.
    pub async fn start_with(env: &[(&str, &str)]) -> Self {
        let database = cluster::fresh_database(|url| async move {
            let migrated =
                command(&url, &HashMap::new()).arg("migrate").status().expect("the program starts");
            assert!(migrated.success(), "the migrations run");
        })
        .await;
        let env: HashMap<String, String> =
            env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let url = database.owner_url.clone();
        let process_env = env.clone();
        let started = tokio::task::spawn_blocking(move || Process::start("serve", &url, &process_env));
        Self { process: started.await.expect("it listens"), database, env }
    }

    /// The output of a subcommand on this server's database, and whether it succeeded.
    pub fn run(&self, args: &[&str]) -> (String, bool) {
        let output =
            command(&self.database.owner_url, &self.env).args(args).output().expect("the program starts");
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (text, output.status.success())
    }

    /// Kills the program as a crash would, lets something happen while nothing runs, and starts a part of it (`serve`,
    /// `api`) on the same database. It listens elsewhere then.
    pub async fn restart(&mut self, part: &'static str, meanwhile: impl FnOnce()) {
        self.process.child.kill().expect("it was running");
        self.process.child.wait().expect("it ends");
        meanwhile();
        let (url, env) = (self.database.owner_url.clone(), self.env.clone());
        let started = tokio::task::spawn_blocking(move || Process::start(part, &url, &env));
        self.process = started.await.expect("it listens");
    }

    pub fn client(&self) -> Client {
        Client::new(&self.process.base)
    }

    /// A new tenant, signed in as its first admin.
    pub async fn tenant(&self) -> Tenant {
        let email = format!("admin-{}@example.com", Uuid::new_v4());
        let body = json!({ "org_name": "Toko Maju", "admin_email": email, "admin_password": PASSWORD });
        let registered = self.client().post("/api/auth/register", body).await.expect(StatusCode::CREATED);
        let admin = self.client().with_token(registered["token"].as_str().expect("a token"));
        let id = registered["org_id"].as_str().and_then(|id| id.parse().ok()).expect("a tenant id");
        Tenant { id, admin, email }
    }

    /// Signed in as the platform's administrator.
    pub async fn super_admin(&self) -> Client {
        let body = json!({ "email": SUPER_ADMIN.0, "password": SUPER_ADMIN.1 });
        let answer = self.client().post("/api/super-admin/login", body).await.expect(StatusCode::OK);
        self.client().with_token(answer["token"].as_str().expect("a token"))
    }

    /// A connection that no row-level security binds, to look behind the API.
    pub async fn sql(&self) -> sqlx::PgConnection {
        let mut connection: sqlx::PgConnection =
            <sqlx::PgConnection as sqlx::Connection>::connect(&self.database.owner_url)
                .await
                .expect("a connection");
        sqlx::query("SET ROLE omnistream_engine").execute(&mut connection).await.expect("the engine's role");
        connection
    }
}

pub struct Tenant {
    pub id: Uuid,
    pub admin: Client,
    pub email: String,
}

impl Tenant {
    /// A new agent of this role, signed in, with its id.
    pub async fn agent(&self, role: &str) -> (Client, Uuid) {
        let email = format!("{role}-{}@example.com", Uuid::new_v4());
        let body = json!({ "email": email, "password": PASSWORD, "full_name": "Budi", "role": role });
        let created = self.admin.post("/api/agents", body).await.expect(StatusCode::CREATED);
        let login = json!({ "email": email, "password": PASSWORD });
        let answer = self.admin.anonymous().post("/api/auth/login", login).await.expect(StatusCode::OK);
        (self.admin.with_token(answer["token"].as_str().expect("a token")), id_of(&created))
    }
}

pub fn id_of(value: &Value) -> Uuid {
    value["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no id in {value}"))
}

/// Speaks to the API as one caller.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    pub base: String,
    headers: Vec<(String, String)>,
}

impl Client {
    pub fn new(base: &str) -> Self {
        let http = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
        Self { http, base: base.to_owned(), headers: Vec::new() }
    }

    pub fn anonymous(&self) -> Self {
        Self { headers: Vec::new(), ..self.clone() }
    }

    pub fn with_token(&self, token: &str) -> Self {
        self.anonymous().with_header("authorization", &format!("Bearer {token}"))
    }

    pub fn with_header(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    #[allow(dead_code, reason = "one of the methods of HTTP")]
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request.send().await.expect("an answer")).await
    }

    /// For what the other calls can't say: raw bodies, streams.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, text: response.text().await.expect("a body") }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body, if the status is this one.
    #[track_caller]
    pub fn expect(&self, status: StatusCode) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// Asserts a problem of this status and code; answers it.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        problem
    }

    /// Asserts a 422 that names exactly these fields.
    #[track_caller]
    pub fn names_fields(&self, fields: &[&str]) {
        assert_eq!(self.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", self.text);
        let problem = self.json();
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        let named: Vec<&str> = errors.iter().filter_map(|e| e["field"].as_str()).collect();
        assert_eq!(named, fields, "{problem}");
    }
}

/// Waits until a condition holds; for what happens without an answer, such as a message being sent.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
