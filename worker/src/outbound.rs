//! Calls to servers that somebody else names: only to public addresses, never redirected, never for long, and never
//! more read of an answer than is of use.
//!
//! The client has no way to addresses but through the guard: a name is looked up and judged at each connection, and the
//! connection goes to what was judged. An address in digits is judged before. No proxy is used, because it would look
//! names up by itself.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use commands::outbound::{Guard, LookupError, Refused};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, redirect};

/// From looking the name up to the last byte of the answer that is read.
pub const TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read; a receiver's error message fits, a flood does not.
pub const ANSWER_MAX_BYTES: usize = 4096;

/// The way out.
pub struct Outbound {
    guard: Guard,
    client: Client,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub status: u16,
    /// As sent: seconds or a date.
    pub retry_after: Option<String>,
    /// The beginning, at most [`ANSWER_MAX_BYTES`] long; what is no text is replaced.
    pub body: String,
}

/// Why there is no answer, for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error("The address {0}.")]
    Refused(#[from] Refused),
    #[error("The receiver did not answer within {} seconds.", TIMEOUT.as_secs())]
    TimedOut,
    #[error("The receiver could not be reached.")]
    Unreachable,
    #[error("The connection to the receiver broke off.")]
    BrokeOff,
}

impl Outbound {
    /// # Errors
    /// When no TLS client can be made.
    pub fn new(guard: Guard) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Judged(guard.clone())))
            .user_agent(concat!("omnistream/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { guard, client })
    }

    /// Posts once.
    ///
    /// # Errors
    /// Why there is no answer; the server may have the request nevertheless, unless it was refused or unreachable.
    pub async fn post(&self, url: &str, headers: HeaderMap, body: Vec<u8>) -> Result<Received, Unanswered> {
        let url = self.guard.parse(url)?;
        let answer = self.client.post(url).headers(headers).body(body).send().await;
        let answer = answer.map_err(|error| unanswered(&error))?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        Ok(Received { status, retry_after, body: beginning_of(answer).await })
    }
}

/// What can be had of an answer's body: the status counts, so a body that breaks off is no failure.
async fn beginning_of(mut answer: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_MAX_BYTES {
        match answer.chunk().await {
            Ok(Some(chunk)) => {
                bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER_MAX_BYTES - bytes.len())])
            }
            Ok(None) | Err(_) => break,
        }
    }
    // The database keeps no NUL in text.
    String::from_utf8_lossy(&bytes).replace('\0', "\u{fffd}")
}

fn unanswered(error: &reqwest::Error) -> Unanswered {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(inner) = cause {
        if let Some(LookupError::Refused(refused)) = inner.downcast_ref() {
            return Unanswered::Refused(*refused);
        }
        cause = inner.source();
    }
    if error.is_timeout() {
        Unanswered::TimedOut
    } else if error.is_connect() {
        Unanswered::Unreachable
    } else {
        Unanswered::BrokeOff
    }
}

/// Gives the client only addresses that were judged.
struct Judged(Guard);

impl Resolve for Judged {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let addresses = guard.addresses(name.as_str()).await?;
            // Port 0 stands for the URL's own.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests;
