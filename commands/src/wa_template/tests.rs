use serde_json::json;

use super::*;

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn listing() -> Listing {
    Listing {
        waba_id: "900".to_owned(),
        name: "order_shipped".to_owned(),
        language: "en_US".to_owned(),
        status: Status::Approved,
        components: vec![json!({ "type": "BODY", "text": "Order {{1}} is on its way." })],
        ..Listing::default()
    }
}

/// Listed at noon.
fn given(listing: Listing) -> WaTemplate {
    WaTemplate { listing, synced_at: Some(noon()), created_at: Some(noon()), ..WaTemplate::default() }
}

fn fields(refusal: Result<impl std::fmt::Debug, Refusal>) -> Vec<String> {
    refusal.unwrap_err().fields.into_iter().map(|problem| problem.field).collect()
}

fn values(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn what_meta_could_never_take_is_named_by_field() {
    assert!(check(&listing()).is_ok());
    let name = |name: &str| check(&Listing { name: name.to_owned(), ..listing() });
    for bad in ["", "Order", "order shipped", "bestellung_ü", &"a".repeat(NAME_MAX_CHARS + 1)] {
        assert_eq!(fields(name(bad)), ["name"], "{bad}");
    }
    let language = |language: &str| check(&Listing { language: language.to_owned(), ..listing() });
    assert!(language("id").is_ok() && language("fil").is_ok() && language("pt_BR").is_ok());
    for bad in ["", "en-US", "EN", "en_us", "english"] {
        assert_eq!(fields(language(bad)), ["language"], "{bad}");
    }
}

#[test]
fn components_are_known_once_each_and_short_enough() {
    let with = |components: Value| {
        let components = components.as_array().cloned().unwrap_or_default();
        fields(check(&Listing { components, ..listing() }))
    };
    let body = json!({ "type": "body", "text": "Hello" });
    assert_eq!(with(json!([])), ["components"]);
    assert_eq!(with(json!([body, body])), ["components[1].type"]);
    assert_eq!(with(json!([body, { "type": "SIDEBAR" }])), ["components[1].type"]);
    assert_eq!(with(json!([{ "type": "BODY" }])), ["components[0].text"]);
    assert_eq!(
        with(json!([{ "type": "BODY", "text": "x".repeat(BODY_MAX_CHARS + 1) }])),
        ["components[0].text"]
    );
    assert_eq!(with(json!([body, { "type": "HEADER", "format": "SONG" }])), ["components[1].format"]);
    assert_eq!(with(json!([body, { "type": "HEADER", "format": "TEXT" }])), ["components[1].text"]);
    assert_eq!(with(json!([body, { "type": "BUTTONS", "buttons": [] }])), ["components[1].buttons"]);
    let authentication = Listing {
        category: Category::Authentication,
        components: vec![json!({ "type": "BODY", "add_security_recommendation": true })],
        ..listing()
    };
    assert!(check(&authentication).is_ok(), "Meta writes the text of these");
}

#[test]
fn a_name_and_language_are_taken_once_and_a_repetition_is_no_second() {
    let pending = Listing { status: Status::Pending, ..listing() };
    let made = submitted(&WaTemplate::default(), &pending).unwrap();
    assert_eq!(made.events, [WaTemplateEvent::Submitted(Box::new(pending.clone()))]);
    assert!(submitted(&given(listing()), &pending).unwrap().is_nothing());
    let other = Listing { components: vec![json!({ "type": "BODY", "text": "Other" })], ..listing() };
    assert_eq!(submitted(&given(listing()), &other).unwrap_err().code, "already_taken");
}

#[test]
fn a_list_brings_what_is_new_and_what_is_deleted_back() {
    let paused = Listing { status: Status::Paused, ..listing() };
    assert!(synced(&given(listing()), &listing()).is_nothing());
    let expected = [WaTemplateEvent::Synced(Box::new(paused.clone()))];
    assert_eq!(synced(&given(listing()), &paused).events, expected);
    assert_eq!(synced(&WaTemplate::default(), &paused).events, expected);
}

#[test]
fn what_meta_no_longer_lists_is_disabled_once() {
    let [WaTemplateEvent::StatusChanged { status, reason }] = &unlisted(&given(listing())).events[..] else {
        panic!()
    };
    assert_eq!(*status, Status::Disabled);
    let gone = given(Listing { status: *status, reason: reason.clone(), ..listing() });
    assert!(unlisted(&gone).is_nothing());
    assert!(unlisted(&WaTemplate::default()).is_nothing());
}

#[test]
fn news_count_unless_the_list_is_newer() {
    let (before, after) = (noon() - chrono::TimeDelta::seconds(1), noon() + chrono::TimeDelta::seconds(1));
    let rejected = News::Status { status: Status::Rejected, reason: Some("INVALID_FORMAT".to_owned()) };
    let expected = WaTemplateEvent::StatusChanged {
        status: Status::Rejected,
        reason: Some("INVALID_FORMAT".to_owned()),
    };
    assert_eq!(heard(&given(listing()), &rejected, after).events, std::slice::from_ref(&expected));
    assert!(heard(&given(listing()), &rejected, before).is_nothing());
    // One that was only submitted may have been judged before we wrote it down.
    let fresh = WaTemplate { synced_at: None, ..given(listing()) };
    assert_eq!(heard(&fresh, &rejected, before).events, [expected]);
    let category = heard(&given(listing()), &News::Category(Category::Marketing), after);
    assert_eq!(category.events, [WaTemplateEvent::CategoryChanged { category: Category::Marketing }]);
    assert!(heard(&given(listing()), &News::Category(Category::Utility), after).is_nothing());
    let quality = heard(&given(listing()), &News::Quality("RED".to_owned()), after);
    assert_eq!(quality.events, [WaTemplateEvent::QualityChanged { quality: "RED".to_owned() }]);
    assert!(heard(&WaTemplate::default(), &rejected, after).is_nothing());
}

#[test]
fn only_a_media_header_takes_media() {
    let url = "https://example.com/a.jpg";
    assert_eq!(fields(set_header_media(&given(listing()), url)), ["header_media_url"]);
    let mut pictured = listing();
    pictured.components.push(json!({ "type": "HEADER", "format": "IMAGE" }));
    let pictured = given(pictured);
    let set = set_header_media(&pictured, url).unwrap();
    assert_eq!(set.events, [WaTemplateEvent::HeaderMediaSet { url: url.to_owned() }]);
    assert_eq!(fields(set_header_media(&pictured, "somewhere")), ["header_media_url"]);
    let same = WaTemplate { header_media_url: Some(url.to_owned()), ..pictured };
    assert!(set_header_media(&same, url).unwrap().is_nothing());
    assert_eq!(set_header_media(&WaTemplate::default(), url).unwrap_err().code, "not_found");
}

#[test]
fn an_approved_template_of_the_same_business_is_sent_with_its_variables() {
    let variables = values(&[("1", "2041")]);
    assert!(check_sendable(&given(listing()), Some("900"), &variables).is_ok());
    assert!(check_sendable(&given(listing()), None, &variables).is_ok());
    let template = ["content.template_id"];
    assert_eq!(fields(check_sendable(&WaTemplate::default(), None, &variables)), template);
    assert_eq!(fields(check_sendable(&given(listing()), Some("901"), &variables)), template);
    for status in [Status::Pending, Status::Rejected, Status::Paused, Status::Disabled] {
        let refused = check_sendable(&given(Listing { status, ..listing() }), Some("900"), &variables);
        assert_eq!(refused.unwrap_err().code, "template_not_approved");
    }
    let wrong = check_sendable(&given(listing()), Some("900"), &values(&[("2", "x")]));
    assert_eq!(fields(wrong), ["content.variables.1", "content.variables.2"]);
}

#[test]
fn a_deleted_template_is_gone() {
    assert_eq!(delete(&given(listing())).unwrap().events, [WaTemplateEvent::Deleted]);
    assert_eq!(delete(&WaTemplate::default()).unwrap_err().code, "not_found");
}
