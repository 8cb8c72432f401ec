//! Xendit: linked cards, wallets and accounts are charged directly (payment requests), everybody else is sent to a page
//! of Xendit's with the ways of paying that are usual in Indonesia (hosted invoices).

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use commands::clock::Clock;
use commands::payment_gateway::{
    Charge, ChargeMethod, ChargeOutcome, GatewayError, MethodRegistration, PaymentGateway, RefundOrder,
    RefundOutcome,
};
use commands::payment_notice::reference;
use commands::payment_notice::xendit::explain;
use domain::money::Money;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::Account;
use super::http::{Http, Reply};

/// For how long a page takes payments.
const PAGE_LIFETIME: TimeDelta = TimeDelta::days(3);
/// How long a customer may take to confirm, and a bank to pay, before the payment is given up.
const PROCESSING: TimeDelta = TimeDelta::days(3);

pub(super) struct Xendit {
    http: Http,
    secret_key: String,
    return_url: String,
    clock: Clock,
}

impl Xendit {
    pub(super) fn new(account: &Account, return_url: &str, clock: &Clock) -> Result<Self, reqwest::Error> {
        let (http, secret_key) = (Http::new(&account.api_url)?, account.secret_key.clone());
        Ok(Self { http, secret_key, return_url: return_url.to_owned(), clock: clock.clone() })
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Reply, GatewayError> {
        self.http.get(path, query, |request| request.basic_auth(&self.secret_key, Some(""))).await
    }

    async fn order(&self, path: &str, key: &str, body: &Value) -> Result<Reply, GatewayError> {
        let fill = |request: RequestBuilder| {
            request.basic_auth(&self.secret_key, Some("")).header("idempotency-key", key).json(body)
        };
        self.http.order(path, fill).await
    }

    /// The one thing of a list that carries this value in this field.
    async fn find(
        &self,
        path: &str,
        query: (&str, &str),
        (field, value): (&str, &str),
    ) -> Result<Option<Value>, GatewayError> {
        let reply = self.get(path, &[query]).await?;
        if reply.status == 404 {
            return Ok(None);
        }
        if !reply.is_success() {
            return Err(refused(&reply));
        }
        // Newer lists are wrapped, older ones are not.
        let list = reply.body["data"].as_array().or_else(|| reply.body.as_array()).cloned();
        Ok(list.unwrap_or_default().into_iter().find(|item| item[field] == *value))
    }

    async fn charge_method(
        &self,
        charge: &Charge,
        method: &ChargeMethod,
        reference: &str,
    ) -> Result<ChargeOutcome, GatewayError> {
        let by_reference = ("reference_id", reference);
        if let Some(request) = self.find("/payment_requests", by_reference, by_reference).await? {
            return outcome_of(&request, self.clock.now());
        }
        let mut body = json!({
            "reference_id": reference,
            "amount": amount(charge.amount)?,
            "currency": charge.amount.currency().code(),
            "payment_method_id": method.gateway_payment_method_id,
            "description": format!("Invoice {}", charge.invoice_number),
        });
        if let Some(customer) = &method.customer_id {
            body["customer_id"] = json!(customer);
        }
        let reply = self.order("/payment_requests", &charge.idempotency_key, &body).await?;
        if reply.is_success() {
            return outcome_of(&reply.body, self.clock.now());
        }
        match error_code(&reply) {
            // These are about the method and not about the order.
            "CARD_EXPIRED" | "INVALID_PAYMENT_METHOD" | "INVALID_TOKEN" | "PAYMENT_METHOD_EXPIRED" => {
                Ok(ChargeOutcome::Declined { reason: explain(error_code(&reply)) })
            }
            "TEMPORARILY_UNAVAILABLE" | "CHANNEL_UNAVAILABLE" => {
                Err(GatewayError::Unavailable(explain(error_code(&reply))))
            }
            _ => Err(refused(&reply)),
        }
    }

    /// A page on which the customer pays; a callback tells that they did. Pages have no idempotency key: one with the
    /// order's reference is looked for first.
    async fn ask(&self, charge: &Charge, reference: &str) -> Result<ChargeOutcome, GatewayError> {
        let by_reference = ("external_id", reference);
        if let Some(page) = self.find("/v2/invoices", by_reference, by_reference).await? {
            return page_outcome(&page);
        }
        let body = json!({
            "external_id": reference,
            "amount": amount(charge.amount)?,
            "currency": charge.amount.currency().code(),
            "description": format!("Invoice {}", charge.invoice_number),
            "invoice_duration": PAGE_LIFETIME.num_seconds(),
            "success_redirect_url": self.return_url,
        });
        let reply = self.order_once("/v2/invoices", &body).await?;
        if reply.is_success() { page_outcome(&reply.body) } else { Err(refused(&reply)) }
    }

    /// Without a second try: the next look-up finds what came of the first.
    async fn order_once(&self, path: &str, body: &Value) -> Result<Reply, GatewayError> {
        self.http.order_once(path, |request| request.basic_auth(&self.secret_key, Some("")).json(body)).await
    }

    /// Whether a customer of Xendit's stands for this tenant. A method of another one must not be charged for it.
    async fn is_own(&self, customer: &str, new: &MethodRegistration) -> Result<bool, GatewayError> {
        if new.customer_id.as_deref() == Some(customer) {
            return Ok(true);
        }
        let reply = self.get(&format!("/customers/{}", segment(customer)?), &[]).await?;
        match reply.status {
            404 => Ok(false),
            _ if reply.is_success() => Ok(reply.body["reference_id"] == *new.tenant_id.to_string()),
            _ => Err(refused(&reply)),
        }
    }

    async fn customer(&self, new: &MethodRegistration) -> Result<String, GatewayError> {
        let reference = new.tenant_id.to_string();
        let by_reference = ("reference_id", reference.as_str());
        if let Some(customer) = self.find("/customers", by_reference, by_reference).await? {
            return id(&customer);
        }
        let mut body = json!({
            "reference_id": reference,
            "type": "BUSINESS",
            "business_detail": { "business_name": new.organization_name },
        });
        if let Some(email) = &new.email {
            body["email"] = json!(email);
        }
        let key = format!("{}:customer", new.idempotency_key);
        let reply = self.order("/customers", &key, &body).await?;
        if reply.is_success() { id(&reply.body) } else { Err(refused(&reply)) }
    }
}

#[async_trait]
impl PaymentGateway for Xendit {
    fn name(&self) -> &'static str {
        "xendit"
    }

    /// Methods are linked at Xendit by their holder; here it is checked that this is the tenant, whose id Xendit knows as
    /// the customer's reference, and that the method can be charged again and again.
    async fn register_method(&self, new: &MethodRegistration) -> Result<Option<String>, GatewayError> {
        let method_id = segment(&new.gateway_payment_method_id)?;
        let reply = self.get(&format!("/v2/payment_methods/{method_id}"), &[]).await?;
        if !reply.is_success() {
            return Err(refused(&reply));
        }
        let method = &reply.body;
        if method["status"] != "ACTIVE" {
            return Err(GatewayError::Refused("The payment method is not active at Xendit.".to_owned()));
        }
        if method["reusability"] != "MULTIPLE_USE" {
            return Err(GatewayError::Refused("The payment method can be used only once.".to_owned()));
        }
        match (method["customer_id"].as_str(), &new.customer_id) {
            (Some(holder), _) if !self.is_own(holder, new).await? => Err(GatewayError::Refused(
                "The payment method belongs to another customer of Xendit's.".to_owned(),
            )),
            (Some(customer), _) => Ok(Some(customer.to_owned())),
            (None, Some(known)) => Ok(Some(known.clone())),
            (None, None) => Ok(Some(self.customer(new).await?)),
        }
    }

    async fn charge(&self, charge: &Charge) -> Result<ChargeOutcome, GatewayError> {
        let reference = reference(charge.tenant_id, charge.invoice_id, &charge.idempotency_key);
        match &charge.method {
            Some(method) => self.charge_method(charge, method, &reference).await,
            None => self.ask(charge, &reference).await,
        }
    }

    async fn refund(&self, order: &RefundOrder) -> Result<RefundOutcome, GatewayError> {
        let reference = reference(order.tenant_id, order.invoice_id, &order.idempotency_key);
        let of = if order.payment_id.starts_with("pr-") { "payment_request_id" } else { "invoice_id" };
        let known = self.find("/refunds", (of, &order.payment_id), ("reference_id", &reference)).await?;
        if let Some(refund) = known {
            return refund_outcome(&refund);
        }
        let mut body = json!({
            "reference_id": reference,
            "amount": amount(order.amount)?,
            "currency": order.amount.currency().code(),
            "reason": "REQUESTED_BY_CUSTOMER",
        });
        body[of] = json!(order.payment_id);
        let reply = self.order("/refunds", &order.idempotency_key, &body).await?;
        if reply.is_success() {
            return refund_outcome(&reply.body);
        }
        match reply.status {
            400 | 404 => Ok(RefundOutcome::Declined { reason: message(&reply) }),
            _ => Err(refused(&reply)),
        }
    }
}

fn outcome_of(request: &Value, now: DateTime<Utc>) -> Result<ChargeOutcome, GatewayError> {
    Ok(match request["status"].as_str().unwrap_or_default() {
        "SUCCEEDED" => ChargeOutcome::Paid { payment_id: id(request)? },
        "REQUIRES_ACTION" | "PENDING" | "AWAITING_CAPTURE" => {
            let page = request["actions"].as_array().into_iter().flatten().find_map(|a| a["url"].as_str());
            ChargeOutcome::Requested {
                gateway_invoice_id: id(request)?,
                payment_url: page.map(str::to_owned),
                expires_at: now + PROCESSING,
            }
        }
        _ => {
            ChargeOutcome::Declined { reason: explain(request["failure_code"].as_str().unwrap_or_default()) }
        }
    })
}

fn page_outcome(page: &Value) -> Result<ChargeOutcome, GatewayError> {
    Ok(match page["status"].as_str().unwrap_or_default() {
        "PAID" | "SETTLED" => ChargeOutcome::Paid { payment_id: id(page)? },
        "EXPIRED" => ChargeOutcome::Declined { reason: "The payment page has expired.".to_owned() },
        _ => {
            let expires_at = page["expiry_date"].as_str().and_then(|at| at.parse::<DateTime<Utc>>().ok());
            ChargeOutcome::Requested {
                gateway_invoice_id: id(page)?,
                payment_url: page["invoice_url"].as_str().map(str::to_owned),
                expires_at: expires_at.ok_or_else(|| unexpected("an invoice without expiry_date"))?,
            }
        }
    })
}

/// A refund that is pending was accepted; should it fail after all, a callback tells.
fn refund_outcome(refund: &Value) -> Result<RefundOutcome, GatewayError> {
    Ok(match refund["status"].as_str().unwrap_or_default() {
        "FAILED" | "CANCELLED" => {
            let code = refund["failure_code"].as_str().unwrap_or_default();
            RefundOutcome::Declined { reason: explain(code) }
        }
        _ => RefundOutcome::Refunded { refund_id: id(refund)? },
    })
}

fn refused(reply: &Reply) -> GatewayError {
    match reply.status {
        // Our fault and not the customer's, who must not be dunned for it: it is tried again until it is mended.
        401 | 403 => GatewayError::Unavailable("Xendit does not accept the configured secret key".to_owned()),
        // Given before with another payment method, or being carried out: what became of it is looked up later.
        409 => GatewayError::Unavailable("the same order was given before".to_owned()),
        _ => GatewayError::Refused(message(reply)),
    }
}

fn message(reply: &Reply) -> String {
    let message = reply.body["message"].as_str();
    message.map_or_else(|| format!("Xendit answered {}.", reply.status), str::to_owned)
}

fn error_code(reply: &Reply) -> &str {
    reply.body["error_code"].as_str().unwrap_or_default()
}

fn unexpected(what: &str) -> GatewayError {
    GatewayError::Unavailable(format!("Xendit answered {what}"))
}

fn id(object: &Value) -> Result<String, GatewayError> {
    object["id"].as_str().map(str::to_owned).ok_or_else(|| unexpected("without an id"))
}

/// Ids that tenants give us become part of a path: nothing but what ids are made of may get there.
fn segment(id: &str) -> Result<&str, GatewayError> {
    let plain = !id.is_empty() && id.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
    if plain { Ok(id) } else { Err(GatewayError::Refused(format!("Xendit has no payment method {id}."))) }
}

/// Xendit takes numbers in major units. The digits are taken over as they are, not calculated.
fn amount(money: Money) -> Result<Value, GatewayError> {
    let number = serde_json::from_str(&money.amount().normalize().to_string());
    number.map_err(|_| GatewayError::Refused(format!("Xendit can't take {money}.")))
}
