//! Somebody else's server that is told what happens: it records what arrives, and answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::sync::Notify;

use super::eventually;

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub path: String,
    /// The headers `webhook-id`, `webhook-timestamp` and `webhook-signature`.
    pub id: String,
    pub timestamp: String,
    pub signature: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: Instant,
}

impl Delivery {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// As a library of Standard Webhooks checks it: over the bytes that came, against any of the signatures.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let key = BASE64.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
        mac.update(format!("{}.{}.", self.id, self.timestamp).as_bytes());
        mac.update(&self.body);
        let expected = format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()));
        self.signature.split(' ').any(|signature| signature == expected)
    }
}

/// What to answer instead of 200.
#[derive(Clone, Debug)]
pub enum Reply {
    Status(u16),
    With(u16, &'static str, String),
    /// Takes the request and never says anything.
    Never,
    /// Takes the request and says nothing until told.
    Held(Arc<Notify>, u16),
}

/// The running server.
#[derive(Clone)]
pub struct Receiver {
    pub base: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    deliveries: Mutex<Vec<Delivery>>,
    replies: Mutex<VecDeque<Reply>>,
    always: Mutex<Option<Reply>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, shared }
    }

    pub fn url(&self) -> String {
        format!("{}/hook", self.base)
    }

    /// The next request gets this answer.
    pub fn next(&self, reply: Reply) {
        self.shared.replies.lock().expect("not poisoned").push_back(reply);
    }

    /// Every request that no answer is queued for gets this one.
    pub fn always(&self, reply: Option<Reply>) {
        *self.shared.always.lock().expect("not poisoned") = reply;
    }

    /// All requests so far.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.deliveries.lock().expect("not poisoned").clone()
    }

    /// Waits for so many requests.
    pub async fn heard(&self, count: usize) -> Vec<Delivery> {
        eventually(&format!("{count} deliveries"), || async {
            let deliveries = self.deliveries();
            (deliveries.len() >= count).then_some(deliveries)
        })
        .await
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let delivery = Delivery {
        path: uri.path().to_owned(),
        id: text("webhook-id"),
        timestamp: text("webhook-timestamp"),
        signature: text("webhook-signature"),
        body,
        at: Instant::now(),
        headers: headers.clone(),
    };
    shared.deliveries.lock().expect("not poisoned").push(delivery);
    let queued = shared.replies.lock().expect("not poisoned").pop_front();
    let reply = queued.or_else(|| shared.always.lock().expect("not poisoned").clone());
    let status = |code: u16| StatusCode::from_u16(code).expect("a status");
    match reply {
        None => "thank you".into_response(),
        Some(Reply::Status(code)) => status(code).into_response(),
        Some(Reply::With(code, name, value)) => (status(code), [(name, value)]).into_response(),
        Some(Reply::Never) => std::future::pending().await,
        Some(Reply::Held(until, code)) => {
            until.notified().await;
            status(code).into_response()
        }
    }
}
