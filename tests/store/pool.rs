//! Connections that wait for the next statement.

use std::time::{Duration, Instant};

use commands::store::Pool;
use futures::future::join_all;

use super::*;

/// The server process that answers a statement.
async fn pid(pool: &Pool) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(pool).await.expect("an answer")
}

async fn slow(pool: &Pool, seconds: f64) -> Result<i32, sqlx::Error> {
    let sql = "SELECT pg_backend_pid() FROM (SELECT pg_sleep($1)) slept";
    sqlx::query_scalar(sql).bind(seconds).fetch_one(pool).await
}

async fn pool_of(logs: &Logs) -> Pool {
    Pool::new(logs.pool_as(ENGINE).await)
}

#[tokio::test]
async fn the_connection_that_came_back_last_goes_first() {
    let logs = Logs::start().await;
    let pool = pool_of(&logs).await;
    let opened = join_all((0..4).map(|_| slow(&pool, 0.2))).await;
    let opened: std::collections::HashSet<i32> =
        opened.into_iter().map(|pid| pid.expect("an answer")).collect();
    assert_eq!(opened.len(), 4);
    let used = pid(&pool).await;
    for _ in 0..20 {
        assert_eq!(pid(&pool).await, used);
    }
}

#[tokio::test]
async fn a_statement_that_was_cut_off_or_failed_is_in_nobodys_way() {
    let logs = Logs::start().await;
    let pool = pool_of(&logs).await;
    let begun = Instant::now();
    let cut_off = tokio::time::timeout(Duration::from_millis(100), slow(&pool, 3.0)).await;
    assert!(cut_off.is_err());
    pid(&pool).await;
    let failed = sqlx::query("SELECT 1 / 0").execute(&pool).await;
    assert!(failed.is_err());
    pid(&pool).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_transaction_left_open_is_rolled_back() {
    let logs = Logs::start().await;
    let pool = pool_of(&logs).await;
    pid(&pool).await;
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("SET LOCAL omnistream.tenant = 'somebody'").execute(&mut *tx).await.unwrap();
    drop(tx);
    for _ in 0..20 {
        let tenant: Option<String> = sqlx::query_scalar("SELECT current_setting('omnistream.tenant', true)")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(tenant.unwrap_or_default(), "");
    }
}

#[tokio::test]
async fn a_connection_that_died_while_it_waited_is_replaced() {
    let logs = Logs::start().await;
    let pool = pool_of(&logs).await;
    let died = pid(&pool).await;
    let other = PgPoolOptions::new().connect(&logs.database.owner_url).await.unwrap();
    sqlx::query("SELECT pg_terminate_backend($1)").bind(died).execute(&other).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_ne!(pid(&pool).await, died);
}

#[tokio::test]
async fn whoever_waits_for_a_connection_gets_the_next_that_comes_back() {
    let logs = Logs::start().await;
    let pool = pool_of(&logs).await;
    let most = pool.options().get_max_connections();
    let statements = join_all((0..most).map(|_| slow(&pool, 0.5)));
    let waiting = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let held = join_all((0..most).map(|_| pool.acquire()));
        tokio::time::timeout(Duration::from_secs(3), held).await.expect("nobody waits in vain")
    };
    let (answers, held) = tokio::join!(statements, waiting);
    assert!(answers.iter().all(Result::is_ok) && held.iter().all(Result::is_ok));
}

#[tokio::test]
async fn it_closes_without_waiting_for_what_nobody_uses() {
    let logs = Logs::start().await;
    let pool = pool_of(&logs).await;
    join_all((0..4).map(|_| slow(&pool, 0.05))).await;
    tokio::time::timeout(Duration::from_secs(2), pool.close()).await.expect("it closes");
    assert!(matches!(slow(&pool, 0.0).await, Err(sqlx::Error::PoolClosed)));
}
