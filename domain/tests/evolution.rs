//! Guards what can't be taken back: events that are in somebody's log must be readable for ever.
//!
//! `corpus/` holds one file per event type and schema version that ever shipped: the schema of its payload, an example,
//! and the digest of the state that follows from it. A file is added with its event type and never edited afterwards.
//! `RECORD_EVENTS=1 cargo test -p domain --test evolution` writes the files of new event types, and only those. Where no
//! example can be made from the schema, write a file `{"payload": …}` by hand; recording completes it. Further specimens
//! of a type, say one per kind of content, are files `<event type>.v<version>.<kind>.json` that begin the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use chrono::DateTime;
use domain::canonical;
use domain::event::{Actor, Metadata, Recorded};
use domain::registry::{self, EventSchema, STREAMS, StreamKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The specimen that every event type has.
const PLAIN: &str = "";
const RECORD: &str = "RECORD_EVENTS";

/// One event type in one schema version.
#[derive(Serialize, Deserialize)]
struct Specimen {
    #[serde(default)]
    stream: String,
    /// In the plain specimen only.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    schema: Value,
    payload: Value,
    /// SHA-256 of the canonical state after the stream's first event type and then this one. Empty until recorded.
    #[serde(default)]
    digest: String,
}

/// By event type, schema version, and what tells specimens of one type apart: nothing, or such as `image`.
type Corpus = BTreeMap<Key, Specimen>;
type Key = (String, i16, String);

fn plain(event_type: &str, version: i16) -> Key {
    (event_type.to_owned(), version, PLAIN.to_owned())
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn path_of((event_type, version, label): &Key) -> PathBuf {
    let dot = if label == PLAIN { "" } else { "." };
    folder().join(format!("{event_type}.v{version}{dot}{label}.json"))
}

fn key_of(name: &str) -> Option<Key> {
    // A `.v` may begin a verb, as in `invoice.voided`.
    let name = name.strip_suffix(".json")?;
    let version =
        name.match_indices(".v").find(|(at, _)| name[at + 2..].starts_with(|c: char| c.is_ascii_digit()));
    let (event_type, rest) = version.map(|(at, dot)| (&name[..at], &name[at + dot.len()..]))?;
    let (version, kind) = rest.split_once('.').unwrap_or((rest, PLAIN));
    Some((event_type.to_owned(), version.parse().ok()?, kind.to_owned()))
}

fn read_corpus() -> Corpus {
    let files = std::fs::read_dir(folder()).expect("the corpus");
    let specimen = |path: PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8").to_owned();
        let key = key_of(&name)
            .unwrap_or_else(|| panic!("{name} is not named <event type>.v<version>[.<kind>].json"));
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let specimen = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (key, specimen)
    };
    files.map(|file| specimen(file.expect("a file").path())).collect()
}

/// The corpus, with files for new event types if that was asked for.
fn corpus() -> Corpus {
    static RECORDED: std::sync::Once = std::sync::Once::new();
    if std::env::var_os(RECORD).is_some() {
        RECORDED.call_once(record_new_events);
    }
    read_corpus()
}

fn event(
    kind: &StreamKind,
    version: i64,
    event_type: &str,
    schema_version: i16,
    body: Value,
) -> Recorded<Value> {
    let id = Uuid::from_u128(0x00c0_ffee);
    Recorded {
        log_id: 1,
        position: version,
        tenant_id: Uuid::from_u128(1),
        stream_type: kind.name.to_owned(),
        stream_id: id,
        version,
        event_type: event_type.to_owned(),
        schema_version,
        event_id: id,
        command_id: id,
        metadata: Metadata::new(Actor::system(), id),
        recorded_at: DateTime::from_timestamp(1_800_000_000 + version, 0).expect("a time"),
        body,
    }
}

/// The state after the stream's first event type (what usually creates it) and this one.
fn digest(kind: &StreamKind, corpus: &Corpus, event_type: &str, version: i16, payload: &Value) -> String {
    let schemas = kind.event_schemas();
    let mut events = Vec::new();
    let first = schemas.first().filter(|first| first.event_type != event_type);
    let first = first.and_then(|first| Some((first, corpus.get(&plain(&first.event_type, 1))?)));
    if let Some((first, specimen)) = first {
        events.push(event(kind, 1, &first.event_type, 1, specimen.payload.clone()));
    }
    events.push(event(kind, events.len() as i64 + 1, event_type, version, payload.clone()));
    let state = kind.fold(None, &events.iter().collect::<Vec<_>>()).map(|folded| folded.state);
    let state =
        state.unwrap_or_else(|error| panic!("{event_type} v{version} can't be read any more: {error}"));
    hex::encode(canonical::hash(&state))
}

fn written_today() -> impl Iterator<Item = (&'static StreamKind, EventSchema)> {
    STREAMS.iter().flat_map(|kind| kind.event_schemas().into_iter().map(move |schema| (kind, schema)))
}

#[test]
fn every_event_type_has_a_specimen() {
    let corpus = corpus();
    for (_, schema) in written_today() {
        let EventSchema { event_type, schema_version, .. } = schema;
        assert!(
            corpus.contains_key(&plain(&event_type, schema_version)),
            "{event_type} v{schema_version} is new. Run `{RECORD}=1 cargo test -p domain --test evolution`, look at \
             {}, and commit it.",
            path_of(&plain(&event_type, schema_version))
                .strip_prefix(env!("CARGO_MANIFEST_DIR"))
                .expect("inside")
                .display()
        );
    }
}

#[test]
fn every_specimen_has_an_event_type() {
    let known: BTreeMap<String, i16> =
        written_today().map(|(_, s)| (s.event_type, s.schema_version)).collect();
    for (event_type, version, _) in corpus().keys() {
        let Some(now) = known.get(event_type) else {
            panic!(
                "{event_type} is gone, but logs hold it: an event type that shipped stays in the code for ever"
            );
        };
        assert!(version <= now, "{event_type} v{version} is newer than the code, which writes v{now}");
    }
}

#[test]
fn event_schemas_have_not_changed() {
    let corpus = corpus();
    let changed: Vec<String> = written_today()
        .filter_map(|(_, now)| {
            let shipped = &corpus.get(&plain(&now.event_type, now.schema_version))?.schema;
            (*shipped != now.payload).then(|| {
                format!(
                    "{} v{}\n  shipped: {shipped}\n  now:     {}",
                    now.event_type, now.schema_version, now.payload
                )
            })
        })
        .collect();
    assert!(
        changed.is_empty(),
        "Event schemas changed. Raise `EventBody::schema_version` of these types, write an upcaster in \
         domain/src/upcast.rs, and record the new version:\n{}\n(An event type that has never been released may be \
         recorded again: delete its file.)",
        changed.join("\n")
    );
}

#[test]
fn every_specimen_is_read_as_on_the_day_it_was_recorded() {
    let corpus = corpus();
    for ((event_type, version, label), specimen) in &corpus {
        let name = format!("{event_type} v{version} {label}");
        assert!(!specimen.digest.is_empty(), "{name} is not complete: run with {RECORD}=1");
        let kind = registry::find(&specimen.stream);
        let kind = kind.unwrap_or_else(|| panic!("no stream is called {}", specimen.stream));
        let now = digest(kind, &corpus, event_type, *version, &specimen.payload);
        assert_eq!(now, specimen.digest, "{name} no longer leads to the state that it led to");
    }
}

#[test]
fn what_is_written_today_reads_back_the_same() {
    let now: BTreeMap<_, _> =
        written_today().map(|(kind, s)| ((s.event_type, s.schema_version), kind)).collect();
    for ((event_type, version, label), specimen) in &corpus() {
        let Some(kind) = now.get(&(event_type.clone(), *version)) else { continue };
        let again = kind.rewrite(event_type, *version, specimen.payload.clone()).expect("it decodes");
        assert_eq!(&again.0, event_type);
        assert_eq!(
            canonical::to_string(&again.1),
            canonical::to_string(&specimen.payload),
            "{event_type} {label}"
        );
    }
}

#[test]
fn event_types_are_named_once_and_for_one_stream() {
    let mut seen = BTreeMap::new();
    for (kind, schema) in written_today() {
        let before = seen.insert(schema.event_type.clone(), kind.name);
        assert_eq!(before, None, "{} is an event of {} too", schema.event_type, kind.name);
    }
    let silent: BTreeSet<&str> =
        STREAMS.iter().filter(|kind| kind.event_schemas().is_empty()).map(|kind| kind.name).collect();
    assert!(silent.is_empty(), "no events found for {silent:?}: they must be adjacently tagged enums");
}

/// Writes the files of event types that have none, and completes those that hold a payload only. The first type of
/// each stream goes first: the others' digests need it.
fn record_new_events() {
    for (kind, schema) in written_today() {
        let mut keys: BTreeSet<Key> = read_corpus().into_keys().collect();
        keys.insert(plain(&schema.event_type, schema.schema_version));
        let is_of_this =
            |key: &Key| (key.0.as_str(), key.1) == (schema.event_type.as_str(), schema.schema_version);
        for key in keys.into_iter().filter(is_of_this) {
            record(kind, &schema, &key);
        }
    }
}

fn record(kind: &StreamKind, schema: &EventSchema, key: &Key) {
    let corpus = read_corpus();
    let written = corpus.get(key);
    if written.is_some_and(|specimen| !specimen.digest.is_empty()) {
        return;
    }
    let example = written
        .map_or_else(|| example(&schema.payload, &schema.payload), |specimen| specimen.payload.clone());
    let payload = match kind.rewrite(&key.0, key.1, example.clone()) {
        Ok((_, payload)) => payload,
        Err(error) => {
            eprintln!("Write the payload of {} by hand and record again: {error} in {example}", key.0);
            return;
        }
    };
    let specimen = Specimen {
        stream: kind.name.to_owned(),
        digest: digest(kind, &corpus, &key.0, key.1, &payload),
        schema: if key.2 == PLAIN { schema.payload.clone() } else { Value::Null },
        payload,
    };
    let text = serde_json::to_string_pretty(&specimen).expect("JSON") + "\n";
    std::fs::write(path_of(key), text).expect("a writable corpus");
}

/// A value that fits a JSON schema, with every optional part present.
fn example(schema: &Value, root: &Value) -> Value {
    if let Some(pointer) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        return root.pointer(pointer).map_or(Value::Null, |target| example(target, root));
    }
    let fixed =
        schema.get("const").or_else(|| schema.pointer("/enum/0")).or_else(|| schema.pointer("/examples/0"));
    if let Some(fixed) = fixed {
        return fixed.clone();
    }
    let mut parts: Vec<Value> = Vec::new();
    for alternatives in [&schema["oneOf"], &schema["anyOf"]] {
        let real = alternatives.as_array().and_then(|all| all.iter().find(|one| one["type"] != "null"));
        parts.extend(real.map(|one| example(one, root)));
    }
    parts.extend(schema["allOf"].as_array().into_iter().flatten().map(|part| example(part, root)));
    let own = match &schema["type"] {
        Value::Array(types) => types.iter().find_map(|kind| kind.as_str().filter(|kind| *kind != "null")),
        kind => kind.as_str(),
    };
    match own {
        Some("object") => parts.push(example_object(schema, root)),
        Some(kind) if parts.is_empty() => return example_scalar(kind, schema, root),
        None if parts.is_empty() => return json!({ "free": ["form", 1, true] }),
        _ => {}
    }
    parts.into_iter().reduce(merge).unwrap_or(Value::Null)
}

fn example_object(schema: &Value, root: &Value) -> Value {
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let mut object: Map<String, Value> =
        properties.iter().map(|(name, property)| (name.clone(), example(property, root))).collect();
    if let Some(values) = schema.get("additionalProperties").filter(|values| **values != json!(false)) {
        object.insert("some_key".to_owned(), example(values, root));
    }
    Value::Object(object)
}

fn example_scalar(kind: &str, schema: &Value, root: &Value) -> Value {
    match kind {
        "integer" => schema.get("minimum").cloned().unwrap_or(json!(7)),
        "number" => json!(1.5),
        "boolean" => json!(true),
        "array" => match schema.get("prefixItems").and_then(Value::as_array) {
            Some(items) => items.iter().map(|item| example(item, root)).collect(),
            None => json!([example(&schema["items"], root)]),
        },
        _ => match schema["format"].as_str() {
            Some("uuid") => json!("0190f5c8-1111-7000-8000-000000000007"),
            Some("date-time") => json!("2026-11-21T08:30:00.123456Z"),
            Some("date") => json!("2026-11-21"),
            Some("time" | "partial-time") => json!("08:30:00"),
            Some("ip" | "ipv4") => json!("203.0.113.7"),
            // Only decimals have one.
            _ if schema.get("pattern").is_some() => json!("12.50"),
            _ => json!("text"),
        },
    }
}

fn merge(mut left: Value, right: Value) -> Value {
    match (&mut left, right) {
        (Value::Object(left), Value::Object(right)) => left.extend(right),
        (left, right) => *left = right,
    }
    left
}
