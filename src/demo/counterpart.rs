//! The other end of the demo's WhatsApp line: takes messages as Meta's Graph API does, and tells what was sent, so that
//! the demo can report them delivered and read. Only the demo talks to it.

use std::net::SocketAddr;

use anyhow::Result;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A message that has reached the customer's phone.
#[derive(Debug)]
pub struct Arrived {
    pub external_id: String,
    pub recipient: String,
}

pub struct Counterpart {
    address: SocketAddr,
    pub arrivals: mpsc::UnboundedReceiver<Arrived>,
}

type Phone = mpsc::UnboundedSender<Arrived>;

impl Counterpart {
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (phone, arrivals) = mpsc::unbounded_channel();
        let router = Router::new()
            .route("/{phone_number_id}/messages", post(take_message))
            .route("/{waba_id}/message_templates", get(templates).post(take_template).delete(taken))
            .route("/{id}/{edge}", post(taken))
            .route("/{id}", get(number))
            .with_state(phone);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, arrivals })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn taken() -> Json<Value> {
    Json(json!({ "success": true }))
}

/// What `POST /api/wa-templates/sync` finds.
async fn templates() -> Json<Value> {
    Json(json!({ "data": [{
        "id": "1042000000000001",
        "name": "order_shipped",
        "language": "id",
        "status": "APPROVED",
        "category": "UTILITY",
        "components": [{ "type": "BODY", "text": "Halo {{1}}, pesanan {{2}} sudah dikirim." }],
        "quality_score": { "score": "GREEN" },
    }] }))
}

async fn take_template(Json(template): Json<Value>) -> Json<Value> {
    let id = commands::ids::new_id().as_u128().to_string();
    Json(json!({ "id": id, "status": "PENDING", "category": template["category"] }))
}

async fn take_message(State(phone): State<Phone>, Json(body): Json<Value>) -> Json<Value> {
    if body["status"] == "read" {
        return Json(json!({ "success": true }));
    }
    let external_id = format!("wamid.{}", commands::ids::new_id().simple());
    let recipient = body["to"].as_str().unwrap_or_default().to_owned();
    let answer = json!({
        "messaging_product": "whatsapp",
        "contacts": [{ "input": recipient, "wa_id": recipient }],
        "messages": [{ "id": external_id }],
    });
    // Nobody listens any more once the story is told.
    let _ = phone.send(Arrived { external_id, recipient });
    Json(answer)
}

async fn number(Path(id): Path<String>) -> Json<Value> {
    Json(json!({
        "id": id,
        "verified_name": "Toko Maju",
        "display_phone_number": "+62 21 5000 0000",
        "quality_rating": "GREEN",
        "messaging_limit_tier": "TIER_1K",
        "code_verification_status": "VERIFIED",
    }))
}
