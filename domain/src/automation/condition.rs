//! Conditions: what must be true of the facts for a rule to match. All must hold; none means always.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use uuid::Uuid;

use super::facts::{CHANNELS, Facts, STATUSES, fold_tag};
use super::fields::{Fields, Problems, boolean, filled_text, item, items, one_of, settle, uuid};
use crate::channel::Channel;
use crate::conversation::ConversationStatus;
use crate::tag::MAX_TAG_CHARS;

/// Entries in one list of a condition.
pub const MAX_LIST: usize = 100;

/// One condition, named on the wire as the contract's `RuleConditions` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    ChannelIn(Vec<Channel>),
    StatusIn(Vec<ConversationStatus>),
    /// True: nobody is assigned. False: somebody is.
    AssignedIsNull(bool),
    HasAnyTags(Vec<Tag>),
    DivisionIdIn(Vec<Uuid>),
    /// True: only while the working hours are open. False asks for nothing.
    BusinessHoursOnly(bool),
}

/// A tag as it was written, and as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    text: String,
    folded: String,
}

impl From<&str> for Tag {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), folded: fold_tag(text) }
    }
}

impl Serialize for Tag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl Condition {
    /// The wire name: `channel_in`, `status_in` …
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ChannelIn(_) => "channel_in",
            Self::StatusIn(_) => "status_in",
            Self::AssignedIsNull(_) => "assigned_is_null",
            Self::HasAnyTags(_) => "has_any_tags",
            Self::DivisionIdIn(_) => "division_id_in",
            Self::BusinessHoursOnly(_) => "business_hours_only",
        }
    }

    /// Whether it is true of these facts. An empty list asks for nothing, as empty conditions do.
    #[must_use]
    pub fn holds(&self, facts: &Facts) -> bool {
        match self {
            Self::ChannelIn(channels) => allows(channels, facts.channel),
            Self::StatusIn(statuses) => allows(statuses, facts.status),
            Self::AssignedIsNull(wanted) => facts.agent_id.is_none() == *wanted,
            Self::HasAnyTags(tags) => {
                tags.is_empty() || tags.iter().any(|tag| facts.tags.contains(&tag.folded))
            }
            Self::DivisionIdIn(divisions) => allows(divisions, facts.division_id),
            Self::BusinessHoursOnly(only) => !only || facts.business_hours_open,
        }
    }

    /// What it asks for, as on the wire.
    #[must_use]
    pub fn expected(&self) -> Value {
        match self {
            Self::ChannelIn(channels) => json!(channels),
            Self::StatusIn(statuses) => json!(statuses),
            Self::AssignedIsNull(flag) | Self::BusinessHoursOnly(flag) => json!(flag),
            Self::HasAnyTags(tags) => json!(tags),
            Self::DivisionIdIn(divisions) => json!(divisions),
        }
    }

    /// What it found in the facts; null where they say nothing.
    #[must_use]
    pub fn actual(&self, facts: &Facts) -> Value {
        match self {
            Self::ChannelIn(_) => json!(facts.channel),
            Self::StatusIn(_) => json!(facts.status),
            Self::AssignedIsNull(_) => json!(facts.agent_id.is_none()),
            Self::HasAnyTags(_) => json!(facts.tags),
            Self::DivisionIdIn(_) => json!(facts.division_id),
            Self::BusinessHoursOnly(_) => json!(facts.business_hours_open),
        }
    }
}

fn allows<T: PartialEq>(list: &[T], fact: Option<T>) -> bool {
    list.is_empty() || fact.is_some_and(|fact| list.contains(&fact))
}

/// A rule's conditions, in the contract's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions(Vec<Condition>);

impl Conditions {
    /// Reads `RuleConditions`.
    ///
    /// # Errors
    /// Unknown fields and words and wrong types, each named (`conditions.status_in[0]`).
    pub fn parse(value: &Value) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let conditions = Self::read(value, "conditions", &mut problems);
        settle(conditions, problems)
    }

    pub(super) fn read(value: &Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(value, path, problems)?;
        let channels = fields.nested("channel_in", |value, path, problems| {
            items(value, path, MAX_LIST, problems, item(one_of(CHANNELS)))
        });
        let statuses = fields.nested("status_in", |value, path, problems| {
            items(value, path, MAX_LIST, problems, item(one_of(STATUSES)))
        });
        let unassigned = fields.optional("assigned_is_null", boolean);
        let tags = fields.nested("has_any_tags", |value, path, problems| {
            items(value, path, MAX_LIST, problems, item(|tag| filled_text(MAX_TAG_CHARS)(tag).map(Tag::from)))
        });
        let divisions = fields.nested("division_id_in", |value, path, problems| {
            items(value, path, MAX_LIST, problems, item(uuid))
        });
        let business_hours = fields.optional("business_hours_only", boolean);
        fields.finish();
        let list = [
            channels.map(Condition::ChannelIn),
            statuses.map(Condition::StatusIn),
            unassigned.map(Condition::AssignedIsNull),
            tags.map(Condition::HasAnyTags),
            divisions.map(Condition::DivisionIdIn),
            business_hours.map(Condition::BusinessHoursOnly),
        ];
        Some(Self(list.into_iter().flatten().collect()))
    }

    #[must_use]
    pub fn hold(&self, facts: &Facts) -> bool {
        self.0.iter().all(|condition| condition.holds(facts))
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Condition> {
        self.0.iter()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'c> IntoIterator for &'c Conditions {
    type Item = &'c Condition;
    type IntoIter = std::slice::Iter<'c, Condition>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// As on the wire: `RuleConditions` of the contract.
impl JsonSchema for Conditions {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Conditions".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                "channel_in": generator.subschema_for::<Vec<Channel>>(),
                "status_in": generator.subschema_for::<Vec<ConversationStatus>>(),
                "assigned_is_null": generator.subschema_for::<bool>(),
                "has_any_tags": generator.subschema_for::<Vec<String>>(),
                "division_id_in": generator.subschema_for::<Vec<Uuid>>(),
                "business_hours_only": generator.subschema_for::<bool>(),
            },
        })
    }
}

impl Serialize for Conditions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for condition in self {
            map.serialize_entry(condition.name(), &condition.expected())?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Conditions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::parse(&value).map_err(|problems| match problems.first() {
            Some(problem) => D::Error::custom(format!("{} {}", problem.field, problem.message)),
            None => D::Error::custom("not conditions"),
        })
    }
}
