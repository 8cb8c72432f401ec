//! Stripe: cards on file are charged without their holder being there (payment intents), everybody else is sent to a
//! page of Stripe's (checkout sessions).

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use commands::clock::Clock;
use commands::payment_gateway::{
    Charge, ChargeMethod, ChargeOutcome, GatewayError, MethodRegistration, PaymentGateway, RefundOrder,
    RefundOutcome,
};
use commands::payment_notice::stripe::{INVOICE, ORDER, PAGE, TENANT, minor_units};
use domain::money::Money;
use reqwest::RequestBuilder;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use uuid::Uuid;

use super::Account;
use super::http::{Http, Reply};

/// Refunds of one payment that are looked through for an order; Stripe's longest page.
const REFUNDS: &str = "100";
/// How long a payment may be on its way, such as a bank debit, before it is given up.
const PROCESSING: TimeDelta = TimeDelta::days(7);

pub(super) struct Stripe {
    http: Http,
    secret_key: String,
    return_url: String,
    clock: Clock,
}

type Form = Vec<(String, String)>;

impl Stripe {
    pub(super) fn new(account: &Account, return_url: &str, clock: &Clock) -> Result<Self, reqwest::Error> {
        let (http, secret_key) = (Http::new(&account.api_url)?, account.secret_key.clone());
        Ok(Self { http, secret_key, return_url: return_url.to_owned(), clock: clock.clone() })
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Reply, GatewayError> {
        self.http.get(path, query, |request| request.bearer_auth(&self.secret_key)).await
    }

    async fn order(&self, path: &str, key: &str, form: &Form) -> Result<Reply, GatewayError> {
        let fill = |request: RequestBuilder| {
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
            let request = request.bearer_auth(&self.secret_key).header("Idempotency-Key", key);
            request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
        };
        let reply = self.http.order(path, fill).await?;
        // Given before with another payment method, or being carried out: what became of it is looked up later.
        if reply.status == 409 || error_type(&reply) == "idempotency_error" {
            return Err(GatewayError::Unavailable("the same order was given before".to_owned()));
        }
        Ok(reply)
    }

    /// The payment intent of this order, if there is one: Stripe forgets idempotency keys after a day.
    async fn known(&self, charge: &Charge) -> Result<Option<Value>, GatewayError> {
        let query = format!("metadata['{ORDER}']:'{}'", charge.idempotency_key);
        let reply = self.get("/v1/payment_intents/search", &[("query", &query)]).await?;
        if !reply.is_success() {
            // Search is not offered everywhere; the key protects for a day without it.
            tracing::debug!(status = reply.status, "Stripe did not search for an order");
            return Ok(None);
        }
        Ok(reply.body["data"].as_array().and_then(|found| found.first()).cloned())
    }

    async fn charge_method(
        &self,
        charge: &Charge,
        method: &ChargeMethod,
    ) -> Result<ChargeOutcome, GatewayError> {
        if let Some(intent) = self.known(charge).await? {
            return outcome_of(&intent, self.clock.now());
        }
        let mut form = amount(charge.amount)?;
        form.extend(fields([
            ("payment_method", method.gateway_payment_method_id.as_str()),
            ("confirm", "true"),
            ("off_session", "true"),
            ("description", &description(charge)),
        ]));
        form.extend(method.customer_id.iter().map(|customer| ("customer".to_owned(), customer.clone())));
        form.extend(metadata("metadata", charge.tenant_id, charge.invoice_id, &charge.idempotency_key));
        let reply = self.order("/v1/payment_intents", &charge.idempotency_key, &form).await?;
        if reply.is_success() {
            return outcome_of(&reply.body, self.clock.now());
        }
        match error_type(&reply) {
            "card_error" => Ok(ChargeOutcome::Declined { reason: decline_reason(&reply.body["error"]) }),
            _ => Err(refused(&reply)),
        }
    }

    /// A page on which the customer pays. The payment is told by webhook, with the metadata given here.
    async fn ask(&self, charge: &Charge) -> Result<ChargeOutcome, GatewayError> {
        let amount = minor_units(charge.amount).ok_or_else(|| inexact(charge.amount))?.to_string();
        let currency = charge.amount.currency().code().to_lowercase();
        let mut form = fields([
            ("mode", "payment"),
            ("success_url", self.return_url.as_str()),
            ("client_reference_id", &charge.invoice_id.to_string()),
            ("line_items[0][quantity]", "1"),
            ("line_items[0][price_data][currency]", &currency),
            ("line_items[0][price_data][unit_amount]", &amount),
            ("line_items[0][price_data][product_data][name]", &description(charge)),
        ]);
        let key = &charge.idempotency_key;
        form.extend(metadata("metadata", charge.tenant_id, charge.invoice_id, key));
        form.extend(metadata("payment_intent_data[metadata]", charge.tenant_id, charge.invoice_id, key));
        form.extend(fields([(&*format!("payment_intent_data[metadata][{PAGE}]"), "yes")]));
        let reply = self.order("/v1/checkout/sessions", key, &form).await?;
        if !reply.is_success() {
            return Err(refused(&reply));
        }
        let session = &reply.body;
        let expires_at = session["expires_at"].as_i64().and_then(|at| DateTime::<Utc>::from_timestamp(at, 0));
        Ok(ChargeOutcome::Requested {
            gateway_invoice_id: id(session)?,
            payment_url: session["url"].as_str().map(str::to_owned),
            expires_at: expires_at.ok_or_else(|| unexpected("a checkout session without expires_at"))?,
        })
    }

    async fn customer(&self, new: &MethodRegistration) -> Result<String, GatewayError> {
        if let Some(known) = &new.customer_id {
            return Ok(known.clone());
        }
        let mut form = fields([("name", new.organization_name.as_str())]);
        form.extend(new.email.iter().map(|email| ("email".to_owned(), email.clone())));
        form.push((format!("metadata[{TENANT}]"), new.tenant_id.to_string()));
        let key = format!("{}:customer", new.idempotency_key);
        let reply = self.order("/v1/customers", &key, &form).await?;
        if reply.is_success() { id(&reply.body) } else { Err(refused(&reply)) }
    }
}

#[async_trait]
impl PaymentGateway for Stripe {
    fn name(&self) -> &'static str {
        "stripe"
    }

    /// Attaches the method to the tenant's customer: only then can it be charged more than once.
    async fn register_method(&self, new: &MethodRegistration) -> Result<Option<String>, GatewayError> {
        let customer = self.customer(new).await?;
        let path = format!("/v1/payment_methods/{}/attach", segment(&new.gateway_payment_method_id)?);
        let key = format!("{}:attach", new.idempotency_key);
        let reply = self.order(&path, &key, &fields([("customer", customer.as_str())])).await?;
        if reply.is_success() { Ok(Some(customer)) } else { Err(refused(&reply)) }
    }

    async fn charge(&self, charge: &Charge) -> Result<ChargeOutcome, GatewayError> {
        match &charge.method {
            Some(method) => self.charge_method(charge, method).await,
            None => self.ask(charge).await,
        }
    }

    async fn refund(&self, order: &RefundOrder) -> Result<RefundOutcome, GatewayError> {
        let query = [("payment_intent", order.payment_id.as_str()), ("limit", REFUNDS)];
        let known = self.get("/v1/refunds", &query).await?;
        let refunds = known.body["data"].as_array().cloned().unwrap_or_default();
        if let Some(refund) = refunds.iter().find(|r| r["metadata"][ORDER] == *order.idempotency_key) {
            return refund_outcome(refund);
        }
        let units = minor_units(order.amount).ok_or_else(|| inexact(order.amount))?;
        let mut form = fields([
            ("payment_intent", order.payment_id.as_str()),
            ("amount", &units.to_string()),
            ("reason", "requested_by_customer"),
        ]);
        form.extend(metadata("metadata", order.tenant_id, order.invoice_id, &order.idempotency_key));
        let reply = self.order("/v1/refunds", &order.idempotency_key, &form).await?;
        if reply.is_success() {
            return refund_outcome(&reply.body);
        }
        match error_type(&reply) {
            // What Stripe says no to stays with us; wrong credentials are no answer to the order.
            "invalid_request_error" if !matches!(reply.status, 401 | 403) => {
                Ok(RefundOutcome::Declined { reason: message(&reply) })
            }
            _ => Err(refused(&reply)),
        }
    }
}

fn outcome_of(intent: &Value, now: DateTime<Utc>) -> Result<ChargeOutcome, GatewayError> {
    Ok(match intent["status"].as_str().unwrap_or_default() {
        "succeeded" => ChargeOutcome::Paid { payment_id: id(intent)? },
        // A webhook tells what came of it.
        "processing" => ChargeOutcome::Requested {
            gateway_invoice_id: id(intent)?,
            payment_url: None,
            expires_at: now + PROCESSING,
        },
        _ => ChargeOutcome::Declined { reason: decline_reason(&intent["last_payment_error"]) },
    })
}

/// A refund that is pending was accepted by Stripe; should it fail after all, a webhook tells.
fn refund_outcome(refund: &Value) -> Result<RefundOutcome, GatewayError> {
    Ok(match refund["status"].as_str().unwrap_or_default() {
        "failed" | "canceled" => {
            let reason = refund["failure_reason"].as_str().unwrap_or("canceled").replace('_', " ");
            RefundOutcome::Declined { reason: format!("Stripe could not refund it: {reason}.") }
        }
        _ => RefundOutcome::Refunded { refund_id: id(refund)? },
    })
}

/// Stripe's message is written for the card's holder. Where the bank wants the holder to confirm, nobody is there who
/// could, so what to do is said as well.
fn decline_reason(error: &Value) -> String {
    if error["code"] == "authentication_required" {
        return "The bank wants this payment to be confirmed by the cardholder: add the card again, or use another one."
            .to_owned();
    }
    error["message"].as_str().unwrap_or("The card was declined.").to_owned()
}

fn refused(reply: &Reply) -> GatewayError {
    // Our fault and not the customer's, who must not be dunned for it: it is tried again until it is mended.
    if matches!(reply.status, 401 | 403) {
        return GatewayError::Unavailable("Stripe does not accept the configured secret key".to_owned());
    }
    GatewayError::Refused(message(reply))
}

fn message(reply: &Reply) -> String {
    let message = reply.body["error"]["message"].as_str();
    message.map_or_else(|| format!("Stripe answered {}.", reply.status), str::to_owned)
}

fn error_type(reply: &Reply) -> &str {
    reply.body["error"]["type"].as_str().unwrap_or_default()
}

fn unexpected(what: &str) -> GatewayError {
    GatewayError::Unavailable(format!("Stripe answered {what}"))
}

fn inexact(amount: Money) -> GatewayError {
    GatewayError::Refused(format!("Stripe can't take exactly {amount}."))
}

fn id(object: &Value) -> Result<String, GatewayError> {
    object["id"].as_str().map(str::to_owned).ok_or_else(|| unexpected("without an id"))
}

/// Ids that tenants give us become part of a path: nothing but what ids are made of may get there.
fn segment(id: &str) -> Result<&str, GatewayError> {
    let plain = !id.is_empty() && id.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if plain { Ok(id) } else { Err(GatewayError::Refused(format!("Stripe has no payment method {id}."))) }
}

fn description(charge: &Charge) -> String {
    format!("Invoice {}", charge.invoice_number)
}

fn amount(amount: Money) -> Result<Form, GatewayError> {
    let units = minor_units(amount).ok_or_else(|| inexact(amount))?;
    Ok(fields([
        ("amount", units.to_string().as_str()),
        ("currency", &amount.currency().code().to_lowercase()),
    ]))
}

fn fields<const N: usize>(pairs: [(&str, &str); N]) -> Form {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn metadata(prefix: &str, tenant_id: Uuid, invoice_id: Uuid, key: &str) -> Form {
    let (tenant, invoice) = (tenant_id.to_string(), invoice_id.to_string());
    [(TENANT, tenant), (INVOICE, invoice), (ORDER, key.to_owned())]
        .map(|(name, value)| (format!("{prefix}[{name}]"), value))
        .into()
}
