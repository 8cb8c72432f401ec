//! Old events in today's shape: each step takes one event type from one schema version to the next.

use std::borrow::Cow;

use serde_json::{Value, json};

type Step = (&'static str, i16, fn(Value) -> Value);

/// Every schema change that ever shipped, oldest first. A step is never edited once events of its version exist.
const STEPS: &[Step] = &[
    // Version 2 tells failures that do not pass from those that do; before, every failure was tried again.
    ("automation.rule_ran", 1, |mut run| {
        let actions = run["actions"].as_array_mut().into_iter().flatten();
        actions
            .filter(|action| action["outcome"] == "failed")
            .for_each(|action| action["permanent"] = json!(false));
        run
    }),
];

/// Brings a stored payload to the version that the code reads.
#[must_use]
pub fn upcast<'a>(event_type: &str, schema_version: i16, payload: &'a Value) -> Cow<'a, Value> {
    apply(STEPS, event_type, schema_version, payload)
}

fn apply<'a>(steps: &[Step], event_type: &str, schema_version: i16, payload: &'a Value) -> Cow<'a, Value> {
    let mut version = schema_version;
    let mut payload = Cow::Borrowed(payload);
    for (kind, from, step) in steps {
        if *kind == event_type && *from == version {
            payload = Cow::Owned(step(payload.into_owned()));
            version += 1;
        }
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &[Step] = &[
        ("thing.named", 1, |mut v| {
            v["full_name"] = v["name"].take();
            v
        }),
        ("other.named", 2, |_| json!("not this one")),
        ("thing.named", 2, |mut v| {
            v["language"] = json!("id");
            v
        }),
    ];

    #[test]
    fn steps_chain_from_the_stored_version_onwards() {
        let old = apply(EXAMPLE, "thing.named", 1, &json!({"name": "A"})).into_owned();
        assert_eq!((&old["full_name"], &old["language"]), (&json!("A"), &json!("id")));
        let newer = apply(EXAMPLE, "thing.named", 2, &json!({"full_name": "A"})).into_owned();
        assert_eq!(newer, json!({"full_name": "A", "language": "id"}));
        let stored = json!({"full_name": "A"});
        let current = apply(EXAMPLE, "thing.named", 3, &stored);
        assert!(matches!(current, Cow::Borrowed(same) if *same == stored), "nothing is copied");
    }
}
