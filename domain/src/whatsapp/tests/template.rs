use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::message_content::MessageContent;
use crate::message_content::tests::any_json;
use crate::whatsapp::*;

fn template(components: Value) -> TemplateRef {
    TemplateRef {
        name: "pesanan_dikirim".into(),
        language: "id".into(),
        components: components.as_array().unwrap().clone(),
        header_media_url: None,
    }
}

fn variables(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn send(template: &TemplateRef, given: &[(&str, &str)]) -> Result<Value, NotSendable> {
    let content = MessageContent::Template { template_id: Uuid::nil(), variables: variables(given) };
    let message = OutgoingMessage { template: Some(template), ..OutgoingMessage::new("62811", &content) };
    message.request_body().map(|body| body["template"].clone())
}

fn problem_fields(template: &TemplateRef, given: &[(&str, &str)]) -> Vec<String> {
    template.check_variables(&variables(given)).into_iter().map(|problem| problem.field).collect()
}

fn text(value: &str) -> Value {
    json!({ "type": "text", "text": value })
}

#[test]
fn a_template_without_variables_has_no_components() {
    let plain =
        template(json!([{ "type": "BODY", "text": "Thank you!" }, { "type": "FOOTER", "text": "Toko" }]));
    assert_eq!(send(&plain, &[]), Ok(json!({ "name": "pesanan_dikirim", "language": { "code": "id" } })));
    assert_eq!(problem_fields(&plain, &[("1", "a")]), ["content.variables.1"]);
}

#[test]
fn numbered_values_are_passed_by_size_of_number() {
    let text_of_ten: String = (1..=10).rev().map(|n| format!("{{{{{n}}}}} ")).collect();
    let ten = template(json!([{ "type": "BODY", "text": text_of_ten }]));
    let names: Vec<String> = (1..=10).map(|n| n.to_string()).collect();
    let given: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    let parameters: Vec<Value> = names.iter().map(|name| text(name)).collect();
    assert_eq!(
        send(&ten, &given).unwrap()["components"],
        json!([{ "type": "body", "parameters": parameters }])
    );
}

#[test]
fn named_values_carry_their_names() {
    let named = template(json!([
        { "type": "HEADER", "format": "TEXT", "text": "Order {{order_id}}" },
        { "type": "BODY", "text": "Hi {{ first_name }}, {{first_name}}" },
    ]));
    let named_text =
        |name: &str, value: &str| json!({ "type": "text", "parameter_name": name, "text": value });
    assert_eq!(
        send(&named, &[("first_name", "Siti"), ("order_id", "2041")]).unwrap()["components"],
        json!([
            { "type": "header", "parameters": [named_text("order_id", "2041")] },
            { "type": "body", "parameters": [named_text("first_name", "Siti")] },
        ])
    );
}

#[test]
fn headers_and_buttons_have_variables_of_their_own() {
    let full = template(json!([
        { "type": "HEADER", "format": "TEXT", "text": "For {{1}}" },
        { "type": "BODY", "text": "Order {{1}} is on its way" },
        { "type": "BUTTONS", "buttons": [
            { "type": "PHONE_NUMBER", "text": "Call", "phone_number": "+62811" },
            { "type": "URL", "text": "Site", "url": "https://toko.example" },
            { "type": "URL", "text": "Track", "url": "https://toko.example/{{1}}" },
            { "type": "COPY_CODE", "example": "HEMAT10" },
            { "type": "QUICK_REPLY", "text": "Stop" },
        ] },
    ]));
    let given = [("1", "2041"), ("header.1", "Siti"), ("button.2", "t/2041"), ("button.3", "HEMAT10")];
    assert_eq!(problem_fields(&full, &given), [""; 0]);
    assert_eq!(
        send(&full, &given).unwrap()["components"],
        json!([
            { "type": "header", "parameters": [text("Siti")] },
            { "type": "body", "parameters": [text("2041")] },
            { "type": "button", "sub_type": "url", "index": "2", "parameters": [text("t/2041")] },
            { "type": "button", "sub_type": "copy_code", "index": "3",
              "parameters": [{ "type": "coupon_code", "coupon_code": "HEMAT10" }] },
        ])
    );
    let missing = ["header.1", "1", "button.2", "button.3"];
    assert_eq!(send(&full, &[]), Err(NotSendable::MissingVariables(missing.map(str::to_owned).to_vec())));
    assert_eq!(problem_fields(&full, &[]), missing.map(|name| format!("content.variables.{name}")));
    let with_payload = [&given[..], &[("button.4", "STOP")]].concat();
    let sent = send(&full, &with_payload).unwrap();
    assert_eq!(sent["components"][4]["parameters"], json!([{ "type": "payload", "payload": "STOP" }]));
}

#[test]
fn media_headers_take_the_templates_own_address() {
    let mut photo =
        template(json!([{ "type": "HEADER", "format": "IMAGE" }, { "type": "BODY", "text": "New" }]));
    assert_eq!(send(&photo, &[]), Err(NotSendable::MissingHeaderMedia("image")));
    assert_eq!(problem_fields(&photo, &[]), ["content.template_id"]);
    photo.header_media_url = Some("https://cdn.example/a.jpg".into());
    assert_eq!(
        send(&photo, &[]).unwrap()["components"],
        json!([{ "type": "header", "parameters": [{ "type": "image", "image": { "link": "https://cdn.example/a.jpg" } }] }])
    );
}

#[test]
fn the_code_of_a_password_button_is_that_of_the_body() {
    let url = "https://www.whatsapp.com/otp/code/?otp_type=COPY_CODE&code=otp{{1}}";
    for button in [json!({ "type": "URL", "url": url }), json!({ "type": "OTP", "otp_type": "COPY_CODE" })] {
        let code = template(json!([
            { "type": "BODY", "text": "{{1}} is your code" }, { "type": "BUTTONS", "buttons": [button] },
        ]));
        let sent = send(&code, &[("1", "4711")]).unwrap();
        assert_eq!(
            sent["components"][1],
            json!({ "type": "button", "sub_type": "url", "index": "0",
            "parameters": [text("4711")] })
        );
    }
}

#[test]
fn without_a_definition_the_agents_names_decide() {
    let bare = template(json!([]));
    let sent = send(&bare, &[("10", "ten"), ("2", "two")]).unwrap();
    assert_eq!(sent["components"], json!([{ "type": "body", "parameters": [text("two"), text("ten")] }]));
}

#[test]
fn templates_that_need_more_than_text_are_refused() {
    let carousel = template(json!([{ "type": "BODY", "text": "New" }, { "type": "CAROUSEL", "cards": [] }]));
    assert_eq!(send(&carousel, &[]), Err(NotSendable::UnfillableTemplate("a carousel".into())));
    assert_eq!(problem_fields(&carousel, &[]), ["content.template_id"]);
}

#[test]
fn the_body_reads_as_the_customer_will_see_it() {
    let body = template(json!([{ "type": "BODY", "text": "Hi {{1}}, {{ 2 }} {{3}} {{}} {{{1}}" }]));
    let rendered = body.rendered_body(&variables(&[("1", "{{2}}"), ("2", "ok")]));
    assert_eq!(rendered.as_deref(), Some("Hi {{2}}, ok {{3}} {{}} {{{2}}"));
    assert_eq!(template(json!([])).rendered_body(&variables(&[])), None);
}

proptest! {
    /// No definition makes a panic, and variables without a problem can always be sent.
    #[test]
    fn what_the_check_accepts_can_be_sent(
        components in proptest::collection::vec(any_json(), 0..4),
        body in "[{}a1_ é]{0,20}",
        given in proptest::collection::btree_map("[a1_]{1,3}", "[a-z]{1,5}", 0..4),
    ) {
        let mut definition = template(json!([{ "type": "BODY", "text": body }]));
        definition.components.extend(components);
        let accepted = definition.check_variables(&given).is_empty();
        let content = MessageContent::Template { template_id: Uuid::nil(), variables: given.clone() };
        let message = OutgoingMessage { template: Some(&definition), ..OutgoingMessage::new("62811", &content) };
        prop_assert!(message.request_body().is_ok() || !accepted);
        prop_assert!(definition.rendered_body(&given).is_some());
    }
}
