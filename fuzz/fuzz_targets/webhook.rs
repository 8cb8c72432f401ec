//! Whatever is posted to the webhook is cut into changes and each change interpreted, or refused; never a panic, and
//! what was cut once is not cut differently when it is processed again.
#![no_main]

use domain::whatsapp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(changes) = whatsapp::parse(body) else { return };
    for change in changes {
        let items = whatsapp::interpret(&change.raw);
        let kept: serde_json::Value = serde_json::from_str(&change.raw.to_string()).expect("it was JSON");
        assert_eq!(format!("{:?}", whatsapp::interpret(&kept)), format!("{items:?}"));
    }
});
