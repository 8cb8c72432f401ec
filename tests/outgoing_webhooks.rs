//! Outgoing webhooks, from what a developer asks for to what arrives at their server.

mod guarding;
mod managing;
mod news;
mod trouble;

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::graph::Graph;
use crate::support::receiver::{Delivery, Receiver};
use crate::support::whatsapp::{Number, conversation_with, customer, messages_of};
use crate::support::{Client, Server, Tenant, eventually, id_of};

const HOOKS: &str = "/api/webhooks";
const TOPICS: [&str; 7] = [
    "message.received",
    "message.sent",
    "message.status",
    "conversation.created",
    "conversation.resolved",
    "conversation.assigned",
    "contact.created",
];

/// A tenant with a WhatsApp number, and a server that wants to be told.
struct Scene {
    receiver: Receiver,
    server: Server,
    tenant: Tenant,
    number: Number,
    customer: String,
}

/// A webhook as it was created.
struct Hook {
    id: Uuid,
    secret: String,
}

impl Hook {
    fn path(&self) -> String {
        format!("{HOOKS}/{}", self.id)
    }
}

impl Scene {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(env: &[(&str, &str)]) -> Self {
        let (graph, receiver) = (Graph::start().await, Receiver::start().await);
        let mut env = env.to_vec();
        env.push(("META_API_URL", &graph.base));
        let server = Server::start_with(&env).await;
        let tenant = server.tenant().await;
        let number = Number::connect_with(&tenant, json!({ "access_token": "EAAG", "waba_id": "900" })).await;
        Self { receiver, server, tenant, number, customer: customer() }
    }

    fn admin(&self) -> &Client {
        &self.tenant.admin
    }

    /// Tells the receiver about these.
    async fn hook(&self, events: &[&str]) -> Hook {
        hook(self.admin(), &self.receiver.url(), events).await
    }

    /// The customer writes; answers the conversation once the message is in it.
    async fn hear(&self, words: &str) -> Uuid {
        let heard = self.number.hear(&self.customer, words).await;
        let id = id_of(&conversation_with(self.admin(), &self.customer).await);
        eventually("the message", || async {
            let messages = messages_of(self.admin(), id, 1).await;
            messages.iter().any(|message| message["external_id"] == heard).then_some(())
        })
        .await;
        id
    }
}

async fn hook(client: &Client, url: &str, events: &[&str]) -> Hook {
    let body = json!({ "name": "Shop", "url": url, "events": events });
    let created = client.post(HOOKS, body).await.expect(StatusCode::CREATED);
    Hook { id: id_of(&created), secret: created["secret"].as_str().expect("a secret").to_owned() }
}

/// The webhook as it is listed.
async fn shown(client: &Client, hook: &Hook) -> Value {
    let list = client.get(HOOKS).await.expect(StatusCode::OK);
    let found = list.as_array().expect("a list").iter().find(|one| id_of(one) == hook.id);
    found.cloned().unwrap_or_else(|| panic!("no {} in {list}", hook.id))
}

async fn deliveries(client: &Client, hook: &Hook, query: &str) -> Vec<Value> {
    let list = client.get(&format!("{}/deliveries{query}", hook.path())).await.expect(StatusCode::OK);
    list.as_array().cloned().expect("a list")
}

/// Waits until so many deliveries are there, all with this status; the newest first.
async fn settled(client: &Client, hook: &Hook, count: usize, status: &str) -> Vec<Value> {
    eventually(&format!("{count} deliveries {status}"), || async {
        let all = deliveries(client, hook, "?limit=100").await;
        (all.len() == count && all.iter().all(|one| one["status"] == status)).then_some(all)
    })
    .await
}

fn of_type<'a>(deliveries: &'a [Delivery], event_type: &str) -> Vec<&'a Delivery> {
    deliveries.iter().filter(|delivery| delivery.json()["type"] == event_type).collect()
}
