//! The brake on guessing passwords: failures per account and per address within a window, shared by all processes.
//!
//! A failure is counted when it is known, and a success only holds if the limit was not reached meanwhile. So however
//! many guesses run at once, no more than the limit of them learn anything.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::CommandError;
use crate::store::Store;

/// How long a failure counts.
pub const WINDOW: TimeDelta = TimeDelta::minutes(15);
/// Failures of one account within the window.
pub const PER_ACCOUNT: usize = 10;
/// Failures from one address within the window.
pub const PER_ADDRESS: usize = 30;
/// Outdated rows removed with each failure: more than one, so that the table shrinks.
const SWEPT_AT_ONCE: i64 = 20;
/// What one customer of a provider is given in IPv6; counting single addresses would count nothing.
const IPV6_NETWORK_BITS: u32 = 64;

/// Whose accounts are signed in to: an address may exist on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    Tenants,
    Platform,
}

/// One attempt to sign in.
#[derive(Clone, Debug)]
pub struct Attempt {
    counted: Vec<Counted>,
}

#[derive(Clone, Debug)]
struct Counted {
    scope: &'static str,
    key_hash: String,
    limit: usize,
}

impl Attempt {
    /// `email` is trimmed and in lower case. It and the address are kept as keyed hashes.
    #[must_use]
    pub fn new(store: &Store, realm: Realm, email: &str, ip: Option<IpAddr>) -> Self {
        let counted = |scope, key: String, limit| {
            let key_hash = store.vault().fingerprint(&format!("sign-in {scope} {key}"));
            Counted { scope, key_hash, limit }
        };
        let account = match realm {
            Realm::Tenants => counted("account", email.to_owned(), PER_ACCOUNT),
            Realm::Platform => counted("super_admin", email.to_owned(), PER_ACCOUNT),
        };
        let address = ip.map(|ip| counted("address", network(ip).to_string(), PER_ADDRESS));
        Self { counted: std::iter::once(account).chain(address).collect() }
    }

    /// How long to wait before trying again, if the limit is reached.
    ///
    /// # Errors
    /// Database errors.
    pub async fn blocked_for(&self, store: &Store) -> Result<Option<Duration>, CommandError> {
        let now = store.clock().now();
        let mut longest = None;
        for counted in &self.counted {
            let failures: Option<Vec<DateTime<Utc>>> = sqlx::query_scalar(
                "SELECT failed_at FROM sign_in_failures WHERE scope = $1 AND key_hash = $2",
            )
            .bind(counted.scope)
            .bind(&counted.key_hash)
            .fetch_optional(store.pool())
            .await?;
            longest = longest.max(wait(&failures.unwrap_or_default(), counted.limit, now));
        }
        Ok(longest)
    }

    /// Counts a failure. Answers how long to wait if the limit had been reached before it: then it must not be told
    /// that it was one.
    ///
    /// # Errors
    /// Database errors.
    pub async fn failed(&self, store: &Store) -> Result<Option<Duration>, CommandError> {
        let now = store.clock().now();
        let mut longest = None;
        for counted in &self.counted {
            let failures: Vec<DateTime<Utc>> = sqlx::query_scalar(
                "INSERT INTO sign_in_failures AS f (scope, key_hash, failed_at, last_failed_at)
                 VALUES ($1, $2, ARRAY[$3], $3)
                 ON CONFLICT (scope, key_hash) DO UPDATE SET last_failed_at = $3, failed_at =
                     ARRAY(SELECT t FROM unnest(f.failed_at) AS t WHERE t > $4 ORDER BY t) || $3
                 RETURNING failed_at",
            )
            .bind(counted.scope)
            .bind(&counted.key_hash)
            .bind(now)
            .bind(now - WINDOW)
            .fetch_one(store.pool())
            .await?;
            let before = failures.split_last().map_or(&[][..], |(_, before)| before);
            longest = longest.max(wait(before, counted.limit, now));
        }
        sweep(store, now).await?;
        Ok(longest)
    }

    /// Forgets the account's failures. Answers how long to wait if the limit was reached meanwhile: then the success
    /// does not hold.
    ///
    /// # Errors
    /// Database errors.
    pub async fn succeeded(&self, store: &Store) -> Result<Option<Duration>, CommandError> {
        if let Some(wait) = self.blocked_for(store).await? {
            return Ok(Some(wait));
        }
        let account = &self.counted[0];
        sqlx::query("DELETE FROM sign_in_failures WHERE scope = $1 AND key_hash = $2")
            .bind(account.scope)
            .bind(&account.key_hash)
            .execute(store.pool())
            .await?;
        Ok(None)
    }
}

/// Until fewer than `limit` of these failures count.
fn wait(failures: &[DateTime<Utc>], limit: usize, now: DateTime<Utc>) -> Option<Duration> {
    let mut counting: Vec<_> = failures.iter().copied().filter(|at| *at + WINDOW > now).collect();
    counting.sort_unstable();
    let decisive = counting.len().checked_sub(limit)?;
    (*counting.get(decisive)? + WINDOW - now).to_std().ok()
}

fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

async fn sweep(store: &Store, now: DateTime<Utc>) -> Result<(), CommandError> {
    sqlx::query(
        "DELETE FROM sign_in_failures WHERE (scope, key_hash) IN (
             SELECT scope, key_hash FROM sign_in_failures WHERE last_failed_at < $1
             ORDER BY last_failed_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(now - WINDOW)
    .bind(SWEPT_AT_ONCE)
    .execute(store.pool())
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    #[test]
    fn the_limit_holds_until_one_failure_too_many_is_old() {
        assert_eq!(wait(&[at(0), at(1)], 3, at(2)), None);
        assert_eq!(wait(&[at(0), at(1), at(2)], 3, at(2)), Some(Duration::from_secs(13 * 60)));
        assert_eq!(wait(&[at(0), at(1), at(2), at(3)], 3, at(3)), Some(Duration::from_secs(13 * 60)));
        assert_eq!(wait(&[at(0), at(1), at(2)], 3, at(15)), None);
    }

    #[test]
    fn an_ipv6_address_counts_as_its_network() {
        let one: IpAddr = "2001:db8:1:2:3:4:5:6".parse().unwrap();
        assert_eq!(network(one).to_string(), "2001:db8:1:2::");
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(network(mapped).to_string(), "192.0.2.1");
    }
}
