//! Plays the story over HTTP.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use commands::clock::Clock;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use super::counterpart::Counterpart;
use super::story::{self, CUSTOMERS, Customer, Turn};
use super::{APP_SECRET, EMAIL, PASSWORD, PHONE_NUMBER_ID, VERIFY_TOKEN};

const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long something that happens without an answer may take, such as a message being sent.
const PATIENCE: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub struct Player {
    base: String,
    http: Client,
    clock: Clock,
    token: String,
}

/// What there is after the story.
pub struct Told {
    pub conversations: u64,
    pub messages: u64,
}

impl Player {
    pub fn new(base: &str) -> Self {
        let http = Client::builder().timeout(CALL_TIMEOUT).build().unwrap_or_default();
        Self { base: base.to_owned(), http, clock: Clock::default(), token: String::new() }
    }

    pub async fn play(mut self, counterpart: Counterpart) -> Result<Told> {
        self.sign_in().await?;
        self.connect_number().await?;
        tokio::spawn(self.clone().report_arrivals(counterpart));
        let mut told = Told { conversations: 0, messages: 0 };
        for customer in CUSTOMERS {
            told.messages += self.tell(customer).await?;
            told.conversations += 1;
        }
        Ok(told)
    }

    /// Registers the demo tenant unless it exists.
    async fn sign_in(&mut self) -> Result<()> {
        let credentials = json!({ "email": EMAIL, "password": PASSWORD });
        let (status, answer) = self.call(Method::POST, "/api/auth/login", Some(&credentials)).await?;
        let answer = if status == StatusCode::OK {
            answer
        } else {
            let new = json!({ "org_name": "Toko Maju", "admin_email": EMAIL, "admin_password": PASSWORD });
            self.expect(Method::POST, "/api/auth/register", Some(&new)).await?
        };
        self.token = answer["token"].as_str().context("no token in the answer")?.to_owned();
        Ok(())
    }

    async fn connect_number(&self) -> Result<()> {
        let accounts = self.expect(Method::GET, "/api/integration-accounts?channel=whatsapp", None).await?;
        if accounts.as_array().is_some_and(|accounts| !accounts.is_empty()) {
            return Ok(());
        }
        let account = json!({
            "channel": "whatsapp",
            "display_name": "Toko Maju",
            "config": {
                "phone_number_id": PHONE_NUMBER_ID,
                "waba_id": "200300400500600",
                "access_token": "demo-access-token",
                "app_secret": APP_SECRET,
                "verify_token": VERIFY_TOKEN,
            },
        });
        self.expect(Method::POST, "/api/integration-accounts", Some(&account)).await.map(|_| ())
    }

    /// Plays one conversation; answers how many messages it has.
    async fn tell(&self, customer: &Customer) -> Result<u64> {
        let mut said = 0;
        for (index, turn) in customer.turns.iter().enumerate() {
            match turn {
                Turn::AgentSays(text) => {
                    self.answer(customer, text).await?;
                    said += 1;
                }
                Turn::Tagged(tags) => {
                    let path = format!("/api/conversations/{}/tags", self.conversation(customer).await?);
                    self.expect(Method::PATCH, &path, Some(&json!({ "tags": tags }))).await?;
                }
                Turn::Resolved => {
                    let path = format!("/api/conversations/{}/status", self.conversation(customer).await?);
                    self.expect(Method::PATCH, &path, Some(&json!({ "status": "resolved" }))).await?;
                }
                Turn::Says(_) | Turn::Shows(_) | Turn::At(..) => {
                    self.write_in(customer, index, turn).await?;
                    said += 1;
                }
            }
        }
        Ok(said)
    }

    /// The customer's message arrives, and shows in the inbox.
    async fn write_in(&self, customer: &Customer, index: usize, turn: &Turn) -> Result<()> {
        let external_id = format!("wamid.demo-{}-{index}", customer.phone);
        let now = self.clock.now().timestamp();
        let Some(body) = story::webhook(PHONE_NUMBER_ID, customer, &external_id, now, turn) else {
            return Ok(());
        };
        self.webhook(&body).await?;
        self.until(customer, |message| message["external_id"] == external_id.as_str()).await
    }

    /// The agent answers, and the customer has read it. Once only, however often the demo is played; an answer that a
    /// crash cut off in the middle of its sending has failed, and stays so.
    async fn answer(&self, customer: &Customer, text: &str) -> Result<()> {
        let conversation = self.conversation(customer).await?;
        let is_this = |message: &Value| message["content"]["text"] == text;
        if !self.messages(&conversation).await?.iter().any(is_this) {
            let path = format!("/api/conversations/{conversation}/messages");
            self.expect(Method::POST, &path, Some(&json!({ "type": "text", "content": { "text": text } })))
                .await?;
        }
        self.until(customer, |m| is_this(m) && (m["status"] == "read" || m["status"] == "failed")).await
    }

    /// Whatever arrives at a customer's phone is delivered, and read.
    async fn report_arrivals(self, mut counterpart: Counterpart) {
        while let Some(arrived) = counterpart.arrivals.recv().await {
            for status in ["delivered", "read"] {
                let now = self.clock.now().timestamp();
                let body =
                    story::status(PHONE_NUMBER_ID, &arrived.external_id, &arrived.recipient, status, now);
                if let Err(error) = self.webhook(&body).await {
                    tracing::warn!(%error, "a delivery status of the demo was not taken");
                }
            }
        }
    }

    async fn conversation(&self, customer: &Customer) -> Result<String> {
        let path = format!("/api/conversations?search={}", customer.phone);
        let page = self.expect(Method::GET, &path, None).await?;
        let id = page["conversations"][0]["id"].as_str();
        Ok(id.with_context(|| format!("{} has no conversation", customer.name))?.to_owned())
    }

    async fn messages(&self, conversation: &str) -> Result<Vec<Value>> {
        let path = format!("/api/conversations/{conversation}/messages?limit=100");
        let page = self.expect(Method::GET, &path, None).await?;
        Ok(page["messages"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until the customer's conversation holds such a message.
    async fn until(&self, customer: &Customer, holds: impl Fn(&Value) -> bool) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Ok(conversation) = self.conversation(customer).await
                && self.messages(&conversation).await?.iter().any(&holds)
            {
                return Ok(());
            }
            ensure!(tokio::time::Instant::now() < deadline, "a message of {} got lost", customer.name);
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Signed over the raw bytes, as Meta does.
    async fn webhook(&self, body: &Value) -> Result<()> {
        let raw = body.to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(APP_SECRET.as_bytes())?;
        mac.update(raw.as_bytes());
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        let answer = self
            .http
            .post(format!("{}/webhook", self.base))
            .header("X-Hub-Signature-256", signature)
            .header("Content-Type", "application/json")
            .body(raw)
            .send()
            .await?;
        ensure!(
            answer.status().is_success(),
            "the webhook answered {}: {}",
            answer.status(),
            answer.text().await?
        );
        Ok(())
    }

    async fn expect(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, answer) = self.call(method, path, body).await?;
        ensure!(status.is_success(), "{path} answered {status}: {answer}");
        Ok(answer)
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Value)> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        Ok((status, answer.json().await.unwrap_or_default()))
    }
}
