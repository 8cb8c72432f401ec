//! Calls to a gateway: what certainly failed, what nobody knows, and what the gateway answered.

use std::time::Duration;

use commands::payment_gateway::GatewayError;
use reqwest::{Client, RequestBuilder, StatusCode, Url, redirect};
use serde_json::Value;

/// A call that takes longer is given up; whether the gateway has carried it out is unknown then. Two of them fit into
/// the time that a request to us may take.
const TIMEOUT: Duration = Duration::from_secs(12);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An order is given this often under its key before it is left to be given again later.
const TRIES: u32 = 2;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Http {
    base: String,
    client: Client,
}

/// An answer that is the gateway's word on the matter.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: u16,
    pub body: Value,
}

impl Reply {
    pub(super) const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }
}

impl Http {
    pub(super) fn new(base: &str) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("omnistream/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), client })
    }

    /// Asks; nothing changes by it.
    pub(super) async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
        sign: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Reply, GatewayError> {
        let url = Url::parse_with_params(&format!("{}{path}", self.base), query)
            .map_err(|error| GatewayError::Refused(format!("its address is not valid: {error}")))?;
        send(sign(self.client.get(url))).await
    }

    /// Gives an order. `fill` adds body, credentials and the idempotency key; without a key [`Http::order_once`] must be
    /// used, as a lost answer is asked for by giving the same order again.
    pub(super) async fn order(
        &self,
        path: &str,
        fill: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Reply, GatewayError> {
        let mut tries = 1;
        loop {
            match self.order_once(path, &fill).await {
                Err(GatewayError::Unavailable(_)) if tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                settled => return settled,
            }
        }
    }

    /// Gives an order that the gateway would carry out again if it came again.
    pub(super) async fn order_once(
        &self,
        path: &str,
        fill: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Reply, GatewayError> {
        send(fill(self.client.post(format!("{}{path}", self.base)))).await
    }
}

async fn send(request: RequestBuilder) -> Result<Reply, GatewayError> {
    let lost = |error: reqwest::Error| GatewayError::Unavailable(error.without_url().to_string());
    let response = request.send().await.map_err(lost)?;
    let status = response.status();
    let text = response.text().await.map_err(lost)?;
    // After a failure on its side nobody knows how far it had got.
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(GatewayError::Unavailable(format!("it answered {}", status.as_u16())));
    }
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Reply { status: status.as_u16(), body })
}
