//! The world outside: Meta's server and a shop's webhook receiver, which fail, hang and answer late.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::support::graph::{Call, Graph, Reply};

/// Meta's codes for "too many requests" and "cannot be delivered": one passes, the other does not.
const RATE_LIMITED: (u16, i64) = (400, 130_429);
const UNDELIVERABLE: (u16, i64) = (400, 131_026);

/// What Meta did with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Took it. The answer may have come late, or not at all.
    Taken,
    /// Said that it did not send it.
    Refused,
}

/// One call to send a message.
#[derive(Clone, Debug)]
pub struct Sending {
    /// Our id of it, which the call carries.
    pub message_id: Uuid,
    pub verdict: Verdict,
}

/// Meta's server in a bad mood.
#[derive(Clone)]
pub struct Provider {
    pub graph: Graph,
    calm: Arc<AtomicBool>,
    sendings: Arc<Mutex<Vec<Sending>>>,
}

impl Provider {
    pub async fn start(seed: u64) -> Self {
        let provider = Self { graph: Graph::start().await, calm: Arc::default(), sendings: Arc::default() };
        let (calm, sendings) = (Arc::clone(&provider.calm), Arc::clone(&provider.sendings));
        let mut rng = StdRng::seed_from_u64(seed);
        provider.graph.answer_by(move |call| {
            let reply = if calm.load(Ordering::Relaxed) { None } else { mood(&mut rng) };
            let verdict =
                if matches!(reply, Some(Reply::Json(..))) { Verdict::Refused } else { Verdict::Taken };
            if let Some(message_id) = message_id(call) {
                sendings.lock().expect("not poisoned").push(Sending { message_id, verdict });
            }
            reply
        });
        provider
    }

    /// From now on every call succeeds.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    pub fn sendings(&self) -> Vec<Sending> {
        self.sendings.lock().expect("not poisoned").clone()
    }
}

fn message_id(call: &Call) -> Option<Uuid> {
    call.body["biz_opaque_callback_data"].as_str()?.parse().ok()
}

/// `None` takes the message and says so.
fn mood(rng: &mut StdRng) -> Option<Reply> {
    let error = |(status, code): (u16, i64)| Some(Reply::error(status, code, "tortured"));
    match rng.random_range(0..100) {
        0..70 => None,
        70..82 => Some(Reply::Late(Duration::from_millis(rng.random_range(50..1_500)))),
        82..85 => Some(Reply::Late(Duration::from_secs(6))),
        85..90 => Some(Reply::BreakOff),
        90..96 => error(RATE_LIMITED),
        _ => error(UNDELIVERABLE),
    }
}

/// One call of a rule, as the receiver saw it.
#[derive(Clone, Debug)]
pub struct Hooked {
    /// `webhook-id`, by which a receiver tells a repetition.
    pub id: String,
    pub body: Value,
    /// Answered with success.
    pub accepted: bool,
}

/// Somebody's server that automation rules call.
#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    shared: Arc<ReceiverState>,
}

struct ReceiverState {
    calm: AtomicBool,
    rng: Mutex<StdRng>,
    calls: Mutex<Vec<Hooked>>,
}

impl Receiver {
    pub async fn start(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let rng = Mutex::new(StdRng::seed_from_u64(seed));
        let shared = Arc::new(ReceiverState { calm: AtomicBool::new(false), rng, calls: Mutex::default() });
        let router = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    pub fn calm_down(&self) {
        self.shared.calm.store(true, Ordering::Relaxed);
    }

    pub fn calls(&self) -> Vec<Hooked> {
        self.shared.calls.lock().expect("not poisoned").clone()
    }

    /// How often each id was called.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.calls().into_iter().fold(BTreeMap::new(), |mut counts, call| {
            *counts.entry(call.id).or_default() += 1;
            counts
        })
    }
}

async fn receive(State(shared): State<Arc<ReceiverState>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let dice = shared.rng.lock().expect("not poisoned").random_range(0..100);
    let calm = shared.calm.load(Ordering::Relaxed);
    let accepted = calm || dice < 85;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    shared.calls.lock().expect("not poisoned").push(Hooked { id, body, accepted });
    if !calm && (75..85).contains(&dice) {
        tokio::time::sleep(Duration::from_millis(800)).await;
    }
    if !calm && dice >= 95 {
        // The server drops the connection of a handler that unwinds; nothing is printed.
        std::panic::resume_unwind(Box::new("broken off"));
    }
    if accepted { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
