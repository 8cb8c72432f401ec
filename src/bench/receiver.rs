//! The other end of `call_webhook` while the benchmark runs: a server on this machine that notes when it was told what a
//! customer wrote.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// Without a call for this long the program is taken for stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// A customer's words, and when they arrived here.
pub type Heard = (String, Instant);

pub struct Receiver {
    pub url: String,
    heard: UnboundedReceiver<Heard>,
    serving: JoinHandle<()>,
}

impl Receiver {
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let (sender, heard) = unbounded_channel();
        let router = Router::new().route("/hook", post(hear)).with_state(sender);
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the benchmark's webhook receiver stopped");
            }
        });
        Ok(Self { url, heard, serving })
    }

    /// The next call.
    ///
    /// # Errors
    /// When none comes.
    pub async fn next(&mut self) -> Result<Heard> {
        let next = tokio::time::timeout(PATIENCE, self.heard.recv()).await;
        next.context("waiting for a rule to call")?.context("the receiver has stopped")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn hear(State(sender): State<UnboundedSender<Heard>>, Json(body): Json<Value>) -> StatusCode {
    let at = Instant::now();
    let words = body.pointer("/payload/message/content/text").and_then(Value::as_str);
    match words.map(|words| sender.send((words.to_owned(), at))) {
        Some(Ok(())) => StatusCode::OK,
        _ => StatusCode::BAD_REQUEST,
    }
}
