//! Handing conversations on, and what is remembered of it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::inbox::{Conversation, NO_GRAPH, given_conversation};
use crate::support::{Client, Server, Tenant, id_of};

struct Desk {
    server: Server,
    tenant: Tenant,
    conversation: Conversation,
}

impl Desk {
    async fn open() -> Self {
        let server = Server::start_with(&[NO_GRAPH]).await;
        let tenant = server.tenant().await;
        let conversation = given_conversation(&server, &tenant).await;
        Self { server, tenant, conversation }
    }

    fn path(&self) -> String {
        format!("{}/transfer", self.conversation.path())
    }

    async fn division(&self, name: &str, method: &str) -> Uuid {
        let new = json!({ "name": name, "allocation_method": method });
        id_of(&self.tenant.admin.post("/api/divisions", new).await.expect(StatusCode::CREATED))
    }

    async fn transfer(&self, by: &Client, to: Value) -> Value {
        by.post(&self.path(), to).await.expect(StatusCode::CREATED)
    }

    async fn shown(&self) -> Value {
        self.tenant.admin.get(&self.conversation.path()).await.expect(StatusCode::OK)
    }

    async fn history(&self) -> Vec<Value> {
        let path = format!("{}/transfers", self.conversation.path());
        self.tenant.admin.get(&path).await.expect(StatusCode::OK).as_array().cloned().expect("a list")
    }
}

#[tokio::test]
async fn a_transfer_gives_the_conversation_to_an_agent_and_is_remembered() {
    let desk = Desk::open().await;
    let ((budi, budi_id), (sari, sari_id)) =
        (desk.tenant.agent("agent").await, desk.tenant.agent("agent").await);
    let first = desk.transfer(&sari, json!({ "to_agent_id": budi_id, "note": "Asks for a refund" })).await;
    assert_eq!((&first["from_agent_id"], &first["to_agent_id"]), (&Value::Null, &json!(budi_id)));
    assert_eq!((&first["transferred_by"], &first["transferred_by_name"]), (&json!(sari_id), &json!("Budi")));
    assert_eq!(
        (&first["note"], &first["conversation_id"]),
        (&json!("Asks for a refund"), &json!(desk.conversation.id))
    );
    assert_eq!(desk.shown().await["assigned_agent_id"], json!(budi_id));
    let second = desk.transfer(&budi, json!({ "to_agent_id": sari_id })).await;
    assert_eq!((&second["from_agent_id"], &second["to_agent_name"]), (&json!(budi_id), &json!("Budi")));
    // Whoever has it already can't be given it.
    budi.post(&desk.path(), json!({ "to_agent_id": sari_id })).await.problem(409, "already_there");
    assert_eq!(desk.history().await, [second, first], "the newest first");
}

#[tokio::test]
async fn a_transfer_to_a_division_goes_to_whom_the_division_picks() {
    let desk = Desk::open().await;
    let admin = &desk.tenant.admin;
    let (_, holder) = desk.tenant.agent("agent").await;
    let (_, online) = desk.tenant.agent("agent").await;
    let (_, offline) = desk.tenant.agent("agent").await;
    desk.transfer(admin, json!({ "to_agent_id": holder })).await;
    let status = format!("/api/agents/{online}/status");
    admin.patch(&status, json!({ "is_online": true })).await.expect(StatusCode::OK);
    let picked = desk.division("Support", "least_busy").await;
    let members = json!({ "agent_ids": [online, offline] });
    let path = format!("/api/divisions/{picked}/agents");
    admin.post(&path, members.clone()).await.expect(StatusCode::OK);
    let made = desk.transfer(admin, json!({ "to_division_id": picked })).await;
    assert_eq!((&made["from_agent_id"], &made["to_agent_id"]), (&json!(holder), &json!(online)));
    assert_eq!((&made["to_division_id"], &made["to_division_name"]), (&json!(picked), &json!("Support")));
    let shown = desk.shown().await;
    assert_eq!((&shown["division_id"], &shown["assigned_agent_id"]), (&json!(picked), &json!(online)));

    // Where people pick, it waits in the queue.
    let manual = desk.division("Returns", "manual").await;
    let path = format!("/api/divisions/{manual}/agents");
    admin.post(&path, members).await.expect(StatusCode::OK);
    let made = desk.transfer(admin, json!({ "to_division_id": manual })).await;
    assert_eq!((&made["from_agent_id"], &made["to_agent_id"]), (&json!(online), &Value::Null));
    let shown = desk.shown().await;
    assert_eq!((&shown["division_id"], &shown["assigned_agent_id"]), (&json!(manual), &Value::Null));
    // To both: the agent named counts, whether or not the division has it.
    let made = desk.transfer(admin, json!({ "to_division_id": picked, "to_agent_id": holder })).await;
    assert_eq!((&made["to_division_id"], &made["to_agent_id"]), (&json!(picked), &json!(holder)));
    assert_eq!(desk.history().await.len(), 4);
}

#[tokio::test]
async fn a_transfer_to_nobody_or_to_strangers_changes_nothing() {
    let desk = Desk::open().await;
    let stranger = desk.server.tenant().await;
    let (_, foreign) = stranger.agent("agent").await;
    let theirs = stranger.admin.post("/api/divisions", json!({ "name": "Theirs" })).await;
    let theirs = id_of(&theirs.expect(StatusCode::CREATED));
    let (_, mine) = desk.tenant.agent("agent").await;
    for (bad, field) in [
        (json!({}), "to_agent_id"),
        (json!({ "note": "?" }), "to_agent_id"),
        (json!({ "to_agent_id": foreign }), "to_agent_id"),
        (json!({ "to_division_id": theirs }), "to_division_id"),
        (json!({ "to_agent_id": mine, "to_division_id": theirs }), "to_division_id"),
        (json!({ "to_agent_id": mine, "note": "x".repeat(2001) }), "note"),
        (json!({ "to_agent_id": "Budi" }), "to_agent_id"),
        (json!({ "agent_id": mine }), "agent_id"),
    ] {
        desk.tenant.admin.post(&desk.path(), bad).await.names_fields(&[field]);
    }
    stranger.admin.post(&desk.path(), json!({ "to_agent_id": foreign })).await.problem(404, "not_found");
    let history = format!("{}/transfers", desk.conversation.path());
    stranger.admin.get(&history).await.problem(404, "not_found");
    assert_eq!(desk.history().await, Vec::<Value>::new());
    let shown = desk.shown().await;
    assert_eq!((&shown["assigned_agent_id"], &shown["division_id"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn the_note_of_a_transfer_goes_with_the_person_it_is_about() {
    let desk = Desk::open().await;
    let (_, budi) = desk.tenant.agent("agent").await;
    let admin = &desk.tenant.admin;
    desk.transfer(admin, json!({ "to_agent_id": budi, "note": "Siti lives in Bandung" })).await;
    let erase = format!("/api/contacts/{}/erase", desk.conversation.contact_id);
    admin.post(&erase, json!({})).await.expect(StatusCode::OK);
    let left = desk.history().await.remove(0);
    assert_eq!((&left["note"], &left["to_agent_id"]), (&Value::Null, &json!(budi)));
    let root = desk.server.super_admin().await;
    let verified = root.post("/api/super-admin/projections/allocation/verify", json!({})).await;
    assert_eq!(verified.expect(StatusCode::OK)["ok"], true);
}

#[tokio::test]
async fn who_does_not_wait_for_the_read_models_is_answered_all_the_same() {
    let mut desk = Desk::open().await;
    let (_, budi) = desk.tenant.agent("agent").await;
    // Nothing is projected from here on.
    desk.server.restart("api", || ()).await;
    desk.tenant.admin.base.clone_from(&desk.server.process.base);
    let hurried = desk.tenant.admin.with_header("prefer", "respond-async");
    let made = desk.transfer(&hurried, json!({ "to_agent_id": budi, "note": "Quick" })).await;
    assert_eq!((&made["to_agent_id"], &made["note"]), (&json!(budi), &json!("Quick")));
    assert_eq!(made["to_agent_name"], "Budi");
    assert!(desk.history().await.is_empty(), "the list is not as far");
}

#[tokio::test]
async fn nothing_is_given_to_a_suspended_agent() {
    let desk = Desk::open().await;
    let (_, budi) = desk.tenant.agent("agent").await;
    let suspend = format!("/api/super-admin/tenants/{}/users/{budi}/suspend", desk.tenant.id);
    desk.server.super_admin().await.send(Method::POST, &suspend, None).await.expect(StatusCode::OK);
    let admin = &desk.tenant.admin;
    admin.post(&desk.path(), json!({ "to_agent_id": budi })).await.names_fields(&["to_agent_id"]);
    let assign = format!("{}/assign", desk.conversation.path());
    admin.patch(&assign, json!({ "agent_id": budi })).await.names_fields(&["agent_id"]);
    for action in ["assign", "transfer"] {
        let bulk = json!({ "conversation_ids": [desk.conversation.id], "action": action, "agent_id": budi });
        admin.post("/api/conversations/bulk", bulk).await.names_fields(&["agent_id"]);
    }
    assert_eq!(desk.shown().await["assigned_agent_id"], Value::Null);
}
