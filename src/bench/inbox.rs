//! A tenant with a full inbox, made the way customers make one: registration, a WhatsApp account, signed webhooks.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use commands::clock::Clock;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::time::Instant;
use uuid::Uuid;

use super::progress;

pub const APP_SECRET: &str = "bench app secret";
/// Of a database that is gone soon, reachable from this machine only.
pub const SUPER_ADMIN: (&str, &str) = ("bench-root@example.com", "bench platform secret");
pub const PHONE_NUMBER_ID: &str = "620000000000001";
const WABA_ID: &str = "620000000000002";
/// Customers in one webhook; Meta batches alike when there is much to say.
const BATCH: usize = 50;
/// Without a new conversation for this long the program is taken for stuck.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
const PAGE: usize = 100;

/// What a customer writes.
pub struct Said {
    pub customer: usize,
    pub text: String,
}

/// A webhook of the provider's, ready to be sent.
pub struct Delivery {
    body: Vec<u8>,
    signature: String,
}

impl Delivery {
    /// # Errors
    /// When it can't be signed, which no key makes happen.
    pub fn signed(said: &[Said], timestamp: i64) -> Result<Self> {
        let body = serde_json::to_vec(&webhook(said, timestamp))?;
        let mut mac = Hmac::<Sha256>::new_from_slice(APP_SECRET.as_bytes())?;
        mac.update(&body);
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        Ok(Self { body, signature })
    }
}

/// Signed in as the tenant's administrator.
#[derive(Clone)]
pub struct Tenant {
    http: Client,
    base: String,
    token: String,
}

impl Tenant {
    /// # Errors
    /// When the program refuses.
    pub async fn register(base: &str) -> Result<Self> {
        let password = hex::encode(rand::random::<[u8; 16]>());
        Ok(Self::register_as(base, "bench@example.com", &password).await?.0)
    }

    /// Under this name, by which it can sign in later; answers its id too.
    ///
    /// # Errors
    /// When the program refuses.
    pub async fn register_as(base: &str, email: &str, password: &str) -> Result<(Self, Uuid)> {
        let mut tenant = Self::anonymous(base)?;
        let owner = json!({ "org_name": "Toko Maju", "admin_email": email, "admin_password": password });
        let registered = tenant.call(Method::POST, "/api/auth/register", Some(&owner)).await?;
        let id = registered["org_id"].as_str().context("a tenant id")?;
        tenant.lift_limits(id).await?;
        registered["token"].as_str().context("a token")?.clone_into(&mut tenant.token);
        Ok((tenant, id.parse()?))
    }

    /// # Errors
    /// When the program refuses.
    pub async fn sign_in(base: &str, email: &str, password: &str) -> Result<Self> {
        let mut tenant = Self::anonymous(base)?;
        let login = json!({ "email": email, "password": password });
        let signed_in = tenant.call(Method::POST, "/api/auth/login", Some(&login)).await?;
        signed_in["token"].as_str().context("a token")?.clone_into(&mut tenant.token);
        Ok(tenant)
    }

    /// The same tenant, answered before its changes can be read.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn respond_async(&self) -> Result<Self> {
        let prefer = HeaderMap::from_iter([(
            HeaderName::from_static("prefer"),
            HeaderValue::from_static("respond-async"),
        )]);
        let http = Client::builder().timeout(REQUEST_LIMIT).default_headers(prefer).build()?;
        Ok(Self { http, ..self.clone() })
    }

    fn anonymous(base: &str) -> Result<Self> {
        let http = Client::builder().timeout(REQUEST_LIMIT).build()?;
        Ok(Self { http, base: base.to_owned(), token: String::new() })
    }

    /// A plan's limits would end the measurement.
    async fn lift_limits(&mut self, id: &str) -> Result<()> {
        let login = json!({ "email": SUPER_ADMIN.0, "password": SUPER_ADMIN.1 });
        let answer = self.call(Method::POST, "/api/super-admin/login", Some(&login)).await?;
        answer["token"].as_str().context("a token")?.clone_into(&mut self.token);
        let unlimited = json!({ "limits": { "max_contacts": null, "max_messages_month": null } });
        self.call(Method::PATCH, &format!("/api/super-admin/tenants/{id}"), Some(&unlimited)).await?;
        Ok(())
    }

    /// # Errors
    /// Whatever is no 2xx answer.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            bail!("{method} {path} answered {status}: {text}");
        }
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    /// Connects a WhatsApp number; answers the account's id.
    ///
    /// # Errors
    /// When the program refuses.
    pub async fn add_account(&self, phone_number_id: &str, waba_id: &str) -> Result<Uuid> {
        let account = json!({
            "channel": "whatsapp", "display_name": "Toko Maju", "is_default": true,
            "config": { "phone_number_id": phone_number_id, "waba_id": waba_id, "access_token": "bench token" },
        });
        let added = self.call(Method::POST, "/api/integration-accounts", Some(&account)).await?;
        Ok(added["id"].as_str().context("an account's id")?.parse()?)
    }

    /// Lets this many customers write and waits until each has a conversation; answers the conversations' ids.
    ///
    /// # Errors
    /// When a webhook is refused, or the inbox does not fill.
    pub async fn fill_inbox(&self, customers: usize, clock: &Clock) -> Result<Vec<String>> {
        self.add_account(PHONE_NUMBER_ID, WABA_ID).await?;
        let now = clock.now().timestamp();
        let text = || "Halo, apakah barang ini masih ada?".to_owned();
        let said: Vec<Said> = (0..customers).map(|customer| Said { customer, text: text() }).collect();
        for batch in said.chunks(BATCH) {
            self.hear(batch, now).await?;
        }
        self.wait_for(customers).await?;
        let mut ids = Vec::with_capacity(customers);
        for page in 1..=customers.div_ceil(PAGE) {
            let path = format!("/api/conversations?per_page={PAGE}&page={page}");
            let listed = self.call(Method::GET, &path, None).await?;
            let rows = listed["conversations"].as_array().context("a page of conversations")?;
            ids.extend(rows.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)));
        }
        Ok(ids)
    }

    /// The same caller, speaking to another server.
    pub fn elsewhere(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// Delivers messages as the provider would, in one webhook; `timestamp` is its own time, in seconds.
    ///
    /// # Errors
    /// When the webhook is refused.
    pub async fn hear(&self, said: &[Said], timestamp: i64) -> Result<()> {
        self.deliver(&Delivery::signed(said, timestamp)?).await
    }

    /// # Errors
    /// When the webhook is refused.
    pub async fn deliver(&self, Delivery { body, signature }: &Delivery) -> Result<()> {
        let request =
            self.http.post(format!("{}/webhook", self.base)).header("x-hub-signature-256", signature);
        let answer = request.header("content-type", "application/json").body(body.clone()).send().await?;
        if answer.status().is_success() { Ok(()) } else { bail!("the webhook answered {}", answer.status()) }
    }

    async fn wait_for(&self, conversations: usize) -> Result<()> {
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            let listed = self.call(Method::GET, "/api/conversations?per_page=1", None).await?;
            let total = listed["total"].as_u64().context("a total of conversations")?;
            if usize::try_from(total)? >= conversations {
                progress(&format!("{total} conversations are there"));
                return Ok(());
            }
            if total > seen {
                (seen, since) = (total, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                bail!("the inbox stays at {total} of {conversations} conversations");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// These texts in one payload.
fn webhook(said: &[Said], timestamp: i64) -> Value {
    let phone = |said: &Said| format!("62811{:08}", said.customer);
    let contacts: Vec<Value> = said
        .iter()
        .map(|said| {
            json!({ "profile": { "name": format!("Customer {}", said.customer) }, "wa_id": phone(said) })
        })
        .collect();
    let messages: Vec<Value> = said
        .iter()
        .map(|said| {
            json!({
                "from": phone(said), "id": format!("wamid.bench.in.{}", commands::ids::new_id()),
                "timestamp": timestamp.to_string(), "type": "text", "text": { "body": said.text },
            })
        })
        .collect();
    let metadata = json!({ "display_phone_number": "6281100000000", "phone_number_id": PHONE_NUMBER_ID });
    let value = json!({ "messaging_product": "whatsapp", "metadata": metadata, "contacts": contacts, "messages": messages });
    json!({
        "object": "whatsapp_business_account",
        "entry": [{ "id": WABA_ID, "changes": [{ "field": "messages", "value": value }] }],
    })
}
