//! Many at once: numbers without gaps, coupons that are not redeemed once too often, limits that are not passed.

use std::collections::BTreeSet;
use std::sync::Arc;

use commands::billing::Billing;
use commands::clock::Clock;
use commands::payment_gateway::Gateways;
use commands::store::{Decision, Origin, Store};
use domain::billing::{InvoiceLine, InvoiceStatus, LineKind, Period};
use domain::event::{Actor, Metadata};
use domain::invoice::{Amounts, Drafted, Invoice, InvoiceCause, InvoiceEvent};
use domain::money::{Currency, Money};
use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::store::{ENGINE, Logs};
use crate::support::inbox::{Conversation, NO_GRAPH, customer_writes, digits, given_conversation};
use crate::support::{Answer, Client, PASSWORD, Process, Server, Tenant, id_of};

const INVOICES: usize = 50;

async fn store(logs: &Logs) -> Store {
    let pool = logs.pool_as(ENGINE).await;
    Store::open(pool, Clock::default(), b"a secret for tests only, long enough").await.expect("a store")
}

fn billing(store: &Store) -> Billing {
    let figures = projections::billing::ReadModels::new(store.pool().clone());
    Billing::new(store.clone(), Gateways::default(), Arc::new(figures))
}

/// A draft over 111,000 rupiah.
async fn draft(store: &Store, tenant_id: Uuid) -> Uuid {
    let now = store.clock().now();
    let price = Money::rounded(100_000.into(), Currency::IDR);
    let lines = vec![InvoiceLine::flat(LineKind::Plan, "Starter", price, None)];
    let drafted = InvoiceEvent::Drafted(Box::new(Drafted {
        subscription_id: Uuid::new_v4(),
        cause: InvoiceCause::Period,
        amounts: Amounts::of(Currency::IDR, lines).expect("an invoice"),
        period: Period { start: now, end: now },
    }));
    let (id, metadata) = (Uuid::new_v4(), Metadata::new(Actor::system(), Uuid::new_v4()));
    let origin = Origin::new(tenant_id, metadata);
    let drawn = store.execute::<Invoice>(&origin, id, |_| Ok(Decision::one(drafted.clone()))).await;
    drawn.expect("a draft");
    id
}

#[tokio::test]
async fn fifty_invoices_finalized_at_once_by_two_processes_have_numbers_without_gaps() {
    let logs = Logs::start().await;
    let (one, other) = (store(&logs).await, store(&logs).await);
    let mut invoices = Vec::new();
    for _ in 0..INVOICES {
        let tenant_id = Uuid::new_v4();
        invoices.push((tenant_id, draft(&one, tenant_id).await));
    }
    let processes = [billing(&one), billing(&other)];
    // Both want every one of them.
    let finalizations = processes
        .iter()
        .flat_map(|billing| invoices.iter().map(move |(tenant, id)| billing.finalize(*tenant, *id)));
    for finalized in join_all(finalizations).await {
        finalized.expect("it is finalized");
    }
    let mut sequences = BTreeSet::new();
    for (tenant_id, id) in &invoices {
        let invoice: Invoice = one.load(*tenant_id, *id).await.expect("an invoice");
        assert_eq!(invoice.status, InvoiceStatus::Open);
        let sequence = invoice.sequence.expect("a number");
        assert_eq!(invoice.number, Some(format!("INV-{sequence:06}")));
        sequences.insert(sequence);
    }
    assert_eq!(sequences, (1..=INVOICES as u64).collect());
}

#[tokio::test]
async fn of_twenty_tenants_one_redeems_the_last_use_of_a_coupon() {
    let server = Server::start().await;
    let root = server.super_admin().await;
    let coupon =
        json!({ "code": "FIRST", "discount_type": "percentage", "discount_value": "50", "max_uses": 1 });
    root.post("/api/super-admin/billing/coupons", coupon).await.expect(StatusCode::CREATED);
    let tenants: Vec<Tenant> = join_all((0..20).map(|_| server.tenant())).await;
    let wishes = tenants
        .iter()
        .map(|tenant| tenant.admin.post("/api/billing/subscribe", json!({ "coupon_code": "first" })));
    let answers = join_all(wishes).await;
    let won = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert_eq!(won, 1);
    for (tenant, answer) in tenants.iter().zip(&answers) {
        let subscribed = tenant.admin.get("/api/billing/current").await.expect(StatusCode::OK);
        if answer.status == StatusCode::CREATED {
            assert_eq!(subscribed["status"], "trialing");
        } else {
            answer.problem(409, "coupon_used_up");
            assert_eq!(subscribed, Value::Null, "nothing half done");
        }
    }
    let coupons = root.get("/api/super-admin/billing/coupons").await.expect(StatusCode::OK);
    assert_eq!(coupons[0]["current_uses"], 1);
}

#[tokio::test]
async fn a_tenant_that_subscribes_many_times_at_once_subscribes_once_and_uses_a_coupon_once() {
    let server = Server::start().await;
    let root = server.super_admin().await;
    let coupon = json!({ "code": "MANY", "discount_type": "fixed", "discount_value": "1000", "max_uses": 5 });
    root.post("/api/super-admin/billing/coupons", coupon).await.expect(StatusCode::CREATED);
    let tenant = server.tenant().await;
    let wishes =
        (0..8).map(|_| tenant.admin.post("/api/billing/subscribe", json!({ "coupon_code": "MANY" })));
    let answers = join_all(wishes).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count(), 1);
    for refused in answers.iter().filter(|answer| answer.status != StatusCode::CREATED) {
        assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    }
    let coupons = root.get("/api/super-admin/billing/coupons").await.expect(StatusCode::OK);
    assert_eq!(coupons[0]["current_uses"], 1);
    tenant.admin.post("/api/billing/subscribe", json!({})).await.problem(409, "already_subscribed");
}

/// A plan with these limits, and a tenant on it.
async fn subscribed_to(server: &Server, limits: Value) -> Tenant {
    let root = server.super_admin().await;
    let plan = json!({
        "name": "Tiny", "slug": format!("tiny-{}", Uuid::new_v4()), "base_price_monthly": "1000", "limits": limits,
    });
    let plan = root.post("/api/super-admin/billing/plans", plan).await.expect(StatusCode::CREATED);
    let tenant = server.tenant().await;
    let wish = json!({ "plan_id": id_of(&plan) });
    tenant.admin.post("/api/billing/subscribe", wish).await.expect(StatusCode::CREATED);
    tenant
}

async fn send_text(tenant: &Tenant, conversation: &Conversation, text: &str) -> Answer {
    let message = json!({ "type": "text", "content": { "text": text } });
    tenant.admin.post(&format!("{}/messages", conversation.path()), message).await
}

/// How many came through; all others were told which limit stood in the way.
fn within(answers: &[Answer], limit: &str) -> usize {
    for refused in answers.iter().filter(|answer| answer.status != StatusCode::CREATED) {
        let problem = refused.problem(409, "limit_reached");
        assert!(problem["detail"].as_str().expect("a detail").contains(limit), "{problem}");
    }
    answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count()
}

#[tokio::test]
async fn a_plans_limits_hold_however_many_come_at_once() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let limits = json!({ "max_agents": 3, "max_channels": 3, "max_messages_month": 4 });
    let tenant = subscribed_to(&server, limits).await;
    let usage = tenant.admin.get("/api/billing/usage").await.expect(StatusCode::OK);
    assert_eq!(
        (&usage["limits"]["max_agents"], &usage["limits"]["max_ai_agents"]),
        (&json!(3), &Value::Null)
    );

    let agents = (0..6).map(|n| {
        let agent =
            json!({ "email": format!("a{n}@toko.id"), "password": "correct horse", "full_name": "Ani" });
        let admin = tenant.admin.clone();
        async move { admin.post("/api/agents", agent).await }
    });
    assert_eq!(within(&join_all(agents).await, "max_agents"), 2, "besides the admin");

    let conversation = given_conversation(&server, &tenant).await;
    let channels = (0..6).map(|_| {
        let config = json!({ "phone_number_id": digits(), "access_token": "t", "app_secret": "app-secret" });
        let admin = tenant.admin.clone();
        let account = json!({ "channel": "whatsapp", "config": config });
        async move { admin.post("/api/integration-accounts", account).await }
    });
    assert_eq!(within(&join_all(channels).await, "max_channels"), 2, "besides the first account");

    // The customer's own message is the month's first.
    let texts: Vec<String> = (0..8).map(|n| format!("Pesan {n}")).collect();
    let sent = texts.iter().map(|text| send_text(&tenant, &conversation, text));
    assert_eq!(within(&join_all(sent).await, "max_messages_month"), 3);
    customer_writes(&server, &tenant, &conversation, "Halo?").await;
    send_text(&tenant, &conversation, "Ya?").await.problem(409, "limit_reached");
    let usage = tenant.admin.get("/api/billing/usage").await.expect(StatusCode::OK);
    assert_eq!(usage["over_limit"], json!(["max_messages_month"]), "by the customer's last message");
}

#[tokio::test]
async fn a_customer_is_heard_when_there_are_as_many_contacts_as_the_plan_allows() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let tenant = subscribed_to(&server, json!({ "max_contacts": 1 })).await;
    let over = async || {
        let usage = tenant.admin.get("/api/billing/usage").await.expect(StatusCode::OK);
        (usage["contact_count"].clone(), usage["over_limit"].clone())
    };
    given_conversation(&server, &tenant).await;
    assert_eq!(over().await, (json!(1), json!([])));
    let second = given_conversation(&server, &tenant).await;
    assert_eq!(over().await, (json!(2), json!(["max_contacts"])));
    send_text(&tenant, &second, "Halo").await.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn a_limit_holds_across_processes() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let tenant = subscribed_to(&server, json!({ "max_messages_month": 6 })).await;
    let conversation = given_conversation(&server, &tenant).await;
    let (url, env) = (server.database.owner_url.clone(), server.env.clone());
    let second =
        tokio::task::spawn_blocking(move || Process::start("api", &url, &env)).await.expect("it listens");
    let login = json!({ "email": tenant.email, "password": PASSWORD });
    let signed_in = Client::new(&second.base).post("/api/auth/login", login).await.expect(StatusCode::OK);
    let there = Client::new(&second.base).with_token(signed_in["token"].as_str().expect("a token"));
    let path = format!("{}/messages", conversation.path());
    let clients = [tenant.admin.clone(), there];
    let text = json!({ "type": "text", "content": { "text": "Halo" } });
    let sent = (0..12).map(|n| clients[n % 2].post(&path, text.clone()));
    // The customer's own message is the month's first.
    assert_eq!(within(&join_all(sent).await, "max_messages_month"), 5);
}

#[tokio::test]
async fn messages_above_the_limit_are_sent_where_they_are_charged_for() {
    let server = Server::start_with(&[NO_GRAPH]).await;
    let root = server.super_admin().await;
    let plan = json!({
        "name": "Metered", "slug": "metered", "base_price_monthly": "1000", "overage_message_price": "0.5",
        "limits": { "max_messages_month": 1 },
    });
    let plan = root.post("/api/super-admin/billing/plans", plan).await.expect(StatusCode::CREATED);
    let tenant = server.tenant().await;
    let wish = json!({ "plan_id": id_of(&plan) });
    tenant.admin.post("/api/billing/subscribe", wish).await.expect(StatusCode::CREATED);
    let conversation = given_conversation(&server, &tenant).await;
    for text in ["Satu", "Dua"] {
        send_text(&tenant, &conversation, text).await.expect(StatusCode::CREATED);
    }
}
