use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::message_content::tests::any_json;
use crate::whatsapp::error_codes::EXPLANATIONS;
use crate::whatsapp::errors::EXPLANATION_MAX_CHARS;
use crate::whatsapp::*;

fn failure(code: i64) -> SendFailure {
    SendFailure::from_response(400, &json!({ "error": { "message": "(#0) Raw words", "code": code } }))
}

#[test]
fn reads_a_graph_error() {
    let body = json!({ "error": {
        "message": "(#132000) Number of parameters does not match the expected number of params",
        "type": "OAuthException", "code": 132_000, "error_subcode": 2_494_073,
        "error_data": { "messaging_product": "whatsapp", "details": "body: number of localizable_params (1) does not match (2)" },
        "fbtrace_id": "AbC9xKq2",
    } });
    let error = ProviderError::from_graph_body(&body).unwrap();
    assert_eq!(
        (error.code, error.subcode, error.trace_id.as_deref()),
        (132_000, Some(2_494_073), Some("AbC9xKq2"))
    );
    let failure = SendFailure::from_error(&error);
    assert_eq!(failure.code, Some(132_000));
    assert!(
        failure.explanation.ends_with("Meta says: body: number of localizable_params (1) does not match (2)")
    );
}

#[test]
fn the_closed_window_says_what_to_do() {
    let expected =
        "More than 24 hours have passed since the customer last wrote; send an approved template instead.";
    assert_eq!(
        failure(131_047),
        SendFailure { code: Some(131_047), retry: Retry::Never, explanation: expected.into() }
    );
}

#[test]
fn only_passing_reasons_are_tried_again() {
    for code in [2, 4, 80_007, 130_429, 131_000, 131_016, 131_056, 131_057, 132_069, 133_004] {
        assert_eq!(failure(code).retry, Retry::Later, "{code}");
    }
    for code in [
        0, 1, 3, 10, 33, 100, 190, 200, 250, 299, 368, 130_472, 131_005, 131_008, 131_009, 131_021, 131_026,
        131_031, 131_037, 131_042, 131_045, 131_047, 131_048, 131_049, 131_051, 131_052, 131_053, 132_000,
        132_001, 132_005, 132_007, 132_012, 132_015, 132_016, 132_068, 133_010,
    ] {
        let failure = failure(code);
        assert_eq!(failure.retry, Retry::Never, "{code}");
        assert!(!failure.explanation.contains("Raw words"), "{code} has no words of ours");
    }
}

#[test]
fn unknown_codes_fall_back_to_metas_words() {
    let told = |error: Value| SendFailure::from_response(400, &json!({ "error": error }));
    let unknown = told(json!({ "code": 139_999, "message": "Newly\ninvented\0" }));
    assert_eq!(unknown.explanation, "WhatsApp refused the message (code 139999): Newly invented");
    assert_eq!(unknown.retry, Retry::Never);
    assert_eq!(told(json!({ "code": 139_999, "is_transient": true })).retry, Retry::Later);
    let silent = told(json!({ "code": 139_999 }));
    assert_eq!(silent.explanation, "WhatsApp refused the message (code 139999): Meta gave no reason.");
    assert!(SendFailure::from_errors(&[]).explanation.contains("gave no reason"));
}

#[test]
fn every_code_is_explained_once_in_sentences() {
    let codes: BTreeSet<i64> = EXPLANATIONS.iter().map(|known| known.code).collect();
    assert_eq!(codes.len(), EXPLANATIONS.len());
    for known in EXPLANATIONS {
        assert!(known.text.ends_with('.') && !known.text.contains("  "), "{}", known.text);
        assert_eq!(known.text.contains("Try again"), known.retry == Retry::Later, "{}", known.text);
    }
}

proptest! {
    #[test]
    fn any_error_is_explained_on_one_short_line(error in any_json(), code: i64, details in ".{0,900}") {
        for body in [
            json!({ "error": error }),
            json!({ "error": { "code": code, "message": details } }),
            json!({ "error": { "code": 100, "error_data": { "details": details } } }),
        ] {
            let explanation = SendFailure::from_response(400, &body).explanation;
            prop_assert!(!explanation.is_empty() && explanation.chars().count() <= EXPLANATION_MAX_CHARS);
            prop_assert!(!explanation.chars().any(char::is_control));
        }
    }
}
