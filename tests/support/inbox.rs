//! Customers who write, through the front door: a WhatsApp webhook, signed as Meta signs it.

use std::time::{Duration, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;
use uuid::Uuid;

use super::{Answer, Client, Server, Tenant, eventually, id_of};

/// Sending leads nowhere: for tests that are not about what Meta answers.
pub const NO_GRAPH: (&str, &str) = ("META_API_URL", "http://127.0.0.1:1");

/// A WhatsApp number of a tenant.
#[derive(Clone, Debug)]
pub struct Account {
    pub id: Uuid,
    pub phone_number_id: String,
}

/// A conversation that a customer has begun.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub id: Uuid,
    pub contact_id: Uuid,
    pub account: Account,
    /// The customer's WhatsApp id: the phone number without `+`.
    pub customer: String,
    /// The channel's id of the first message.
    pub wamid: String,
}

impl Conversation {
    pub fn path(&self) -> String {
        format!("/api/conversations/{}", self.id)
    }
}

pub async fn given_account(tenant: &Tenant) -> Account {
    let phone_number_id = digits();
    let config =
        json!({ "phone_number_id": phone_number_id, "access_token": "token", "app_secret": "app-secret" });
    let body = json!({ "channel": "whatsapp", "config": config });
    let created = tenant.admin.post("/api/integration-accounts", body).await.expect(StatusCode::CREATED);
    Account { id: id_of(&created), phone_number_id }
}

/// A new customer named Siti writes `Halo kak` to a new account.
pub async fn given_conversation(server: &Server, tenant: &Tenant) -> Conversation {
    let account = given_account(tenant).await;
    begun(server, tenant, &account, &digits(), "Siti Rahayu").await
}

/// A customer writes `Halo kak` to an account for the first time.
pub async fn begun(
    server: &Server,
    tenant: &Tenant,
    account: &Account,
    customer: &str,
    name: &str,
) -> Conversation {
    let text = Inbound { name, ..Inbound::text(customer, "Halo kak") };
    let wamid = deliver(server, account, &text).await.1;
    let (conversation, _) = arrived(tenant, customer, &wamid).await;
    let contact_id = conversation["contact_id"].as_str().and_then(|id| id.parse().ok()).expect("a contact");
    Conversation {
        id: id_of(&conversation),
        contact_id,
        account: account.clone(),
        customer: customer.to_owned(),
        wamid,
    }
}

/// The customer of a conversation writes again; answers the message once it can be read.
pub async fn customer_writes(
    server: &Server,
    tenant: &Tenant,
    conversation: &Conversation,
    text: &str,
) -> Value {
    let wamid = deliver(server, &conversation.account, &Inbound::text(&conversation.customer, text)).await.1;
    arrived(tenant, &conversation.customer, &wamid).await.1
}

/// What a customer sends.
#[derive(Clone, Debug)]
pub struct Inbound<'a> {
    pub from: &'a str,
    pub name: &'a str,
    pub body: &'a str,
    pub age: Duration,
}

impl<'a> Inbound<'a> {
    pub fn text(from: &'a str, body: &'a str) -> Self {
        Self { from, name: "Siti Rahayu", body, age: Duration::ZERO }
    }
}

/// Posts a text message as Meta would; answers the response and the channel's id of the message.
pub async fn deliver(server: &Server, account: &Account, text: &Inbound<'_>) -> (Answer, String) {
    let wamid = format!("wamid.{}", Uuid::new_v4().simple());
    let sent_at = UNIX_EPOCH.elapsed().expect("after 1970") - text.age;
    let value = json!({
        "messaging_product": "whatsapp",
        "metadata": { "display_phone_number": "6281100", "phone_number_id": account.phone_number_id },
        "contacts": [{ "profile": { "name": text.name }, "wa_id": text.from }],
        "messages": [{
            "from": text.from, "id": wamid, "timestamp": sent_at.as_secs().to_string(),
            "type": "text", "text": { "body": text.body },
        }],
    });
    let change = json!({ "field": "messages", "value": value });
    let webhook =
        json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] });
    let answer = post_signed(&server.client(), &webhook).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    (answer, wamid)
}

/// Posts a webhook signed with the secret of [`given_account`].
pub async fn post_signed(client: &Client, webhook: &Value) -> Answer {
    let body = webhook.to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(b"app-secret").expect("HMAC takes any key");
    mac.update(body.as_bytes());
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let request = client.request(Method::POST, "/webhook").header("x-hub-signature-256", signature);
    Answer::of(request.header("content-type", "application/json").body(body).send().await.expect("an answer"))
        .await
}

/// Waits until a customer's message can be read; answers the conversation and the message.
async fn arrived(tenant: &Tenant, customer: &str, wamid: &str) -> (Value, Value) {
    let listed = format!("/api/conversations?search={customer}");
    eventually("a customer's message arrives", || async {
        let found = tenant.admin.get(&listed).await.expect(StatusCode::OK);
        for conversation in found["conversations"].as_array().cloned().unwrap_or_default() {
            let path = format!("/api/conversations/{}/messages", id_of(&conversation));
            let messages = tenant.admin.get(&path).await.expect(StatusCode::OK);
            let message =
                messages["messages"].as_array().and_then(|m| m.iter().find(|m| m["external_id"] == wamid));
            if let Some(message) = message {
                return Some((conversation, message.clone()));
            }
        }
        None
    })
    .await
}

/// Thirteen digits that nobody else has, as in an Indonesian mobile number.
pub fn digits() -> String {
    format!("628{:010}", Uuid::new_v4().as_u128() % 10_000_000_000)
}
