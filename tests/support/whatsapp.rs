//! A WhatsApp number of a tenant, and customers who write to it as Meta would deliver it.

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;
use uuid::Uuid;

use super::{Answer, Client, Tenant, eventually, id_of};

/// What `META_APP_SECRET` is in tests.
pub const APP_SECRET: &str = "app-secret";

/// A connected number.
#[derive(Clone)]
pub struct Number {
    pub account_id: Uuid,
    pub phone_number_id: String,
    client: Client,
}

impl Number {
    /// Connects a number that nobody else has.
    pub async fn connect(tenant: &Tenant) -> Self {
        Self::connect_with(tenant, json!({})).await
    }

    /// With further settings.
    pub async fn connect_with(tenant: &Tenant, config: Value) -> Self {
        let phone_number_id = Uuid::new_v4().as_u128().to_string();
        let mut config = config;
        config["phone_number_id"] = json!(phone_number_id);
        let body = json!({ "channel": "whatsapp", "display_name": "Toko Maju", "config": config });
        let created = tenant.admin.post("/api/integration-accounts", body).await.expect(StatusCode::CREATED);
        Self { account_id: id_of(&created), phone_number_id, client: tenant.admin.anonymous() }
    }

    /// One change as Meta writes it.
    pub fn change(&self, value: Value) -> Value {
        let mut value = value;
        value["messaging_product"] = json!("whatsapp");
        value["metadata"] =
            json!({ "display_phone_number": "62215550100", "phone_number_id": self.phone_number_id });
        json!({ "field": "messages", "value": value })
    }

    /// Messages of customers whose names Meta tells.
    pub fn messages(&self, messages: Vec<Value>) -> Value {
        let mut senders: Vec<Value> = messages.iter().map(|m| m["from"].clone()).collect();
        senders.dedup();
        let contacts: Vec<Value> =
            senders.into_iter().map(|from| json!({ "wa_id": from, "profile": { "name": "Ani" } })).collect();
        self.change(json!({ "contacts": contacts, "messages": messages }))
    }

    pub fn status(&self, external_id: &str, status: &str) -> Value {
        let at = now().to_string();
        json!({ "id": external_id, "status": status, "timestamp": at, "recipient_id": "628111" })
    }

    /// Delivers statuses.
    pub async fn report(&self, statuses: Vec<Value>) {
        self.deliver(vec![self.change(json!({ "statuses": statuses }))]).await.expect_ok();
    }

    /// Delivers changes, signed.
    pub async fn deliver(&self, changes: Vec<Value>) -> Answer {
        deliver(&self.client, envelope(changes).to_string().as_bytes(), Some(APP_SECRET)).await
    }

    /// A customer writes; answers Meta's id of the message.
    pub async fn hear(&self, from: &str, words: &str) -> String {
        let message = text(from, words);
        self.deliver(vec![self.messages(vec![message.clone()])]).await.expect_ok();
        message["id"].as_str().expect("an id").to_owned()
    }
}

/// A body of one entry.
pub fn envelope(changes: Vec<Value>) -> Value {
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "900", "changes": changes }] })
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A message of this type, as Meta writes it.
pub fn message(from: &str, kind: &str, content: Value) -> Value {
    let id = format!("wamid.{}", Uuid::new_v4().simple());
    json!({ "from": from, "id": id, "timestamp": now().to_string(), "type": kind, kind: content })
}

pub fn text(from: &str, words: &str) -> Value {
    message(from, "text", json!({ "body": words }))
}

/// A number that no other test writes from.
pub fn customer() -> String {
    format!("62{}", Uuid::new_v4().as_u128() % 100_000_000_000)
}

pub fn signature(body: &[u8], secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// Delivers a body to the webhook, signed with this secret or not at all.
pub async fn deliver(client: &Client, body: &[u8], secret: Option<&str>) -> Answer {
    let mut request = client.request(Method::POST, "/webhook").header("content-type", "application/json");
    if let Some(secret) = secret {
        request = request.header("x-hub-signature-256", signature(body, secret));
    }
    Answer::of(request.body(body.to_vec()).send().await.expect("an answer")).await
}

/// Waits for the conversation with a customer.
pub async fn conversation_with(client: &Client, from: &str) -> Value {
    eventually("a conversation", || async {
        let page = client.get(&format!("/api/conversations?search={from}")).await.expect(StatusCode::OK);
        page["conversations"].as_array()?.first().cloned()
    })
    .await
}

/// Waits until a conversation has so many messages; answers them, the newest first.
pub async fn messages_of(client: &Client, conversation_id: Uuid, count: usize) -> Vec<Value> {
    eventually("the messages", || async {
        let path = format!("/api/conversations/{conversation_id}/messages?limit=100");
        let page = client.get(&path).await.expect(StatusCode::OK);
        let messages = page["messages"].as_array()?.clone();
        (messages.len() >= count).then_some(messages)
    })
    .await
}

impl Answer {
    #[track_caller]
    pub fn expect_ok(&self) {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
    }
}
