//! Automation, from what a supervisor writes to what happens by itself.

mod actions;
mod crashes;
mod engine;
mod lists;
mod rebuild;
mod refusals;
mod rules;
mod trouble;

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::graph::Graph;
use crate::support::whatsapp::{Number, conversation_with, customer};
use crate::support::{Client, Server, Tenant, eventually, id_of};

/// A tenant with a WhatsApp number and a customer.
struct Scene {
    graph: Graph,
    server: Server,
    tenant: Tenant,
    number: Number,
    customer: String,
}

impl Scene {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(env: &[(&str, &str)]) -> Self {
        let (graph, server) = Self::servers(env).await;
        Self::on(graph, server).await
    }

    async fn servers(env: &[(&str, &str)]) -> (Graph, Server) {
        let graph = Graph::start().await;
        let mut env = env.to_vec();
        env.push(("META_API_URL", &graph.base));
        let server = Server::start_with(&env).await;
        (graph, server)
    }

    async fn on(graph: Graph, server: Server) -> Self {
        let tenant = server.tenant().await;
        let number = Number::connect_with(&tenant, json!({ "access_token": "EAAG", "waba_id": "900" })).await;
        Self { graph, server, tenant, number, customer: customer() }
    }

    fn admin(&self) -> &Client {
        &self.tenant.admin
    }

    /// A rule for inbound messages with these actions; `change` is put over it.
    async fn rule(&self, actions: Value, change: Value) -> Uuid {
        let mut rule =
            json!({ "name": "Rule", "trigger_type": "message_received_inbound", "actions": actions });
        for (name, value) in change.as_object().into_iter().flatten() {
            rule[name] = value.clone();
        }
        id_of(&self.admin().post("/api/automation-rules", rule).await.expect(StatusCode::CREATED))
    }

    /// The customer writes; answers the conversation.
    async fn hear(&self, words: &str) -> Uuid {
        self.number.hear(&self.customer, words).await;
        id_of(&conversation_with(self.admin(), &self.customer).await)
    }

    /// Items of a kind, oldest first.
    async fn items(&self, event_type: &str) -> Vec<Value> {
        let path = format!("/api/automation-events?event_type={event_type}&sort_order=asc&per_page=100");
        list(self.admin(), &path, "events").await
    }

    /// Waits until there are so many items of inbound messages, all of this status.
    async fn settled(&self, count: usize, status: &str) -> Vec<Value> {
        eventually(&format!("{count} items {status}"), || async {
            let items = self.items("message_received_inbound").await;
            (items.len() == count && items.iter().all(|item| item["status"] == status)).then_some(items)
        })
        .await
    }

    async fn runs_of(&self, rule_id: Uuid) -> Vec<Value> {
        let path = format!("/api/automation-runs/by-rule/{rule_id}?sort_order=asc&per_page=100");
        list(self.admin(), &path, "runs").await
    }

    async fn conversation(&self, id: Uuid) -> Value {
        self.admin().get(&format!("/api/conversations/{id}")).await.expect(StatusCode::OK)
    }
}

async fn list(client: &Client, path: &str, field: &str) -> Vec<Value> {
    client.get(path).await.expect(StatusCode::OK)[field].as_array().cloned().expect("a list")
}

fn tag(name: &str) -> Value {
    json!([{ "type": "add_tags", "tags": [name] }])
}
