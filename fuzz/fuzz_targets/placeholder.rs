//! Text of a rule is refused, or filled in from whatever facts there are: never a panic, no longer than its facts make
//! it, and what is filled in is not looked at again.
//!
//! The input is the text, an empty line, and the facts as JSON.
#![no_main]

use domain::automation::placeholder::{OPEN, Template};
use domain::automation::{Facts, TriggerType};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const CLOSE: &str = "}}";

fuzz_target!(|input: &str| {
    let (source, facts) = input.split_once("\n\n").unwrap_or((input, "{}"));
    let Ok(template) = Template::parse(source) else { return };
    assert_eq!(template.source(), source);
    let stored = serde_json::to_value(&template).expect("a template is text");
    assert_eq!(serde_json::from_value::<Template>(stored).ok(), Some(template.clone()));

    let payload: Value =
        serde_json::from_str(facts).ok().filter(Value::is_object).unwrap_or_else(|| json!({}));
    // A list is written with two characters between its items where JSON has one.
    let longest = 2 * payload.to_string().len();
    let facts = Facts::new(TriggerType::MessageReceivedInbound, payload).expect("facts are an object");
    let filled = template.render(&facts);
    let placeholders = source.matches(OPEN).count();
    assert!(filled.len() <= source.len() + placeholders * longest);

    // Each placeholder alone says what it says among the others.
    let mut expected = String::new();
    let mut rest = source;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let (name, after) = after.split_once(CLOSE).expect("it was parsed");
        let alone = Template::parse(&format!("{OPEN}{name}{CLOSE}")).expect("it was parsed");
        expected += before;
        expected += &alone.render(&facts);
        rest = after;
    }
    expected += rest;
    assert_eq!(filled, expected);
});
