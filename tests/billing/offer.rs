//! What the platform sells: plans, coupons and add-ons, as its administrators keep them and as tenants see them.

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Client, Server, id_of};

const PLANS: &str = "/api/super-admin/billing/plans";
const COUPONS: &str = "/api/super-admin/billing/coupons";
const ADDONS: &str = "/api/super-admin/billing/addons";

fn texts<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array().expect("a list").iter().map(|item| item[field].as_str().expect("a text")).collect()
}

/// The item of a list with this id.
fn item(list: &Value, id: Uuid) -> Option<Value> {
    list.as_array().expect("a list").iter().find(|item| id_of(item) == id).cloned()
}

async fn created(root: &Client, path: &str, body: Value) -> (Uuid, Value) {
    let created = root.post(path, body).await.expect(StatusCode::CREATED);
    (id_of(&created), created)
}

#[tokio::test]
async fn a_plan_is_made_with_defaults_changed_and_deleted() {
    let server = Server::start().await;
    let (root, tenant) = (server.super_admin().await, server.tenant().await);
    let seeded = tenant.admin.get("/api/billing/plans").await.expect(StatusCode::OK);
    assert_eq!(texts(&seeded, "slug"), ["starter", "growth", "scale"]);
    let new = json!({ "name": " Mini ", "slug": "mini", "base_price_monthly": "99000.00" });
    let (id, plan) = created(&root, PLANS, new.clone()).await;
    let shown = [
        "name",
        "slug",
        "currency",
        "base_price_monthly",
        "base_price_annual",
        "per_agent_price",
        "overage_message_price",
        "limits",
        "features",
        "is_active",
        "sort_order",
    ]
    .map(|field| plan[field].clone());
    let defaults = json!(["Mini", "mini", "IDR", "99000", "990000", "0", "0", {}, {}, true, 0]);
    assert_eq!(json!(shown), defaults);
    root.post(PLANS, new).await.problem(409, "already_taken");
    let path = format!("{PLANS}/{id}");
    assert_eq!(root.get(&path).await.expect(StatusCode::OK), plan);
    let offered = tenant.admin.get("/api/billing/plans").await.expect(StatusCode::OK);
    assert_eq!(texts(&offered, "slug"), ["mini", "starter", "growth", "scale"], "by sort_order");
    let change = json!({
        "currency": "USD", "base_price_monthly": "9.5", "base_price_annual": "95", "per_agent_price": "1.25",
        "overage_message_price": "0.0075", "limits": { "max_agents": 3, "max_channels": null },
        "features": { "dedicated_support": true }, "is_active": false, "sort_order": 9,
    });
    let changed = root.patch(&path, change).await.expect(StatusCode::OK);
    let prices = ["base_price_monthly", "base_price_annual", "per_agent_price", "overage_message_price"];
    assert_eq!(prices.map(|price| changed[price].clone()), ["9.50", "95.00", "1.25", "0.0075"]);
    assert_eq!(changed["limits"], json!({ "max_agents": 3, "max_channels": null }));
    assert_eq!(changed["features"], json!({ "dedicated_support": true }));
    let all = root.get(PLANS).await.expect(StatusCode::OK);
    assert_eq!(texts(&all, "slug"), ["starter", "growth", "scale", "mini"], "inactive ones too");
    let offered = tenant.admin.get("/api/billing/plans").await.expect(StatusCode::OK);
    assert_eq!(texts(&offered, "slug"), ["starter", "growth", "scale"]);
    root.delete(&path).await.expect(StatusCode::OK);
    root.get(&path).await.problem(404, "not_found");
    root.delete(&path).await.problem(404, "not_found");
}

#[tokio::test]
async fn what_is_wrong_with_a_plan_is_named_and_nothing_is_made() {
    let server = Server::start().await;
    let root = server.super_admin().await;
    let before = root.get(PLANS).await.expect(StatusCode::OK);
    let base = json!({ "name": "Mini", "slug": "mini", "base_price_monthly": "99000" });
    let with = |more: Value| {
        let mut body = base.as_object().cloned().unwrap();
        body.extend(more.as_object().cloned().unwrap());
        Value::Object(body)
    };
    for (more, fields) in [
        (json!({ "base_price_monthly": "-1" }), vec!["base_price_monthly"]),
        (json!({ "base_price_monthly": "99000.5" }), vec!["base_price_monthly"]),
        (json!({ "base_price_monthly": 99_000 }), vec!["base_price_monthly"]),
        (json!({ "base_price_monthly": "1e5" }), vec!["base_price_monthly"]),
        (json!({ "currency": "USD", "per_agent_price": "1.005" }), vec!["per_agent_price"]),
        (json!({ "overage_message_price": "-0.1" }), vec!["overage_message_price"]),
        (json!({ "overage_message_price": "0.0000001" }), vec!["overage_message_price"]),
        (json!({ "currency": "idr" }), vec!["currency"]),
        (json!({ "slug": "Mini Plan" }), vec!["slug"]),
        (json!({ "name": "  " }), vec!["name"]),
        (json!({ "limits": { "max_cats": 1 } }), vec!["limits.max_cats"]),
        (json!({ "limits": { "max_agents": -1 } }), vec!["limits.max_agents"]),
        (json!({ "price": "1" }), vec!["price"]),
        (
            json!({ "base_price_annual": "x", "per_agent_price": "-2" }),
            vec!["base_price_annual", "per_agent_price"],
        ),
    ] {
        root.post(PLANS, with(more)).await.names_fields(&fields);
    }
    assert_eq!(root.get(PLANS).await.expect(StatusCode::OK), before);
    let starter = format!("{PLANS}/{}", id_of(&before[0]));
    // 25,000 and 0.005 rupiah are amounts of dollars as well; the other way round half a dollar is none of rupiah.
    root.patch(&starter, json!({ "base_price_monthly": "0.5" })).await.names_fields(&["base_price_monthly"]);
    root.patch(&starter, json!({ "currency": "USD", "per_agent_price": "0.5" })).await.expect(StatusCode::OK);
    root.patch(&starter, json!({ "currency": "IDR" })).await.names_fields(&["per_agent_price"]);
    root.patch(&format!("{PLANS}/{}", Uuid::new_v4()), json!({ "name": "x" }))
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn a_change_that_was_made_on_an_old_state_is_refused() {
    let server = Server::start().await;
    let root = server.super_admin().await;
    let (id, _) =
        created(&root, PLANS, json!({ "name": "Mini", "slug": "mini", "base_price_monthly": "1" })).await;
    let path = format!("{PLANS}/{id}");
    let seen = root.get(&path).await;
    let late = root.with_header("if-match", seen.header("etag").expect("a version"));
    root.patch(&path, json!({ "name": "Midi" })).await.expect(StatusCode::OK);
    late.patch(&path, json!({ "name": "Maxi" })).await.problem(412, "precondition_failed");
    assert_eq!(root.get(&path).await.expect(StatusCode::OK)["name"], "Midi");
}

#[tokio::test]
async fn a_coupon_is_made_with_defaults_changed_and_deleted() {
    let server = Server::start().await;
    let root = server.super_admin().await;
    let new = json!({ "code": " welcome-10 ", "discount_type": "percentage", "discount_value": "10" });
    let (id, coupon) = created(&root, COUPONS, new.clone()).await;
    assert_eq!(
        (
            &coupon["code"],
            &coupon["currency"],
            &coupon["discount_value"],
            &coupon["current_uses"],
            &coupon["is_active"]
        ),
        (&json!("WELCOME-10"), &json!("IDR"), &json!("10"), &json!(0), &json!(true))
    );
    for absent in ["max_uses", "valid_until", "applicable_plans"] {
        assert!(coupon.get(absent).is_none(), "{coupon}");
    }
    root.post(COUPONS, new).await.problem(409, "already_taken");
    let path = format!("{COUPONS}/{id}");
    let plan = id_of(&root.get(PLANS).await.expect(StatusCode::OK)[0]);
    let change = json!({
        "discount_type": "fixed", "discount_value": "50000", "max_uses": 3, "valid_until": "2099-01-01T00:00:00Z",
        "applicable_plans": [plan], "is_active": false,
    });
    let changed = root.patch(&path, change).await.expect(StatusCode::OK);
    assert_eq!(
        ["discount_type", "discount_value", "max_uses", "valid_until", "is_active"]
            .map(|f| changed[f].clone()),
        [json!("fixed"), json!("50000"), json!(3), json!("2099-01-01T00:00:00Z"), json!(false)]
    );
    assert_eq!(changed["applicable_plans"], json!([plan]));
    let lifted = json!({ "max_uses": null, "valid_until": null, "applicable_plans": null });
    let lifted = root.patch(&path, lifted).await.expect(StatusCode::OK);
    assert_eq!((lifted.get("max_uses"), lifted.get("applicable_plans")), (None, None));
    assert_eq!(root.get(COUPONS).await.expect(StatusCode::OK), json!([lifted]));
    root.delete(&path).await.expect(StatusCode::OK);
    assert_eq!(root.get(COUPONS).await.expect(StatusCode::OK), json!([]));
    root.delete(&path).await.problem(404, "not_found");
    let again = json!({ "code": "WELCOME-10", "discount_type": "fixed", "discount_value": "1" });
    created(&root, COUPONS, again).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_coupon_is_named() {
    let server = Server::start().await;
    let root = server.super_admin().await;
    let nowhere = Uuid::new_v4();
    let percent =
        |value: &str| json!({ "code": "X", "discount_type": "percentage", "discount_value": value });
    let fixed = |value: &str, currency: &str| json!({ "code": "X", "discount_type": "fixed", "discount_value": value, "currency": currency });
    for (body, field) in [
        (percent("0"), "discount_value"),
        (percent("100.5"), "discount_value"),
        (percent("12.345"), "discount_value"),
        (percent("-5"), "discount_value"),
        (fixed("0", "IDR"), "discount_value"),
        (fixed("10.5", "IDR"), "discount_value"),
        (fixed("10", "XXX"), "currency"),
        (json!({ "code": "no spaces", "discount_type": "fixed", "discount_value": "1" }), "code"),
        (json!({ "code": "X", "discount_type": "gift", "discount_value": "1" }), "discount_type"),
        (json!({ "code": "X", "discount_type": "fixed", "discount_value": "1", "max_uses": 0 }), "max_uses"),
        (
            json!({ "code": "X", "discount_type": "fixed", "discount_value": "1", "applicable_plans": [nowhere] }),
            "applicable_plans[0]",
        ),
        (
            json!({ "code": "X", "discount_type": "fixed", "discount_value": "1",
                "valid_from": "2030-01-02T00:00:00Z", "valid_until": "2030-01-01T00:00:00Z" }),
            "valid_until",
        ),
    ] {
        root.post(COUPONS, body).await.names_fields(&[field]);
    }
    assert_eq!(root.get(COUPONS).await.expect(StatusCode::OK), json!([]));
    let (id, _) = created(&root, COUPONS, fixed("10.50", "USD")).await;
    let path = format!("{COUPONS}/{id}");
    for (change, field) in [
        (json!({ "discount_type": "percentage" }), "discount_value"),
        (json!({ "discount_value": "0.001" }), "discount_value"),
        (json!({ "max_uses": 0 }), "max_uses"),
        (json!({ "code": "Y" }), "code"),
        (json!({ "applicable_plans": [nowhere] }), "applicable_plans[0]"),
    ] {
        root.patch(&path, change).await.names_fields(&[field]);
    }
    root.patch(&format!("{COUPONS}/{nowhere}"), json!({ "max_uses": 1 })).await.problem(404, "not_found");
}

#[tokio::test]
async fn an_addon_is_made_with_defaults_changed_and_deleted() {
    let server = Server::start().await;
    let (root, tenant) = (server.super_admin().await, server.tenant().await);
    let new = json!({ "name": "Storage", "slug": "storage", "price_monthly": "50000" });
    let (id, addon) = created(&root, ADDONS, new.clone()).await;
    assert_eq!(
        ["price_monthly", "price_annual", "unit", "is_active", "sort_order", "currency"]
            .map(|f| addon[f].clone()),
        [json!("50000"), json!("500000"), json!("flat"), json!(true), json!(0), json!("IDR")]
    );
    root.post(ADDONS, new).await.problem(409, "already_taken");
    for (more, field) in [
        (json!({ "name": "S", "slug": "s", "price_monthly": "-1" }), "price_monthly"),
        (json!({ "name": "S", "slug": "s", "price_monthly": "1", "price_annual": "1.5" }), "price_annual"),
        (json!({ "name": "S", "slug": "S S", "price_monthly": "1" }), "slug"),
        (json!({ "name": " ", "slug": "s", "price_monthly": "1" }), "name"),
    ] {
        root.post(ADDONS, more).await.names_fields(&[field]);
    }
    let path = format!("{ADDONS}/{id}");
    let change =
        json!({ "name": "Space", "description": "100 GB", "price_monthly": "60000", "sort_order": 2 });
    let changed = root.patch(&path, change).await.expect(StatusCode::OK);
    assert_eq!(
        ["name", "description", "price_monthly", "price_annual"].map(|f| changed[f].clone()),
        ["Space", "100 GB", "60000", "500000"]
    );
    root.patch(&path, json!({ "price_annual": "-5" })).await.names_fields(&["price_annual"]);
    let offered = tenant.admin.get("/api/billing/addons").await.expect(StatusCode::OK);
    assert_eq!(item(&offered, id), Some(changed));
    let silent = root.patch(&path, json!({ "description": null, "is_active": false })).await;
    assert_eq!(silent.expect(StatusCode::OK).get("description"), None);
    assert_eq!(tenant.admin.get("/api/billing/addons").await.expect(StatusCode::OK), json!([]));
    assert!(item(&root.get(ADDONS).await.expect(StatusCode::OK), id).is_some(), "inactive ones too");
    root.delete(&path).await.expect(StatusCode::OK);
    assert_eq!(root.get(ADDONS).await.expect(StatusCode::OK), json!([]));
    root.patch(&path, json!({ "name": "x" })).await.problem(404, "not_found");
}
