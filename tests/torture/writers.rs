//! Clients that want things and do not let go: the same request under the same key, until there is an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::APIS;
use super::fleet::Address;
use super::ledger::{Ledger, Wish};
use crate::support::graph::Graph;
use crate::support::whatsapp::{APP_SECRET, Number, envelope, signature, text};

/// A request that takes longer is repeated.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);
/// Tries before a writer turns to something else; what is still open is asked for again at the end.
const TRIES: u32 = 4;
const BETWEEN_TRIES: Duration = Duration::from_millis(150);
const LONGEST_PAUSE_MS: u64 = 120;
/// The customers who are new during the run.
const NEW_CUSTOMERS: u64 = 12;

/// What every writer knows.
pub struct Shop {
    pub token: String,
    pub number: Number,
    /// Customers with whom there is a conversation, and its id.
    pub conversations: Vec<(String, Uuid)>,
    pub apis: Vec<Address>,
    pub graph: Graph,
    pub ledger: Ledger,
    pub http: reqwest::Client,
}

impl Shop {
    pub fn http() -> reqwest::Client {
        // A killed process's connections must not be tried again by the pool.
        let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).pool_max_idle_per_host(0);
        client.build().expect("a client")
    }

    fn conversation_with(&self, customer: &str) -> Uuid {
        let found = self.conversations.iter().find(|(known, _)| known == customer);
        found.expect("a conversation of before the torture").1
    }

    /// Sends a request to one of the APIs; nothing when none listens or it breaks off.
    async fn send(&self, rng: &mut StdRng, request: &Request) -> Option<(StatusCode, String)> {
        let begun = Instant::now();
        let answer = self.send_somewhere(rng, request).await;
        let status = answer.as_ref().map_or("none", |(status, _)| status.as_str());
        self.ledger.heard(status, begun.elapsed());
        answer
    }

    async fn send_somewhere(&self, rng: &mut StdRng, request: &Request) -> Option<(StatusCode, String)> {
        let any = rng.random_range(0..self.apis.len());
        let listening = |n: usize| self.apis[n % APIS].lock().expect("not poisoned").clone();
        let base = listening(any).or_else(|| listening(any + 1))?;
        let mut call = self.http.request(request.method.clone(), format!("{base}{}", request.path));
        call = match request.key {
            Some(key) => call.header("idempotency-key", key.to_string()),
            None => call,
        };
        call = if request.path == "/webhook" {
            call.header("x-hub-signature-256", signature(request.body.as_bytes(), APP_SECRET))
        } else {
            call.header("authorization", format!("Bearer {}", self.token))
        };
        if rng.random_bool(0.5) {
            call = call.header("prefer", "respond-async");
        }
        let answer = call.header("content-type", "application/json").body(request.body.clone()).send().await;
        let status = answer.as_ref().ok()?.status();
        Some((status, answer.ok()?.text().await.ok()?))
    }

    /// Asks once for what an entry wants.
    pub async fn ask(&self, rng: &mut StdRng, number: usize) {
        let entry = self.ledger.entry(number);
        let request = self.request(&entry.wish, entry.key);
        self.ledger.change(number, |entry| entry.attempts += 1);
        let Some((status, body)) = self.send(rng, &request).await else { return };
        if status.is_success() {
            let id = answered_id(&entry.wish, &body);
            self.ledger.change(number, |entry| match &entry.acknowledged {
                None => entry.acknowledged = Some(id),
                Some(_) => entry.repeated.push(id),
            });
        } else if status.is_client_error() && !body.contains("idempotency_in_progress") {
            self.ledger.change(number, |entry| entry.refused = Some(format!("{status} {body}")));
        }
    }

    fn request(&self, wish: &Wish, key: Uuid) -> Request {
        let post = |path: String, body: Value| Request {
            method: reqwest::Method::POST,
            path,
            body: body.to_string(),
            key: Some(key),
        };
        match wish {
            Wish::Role { name } => post("/api/roles".to_owned(), json!({ "name": name, "permissions": [] })),
            Wish::Division { name } => post("/api/divisions".to_owned(), json!({ "name": name })),
            Wish::Outbound { customer, text } => {
                let path = format!("/api/conversations/{}/messages", self.conversation_with(customer));
                post(path, json!({ "type": "text", "content": { "text": text } }))
            }
            Wish::Inbound { customer, external_id, text: words } => {
                let mut message = text(customer, words);
                message["id"] = json!(external_id);
                let body = envelope(vec![self.number.messages(vec![message])]);
                Request { key: None, ..post("/webhook".to_owned(), body) }
            }
        }
    }
}

struct Request {
    method: reqwest::Method,
    path: String,
    body: String,
    key: Option<Uuid>,
}

/// What an answer calls the thing that was made.
fn answered_id(wish: &Wish, body: &str) -> String {
    let field = match wish {
        Wish::Role { .. } | Wish::Division { .. } => "id",
        Wish::Outbound { .. } => "_id",
        Wish::Inbound { external_id, .. } => return external_id.clone(),
    };
    let answer: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    answer[field].as_str().unwrap_or_default().to_owned()
}

/// One client.
pub struct Writer {
    pub shop: Arc<Shop>,
    pub rng: StdRng,
}

impl Writer {
    pub fn new(shop: &Arc<Shop>, seed: u64) -> Self {
        Self { shop: Arc::clone(shop), rng: StdRng::seed_from_u64(seed) }
    }

    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.rng.random_range(0..100) {
                0..12 => self.repeat().await,
                12..24 => self.stir().await,
                24..32 => self.report().await,
                _ => self.want(&stop).await,
            }
            let pause = Duration::from_millis(self.rng.random_range(0..LONGEST_PAUSE_MS));
            tokio::time::sleep(pause).await;
        }
    }

    /// Wants something new and tries to get it.
    async fn want(&mut self, stop: &CancellationToken) {
        let wish = self.wish();
        let abandoned = self.rng.random_bool(0.05);
        let number = self.shop.ledger.wish(Uuid::from_u128(self.rng.random()), wish, abandoned);
        for _ in 0..if abandoned { 1 } else { TRIES } {
            self.shop.ask(&mut self.rng, number).await;
            let entry = self.shop.ledger.entry(number);
            if entry.acknowledged.is_some() || entry.refused.is_some() || stop.is_cancelled() {
                return;
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    fn wish(&mut self) -> Wish {
        let mark = format!("w{:016x}", self.rng.random::<u64>());
        let known = self.rng.random_range(0..self.shop.conversations.len());
        let customer = self.shop.conversations[known].0.clone();
        match self.rng.random_range(0..100) {
            0..20 => Wish::Role { name: mark },
            20..30 => Wish::Division { name: mark },
            30..65 => Wish::Outbound { customer, text: mark },
            _ => {
                let new = self.rng.random_range(0..2 * NEW_CUSTOMERS);
                let customer = if new < NEW_CUSTOMERS { format!("6281990000{new:02}") } else { customer };
                Wish::Inbound { customer, external_id: format!("wamid.{mark}"), text: mark }
            }
        }
    }

    /// Asks again for what was acknowledged: nothing may happen, and the answer must be the same.
    async fn repeat(&mut self) {
        let entries = self.shop.ledger.entries();
        let done: Vec<usize> = (0..entries.len()).filter(|n| entries[*n].acknowledged.is_some()).collect();
        if !done.is_empty() {
            let number = done[self.rng.random_range(0..done.len())];
            self.shop.ask(&mut self.rng, number).await;
        }
    }

    /// Moves a conversation about, which is nobody's wish and sets process managers in motion.
    async fn stir(&mut self) {
        let any = self.rng.random_range(0..self.shop.conversations.len());
        let path = format!("/api/conversations/{}", self.shop.conversations[any].1);
        let status = ["open", "pending", "resolved"][self.rng.random_range(0..3)];
        let tag = format!("tag-{}", self.rng.random_range(0..5));
        let (method, path, body) = match self.rng.random_range(0..3) {
            0 => (reqwest::Method::PATCH, format!("{path}/status"), json!({ "status": status })),
            1 => (reqwest::Method::PATCH, format!("{path}/tags"), json!({ "tags": [tag] })),
            _ => (reqwest::Method::POST, format!("{path}/read"), json!({})),
        };
        let request = Request { method, path, body: body.to_string(), key: None };
        self.shop.send(&mut self.rng, &request).await;
    }

    /// Meta says that something was delivered or read, perhaps before its answer to the call is known.
    async fn report(&mut self) {
        let taken = self.shop.graph.taken();
        if taken.is_empty() {
            return;
        }
        let (body, external_id) = &taken[self.rng.random_range(0..taken.len())];
        let mut status =
            self.shop.number.status(external_id, ["delivered", "read"][self.rng.random_range(0..2)]);
        status["biz_opaque_callback_data"] = body["biz_opaque_callback_data"].clone();
        let change = self.shop.number.change(json!({ "statuses": [status] }));
        let (path, body) = ("/webhook".to_owned(), envelope(vec![change]).to_string());
        let request = Request { method: reqwest::Method::POST, path, body, key: None };
        self.shop.send(&mut self.rng, &request).await;
    }
}
