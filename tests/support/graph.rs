//! A local server that speaks Meta's Graph API: it records what it is asked, and answers as it is told.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub query: String,
    /// The bearer token.
    pub token: String,
    pub body: Value,
}

/// What to answer to a message or a read receipt instead of taking it.
#[derive(Clone)]
pub enum Reply {
    Json(StatusCode, Value),
    /// Takes the request and closes the connection without a word.
    BreakOff,
    /// Takes the request and says nothing until told; then takes the message.
    Wait(Arc<Notify>),
}

impl Reply {
    /// Meta's form of an error.
    pub fn error(status: u16, code: i64, message: &str) -> Self {
        let status = StatusCode::from_u16(status).expect("a status");
        Self::Json(status, json!({ "error": { "message": message, "type": "OAuthException", "code": code } }))
    }
}

/// The running server.
#[derive(Clone)]
pub struct Graph {
    pub base: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    calls: Mutex<Vec<Call>>,
    replies: Mutex<VecDeque<Reply>>,
    setup: Mutex<Option<Reply>>,
    sent: AtomicUsize,
}

impl Graph {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}/v21.0", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, shared }
    }

    /// All requests so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().expect("not poisoned").clone()
    }

    /// The calls to a path that ends like this.
    pub fn calls_to(&self, end: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.path.ends_with(end)).collect()
    }

    /// The bodies of the messages that were sent, without read receipts.
    pub fn messages(&self) -> Vec<Value> {
        let sent = self.calls_to("/messages").into_iter().map(|call| call.body);
        sent.filter(|body| body["status"].is_null()).collect()
    }

    /// The next message or receipt gets this answer.
    pub fn next(&self, reply: Reply) {
        self.shared.replies.lock().expect("not poisoned").push_back(reply);
    }

    /// Everything but messages gets this answer from now on.
    pub fn refuse_setup(&self, reply: Option<Reply>) {
        *self.shared.setup.lock().expect("not poisoned") = reply;
    }
}

/// The id that the server gives to the message that it takes as the `n`th, from 0.
pub fn message_id(n: usize) -> String {
    format!("wamid.SENT-{n}")
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().trim_start_matches("/v21.0").to_owned();
    let token = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let token = token.trim_start_matches("Bearer ").to_owned();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let query = uri.query().unwrap_or_default().to_owned();
    let call = Call { method, path: path.clone(), query, token, body };
    shared.calls.lock().expect("not poisoned").push(call.clone());
    if !path.ends_with("/messages") {
        let refusal = shared.setup.lock().expect("not poisoned").clone();
        return match refusal {
            Some(Reply::Json(status, body)) => (status, axum::Json(body)).into_response(),
            _ if call.method == Method::GET => axum::Json(health()).into_response(),
            _ => axum::Json(json!({ "success": true })).into_response(),
        };
    }
    let reply = shared.replies.lock().expect("not poisoned").pop_front();
    match reply {
        None => {}
        Some(Reply::Json(status, body)) => return (status, axum::Json(body)).into_response(),
        // The server drops the connection of a handler that unwinds; nothing is printed.
        Some(Reply::BreakOff) => std::panic::resume_unwind(Box::new("broken off")),
        Some(Reply::Wait(until)) => until.notified().await,
    }
    if call.body["status"] == "read" {
        return axum::Json(json!({ "success": true })).into_response();
    }
    let id = message_id(shared.sent.fetch_add(1, Ordering::SeqCst));
    axum::Json(json!({ "messaging_product": "whatsapp", "messages": [{ "id": id }] })).into_response()
}

fn health() -> Value {
    json!({
        "quality_rating": "GREEN",
        "messaging_limit_tier": "TIER_1K",
        "verified_name": "Toko Maju",
        "display_phone_number": "+62 21 5550 100",
        "code_verification_status": "VERIFIED",
        "id": "100",
    })
}
