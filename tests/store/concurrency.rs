//! Many writers, several processes, one log.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use commands::store::{Decision, Outcome, Store};
use domain::refusal::Reason;
use futures::future::join_all;
use sqlx::PgPool;
use uuid::Uuid;

use super::*;

const WRITERS: u128 = 64;
const COMMANDS: u128 = 25;
const STREAMS: u128 = 7;

/// Follows a log as every reader of it does, until it is told that nothing more comes.
async fn follow(pool: PgPool, log_id: i16, finished: Arc<AtomicBool>) -> Vec<Uuid> {
    let mut seen = Vec::new();
    loop {
        let last_look = finished.load(Ordering::SeqCst);
        let new: Vec<(i64, Uuid)> = sqlx::query_as(
            "SELECT position, event_id FROM events WHERE log_id = $1 AND position > $2 ORDER BY position",
        )
        .bind(log_id)
        .bind(seen.len() as i64)
        .fetch_all(&pool)
        .await
        .expect("the log");
        for (position, event_id) in new {
            assert_eq!(position, seen.len() as i64 + 1, "the reader met a gap");
            seen.push(event_id);
        }
        if last_look {
            return seen;
        }
    }
}

/// What one writer was told: its events, and the claims that it got.
async fn write(store: Store, writer: u128) -> (Vec<Arc<Recorded<Value>>>, Vec<String>) {
    let tenant_id = tenant(writer % 3);
    let (mut events, mut won) = (Vec::new(), Vec::new());
    for n in 0..COMMANDS {
        let stream_id = Uuid::from_u128(writer % 3 * 1000 + (writer + n) % STREAMS);
        let mut append = fact(tenant_id, stream_id, added(1));
        // Everyone is after the same few keys.
        let key = format!("{tenant_id}/{}", n / 2);
        if n % 2 == 0 {
            append.claims.push(claim(&key, Uuid::from_u128(writer + 1)));
        }
        match store.append(append.clone()).await.expect("an outcome") {
            Outcome::Appended(written) => {
                events.extend(written);
                if n % 2 == 0 {
                    won.push(key);
                }
            }
            Outcome::Taken { owner, .. } => assert_ne!(owner, append.claims[0].owner),
            other => panic!("unexpected: {other:?}"),
        }
    }
    (events, won)
}

async fn storm(logs: &Logs, stores: &[Store]) {
    let log_id = stores[0].log_of(tenant(0)).await.unwrap();
    let finished = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(follow(logs.pool_as(ENGINE).await, log_id, Arc::clone(&finished)));
    let writers = (0..WRITERS).map(|n| tokio::spawn(write(stores[n as usize % stores.len()].clone(), n)));
    let told: Vec<_> = join_all(writers).await.into_iter().map(|joined| joined.expect("no panic")).collect();
    finished.store(true, Ordering::SeqCst);
    let seen = reader.await.expect("no panic");
    let log = read_log(stores[0].pool(), log_id).await;
    check_log(&log);
    assert_eq!(
        seen,
        log.iter().map(|row| row.event.event_id).collect::<Vec<_>>(),
        "the reader saw every event"
    );
    let acknowledged: HashMap<i64, &Recorded<Value>> =
        told.iter().flat_map(|(events, _)| events).map(|event| (event.position, event.as_ref())).collect();
    assert_eq!(acknowledged.len(), log.len());
    assert!(log.iter().all(|row| acknowledged[&row.event.position] == &row.event), "answered as stored");
    let won: Vec<&String> = told.iter().flat_map(|(_, keys)| keys).collect();
    assert_eq!(won.iter().collect::<HashSet<_>>().len(), won.len(), "a key went to two owners");
    assert_eq!(won.len() as u128, 3 * COMMANDS.div_ceil(2), "every key went to someone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_writers_leave_a_gapless_log_that_a_reader_follows_without_missing_anything() {
    let logs = Logs::start().await;
    storm(&logs, &[logs.store().await]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_processes_share_a_log() {
    let logs = Logs::start().await;
    storm(&logs, &[logs.store().await, logs.store().await, logs.store().await]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everyone_on_a_hot_stream_gets_their_turn() {
    let logs = Logs::start().await;
    let stores = [logs.store().await, logs.store().await];
    let (tenant_id, stream_id) = (tenant(0), Uuid::from_u128(9));
    let commands = (0..100).map(|n| {
        let store = stores[usize::from(n % 10 == 0)].clone();
        tokio::spawn(async move {
            let decide = |_: &Tally| Ok(Decision::one(TallyEvent::Added { n: 1 }));
            store
                .execute::<Tally>(&origin(tenant_id), stream_id, decide)
                .await
                .map(|decided| decided.state.sum)
        })
    });
    let sums: Vec<i64> = join_all(commands)
        .await
        .into_iter()
        .map(|joined| joined.expect("no panic").expect("success"))
        .collect();
    let distinct: HashSet<i64> = sums.iter().copied().collect();
    assert_eq!(distinct, (1..=100).collect(), "each command saw a state of its own");
}

#[tokio::test]
async fn a_claim_that_someone_holds_is_refused_until_it_is_given_back() {
    let logs = Logs::start().await;
    let store = logs.store().await;
    let tenant_id = tenant(0);
    let [first, second] = [1, 2].map(Uuid::from_u128);
    let take = |owner: Uuid| {
        let store = store.clone();
        async move {
            let decide =
                |_: &Tally| Ok(Decision::one(TallyEvent::Closed).claiming("email", "ani@example.com", owner));
            store.execute::<Tally>(&origin(tenant_id), owner, decide).await
        }
    };
    take(first).await.expect("it is free");
    let refusal = take(second).await.expect_err("it is taken");
    let refusal = refusal.refusal().expect("a refusal");
    assert_eq!((refusal.reason, refusal.code), (Reason::Conflict, "already_taken"));
    assert_eq!(store.claim_owner(tenant_id, "email", "ani@example.com").await.unwrap(), Some(first));
    let give_back = |_: &Tally| {
        Ok(Decision::one(TallyEvent::Closed).releasing("email", "ani@example.com", first).releasing(
            "email",
            "never@example.com",
            first,
        ))
    };
    store.execute::<Tally>(&origin(tenant_id), first, give_back).await.expect("it is first's");
    assert_eq!(store.claim_owner(tenant_id, "email", "ani@example.com").await.unwrap(), None);
    take(second).await.expect("it is free again");
    // What someone else holds can't be released.
    store.execute::<Tally>(&origin(tenant_id), first, give_back).await.expect("harmless");
    assert_eq!(store.claim_owner(tenant_id, "email", "ani@example.com").await.unwrap(), Some(second));
    // In one step from hand to hand, without an event of its own.
    let hand_over = |_: &Tally| {
        Ok(Decision::nothing().claiming("email", "ani@example.com", first).releasing(
            "email",
            "ani@example.com",
            second,
        ))
    };
    store.execute::<Tally>(&origin(tenant_id), first, hand_over).await.expect("second gives it away");
    assert_eq!(store.claim_owner(tenant_id, "email", "ani@example.com").await.unwrap(), Some(first));
}
