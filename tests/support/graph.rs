//! A local server that speaks Meta's Graph API: it records what it is asked, and answers as it is told.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
    /// Takes the message and says so after this time.
    Late(Duration),
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

/// Decides about a call that no reply is queued for; nothing takes it.
type Mood = Box<dyn FnMut(&Call) -> Option<Reply> + Send>;

#[derive(Default)]
struct Shared {
    calls: Mutex<Vec<Call>>,
    replies: Mutex<VecDeque<Reply>>,
    mood: Mutex<Option<Mood>>,
    setup: Mutex<Option<Reply>>,
    sent: AtomicUsize,
    taken: Mutex<Vec<(Value, String)>>,
    templates: Mutex<Vec<Value>>,
    template_replies: Mutex<VecDeque<Reply>>,
}

/// Templates in one page of the list, so that few make several pages.
const TEMPLATES_PER_PAGE: usize = 2;

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

    /// Messages and receipts that no reply is queued for are decided about like this.
    pub fn answer_by(&self, mood: impl FnMut(&Call) -> Option<Reply> + Send + 'static) {
        *self.shared.mood.lock().expect("not poisoned") = Some(Box::new(mood));
    }

    /// The bodies of the messages that were taken, each with the id that it was given.
    pub fn taken(&self) -> Vec<(Value, String)> {
        self.shared.taken.lock().expect("not poisoned").clone()
    }

    /// What the list of templates of every business account holds from now on.
    pub fn list_templates(&self, templates: Vec<Value>) {
        *self.shared.templates.lock().expect("not poisoned") = templates;
    }

    /// The next call about templates gets this answer.
    pub fn next_about_templates(&self, reply: Reply) {
        self.shared.template_replies.lock().expect("not poisoned").push_back(reply);
    }

    /// Everything but messages and templates gets this answer from now on.
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
    if path.ends_with("/message_templates") {
        return about_templates(&shared, &call);
    }
    if !path.ends_with("/messages") {
        let refusal = shared.setup.lock().expect("not poisoned").clone();
        return match refusal {
            Some(Reply::Json(status, body)) => (status, axum::Json(body)).into_response(),
            _ if call.method == Method::GET => axum::Json(health()).into_response(),
            _ => axum::Json(json!({ "success": true })).into_response(),
        };
    }
    let queued = shared.replies.lock().expect("not poisoned").pop_front();
    let decide = || shared.mood.lock().expect("not poisoned").as_mut().and_then(|mood| mood(&call));
    match queued.or_else(decide) {
        None => {}
        Some(Reply::Json(status, body)) => return (status, axum::Json(body)).into_response(),
        // The server drops the connection of a handler that unwinds; nothing is printed.
        Some(Reply::BreakOff) => std::panic::resume_unwind(Box::new("broken off")),
        Some(Reply::Wait(until)) => until.notified().await,
        Some(Reply::Late(time)) => tokio::time::sleep(time).await,
    }
    if call.body["status"] == "read" {
        return axum::Json(json!({ "success": true })).into_response();
    }
    let id = message_id(shared.sent.fetch_add(1, Ordering::SeqCst));
    shared.taken.lock().expect("not poisoned").push((call.body, id.clone()));
    axum::Json(json!({ "messaging_product": "whatsapp", "messages": [{ "id": id }] })).into_response()
}

/// Takes a template for review, or answers a page of the list.
fn about_templates(shared: &Shared, call: &Call) -> Response {
    let reply = shared.template_replies.lock().expect("not poisoned").pop_front();
    let mut templates = shared.templates.lock().expect("not poisoned");
    if call.method == Method::POST {
        if let Some(Reply::Json(status, body)) = reply {
            return (status, axum::Json(body)).into_response();
        }
        let mut template = call.body.clone();
        template["id"] = json!((1_000 + templates.len()).to_string());
        template["status"] = json!("PENDING");
        let answer = json!({ "id": template["id"], "status": "PENDING", "category": template["category"] });
        templates.push(template);
        drop(templates);
        return match reply {
            // It has been taken, and nobody hears of it.
            Some(Reply::BreakOff) => std::panic::resume_unwind(Box::new("broken off")),
            _ => axum::Json(answer).into_response(),
        };
    }
    if let Some(Reply::Json(status, body)) = reply {
        return (status, axum::Json(body)).into_response();
    }
    let after = call.query.split('&').find_map(|pair| pair.strip_prefix("after="));
    let from: usize = after.map_or(0, |after| after.parse().expect("a cursor of ours"));
    let to = (from + TEMPLATES_PER_PAGE).min(templates.len());
    let mut paging = json!({ "cursors": { "before": from.to_string(), "after": to.to_string() } });
    if to < templates.len() {
        paging["next"] = json!("https://graph.facebook.com/the-next-page");
    }
    axum::Json(json!({ "data": templates[from..to], "paging": paging })).into_response()
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
