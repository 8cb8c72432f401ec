//! One thing that happened and may set rules off: an item of the queue, from the snapshot of its facts to its end.
//!
//! An item goes through rounds. The first evaluates the rules of that time; each reprocessing is another round with the
//! rules of its own time. Within a round the rules stay as they were first evaluated, and further attempts do only what
//! has not been done. Whatever was done for a rule and the index of an action is never done again, in no round.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::automation::evaluate::ConditionReport;
use crate::automation::{Action, Conditions, SkipReason, TriggerType};
use crate::event::{Context, EventBody};
use crate::personal::Personal;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum AutomationItemEvent {
    #[serde(rename = "automation_item.enqueued")]
    Enqueued(Box<Enqueued>),
    /// A worker has begun an attempt; of several, only the last one that began may record what it did.
    #[serde(rename = "automation_item.started")]
    Started { step: Step, attempt: u32 },
    #[serde(rename = "automation.rule_ran")]
    RuleRan(Box<RuleRan>),
    /// Something did not take effect; another attempt follows.
    #[serde(rename = "automation_item.attempt_failed")]
    AttemptFailed { step: Step, error: String, next_at: DateTime<Utc> },
    #[serde(rename = "automation_item.processed")]
    Processed { step: Step },
    #[serde(rename = "automation_item.failed")]
    Failed { step: Step, error: String },
    /// Someone wants the failed item tried again.
    #[serde(rename = "automation_item.retried")]
    Retried { step: Step },
    /// Someone wants it evaluated with the rules of now.
    #[serde(rename = "automation_item.reprocess_requested")]
    ReprocessRequested { step: Step, round: u32 },
    /// Reprocessed during a pause: nothing was done, and the item is again what it was.
    #[serde(rename = "automation_item.held")]
    Held { step: Step, status: ItemStatus },
    /// Cleaned up. What it did stays recorded.
    #[serde(rename = "automation_item.removed")]
    Removed { step: Step },
}

impl EventBody for AutomationItemEvent {
    fn schema_version(event_type: &str) -> i16 {
        if event_type == "automation.rule_ran" { 2 } else { 1 }
    }
}

/// What counting needs to know of an item when it changes, so that counts follow from the event alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    pub trigger: TriggerType,
    pub enqueued_at: DateTime<Utc>,
    /// What it was before.
    pub from: ItemStatus,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Enqueued {
    pub trigger: TriggerType,
    pub conversation_id: Uuid,
    pub contact_id: Uuid,
    /// The event that set it off.
    pub source_event_id: Uuid,
    /// Of the request that led to that event.
    pub correlation_id: Uuid,
    pub source: ItemSource,
    /// The facts at that moment, as the API shows them.
    pub payload: Personal<Value>,
    /// Hex SHA-256 of the payload's canonical form.
    pub payload_hash: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemSource {
    #[default]
    Stream,
    Manual,
    Replay,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    #[default]
    Pending,
    Processing,
    Done,
    Failed,
}

impl ItemStatus {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// What became of one rule, with the rule as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RuleRan {
    pub run_id: Uuid,
    pub rule_id: Uuid,
    pub rule: RecordedRule,
    pub trigger: TriggerType,
    pub source: ItemSource,
    pub conversation_id: Uuid,
    pub contact_id: Uuid,
    /// When the rule was judged: further attempts of the run keep it.
    pub evaluated_at: DateTime<Utc>,
    /// Recorded before: this says what a further attempt has changed.
    pub repeated: bool,
    pub matched: bool,
    /// Every action took effect.
    pub executed: bool,
    /// The gate that kept the rule from acting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_reason: Option<SkipReason>,
    pub checks: Vec<ConditionReport>,
    pub actions: Vec<ActionRecord>,
    /// Of this attempt.
    pub duration_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedRule {
    pub name: String,
    pub conditions: Conditions,
    pub actions: Vec<Action>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionRecord {
    /// The wire name: `send_message`.
    #[serde(rename = "type")]
    pub kind: String,
    pub outcome: ActionOutcome,
    /// Why it failed or was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// It failed for a reason that does not pass by itself; further attempts leave it alone until somebody retries.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub permanent: bool,
    pub duration_ms: i64,
    /// Where in the log its effect stands; none when it was already so, or took effect outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
    /// The action with its placeholders filled.
    pub rendered: Personal<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionOutcome {
    Done,
    /// It took effect in an earlier attempt or round.
    AlreadyDone,
    Failed,
    Skipped,
}

impl ActionOutcome {
    #[must_use]
    pub const fn took_effect(self) -> bool {
        matches!(self, Self::Done | Self::AlreadyDone)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AutomationItem {
    pub facts: Option<Enqueued>,
    pub status: ItemStatus,
    /// Of this round, since the last retry.
    pub attempts: u32,
    /// 0 for the first.
    pub round: u32,
    /// What the item was before it was asked to be reprocessed; set while it is.
    pub reprocessed_from: Option<ItemStatus>,
    /// What was recorded in this round, by rule.
    pub runs: BTreeMap<Uuid, RuleRan>,
    /// The order in which the rules of this round were judged.
    pub order: Vec<Uuid>,
    /// Of all rounds: for each rule, the actions that took effect, and where.
    pub done: BTreeMap<Uuid, BTreeMap<usize, Option<i64>>>,
    pub available_at: Option<DateTime<Utc>>,
    pub enqueued_at: Option<DateTime<Utc>>,
    pub removed: bool,
    /// The version with which the attempt began that is under way, or the first of those that were interrupted one after
    /// the other.
    #[serde(skip)]
    pub begun: i64,
}

/// The item of a trigger and the event that set it off: one, however often the event is delivered.
#[must_use]
pub fn item_id(tenant_id: Uuid, trigger: TriggerType, source_event_id: Uuid) -> Uuid {
    Uuid::new_v5(&tenant_id, format!("automation item {trigger} {source_event_id}").as_bytes())
}

/// The key under which an action takes effect once.
#[must_use]
pub fn action_key(item_id: Uuid, rule_id: Uuid, index: usize) -> Uuid {
    Uuid::new_v5(&item_id, format!("{rule_id} {index}").as_bytes())
}

/// The run of a rule in a round.
#[must_use]
pub fn run_id(item_id: Uuid, rule_id: Uuid, round: u32) -> Uuid {
    Uuid::new_v5(&item_id, format!("run {rule_id} {round}").as_bytes())
}

impl AutomationItem {
    /// The step that a change from here is.
    #[must_use]
    pub fn step(&self) -> Option<Step> {
        Some(Step {
            trigger: self.facts.as_ref()?.trigger,
            enqueued_at: self.enqueued_at?,
            from: self.status,
        })
    }

    /// Where an action took effect, if it did; the inner value is empty where that left no event.
    #[must_use]
    pub fn done(&self, rule_id: Uuid, index: usize) -> Option<Option<i64>> {
        self.done.get(&rule_id)?.get(&index).copied()
    }

    /// The record of an action that this series of attempts has given up.
    #[must_use]
    pub fn given_up(&self, rule_id: Uuid, index: usize) -> Option<&ActionRecord> {
        self.runs.get(&rule_id)?.actions.get(index).filter(|action| action.permanent)
    }

    fn record(&mut self, run: &RuleRan) {
        for (index, action) in run.actions.iter().enumerate().filter(|(_, a)| a.outcome.took_effect()) {
            self.done.entry(run.rule_id).or_default().entry(index).or_insert(action.position);
        }
        if self.runs.insert(run.rule_id, run.clone()).is_none() {
            self.order.push(run.rule_id);
        }
    }
}

impl Aggregate for AutomationItem {
    const STREAM: &'static str = "automation_item";
    const HOLDS_PERSONAL_DATA: bool = true;
    type Event = AutomationItemEvent;

    fn evolve(&mut self, event: &AutomationItemEvent, context: Context) {
        match event {
            AutomationItemEvent::Enqueued(facts) => {
                *self = Self {
                    facts: Some((**facts).clone()),
                    available_at: Some(context.at),
                    enqueued_at: Some(context.at),
                    ..Self::default()
                };
            }
            AutomationItemEvent::Started { attempt, .. } => {
                if self.status != ItemStatus::Processing {
                    self.begun = context.version;
                }
                self.status = ItemStatus::Processing;
                self.attempts = *attempt;
            }
            AutomationItemEvent::RuleRan(run) => self.record(run),
            AutomationItemEvent::AttemptFailed { next_at, .. } => {
                self.status = ItemStatus::Pending;
                self.available_at = Some(*next_at);
            }
            AutomationItemEvent::Processed { .. } => self.settle(ItemStatus::Done),
            AutomationItemEvent::Failed { .. } => self.settle(ItemStatus::Failed),
            AutomationItemEvent::Held { status, .. } => self.settle(*status),
            AutomationItemEvent::Retried { .. } => {
                self.runs
                    .values_mut()
                    .flat_map(|run| &mut run.actions)
                    .for_each(|action| action.permanent = false);
                self.queue_again(context.at);
            }
            AutomationItemEvent::ReprocessRequested { round, .. } => {
                self.reprocessed_from = Some(self.reprocessed_from.unwrap_or(self.status));
                self.round = *round;
                self.runs.clear();
                self.order.clear();
                self.queue_again(context.at);
            }
            AutomationItemEvent::Removed { .. } => self.removed = true,
        }
    }

    fn exists(&self) -> bool {
        self.facts.is_some() && !self.removed
    }
}

impl AutomationItem {
    fn settle(&mut self, status: ItemStatus) {
        self.status = status;
        self.reprocessed_from = None;
        if status == ItemStatus::Pending {
            // Held: what the pause kept from being judged is judged when it ends.
            self.attempts = 0;
            self.round += 1;
            self.runs.clear();
            self.order.clear();
        }
    }

    fn queue_again(&mut self, at: DateTime<Utc>) {
        self.status = ItemStatus::Pending;
        self.attempts = 0;
        self.available_at = Some(at);
    }
}
