//! Keys under which an answer is kept.

use chrono::{DateTime, TimeDelta, Utc};
use commands::idempotency::{Begin, KEPT, LEASE, RENEWAL, Scope, abandon, begin, finish, forget_old, renew};
use commands::store::Pool;
use uuid::Uuid;

use super::*;

const KEY: &str = "order-17";
const SAME: [u8; 32] = [1; 32];
const OTHER: [u8; 32] = [2; 32];

fn scope(tenant: u128, caller: u128) -> Scope {
    Scope { tenant_id: Uuid::from_u128(tenant), caller_id: Uuid::from_u128(caller) }
}

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// What an attempt is told, in a form that compares.
async fn attempt(pool: &Pool, scope: Scope, fingerprint: [u8; 32], now: DateTime<Utc>) -> String {
    match begin(pool, scope, KEY, &fingerprint, now).await.expect("an answer") {
        Begin::New { started_at } => format!("new since {}", (started_at - noon()).num_seconds()),
        Begin::Done { status, answer } => format!("{status} {answer}"),
        Begin::InProgress => "in progress".to_owned(),
        Begin::Mismatch => "mismatch".to_owned(),
    }
}

#[tokio::test]
async fn an_answer_is_given_again_to_the_same_request_only() {
    let logs = Logs::start().await;
    let pool = Pool::new(logs.pool_as(ENGINE).await);
    let mine = scope(1, 1);
    let second = TimeDelta::seconds(1);
    assert_eq!(attempt(&pool, mine, SAME, noon()).await, "new since 0");
    assert_eq!(attempt(&pool, mine, SAME, noon() + second).await, "in progress");
    assert_eq!(attempt(&pool, mine, OTHER, noon() + second).await, "mismatch");
    finish(&pool, mine, KEY, 201, "sealed").await.unwrap();
    assert_eq!(attempt(&pool, mine, SAME, noon() + second).await, "201 sealed");
    assert_eq!(attempt(&pool, mine, OTHER, noon() + second).await, "mismatch");
    assert_eq!(attempt(&pool, scope(1, 2), SAME, noon() + second).await, "new since 1", "another caller");
    assert_eq!(attempt(&pool, scope(2, 1), SAME, noon() + second).await, "new since 1", "another tenant");
}

#[tokio::test]
async fn an_attempt_that_died_is_taken_over_by_one_other_under_the_same_ids() {
    let logs = Logs::start().await;
    let pool = Pool::new(logs.pool_as(ENGINE).await);
    let mine = scope(1, 1);
    assert_eq!(attempt(&pool, mine, SAME, noon()).await, "new since 0");
    assert_eq!(attempt(&pool, mine, SAME, noon() + LEASE).await, "in progress", "the lease still holds");
    let late = noon() + LEASE + TimeDelta::seconds(1);
    assert_eq!(attempt(&pool, mine, OTHER, late).await, "mismatch");
    let told = futures::future::join_all((0..8).map(|_| attempt(&pool, mine, SAME, late))).await;
    assert_eq!(told.iter().filter(|answer| *answer == "new since 0").count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|answer| *answer == "in progress").count(), 7, "{told:?}");
}

#[tokio::test]
async fn an_attempt_that_says_it_lives_is_not_taken_over() {
    let logs = Logs::start().await;
    let pool = Pool::new(logs.pool_as(ENGINE).await);
    let mine = scope(1, 1);
    assert!(2 * RENEWAL < LEASE.to_std().unwrap(), "one renewal may fail");
    assert_eq!(attempt(&pool, mine, SAME, noon()).await, "new since 0");
    renew(&pool, mine, KEY, noon() + LEASE).await.unwrap();
    assert_eq!(attempt(&pool, mine, SAME, noon() + LEASE * 2).await, "in progress");
    let late = noon() + LEASE * 2 + TimeDelta::seconds(1);
    assert_eq!(attempt(&pool, mine, SAME, late).await, "new since 0");
    finish(&pool, mine, KEY, 201, "of the second").await.unwrap();
    finish(&pool, mine, KEY, 409, "of the first").await.unwrap();
    assert_eq!(attempt(&pool, mine, SAME, late).await, "201 of the second", "a key has one answer");
}

#[tokio::test]
async fn an_attempt_that_failed_on_our_side_may_be_repeated_at_once() {
    let logs = Logs::start().await;
    let pool = Pool::new(logs.pool_as(ENGINE).await);
    let mine = scope(1, 1);
    let at = |seconds| noon() + TimeDelta::seconds(seconds);
    assert_eq!(attempt(&pool, mine, SAME, at(0)).await, "new since 0");
    abandon(&pool, mine, KEY, at(5)).await.unwrap();
    assert_eq!(attempt(&pool, mine, OTHER, at(5)).await, "mismatch");
    assert_eq!(attempt(&pool, mine, SAME, at(5)).await, "new since 0");
    finish(&pool, mine, KEY, 200, "sealed").await.unwrap();
    abandon(&pool, mine, KEY, at(6)).await.unwrap();
    assert_eq!(attempt(&pool, mine, SAME, at(6)).await, "200 sealed", "what is done stays done");
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let logs = Logs::start().await;
    let pool = Pool::new(logs.pool_as(ENGINE).await);
    let mine = scope(1, 1);
    assert_eq!(attempt(&pool, mine, SAME, noon()).await, "new since 0");
    finish(&pool, mine, KEY, 200, "sealed").await.unwrap();
    assert_eq!(attempt(&pool, mine, SAME, noon() + KEPT).await, "200 sealed");
    let next_day = noon() + KEPT + TimeDelta::seconds(1);
    assert_eq!(forget_old(&pool, noon() + KEPT).await.unwrap(), 0);
    assert_eq!(attempt(&pool, mine, OTHER, next_day).await, format!("new since {}", KEPT.num_seconds() + 1));
    assert_eq!(forget_old(&pool, next_day + KEPT + TimeDelta::seconds(1)).await.unwrap(), 1);
}
