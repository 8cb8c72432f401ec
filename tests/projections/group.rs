//! Projections that are about as far move together, each under its own lease.

use std::sync::Arc;

use commands::role::Definition;
use commands::store::Origin;
use domain::event::{Actor, ActorKind, Metadata};
use domain::role::Role;
use projections::{activity, runner};
use reqwest::StatusCode;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Lab, documents, renamed};
use crate::support::{Client, Server, eventually};

/// Two read models on one lab, both at the log's head.
async fn two_at_the_head() -> (Lab, CancellationToken) {
    let lab = Lab::new().await;
    let stop = CancellationToken::new();
    runner::run_all(&lab.store, &[documents(), Arc::new(activity::projection())], &stop).detach_all();
    role(&lab, "auditor").await;
    for name in ["documents", "activity"] {
        lab.caught_up(name).await;
    }
    (lab, stop)
}

/// A document, and the activity of an agent.
async fn role(lab: &Lab, name: &str) -> Uuid {
    let (id, actor) = (Uuid::new_v4(), Actor::new(ActorKind::Agent, Uuid::new_v4()));
    let origin = Origin::new(lab.tenant, Metadata::new(actor, Uuid::new_v4()));
    let new = Definition { name: name.to_owned(), description: None, permissions: Vec::new() };
    let created =
        lab.store.execute::<Role>(&origin, id, |state| commands::role::create(state, id, &new)).await;
    created.expect("a role is created");
    id
}

async fn activities(lab: &Lab) -> i64 {
    let count =
        sqlx::query_scalar("SELECT count(*) FROM read.activity WHERE tenant_id = $1").bind(lab.tenant);
    count.fetch_one(lab.pool()).await.expect("a count")
}

#[tokio::test]
async fn a_member_whose_lease_was_taken_writes_nothing_and_the_others_move_on() {
    let (lab, stop) = two_at_the_head().await;
    let of_documents = |set: &str| format!("UPDATE projections SET {set} WHERE name = 'documents'");
    let taken = of_documents(
        "lease_owner = gen_random_uuid(), lease_epoch = lease_epoch + 1, lease_until = now() + interval '1 hour'",
    );
    sqlx::query(sqlx::AssertSqlSafe(taken)).execute(lab.pool()).await.expect("another process takes it");
    let before = activities(&lab).await;
    role(&lab, "controller").await;
    lab.caught_up("activity").await;
    assert_eq!(activities(&lab).await, before + 1);
    assert_eq!(lab.names().await, ["auditor"], "nothing of the stalled one's work is seen");
    let expired = of_documents("lease_until = now() - interval '1 second'");
    sqlx::query(sqlx::AssertSqlSafe(expired)).execute(lab.pool()).await.expect("the other one dies");
    let both = async || (lab.names().await == ["auditor", "controller"]).then_some(());
    eventually("it is taken over", both).await;
    stop.cancel();
}

#[tokio::test]
async fn a_poison_event_stops_neither_its_projection_nor_the_others() {
    let (lab, stop) = two_at_the_head().await;
    let before = activities(&lab).await;
    let sick = role(&lab, "sick").await;
    lab.append(sick, "role.updated", vec![json!({ "name": 7 }), renamed("later")]).await;
    role(&lab, "healthy").await;
    for name in ["documents", "activity"] {
        lab.caught_up(name).await;
    }
    assert_eq!(lab.names().await, ["auditor", "healthy", "sick"]);
    assert_eq!(activities(&lab).await, before + 2);
    let parked: Vec<i64> =
        sqlx::query_scalar("SELECT position FROM parked_events WHERE name = 'documents' ORDER BY position")
            .fetch_all(lab.pool())
            .await
            .expect("parked events");
    assert_eq!(parked, [3, 4]);
    stop.cancel();
}

#[tokio::test]
async fn projections_that_are_far_behind_or_far_apart_all_arrive() {
    let lab = Lab::new().await;
    lab.many_events(2_500).await;
    let both = [documents(), Arc::new(activity::projection())];
    for begins_anew in ["none", "activity", "documents"] {
        let sql = "UPDATE projections SET position = 0 WHERE name = $1";
        sqlx::query(sql).bind(begins_anew).execute(lab.pool()).await.expect("a checkpoint is moved");
        let stop = CancellationToken::new();
        let mut tasks = runner::run_all(&lab.store, &both, &stop);
        role(&lab, begins_anew).await;
        for name in ["documents", "activity"] {
            lab.caught_up(name).await;
        }
        assert!(lab.names().await.contains(&begins_anew.to_owned()), "{begins_anew}");
        stop.cancel();
        while tasks.join_next().await.is_some() {}
    }
    assert_eq!(activities(&lab).await, 3);
    assert!(lab.names().await.contains(&"name-2499".to_owned()));
}

/// Transactions of projections so far, together and alone.
async fn commits(operator: &str) -> (u64, u64) {
    let metrics = Client::new(operator).get("/metrics").await.text;
    let of = |way: &str| {
        let name = format!(r#"projection_commits_total{{way="{way}"}} "#);
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
        value.map_or(0, |value| value.parse().expect("a number"))
    };
    (of("together"), of("alone"))
}

#[tokio::test]
async fn a_write_costs_one_transaction_for_all_read_models() {
    const ROLES: u64 = 5;
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let create = async |name: &str| {
        let role = json!({ "name": name, "permissions": [] });
        tenant.admin.post("/api/roles", role).await.expect(StatusCode::CREATED);
    };
    create("the first of them").await;
    let before = commits(&server.process.operator).await;
    for n in 0..ROLES {
        create(&format!("role {n}")).await;
    }
    let after = commits(&server.process.operator).await;
    // A role is a document and an activity.
    assert_eq!((after.0 - before.0, after.1 - before.1), (ROLES, 0));
}
