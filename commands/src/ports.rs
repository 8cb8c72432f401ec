//! What commands need from the outside world; the worker crate implements it over HTTP.

use async_trait::async_trait;
use serde_json::Value;

/// An account's way into Meta's Graph API.
#[derive(Clone, Debug)]
pub struct GraphAccess {
    pub access_token: String,
}

/// Why a Graph call did not give what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GraphError {
    /// Meta answered, and said no. Holds the HTTP status and Meta's body.
    #[error("Meta answered {status}: {body}")]
    Refused { status: u16, body: Value },
    /// The request certainly did not reach Meta.
    #[error("Meta could not be reached: {0}")]
    Unreachable(String),
    /// Nobody knows whether Meta has it: the connection broke or timed out after the request was on its way.
    #[error("Meta did not answer: {0}")]
    Unknown(String),
}

/// Meta's Graph API, relative to the configured base URL.
#[async_trait]
pub trait GraphApi: Send + Sync {
    async fn get(
        &self,
        access: &GraphAccess,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Value, GraphError>;
    async fn post(&self, access: &GraphAccess, path: &str, body: &Value) -> Result<Value, GraphError>;
}
