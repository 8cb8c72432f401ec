//! Calls that rules make to other people's servers: never to an address inside, never redirected, never for long.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url, redirect};
use serde_json::Value;
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The way out for `call_webhook`.
#[derive(Debug)]
pub struct Webhooks {
    client: Client,
    allow_private: bool,
}

impl Webhooks {
    /// `allow_private` lets it reach addresses inside, for development and tests.
    ///
    /// # Errors
    /// When no TLS client can be made.
    pub fn new(allow_private: bool) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Guard { allow_private }))
            .user_agent(concat!("omnistream/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, allow_private })
    }

    /// Posts once. `id` is the same whenever the same call is repeated, so that a receiver can tell.
    ///
    /// # Errors
    /// Why it did not succeed, for a person.
    pub(super) async fn post(
        &self,
        url: &str,
        headers: &BTreeMap<String, String>,
        id: Uuid,
        body: &Value,
    ) -> Result<(), String> {
        let url = Url::parse(url).map_err(|_| "The address is not a valid URL.".to_owned())?;
        // An address in digits is not looked up, so the resolver never sees it.
        let literal = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        if !self.allow_private && literal.is_some_and(is_private) {
            return Err("The address is a private one.".to_owned());
        }
        let mut request = self.client.post(url).header("webhook-id", id.to_string()).json(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.map_err(|error| describe(&error))?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("The receiver answered {}.", status.as_u16())) }
    }
}

fn describe(error: &reqwest::Error) -> String {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(inner) = cause {
        if inner.is::<PrivateAddress>() {
            return inner.to_string();
        }
        cause = inner.source();
    }
    if error.is_timeout() {
        format!("The receiver did not answer within {} seconds.", TIMEOUT.as_secs())
    } else if error.is_connect() {
        "The receiver could not be reached.".to_owned()
    } else {
        "The connection to the receiver broke off.".to_owned()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("The address leads to a private network.")]
struct PrivateAddress;

/// Looks names up and connects only to what it looked at, so that a name can't change its mind in between.
struct Guard {
    allow_private: bool,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            // One private address among public ones is how a guard is got around.
            if !allow_private && found.iter().any(|address| is_private(address.ip())) {
                return Err(PrivateAddress.into());
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether an address is not one of the public internet.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => is_private_v6(v6),
    }
}

/// IANA's special-purpose registry, as far as it is not globally reachable.
fn is_private_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_unspecified()
        || v4.is_broadcast()
        || v4.is_multicast()
        || v4.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b))
}

fn is_private_v6(v6: Ipv6Addr) -> bool {
    let [a, b, ..] = v6.segments();
    let translated = (a == 0x64 && b == 0xff9b) || a == 0x2002 || (a == 0x2001 && b == 0);
    v6.is_loopback()
        || v6.is_unspecified()
        || v6.is_multicast()
        || v6.is_unique_local()
        || v6.is_unicast_link_local()
        || translated
        || (a == 0x2001 && b == 0x0db8)
        || (a == 0 && b == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_inside_are_told_from_those_outside() {
        let inside = [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ];
        for address in inside {
            assert!(is_private(address.parse().unwrap()), "{address}");
        }
        for address in ["93.184.216.34", "2606:2800:220:1::1", "100.128.0.1", "172.32.0.1"] {
            assert!(!is_private(address.parse().unwrap()), "{address}");
        }
    }

    #[tokio::test]
    async fn a_private_address_is_refused_by_number_and_by_name() {
        let webhooks = Webhooks::new(false).unwrap();
        for url in ["http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost:1/"] {
            let refused = webhooks.post(url, &BTreeMap::new(), Uuid::nil(), &Value::Null).await.unwrap_err();
            assert!(refused.contains("private"), "{url}: {refused}");
        }
    }
}
