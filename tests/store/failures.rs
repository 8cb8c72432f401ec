//! What happens to commands when the database fails under them, refuses them, or can't keep up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use commands::CommandError;
use commands::store::{MAX_BATCH, Outcome, QUEUE_LIMIT, Store};
use futures::future::join_all;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::*;

/// Enough for a batch on its way, and one that is planned on it.
const WRITERS: u128 = 72;
const COMMANDS: u128 = 14;
const STREAMS: u128 = 6;

/// Between two kills.
const PAUSE: Duration = Duration::from_millis(25);

/// Again and again ends the connection that holds a log's lock, wherever its batch is at that moment; answers how often.
async fn kill_connections(mut admin: PgConnection, stop: Arc<AtomicBool>) -> u64 {
    let mut killed = 0;
    while !stop.load(Ordering::SeqCst) {
        let done = sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_locks
             WHERE locktype = 'advisory' AND granted AND classid = 7301 AND pid <> pg_backend_pid()
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .execute(&mut admin)
        .await
        .expect("nobody ends the administrator's connection");
        killed += done.rows_affected();
        tokio::time::sleep(if done.rows_affected() > 0 { PAUSE } else { Duration::ZERO }).await;
    }
    killed
}

/// Repeats a command under its id until it is answered, as a client would.
async fn insist(store: &Store, append: Append) -> Outcome {
    crate::support::eventually("the log takes the command", || {
        let append = append.clone();
        async move { store.append(append).await.ok() }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_killed_under_a_batch_loses_nothing_and_doubles_nothing() {
    let logs = Logs::start().await;
    let store = logs.store().await;
    let log_id = store.log_of(tenant(0)).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let admin = PgConnection::connect(&logs.database.owner_url).await.unwrap();
    let killer = tokio::spawn(kill_connections(admin, Arc::clone(&stop)));
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..COMMANDS {
                let mut append = fact(tenant(0), Uuid::from_u128(writer % STREAMS), added(1));
                append.command_id = Uuid::from_u128(writer * COMMANDS + n + 1);
                // A command that was written although its connection died is told apart from a new one.
                let outcome = insist(&store, append).await;
                assert!(matches!(outcome, Outcome::Appended(_) | Outcome::Duplicate { .. }), "{outcome:?}");
            }
        })
    });
    join_all(writers).await.into_iter().for_each(|joined| joined.expect("no panic"));
    stop.store(true, Ordering::SeqCst);
    assert!(killer.await.expect("no panic") > 3, "too few connections were killed to prove anything");
    let pool = logs.pool_as(ENGINE).await;
    let log = read_log(&pool, log_id).await;
    check_log(&log);
    let mut ids: Vec<u128> = log.iter().map(|row| row.event.command_id.as_u128()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=WRITERS * COMMANDS).collect::<Vec<_>>(), "each command happened exactly once");
}

/// Holds a log's lock, so that commands queue up behind it.
struct Blockade(PgConnection);

impl Blockade {
    async fn of(logs: &Logs, log_id: i16) -> Self {
        let mut connection = PgConnection::connect(&logs.database.owner_url).await.unwrap();
        sqlx::query("SELECT pg_advisory_lock(7301, $1)")
            .bind(i32::from(log_id))
            .execute(&mut connection)
            .await
            .unwrap();
        Self(connection)
    }

    /// Waits until so many batches stand at the lock: what comes now is of a later one.
    async fn is_felt_by(&mut self, batches: i64) {
        let waiting =
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND classid = 7301
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut self.0).await.unwrap() < batches {
            assert!(tokio::time::Instant::now() < deadline, "nobody waits for the lock");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends the connection of the batch that has stood there for the longest time.
    async fn kill_first(&mut self) {
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_locks
             WHERE locktype = 'advisory' AND NOT granted AND classid = 7301
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
             ORDER BY waitstart LIMIT 1",
        )
        .execute(&mut self.0)
        .await
        .unwrap();
    }

    async fn lift(mut self) {
        sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut self.0).await.unwrap();
    }
}

/// Sends commands that will be one batch, and answers what became of each.
async fn in_one_batch(logs: &Logs, store: &Store, batch: Vec<Append>) -> Vec<Result<Outcome, CommandError>> {
    let log_id = store.log_of(tenant(0)).await.unwrap();
    let mut blockade = Blockade::of(logs, log_id).await;
    let first = tokio::spawn({
        let store = store.clone();
        async move { store.append(fact(tenant(0), Uuid::from_u128(0xf), added(1))).await }
    });
    blockade.is_felt_by(1).await;
    let (_, (outcomes, ())) = tokio::join!(first, async {
        let sending = join_all(batch.into_iter().map(|append| store.append(append)));
        let lifting = async {
            tokio::task::yield_now().await;
            blockade.lift().await;
        };
        tokio::join!(sending, lifting)
    });
    outcomes
}

/// Both chain on one stream: what the second was planned on never happened, or happens after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_was_planned_on_one_that_is_cut_off_is_planned_again() {
    let logs = Logs::start().await;
    let store = logs.store().await;
    let log_id = store.log_of(tenant(0)).await.unwrap();
    let mut blockade = Blockade::of(&logs, log_id).await;
    let append = |count: usize| {
        let store = store.clone();
        tokio::spawn(async move {
            let appends = (0..count).map(|_| store.append(fact(tenant(0), Uuid::from_u128(9), added(1))));
            join_all(appends).await
        })
    };
    let first = append(1);
    blockade.is_felt_by(1).await;
    let second = append(64);
    blockade.is_felt_by(2).await;
    blockade.kill_first().await;
    blockade.lift().await;
    let mut outcomes = first.await.expect("no panic");
    outcomes.extend(second.await.expect("no panic"));
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Outcome::Appended(_)))), "{outcomes:?}");
    let log = read_log(&logs.pool_as(ENGINE).await, log_id).await;
    check_log(&log);
    assert_eq!(log.len(), outcomes.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_refused_at_once_and_what_was_accepted_is_written() {
    let logs = Logs::start().await;
    let store = logs.store().await;
    // Beside those that wait, a batch may be on its way, and the next one gathered.
    let beside = 2 * MAX_BATCH;
    let sent = QUEUE_LIMIT + beside + 50;
    let batch = (0..sent).map(|n| fact(tenant(0), Uuid::from_u128(n as u128 % 5), added(1))).collect();
    let outcomes = in_one_batch(&logs, &store, batch).await;
    let busy = outcomes.iter().filter(|o| matches!(o, Err(CommandError::Busy))).count();
    let written = outcomes.iter().filter(|o| matches!(o, Ok(Outcome::Appended(_)))).count();
    assert!((50..=50 + beside).contains(&busy), "{busy} were refused");
    assert_eq!(written, sent - busy);
    let log = read_log(store.pool(), store.log_of(tenant(0)).await.unwrap()).await;
    check_log(&log);
    assert_eq!(log.len(), written + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_the_database_cannot_take_fails_alone() {
    let logs = Logs::start().await;
    let store = logs.store().await;
    let mut batch: Vec<Append> = (0..20).map(|n| fact(tenant(0), Uuid::from_u128(n), added(1))).collect();
    batch[7].streams[0].events[0].payload = json!({ "n": "a NUL \0 in a text" });
    // Beyond what an index can hold, and random enough not to be compressed into it.
    let endless: String = (0..400).map(|_| Uuid::new_v4().to_string()).collect();
    batch[13].claims.push(claim(endless, Uuid::from_u128(1)));
    assert!(batch.len() <= MAX_BATCH);
    let outcomes = in_one_batch(&logs, &store, batch).await;
    let failed: Vec<usize> = (0..outcomes.len()).filter(|n| outcomes[*n].is_err()).collect();
    assert_eq!(failed, [7, 13]);
    assert!(outcomes.iter().flatten().all(|outcome| matches!(outcome, Outcome::Appended(_))));
    check_log(&read_log(store.pool(), store.log_of(tenant(0)).await.unwrap()).await);
}

#[tokio::test]
async fn a_repeated_command_is_answered_and_not_repeated() {
    let logs = Logs::start().await;
    let store = logs.store().await;
    let append = fact(tenant(0), Uuid::from_u128(1), added(5));
    let Outcome::Appended(first) = store.append(append.clone()).await.unwrap() else {
        panic!("not appended")
    };
    let other_process = logs.store().await;
    let again = other_process.append(append).await.unwrap();
    assert!(
        matches!(again, Outcome::Duplicate { last_position } if last_position == first[0].position),
        "{again:?}"
    );
    let tally: Tally = store.load(tenant(0), Uuid::from_u128(1)).await.unwrap();
    assert_eq!(tally.sum, 5);
}

#[tokio::test]
async fn nobody_can_change_history() {
    let logs = Logs::start().await;
    let store = logs.store().await;
    store.append(fact(tenant(0), Uuid::from_u128(1), added(5))).await.unwrap();
    for role in [ENGINE, APP] {
        let pool = logs.pool_as(role).await;
        for statement in ["UPDATE events SET payload = '{}'", "DELETE FROM events", "TRUNCATE events"] {
            let refused = sqlx::raw_sql(statement).execute(&pool).await.expect_err(statement);
            let code = refused.as_database_error().and_then(|e| e.code().map(|c| c.into_owned()));
            assert_eq!(code.as_deref(), Some("42501"), "{role}: {statement}: {refused}");
        }
    }
}
