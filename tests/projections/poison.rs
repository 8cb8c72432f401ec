//! An event that can't be applied parks its stream, and nobody else.

use projections::{documents, parking};
use serde_json::json;
use uuid::Uuid;

use super::{Lab, renamed};

async fn parked(lab: &Lab) -> Vec<(i64, bool)> {
    sqlx::query_as(
        "SELECT position, error IS NOT NULL FROM parked_events WHERE slot = 'live' ORDER BY position",
    )
    .fetch_all(lab.pool())
    .await
    .unwrap()
}

/// Mends what stands in the log, as no role of the program could.
async fn mend(lab: &Lab, position: i64) {
    let mut owner = <sqlx::PgConnection as sqlx::Connection>::connect(&lab.database.owner_url).await.unwrap();
    sqlx::query("UPDATE events SET payload = $2 WHERE log_id = $1 AND position = $3")
        .bind(lab.log_id().await)
        .bind(renamed("mended"))
        .bind(position)
        .execute(&mut owner)
        .await
        .unwrap();
}

/// Positions 1 to 6: a role, another, poison for the first, one more of the first, one of the other, a third role.
async fn poisoned(lab: &Lab) -> (Uuid, Uuid) {
    let (sick, healthy) = (lab.role("sick").await, lab.role("healthy").await);
    lab.append(sick, "role.updated", vec![json!({ "name": 7 })]).await;
    lab.append(sick, "role.updated", vec![renamed("later")]).await;
    lab.append(healthy, "role.updated", vec![renamed("healthier")]).await;
    lab.role("third").await;
    (sick, healthy)
}

#[tokio::test]
async fn a_poison_event_parks_its_stream_and_others_go_on() {
    let lab = Lab::new().await;
    let (sick, _) = poisoned(&lab).await;
    let runner = lab.runner(documents::projection()).await;
    let lease = runner.acquire().await.unwrap().unwrap();
    let lease = runner.step(lease, 100).await.unwrap();
    assert_eq!(lease.position, 6, "the checkpoint passes the poison");
    assert_eq!(parked(&lab).await, [(3, true), (4, false)]);
    assert_eq!(lab.names().await, ["healthier", "sick", "third"]);
    // In a later batch too: whatever is of the stream waits.
    lab.append(sick, "role.updated", vec![renamed("latest")]).await;
    lab.role("fourth").await;
    assert_eq!(runner.step(lease, 100).await.unwrap().position, 8);
    assert_eq!(parked(&lab).await, [(3, true), (4, false), (7, false)]);
    assert_eq!(lab.names().await, ["fourth", "healthier", "sick", "third"]);
}

#[tokio::test]
async fn parked_events_are_applied_in_order_once_they_can_be() {
    let lab = Lab::new().await;
    poisoned(&lab).await;
    let runner = lab.runner(documents::projection()).await;
    let lease = runner.acquire().await.unwrap().unwrap();
    let lease = runner.step(lease, 100).await.unwrap();
    assert_eq!(parking::replay(&runner).await.unwrap(), (0, 2), "still poison");
    assert_eq!(parked(&lab).await.len(), 2);
    mend(&lab, 3).await;
    assert_eq!(parking::replay(&runner).await.unwrap(), (2, 0));
    assert_eq!(parked(&lab).await, []);
    assert_eq!(lab.names().await, ["healthier", "later", "third"]);
    // The checkpoint did not move, and the lease still holds.
    lab.role("fourth").await;
    assert_eq!(runner.step(lease, 100).await.unwrap().position, 7);
}

#[tokio::test]
async fn a_rebuild_parks_what_is_poison_and_verify_says_equal() {
    let lab = Lab::new().await;
    poisoned(&lab).await;
    let projection = super::documents();
    let stop = lab.run(&projection);
    lab.caught_up("documents").await;
    let verified = projections::verify::verify(&lab.store, &projection, |_| ()).await.unwrap();
    assert!(verified.ok, "{verified:?}");
    assert_eq!(parked(&lab).await, [(3, true), (4, false)], "the shadow's parked events are its own");
    projections::rebuild::rebuild(&lab.store, &projection, |_| ()).await.unwrap();
    assert_eq!(parked(&lab).await, [(3, true), (4, false)]);
    stop.cancel();
}

/// More than one transaction's worth.
#[tokio::test]
async fn a_long_parked_stream_is_replayed_whole() {
    let lab = Lab::new().await;
    let sick = lab.role("sick").await;
    lab.append(sick, "role.updated", vec![json!({ "name": 7 })]).await;
    lab.append(sick, "role.updated", (0..1_200).map(|n| renamed(&format!("name-{n:04}"))).collect()).await;
    let runner = lab.runner(documents::projection()).await;
    let mut lease = runner.acquire().await.unwrap().unwrap();
    while lease.position < 1_202 {
        lease = runner.step(lease, 500).await.unwrap();
    }
    assert_eq!(parked(&lab).await.len(), 1_201);
    mend(&lab, 2).await;
    assert_eq!(parking::replay(&runner).await.unwrap(), (1_201, 0));
    assert_eq!(lab.names().await, ["name-1199"]);
}
