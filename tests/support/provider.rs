//! What the local payment providers have in common: they record what they are asked, give the same answer to the same
//! idempotency key, and lose connections when told to.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub authorization: String,
    /// The idempotency key, under whichever name the provider knows it.
    pub key: Option<String>,
    /// JSON; a form is an object of strings.
    pub body: Value,
}

/// What goes wrong with the next request that changes something.
#[derive(Clone)]
pub enum Trouble {
    /// It is carried out, and the connection breaks before the answer.
    AnswerLost,
    /// The connection breaks before anything is carried out.
    RequestLost,
    /// This is the answer, and nothing is carried out.
    Answer(u16, Value),
}

/// What a provider does: its state, and how it answers.
pub trait Protocol: Send + 'static {
    fn answer(&mut self, call: &Call) -> (u16, Value);

    /// The answer when a key comes back with other parameters.
    fn key_reused(&self) -> (u16, Value);
}

/// A running provider.
pub struct Provider<P> {
    pub base: String,
    shared: Arc<Mutex<Shared<P>>>,
}

impl<P> Clone for Provider<P> {
    fn clone(&self) -> Self {
        Self { base: self.base.clone(), shared: Arc::clone(&self.shared) }
    }
}

struct Shared<P> {
    protocol: P,
    calls: Vec<Call>,
    troubles: VecDeque<Trouble>,
    /// By path and key: the parameters, and the answer to them.
    answered: HashMap<(String, String), (Value, (u16, Value))>,
}

impl<P: Protocol> Provider<P> {
    pub async fn start(protocol: P) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let shared =
            Shared { protocol, calls: Vec::new(), troubles: VecDeque::new(), answered: HashMap::new() };
        let shared = Arc::new(Mutex::new(shared));
        let router = Router::new().fallback(handle::<P>).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, shared }
    }

    fn shared(&self) -> MutexGuard<'_, Shared<P>> {
        self.shared.lock().expect("not poisoned")
    }

    /// The requests so far with this method and a path that begins like this.
    pub fn calls(&self, method: &Method, path: &str) -> Vec<Call> {
        let shared = self.shared();
        shared.calls.iter().filter(|c| c.method == *method && c.path.starts_with(path)).cloned().collect()
    }

    pub fn next(&self, trouble: Trouble) {
        self.shared().troubles.push_back(trouble);
    }

    /// As a provider does after a day.
    pub fn forget_keys(&self) {
        self.shared().answered.clear();
    }

    pub fn change(&self, how: impl FnOnce(&mut P)) {
        how(&mut self.shared().protocol);
    }

    /// Looks at what the provider knows.
    pub fn look<T>(&self, at: impl FnOnce(&P) -> T) -> T {
        at(&self.shared().protocol)
    }
}

async fn handle<P: Protocol>(
    State(shared): State<Arc<Mutex<Shared<P>>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let call = Call {
        method,
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        authorization: header("authorization").unwrap_or_default(),
        key: header("idempotency-key"),
        body: read(&header("content-type").unwrap_or_default(), &body),
    };
    let outcome = shared.lock().expect("not poisoned").respond(call);
    match outcome {
        Some((status, body)) => {
            (StatusCode::from_u16(status).expect("a status"), axum::Json(body)).into_response()
        }
        // The server drops the connection of a handler that unwinds; nothing is printed.
        None => std::panic::resume_unwind(Box::new("broken off")),
    }
}

impl<P: Protocol> Shared<P> {
    /// `None`: the connection breaks.
    fn respond(&mut self, call: Call) -> Option<(u16, Value)> {
        self.calls.push(call.clone());
        let trouble = if call.method == Method::POST { self.troubles.pop_front() } else { None };
        match trouble {
            None => Some(self.keep(&call)),
            Some(Trouble::Answer(status, body)) => Some((status, body)),
            Some(Trouble::RequestLost) => None,
            Some(Trouble::AnswerLost) => {
                self.keep(&call);
                None
            }
        }
    }

    fn keep(&mut self, call: &Call) -> (u16, Value) {
        let Some(key) = call.key.clone().filter(|_| call.method == Method::POST) else {
            return self.protocol.answer(call);
        };
        let place = (call.path.clone(), key);
        match self.answered.get(&place) {
            Some((parameters, answer)) if *parameters == call.body => answer.clone(),
            Some(_) => self.protocol.key_reused(),
            None => {
                let answer = self.protocol.answer(call);
                self.answered.insert(place, (call.body.clone(), answer.clone()));
                answer
            }
        }
    }
}

fn read(content_type: &str, body: &[u8]) -> Value {
    if content_type.starts_with("application/x-www-form-urlencoded") {
        let text = std::str::from_utf8(body).expect("a form is text");
        let url = reqwest::Url::parse(&format!("http://form/?{text}")).expect("a form is a query");
        let fields: Map<String, Value> =
            url.query_pairs().map(|(name, value)| (name.into_owned(), json!(value))).collect();
        return Value::Object(fields);
    }
    serde_json::from_slice(body).unwrap_or(Value::Null)
}
