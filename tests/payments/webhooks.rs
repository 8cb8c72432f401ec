//! What gateways tell: believed only if it is signed, durable before it is acknowledged, applied once.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::stripe::{self, WEBHOOK_SECRET};
use crate::support::xendit::{self, CALLBACK_TOKEN};
use crate::support::{Answer, Server, eventually};

const SECRETS: [(&str, &str); 2] =
    [("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET), ("XENDIT_CALLBACK_TOKEN", CALLBACK_TOKEN)];

/// How many notices have this status.
pub async fn kept(server: &Server, status: &str) -> i64 {
    let mut sql = server.sql().await;
    let query = sqlx::query_scalar("SELECT count(*) FROM payment_notices WHERE status = $1").bind(status);
    query.fetch_one(&mut sql).await.expect("a count")
}

pub async fn reach(server: &Server, status: &str, count: i64) {
    eventually(&format!("{count} {status}"), || async {
        (kept(server, status).await == count).then_some(())
    })
    .await;
}

#[track_caller]
pub fn assert_received(answer: &Answer) {
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "RECEIVED"));
}

#[tokio::test]
async fn only_what_the_gateway_signed_is_believed() {
    let server = Server::start_with(&SECRETS).await;
    let client = server.client();
    let event = stripe::event("evt_1", "customer.created", &json!({ "id": "cus_1" }));
    let body = event.to_string().into_bytes();
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let signed = |secret: &str, at: i64| stripe::signature(&body, secret, at);
    for signature in ["", "t=1,v1=00", &signed("whsec_guess", now), &signed(WEBHOOK_SECRET, now - 3600)] {
        stripe::deliver_raw(&client, body.clone(), signature).await.problem(401, "bad_signature");
    }
    let mut changed = body.clone();
    changed.push(b' ');
    let stolen = signed(WEBHOOK_SECRET, now);
    stripe::deliver_raw(&client, changed, &stolen).await.problem(401, "bad_signature");
    xendit::deliver(&client, "w1", "a guess", &json!({})).await.problem(401, "bad_signature");
    client.post("/webhook/payments/paypal", json!({})).await.problem(404, "not_found");
    assert_eq!(
        kept(&server, "pending").await + kept(&server, "ignored").await + kept(&server, "failed").await,
        0
    );
    assert_received(&stripe::deliver_raw(&client, body.clone(), &stolen).await);
    reach(&server, "ignored", 1).await;
}

#[tokio::test]
async fn without_a_secret_no_gateway_is_believed() {
    let server = Server::start_with(&[("STRIPE_WEBHOOK_SECRET", "")]).await;
    let client = server.client();
    let event = stripe::event("evt_1", "customer.created", &json!({}));
    stripe::deliver(&client, &event).await.problem(403, "forbidden");
    xendit::deliver(&client, "w1", "", &json!({})).await.problem(403, "forbidden");
}

#[tokio::test]
async fn what_comes_again_is_kept_once_and_what_can_not_be_read_is_kept_for_support() {
    let server = Server::start_with(&SECRETS).await;
    let client = server.client();
    let event = stripe::event("evt_1", "customer.created", &json!({ "id": "cus_1" }));
    let again = futures::future::join_all((0..5).map(|_| stripe::deliver(&client, &event))).await;
    again.iter().for_each(assert_received);
    // Two gateways may use the same name for what they tell.
    let callback = json!({ "event": "payment_method.activated", "data": {} });
    for _ in 0..2 {
        assert_received(&xendit::deliver(&client, "evt_1", CALLBACK_TOKEN, &callback).await);
    }
    reach(&server, "ignored", 2).await;
    let broken: Value = json!({ "event": "payment.succeeded", "data": { "amount": "much" } });
    assert_received(&xendit::deliver(&client, "w2", CALLBACK_TOKEN, &broken).await);
    reach(&server, "failed", 1).await;
    let mut sql = server.sql().await;
    let reason: String = sqlx::query_scalar("SELECT reason FROM payment_notices WHERE status = 'failed'")
        .fetch_one(&mut sql)
        .await
        .unwrap();
    assert!(reason.contains("payment_request_id"), "{reason}");
}
