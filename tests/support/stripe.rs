//! A local server that speaks Stripe's API: customers, payment intents, refunds, and webhooks signed as Stripe's are.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::provider::{Call, Protocol, Provider};
use super::{Answer, Client};

pub const SECRET_KEY: &str = "sk_test_local";
pub const WEBHOOK_SECRET: &str = "whsec_local";

/// Payment methods that behave as Stripe's test cards do; every other one pays.
pub const DECLINED: &str = "pm_card_chargeDeclinedInsufficientFunds";
pub const NEEDS_AUTHENTICATION: &str = "pm_card_authenticationRequired";
/// Pays later: the intent is processing until a webhook tells.
pub const SLOW: &str = "pm_usBankAccount_success";

pub type Stripe = Provider<Ledger>;

pub async fn start() -> Stripe {
    Provider::start(Ledger::default()).await
}

/// What Stripe knows.
#[derive(Default)]
pub struct Ledger {
    ids: u32,
    pub customers: BTreeMap<String, Value>,
    pub intents: BTreeMap<String, Value>,
    pub refunds: BTreeMap<String, Value>,
    /// Pages on which a customer can pay.
    pub sessions: BTreeMap<String, Value>,
}

impl Protocol for Ledger {
    fn answer(&mut self, call: &Call) -> (u16, Value) {
        if call.authorization != format!("Bearer {SECRET_KEY}") {
            return error(401, "invalid_request_error", "", "Invalid API Key provided: sk_***");
        }
        match (&call.method, call.path.as_str()) {
            (&Method::POST, "/v1/customers") => self.create_customer(&call.body),
            (&Method::POST, "/v1/payment_intents") => self.create_intent(&call.body),
            (&Method::POST, "/v1/checkout/sessions") => self.create_session(&call.body),
            (&Method::POST, "/v1/refunds") => self.create_refund(&call.body),
            (&Method::GET, "/v1/payment_intents/search") => self.search(&call.query),
            (&Method::GET, path) if path.starts_with("/v1/payment_intents/") => {
                found(self.intents.get(path.trim_start_matches("/v1/payment_intents/")))
            }
            (&Method::GET, "/v1/refunds") => self.refunds_of(&call.query),
            (&Method::POST, path) if path.ends_with("/attach") => {
                let id = path.trim_start_matches("/v1/payment_methods/").trim_end_matches("/attach");
                (200, json!({ "id": id, "object": "payment_method", "customer": call.body["customer"] }))
            }
            (method, path) => error(
                404,
                "invalid_request_error",
                "",
                &format!("Unrecognized request URL ({method}: {path})."),
            ),
        }
    }

    fn key_reused(&self) -> (u16, Value) {
        let message = "Keys for idempotent requests can only be used with the same parameters they were first used with.";
        error(400, "idempotency_error", "", message)
    }
}

impl Ledger {
    fn id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}_{:06}", self.ids)
    }

    fn create_customer(&mut self, form: &Value) -> (u16, Value) {
        let id = self.id("cus");
        let customer =
            json!({ "id": id, "object": "customer", "name": form["name"], "metadata": metadata(form) });
        self.customers.insert(id, customer.clone());
        (200, customer)
    }

    fn create_intent(&mut self, form: &Value) -> (u16, Value) {
        let number = |name: &str| form[name].as_str().and_then(|text| text.parse::<i64>().ok());
        let (Some(amount), Some(method)) = (number("amount"), form["payment_method"].as_str()) else {
            return error(
                400,
                "invalid_request_error",
                "parameter_missing",
                "Missing required param: amount.",
            );
        };
        let id = self.id("pi");
        let mut intent = json!({
            "id": id, "object": "payment_intent", "amount": amount, "amount_received": 0, "currency": form["currency"],
            "customer": form["customer"], "payment_method": method, "status": "succeeded",
            "metadata": metadata(form), "latest_charge": null, "last_payment_error": null,
        });
        let refusal = match method {
            DECLINED => Some(("card_declined", "insufficient_funds", "Your card has insufficient funds.")),
            NEEDS_AUTHENTICATION => Some((
                "authentication_required",
                "authentication_required",
                "Your card was declined. This transaction requires authentication.",
            )),
            _ => None,
        };
        if let Some((code, decline_code, message)) = refusal {
            intent["status"] = json!("requires_payment_method");
            let mut failure = json!({ "type": "card_error", "code": code, "decline_code": decline_code, "message": message });
            intent["last_payment_error"] = failure.clone();
            self.intents.insert(id, intent.clone());
            failure["payment_intent"] = intent;
            return (402, json!({ "error": failure }));
        }
        if method == SLOW {
            intent["status"] = json!("processing");
        } else {
            intent["amount_received"] = json!(amount);
            intent["latest_charge"] = json!(self.id("ch"));
        }
        self.intents.insert(id, intent.clone());
        (200, intent)
    }

    fn create_session(&mut self, form: &Value) -> (u16, Value) {
        let id = self.id("cs");
        let session = json!({
            "id": id, "object": "checkout.session", "url": format!("https://checkout.stripe.example/{id}"),
            "expires_at": 1_900_000_000, "metadata": metadata(form), "asked": form,
        });
        self.sessions.insert(id, session.clone());
        (200, session)
    }

    fn create_refund(&mut self, form: &Value) -> (u16, Value) {
        let of = form["payment_intent"].as_str().unwrap_or_default().to_owned();
        let Some(intent) = self.intents.get(&of) else {
            return error(404, "invalid_request_error", "resource_missing", "No such payment_intent.");
        };
        let given_back: i64 = self.of_intent(&of).iter().filter_map(|refund| refund["amount"].as_i64()).sum();
        let left = intent["amount_received"].as_i64().unwrap_or_default() - given_back;
        let currency = intent["currency"].clone();
        let amount = form["amount"].as_str().and_then(|text| text.parse::<i64>().ok()).unwrap_or(left);
        if amount > left {
            let message = "Refund amount is greater than unrefunded amount on charge.";
            return error(400, "invalid_request_error", "charge_already_refunded", message);
        }
        let id = self.id("re");
        let refund = json!({
            "id": id, "object": "refund", "amount": amount, "currency": currency, "payment_intent": of,
            "status": "succeeded", "metadata": metadata(form),
        });
        self.refunds.insert(id, refund.clone());
        (200, refund)
    }

    fn of_intent(&self, intent: &str) -> Vec<Value> {
        self.refunds.values().filter(|refund| refund["payment_intent"] == intent).cloned().collect()
    }

    fn refunds_of(&self, query: &str) -> (u16, Value) {
        let intent = parameter(query, "payment_intent");
        (200, json!({ "object": "list", "data": self.of_intent(&intent), "has_more": false }))
    }

    /// `metadata['name']:'value'` clauses, joined by AND.
    fn search(&self, query: &str) -> (u16, Value) {
        let clauses = parameter(query, "query");
        let wanted: Vec<(String, String)> = clauses
            .split(" AND ")
            .filter_map(|clause| {
                let (name, value) = clause.strip_prefix("metadata['")?.split_once("']:'")?;
                Some((name.to_owned(), value.trim_end_matches('\'').to_owned()))
            })
            .collect();
        let matches = |intent: &&Value| {
            !wanted.is_empty() && wanted.iter().all(|(name, value)| intent["metadata"][name] == *value)
        };
        let data: Vec<Value> = self.intents.values().filter(matches).cloned().collect();
        (200, json!({ "object": "search_result", "data": data, "has_more": false }))
    }
}

fn found(object: Option<&Value>) -> (u16, Value) {
    match object {
        Some(object) => (200, object.clone()),
        None => error(404, "invalid_request_error", "resource_missing", "No such object."),
    }
}

fn error(status: u16, kind: &str, code: &str, message: &str) -> (u16, Value) {
    (status, json!({ "error": { "type": kind, "code": code, "message": message } }))
}

/// `metadata[name]` fields as an object.
fn metadata(form: &Value) -> Value {
    let fields = form.as_object().into_iter().flatten();
    let named = fields.filter_map(|(name, value)| {
        let name = name.strip_prefix("metadata[")?.strip_suffix(']')?;
        Some((name.to_owned(), value.clone()))
    });
    Value::Object(named.collect::<Map<String, Value>>())
}

fn parameter(query: &str, name: &str) -> String {
    let url = reqwest::Url::parse(&format!("http://query/?{query}")).expect("a query");
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// An event about an object, as Stripe tells it.
pub fn event(id: &str, kind: &str, object: &Value) -> Value {
    json!({
        "id": id, "object": "event", "type": kind, "livemode": false, "created": 1_790_000_000,
        "api_version": "2026-08-27", "data": { "object": object },
    })
}

/// `t=…,v1=…` over these bytes at this time.
pub fn signature(body: &[u8], secret: &str, at: i64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key");
    mac.update(format!("{at}.").as_bytes());
    mac.update(body);
    // A signature of a scheme that is not ours stands beside it, as in test mode.
    format!("t={at},v1={},v0=00", hex::encode(mac.finalize().into_bytes()))
}

/// Delivers an event, signed now by a clock that is so many seconds ahead.
pub async fn deliver_ahead(client: &Client, event: &Value, ahead: u64) -> Answer {
    let body = event.to_string().into_bytes();
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs() + ahead;
    let signature = signature(&body, WEBHOOK_SECRET, i64::try_from(now).expect("a time"));
    deliver_raw(client, body, &signature).await
}

/// Delivers an event, signed now.
pub async fn deliver(client: &Client, event: &Value) -> Answer {
    deliver_ahead(client, event, 0).await
}

pub async fn deliver_raw(client: &Client, body: Vec<u8>, signature: &str) -> Answer {
    let request = client.anonymous().request(Method::POST, "/webhook/payments/stripe");
    let request = request.header("content-type", "application/json").header("stripe-signature", signature);
    Answer::of(request.body(body).send().await.expect("an answer")).await
}
