//! A shop whose history is invented: one tenant, with one account and a team.

use std::collections::BTreeMap;

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use commands::{Store, ids};
use domain::event::{Actor, ActorKind};
use domain::tenant_settings::DEFAULT_TIME_ZONE;
use domain::working_hours::{WorkingHours, parse_time_zone};
use uuid::Uuid;

/// Of the time, in which all customers come: whoever comes last still gets an answer within it.
const ARRIVALS: f64 = 0.97;
const MICROS_PER_SECOND: f64 = 1e6;

#[derive(Clone, Debug)]
pub struct Shop {
    pub tenant_id: Uuid,
    pub account_id: Uuid,
    pub agents: Vec<Uuid>,
    /// Each with a customer of its own.
    pub conversations: u32,
    /// Messages in an ordinary conversation.
    pub messages: u32,
    /// Messages in the first one.
    pub longest: u32,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
}

impl Shop {
    /// One that nobody signs in to, with a team of this size.
    pub fn new(tenant_id: Uuid, agents: usize, (from, to): (DateTime<Utc>, DateTime<Utc>)) -> Self {
        let named = |name: &str| ids::named_id(tenant_id, name);
        Self {
            tenant_id,
            account_id: named("account"),
            agents: (0..agents).map(|n| named(&format!("agent {n}"))).collect(),
            conversations: 0,
            messages: 0,
            longest: 0,
            from,
            to,
        }
    }
}

/// The shop while its history is told.
pub struct Desk {
    pub shop: Shop,
    pub agents: Vec<Actor>,
    pub hours: WorkingHours,
    arrived: u32,
    seed: String,
    ids: u32,
}

impl Desk {
    pub fn new(shop: Shop, seed: u64) -> Result<Self> {
        let named = |(n, id): (usize, &Uuid)| Actor {
            name: Some(format!("Agent {n}")),
            ..Actor::new(ActorKind::Agent, *id)
        };
        Ok(Self {
            agents: shop.agents.iter().enumerate().map(named).collect(),
            hours: WorkingHours::always(parse_time_zone(DEFAULT_TIME_ZONE)?),
            arrived: 0,
            seed: format!("{seed} {}", shop.tenant_id),
            ids: 0,
            shop,
        })
    }

    /// Whoever comes next, by number from 0.
    pub const fn welcome(&mut self) -> u32 {
        self.arrived += 1;
        self.arrived - 1
    }

    /// When the next customer comes, in microseconds of Unix time; nothing once all have come.
    pub fn next_arrival(&self) -> Option<i64> {
        let Shop { conversations, from, to, .. } = &self.shop;
        let part = f64::from(self.arrived) / f64::from(*conversations) * ARRIVALS;
        let after = (*to - *from).as_seconds_f64() * part * MICROS_PER_SECOND;
        let at = *from + TimeDelta::microseconds(after as i64);
        (self.arrived < *conversations).then(|| at.timestamp_micros())
    }

    /// The next id of this history, of that time.
    pub fn new_id(&mut self, at: DateTime<Utc>) -> Uuid {
        self.ids += 1;
        ids::derived_id(at, &self.seed, self.ids)
    }
}

/// A tenant for each log, the same ones for the same seed.
///
/// # Errors
/// Database errors.
pub async fn tenant_of_each_log(store: &Store, seed: u64) -> Result<Vec<Uuid>> {
    let mut tenants = BTreeMap::new();
    for n in 0_u32.. {
        let tenant_id = ids::named_id(Uuid::nil(), &format!("bench tenant {seed} {n}"));
        tenants.entry(store.log_of(tenant_id).await?).or_insert(tenant_id);
        if tenants.len() == store.logs().len() {
            break;
        }
    }
    Ok(tenants.into_values().collect())
}
