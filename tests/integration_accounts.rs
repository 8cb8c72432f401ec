//! Connecting senders, and what Meta is told about them.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::clock::MovedClock;
use crate::support::graph::{Graph, Reply};
use crate::support::inbox::NO_GRAPH;
use crate::support::{Server, Tenant, eventually, id_of};

const PATH: &str = "/api/integration-accounts";
/// Longer than an address is kept for an account that is about to be made.
const A_MINUTE_AND_MORE: u64 = 70;

fn whatsapp(number: &str) -> Value {
    json!({ "channel": "whatsapp", "config": { "phone_number_id": number } })
}

async fn create(tenant: &Tenant, body: Value) -> Value {
    tenant.admin.post(PATH, body).await.expect(StatusCode::CREATED)
}

#[tokio::test]
async fn a_number_is_registered_and_subscribed_and_its_secrets_are_masked() {
    let graph = Graph::start().await;
    let server = Server::start_with(&[("META_API_URL", &graph.base)]).await;
    let tenant = server.tenant().await;
    let config = json!({ "phone_number_id": "100", "waba_id": "900", "access_token": "EAAG-token-9876", "pin": "123456" });
    let account =
        create(&tenant, json!({ "channel": "whatsapp", "display_name": "Toko", "config": config })).await;
    assert_eq!((&account["account_key"], &account["is_default"]), (&json!("wa-100"), &json!(true)));
    assert_eq!(account["config"]["access_token"], "••••9876");
    assert_eq!(account["config"]["pin"], "••••");
    assert_eq!(account["config"]["phone_number_id"], "100");
    assert_eq!(account["webhook_url"], format!("{}/webhook", server.process.base));
    assert!(account["verify_token"].as_str().is_some_and(|t| t.len() > 20), "{account}");
    assert_eq!(account["warnings"], Value::Null);
    let register = graph.calls_to("/100/register");
    assert_eq!(register[0].body, json!({ "messaging_product": "whatsapp", "pin": "123456" }));
    assert_eq!(
        (graph.calls_to("/900/subscribed_apps").len(), register[0].token.as_str()),
        (1, "EAAG-token-9876")
    );
    let path = format!("{PATH}/{}", id_of(&account));
    let (reader, _) = tenant.agent("supervisor").await;
    let seen = reader.get(&path).await.expect(StatusCode::OK);
    assert_eq!((&seen["verify_token"], &seen["config"]["access_token"]), (&Value::Null, &json!("••••9876")));
    let mut sql = server.sql().await;
    let clear: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM events WHERE payload::text LIKE '%9876\"%' AND payload::text LIKE '%EAAG%'",
    )
    .fetch_one(&mut sql)
    .await
    .expect("a count");
    assert_eq!(clear, 0, "the log holds no token in the clear");
}

#[tokio::test]
async fn a_masked_secret_is_kept_and_an_unchanged_update_is_no_event() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let config = json!({ "phone_number_id": "101", "app_secret": "the old secret" });
    let account = create(&tenant, json!({ "channel": "whatsapp", "config": config })).await;
    let path = format!("{PATH}/{}", id_of(&account));
    let same = json!({ "config": account["config"], "display_name": account["display_name"] });
    let answer = tenant.admin.patch(&path, same).await;
    assert_eq!(answer.header("x-event-position"), None);
    assert_eq!(answer.expect(StatusCode::OK)["updated_at"], account["updated_at"]);
    let same = json!({ "config": { "app_secret": "the old secret" } });
    assert_eq!(tenant.admin.patch(&path, same).await.header("x-event-position"), None);
    let new = json!({ "config": { "app_secret": "another one 4321" }, "is_active": false });
    let changed = tenant.admin.patch(&path, new).await.expect(StatusCode::OK);
    assert_eq!(
        (&changed["config"]["app_secret"], &changed["is_active"]),
        (&json!("••••4321"), &json!(false))
    );
    let removed = tenant.admin.patch(&path, json!({ "config": { "app_secret": null } })).await;
    assert_eq!(removed.expect(StatusCode::OK)["config"]["app_secret"], Value::Null);
    let guess = json!({ "config": { "app_secret": "••••9999" } });
    tenant.admin.patch(&path, guess).await.names_fields(&["config.app_secret"]);
}

#[tokio::test]
async fn bad_settings_are_named() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let unknown = json!({ "channel": "whatsapp", "config": { "phone_number_id": "1", "token": "x" } });
    tenant.admin.post(PATH, unknown).await.names_fields(&["config.token"]);
    let none = json!({ "channel": "whatsapp" });
    tenant.admin.post(PATH, none).await.names_fields(&["config.phone_number_id"]);
    let other = json!({ "channel": "whatsapp", "account_key": "main", "config": { "phone_number_id": "1" } });
    tenant.admin.post(PATH, other).await.names_fields(&["account_key"]);
    let nowhere =
        json!({ "channel": "email", "config": { "address": "a@b.co" }, "division_id": uuid::Uuid::new_v4() });
    tenant.admin.post(PATH, nowhere).await.names_fields(&["division_id"]);
    tenant.admin.post(PATH, json!({ "channel": "email" })).await.names_fields(&["account_key"]);
    tenant.admin.post(PATH, json!({ "channel": "fax" })).await.names_fields(&["channel"]);
    let left = tenant.admin.get(PATH).await.expect(StatusCode::OK);
    assert_eq!(left, json!([]));
}

#[tokio::test]
async fn a_number_belongs_to_one_account_on_the_whole_platform() {
    let server = Server::start().await;
    let (one, other) = (server.tenant().await, server.tenant().await);
    let account = create(&one, whatsapp("102")).await;
    one.admin.post(PATH, whatsapp("102")).await.problem(409, "already_taken");
    other.admin.post(PATH, whatsapp("102")).await.problem(409, "already_taken");
    let path = format!("{PATH}/{}", id_of(&account));
    other.admin.get(&path).await.problem(404, "not_found");
    other.admin.delete(&path).await.problem(404, "not_found");
    // A changed number frees the old one, and so does disconnecting.
    let moved = json!({ "config": { "phone_number_id": "103" } });
    assert_eq!(one.admin.patch(&path, moved).await.expect(StatusCode::OK)["account_key"], "wa-103");
    create(&other, whatsapp("102")).await;
    other.admin.post(PATH, whatsapp("103")).await.problem(409, "already_taken");
    one.admin.delete(&path).await.expect(StatusCode::OK);
    create(&other, whatsapp("103")).await;
    let attempts = (0..8).map(|_| one.admin.post(PATH, whatsapp("104")));
    let answers = futures::future::join_all(attempts).await;
    assert_eq!(answers.iter().filter(|a| a.status == StatusCode::CREATED).count(), 1);
}

#[tokio::test]
async fn one_account_of_a_channel_is_the_default() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let defaults = async || -> Vec<Value> {
        let list = tenant.admin.get(&format!("{PATH}?channel=whatsapp")).await.expect(StatusCode::OK);
        let accounts = list.as_array().cloned().unwrap_or_default();
        accounts.into_iter().filter(|a| a["is_default"] == true).map(|a| a["account_key"].clone()).collect()
    };
    let new = ["201", "202", "203"].map(|number| tenant.admin.post(PATH, whatsapp(number)));
    let created: Vec<Value> =
        futures::future::join_all(new).await.iter().map(|a| a.expect(StatusCode::CREATED)).collect();
    create(&tenant, json!({ "channel": "email", "config": { "address": "Toko@Example.com" } })).await;
    assert_eq!(defaults().await.len(), 1);
    let [_, second, third] = &created[..] else { panic!() };
    let path = |account: &Value| format!("{PATH}/{}", id_of(account));
    tenant.admin.post(&format!("{}/default", path(second)), json!({})).await.expect(StatusCode::OK);
    assert_eq!(defaults().await, [second["account_key"].clone()]);
    tenant.admin.patch(&path(third), json!({ "is_default": true })).await.expect(StatusCode::OK);
    assert_eq!(defaults().await, [third["account_key"].clone()]);
    tenant.admin.patch(&path(third), json!({ "is_default": false })).await.names_fields(&["is_default"]);
    tenant.admin.delete(&path(third)).await.expect(StatusCode::OK);
    assert_eq!(defaults().await.len(), 1);
    let email = tenant.admin.get(&format!("{PATH}?channel=email")).await.expect(StatusCode::OK);
    assert_eq!(
        (&email[0]["account_key"], &email[0]["is_default"]),
        (&json!("toko@example.com"), &json!(true))
    );
}

#[tokio::test]
async fn only_admins_connect_and_leaders_look() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (agent, _) = tenant.agent("agent").await;
    agent.get(PATH).await.problem(403, "forbidden");
    let (supervisor, _) = tenant.agent("supervisor").await;
    supervisor.get(PATH).await.expect(StatusCode::OK);
    supervisor.post(PATH, whatsapp("301")).await.problem(403, "forbidden");
}

#[tokio::test]
async fn metas_refusal_is_a_warning_and_not_half_an_account() {
    let graph = Graph::start().await;
    graph.refuse_setup(Some(Reply::error(400, 133_005, "Two step verification PIN mismatch")));
    let server = Server::start_with(&[("META_API_URL", &graph.base)]).await;
    let tenant = server.tenant().await;
    let config = json!({ "phone_number_id": "401", "waba_id": "900", "access_token": "EAAG-token-1111" });
    let account = create(&tenant, json!({ "channel": "whatsapp", "config": config })).await;
    let warnings = account["warnings"].as_array().cloned().unwrap_or_default();
    assert!(
        warnings.len() == 2 && warnings[0].as_str().is_some_and(|w| w.contains("PIN mismatch")),
        "{account}"
    );
    let path = format!("{PATH}/{}", id_of(&account));
    tenant.admin.get(&format!("{path}/whatsapp-health")).await.problem(502, "provider_error");
    graph.refuse_setup(None);
    let again =
        tenant.admin.patch(&path, json!({ "config": { "pin": "654321" } })).await.expect(StatusCode::OK);
    assert_eq!(again["warnings"], Value::Null);
    assert_eq!(graph.calls_to("/401/register").last().map(|c| c.body["pin"].clone()), Some(json!("654321")));
}

#[tokio::test]
async fn the_health_of_a_number_is_asked_at_meta() {
    let graph = Graph::start().await;
    let server = Server::start_with(&[("META_API_URL", &graph.base)]).await;
    let tenant = server.tenant().await;
    let config = json!({ "phone_number_id": "501", "waba_id": "900", "access_token": "EAAG-token-1111" });
    let account = create(&tenant, json!({ "channel": "whatsapp", "config": config })).await;
    let health = format!("{PATH}/{}/whatsapp-health", id_of(&account));
    let seen = tenant.admin.get(&health).await.expect(StatusCode::OK);
    assert_eq!((&seen["status"], &seen["quality_rating"]), (&json!("healthy"), &json!("GREEN")));
    assert_eq!(seen["account_id"], account["id"]);
    assert!(graph.calls_to("/501")[0].query.contains("quality_rating"));
    let email = create(&tenant, json!({ "channel": "email", "config": { "address": "a@b.co" } })).await;
    let health = format!("{PATH}/{}/whatsapp-health", id_of(&email));
    tenant.admin.get(&health).await.problem(409, "wrong_channel");
    let silent = create(&tenant, whatsapp("502")).await;
    let health = format!("{PATH}/{}/whatsapp-health", id_of(&silent));
    tenant.admin.get(&health).await.problem(409, "not_configured");
}

#[tokio::test]
async fn a_business_account_belongs_to_the_first_tenant_that_names_it() {
    let clock = MovedClock::new();
    let server = Server::start_with(&[NO_GRAPH, clock.env()]).await;
    let (owner, other) = (server.tenant().await, server.tenant().await);
    let named = |number: &str| json!({ "channel": "whatsapp", "config": { "phone_number_id": number, "waba_id": "900" } });
    let first = create(&owner, named("200")).await;
    let second = create(&owner, named("201")).await;
    let refused = other.admin.post(PATH, named("202")).await.problem(409, "already_taken");
    assert_eq!(refused["errors"][0]["field"], "config.waba_id");
    let account = create(&other, whatsapp("202")).await;
    let path = format!("{PATH}/{}", id_of(&account));
    let wish = json!({ "config": { "waba_id": "900" } });
    other.admin.patch(&path, wish.clone()).await.problem(409, "already_taken");

    // One of its two numbers is still in it.
    clock.set(A_MINUTE_AND_MORE);
    owner.admin.delete(&format!("{PATH}/{}", id_of(&first))).await.expect(StatusCode::OK);
    other.admin.patch(&path, wish.clone()).await.problem(409, "already_taken");
    owner.admin.delete(&format!("{PATH}/{}", id_of(&second))).await.expect(StatusCode::OK);
    eventually("the business account is free", || async {
        (other.admin.patch(&path, wish.clone()).await.status == StatusCode::OK).then_some(())
    })
    .await;
    owner.admin.post(PATH, named("203")).await.problem(409, "already_taken");
}
