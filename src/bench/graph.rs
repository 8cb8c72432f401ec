//! What answers in Meta's place while the benchmark sends: a server on this machine that speaks the Graph API and accepts
//! everything at once, so that only our own time is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub struct GraphServer {
    pub url: String,
    accepted: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl GraphServer {
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let accepted = Arc::new(AtomicU64::new(0));
        let router = Router::new()
            .route("/{id}/messages", post(accept))
            // Registering and subscribing a number, and whatever else an account asks when it is made.
            .fallback(get(describe).post(succeed))
            .with_state(Arc::clone(&accepted));
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the benchmark's Graph server stopped");
            }
        });
        Ok(Self { url, accepted, serving })
    }

    /// Messages accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for GraphServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn accept(State(accepted): State<Arc<AtomicU64>>) -> Json<Value> {
    let number = accepted.fetch_add(1, Ordering::Relaxed);
    Json(
        json!({ "messaging_product": "whatsapp", "messages": [{ "id": format!("wamid.bench.out.{number}") }] }),
    )
}

async fn describe() -> Json<Value> {
    Json(
        json!({ "id": super::inbox::PHONE_NUMBER_ID, "display_phone_number": "+62 811 0000 0000", "data": [] }),
    )
}

async fn succeed() -> Json<Value> {
    Json(json!({ "success": true }))
}
