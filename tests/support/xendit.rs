//! A local server that speaks Xendit's API: customers, payment requests, refunds, and its callbacks.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use super::provider::{Call, Protocol, Provider};
use super::{Answer, Client};

pub const SECRET_KEY: &str = "xnd_development_local";
pub const CALLBACK_TOKEN: &str = "a callback token";

/// Linked accounts that behave badly; every other one pays at once.
pub const DECLINED: &str = "pm-insufficient-balance";
/// Asks the customer to confirm on a page; a callback tells what came of it.
pub const NEEDS_CONFIRMATION: &str = "pm-needs-confirmation";

pub const ONE_TIME: &str = "pm-one-time";
pub const EXPIRED: &str = "pm-expired";
/// Linked by a customer: `pm-of-` and the customer's id.
pub const OF_CUSTOMER: &str = "pm-of-";

pub type Xendit = Provider<Ledger>;

pub async fn start() -> Xendit {
    Provider::start(Ledger::default()).await
}

/// What Xendit knows.
#[derive(Default)]
pub struct Ledger {
    ids: u32,
    pub customers: BTreeMap<String, Value>,
    pub requests: BTreeMap<String, Value>,
    /// Pages on which a customer can pay.
    pub invoices: BTreeMap<String, Value>,
    pub refunds: BTreeMap<String, Value>,
}

impl Protocol for Ledger {
    fn answer(&mut self, call: &Call) -> (u16, Value) {
        let expected = format!("Basic {}", STANDARD.encode(format!("{SECRET_KEY}:")));
        if call.authorization != expected {
            return error(401, "INVALID_API_KEY", "The API key is invalid.");
        }
        match (&call.method, call.path.as_str()) {
            (&Method::POST, "/customers") => self.create_customer(&call.body),
            (&Method::GET, "/customers") => self.customers_of(&call.query),
            (&Method::POST, "/payment_requests") => self.create_request(&call.body),
            (&Method::GET, "/payment_requests") => self.requests_of(&call.query),
            (&Method::GET, path) if path.starts_with("/payment_requests/") => {
                let id = path.trim_start_matches("/payment_requests/");
                let missing = || error(404, "DATA_NOT_FOUND", "The payment request could not be found.");
                self.requests.get(id).map_or_else(missing, |request| (200, request.clone()))
            }
            (&Method::POST, "/v2/invoices") => self.create_invoice(&call.body),
            (&Method::GET, "/v2/invoices") => {
                let reference = parameter(&call.query, "external_id");
                let mine = self.invoices.values().filter(|invoice| invoice["external_id"] == *reference);
                (200, mine.cloned().collect())
            }
            (&Method::GET, path) if path.starts_with("/v2/payment_methods/") => {
                let id = path.trim_start_matches("/v2/payment_methods/");
                let reusability = if id == ONE_TIME { "ONE_TIME_USE" } else { "MULTIPLE_USE" };
                let status = if id == EXPIRED { "EXPIRED" } else { "ACTIVE" };
                let holder = id.strip_prefix(OF_CUSTOMER);
                (
                    200,
                    json!({ "id": id, "status": status, "reusability": reusability, "customer_id": holder }),
                )
            }
            (&Method::GET, path) if path.starts_with("/customers/") => {
                let customer = self.customers.get(path.trim_start_matches("/customers/"));
                let missing = || error(404, "DATA_NOT_FOUND", "The customer could not be found.");
                customer.map_or_else(missing, |customer| (200, customer.clone()))
            }
            (&Method::POST, "/refunds") => self.create_refund(&call.body),
            (&Method::GET, "/refunds") => self.refunds_of(&call.query),
            (method, path) => error(404, "NOT_FOUND", &format!("{method} {path} is not known.")),
        }
    }

    fn key_reused(&self) -> (u16, Value) {
        error(409, "DUPLICATE_ERROR", "The idempotency key was used with another request.")
    }
}

impl Ledger {
    fn id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}-{:06}", self.ids)
    }

    fn create_customer(&mut self, body: &Value) -> (u16, Value) {
        let reference = &body["reference_id"];
        if self.customers.values().any(|customer| customer["reference_id"] == *reference) {
            return error(409, "DUPLICATE_ERROR", "The reference_id was used before.");
        }
        let id = self.id("cust");
        let customer = json!({ "id": id, "reference_id": reference, "type": body["type"] });
        self.customers.insert(id, customer.clone());
        (200, customer)
    }

    fn customers_of(&self, query: &str) -> (u16, Value) {
        let reference = parameter(query, "reference_id");
        let data: Vec<&Value> =
            self.customers.values().filter(|customer| customer["reference_id"] == *reference).collect();
        (200, json!({ "data": data, "has_more": false }))
    }

    fn create_request(&mut self, body: &Value) -> (u16, Value) {
        let Some(method) = body["payment_method_id"].as_str().filter(|_| body["amount"].is_number()) else {
            return error(400, "API_VALIDATION_ERROR", "amount and payment_method_id are required.");
        };
        let id = self.id("pr");
        let (status, failure_code) = match method {
            DECLINED => ("FAILED", json!("INSUFFICIENT_BALANCE")),
            NEEDS_CONFIRMATION => ("REQUIRES_ACTION", Value::Null),
            _ => ("SUCCEEDED", Value::Null),
        };
        let page = json!([{ "action": "AUTH", "url_type": "WEB", "method": "GET",
            "url": format!("https://pay.xendit.example/{id}") }]);
        let actions = if status == "REQUIRES_ACTION" { page } else { json!([]) };
        let request = json!({
            "id": id, "reference_id": body["reference_id"], "amount": body["amount"], "currency": body["currency"],
            "payment_method": { "id": method }, "customer_id": body["customer_id"], "metadata": body["metadata"],
            "status": status, "failure_code": failure_code, "actions": actions,
        });
        self.requests.insert(id, request.clone());
        (201, request)
    }

    fn create_invoice(&mut self, body: &Value) -> (u16, Value) {
        self.ids += 1;
        let id = format!("66f0a1c2e4{:06}", self.ids);
        let invoice = json!({
            "id": id, "external_id": body["external_id"], "amount": body["amount"], "currency": body["currency"],
            "status": "PENDING", "invoice_url": format!("https://checkout.xendit.example/{id}"),
            "expiry_date": "2030-01-01T00:00:00.000Z", "description": body["description"],
        });
        self.invoices.insert(id, invoice.clone());
        (200, invoice)
    }

    fn requests_of(&self, query: &str) -> (u16, Value) {
        let reference = parameter(query, "reference_id");
        let data: Vec<&Value> =
            self.requests.values().filter(|request| request["reference_id"] == *reference).collect();
        (200, json!({ "data": data, "has_more": false }))
    }

    fn create_refund(&mut self, body: &Value) -> (u16, Value) {
        let of = body["payment_request_id"].clone();
        let Some(request) = of.as_str().and_then(|id| self.requests.get(id)) else {
            return error(404, "DATA_NOT_FOUND", "The payment request could not be found.");
        };
        let total = request["amount"].as_f64().unwrap_or_default();
        let (currency, amount) = (request["currency"].clone(), body["amount"].as_f64().unwrap_or(total));
        let given_back: f64 = self
            .refunds
            .values()
            .filter(|refund| refund["payment_request_id"] == of)
            .filter_map(|refund| refund["amount"].as_f64())
            .sum();
        if amount > total - given_back {
            return error(400, "REFUND_AMOUNT_EXCEEDED", "More than was paid.");
        }
        let id = self.id("rfd");
        let refund = json!({
            "id": id, "payment_request_id": of, "reference_id": body["reference_id"], "amount": body["amount"],
            "currency": currency, "reason": body["reason"], "metadata": body["metadata"], "status": "SUCCEEDED",
            "failure_code": null,
        });
        self.refunds.insert(id, refund.clone());
        (200, refund)
    }

    fn refunds_of(&self, query: &str) -> (u16, Value) {
        let of = parameter(query, "payment_request_id");
        let data: Vec<&Value> =
            self.refunds.values().filter(|refund| refund["payment_request_id"] == *of).collect();
        (200, json!({ "data": data, "has_more": false }))
    }
}

fn error(status: u16, code: &str, message: &str) -> (u16, Value) {
    (status, json!({ "error_code": code, "message": message }))
}

fn parameter(query: &str, name: &str) -> String {
    let url = reqwest::Url::parse(&format!("http://query/?{query}")).expect("a query");
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// A callback about a payment, as Xendit tells it; `status` is that of the payment.
pub fn payment_callback(event: &str, payment_id: &str, request: &Value, status: &str) -> Value {
    json!({
        "event": event, "business_id": "5f27a14a9bf05c73dd040bc8", "created": "2026-11-05T03:04:05.000Z",
        "data": {
            "id": payment_id, "payment_request_id": request["id"], "reference_id": request["reference_id"],
            "amount": request["amount"], "currency": request["currency"], "status": status,
            "failure_code": if status == "FAILED" { json!("INSUFFICIENT_BALANCE") } else { Value::Null },
            "metadata": request["metadata"],
        },
        "api_version": null,
    })
}

/// The callback about a page on which the customer has paid: without an envelope.
pub fn invoice_callback(invoice: &Value, status: &str) -> Value {
    let mut callback = invoice.clone();
    callback["status"] = json!(status);
    callback["paid_amount"] = invoice["amount"].clone();
    callback
}

/// A callback about a refund.
pub fn refund_callback(event: &str, refund: &Value) -> Value {
    json!({
        "event": event, "business_id": "5f27a14a9bf05c73dd040bc8", "created": "2026-11-06T03:04:05.000Z",
        "data": refund,
    })
}

/// Delivers a callback; `id` is the same whenever Xendit repeats it.
pub async fn deliver(client: &Client, id: &str, token: &str, callback: &Value) -> Answer {
    let request = client.anonymous().request(Method::POST, "/webhook/payments/xendit");
    let request = request.header("x-callback-token", token).header("webhook-id", id).json(callback);
    Answer::of(request.send().await.expect("an answer")).await
}
