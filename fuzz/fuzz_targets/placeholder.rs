//! Text of a rule is refused or filled in from whatever facts there are; never a panic, and what it fills in is not
//! looked at again.
#![no_main]

use domain::automation::placeholder::{OPEN, Template};
use domain::automation::{Facts, TriggerType};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (source, facts) = input;
    let Ok(template) = Template::parse(source) else { return };
    assert_eq!(template.source(), source);
    let payload = serde_json::from_str(facts).unwrap_or_default();
    let Ok(facts) = Facts::new(TriggerType::MessageReceivedInbound, payload) else { return };
    let filled = template.render(&facts);
    if !source.contains(OPEN) {
        assert_eq!(filled, source);
    }
});
