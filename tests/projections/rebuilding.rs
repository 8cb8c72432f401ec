//! Rebuilding beside the live tables, going back, and proving that both are what the log says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use projections::rebuild::{self, RebuildError, Step};
use projections::verify::{DifferenceKind, verify};
use serde_json::json;
use uuid::Uuid;

use super::{Lab, documents, renamed};

/// For a rebuild of few rows beside which others read and write.
const UNHINDERED: Duration = Duration::from_secs(20);

async fn generation(lab: &Lab) -> i32 {
    sqlx::query_scalar("SELECT max(generation) FROM projections WHERE name = 'documents' AND slot = 'live'")
        .fetch_one(lab.pool())
        .await
        .unwrap()
}

async fn assert_equal(lab: &Lab, rows: i64) {
    let verified = verify(&lab.store, &documents(), |_| ()).await.unwrap();
    assert!(verified.ok, "{verified:?}");
    assert_eq!(verified.rows_compared, rows);
}

#[tokio::test]
async fn a_rebuild_while_writes_go_on_loses_and_doubles_nothing() {
    let lab = Arc::new(Lab::new().await);
    let projection = documents();
    let stop = lab.run(&projection);
    lab.many_events(3_000).await;
    lab.caught_up("documents").await;
    let (done, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(1)));
    let writer = tokio::spawn({
        let (lab, done, written) = (Arc::clone(&lab), Arc::clone(&done), Arc::clone(&written));
        async move {
            let tenants = [lab.tenant, Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
            while !done.load(Ordering::Relaxed) {
                let n = written.fetch_add(1, Ordering::Relaxed);
                lab.role_of(tenants[n as usize % 4], &format!("role-{n}")).await;
            }
        }
    });
    let reader = tokio::spawn({
        let (lab, done) = (Arc::clone(&lab), Arc::clone(&done));
        async move {
            let mut rows = 0_i64;
            while !done.load(Ordering::Relaxed) {
                let now: i64 = sqlx::query_scalar("SELECT count(*) FROM read.documents")
                    .fetch_one(lab.pool())
                    .await
                    .expect("readers are never without the table");
                assert!(now >= rows, "readers saw {rows} rows, then {now}");
                rows = now;
            }
        }
    });
    for expected in [2, 3] {
        let rebuilding = rebuild::rebuild(&lab.store, &projection, |_| ());
        tokio::time::timeout(UNHINDERED, rebuilding).await.expect("writers give way to the switch").unwrap();
        assert_eq!(generation(&lab).await, expected);
    }
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    done.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    reader.await.unwrap();
    lab.caught_up("documents").await;
    assert!(written.load(Ordering::Relaxed) > 20, "writes went on");
    assert_equal(&lab, written.load(Ordering::Relaxed)).await;
    stop.cancel();
}

#[tokio::test]
async fn the_rebuilt_table_has_the_indexes_and_the_protection_of_the_old_one() {
    let lab = Lab::new().await;
    let shape = async || -> (Vec<String>, bool, Vec<String>) {
        let indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'read' AND tablename = 'documents' ORDER BY 1";
        let forced = "SELECT relforcerowsecurity FROM pg_class WHERE oid = 'read.documents'::regclass";
        let policies = "SELECT policyname || roles::text || qual FROM pg_policies WHERE schemaname = 'read' AND tablename = 'documents' ORDER BY 1";
        (
            sqlx::query_scalar(indexes).fetch_all(lab.pool()).await.unwrap(),
            sqlx::query_scalar(forced).fetch_one(lab.pool()).await.unwrap(),
            sqlx::query_scalar(policies).fetch_all(lab.pool()).await.unwrap(),
        )
    };
    lab.role("auditor").await;
    let before = shape().await;
    rebuild::rebuild(&lab.store, &documents(), |_| ()).await.unwrap();
    assert!(before.0.len() > 3 && before.1 && before.2.len() == 2, "{before:?}");
    assert_eq!(shape().await, before);
}

#[tokio::test]
async fn an_interrupted_rebuild_is_taken_up_where_it_stopped() {
    let lab = Lab::new().await;
    lab.many_events(8_000).await;
    let projection = documents();
    let started = rebuild::start(&lab.store, &projection).await.unwrap();
    let reached = Arc::new(AtomicI64::new(0));
    let (seen, (stop, stopped)) = (Arc::clone(&reached), tokio::sync::oneshot::channel());
    let mut stop = Some(stop);
    let filling = started.finish(move |step: Step| {
        seen.store(step.done, Ordering::Relaxed);
        if step.done >= 2_000 {
            stop.take().map(|stop| stop.send(()));
        }
    });
    // As a kill would: nothing is cleaned up, and the lease stays.
    tokio::select! {
        done = filling => panic!("it was not interrupted: {done:?}"),
        _ = stopped => {}
    }
    let busy = rebuild::rebuild(&lab.store, &projection, |_| ()).await;
    assert!(matches!(busy, Err(RebuildError::Busy("documents"))), "{busy:?}");
    sqlx::query("UPDATE projections SET lease_until = now()").execute(lab.pool()).await.unwrap();
    let mut first = None;
    rebuild::rebuild(&lab.store, &projection, |step| {
        first.get_or_insert(step.done);
    })
    .await
    .unwrap();
    assert!(first.unwrap() > reached.load(Ordering::Relaxed), "it went on from {first:?}");
    assert_eq!(lab.names().await, ["name-7999"]);
    assert_equal(&lab, 1).await;
}

#[tokio::test]
async fn a_rebuild_that_was_fenced_off_cannot_switch() {
    let lab = Lab::new().await;
    lab.many_events(1_500).await;
    let started = rebuild::start(&lab.store, &documents()).await.unwrap();
    sqlx::query("UPDATE projections SET lease_epoch = lease_epoch + 1 WHERE slot = 'rebuild'")
        .execute(lab.pool())
        .await
        .unwrap();
    let refused = started.finish(|_| ()).await;
    assert!(refused.is_err(), "another process has taken over");
    assert_eq!(lab.names().await, [""; 0], "the live table is the old one");
}

#[tokio::test]
async fn rolling_back_restores_the_version_before_and_catches_up() {
    let lab = Lab::new().await;
    let projection = documents();
    let stop = lab.run(&projection);
    let first = lab.role("first").await;
    lab.caught_up("documents").await;
    let nothing = rebuild::roll_back(&lab.store, &projection, |_| ()).await;
    assert!(matches!(nothing, Err(RebuildError::NothingToRollBackTo("documents"))), "{nothing:?}");
    rebuild::rebuild(&lab.store, &projection, |_| ()).await.unwrap();
    // The rebuilt version is spoilt; the one before is not.
    sqlx::query("UPDATE read.documents SET doc = '{}'").execute(lab.pool()).await.unwrap();
    lab.append(first, "role.updated", vec![renamed("renamed")]).await;
    lab.role("second").await;
    lab.caught_up("documents").await;
    rebuild::roll_back(&lab.store, &projection, |_| ()).await.unwrap();
    assert_eq!(lab.names().await, ["renamed", "second"], "as current as the other was");
    lab.role("third").await;
    lab.caught_up("documents").await;
    assert_eq!(lab.names().await, ["renamed", "second", "third"]);
    assert_eq!(generation(&lab).await, 3);
    assert_equal(&lab, 3).await;
    stop.cancel();
}

#[tokio::test]
async fn a_process_manager_is_never_rebuilt() {
    let lab = Lab::new().await;
    let manager = Arc::new(projections::Projection::process_manager("manager", Vec::new()));
    let refused = rebuild::rebuild(&lab.store, &manager, |_| ()).await;
    assert!(matches!(refused, Err(RebuildError::NotAReadModel("manager"))));
    let refused = verify(&lab.store, &manager, |_| ()).await;
    assert!(matches!(refused, Err(RebuildError::NotAReadModel("manager"))));
}

#[tokio::test]
async fn verify_names_every_row_that_was_changed_by_hand() {
    let lab = Lab::new().await;
    let stop = lab.run(&documents());
    let (changed, removed) = (lab.role("changed").await, lab.role("removed").await);
    lab.role("untouched").await;
    lab.caught_up("documents").await;
    assert_equal(&lab, 3).await;
    let invented = Uuid::new_v4();
    for statement in [
        format!("UPDATE read.documents SET doc = doc || '{{\"name\": \"x\"}}' WHERE id = '{changed}'"),
        format!(
            "INSERT INTO read.documents SELECT tenant_id, collection, '{invented}', 1, now(), now(), doc FROM read.documents WHERE id = '{removed}'"
        ),
        format!("DELETE FROM read.documents WHERE id = '{removed}'"),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(lab.pool()).await.unwrap();
    }
    let verified = verify(&lab.store, &documents(), |_| ()).await.unwrap();
    assert!(!verified.ok);
    assert_eq!((verified.rows_compared, verified.rows_different), (4, 3));
    for (id, kind, columns) in [
        (changed, DifferenceKind::Changed, vec!["doc"]),
        (removed, DifferenceKind::MissingInLive, vec![]),
        (invented, DifferenceKind::OnlyInLive, vec![]),
    ] {
        let key = json!({ "tenant_id": lab.tenant, "collection": "role", "id": id });
        let found = verified.differences.iter().find(|d| d.key == key).expect("the row is named");
        assert_eq!((found.table, found.kind, &found.columns), ("documents", kind, &columns));
    }
    stop.cancel();
}

/// A shadow of another shape, as an upgrade between the two halves of a rebuild leaves it, is not taken up.
#[tokio::test]
async fn remains_of_another_shape_are_dropped() {
    let lab = Lab::new().await;
    lab.many_events(1_500).await;
    let projection = documents();
    let started = rebuild::start(&lab.store, &projection).await.unwrap();
    started.interrupt().await;
    sqlx::query("UPDATE projections SET position = 1500 WHERE slot = 'rebuild' AND log_id = $1")
        .bind(lab.log_id().await)
        .execute(lab.pool())
        .await
        .unwrap();
    sqlx::query("ALTER TABLE rebuild.documents DROP COLUMN doc").execute(lab.pool()).await.unwrap();
    rebuild::rebuild(&lab.store, &projection, |_| ()).await.unwrap();
    assert_eq!(lab.names().await, ["name-1499"]);
}
