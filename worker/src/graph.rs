//! Meta's Graph API over HTTP.

use std::time::Duration;

use async_trait::async_trait;
use commands::ports::{GraphAccess, GraphApi, GraphError};
use reqwest::{Client, RequestBuilder, redirect};
use serde_json::Value;

/// A call that takes longer is given up; whether Meta has the request is unknown then.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Graph {
    base: String,
    client: Client,
}

impl Graph {
    /// # Errors
    /// When no TLS client can be made.
    pub fn new(base: &str) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("omnistream/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), client })
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{}", self.base, path.trim_start_matches('/'))
    }
}

#[async_trait]
impl GraphApi for Graph {
    async fn get(
        &self,
        access: &GraphAccess,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Value, GraphError> {
        let url = reqwest::Url::parse_with_params(&self.url(path), query)
            .map_err(|e| GraphError::Unreachable(e.to_string()))?;
        call(self.client.get(url).bearer_auth(&access.access_token)).await
    }

    async fn post(&self, access: &GraphAccess, path: &str, body: &Value) -> Result<Value, GraphError> {
        call(self.client.post(self.url(path)).bearer_auth(&access.access_token).json(body)).await
    }
}

async fn call(request: RequestBuilder) -> Result<Value, GraphError> {
    let response = request.send().await.map_err(|error| {
        // Only a connection that was never made proves that nothing arrived.
        if error.is_connect() || error.is_builder() {
            GraphError::Unreachable(error.without_url().to_string())
        } else {
            GraphError::Unknown(error.without_url().to_string())
        }
    })?;
    let status = response.status();
    let text = response.text().await.map_err(|e| GraphError::Unknown(e.without_url().to_string()))?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    if status.is_success() { Ok(body) } else { Err(GraphError::Refused { status: status.as_u16(), body }) }
}
