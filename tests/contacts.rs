//! Contacts: finding, changing and forgetting people.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::inbox::{Inbound, NO_GRAPH, begun, deliver, digits, given_account, given_conversation};
use crate::support::{Client, Server, eventually, id_of};

async fn names(client: &Client, query: &str) -> Vec<String> {
    let page = client.get(&format!("/api/contacts?{query}")).await.expect(StatusCode::OK);
    let names: Vec<String> =
        page["contacts"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect();
    assert!(query.contains("per_page") || page["total"] == names.len(), "{page}");
    names
}

#[tokio::test]
async fn contacts_are_listed_newest_first_and_found() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let tenant = server.tenant().await;
    let account = given_account(&tenant).await;
    let ani = begun(&server, &tenant, &account, &digits(), "Ani 100% Wijaya").await;
    let budi = begun(&server, &tenant, &account, &digits(), "Budi").await;
    let path = format!("/api/contacts/{}", budi.contact_id);
    tenant
        .admin
        .patch(&path, json!({ "tags": ["vip"], "email": "budi@toko.id" }))
        .await
        .expect(StatusCode::OK);
    let client = &tenant.admin;
    assert_eq!(names(client, "").await, ["Budi", "Ani 100% Wijaya"]);
    assert_eq!(names(client, "per_page=1&page=2").await, ["Ani 100% Wijaya"]);
    for found in ["search=WIJAYA", "search=wi", "search=100%25", &format!("search=%2B{}", &ani.customer[..9])]
    {
        assert_eq!(names(client, found).await, ["Ani 100% Wijaya"], "{found}");
    }
    for found in ["search=budi@toko", "tag=vip", "tag=vip&channel=whatsapp&search=bud"] {
        assert_eq!(names(client, found).await, ["Budi"], "{found}");
    }
    for nothing in
        ["search=ijay_", "search=jaya%25x", "search=ij", "tag=VIP", "channel=email", "search=zebra"]
    {
        assert!(names(client, nothing).await.is_empty(), "{nothing}");
    }
    client.get("/api/contacts?per_page=101").await.names_fields(&["per_page"]);
    client.get("/api/contacts?name=x").await.names_fields(&["name"]);
}

#[tokio::test]
async fn a_contact_is_changed_field_by_field() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let tenant = server.tenant().await;
    let conversation = given_conversation(&server, &tenant).await;
    let path = format!("/api/contacts/{}", conversation.contact_id);
    let change =
        json!({ "email": "siti@toko.id", "phone_number": "+62 (21) 500-100", "tags": [" new ", "new"] });
    let changed = tenant.admin.patch(&path, change).await.expect(StatusCode::OK);
    assert_eq!(
        (&changed["name"], &changed["email"], &changed["phone_number"], &changed["tags"]),
        (&json!("Siti Rahayu"), &json!("siti@toko.id"), &json!("+6221500100"), &json!(["new"]))
    );
    let cleared = tenant.admin.patch(&path, json!({ "email": null })).await;
    assert_eq!(cleared.expect(StatusCode::OK)["email"], Value::Null);
    let same = tenant.admin.patch(&path, json!({ "email": null, "tags": ["new"] })).await;
    same.expect(StatusCode::OK);
    assert_eq!((same.header("etag"), same.header("x-event-position")), (cleared.header("etag"), None));
    let stale = tenant.admin.with_header("if-match", "\"1\"").patch(&path, json!({ "name": "Siti" })).await;
    stale.problem(412, "precondition_failed");
    tenant.admin.patch(&path, json!({ "email": "siti" })).await.names_fields(&["email"]);
    tenant.admin.patch(&path, json!({ "phone_number": "call me" })).await.names_fields(&["phone_number"]);
    tenant.admin.patch(&path, json!({ "tags": ["ok", " "] })).await.names_fields(&["tags[1]"]);
    tenant.admin.patch(&path, json!({ "nickname": "S" })).await.names_fields(&["nickname"]);
}

#[tokio::test]
async fn a_contact_shows_its_conversations_to_its_own_tenant_only() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let (tenant, stranger) = (server.tenant().await, server.tenant().await);
    let first = given_conversation(&server, &tenant).await;
    let account = given_account(&tenant).await;
    let second = begun(&server, &tenant, &account, &first.customer, "Siti Rahayu").await;
    assert_eq!((second.contact_id, second.account.id), (first.contact_id, account.id));
    let path = format!("/api/contacts/{}", first.contact_id);
    let conversations = tenant.admin.get(&format!("{path}/conversations")).await.expect(StatusCode::OK);
    let ids: Vec<_> = conversations.as_array().unwrap().iter().map(id_of).collect();
    assert_eq!(ids, [second.id, first.id]);
    for path in [path.clone(), format!("{path}/conversations")] {
        stranger.admin.get(&path).await.problem(404, "not_found");
    }
    stranger.admin.patch(&path, json!({ "name": "X" })).await.problem(404, "not_found");
    stranger.admin.post(&format!("{path}/erase"), json!({})).await.problem(404, "not_found");
}

#[tokio::test]
async fn an_erased_contact_leaves_nothing_that_is_personal() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let tenant = server.tenant().await;
    let conversation = given_conversation(&server, &tenant).await;
    let path = format!("/api/contacts/{}", conversation.contact_id);
    let erased = tenant.admin.post(&format!("{path}/erase"), json!({})).await.expect(StatusCode::OK);
    for field in ["name", "phone_number", "email"] {
        assert_eq!(erased[field], Value::Null, "{field}");
    }
    assert!(erased["erased_at"].is_string());
    let messages =
        tenant.admin.get(&format!("{}/messages", conversation.path())).await.expect(StatusCode::OK);
    let message = &messages["messages"][0];
    assert_eq!((&message["type"], &message["content"]), (&json!("text"), &json!({})));
    assert_eq!(message["sender_phone"], Value::Null);
    let shown = tenant.admin.get(&conversation.path()).await.expect(StatusCode::OK);
    assert_eq!((&shown["contact_name"], &shown["contact_phone"]), (&Value::Null, &Value::Null));
    assert!(names(&tenant.admin, "").await.is_empty());
    let found = tenant.admin.get("/api/messages/search?q=halo").await.expect(StatusCode::OK);
    assert_eq!(found["total"], 0);
    tenant.admin.patch(&path, json!({ "name": "Siti" })).await.problem(409, "contact_erased");
    let text = json!({ "type": "text", "content": { "text": "Halo" } });
    tenant
        .admin
        .post(&format!("{}/messages", conversation.path()), text)
        .await
        .problem(409, "contact_erased");
    let again = tenant.admin.post(&format!("{path}/erase"), json!({})).await;
    assert_eq!((again.expect(StatusCode::OK), again.header("x-event-position")), (erased, None));
    eventually("the contact's key is destroyed", || async {
        let key: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT wrapped_key FROM subject_keys WHERE subject_id = $1")
                .bind(conversation.contact_id)
                .fetch_one(&mut server.sql().await)
                .await
                .unwrap();
        key.is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_writes_from_an_erased_contacts_address_is_someone_new() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let tenant = server.tenant().await;
    let old = given_conversation(&server, &tenant).await;
    let erase = format!("/api/contacts/{}/erase", old.contact_id);
    tenant.admin.post(&erase, json!({})).await.expect(StatusCode::OK);
    let new = begun(&server, &tenant, &old.account, &old.customer, "Siti").await;
    assert_ne!((new.contact_id, new.id), (old.contact_id, old.id));
    deliver(&server, &old.account, &Inbound::text(&old.customer, "Masih di sini")).await;
    assert_eq!(names(&tenant.admin, "").await, ["Siti"]);
}

#[tokio::test]
async fn erasing_needs_contacts_manage() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let tenant = server.tenant().await;
    let conversation = given_conversation(&server, &tenant).await;
    let erase = format!("/api/contacts/{}/erase", conversation.contact_id);
    let role = json!({ "name": "reader", "permissions": ["conversations.manage"] });
    tenant.admin.post("/api/roles", role).await.expect(StatusCode::CREATED);
    let (reader, _) = tenant.agent("reader").await;
    reader.post(&erase, json!({})).await.problem(403, "forbidden");
    let (agent, _) = tenant.agent("agent").await;
    agent.post(&erase, json!({})).await.expect(StatusCode::OK);
}
