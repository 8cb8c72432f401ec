//! The same checks on a real database that somebody damages: what is gathered at the end of a run shows the damage, and
//! so do the proofs of the program itself.

use reqwest::StatusCode;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use super::checks;
use super::evidence::{self, Evidence};
use super::ledger::{Entry, Wish};
use super::outside::{Sending, Verdict};
use crate::support::graph::Graph;
use crate::support::whatsapp::{Number, conversation_with, customer};
use crate::support::{Server, Tenant, id_of};

/// A role, a customer who wrote and an agent who answered, all at rest.
struct Scene {
    server: Server,
    tenant: Tenant,
    graph: Graph,
    entries: Vec<Entry>,
}

impl Scene {
    async fn start() -> Self {
        let graph = Graph::start().await;
        let server = Server::start_with(&[("META_API_URL", &graph.base)]).await;
        let tenant = server.tenant().await;
        let number = Number::connect_with(&tenant, json!({ "access_token": "EAAG", "waba_id": "900" })).await;
        let customer = customer();
        let external_id = number.hear(&customer, "Halo").await;
        let conversation = id_of(&conversation_with(&tenant.admin, &customer).await);
        let role = json!({ "name": "w0000000000000001", "permissions": [] });
        let role = id_of(&tenant.admin.post("/api/roles", role).await.expect(StatusCode::CREATED));
        let words = json!({ "type": "text", "content": { "text": "w0000000000000002" } });
        let path = format!("/api/conversations/{conversation}/messages");
        let sent = tenant.admin.post(&path, words).await.expect(StatusCode::CREATED);
        let sent = sent["_id"].as_str().expect("an id").to_owned();
        let heard = Wish::Inbound {
            customer: customer.clone(),
            external_id: external_id.clone(),
            text: "Halo".to_owned(),
        };
        let entries = vec![
            entry(Wish::Role { name: "w0000000000000001".to_owned() }, role.to_string()),
            entry(Wish::Outbound { customer, text: "w0000000000000002".to_owned() }, sent),
            entry(heard, external_id),
        ];
        Self { server, tenant, graph, entries }
    }

    async fn evidence(&self) -> Evidence {
        let mut db = evidence::connect(&self.server.database.owner_url).await;
        evidence::gather(&mut db, self.tenant.id, &self.tenant.admin).await
    }

    fn sendings(&self) -> Vec<Sending> {
        let ids = self.graph.taken().into_iter().filter_map(|(body, _)| {
            body["biz_opaque_callback_data"].as_str().and_then(|id| id.parse::<Uuid>().ok())
        });
        ids.map(|message_id| Sending { message_id, verdict: Verdict::Taken }).collect()
    }

    /// As the tables' owner, whom nothing binds.
    async fn damage(&self, statement: &str) {
        let mut owner = PgConnection::connect(&self.server.database.owner_url).await.unwrap();
        let done = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut owner).await.unwrap();
        assert_eq!(done.rows_affected(), 1, "{statement}");
    }
}

fn entry(wish: Wish, id: String) -> Entry {
    Entry {
        key: Uuid::new_v4(),
        wish,
        attempts: 1,
        acknowledged: Some(id),
        repeated: Vec::new(),
        refused: None,
        abandoned: false,
    }
}

#[tokio::test]
async fn damage_to_a_real_database_is_seen() {
    let scene = Scene::start().await;
    let mut db = evidence::connect(&scene.server.database.owner_url).await;
    evidence::quiet(&mut db, crate::support::PATIENCE).await.expect("all comes to rest");
    let sound = scene.evidence().await;
    let none = [""; 0];
    assert_eq!(checks::acknowledged_is_present_once(&scene.entries, &sound), none);
    assert_eq!(checks::customers_are_known_once(&scene.entries, &sound), none);
    assert_eq!(checks::history_is_gapless(&sound), none);
    assert_eq!(checks::outbox_is_settled(&sound, &scene.sendings()), none);
    for proof in [&["projections", "verify", "--all"][..], &["audit", "verify"]] {
        let (text, ok) = scene.server.run(proof);
        assert!(ok, "{text}");
    }

    scene.damage("UPDATE effects SET status = 'sending' WHERE kind = 'send_message'").await;
    assert!(!checks::outbox_is_settled(&scene.evidence().await, &scene.sendings()).is_empty());
    scene
        .damage(
            "INSERT INTO read.messages (tenant_id, id, object_id, conversation_id, contact_id, account_id, channel,
                 direction, kind, content, search_text, status, created_at)
             SELECT tenant_id, gen_random_uuid(), repeat('f', 24), conversation_id, contact_id, account_id, channel,
                 direction, kind, content, search_text, status, created_at
             FROM read.messages WHERE direction = 'outbound'",
        )
        .await;
    assert!(!checks::acknowledged_is_present_once(&scene.entries, &scene.evidence().await).is_empty());
    let (text, ok) = scene.server.run(&["projections", "verify", "--all"]);
    assert!(!ok && text.contains("only_in_live"), "{text}");

    scene.damage("UPDATE events SET chain_hash = sha256(chain_hash) WHERE event_type = 'role.created'").await;
    let (text, ok) = scene.server.run(&["audit", "verify"]);
    assert!(!ok && text.contains("NOT as written"), "{text}");
    scene.damage("DELETE FROM events WHERE event_type = 'conversation.opened'").await;
    assert!(!checks::history_is_gapless(&scene.evidence().await).is_empty());
    let faults = checks::automation_acted_once(&scene.evidence().await, &[]);
    assert!(faults.iter().any(|fault| fault.contains("0 conversation.opened made 1 items")), "{faults:?}");
}
