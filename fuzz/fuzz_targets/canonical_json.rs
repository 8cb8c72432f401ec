//! The canonical form of a JSON text is JSON, means the same, and is its own canonical form: otherwise a hash over what
//! was written would not hold over what is read back.
#![no_main]

use domain::canonical;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &[u8]| {
    let Ok(value) = serde_json::from_slice::<Value>(text) else { return };
    let canonical = canonical::to_string(&value);
    let again: Value = serde_json::from_str(&canonical).expect("the canonical form is JSON");
    assert_eq!(canonical::to_string(&again), canonical);
    assert_eq!(canonical::hash(&again), canonical::hash(&value));
});
