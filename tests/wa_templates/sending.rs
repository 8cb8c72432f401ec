//! What becomes of a template in a conversation.

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Scene, TOKEN, shipped};
use crate::support::whatsapp::{Number, conversation_with, customer, messages_of};
use crate::support::{Answer, eventually, id_of};

/// A conversation on the scene's number.
async fn conversation(scene: &Scene, number: &Number) -> Uuid {
    let from = customer();
    number.hear(&from, "Halo").await;
    id_of(&conversation_with(scene.admin(), &from).await)
}

async fn send(scene: &Scene, conversation_id: Uuid, template: &Value, variables: Value) -> Answer {
    let content = json!({ "template_id": template["id"], "variables": variables });
    let path = format!("/api/conversations/{conversation_id}/messages");
    scene.admin().post(&path, json!({ "type": "template", "content": content })).await
}

/// Waits for the first template that reaches Meta.
async fn reached(scene: &Scene) -> Value {
    eventually("Meta has it", || async {
        let sent = scene.graph.messages().into_iter().find(|body| body["type"] == "template");
        sent.map(|body| body["template"].clone())
    })
    .await
}

#[tokio::test]
async fn an_approved_template_reaches_meta_with_its_variables_in_place() {
    let scene = Scene::start().await;
    let conversation_id = conversation(&scene, &scene.number).await;
    let mut template = shipped();
    template["components"] = json!([
        { "type": "HEADER", "format": "IMAGE" },
        { "type": "BODY", "text": "Order {{1}} arrives on {{2}}." },
        { "type": "BUTTONS", "buttons": [{ "type": "URL", "text": "Track", "url": "https://example.com/{{1}}" }] },
    ]);
    let template = scene.approved(template).await;
    let variables = json!({ "1": "2041", "2": "Monday", "button.0": "track-2041" });
    // Without an address the picture has nothing to show.
    send(&scene, conversation_id, &template, variables.clone()).await.names_fields(&["content.template_id"]);
    let media = json!({ "header_media_url": "https://example.com/box.jpg" });
    let path = format!("/api/wa-templates/{}", id_of(&template));
    scene.admin().patch(&path, media).await.expect(StatusCode::OK);
    let sent = send(&scene, conversation_id, &template, variables.clone()).await.expect(StatusCode::CREATED);
    assert_eq!(sent["content"], json!({ "template_id": template["id"], "variables": variables }));
    let body = reached(&scene).await;
    let text = |text: &str| json!({ "type": "text", "text": text });
    let picture = json!({ "type": "image", "image": { "link": "https://example.com/box.jpg" } });
    let expected = json!({
        "name": "order_shipped",
        "language": { "code": "en_US" },
        "components": [
            { "type": "header", "parameters": [picture] },
            { "type": "body", "parameters": [text("2041"), text("Monday")] },
            { "type": "button", "sub_type": "url", "index": "0", "parameters": [text("track-2041")] },
        ],
    });
    assert_eq!(body, expected);
    eventually("it is sent", || async {
        let messages = messages_of(scene.admin(), conversation_id, 2).await;
        (messages[0]["status"] == "sent").then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_what_meta_approved_for_this_number_is_taken() {
    let scene = Scene::start().await;
    let conversation_id = conversation(&scene, &scene.number).await;
    let template = scene.created(shipped()).await;
    let variables = json!({ "1": "2041" });
    let refused = send(&scene, conversation_id, &template, variables.clone()).await;
    let refused = refused.problem(409, "template_not_approved");
    assert!(refused["detail"].as_str().unwrap().contains("PENDING"), "{refused}");
    scene.judged(&template, "APPROVED").await;
    scene.becomes(&template, "status", "APPROVED").await;
    let wrong = send(&scene, conversation_id, &template, json!({ "2": "2041" })).await;
    wrong.names_fields(&["content.variables.1", "content.variables.2"]);
    send(&scene, conversation_id, &template, variables.clone()).await.expect(StatusCode::CREATED);
    scene.judged(&template, "PAUSED").await;
    scene.becomes(&template, "status", "PAUSED").await;
    send(&scene, conversation_id, &template, variables.clone()).await.problem(409, "template_not_approved");
    scene.judged(&template, "REINSTATED").await;
    scene.becomes(&template, "status", "APPROVED").await;

    let elsewhere = json!({ "access_token": TOKEN, "waba_id": "901" });
    let elsewhere = Number::connect_with(&scene.tenant, elsewhere).await;
    let other = conversation(&scene, &elsewhere).await;
    send(&scene, other, &template, variables.clone()).await.names_fields(&["content.template_id"]);
    let stranger = Scene::start().await;
    let foreign = conversation(&stranger, &stranger.number).await;
    send(&stranger, foreign, &template, variables.clone()).await.names_fields(&["content.template_id"]);
    let path = format!("/api/wa-templates/{}", id_of(&template));
    scene.admin().delete(&path).await.expect(StatusCode::OK);
    send(&scene, conversation_id, &template, variables).await.names_fields(&["content.template_id"]);
    assert_eq!(scene.graph.messages().len(), 1);
}

#[tokio::test]
async fn a_rule_sends_only_templates_that_are_there_with_the_variables_that_they_have() {
    let scene = Scene::start().await;
    let template = scene.created(shipped()).await;
    let rule = |template_id: &Value, variables: Value| {
        let action = json!({ "type": "send_template", "template_id": template_id, "variables": variables });
        json!({ "name": "Ship", "trigger_type": "message_received_inbound", "actions": [{ "type": "unassign" }, action] })
    };
    let write = async |rule: Value| scene.admin().post("/api/automation-rules", rule).await;
    let unknown = rule(&json!(Uuid::new_v4()), json!({}));
    write(unknown).await.names_fields(&["actions[1].template_id"]);
    let wrong = rule(&template["id"], json!({ "1": "a", "2": "b" }));
    write(wrong).await.names_fields(&["actions[1].variables.2"]);
    let good = rule(&template["id"], json!({ "1": "{{contact.name}}" }));
    let rule_id = id_of(&write(good).await.expect(StatusCode::CREATED));

    // Meta has not approved it yet: that action fails and says so.
    let conversation_id = conversation(&scene, &scene.number).await;
    let path = format!("/api/automation-runs/by-rule/{rule_id}?sort_order=desc");
    let failed = eventually("a run", || async {
        let runs = scene.admin().get(&path).await.expect(StatusCode::OK);
        runs["runs"].as_array()?.first().cloned()
    })
    .await;
    let action = &failed["result"]["actions"][1];
    assert_eq!(action["outcome"], "failed", "{failed}");
    assert!(action["reason"].as_str().unwrap().contains("PENDING"), "{failed}");
    assert!(scene.graph.messages().is_empty());

    scene.judged(&template, "APPROVED").await;
    scene.becomes(&template, "status", "APPROVED").await;
    let listening = conversation(&scene, &scene.number).await;
    assert_ne!(listening, conversation_id);
    let body = reached(&scene).await;
    assert_eq!(body["components"][0]["parameters"][0]["text"], "Ani");
}
