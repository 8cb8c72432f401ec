//! Where the program may connect to when somebody else names the address: the public internet, and nothing else.
//!
//! A URL is checked when it is written down and again at every connection. The first is a service to whoever writes it;
//! only the second protects, because a name may lead somewhere else a moment later. So the outbound client takes its
//! addresses from [`Guard::addresses`], which judges the very addresses that are then connected to.

pub mod address;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use url::{Host, Url};

/// Characters of a URL.
pub const URL_MAX_CHARS: usize = 2048;
/// How long a look-up may take while somebody waits to write a URL down.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(3);

/// Why a URL is not connected to. Reads as what follows a field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("must be an http:// or https:// address of at most {URL_MAX_CHARS} characters")]
    Form,
    #[error("must not hold a user name or password")]
    Credentials,
    #[error("must not lead to a private, loopback, link-local or otherwise reserved address")]
    Private,
}

/// Turns names into addresses.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// # Errors
    /// When the name has no address, or nobody could be asked.
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// As the operating system does it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|found| found.ip()).collect())
    }
}

/// A name's addresses could not be had, or may not be used.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("the address {0}")]
    Refused(#[from] Refused),
    #[error(transparent)]
    Unknown(#[from] std::io::Error),
}

/// Judges where URLs lead. Cheap to clone.
#[derive(Clone)]
pub struct Guard {
    allow_private: bool,
    lookup: Arc<dyn Lookup>,
}

impl Guard {
    /// `allow_private` lets everything pass that is a URL (`OMNISTREAM_ALLOW_PRIVATE_ADDRESSES`).
    #[must_use]
    pub fn new(allow_private: bool) -> Self {
        Self::with_lookup(allow_private, Arc::new(SystemLookup))
    }

    #[must_use]
    pub fn with_lookup(allow_private: bool, lookup: Arc<dyn Lookup>) -> Self {
        Self { allow_private, lookup }
    }

    /// A URL as it will be connected to, as far as that can be said without asking anybody: numbers are judged in all
    /// their spellings, names are not yet looked up.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn parse(&self, text: &str) -> Result<Url, Refused> {
        // The parser itself would quietly drop tabs and line breaks.
        if text.chars().count() > URL_MAX_CHARS || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Refused::Form);
        }
        let url = Url::parse(text).map_err(|_| Refused::Form)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Form);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Credentials);
        }
        let is_private = match url.host().ok_or(Refused::Form)? {
            Host::Ipv4(v4) => !address::is_public(v4.into()),
            Host::Ipv6(v6) => !address::is_public(v6.into()),
            Host::Domain(name) => is_local_name(name),
        };
        if is_private && !self.allow_private { Err(Refused::Private) } else { Ok(url) }
    }

    /// Checks a URL that somebody writes down. A name that has no address yet passes: it may get one, and every
    /// connection looks again.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn check(&self, text: &str) -> Result<(), Refused> {
        let url = self.parse(text)?;
        let Some(Host::Domain(name)) = url.host() else { return Ok(()) };
        match tokio::time::timeout(LOOKUP_PATIENCE, self.addresses(name)).await {
            Ok(Err(LookupError::Refused(refused))) => Err(refused),
            Ok(Ok(_) | Err(LookupError::Unknown(_))) | Err(_) => Ok(()),
        }
    }

    /// The addresses of a name, all of them public: one private address among others is how a guard is got around.
    ///
    /// # Errors
    /// When one is not public, or there is none.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        if self.allow_private {
            return Ok(self.lookup.lookup(name).await?);
        }
        if is_local_name(name) {
            return Err(Refused::Private.into());
        }
        let found = self.lookup.lookup(name).await?;
        if found.iter().all(|address| address::is_public(*address)) {
            Ok(found)
        } else {
            Err(Refused::Private.into())
        }
    }
}

/// Names that mean this machine whatever anybody answers (RFC 6761, 6.3).
fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
