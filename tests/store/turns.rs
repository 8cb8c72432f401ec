//! Batches of a log that are on their way at once (`append_batch`): the second is inserted while the first is not yet
//! committed, and happens after it or not at all.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use super::*;

const LOG: i16 = 1;
/// What `append_batch` raises for a batch that was put where it may not stay.
const OUTRUN: &str = "OM001";

/// One event of one command on a stream that is thought to be new, or to end with version 1.
struct Batch {
    stream: u128,
    version: i64,
}

impl Batch {
    async fn append(
        &self,
        connection: &mut PgConnection,
        follows: Option<i64>,
    ) -> Result<Value, sqlx::Error> {
        let (stream, id) = (Uuid::from_u128(self.stream), Uuid::new_v4());
        let hash = [7_u8; 32].as_slice();
        let known = self.version - 1;
        sqlx::query_scalar(
            "SELECT append_batch($1, $2, $3, $4, $5, $6, $7, $8, '[]', '[]', '[]', $9, $10, $11, $12, $13, $14, $15, \
             $16, $17, $18, $19, $20)",
        )
        .bind(LOG)
        .bind(follows)
        .bind(chrono::Utc::now())
        .bind(json!({ "commands": [], "streams": [], "claims": [] }))
        .bind([id])
        .bind([stream])
        .bind([(known > 0).then_some(known)])
        .bind([(known > 0).then_some(hash)])
        .bind([tenant(0)])
        .bind(["tally"])
        .bind([stream])
        .bind([self.version])
        .bind(["tally.added"])
        .bind([1_i16])
        .bind([id])
        .bind([id])
        .bind([json!(metadata())])
        .bind([json!({ "n": 1 })])
        .bind([hash])
        .bind([hash])
        .fetch_one(connection)
        .await
    }
}

async fn session(logs: &Logs) -> PgConnection {
    let mut connection = PgConnection::connect(&logs.database.owner_url).await.unwrap();
    sqlx::raw_sql("SET ROLE omnistream_engine").execute(&mut connection).await.unwrap();
    connection
}

/// Until a session has put its batch up to this position into the log and waits for the one before it to be over.
async fn inserted_up_to(logs: &Logs, position: i64) {
    let sql = "SELECT EXISTS (SELECT FROM pg_locks mark JOIN pg_locks turn USING (pid, database)
                   WHERE mark.granted AND mark.locktype = 'advisory' AND mark.objsubid = 1
                       AND (mark.classid::bigint << 32 | mark.objid::bigint) = batch_end($1, $2)
                       AND NOT turn.granted AND turn.locktype = 'advisory' AND turn.classid = 7304
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
    let mut admin = session(logs).await;
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    while !sqlx::query_scalar::<_, bool>(sql).bind(LOG).bind(position).fetch_one(&mut admin).await.unwrap() {
        assert!(tokio::time::Instant::now() < deadline, "nothing was put before its turn");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A batch on stream 1 that is not committed, and `second`, which follows it; what becomes of the second when the first
/// is committed, or is not.
async fn on_the_heels(logs: &Logs, second: Batch, commit: bool) -> Result<Value, sqlx::Error> {
    let (mut one, mut other) = (session(logs).await, session(logs).await);
    let mut first = one.begin().await.unwrap();
    let written = Batch { stream: 1, version: 1 }.append(&mut first, None).await.unwrap();
    assert_eq!(written, json!({ "written": 0 }));
    let second = tokio::spawn(async move { second.append(&mut other, Some(1)).await });
    inserted_up_to(logs, 2).await;
    match commit {
        true => first.commit().await.unwrap(),
        false => first.rollback().await.unwrap(),
    }
    second.await.expect("no panic")
}

async fn positions(logs: &Logs) -> Vec<(i64, u128, i64)> {
    let sql = "SELECT position, stream_id, version FROM events ORDER BY position";
    let rows: Vec<(i64, Uuid, i64)> = sqlx::query_as(sql).fetch_all(&mut session(logs).await).await.unwrap();
    rows.into_iter().map(|(position, stream, version)| (position, stream.as_u128(), version)).collect()
}

fn is_outrun(outcome: &Result<Value, sqlx::Error>) -> bool {
    outcome
        .as_ref()
        .err()
        .and_then(|e| e.as_database_error()?.code().map(|code| code == OUTRUN))
        .unwrap_or(false)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_inserted_while_the_one_before_it_commits() {
    let logs = Logs::start().await;
    let outcome = on_the_heels(&logs, Batch { stream: 1, version: 2 }, true).await;
    assert_eq!(outcome.unwrap(), json!({ "written": 1 }));
    assert_eq!(positions(&logs).await, [(1, 1, 1), (2, 1, 2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_after_one_that_never_happened_never_happens_either() {
    let logs = Logs::start().await;
    let outcome = on_the_heels(&logs, Batch { stream: 2, version: 1 }, false).await;
    assert!(is_outrun(&outcome), "{outcome:?}");
    assert_eq!(positions(&logs).await, []);
    // And it keeps nobody from writing.
    let next = Batch { stream: 3, version: 1 }.append(&mut session(&logs).await, Some(2)).await;
    assert_eq!(next.unwrap(), json!({ "written": 0 }));
    assert_eq!(positions(&logs).await, [(1, 3, 1)]);
}

/// It was planned by someone who did not know what the one before wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_contradicts_the_one_before_it_does_not_happen() {
    let logs = Logs::start().await;
    let outcome = on_the_heels(&logs, Batch { stream: 4, version: 2 }, true).await;
    assert!(is_outrun(&outcome), "{outcome:?}");
    assert_eq!(positions(&logs).await, [(1, 1, 1)]);
}

/// A log that someone has alone, as an import does, takes no batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_appends_while_someone_has_the_log_alone() {
    let logs = Logs::start().await;
    let mut alone = session(&logs).await;
    sqlx::query("SELECT pg_advisory_lock(7301, $1)").bind(i32::from(LOG)).execute(&mut alone).await.unwrap();
    let mut other = session(&logs).await;
    sqlx::raw_sql("SET lock_timeout = '100ms'").execute(&mut other).await.unwrap();
    let refused = Batch { stream: 1, version: 1 }.append(&mut other, None).await.expect_err("it waits");
    assert_eq!(refused.as_database_error().and_then(|e| e.code()).as_deref(), Some("55P03"));
    assert_eq!(positions(&logs).await, []);
}
