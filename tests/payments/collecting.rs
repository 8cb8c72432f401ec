//! From the end of a trial to the money, through real gateways' protocols, and back.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::webhooks::{assert_received, kept, reach};
use crate::support::clock::MovedClock;
use crate::support::provider::Trouble;
use crate::support::stripe::{self, Stripe};
use crate::support::xendit::{self, CALLBACK_TOKEN, Xendit};
use crate::support::{Client, PASSWORD, Server, Tenant, eventually, id_of};

/// Past the end of a trial of 14 days.
const AHEAD: u64 = 15 * 24 * 60 * 60;

struct Scene {
    server: Server,
    clock: MovedClock,
    stripe: Stripe,
    xendit: Xendit,
    tenant: Tenant,
}

/// What sets both gateways up.
fn accounts<'a>(stripe: &'a Stripe, xendit: &'a Xendit) -> [(&'static str, &'a str); 6] {
    [
        ("STRIPE_API_URL", &stripe.base),
        ("STRIPE_SECRET_KEY", stripe::SECRET_KEY),
        ("STRIPE_WEBHOOK_SECRET", stripe::WEBHOOK_SECRET),
        ("XENDIT_API_URL", &xendit.base),
        ("XENDIT_SECRET_KEY", xendit::SECRET_KEY),
        ("XENDIT_CALLBACK_TOKEN", CALLBACK_TOKEN),
    ]
}

impl Scene {
    /// A tenant in its trial.
    async fn start() -> Self {
        let (stripe, xendit, clock) = (stripe::start().await, xendit::start().await, MovedClock::new());
        let mut env = accounts(&stripe, &xendit).to_vec();
        env.push(clock.env());
        let server = Server::start_with(&env).await;
        let tenant = server.tenant().await;
        tenant.admin.post("/api/billing/subscribe", json!({})).await.expect(StatusCode::CREATED);
        Self { server, clock, stripe, xendit, tenant }
    }

    async fn pay_with(&self, gateway: &str, method: &str) {
        let method = json!({ "gateway": gateway, "gateway_payment_method_id": method, "type": "card",
            "label": "the company's", "is_default": true });
        self.tenant.admin.post("/api/billing/payment-methods", method).await.expect(StatusCode::CREATED);
    }

    /// Ends the trial; answers the tenant's admin, signed in again, as the old token has aged.
    async fn end_trial(&self) -> Client {
        self.clock.set(AHEAD);
        let login = json!({ "email": self.tenant.email, "password": PASSWORD });
        eventually("the clock has moved", || async {
            let aged = self.tenant.admin.get("/api/billing/current").await;
            (aged.status == StatusCode::UNAUTHORIZED).then_some(())
        })
        .await;
        let answer = self.server.client().post("/api/auth/login", login).await.expect(StatusCode::OK);
        self.server.client().with_token(answer["token"].as_str().expect("a token"))
    }

    async fn tell(&self, event: &Value) {
        assert_received(&stripe::deliver_ahead(&self.server.client(), event, AHEAD).await);
    }

    async fn call_back(&self, id: &str, callback: &Value) {
        assert_received(&xendit::deliver(&self.server.client(), id, CALLBACK_TOKEN, callback).await);
    }
}

/// The tenant's one invoice, once it is as expected.
async fn invoice(admin: &Client, what: &str, expected: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || async {
        let listed = admin.get("/api/billing/invoices").await.expect(StatusCode::OK);
        let invoices = listed.as_array().expect("a list");
        assert!(invoices.len() <= 1, "{invoices:?}");
        invoices.first().filter(|invoice| expected(invoice)).cloned()
    })
    .await
}

async fn with_status(admin: &Client, status: &str) -> Value {
    invoice(admin, status, |invoice| invoice["status"] == status).await
}

/// The events of an invoice, by their names.
async fn story(admin: &Client, invoice: &Value) -> Vec<String> {
    let path = format!("/api/streams/invoice/{}", id_of(invoice));
    let story = admin.get(&path).await.expect(StatusCode::OK);
    let events = story["events"].as_array().or_else(|| story.as_array()).expect("events").clone();
    events.iter().filter_map(|event| event["event_type"].as_str().map(str::to_owned)).collect()
}

fn count(story: &[String], name: &str) -> usize {
    story.iter().filter(|event| *event == name).count()
}

#[tokio::test]
async fn a_card_is_charged_when_the_trial_ends_and_refunds_find_their_way_back() {
    let scene = Scene::start().await;
    scene.pay_with("stripe", "pm_card_visa").await;
    let admin = scene.end_trial().await;
    let paid = with_status(&admin, "paid").await;
    let (intent_id, intent) = scene
        .stripe
        .look(|ledger| ledger.intents.iter().next().map(|(id, it)| (id.clone(), it.clone())))
        .unwrap();
    assert_eq!(intent["metadata"]["invoice_id"], paid["id"]);
    // Stripe tells what we know already, more than once.
    let succeeded = stripe::event("evt_paid", "payment_intent.succeeded", &intent);
    let again = stripe::event("evt_paid_again", "payment_intent.succeeded", &intent);
    for event in [&succeeded, &succeeded, &again] {
        scene.tell(event).await;
    }
    reach(&scene.server, "done", 2).await;
    assert_eq!(count(&story(&admin, &paid).await, "invoice.paid"), 1);

    let root = scene.server.super_admin().await;
    let path = format!("/api/super-admin/billing/invoices/{}/refund", id_of(&paid));
    let refunded =
        root.post(&path, json!({ "amount": "1000", "reason": "sorry" })).await.expect(StatusCode::OK);
    assert_eq!(refunded["status"], "paid");
    let refund = scene.stripe.look(|ledger| ledger.refunds.values().next().cloned()).unwrap();
    assert_eq!((&refund["amount"], &refund["payment_intent"]), (&json!(100_000), &json!(intent_id)));
    scene.tell(&stripe::event("evt_refund", "refund.updated", &refund)).await;
    // The rest is given back at Stripe, by hand: its refund knows nothing of us.
    let rest = intent["amount"].as_i64().unwrap() - 100_000;
    let by_hand = json!({ "id": "re_by_hand", "payment_intent": intent_id, "amount": rest, "currency": "idr",
        "status": "succeeded", "metadata": {} });
    scene.tell(&stripe::event("evt_by_hand", "refund.created", &by_hand)).await;
    scene.tell(&stripe::event("evt_by_hand_2", "refund.updated", &by_hand)).await;
    let done = with_status(&admin, "refunded").await;
    reach(&scene.server, "done", 5).await;
    assert_eq!(count(&story(&admin, &done).await, "invoice.refunded"), 2);
}

#[tokio::test]
async fn a_lost_answer_is_found_out_and_the_card_charged_once() {
    let scene = Scene::start().await;
    scene.pay_with("stripe", "pm_card_visa").await;
    // Twice at once, and again when it is asked the next time.
    for trouble in [Trouble::AnswerLost, Trouble::AnswerLost, Trouble::AnswerLost] {
        scene.stripe.next(trouble);
    }
    let admin = scene.end_trial().await;
    with_status(&admin, "paid").await;
    assert_eq!(scene.stripe.look(|ledger| ledger.intents.len()), 1);
    let orders = scene.stripe.calls(&Method::POST, "/v1/payment_intents");
    assert!(orders.len() >= 2 && orders.iter().all(|order| order.key == orders[0].key), "{orders:?}");
}

#[tokio::test]
async fn a_declined_card_counts_once_even_when_stripe_tells_of_it_as_well() {
    let scene = Scene::start().await;
    scene.pay_with("stripe", stripe::DECLINED).await;
    let admin = scene.end_trial().await;
    let open = with_status(&admin, "open").await;
    eventually("past due", || async {
        let current = admin.get("/api/billing/current").await.expect(StatusCode::OK);
        (current["status"] == "past_due").then_some(())
    })
    .await;
    let intent = scene.stripe.look(|ledger| ledger.intents.values().next().cloned()).unwrap();
    scene.tell(&stripe::event("evt_failed", "payment_intent.payment_failed", &intent)).await;
    reach(&scene.server, "done", 1).await;
    let story = story(&admin, &open).await;
    assert_eq!(count(&story, "invoice.payment_failed"), 1, "{story:?}");
    // The customer's bank lets it through after all.
    let mut late = intent;
    late["status"] = json!("succeeded");
    late["amount_received"] = late["amount"].clone();
    scene.tell(&stripe::event("evt_late", "payment_intent.succeeded", &late)).await;
    with_status(&admin, "paid").await;
    eventually("active", || async {
        let current = admin.get("/api/billing/current").await.expect(StatusCode::OK);
        (current["status"] == "active").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_customer_without_a_card_pays_on_a_page_and_the_order_of_news_does_not_matter() {
    let scene = Scene::start().await;
    let admin = scene.end_trial().await;
    let open = invoice(&admin, "a page", |invoice| invoice["payment_url"].is_string()).await;
    assert_eq!(open["status"], "open");
    let page = scene.xendit.look(|ledger| ledger.invoices.values().next().cloned()).unwrap();
    assert_eq!((&open["payment_url"], &open["gateway_invoice_id"]), (&page["invoice_url"], &page["id"]));
    // The refund is told first.
    let refund = json!({ "id": "rfd-1", "invoice_id": page["id"], "amount": page["amount"], "currency": "IDR",
        "status": "SUCCEEDED", "reference_id": "by hand", "failure_code": null });
    scene.call_back("w-refund", &xendit::refund_callback("refund.succeeded", &refund)).await;
    let paid = xendit::invoice_callback(&page, "PAID");
    let deliveries = (0..3).map(|_| scene.call_back("w-paid", &paid));
    futures::future::join_all(deliveries).await;
    let refunded = with_status(&admin, "refunded").await;
    reach(&scene.server, "done", 2).await;
    let story = story(&admin, &refunded).await;
    assert_eq!((count(&story, "invoice.paid"), count(&story, "invoice.refunded")), (1, 1), "{story:?}");
}

#[tokio::test]
async fn what_does_not_fit_the_books_is_kept_for_a_person() {
    let scene = Scene::start().await;
    let admin = scene.end_trial().await;
    invoice(&admin, "a page", |invoice| invoice["payment_url"].is_string()).await;
    let page = scene.xendit.look(|ledger| ledger.invoices.values().next().cloned()).unwrap();
    // Too little; then all of it; then all of it again, by another payment.
    let mut short = xendit::invoice_callback(&page, "PAID");
    short["paid_amount"] = json!(1);
    scene.call_back("w-short", &short).await;
    reach(&scene.server, "failed", 1).await;
    scene.call_back("w-paid", &xendit::invoice_callback(&page, "PAID")).await;
    with_status(&admin, "paid").await;
    let request = json!({ "id": "pr-9", "reference_id": page["external_id"], "amount": page["amount"],
        "currency": "IDR", "metadata": null });
    let second = xendit::payment_callback("payment.succeeded", "py-9", &request, "SUCCEEDED");
    scene.call_back("w-second", &second).await;
    reach(&scene.server, "failed", 2).await;
    // Nobody's payment is nobody's business here.
    let strange = json!({ "id": "pr-8", "reference_id": "order-17", "amount": 5000, "currency": "IDR" });
    let strange = xendit::payment_callback("payment.succeeded", "py-8", &strange, "SUCCEEDED");
    scene.call_back("w-strange", &strange).await;
    reach(&scene.server, "ignored", 1).await;
    assert_eq!(kept(&scene.server, "done").await, 1);
}

#[tokio::test]
async fn a_linked_wallet_pays_and_a_method_that_is_of_no_use_is_not_taken() {
    let scene = Scene::start().await;
    let new = |gateway: &str, method: &str| json!({ "gateway": gateway, "gateway_payment_method_id": method, "type": "ewallet" });
    let path = "/api/billing/payment-methods";
    scene.tenant.admin.post(path, new("paypal", "x")).await.names_fields(&["gateway"]);
    let once = scene.tenant.admin.post(path, new("xendit", xendit::ONE_TIME)).await;
    once.names_fields(&["gateway_payment_method_id"]);
    scene.pay_with("xendit", "pm-ovo").await;
    let admin = scene.end_trial().await;
    with_status(&admin, "paid").await;
    let request = scene.xendit.look(|ledger| ledger.requests.values().next().cloned()).unwrap();
    assert_eq!(request["payment_method"]["id"], "pm-ovo");
    assert!(request["customer_id"].is_string(), "{request}");
}

#[tokio::test]
async fn who_paid_by_hand_is_asked_to_pay_once_a_gateway_is_set_up() {
    let (stripe, xendit, clock) = (stripe::start().await, xendit::start().await, MovedClock::new());
    let mut server = Server::start_with(&[clock.env()]).await;
    let mut tenant = server.tenant().await;
    tenant.admin.post("/api/billing/subscribe", json!({})).await.expect(StatusCode::CREATED);
    let by_hand =
        |id| json!({ "gateway": "manual", "gateway_payment_method_id": id, "type": "bank_transfer" });
    let add = "/api/billing/payment-methods";
    tenant.admin.post(add, by_hand("bca")).await.expect(StatusCode::CREATED);
    let accounts = accounts(&stripe, &xendit).map(|(name, value)| (name.to_owned(), value.to_owned()));
    server.env.extend(accounts);
    server.restart("serve", || ()).await;
    let login = json!({ "email": tenant.email, "password": PASSWORD });
    let signed_in = server.client().post("/api/auth/login", login).await.expect(StatusCode::OK);
    tenant.admin = server.client().with_token(signed_in["token"].as_str().expect("a token"));
    tenant.admin.post(add, by_hand("mandiri")).await.names_fields(&["gateway"]);

    let scene = Scene { server, clock, stripe, xendit, tenant };
    let admin = scene.end_trial().await;
    let open = invoice(&admin, "a page", |invoice| invoice["payment_url"].is_string()).await;
    assert_eq!((&open["status"], scene.xendit.look(|ledger| ledger.invoices.len())), (&json!("open"), 1));
}
