//! What comes in: invoices, their PDF, refunds, and what the platform's administrators see of it.

use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::time::{Scene, all_paid};
use crate::support::{Client, Server, eventually, id_of};

const REVENUE: &str = "/api/super-admin/billing";
/// Starter and one agent, each month; and with 11 % tax.
const MRR: &str = "324000";
const TOTAL: &str = "359640";

async fn refund(root: &Client, invoice: Uuid, body: Value) -> crate::support::Answer {
    root.post(&format!("{REVENUE}/invoices/{invoice}/refund"), body).await
}

/// A figure of the month in which an invoice was paid.
async fn of_month(root: &Client, month: &str) -> Value {
    let months = root.get(&format!("{REVENUE}/monthly-revenue")).await.expect(StatusCode::OK);
    let months = months.as_array().unwrap();
    assert_eq!(months.len(), 12);
    months
        .iter()
        .find(|row| row["month"] == month)
        .unwrap_or_else(|| panic!("no {month} in {months:?}"))
        .clone()
}

#[tokio::test]
async fn an_invoice_is_listed_downloaded_and_given_back_in_parts() {
    let scene = Scene::start().await;
    let tenant = scene.subscriber(true).await;
    scene.days(14);
    let invoices =
        scene.invoices(&tenant, "the first invoice is paid", |i| i.len() == 1 && all_paid(i)).await;
    let (invoice, id) = (&invoices[0], id_of(&invoices[0]));
    assert_eq!(
        ["org_id", "currency", "subtotal", "tax", "total", "status", "retry_count", "amount_refunded"]
            .map(|f| invoice[f].clone()),
        [
            json!(tenant.id),
            json!("IDR"),
            json!(MRR),
            json!("35640"),
            json!(TOTAL),
            json!("paid"),
            json!(0),
            json!("0")
        ]
    );
    let lines: Vec<&str> =
        invoice["lines"].as_array().unwrap().iter().map(|line| line["amount"].as_str().unwrap()).collect();
    assert_eq!(lines, ["299000", "25000"]);
    let admin = scene.admin(&tenant).await;
    let pdf_path = invoice["pdf_url"].as_str().unwrap().split_once("/api/").unwrap().1;
    let pdf = admin.request(reqwest::Method::GET, &format!("/api/{pdf_path}")).send().await.unwrap();
    assert_eq!(
        (pdf.status(), pdf.headers()["content-type"].to_str().unwrap()),
        (StatusCode::OK, "application/pdf")
    );
    let disposition = pdf.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert_eq!(disposition, "attachment; filename*=UTF-8''INV-000001.pdf");
    assert!(pdf.bytes().await.unwrap().starts_with(b"%PDF-"));
    let stranger = scene.server.tenant().await.admin;
    for (client, id) in [(&stranger, id), (&admin, Uuid::new_v4())] {
        client.get(&format!("/api/billing/invoices/{id}/pdf")).await.problem(404, "not_found");
    }
    let root = scene.server.super_admin().await;
    for amount in ["-1", "0", "0.5", "much"] {
        refund(&root, id, json!({ "amount": amount })).await.names_fields(&["amount"]);
    }
    refund(&root, id, json!({ "amount": "359641" })).await.problem(409, "refund_exceeds_paid");
    refund(&root, Uuid::new_v4(), json!({})).await.problem(404, "not_found");
    let part = json!({ "amount": "100000", "reason": "goodwill" });
    let part = refund(&root, id, part).await.expect(StatusCode::OK);
    assert_eq!(
        (&part["status"], &part["amount_refunded"], &part["org_id"]),
        (&json!("paid"), &json!("100000"), &json!(tenant.id))
    );
    let month = invoice["paid_at"].as_str().unwrap()[..7].to_owned();
    let row = of_month(&root, &month).await;
    assert_eq!(
        ["total_revenue", "invoice_count", "paid_count", "refunded"].map(|f| row[f].clone()),
        [json!("259640"), json!(1), json!(1), json!("100000")]
    );
    refund(&root, id, json!({ "amount": "259641" })).await.problem(409, "refund_exceeds_paid");
    let rest = refund(&root, id, json!({})).await.expect(StatusCode::OK);
    assert_eq!((&rest["status"], &rest["amount_refunded"]), (&json!("refunded"), &json!(TOTAL)));
    refund(&root, id, json!({})).await.problem(409, "already_refunded");
    let row = of_month(&root, &month).await;
    assert_eq!((&row["total_revenue"], &row["tax"]), (&json!("0"), &json!("0")));
    let listed = admin.get("/api/billing/invoices").await.expect(StatusCode::OK);
    assert_eq!(listed, json!([rest]));
}

#[tokio::test]
async fn an_open_invoice_cannot_be_refunded() {
    let scene = Scene::start().await;
    let tenant = scene.subscriber(false).await;
    scene.days(14);
    let open =
        scene.invoices(&tenant, "an invoice is open", |i| i.len() == 1 && i[0]["status"] == "open").await;
    let root = scene.server.super_admin().await;
    refund(&root, id_of(&open[0]), json!({})).await.problem(409, "invoice_not_paid");
    let mrr = root.get(&format!("{REVENUE}/mrr")).await.expect(StatusCode::OK);
    assert_eq!(
        (&mrr["past_due_subscriptions"], &mrr["total_mrr"]),
        (&json!(1), &json!(MRR)),
        "it still counts"
    );
}

/// Waits until the summary says so, signed in anew each time as the clock moves; answers it with whoever saw it.
async fn until_mrr(scene: &Scene, field: &str, value: Value) -> (Value, Client) {
    eventually(field, || async {
        let root = scene.server.super_admin().await;
        let answer = root.get(&format!("{REVENUE}/mrr")).await;
        // The clock may move on by days between the two requests, beyond the end of the session.
        let summary = (answer.status != StatusCode::UNAUTHORIZED).then(|| answer.expect(StatusCode::OK))?;
        (summary[field] == value).then_some((summary, root))
    })
    .await
}

#[tokio::test]
async fn revenue_follows_a_subscription_and_its_past_can_be_asked_for() {
    let scene = Scene::start().await;
    let tenant = scene.subscriber(true).await;
    let (trial, _) = until_mrr(&scene, "trial_subscriptions", json!(1)).await;
    let during_trial = Utc::now();
    assert_eq!(
        (&trial["total_mrr"], &trial["active_subscriptions"], &trial["currency"]),
        (&json!("0"), &json!(0), &json!("IDR"))
    );
    scene.days(14);
    scene.invoices(&tenant, "the first invoice is paid", |i| i.len() == 1 && all_paid(i)).await;
    let (won, _) = until_mrr(&scene, "active_subscriptions", json!(1)).await;
    assert_eq!((&won["total_mrr"], &won["trial_subscriptions"]), (&json!(MRR), &json!(0)));
    let moved = &won["movements"];
    assert_eq!(
        ["opening", "new", "expansion", "reactivation", "contraction", "churn", "closing"]
            .map(|f| moved[f].clone()),
        ["0", MRR, "0", "0", "0", "0", MRR]
    );
    let growth = scene.plan("growth").await;
    let upgrade =
        scene.admin(&tenant).await.post("/api/billing/change-plan", json!({ "plan_id": growth })).await;
    let upgrade = upgrade.expect(StatusCode::OK);
    assert_eq!(upgrade["invoice"]["status"], "paid", "{upgrade}");
    let (up, root) = until_mrr(&scene, "total_mrr", json!("919000")).await;
    assert_eq!(up["movements"]["expansion"], "595000");
    let plans = root.get(&format!("{REVENUE}/revenue-by-plan")).await.expect(StatusCode::OK);
    let shown: Vec<_> = plans
        .as_array()
        .unwrap()
        .iter()
        .map(|p| [&p["plan_name"], &p["subscriber_count"], &p["monthly_revenue"]])
        .collect();
    assert_eq!(shown[0], [&json!("Growth"), &json!(1), &json!("919000")]);
    assert_eq!(shown[1..].iter().map(|plan| plan[2].clone()).collect::<Vec<_>>(), ["0", "0"]);
    let quiet = root.get(&format!("{REVENUE}/churn")).await.expect(StatusCode::OK);
    assert_eq!((&quiet["churned"], &quiet["churn_rate_pct"]), (&json!(0), &json!(0.0)));
    // It ends with its period, in the month after it began.
    scene.admin(&tenant).await.post("/api/billing/cancel", json!({})).await.expect(StatusCode::OK);
    scene.days(14 + 31);
    let (gone, root) = until_mrr(&scene, "active_subscriptions", json!(0)).await;
    assert_eq!((&gone["total_mrr"], &gone["movements"]["churn"]), (&json!("0"), &json!("919000")));
    let churn = root.get(&format!("{REVENUE}/churn")).await.expect(StatusCode::OK);
    assert_eq!(
        ["active_at_start", "churned", "churn_rate_pct", "mrr_churned"].map(|f| churn[f].clone()),
        [json!(1), json!(1), json!(100.0), json!("919000")]
    );
    assert_past(&root, during_trial, upgrade["subscription"]["current_period_start"].as_str().unwrap()).await;
    let all = root.get(&format!("{REVENUE}/analytics")).await.expect(StatusCode::OK);
    assert_eq!((&all["mrr"], &all["churn"]), (&gone, &churn));
    for part in ["by_plan", "monthly"] {
        let own = if part == "monthly" { "monthly-revenue" } else { "revenue-by-plan" };
        assert_eq!(all[part], root.get(&format!("{REVENUE}/{own}")).await.expect(StatusCode::OK));
    }
}

/// The trial, and the first paid day, as they were.
async fn assert_past(root: &Client, during_trial: DateTime<Utc>, period_start: &str) {
    let at = |moment: DateTime<Utc>| moment.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let asked = async |what: &str, at: &str| {
        root.get(&format!("{REVENUE}/{what}?at={at}")).await.expect(StatusCode::OK)
    };
    let trial = asked("mrr", &at(during_trial)).await;
    assert_eq!((&trial["trial_subscriptions"], &trial["total_mrr"]), (&json!(1), &json!("0")));
    let start: DateTime<Utc> = period_start.parse().unwrap();
    let before = asked("mrr", &at(start - chrono::TimeDelta::seconds(1))).await;
    assert_eq!((&before["trial_subscriptions"], &before["active_subscriptions"]), (&json!(1), &json!(0)));
    let after = asked("mrr", &at(start + chrono::TimeDelta::hours(1))).await;
    assert_eq!((&after["active_subscriptions"], &after["total_mrr"]), (&json!(1), &json!("919000")));
    let months = asked("monthly-revenue", &at(during_trial)).await;
    assert!(months.as_array().unwrap().iter().all(|month| month["total_revenue"] == "0"), "{months}");
    let plans = asked("revenue-by-plan", &at(start + chrono::TimeDelta::hours(1))).await;
    assert_eq!((&plans[0]["plan_name"], &plans[0]["subscriber_count"]), (&json!("Growth"), &json!(1)));
    let churn = asked("churn", &at(start + chrono::TimeDelta::hours(1))).await;
    assert_eq!((&churn["churned"], &churn["mrr_churned"]), (&json!(0), &json!("0")));
    let all = asked("analytics", &at(during_trial)).await;
    assert_eq!(all["mrr"], trial);
}

#[tokio::test]
async fn figures_without_a_subscription_are_zero_and_wrong_questions_are_named() {
    let server = Server::start().await;
    let root = server.super_admin().await;
    let get = async |what: &str| root.get(&format!("{REVENUE}/{what}")).await;
    let mrr = get("mrr?currency=USD").await.expect(StatusCode::OK);
    assert_eq!((&mrr["total_mrr"], &mrr["currency"]), (&json!("0.00"), &json!("USD")));
    assert_eq!(
        get("revenue-by-plan?currency=USD").await.expect(StatusCode::OK),
        json!([]),
        "no plan is in dollars"
    );
    let months = get("monthly-revenue").await.expect(StatusCode::OK);
    let names: Vec<&str> =
        months.as_array().unwrap().iter().map(|month| month["month"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 12);
    assert!(names.is_sorted(), "{names:?}");
    let churn = get("churn").await.expect(StatusCode::OK);
    assert_eq!((&churn["active_at_start"], &churn["churn_rate_pct"]), (&json!(0), &json!(0.0)));
    for what in ["mrr", "revenue-by-plan", "monthly-revenue", "churn", "analytics"] {
        get(&format!("{what}?currency=rupiah")).await.names_fields(&["currency"]);
        get(&format!("{what}?at=2999-01-01T00:00:00Z")).await.names_fields(&["at"]);
        get(&format!("{what}?at=yesterday")).await.names_fields(&["at"]);
    }
}
