//! WhatsApp message templates: submitted, synced, judged by Meta, and sent.

mod sending;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::graph::{Graph, Reply};
use crate::support::whatsapp::{APP_SECRET, Number, deliver};
use crate::support::{Answer, Client, Server, Tenant, eventually, id_of};

const PATH: &str = "/api/wa-templates";
const SYNC: &str = "/api/wa-templates/sync";
const TOKEN: &str = "EAAG-a-token-of-the-account";
const WABA: &str = "900";

/// A tenant with a number of the business account [`WABA`].
struct Scene {
    graph: Graph,
    server: Server,
    tenant: Tenant,
    number: Number,
}

impl Scene {
    async fn start() -> Self {
        Self::start_with(&[], json!({ "access_token": TOKEN, "waba_id": WABA })).await
    }

    /// With these settings of the installation, and of the number.
    async fn start_with(settings: &[(&str, &str)], config: Value) -> Self {
        let graph = Graph::start().await;
        let all = [&[("META_API_URL", &*graph.base)], settings].concat();
        let server = Server::start_with(&all).await;
        let tenant = server.tenant().await;
        let number = Number::connect_with(&tenant, config).await;
        Self { graph, server, tenant, number }
    }

    fn admin(&self) -> &Client {
        &self.tenant.admin
    }

    async fn create(&self, template: Value) -> Answer {
        self.admin().post(PATH, template).await
    }

    async fn created(&self, template: Value) -> Value {
        self.create(template).await.expect(StatusCode::CREATED)
    }

    async fn sync(&self) -> Value {
        self.admin().post(SYNC, Value::Null).await.expect(StatusCode::OK)
    }

    async fn list(&self, query: &str) -> Vec<Value> {
        let listed = self.admin().get(&format!("{PATH}{query}")).await.expect(StatusCode::OK);
        listed.as_array().cloned().expect("a list")
    }

    async fn names(&self, query: &str) -> Vec<String> {
        let name = |template: Value| template["name"].as_str().expect("a name").to_owned();
        self.list(query).await.into_iter().map(name).collect()
    }

    /// Meta's webhook about a template.
    async fn hear(&self, field: &str, template: &Value, news: Value) {
        let mut value = news;
        value["message_template_id"] = template["meta_template_id"].clone();
        value["message_template_name"] = template["name"].clone();
        value["message_template_language"] = template["language"].clone();
        let body = json!({ "object": "whatsapp_business_account", "entry": [
            { "id": WABA, "changes": [{ "field": field, "value": value }] }] });
        deliver(&self.server.client(), body.to_string().as_bytes(), Some(APP_SECRET)).await.expect_ok();
    }

    async fn judged(&self, template: &Value, event: &str) {
        self.hear("message_template_status_update", template, json!({ "event": event, "reason": "NONE" }))
            .await;
    }

    /// Waits until a template's field has this value.
    async fn becomes(&self, template: &Value, field: &str, value: &str) -> Value {
        let path = format!("{PATH}/{}", id_of(template));
        eventually(&format!("{field} {value}"), || async {
            let now = self.admin().get(&path).await.expect(StatusCode::OK);
            (now[field] == value).then_some(now)
        })
        .await
    }

    /// A template that Meta has approved.
    async fn approved(&self, template: Value) -> Value {
        let created = self.created(template).await;
        self.judged(&created, "APPROVED").await;
        self.becomes(&created, "status", "APPROVED").await
    }
}

fn shipped() -> Value {
    json!({
        "name": "order_shipped", "language": "en_US", "category": "UTILITY",
        "components": [{ "type": "BODY", "text": "Order {{1}} is on its way.", "example": { "body_text": [["2041"]] } }],
    })
}

/// As Meta lists one.
fn listed(name: &str, status: &str) -> Value {
    json!({
        "id": format!("id-of-{name}"), "name": name, "language": "id", "status": status, "category": "MARKETING",
        "components": [{ "type": "BODY", "text": "Halo {{1}}" }], "quality_score": { "score": "GREEN" },
    })
}

#[tokio::test]
async fn a_template_is_submitted_to_meta_and_shown_as_meta_takes_it() {
    let scene = Scene::start().await;
    let created = scene.created(shipped()).await;
    assert_eq!((&created["status"], &created["category"]), (&json!("PENDING"), &json!("UTILITY")));
    assert_eq!((&created["waba_id"], &created["meta_template_id"]), (&json!(WABA), &json!("1000")));
    assert_eq!(created["components"], shipped()["components"]);
    let [call] = &scene.graph.calls_to("/900/message_templates")[..] else { panic!() };
    assert_eq!((call.token.as_str(), &call.body), (TOKEN, &shipped()));
    let path = format!("{PATH}/{}", id_of(&created));
    assert_eq!(scene.admin().get(&path).await.expect(StatusCode::OK), created);

    // The same again is the same; another text under that name is refused before Meta is asked.
    assert_eq!(scene.created(shipped()).await["id"], created["id"]);
    let mut other = shipped();
    other["components"][0]["text"] = json!("Your order {{1}} left.");
    scene.create(other.clone()).await.problem(409, "already_taken");
    assert_eq!(scene.graph.calls_to("/message_templates").len(), 1);
    other["language"] = json!("id");
    scene.created(other).await;

    assert_eq!(scene.list("").await.len(), 2);
    assert_eq!(scene.list("?status=PENDING&category=UTILITY&waba_id=900").await.len(), 2);
    for nothing in ["?status=APPROVED", "?category=MARKETING", "?waba_id=901"] {
        assert!(scene.list(nothing).await.is_empty(), "{nothing}");
    }
    let stranger = scene.server.tenant().await;
    stranger.admin.get(&path).await.problem(404, "not_found");
    assert_eq!(stranger.admin.get(PATH).await.expect(StatusCode::OK), json!([]));
    let (agent, _) = scene.tenant.agent("agent").await;
    assert_eq!(agent.get(PATH).await.expect(StatusCode::OK).as_array().map(Vec::len), Some(2));
    agent.post(PATH, shipped()).await.problem(403, "forbidden");
}

#[tokio::test]
async fn what_can_not_be_submitted_is_refused_by_field_or_by_what_is_missing() {
    let scene = Scene::start().await;
    let refused = async |field: &str, value: Value, named: &str| {
        let mut template = shipped();
        template[field] = value;
        scene.create(template).await.names_fields(&[named]);
    };
    refused("name", json!("Order Shipped"), "name").await;
    refused("language", json!("en-US"), "language").await;
    refused("category", json!("OTP"), "category").await;
    refused("components", json!([]), "components").await;
    refused("components", json!([{ "type": "BODY" }]), "components[0].text").await;
    refused("integration_account_id", json!(uuid::Uuid::new_v4()), "integration_account_id").await;
    refused("header", json!({}), "header").await;
    let email = json!({ "channel": "email", "config": { "address": "help@example.com" } });
    let email = scene.admin().post("/api/integration-accounts", email).await.expect(StatusCode::CREATED);
    refused("integration_account_id", email["id"].clone(), "integration_account_id").await;
    assert!(scene.graph.calls_to("/message_templates").is_empty());

    let without = scene.server.tenant().await;
    without.admin.post(PATH, shipped()).await.problem(409, "not_configured");
    without.admin.post(SYNC, Value::Null).await.problem(409, "not_configured");
    Number::connect_with(&without, json!({ "access_token": TOKEN })).await;
    let lacks = without.admin.post(PATH, shipped()).await.problem(409, "not_configured");
    assert!(lacks["detail"].as_str().unwrap().contains("waba_id"), "{lacks}");
}

#[tokio::test]
async fn what_meta_refuses_is_not_stored_and_what_is_lost_on_the_way_is_synced() {
    let scene = Scene::start().await;
    let invalid = json!({ "error": { "code": 100, "message": "Invalid parameter", "error_subcode": 2_388_293,
        "error_user_msg": "There are too many variables for this text." } });
    scene.graph.next_about_templates(Reply::Json(StatusCode::BAD_REQUEST, invalid));
    let problem = scene.create(shipped()).await.problem(422, "refused_by_provider");
    assert!(problem["detail"].as_str().unwrap().contains("too many variables"), "{problem}");
    let exists =
        json!({ "error": { "code": 100, "error_subcode": 2_388_024, "message": "Invalid parameter" } });
    scene.graph.next_about_templates(Reply::Json(StatusCode::BAD_REQUEST, exists));
    scene.create(shipped()).await.problem(409, "exists_at_provider");
    scene.graph.next_about_templates(Reply::error(401, 190, "Invalid OAuth access token"));
    scene.create(shipped()).await.problem(502, "provider_failed");
    assert!(scene.list("").await.is_empty());

    scene.graph.next_about_templates(Reply::BreakOff);
    let lost = scene.create(shipped()).await.problem(502, "provider_failed");
    assert!(lost["detail"].as_str().unwrap().contains("may or may not"), "{lost}");
    assert!(scene.list("").await.is_empty());
    let synced = scene.sync().await;
    assert_eq!((&synced["total_from_meta"], &synced["synced"]), (&json!(1), &json!(1)));
    assert_eq!(scene.names("").await, ["order_shipped"]);
}

#[tokio::test]
async fn a_sync_follows_every_page_and_says_what_it_could_not_read() {
    let scene = Scene::start().await;
    let mut all: Vec<Value> = ["one", "two", "three", "four"].map(|name| listed(name, "APPROVED")).into();
    all.push(listed("five", "SLEEPING"));
    scene.graph.list_templates(all.clone());
    let synced = scene.sync().await;
    assert_eq!((&synced["total_from_meta"], &synced["synced"]), (&json!(5), &json!(4)), "{synced}");
    let errors = synced["errors"].as_array().unwrap();
    assert!(errors.len() == 1 && errors[0].as_str().unwrap().contains("five"), "{synced}");
    let calls = scene.graph.calls_to("/900/message_templates");
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call.token == TOKEN && call.query.contains("components")), "{calls:?}");
    let ours = scene.list("?status=APPROVED&category=MARKETING").await;
    let one = ours.iter().find(|template| template["name"] == "one").expect("it is there");
    assert_eq!((&one["quality"], &one["meta_template_id"]), (&json!("GREEN"), &json!("id-of-one")));

    // Again with nothing new, nothing is written.
    let again = scene.admin().post(SYNC, Value::Null).await;
    assert_eq!(again.header("x-event-position"), None);
    assert_eq!(again.expect(StatusCode::OK)["synced"], 4);

    // What is listed in a way that can't be read stays as it is; what is not listed is gone.
    all[0] = listed("one", "PAUSED");
    all.remove(1);
    all[1] = listed("three", "SLEEPING");
    scene.graph.list_templates(all);
    assert_eq!(scene.sync().await["total_from_meta"], 4);
    assert_eq!(scene.names("?status=PAUSED").await, ["one"]);
    assert_eq!(scene.names("?status=APPROVED").await.len(), 2);
    let gone = scene.list("?status=DISABLED").await;
    assert_eq!((gone.len(), &gone[0]["name"]), (1, &json!("two")));
    assert!(gone[0]["status_reason"].as_str().unwrap().contains("no longer lists"), "{gone:?}");
}

#[tokio::test]
async fn a_list_that_breaks_off_changes_nothing() {
    let scene = Scene::start().await;
    let all = ["one", "two", "three"].map(|name| listed(name, "APPROVED"));
    scene.graph.list_templates(all.to_vec());
    scene.graph.next_about_templates(Reply::error(400, 4, "Application request limit reached"));
    let problem = scene.admin().post(SYNC, Value::Null).await.problem(502, "provider_failed");
    assert!(problem["detail"].as_str().unwrap().contains("Application request limit reached"), "{problem}");
    let page = json!({ "data": [all[0]], "paging": { "cursors": { "after": "1" }, "next": "more" } });
    scene.graph.next_about_templates(Reply::Json(StatusCode::OK, page.clone()));
    scene.graph.next_about_templates(Reply::error(500, 2, "Service temporarily unavailable"));
    scene.admin().post(SYNC, Value::Null).await.problem(502, "provider_failed");
    for _ in 0..2 {
        scene.graph.next_about_templates(Reply::Json(StatusCode::OK, page.clone()));
    }
    let circle = scene.admin().post(SYNC, Value::Null).await.problem(502, "provider_failed");
    assert!(circle["detail"].as_str().unwrap().contains("circle"), "{circle}");
    assert!(scene.list("").await.is_empty());
}

#[tokio::test]
async fn each_business_account_is_synced_once_with_its_own_token() {
    let scene = Scene::start().await;
    let second = json!({ "access_token": "another-token", "waba_id": "901" });
    let second = Number::connect_with(&scene.tenant, second).await;
    Number::connect_with(&scene.tenant, json!({ "access_token": TOKEN, "waba_id": WABA })).await;
    scene.graph.list_templates(vec![listed("one", "APPROVED")]);
    let synced = scene.sync().await;
    assert_eq!((&synced["total_from_meta"], &synced["synced"]), (&json!(2), &json!(2)), "{synced}");
    assert_eq!(scene.graph.calls_to("/900/message_templates").len(), 1);
    let [call] = &scene.graph.calls_to("/901/message_templates")[..] else { panic!() };
    assert_eq!(call.token, "another-token");
    assert_eq!(scene.names("?waba_id=901").await, ["one"]);

    // One that fails is named, and the other is synced.
    scene.graph.list_templates(vec![listed("one", "PAUSED")]);
    scene.graph.next_about_templates(Reply::error(401, 190, "Invalid OAuth access token"));
    let partly = scene.sync().await;
    assert_eq!(
        (partly["errors"].as_array().map(Vec::len), &partly["synced"]),
        (Some(1), &json!(1)),
        "{partly}"
    );
    assert_eq!(scene.list("?status=PAUSED").await.len(), 1);

    let only = format!("{SYNC}?integration_account_id={}", second.account_id);
    assert_eq!(scene.admin().post(&only, Value::Null).await.expect(StatusCode::OK)["total_from_meta"], 1);
    let unknown = format!("{SYNC}?integration_account_id={}", uuid::Uuid::new_v4());
    scene.admin().post(&unknown, Value::Null).await.names_fields(&["integration_account_id"]);
    let mut third = shipped();
    third["integration_account_id"] = json!(second.account_id);
    assert_eq!(scene.created(third).await["waba_id"], "901");
}

#[tokio::test]
async fn metas_verdicts_arrive_by_webhook() {
    let scene = Scene::start().await;
    let template = scene.created(shipped()).await;
    scene.judged(&template, "APPROVED").await;
    scene.becomes(&template, "status", "APPROVED").await;
    let quality = json!({ "previous_quality_score": "UNKNOWN", "new_quality_score": "YELLOW" });
    scene.hear("message_template_quality_update", &template, quality).await;
    scene.becomes(&template, "quality", "YELLOW").await;
    let category = json!({ "previous_category": "UTILITY", "new_category": "MARKETING" });
    scene.hear("template_category_update", &template, category).await;
    scene.becomes(&template, "category", "MARKETING").await;
    let rejected = json!({ "event": "REJECTED", "reason": "INVALID_FORMAT",
        "rejection_info": { "reason": "Variables are next to each other." } });
    scene.hear("message_template_status_update", &template, rejected).await;
    let rejected = scene.becomes(&template, "status", "REJECTED").await;
    assert!(rejected["status_reason"].as_str().unwrap().contains("next to each other"), "{rejected}");
}

#[tokio::test]
async fn verdicts_arrive_where_only_the_installation_names_the_business_account() {
    let scene = Scene::start_with(&[("META_WABA_ID", WABA)], json!({ "access_token": TOKEN })).await;
    let approved = scene.approved(shipped()).await;
    assert_eq!(approved["waba_id"], WABA);
}

#[tokio::test]
async fn a_verdict_that_is_faster_than_we_are_waits_for_its_template() {
    let scene = Scene::start().await;
    let mut early = shipped();
    early["meta_template_id"] = json!("1000");
    scene.judged(&early, "APPROVED").await;
    eventually("it waits", || async {
        let waiting = sqlx::query_scalar("SELECT count(*) FROM inbound WHERE status = 'waiting'");
        let waiting: i64 = waiting.fetch_one(&mut scene.server.sql().await).await.expect("a count");
        (waiting == 1).then_some(())
    })
    .await;
    let template = scene.created(shipped()).await;
    scene.becomes(&template, "status", "APPROVED").await;
}

#[tokio::test]
async fn a_deleted_template_is_gone_until_the_next_sync_and_the_header_media_is_set() {
    let scene = Scene::start().await;
    let mut pictured = shipped();
    let header = json!({ "type": "HEADER", "format": "IMAGE", "example": { "header_handle": ["4::aW"] } });
    pictured["components"].as_array_mut().unwrap().push(header);
    let template = scene.created(pictured).await;
    let path = format!("{PATH}/{}", id_of(&template));
    let media = |url: &str| json!({ "header_media_url": url });
    let set = scene.admin().patch(&path, media("https://example.com/a.jpg")).await.expect(StatusCode::OK);
    assert_eq!(set["header_media_url"], "https://example.com/a.jpg");
    scene.admin().patch(&path, media("a.jpg")).await.names_fields(&["header_media_url"]);
    let plain =
        scene.created(json!({ "name": "plain", "components": [{ "type": "BODY", "text": "Hi" }] })).await;
    assert_eq!((&plain["language"], &plain["category"]), (&json!("id"), &json!("UTILITY")));
    let plain = format!("{PATH}/{}", id_of(&plain));
    scene.admin().patch(&plain, media("https://example.com/a.jpg")).await.names_fields(&["header_media_url"]);

    let before = scene.graph.calls().len();
    let deleted = scene.admin().delete(&path).await.expect(StatusCode::OK);
    assert_eq!(deleted["id"], template["id"]);
    scene.admin().get(&path).await.problem(404, "not_found");
    scene.admin().delete(&path).await.problem(404, "not_found");
    scene.admin().patch(&path, media("https://example.com/a.jpg")).await.problem(404, "not_found");
    assert_eq!(scene.names("").await, ["plain"]);
    assert_eq!(scene.graph.calls().len(), before, "Meta keeps its original");
    scene.sync().await;
    let back = scene.admin().get(&path).await.expect(StatusCode::OK);
    assert_eq!((&back["id"], &back["header_media_url"]), (&template["id"], &Value::Null));
}
