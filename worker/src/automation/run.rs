//! One attempt at one item: judge, act, record. What is recorded is fenced by the item's version: a worker that stalled
//! and was replaced can't record anything any more, and what it did bears the same command ids as what its successor does.

use commands::automation_item::{self, Verdict};
use commands::failpoint::{self, Failpoint};
use commands::store::{HEAD, Origin};
use commands::{CommandError, ids};
use domain::aggregate::Aggregate;
use domain::automation::retry::{MAX_ATTEMPTS, is_stale, retry_delay};
use domain::automation_item::{
    ActionOutcome, ActionRecord, AutomationItem, Enqueued, ItemStatus, RuleRan, run_id,
};
use domain::event::{Actor, Metadata};
use domain::personal::Personal;
use domain::refusal::Reason;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::Engine;
use super::act::{Acting, act};
use super::failure::Failure;
use super::plan::{self, Plan, Planned, Standing};

const ERASED: &str = "The contact was erased before the rules were judged.";
const INTERRUPTED: &str = "Its last attempt was interrupted.";

/// An item as an attempt finds it.
struct Found {
    tenant_id: Uuid,
    item_id: Uuid,
    version: i64,
    item: AutomationItem,
    facts: Enqueued,
}

impl Engine {
    /// Does what is due for an item; answers the position that the read model must have passed before the item can be
    /// looked for again.
    pub(super) async fn work(&self, tenant_id: Uuid, item_id: Uuid) -> Result<i64, CommandError> {
        let log_id = self.store.log_of(tenant_id).await?;
        let worked = match self.find(tenant_id, item_id).await? {
            Some(found) => self.attempt(found).await,
            None => Ok(None),
        };
        match worked {
            Ok(Some(position)) => return Ok(position),
            // Another worker has the item; what it records counts.
            Err(CommandError::Refused(refusal)) if refusal.reason == Reason::Stale => {}
            Ok(None) => {}
            Err(error) => return Err(error),
        }
        // The read model is behind: it shows as due what is not.
        Ok(*self.store.progress().follow(HEAD, log_id).borrow())
    }

    /// Nothing if the item is to wait; otherwise the last position written.
    async fn attempt(&self, found: Found) -> Result<Option<i64>, CommandError> {
        let unjudged = |planned: &[Planned]| -> Vec<RuleRan> {
            planned.iter().map(|rule| ran(&found, rule, Vec::new(), 0)).collect()
        };
        let position = match self.plan(&found).await {
            Ok(Plan::Wait) => return Ok(None),
            Ok(Plan::Erased) => self.judge(&found, &[], &given_up(ERASED)).await,
            // Whoever began the last attempt did not come back from it.
            Ok(_) if found.item.attempts >= MAX_ATTEMPTS => {
                self.judge(&found, &[], &given_up(INTERRUPTED)).await
            }
            Ok(Plan::Hold(planned)) => self.judge(&found, &unjudged(&planned), &Verdict::Held).await,
            Ok(Plan::Run(planned)) if planned.iter().all(|rule| rule.actions.is_empty()) => {
                self.judge(&found, &unjudged(&planned), &Verdict::Done).await
            }
            Ok(Plan::Run(planned)) => self.carry_out(found, planned).await,
            Err(error) => {
                tracing::warn!(item_id = %found.item_id, %error, "an automation item could not be judged");
                let verdict = self.failure(error.to_string(), found.item.attempts + 1);
                self.judge(&found, &[], &verdict).await
            }
        };
        position.map(Some)
    }

    async fn find(&self, tenant_id: Uuid, item_id: Uuid) -> Result<Option<Found>, CommandError> {
        // Read anew: the facts may have been erased since anybody remembered them.
        let (item, version) = self.store.reload::<AutomationItem>(tenant_id, item_id).await?;
        let open = matches!(item.status, ItemStatus::Pending | ItemStatus::Processing) && item.exists();
        let facts = item.facts.clone().filter(|_| open);
        Ok(facts.map(|facts| Found { tenant_id, item_id, version, item, facts }))
    }

    async fn plan(&self, found: &Found) -> Result<Plan, CommandError> {
        let Found { tenant_id, item_id, item, facts, .. } = found;
        let set = self.rules.of(&self.store, *tenant_id).await?;
        let (store, now) = (&self.store, self.store.clock().now());
        plan::make(&Standing { store, set: &set, tenant_id: *tenant_id, item_id: *item_id, item, facts, now })
            .await
    }

    /// Records in one go what needed no doing.
    async fn judge(&self, found: &Found, runs: &[RuleRan], verdict: &Verdict) -> Result<i64, CommandError> {
        let now = self.store.clock().now();
        let judged = |state: &AutomationItem| automation_item::judge(state, runs, verdict, now);
        let done = self.store.execute(&found.origin(found.version), found.item_id, judged).await?;
        Ok(done.position)
    }

    async fn carry_out(&self, mut found: Found, planned: Vec<Planned>) -> Result<i64, CommandError> {
        let started = self
            .store
            .execute::<AutomationItem>(&found.origin(found.version), found.item_id, automation_item::start)
            .await?;
        (found.version, found.item) = (started.version, started.state);
        failpoint::reached(Failpoint::ItemStarted).await;
        let mut runs = Vec::with_capacity(planned.len());
        for rule in &planned {
            let begun = Instant::now();
            let actions = self.act_for(&found, rule).await;
            runs.push(ran(&found, rule, actions, millis(begun)));
        }
        let verdict = self.verdict(&runs, found.item.attempts);
        failpoint::reached(Failpoint::ActionsDone).await;
        let conclude = |state: &AutomationItem| automation_item::conclude(state, &runs, &verdict);
        let done = self.store.execute(&found.origin(found.version), found.item_id, conclude).await?;
        metrics::counter!("automation_items_total").increment(1);
        Ok(done.position)
    }

    /// Does what a rule asks for, in order; a failure does not stop the next.
    async fn act_for(&self, found: &Found, rule: &Planned) -> Vec<ActionRecord> {
        let enqueued_at = found.item.enqueued_at.unwrap_or_default();
        let stale = is_stale(enqueued_at, self.store.clock().now());
        let mut records = Vec::with_capacity(rule.actions.len());
        for (index, action) in rule.actions.iter().enumerate() {
            let begun = Instant::now();
            let rendered = Personal::new(found.facts.contact_id, json!(action));
            let record = |outcome, reason: Option<String>, position| ActionRecord {
                kind: action.name().to_owned(),
                outcome,
                reason,
                permanent: false,
                duration_ms: millis(begun),
                position,
                rendered: rendered.clone(),
            };
            if let Some(given_up) = found.item.given_up(rule.rule_id, index) {
                records.push(given_up.clone());
                continue;
            }
            records.push(match found.item.done(rule.rule_id, index) {
                Some(position) => record(ActionOutcome::AlreadyDone, None, position),
                None if stale && action.is_customer_facing() => {
                    let reason = domain::automation::retry::STALE.to_owned();
                    record(ActionOutcome::Skipped, Some(reason), None)
                }
                None => match act(self, &acting(found, rule, index), action).await {
                    Ok(position) => record(ActionOutcome::Done, None, position),
                    Err(Failure { reason, permanent }) => {
                        ActionRecord { permanent, ..record(ActionOutcome::Failed, Some(reason), None) }
                    }
                },
            });
        }
        records
    }

    /// What failed for good is not waited for; as long as anything else failed there is another attempt.
    fn verdict(&self, runs: &[RuleRan], attempts: u32) -> Verdict {
        let Some(error) = first_failure(runs) else { return Verdict::Done };
        if failures(runs).all(|(_, action)| action.permanent) {
            return Verdict::Failed { error, next_at: None };
        }
        self.failure(error, attempts)
    }

    fn failure(&self, error: String, attempts: u32) -> Verdict {
        let delay = retry_delay(attempts, rand::random::<f64>(), self.scale);
        let delay = delay.and_then(|delay| chrono::TimeDelta::from_std(delay).ok());
        Verdict::Failed { error, next_at: delay.map(|delay| self.store.clock().now() + delay) }
    }
}

impl Found {
    /// Only while the item is as it was found.
    fn origin(&self, version: i64) -> Origin {
        let metadata = Metadata {
            causation_id: Some(self.facts.source_event_id),
            ..Metadata::new(Actor::system(), self.facts.correlation_id)
        };
        Origin {
            command_id: ids::new_id(),
            if_version: Some(version),
            ..Origin::new(self.tenant_id, metadata)
        }
    }
}

fn acting<'a>(found: &'a Found, rule: &'a Planned, index: usize) -> Acting<'a> {
    Acting {
        tenant_id: found.tenant_id,
        item_id: found.item_id,
        facts: &found.facts,
        rule_id: rule.rule_id,
        rule_name: &rule.rule.name,
        index,
        attempt: found.version,
        begun: found.item.begun,
    }
}

fn ran(found: &Found, rule: &Planned, actions: Vec<ActionRecord>, duration_ms: i64) -> RuleRan {
    RuleRan {
        run_id: run_id(found.item_id, rule.rule_id, found.item.round),
        rule_id: rule.rule_id,
        rule: rule.rule.clone(),
        trigger: found.facts.trigger,
        source: found.facts.source,
        conversation_id: found.facts.conversation_id,
        contact_id: found.facts.contact_id,
        evaluated_at: rule.evaluated_at,
        repeated: rule.repeated,
        matched: rule.matched,
        executed: !actions.is_empty() && actions.iter().all(|action| action.outcome.took_effect()),
        skip_reason: rule.skip_reason,
        checks: rule.checks.clone(),
        actions,
        duration_ms,
    }
}

fn given_up(error: &str) -> Verdict {
    Verdict::Failed { error: error.to_owned(), next_at: None }
}

fn failures(runs: &[RuleRan]) -> impl Iterator<Item = (&RuleRan, &ActionRecord)> {
    let failed = |action: &&ActionRecord| action.outcome == ActionOutcome::Failed;
    runs.iter().flat_map(move |run| run.actions.iter().filter(failed).map(move |action| (run, action)))
}

fn first_failure(runs: &[RuleRan]) -> Option<String> {
    let (run, failed) = failures(runs).next()?;
    let reason = failed.reason.as_deref().unwrap_or_default();
    Some(format!("{} of the rule \"{}\": {reason}", failed.kind, run.rule.name))
}

fn millis(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX)
}
