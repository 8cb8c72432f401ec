//! The demo's way in: the public API and the webhook, as anybody's client would use them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use super::APP_SECRET;

const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Speaks to the running server as one person, or as nobody yet.
#[derive(Clone)]
pub struct Client {
    base: String,
    http: reqwest::Client,
    token: String,
}

impl Client {
    pub fn new(base: &str) -> Self {
        let http = reqwest::Client::builder().timeout(CALL_TIMEOUT).build().unwrap_or_default();
        Self { base: base.to_owned(), http, token: String::new() }
    }

    /// The same server as somebody else; `None` where the account does not exist.
    pub async fn sign_in(&self, email: &str, password: &str) -> Result<Option<Self>> {
        let credentials = json!({ "email": email, "password": password });
        let (status, answer) = self.call(Method::POST, "/api/auth/login", Some(&credentials)).await?;
        if status == StatusCode::UNAUTHORIZED {
            return Ok(None);
        }
        ensure!(status.is_success(), "signing in as {email} answered {status}: {answer}");
        self.with_token_of(&answer).map(Some)
    }

    pub fn with_token_of(&self, answer: &Value) -> Result<Self> {
        let token = answer["token"].as_str().context("no token in the answer")?.to_owned();
        Ok(Self { token, ..self.clone() })
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        self.expect(Method::GET, path, None).await
    }

    /// `None` where there is nothing.
    pub async fn find(&self, path: &str) -> Result<Option<Value>> {
        let (status, answer) = self.call(Method::GET, path, None).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        ensure!(status.is_success(), "{path} answered {status}: {answer}");
        Ok(Some(answer))
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.expect(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.expect(Method::PUT, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        self.expect(Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Result<Value> {
        self.expect(Method::DELETE, path, None).await
    }

    /// Signed over the raw bytes, as Meta does.
    pub async fn webhook(&self, body: &Value) -> Result<()> {
        let raw = body.to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(APP_SECRET.as_bytes())?;
        mac.update(raw.as_bytes());
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        let request = self.http.post(format!("{}/webhook", self.base));
        let request =
            request.header("X-Hub-Signature-256", signature).header("Content-Type", "application/json");
        let answer = request.body(raw).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "the webhook answered {status}: {}", answer.text().await?);
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

/// The id of whatever was answered.
pub fn id_of(value: &Value) -> Result<String> {
    let id = value["id"].as_str().map(str::to_owned);
    id.with_context(|| format!("no id in {value}"))
}
