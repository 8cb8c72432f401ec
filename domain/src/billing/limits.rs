//! Limits: how much a tenant may have and use under its plan, or without one.

use std::collections::BTreeMap;
use std::fmt;

use rust_decimal::Decimal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::refusal::{FieldProblem, Refusal};

/// What is limited, by its name on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitName {
    MaxAgents,
    /// Nobody is refused for it, as a contact is a customer who has written; that it is exceeded is shown with the usage.
    MaxContacts,
    /// Messages in a calendar month, UTC.
    MaxMessagesMonth,
    /// Connected integration accounts.
    MaxChannels,
    MaxAiAgents,
}

impl LimitName {
    pub const ALL: [Self; 5] =
        [Self::MaxAgents, Self::MaxContacts, Self::MaxMessagesMonth, Self::MaxChannels, Self::MaxAiAgents];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxAgents => "max_agents",
            Self::MaxContacts => "max_contacts",
            Self::MaxMessagesMonth => "max_messages_month",
            Self::MaxChannels => "max_channels",
            Self::MaxAiAgents => "max_ai_agents",
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            Self::MaxAgents => "agents",
            Self::MaxContacts => "contacts",
            Self::MaxMessagesMonth => "messages a month",
            Self::MaxChannels => "channels",
            Self::MaxAiAgents => "AI agents",
        }
    }

    /// What a tenant without a plan has; `None` is no limit.
    #[must_use]
    pub const fn free_tier(self) -> Option<u64> {
        match self {
            Self::MaxAgents => Some(10),
            Self::MaxContacts | Self::MaxMessagesMonth => Some(10_000),
            Self::MaxChannels => None,
            Self::MaxAiAgents => Some(1),
        }
    }
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Limits as a plan states them or a tenant has them: `{"max_agents": 25, "max_channels": null}`. Null and a name that
/// is not there both mean no limit, but only a name that is there overrides another's limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Limits(BTreeMap<LimitName, Option<u64>>);

impl Limits {
    /// What a tenant without a plan has.
    #[must_use]
    pub fn free_tier() -> Self {
        Self(LimitName::ALL.map(|name| (name, name.free_tier())).into())
    }

    /// The limits in force: the tenant's own where it has any, else the plan's, else the free tier's. A plan stands
    /// for all five: what it does not mention it does not limit.
    #[must_use]
    pub fn effective(own: Option<&Self>, plan: Option<&Self>) -> Self {
        let mut limits = plan.cloned().unwrap_or_else(Self::free_tier);
        if let Some(own) = own {
            limits.0.extend(&own.0);
        }
        Self(LimitName::ALL.map(|name| (name, limits.get(name))).into())
    }

    /// Reads the `limits` of a request. Values are whole numbers from 0 or null.
    ///
    /// # Errors
    /// A problem for each unknown name and each value that is no limit, under `field`.
    pub fn parse(field: &str, object: &Map<String, Value>) -> Result<Self, Vec<FieldProblem>> {
        let mut limits = Self::default();
        let mut problems = Vec::new();
        for (key, value) in object {
            let path = format!("{field}.{key}");
            let known = LimitName::ALL.into_iter().find(|name| name.as_str() == key);
            match (known, value.as_u64()) {
                (None, _) => problems.push(FieldProblem::new(path, "is not a known limit")),
                (Some(name), Some(allowed)) => limits = limits.with(name, Some(allowed)),
                (Some(name), None) if value.is_null() => limits = limits.with(name, None),
                (Some(_), None) => {
                    problems.push(FieldProblem::new(path, "must be a whole number from 0, or null"))
                }
            }
        }
        if problems.is_empty() { Ok(limits) } else { Err(problems) }
    }

    #[must_use]
    pub fn with(mut self, name: LimitName, allowed: Option<u64>) -> Self {
        self.0.insert(name, allowed);
        self
    }

    /// `None` is no limit.
    #[must_use]
    pub fn get(&self, name: LimitName) -> Option<u64> {
        self.0.get(&name).copied().flatten()
    }

    /// Whether `adding` more fit when there are `current`. Adding nothing always fits: a tenant that is over its limit
    /// after a downgrade keeps what it has.
    ///
    /// # Errors
    /// [`LimitReached`].
    pub fn check(&self, name: LimitName, current: u64, adding: u64) -> Result<(), LimitReached> {
        match self.get(name) {
            Some(allowed) if adding > 0 && current.saturating_add(adding) > allowed => {
                Err(LimitReached { name, allowed, current })
            }
            _ => Ok(()),
        }
    }

    /// As [`Limits::check`] for messages: where the plan has a price for messages above its limit they are charged
    /// for and not refused.
    ///
    /// # Errors
    /// [`LimitReached`].
    pub fn check_messages(
        &self,
        overage_rate: Decimal,
        current: u64,
        adding: u64,
    ) -> Result<(), LimitReached> {
        if overage_rate > Decimal::ZERO {
            Ok(())
        } else {
            self.check(LimitName::MaxMessagesMonth, current, adding)
        }
    }

    /// The part of `used` that is above the limit.
    #[must_use]
    pub fn overage(&self, name: LimitName, used: u64) -> u64 {
        self.get(name).map_or(0, |allowed| used.saturating_sub(allowed))
    }
}

/// The names are left open: one more limit does not make another schema of every plan's events.
impl JsonSchema for Limits {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Limits".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": ["integer", "null"], "minimum": 0 },
            "examples": [{ "max_agents": 25, "max_channels": null }],
        })
    }
}

/// Refused because the plan does not allow for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The plan's limit {name} is reached: {allowed} {} are allowed and there are {current}.", name.noun())]
pub struct LimitReached {
    pub name: LimitName,
    pub allowed: u64,
    pub current: u64,
}

impl From<LimitReached> for Refusal {
    fn from(reached: LimitReached) -> Self {
        Self::conflict("limit_reached", reached.to_string())
    }
}
