//! What goes into the log comes out of it, and hashes the same, whatever JSON it is.

use commands::store::Outcome;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;

const PAYLOADS: usize = 400;

/// JSON without NUL, which PostgreSQL can't hold; with the numbers that are easily bent on the way.
fn json() -> impl Strategy<Value = Value> {
    let tricky =
        [0.1, -0.0, 1e21, 1e-7, 5e-324, f64::MAX, 9_007_199_254_740_993.0, 1.0, 1e19, 123_456_789.123_456_79];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no NaN", |n| n.is_finite()).prop_map(Value::from),
        prop::sample::select(tricky.to_vec()).prop_map(Value::from),
        "[^\0]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map("[^\0]{0,6}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[tokio::test]
async fn every_payload_is_stored_as_it_was_hashed() {
    let logs = Logs::start().await;
    let store = logs.store().await;
    let mut runner = TestRunner::deterministic();
    let payloads: Vec<Value> =
        (0..PAYLOADS).map(|_| json().new_tree(&mut runner).expect("a payload").current()).collect();
    let appends = payloads.iter().enumerate().map(|(n, payload)| {
        store.append(fact(tenant(0), Uuid::from_u128(n as u128 % 3), json!({ "n": n, "any": payload })))
    });
    for outcome in futures::future::join_all(appends).await {
        assert!(matches!(outcome, Ok(Outcome::Appended(_))), "{outcome:?}");
    }
    let log = read_log(store.pool(), store.log_of(tenant(0)).await.unwrap()).await;
    check_log(&log);
    assert_eq!(log.len(), PAYLOADS);
    for row in log {
        let number = row.event.body["n"].as_u64().and_then(|n| usize::try_from(n).ok()).expect("its number");
        assert_eq!(canonical::to_string(&row.event.body["any"]), canonical::to_string(&payloads[number]));
    }
}

/// The canonical form, of which the hash is, has the range of a double (RFC 8785, section 3.2.2.3): what is stored has not.
#[tokio::test]
async fn large_integers_are_stored_to_the_last_digit() {
    let logs = Logs::start().await;
    let store = logs.store().await;
    let payload = json!({ "most": u64::MAX, "least": i64::MIN, "odd": 9_007_199_254_740_993_i64 });
    store.append(fact(tenant(0), Uuid::from_u128(1), payload.clone())).await.expect("it is written");
    let log = read_log(store.pool(), store.log_of(tenant(0)).await.unwrap()).await;
    check_log(&log);
    assert_eq!(log[0].event.body, payload);
}
