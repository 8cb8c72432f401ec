//! Actions that reach further than the conversation.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode as Status};
use axum::routing::post;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Scene, list};
use crate::support::whatsapp::{conversation_with, messages_of, now, text};
use crate::support::{Process, eventually, id_of};

/// What arrived: the call's id, a header of the rule's own, the body.
type Calls = Arc<Mutex<Vec<(String, String, Value)>>>;

/// Somebody else's server, which refuses the first calls.
struct Receiver {
    base: String,
    calls: Calls,
}

impl Receiver {
    async fn start(refusals: usize) -> Self {
        let calls = Calls::default();
        let app = Router::new().route("/hook", post(receive)).with_state((Arc::clone(&calls), refusals));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { base, calls }
    }

    fn calls(&self) -> Vec<(String, String, Value)> {
        self.calls.lock().expect("not poisoned").clone()
    }
}

async fn receive(State((calls, refusals)): State<(Calls, usize)>, headers: HeaderMap, body: Bytes) -> Status {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let mut calls = calls.lock().expect("not poisoned");
    calls.push((text("webhook-id"), text("x-shop"), serde_json::from_slice(&body).expect("JSON")));
    if calls.len() <= refusals { Status::SERVICE_UNAVAILABLE } else { Status::OK }
}

#[tokio::test]
async fn a_webhook_is_called_with_the_facts_and_again_under_the_same_id() {
    let (scene, receiver) = (Scene::start().await, Receiver::start(2).await);
    let url = format!("{}/hook", receiver.base);
    let call = json!([
        { "type": "call_webhook", "url": url, "headers": { "X-Shop": "maju" } },
        { "type": "add_tags", "tags": ["told"] },
    ]);
    let rule_id = scene.rule(call, json!({ "name": "Tell" })).await;
    let conversation_id = scene.hear("Halo").await;
    let item = scene.settled(1, "done").await.remove(0);
    assert_eq!(item["attempts"], 3);
    let calls = receiver.calls();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call.0 == calls[0].0 && call.1 == "maju"), "{calls:?}");
    let body = &calls[2].2;
    assert_eq!((&body["payload"], &body["rule"]["name"]), (&item["payload"], &json!("Tell")));
    assert_eq!((&body["id"], &body["conversation_id"]), (&json!(calls[0].0), &json!(conversation_id)));
    assert_eq!(scene.runs_of(rule_id).await[0]["executed"], true);
    assert_eq!(scene.conversation(conversation_id).await["tags"], json!(["told"]));
}

#[tokio::test]
async fn a_webhook_never_reaches_an_address_inside() {
    let receiver = Receiver::start(0).await;
    let scene = Scene::start_with(&[("OMNISTREAM_ALLOW_PRIVATE_ADDRESSES", "false")]).await;
    let port = receiver.base.rsplit(':').next().expect("a port");
    let calls = json!([
        { "type": "call_webhook", "url": format!("{}/hook", receiver.base) },
        { "type": "call_webhook", "url": format!("http://localhost:{port}/hook") },
        { "type": "call_webhook", "url": format!("http://[::ffff:127.0.0.1]:{port}/hook") },
    ]);
    let rule = json!({ "name": "Inside", "trigger_type": "message_received_inbound", "actions": calls });
    let refused = scene.admin().post("/api/automation-rules", rule.clone()).await;
    refused.names_fields(&["actions[0].url", "actions[1].url", "actions[2].url"]);
    let harmless = scene.rule(json!([{ "type": "unassign" }]), json!({ "is_active": false })).await;
    let path = format!("/api/automation-rules/{harmless}");
    let changed = scene.admin().patch(&path, json!({ "actions": calls })).await;
    changed.names_fields(&["actions[0].url", "actions[1].url", "actions[2].url"]);
    // Written down where it is allowed, they are not connected to where it is not.
    let lax = HashMap::from([("OMNISTREAM_ALLOW_PRIVATE_ADDRESSES".to_owned(), "true".to_owned())]);
    let lax = Process::start("api", &scene.server.database.owner_url, &lax);
    let mut admin = scene.admin().clone();
    admin.base.clone_from(&lax.base);
    let rule_id = id_of(&admin.post("/api/automation-rules", rule).await.expect(StatusCode::CREATED));
    scene.hear("Halo").await;
    scene.settled(1, "failed").await;
    let run = scene.runs_of(rule_id).await.remove(0);
    for action in run["result"]["actions"].as_array().expect("actions") {
        assert!(action["reason"].as_str().is_some_and(|reason| reason.contains("private")), "{action}");
    }
    assert!(receiver.calls().is_empty());
}

#[tokio::test]
async fn a_breach_sets_rules_off_once() {
    let scene = Scene::start().await;
    let policy = json!({ "name": "Gold", "first_response_time_secs": 1, "resolution_time_secs": 3600 });
    let policy = scene.admin().post("/api/sla-policies", policy).await.expect(StatusCode::CREATED);
    let applied = scene.rule(json!([{ "type": "apply_sla", "policy_id": policy["id"] }]), json!({})).await;
    let note = json!([{ "type": "add_note", "content": "{{sla.policy_name}} {{sla.breach_type}}" }]);
    let breached = scene.rule(note, json!({ "trigger_type": "sla_breached" })).await;
    scene.hear("Halo").await;
    scene.settled(1, "done").await;
    assert_eq!(scene.runs_of(applied).await[0]["executed"], true);
    let run = eventually("the breach", || async { scene.runs_of(breached).await.into_iter().next() }).await;
    assert_eq!(run["result"]["actions"][0]["action"]["content"], "Gold first_response");
    let items = scene.items("sla_breached").await;
    assert_eq!((items.len(), &items[0]["payload"]["sla"]["threshold_secs"]), (1, &json!(1)));
}

#[tokio::test]
async fn a_survey_goes_out_once_while_it_is_open() {
    let scene = Scene::start().await;
    let rule_id = scene.rule(json!([{ "type": "send_csat" }]), json!({})).await;
    let conversation_id = scene.hear("Halo").await;
    scene.settled(1, "done").await;
    assert_eq!(scene.runs_of(rule_id).await[0]["executed"], true);
    let survey = scene.admin().get(&format!("/api/conversations/{conversation_id}/csat")).await;
    assert_eq!(survey.expect(StatusCode::OK)["status"], "pending");
    let sent = eventually("the question", || async { scene.graph.messages().into_iter().next() }).await;
    assert_eq!(sent["type"], "interactive");
    scene.hear("Lagi").await;
    let second = eventually("the second fails", || async {
        scene.items("message_received_inbound").await.into_iter().find(|item| item["status"] == "failed")
    })
    .await;
    assert!(second["error"].as_str().is_some_and(|error| error.contains("survey_open")), "{second}");
}

#[tokio::test]
async fn free_text_after_the_window_fails_with_that_reason() {
    let scene = Scene::start().await;
    let late = json!([{ "type": "send_message", "content": { "text": "Still there?" } }]);
    let rule_id = scene.rule(late, json!({ "trigger_type": "status_changed" })).await;
    let mut message = text(&scene.customer, "Halo");
    message["timestamp"] = json!((now() - 2 * 24 * 3600).to_string());
    scene.number.deliver(vec![scene.number.messages(vec![message])]).await.expect_ok();
    let conversation_id = id_of(&conversation_with(scene.admin(), &scene.customer).await);
    let path = format!("/api/conversations/{conversation_id}/status");
    scene.admin().patch(&path, json!({ "status": "pending" })).await.expect(StatusCode::OK);
    let run = eventually("the rule runs", || async { scene.runs_of(rule_id).await.into_iter().next() }).await;
    let action = &run["result"]["actions"][0];
    assert_eq!(action["outcome"], "failed");
    assert!(action["reason"].as_str().is_some_and(|reason| reason.starts_with("window_closed")), "{action}");
    assert_eq!(messages_of(scene.admin(), conversation_id, 1).await.len(), 1);
}

#[tokio::test]
async fn forgetting_a_person_empties_facts_and_texts_and_keeps_the_rest() {
    let scene = Scene::start().await;
    let rule_id = scene.rule(json!([{ "type": "add_note", "content": "{{contact.name}}" }]), json!({})).await;
    scene.hear("Halo").await;
    let item = scene.settled(1, "done").await.remove(0);
    let contact = item["contact_id"].as_str().expect("a contact");
    scene.admin().post(&format!("/api/contacts/{contact}/erase"), json!({})).await.expect(StatusCode::OK);
    let item = scene.items("message_received_inbound").await.remove(0);
    assert_eq!((&item["payload"], &item["status"]), (&json!({}), &json!("done")));
    let run = scene.runs_of(rule_id).await.remove(0);
    let action = &run["result"]["actions"][0];
    assert_eq!((&action["outcome"], action.get("action")), (&json!("done"), None));
    let root = scene.server.super_admin().await;
    let verified = root.post("/api/super-admin/projections/automation/verify", json!({})).await;
    assert_eq!(verified.expect(StatusCode::OK)["ok"], true);
}

#[tokio::test]
async fn what_a_rule_takes_away_is_gone_and_ai_is_switched() {
    let scene = Scene::start().await;
    let conversation_id = scene.hear("Halo").await;
    scene.settled(1, "done").await;
    let (_, agent_id) = scene.tenant.agent("agent").await;
    let path = format!("/api/conversations/{conversation_id}");
    let assign = json!({ "agent_id": agent_id });
    scene.admin().patch(&format!("{path}/assign"), assign).await.expect(StatusCode::OK);
    let tags = json!({ "tags": ["new", "vip"] });
    scene.admin().patch(&format!("{path}/tags"), tags).await.expect(StatusCode::OK);
    let actions = json!([
        { "type": "unassign" },
        { "type": "remove_tags", "tags": ["new", "never there"] },
        { "type": "set_status", "status": "pending" },
        { "type": "stop_ai" },
    ]);
    let first = scene.rule(actions, json!({})).await;
    scene.hear("Lagi").await;
    scene.settled(2, "done").await;
    assert_eq!(outcomes(&scene, first).await, ["done"; 4]);
    let shown = scene.conversation(conversation_id).await;
    assert_eq!((&shown["assigned_agent_id"], &shown["tags"]), (&Value::Null, &json!(["vip"])));
    assert_eq!((&shown["status"], &shown["ai_stopped"]), (&json!("pending"), &json!(true)));
    scene.admin().delete(&format!("/api/automation-rules/{first}")).await.expect(StatusCode::OK);

    let starter = scene.rule(json!([{ "type": "start_ai" }]), json!({})).await;
    scene.hear("Halo?").await;
    scene.settled(3, "done").await;
    assert_eq!(outcomes(&scene, starter).await, ["done"]);
    assert_eq!(scene.conversation(conversation_id).await["ai_stopped"], false);
    // Each is an event that names its rule, and which rule it was.
    let by = |rule: uuid::Uuid| format!("/api/events?stream_id={conversation_id}&actor_id={rule}");
    let kinds =
        |events: Vec<Value>| events.iter().map(|event| event["event_type"].clone()).collect::<Vec<_>>();
    assert_eq!(
        kinds(list(scene.admin(), &by(first), "events").await),
        [
            "conversation.unassigned",
            "conversation.tagged",
            "conversation.status_changed",
            "conversation.ai_stopped"
        ]
    );
    assert_eq!(kinds(list(scene.admin(), &by(starter), "events").await), ["conversation.ai_started"]);
}

#[tokio::test]
async fn a_division_that_a_rule_chooses_hands_the_conversation_out() {
    let scene = Scene::start().await;
    let new = json!({ "name": "Sales", "allocation_method": "round_robin" });
    let division = id_of(&scene.admin().post("/api/divisions", new).await.expect(StatusCode::CREATED));
    let (agent, agent_id) = scene.tenant.agent("agent").await;
    let online = format!("/api/agents/{agent_id}/status");
    agent.patch(&online, json!({ "is_online": true })).await.expect(StatusCode::OK);
    let members = format!("/api/divisions/{division}/agents");
    scene.admin().post(&members, json!({ "agent_ids": [agent_id] })).await.expect(StatusCode::OK);
    scene.rule(json!([{ "type": "assign_division", "division_id": division }]), json!({})).await;
    let conversation_id = scene.hear("Halo").await;
    scene.settled(1, "done").await;
    eventually("it is handed out", || async {
        (scene.conversation(conversation_id).await["assigned_agent_id"] == json!(agent_id)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_action_whose_target_has_gone_fails_with_that_reason_and_the_rest_go_on() {
    let scene = Scene::start().await;
    let policy = scene.admin().post("/api/sla-policies", json!({ "name": "Gold" })).await;
    let policy = id_of(&policy.expect(StatusCode::CREATED));
    let ((_, deleted), (_, suspended)) =
        (scene.tenant.agent("agent").await, scene.tenant.agent("agent").await);
    let rule_id = scene
        .rule(
            json!([
                { "type": "assign_agent", "agent_id": deleted },
                { "type": "assign_agent", "agent_id": suspended },
                { "type": "apply_sla", "policy_id": policy },
                { "type": "add_tags", "tags": ["seen"] },
            ]),
            json!({}),
        )
        .await;
    scene.admin().delete(&format!("/api/sla-policies/{policy}")).await.expect(StatusCode::OK);
    scene.admin().delete(&format!("/api/agents/{deleted}")).await.expect(StatusCode::OK);
    let platform = scene.server.super_admin().await;
    let suspend = format!("/api/super-admin/tenants/{}/users/{suspended}/suspend", scene.tenant.id);
    platform.post(&suspend, json!({})).await.expect(StatusCode::OK);
    let conversation_id = scene.hear("Halo").await;
    let item = scene.settled(1, "failed").await.remove(0);
    assert!(item["error"].as_str().is_some_and(|error| error.contains("target_gone")), "{item}");
    let run = scene.runs_of(rule_id).await.remove(0);
    assert_eq!((&run["matched"], &run["executed"]), (&json!(true), &json!(false)));
    let actions = run["result"]["actions"].as_array().expect("actions");
    let reasons: Vec<&str> =
        actions.iter().map(|action| action["reason"].as_str().unwrap_or("none")).collect();
    for (reason, code) in reasons.iter().zip(["target_gone", "agent_suspended", "target_gone", "none"]) {
        assert!(reason.starts_with(code), "{reason} is not {code}");
    }
    assert_eq!(scene.conversation(conversation_id).await["tags"], json!(["seen"]));
}

/// How the actions of a rule's latest run ended.
async fn outcomes(scene: &Scene, rule_id: uuid::Uuid) -> Vec<Value> {
    let run = scene.runs_of(rule_id).await.pop().expect("a run");
    let actions = run["result"]["actions"].as_array().cloned().expect("actions");
    actions.iter().map(|action| action["outcome"].clone()).collect()
}
