//! The runner: in order, without a gap, one at a time.

use std::sync::Arc;

use projections::lease::Lease;
use projections::runner::{self, RunError};
use projections::{activity, documents};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Lab, documents as all_documents, renamed};
use crate::support::eventually;

async fn held(runner: &projections::runner::Runner) -> Lease {
    runner.acquire().await.expect("the database answers").expect("nobody else holds the lease")
}

async fn expire_leases(lab: &Lab) {
    sqlx::query("UPDATE projections SET lease_until = now() - interval '1 second'")
        .execute(lab.pool())
        .await
        .expect("leases expire");
}

#[tokio::test]
async fn a_runner_whose_lease_was_taken_cannot_commit() {
    let lab = Lab::new().await;
    let stalled = lab.runner(documents::projection()).await;
    let lease = held(&stalled).await;
    let successor = lab.runner(documents::projection()).await;
    assert!(successor.acquire().await.unwrap().is_none(), "one holder at a time");
    lab.role("auditor").await;
    expire_leases(&lab).await;
    let taken = held(&successor).await;
    assert!(matches!(stalled.step(lease, 100).await, Err(RunError::LeaseLost)));
    assert_eq!(lab.names().await, [""; 0], "nothing of the stalled one's work is seen");
    assert_eq!(successor.step(taken, 100).await.unwrap().position, 1);
    assert_eq!(lab.names().await, ["auditor"]);
}

/// As a crash of the database does to what was not synced, while the worker lives on.
async fn take_back(lab: &Lab) {
    let mut tx = lab.pool().begin().await.expect("the database answers");
    sqlx::query("DELETE FROM read.documents").execute(&mut *tx).await.expect("rows are taken back");
    sqlx::query("UPDATE projections SET position = 0").execute(&mut *tx).await.expect("and the checkpoint");
    tx.commit().await.expect("together");
}

#[tokio::test]
async fn what_a_crash_of_the_database_took_back_is_applied_again() {
    let lab = Lab::new().await;
    let runner = lab.runner(documents::projection()).await;
    lab.role("auditor").await;
    let lease = runner.step(held(&runner).await, 100).await.unwrap();
    take_back(&lab).await;
    lab.role("controller").await;
    assert!(
        matches!(runner.step(lease, 100).await, Err(RunError::LeaseLost)),
        "it must not go on behind a hole"
    );
    runner.step(held(&runner).await, 100).await.unwrap();
    assert_eq!(lab.names().await, ["auditor", "controller"]);
}

#[tokio::test]
async fn a_crash_of_the_database_is_noticed_without_further_events() {
    let lab = Lab::new().await;
    let projection = all_documents();
    let stop = lab.run(&projection);
    lab.role("auditor").await;
    lab.caught_up("documents").await;
    take_back(&lab).await;
    eventually("the row is there again", async || (lab.names().await == ["auditor"]).then_some(())).await;
    stop.cancel();
}

#[tokio::test]
async fn a_lease_that_is_given_back_is_free_at_once() {
    let lab = Lab::new().await;
    let first = lab.runner(documents::projection()).await;
    held(&first).await;
    first.give_back().await.unwrap();
    held(&lab.runner(documents::projection()).await).await;
}

#[tokio::test]
async fn who_stops_leaves_no_lease_behind() {
    let lab = Lab::new().await;
    for name in ["auditor", "controller", "reviewer"] {
        let stop = CancellationToken::new();
        let mut tasks =
            runner::run_all(&lab.store, &[all_documents(), Arc::new(activity::projection())], &stop);
        lab.caught_up("activity").await;
        // What changes no activity is written down by the keeper, at the latest when it stops.
        lab.role(name).await;
        lab.caught_up("documents").await;
        stop.cancel();
        while tasks.join_next().await.is_some() {}
        let held = "SELECT count(*) FROM projections WHERE lease_until IS NOT NULL";
        let held: i64 = sqlx::query_scalar(held).fetch_one(lab.pool()).await.expect("a count");
        assert_eq!(held, 0);
    }
}

#[tokio::test]
async fn a_gap_stops_the_runner_before_it_skips_anything() {
    let lab = Lab::new().await;
    let role = lab.role("auditor").await;
    let runner = lab.runner(documents::projection()).await;
    let lease = runner.step(held(&runner).await, 100).await.unwrap();
    // Position 2 is never written.
    sqlx::query(
        "INSERT INTO events SELECT log_id, position + 2, tenant_id, stream_type, stream_id, version + 1, 'role.deleted', 1,
             gen_random_uuid(), gen_random_uuid(), metadata, recorded_at, '{}', payload_hash, chain_hash
         FROM events WHERE stream_id = $1",
    )
    .bind(role)
    .execute(lab.pool())
    .await
    .unwrap();
    let stopped = runner.step(lease, 100).await;
    assert!(matches!(stopped, Err(RunError::Gap { after: 1, found: 3, .. })), "{stopped:?}");
    assert_eq!(lab.names().await, ["auditor"]);
    runner.give_back().await.unwrap();
    let stop = lab.run(&all_documents());
    let error = eventually("the error is noted", async || {
        let sql = "SELECT error FROM projections WHERE error IS NOT NULL";
        sqlx::query_scalar::<_, String>(sql).fetch_optional(lab.pool()).await.unwrap()
    })
    .await;
    assert!(error.contains("gap: after 1 comes 3"), "{error}");
    stop.cancel();
}

#[tokio::test]
async fn two_processes_share_the_work_and_apply_every_event_once() {
    let lab = Lab::new().await;
    let projection = all_documents();
    let stops = [lab.run(&projection), lab.run(&projection)];
    for n in 0..20 {
        lab.role(&format!("role-{n:02}")).await;
    }
    lab.caught_up("documents").await;
    assert_eq!(lab.names().await.len(), 20);
    // The one that holds the lease dies; the other takes over where it stood.
    let holder: Uuid = sqlx::query_scalar("SELECT lease_owner FROM projections WHERE log_id = $1")
        .bind(lab.log_id().await)
        .fetch_one(lab.pool())
        .await
        .unwrap();
    stops[0].cancel();
    stops[1].cancel();
    let last = lab.run(&projection);
    lab.role("role-20").await;
    lab.caught_up("documents").await;
    let successor: Uuid = sqlx::query_scalar("SELECT lease_owner FROM projections WHERE log_id = $1")
        .bind(lab.log_id().await)
        .fetch_one(lab.pool())
        .await
        .unwrap();
    assert_ne!(holder, successor);
    let verified = projections::verify::verify(&lab.store, &projection, |_| ()).await.unwrap();
    assert!(verified.ok && verified.rows_compared == 21, "{verified:?}");
    last.cancel();
}

/// What fails for another reason than the event must be tried again, not parked.
#[tokio::test]
async fn a_failing_database_parks_nobody() {
    let lab = Lab::new().await;
    let role = lab.role("auditor").await;
    lab.append(role, "role.updated", vec![renamed("chief auditor")]).await;
    let runner = lab.runner(documents::projection()).await;
    let lease = held(&runner).await;
    let rename = |from, to| format!("ALTER TABLE read.documents RENAME COLUMN {from} TO {to}");
    sqlx::query(sqlx::AssertSqlSafe(rename("doc", "gone"))).execute(lab.pool()).await.unwrap();
    assert!(matches!(runner.step(lease, 100).await, Err(RunError::Apply(_))));
    sqlx::query(sqlx::AssertSqlSafe(rename("gone", "doc"))).execute(lab.pool()).await.unwrap();
    let parked: i64 =
        sqlx::query_scalar("SELECT count(*) FROM parked_events").fetch_one(lab.pool()).await.unwrap();
    assert_eq!(parked, 0);
    assert_eq!(runner.step(lease, 100).await.unwrap().position, 2);
    assert_eq!(lab.names().await, ["chief auditor"]);
}
