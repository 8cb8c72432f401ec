//! A tenant's side of billing: subscribing, coupons, add-ons, payment methods, usage.

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Client, Server, id_of};

const COUPONS: &str = "/api/super-admin/billing/coupons";
const ATTACHED: &str = "/api/billing/subscription/addons";
const METHODS: &str = "/api/billing/payment-methods";

async fn plan(client: &Client, slug: &str) -> Uuid {
    let plans = client.get("/api/billing/plans").await.expect(StatusCode::OK);
    id_of(plans.as_array().unwrap().iter().find(|plan| plan["slug"] == slug).expect("it is offered"))
}

async fn current(client: &Client) -> Value {
    client.get("/api/billing/current").await.expect(StatusCode::OK)
}

async fn coupon(root: &Client, code: &str, more: Value) -> Uuid {
    let mut body = json!({ "code": code, "discount_type": "percentage", "discount_value": "10" });
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    id_of(&root.post(COUPONS, body).await.expect(StatusCode::CREATED))
}

#[tokio::test]
async fn a_tenant_subscribes_changes_its_plan_and_cancels() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let admin = &tenant.admin;
    assert_eq!(current(admin).await, Value::Null);
    let growth = plan(admin, "growth").await;
    for (path, body) in [("change-plan", json!({ "plan_id": growth })), ("cancel", json!({}))] {
        admin.post(&format!("/api/billing/{path}"), body).await.problem(409, "not_subscribed");
    }
    let nowhere = Uuid::new_v4();
    admin.post("/api/billing/subscribe", json!({ "plan_id": nowhere })).await.names_fields(&["plan_id"]);
    admin.post("/api/billing/subscribe", json!({ "period": "weekly" })).await.names_fields(&["period"]);
    assert_eq!(current(admin).await, Value::Null, "nothing half done");
    let subscribed = admin.post("/api/billing/subscribe", json!({})).await.expect(StatusCode::CREATED);
    let starter = plan(admin, "starter").await;
    assert_eq!(
        ["status", "billing_period", "plan_id", "org_id", "cancel_at_period_end"]
            .map(|f| subscribed[f].clone()),
        [json!("trialing"), json!("monthly"), json!(starter), json!(tenant.id), json!(false)]
    );
    let time = |field: &str| -> chrono::DateTime<chrono::Utc> {
        subscribed[field].as_str().unwrap().parse().unwrap()
    };
    assert_eq!((time("trial_ends_at") - time("created_at")).num_days(), 14);
    assert_eq!(time("current_period_end"), time("trial_ends_at"));
    admin
        .post("/api/billing/subscribe", json!({ "plan_id": growth }))
        .await
        .problem(409, "already_subscribed");
    let shown = current(admin).await;
    assert_eq!(
        (&shown["id"], &shown["plan_name"], &shown["limits"]["max_agents"]),
        (&subscribed["id"], &json!("Starter"), &json!(15))
    );
    let wish = json!({ "plan_id": growth, "period": "annual" });
    let changed = admin.post("/api/billing/change-plan", wish).await.expect(StatusCode::OK);
    assert_eq!(changed.get("invoice"), None, "the trial is free");
    assert_eq!(
        ["plan_id", "billing_period", "status"].map(|f| changed["subscription"][f].clone()),
        [json!(growth), json!("annual"), json!("trialing")]
    );
    assert_eq!(current(admin).await["plan_name"], "Growth");
    admin.post("/api/billing/change-plan", json!({ "plan_id": nowhere })).await.names_fields(&["plan_id"]);
    let canceled = admin.post("/api/billing/cancel", json!({})).await.expect(StatusCode::OK);
    assert_eq!((&canceled["cancel_at_period_end"], &canceled["status"]), (&json!(true), &json!("trialing")));
    assert_eq!(current(admin).await["cancel_at_period_end"], true);
    assert_eq!(admin.get("/api/billing/invoices").await.expect(StatusCode::OK), json!([]));
    let (agent, _) = tenant.agent("agent").await;
    agent.post("/api/billing/cancel", json!({})).await.problem(403, "forbidden");
    assert_eq!(current(&agent).await["plan_name"], "Growth", "everyone may see the plan");
}

#[tokio::test]
async fn a_coupon_that_does_not_hold_is_refused_before_anything_happens() {
    let server = Server::start().await;
    let (root, tenant) = (server.super_admin().await, server.tenant().await);
    let admin = &tenant.admin;
    let growth = plan(admin, "growth").await;
    let past = json!({ "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2021-01-01T00:00:00Z" });
    coupon(&root, "EXPIRED", past).await;
    coupon(&root, "LATER", json!({ "valid_from": "2099-01-01T00:00:00Z" })).await;
    coupon(&root, "GROWTH", json!({ "applicable_plans": [growth] })).await;
    coupon(&root, "DOLLARS", json!({ "currency": "USD" })).await;
    let off = coupon(&root, "OFF", json!({})).await;
    root.patch(&format!("{COUPONS}/{off}"), json!({ "is_active": false })).await.expect(StatusCode::OK);
    let starter = plan(admin, "starter").await;
    for code in ["UNKNOWN", "EXPIRED", "LATER", "GROWTH", "DOLLARS", "OFF", "no code at all"] {
        let wish = json!({ "plan_id": starter, "coupon_code": code });
        admin.post("/api/billing/subscribe", wish).await.names_fields(&["coupon_code"]);
        let asked = json!({ "code": code, "plan_id": starter });
        let answer = admin.post("/api/billing/coupons/validate", asked).await.expect(StatusCode::OK);
        assert_eq!((&answer["valid"], answer.get("coupon")), (&json!(false), None), "{code}");
        assert!(!answer["reason"].as_str().unwrap().is_empty(), "{code}");
    }
    assert_eq!(current(admin).await, Value::Null);
    for coupon in root.get(COUPONS).await.expect(StatusCode::OK).as_array().unwrap() {
        assert_eq!(coupon["current_uses"], 0, "{coupon}");
    }
    let unknown = json!({ "code": "GROWTH", "plan_id": Uuid::new_v4() });
    admin.post("/api/billing/coupons/validate", unknown).await.names_fields(&["plan_id"]);
    let fits = json!({ "code": "growth", "plan_id": growth });
    let fits = admin.post("/api/billing/coupons/validate", fits).await.expect(StatusCode::OK);
    assert_eq!((&fits["valid"], &fits["coupon"]["code"]), (&json!(true), &json!("GROWTH")));
}

#[tokio::test]
async fn a_coupon_is_used_once_by_each_and_not_more_often_than_it_may() {
    let server = Server::start().await;
    let (root, first, second) = (server.super_admin().await, server.tenant().await, server.tenant().await);
    let id = coupon(&root, "ONCE", json!({ "max_uses": 1 })).await;
    let wish = json!({ "coupon_code": "once" });
    first.admin.post("/api/billing/subscribe", wish.clone()).await.expect(StatusCode::CREATED);
    let coupons = root.get(COUPONS).await.expect(StatusCode::OK);
    assert_eq!((id_of(&coupons[0]), &coupons[0]["current_uses"]), (id, &json!(1)), "seen at once");
    second.admin.post("/api/billing/subscribe", wish).await.problem(409, "coupon_used_up");
    assert_eq!(current(&second.admin).await, Value::Null);
    for (tenant, reason) in [(&first, "before"), (&second, "as often")] {
        let asked = tenant.admin.post("/api/billing/coupons/validate", json!({ "code": "ONCE" })).await;
        let answer = asked.expect(StatusCode::OK);
        assert_eq!(answer["valid"], false);
        assert!(answer["reason"].as_str().unwrap().contains(reason), "{answer}");
    }
    // Whoever has it keeps it.
    root.delete(&format!("{COUPONS}/{id}")).await.expect(StatusCode::OK);
    assert_eq!(current(&first.admin).await["status"], "trialing");
}

#[tokio::test]
async fn addons_are_attached_and_detached() {
    let server = Server::start().await;
    let (root, tenant) = (server.super_admin().await, server.tenant().await);
    let admin = &tenant.admin;
    let addons = "/api/super-admin/billing/addons";
    let new = json!({ "name": "Storage", "slug": "storage", "price_monthly": "50000" });
    let storage = id_of(&root.post(addons, new).await.expect(StatusCode::CREATED));
    let dollars = json!({ "name": "Numbers", "slug": "numbers", "price_monthly": "5", "currency": "USD" });
    let dollars = id_of(&root.post(addons, dollars).await.expect(StatusCode::CREATED));
    let wish = json!({ "addon_id": storage, "quantity": 3 });
    assert_eq!(admin.get(ATTACHED).await.expect(StatusCode::OK), json!([]));
    admin.post(ATTACHED, wish.clone()).await.problem(409, "not_subscribed");
    admin.delete(&format!("{ATTACHED}/{}", Uuid::new_v4())).await.problem(404, "not_found");
    admin.post("/api/billing/subscribe", json!({})).await.expect(StatusCode::CREATED);
    admin.post(ATTACHED, json!({ "addon_id": Uuid::new_v4() })).await.names_fields(&["addon_id"]);
    admin.post(ATTACHED, json!({ "addon_id": storage, "quantity": 0 })).await.names_fields(&["quantity"]);
    let other = admin.post(ATTACHED, json!({ "addon_id": dollars })).await;
    assert!(other.status.is_client_error(), "{}", other.text);
    let attached = admin.post(ATTACHED, wish.clone()).await.expect(StatusCode::CREATED);
    assert_eq!((&attached["addon_id"], &attached["quantity"]), (&json!(storage), &json!(3)));
    assert_eq!(attached["subscription_id"], current(admin).await["id"]);
    admin.post(ATTACHED, wish).await.problem(409, "already_attached");
    // Neither a new price nor the end of the offer touches who has it.
    root.patch(&format!("{addons}/{storage}"), json!({ "price_monthly": "90000" }))
        .await
        .expect(StatusCode::OK);
    let listed = admin.get(ATTACHED).await.expect(StatusCode::OK);
    assert_eq!(
        ["id", "addon_id", "name", "slug", "price_monthly", "quantity", "created_at"]
            .map(|f| listed[0][f].clone()),
        [
            attached["id"].clone(),
            json!(storage),
            json!("Storage"),
            json!("storage"),
            json!("50000"),
            json!(3),
            attached["created_at"].clone()
        ]
    );
    root.delete(&format!("{addons}/{storage}")).await.expect(StatusCode::OK);
    assert_eq!(admin.get(ATTACHED).await.expect(StatusCode::OK)[0]["name"], "Storage");
    let path = format!("{ATTACHED}/{}", id_of(&attached));
    server.tenant().await.admin.delete(&path).await.problem(404, "not_found");
    admin.delete(&path).await.expect(StatusCode::OK);
    assert_eq!(admin.get(ATTACHED).await.expect(StatusCode::OK), json!([]));
    admin.delete(&path).await.problem(404, "not_found");
}

#[tokio::test]
async fn one_payment_method_is_the_default() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let admin = &tenant.admin;
    let method = |id: &str, more: Value| {
        let mut body =
            json!({ "gateway": "manual", "gateway_payment_method_id": id, "type": "bank_transfer" });
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        body
    };
    let added = async |body: Value| admin.post(METHODS, body).await.expect(StatusCode::CREATED);
    let first = added(method("bca", json!({ "label": "BCA 1234" }))).await;
    assert_eq!(
        ["org_id", "gateway", "gateway_payment_method_id", "type", "label", "is_default"]
            .map(|f| first[f].clone()),
        [
            json!(tenant.id),
            json!("manual"),
            json!("bca"),
            json!("bank_transfer"),
            json!("BCA 1234"),
            json!(true)
        ]
    );
    let second = added(method("mandiri", json!({}))).await;
    assert_eq!((&second["is_default"], &second["label"]), (&json!(false), &json!("bank_transfer")));
    let third = added(method("bni", json!({ "is_default": true }))).await;
    let defaults = async || -> Vec<String> {
        let all = admin.get(METHODS).await.expect(StatusCode::OK);
        let defaults = all.as_array().unwrap().iter().filter(|method| method["is_default"] == true);
        defaults.map(|method| method["gateway_payment_method_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(defaults().await, ["bni"]);
    admin.post(METHODS, method("bni", json!({}))).await.problem(409, "already_taken");
    admin.post(METHODS, method("x", json!({ "gateway": "paypal" }))).await.names_fields(&["gateway"]);
    admin.post(METHODS, method("", json!({}))).await.names_fields(&["gateway_payment_method_id"]);
    let path = |method: &Value| format!("{METHODS}/{}", id_of(method));
    server.tenant().await.admin.delete(&path(&third)).await.problem(404, "not_found");
    admin.delete(&path(&third)).await.expect(StatusCode::OK);
    assert_eq!(defaults().await, ["mandiri"], "the newest of the others");
    admin.delete(&path(&first)).await.expect(StatusCode::OK);
    admin.delete(&path(&second)).await.expect(StatusCode::OK);
    assert_eq!(admin.get(METHODS).await.expect(StatusCode::OK), json!([]));
    admin.delete(&path(&second)).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_payment_method_that_is_added_many_times_at_once_is_there_once() {
    let server = Server::start().await;
    let admin = server.tenant().await.admin;
    let bca = json!({ "gateway": "manual", "gateway_payment_method_id": "bca", "type": "bank_transfer" });
    let answers = join_all((0..8).map(|_| admin.post(METHODS, bca.clone()))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count(), 1);
    for refused in answers.iter().filter(|answer| answer.status != StatusCode::CREATED) {
        refused.problem(409, "already_taken");
    }
    let all = admin.get(METHODS).await.expect(StatusCode::OK);
    assert_eq!(all.as_array().map(Vec::len), Some(1), "{all}");
    admin.delete(&format!("{METHODS}/{}", id_of(&all[0]))).await.expect(StatusCode::OK);
    admin.post(METHODS, bca).await.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn usage_is_shown_with_the_limits_in_force() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let admin = &tenant.admin;
    let usage = async || admin.get("/api/billing/usage").await.expect(StatusCode::OK);
    let free = usage().await;
    assert_eq!((&free["org_id"], &free["agent_count"]), (&json!(tenant.id), &json!(1)));
    assert_eq!(
        free["limits"],
        json!({ "max_agents": 10, "max_contacts": 10_000, "max_messages_month": 10_000, "max_channels": null, "max_ai_agents": 1 })
    );
    assert_eq!(free["usage_month"].as_str().unwrap().len(), "2026-11".len());
    tenant.agent("agent").await;
    admin.post("/api/billing/subscribe", json!({})).await.expect(StatusCode::CREATED);
    let starter = usage().await;
    assert_eq!((&starter["agent_count"], &starter["limits"]["max_agents"]), (&json!(2), &json!(15)));
    for nothing_yet in ["contact_count", "messages_this_month", "active_integrations"] {
        assert_eq!(starter[nothing_yet], 0, "{starter}");
    }
}
