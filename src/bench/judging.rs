//! How many rules one processor judges: the engine's own pure evaluation, with everything that a run records.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use chrono::{DateTime, Utc};
use domain::automation::{Control, Facts, Rule, RuleDefinition, TriggerType, evaluate};
use serde_json::{Value, json};
use uuid::Uuid;

use super::measure::Figures;

/// Of these conditions every tenth rule's hold; the others fail at the first, the second or the last.
fn conditions(number: usize) -> Value {
    match number % 10 {
        0 => json!({}),
        1 => json!({ "channel_in": ["email", "instagram"] }),
        2 => json!({ "channel_in": ["whatsapp"], "status_in": ["resolved"] }),
        3 => json!({ "has_any_tags": ["vip", "wholesale", "press"] }),
        4 => json!({ "assigned_is_null": true, "business_hours_only": true }),
        5 => json!({ "status_in": ["pending"] }),
        6 => json!({ "division_id_in": [Uuid::from_u128(1), Uuid::from_u128(2)] }),
        7 => json!({ "channel_in": ["whatsapp"], "status_in": ["open"], "has_any_tags": ["complaint"] }),
        8 => json!({ "assigned_is_null": true }),
        _ => json!({ "business_hours_only": true, "has_any_tags": ["night"] }),
    }
}

fn rule(number: usize) -> Result<Rule> {
    let definition = RuleDefinition::parse(&json!({
        "name": format!("Rule {number}"),
        "trigger_type": "message_received_inbound",
        "conditions": conditions(number),
        "actions": [
            { "type": "add_tags", "tags": ["seen"] },
            { "type": "send_message", "content": { "text": "Halo {{contact.name}}, pesan Anda: {{message.text}}" } },
        ],
        "priority": number % 7,
    }))
    .map_err(|problems| anyhow!("rule {number}: {problems:?}"))?;
    let id = Uuid::from_u128(number as u128);
    Ok(Rule { id, definition, snoozed_until: None, created_at: DateTime::UNIX_EPOCH })
}

fn payload() -> Value {
    json!({
        "conversation": {
            "id": Uuid::from_u128(7), "contact_id": Uuid::from_u128(8), "status": "open",
            "contact_channel": "whatsapp", "assigned_agent_id": Uuid::from_u128(9), "created_at": "2026-11-21T08:00:00Z",
        },
        "contact": {
            "id": Uuid::from_u128(8), "channel_source": "whatsapp", "tags": ["retail"], "name": "Ani",
            "phone_number": "628110000001",
        },
        "message": {
            "_id": "0123456789abcdef01234567", "type": "text",
            "content": { "text": "Halo, apakah barang ini masih ada?" }, "created_at": "2026-11-21T08:00:00Z",
        },
        "agent": { "id": Uuid::from_u128(9), "full_name": "Budi" },
        "tags": ["order"],
        "business_hours": { "is_open": false },
    })
}

/// Judges items on one thread for `duration`; a call is one rule judged, a latency that of a whole item.
///
/// # Errors
/// When the rules are not what they should be.
pub fn measure(rules: usize, duration: Duration) -> Result<Figures> {
    let rules: Vec<Rule> = (0..rules).map(rule).collect::<Result<_>>()?;
    let payload = payload();
    ensure!(judge(&rules, &payload)? == rules.len(), "every rule is judged");
    let (end, mut latencies) = (Instant::now() + duration, Vec::new());
    loop {
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        black_box(judge(black_box(&rules), black_box(&payload))?);
        latencies.push(begun.elapsed());
    }
    let items = Figures::of(latencies, duration);
    Ok(Figures { per_second: items.per_second * rules.len() as f64, ..items })
}

/// What the engine does with an item before it acts: reads the facts, judges every rule, and writes down why. Answers
/// how many outcomes there are.
fn judge(rules: &[Rule], payload: &Value) -> Result<usize> {
    let facts = Facts::new(TriggerType::MessageReceivedInbound, payload.clone())
        .map_err(|problem| anyhow!("{} {}", problem.field, problem.message))?;
    let now = DateTime::<Utc>::from_timestamp(1_800_000_000, 0).unwrap_or_default();
    let outcomes = evaluate(rules, &facts, now, &Control::default(), &|_, _| true);
    let reports: Vec<_> = outcomes.iter().map(|outcome| black_box(outcome.explain(&facts))).collect();
    Ok(reports.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rule_in_ten_acts_and_all_are_judged() {
        let rules: Vec<Rule> = (0..200).map(|number| rule(number).unwrap()).collect();
        let facts = Facts::new(TriggerType::MessageReceivedInbound, payload()).unwrap();
        let outcomes = evaluate(&rules, &facts, DateTime::UNIX_EPOCH, &Control::default(), &|_, _| true);
        let acting = outcomes.iter().filter(|outcome| outcome.acts()).count();
        assert_eq!((outcomes.len(), acting), (200, 20));
    }
}
