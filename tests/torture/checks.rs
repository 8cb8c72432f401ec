//! What must be true at the end, as functions of what was wanted, what is there and what left the system. Each answers
//! what is not as it must be; `tests` shows each of them a planted fault.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use super::evidence::{Evidence, Message};
use super::ledger::{Entry, Wish};
use super::outside::{Hooked, Sending, Verdict};

/// The text of the rule that greets new customers.
pub const WELCOME: &str = "Selamat datang";

/// What is not as it must be, in words.
pub type Faults = Vec<String>;

/// Everything acknowledged is there, once; what nobody answered is there at most once; nothing else is there.
pub fn acknowledged_is_present_once(entries: &[Entry], evidence: &Evidence) -> Faults {
    let mut faults = Faults::new();
    let mut wanted = BTreeSet::new();
    for entry in entries {
        let mark = entry.wish.mark();
        wanted.insert(mark);
        let found = found_ids(&entry.wish, evidence);
        if let Some(refused) = &entry.refused {
            faults.push(format!("{mark} was refused: {refused}"));
        }
        match &entry.acknowledged {
            Some(id) if found != [id.clone()] => {
                faults.push(format!("{mark} was acknowledged as {id}, and there is {found:?}"));
            }
            None if found.len() > 1 => faults.push(format!("{mark} is there {} times", found.len())),
            None if !entry.abandoned && entry.refused.is_none() => {
                faults.push(format!("{mark} was never answered, although all was well at the end"));
            }
            _ => {}
        }
    }
    let named = evidence.roles.iter().chain(&evidence.divisions).map(|(name, _)| name.as_str());
    let spoken =
        evidence.messages.iter().map(|m| if m.direction == "inbound" { external(m) } else { &m.text });
    let marks = named.chain(spoken.map(|mark| mark.trim_start_matches("wamid.")));
    let wanted: BTreeSet<&str> = wanted.into_iter().map(|mark| mark.trim_start_matches("wamid.")).collect();
    let unwanted = marks.filter(|mark| is_mark(mark) && !wanted.contains(mark));
    faults.extend(unwanted.map(|mark| format!("{mark} is there, and nobody wanted it")));
    faults
}

fn external(message: &Message) -> &str {
    message.external_id.as_deref().unwrap_or_default()
}

/// As writers make them: `w` and sixteen hex digits.
fn is_mark(text: &str) -> bool {
    text.len() == 17 && text.starts_with('w') && text[1..].bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn found_ids(wish: &Wish, evidence: &Evidence) -> Vec<String> {
    let by_name = |list: &[(String, String)], name: &str| {
        list.iter().filter(|(found, _)| found == name).map(|(_, id)| id.clone()).collect()
    };
    let messages = |is: &dyn Fn(&&Message) -> bool, id: fn(&Message) -> String| {
        evidence.messages.iter().filter(is).map(id).collect()
    };
    match wish {
        Wish::Role { name } => by_name(&evidence.roles, name),
        Wish::Division { name } => by_name(&evidence.divisions, name),
        Wish::Outbound { text, .. } => {
            messages(&|m| m.direction == "outbound" && m.text == *text, |m| m.object_id.clone())
        }
        Wish::Inbound { external_id, text, .. } => {
            messages(&|m| m.direction == "inbound" && (external(m) == external_id || m.text == *text), |m| {
                external(m).to_owned()
            })
        }
    }
}

/// Whoever asks again under the same key gets the same thing.
pub fn repetitions_are_answered_alike(entries: &[Entry]) -> Faults {
    let differing = |entry: &&Entry| entry.repeated.iter().any(|id| Some(id) != entry.acknowledged.as_ref());
    let told = |entry: &Entry| {
        format!("{} was {:?} at first and then {:?}", entry.wish.mark(), entry.acknowledged, entry.repeated)
    };
    entries.iter().filter(differing).map(told).collect()
}

/// One contact and one conversation for each customer who was heard.
pub fn customers_are_known_once(entries: &[Entry], evidence: &Evidence) -> Faults {
    let heard: BTreeSet<&str> = entries
        .iter()
        .filter(|entry| entry.acknowledged.is_some())
        .filter_map(
            |entry| if let Wish::Inbound { customer, .. } = &entry.wish { Some(&**customer) } else { None },
        )
        .collect();
    let mut faults = Faults::new();
    for (what, list) in [("contact", &evidence.contacts), ("conversation", &evidence.conversations)] {
        let mut counts: BTreeMap<&str, usize> = heard.iter().map(|customer| (*customer, 0)).collect();
        list.iter().for_each(|phone| *counts.entry(phone).or_default() += 1);
        let wrong = counts.into_iter().filter(|(_, count)| *count != 1);
        faults.extend(wrong.map(|(phone, count)| format!("{phone} has {count} {what}s")));
    }
    faults
}

/// Positions from 1 without a gap in every log, versions in every stream; a command's events side by side, once; no
/// message received or queued twice.
pub fn history_is_gapless(evidence: &Evidence) -> Faults {
    let mut faults = Faults::new();
    let (mut positions, mut versions) = (HashMap::new(), HashMap::new());
    let mut commands: HashMap<(i16, Uuid), i64> = HashMap::new();
    let mut spoken = BTreeSet::new();
    for event in &evidence.events {
        let position: &mut i64 = positions.entry(event.log_id).or_default();
        if event.position != *position + 1 {
            faults.push(format!("log {}: after {position} comes {}", event.log_id, event.position));
        }
        *position = event.position;
        let version: &mut i64 = versions.entry((event.log_id, event.stream_id)).or_default();
        if event.version != *version + 1 {
            faults.push(format!("stream {}: after {version} comes {}", event.stream_id, event.version));
        }
        *version = event.version;
        let last = commands.insert((event.log_id, event.command_id), event.position);
        if last.is_some_and(|last| last + 1 != event.position) {
            faults.push(format!("command {} happened again at {}", event.command_id, event.position));
        }
        let message = match event.event_type.as_str() {
            "message.received" => event.external_id.clone(),
            "message.queued" => event.message_id.map(|id| id.to_string()),
            _ => None,
        };
        if let Some(message) = message.filter(|message| !spoken.insert(message.clone())) {
            faults.push(format!("{message} is in the log again at {}", event.position));
        }
    }
    faults
}

/// What was queued was sent once, or failed for a reason that a person can read; and whatever was sent had been queued.
pub fn outbox_is_settled(evidence: &Evidence, sendings: &[Sending]) -> Faults {
    let mut faults = Faults::new();
    let mut taken: BTreeMap<Uuid, usize> = BTreeMap::new();
    for sending in sendings.iter().filter(|sending| sending.verdict == Verdict::Taken) {
        *taken.entry(sending.message_id).or_default() += 1;
    }
    let queued: BTreeSet<Uuid> = evidence
        .events
        .iter()
        .filter(|event| event.event_type == "message.queued")
        .filter_map(|event| event.message_id)
        .collect();
    faults.extend(taken.iter().filter(|(_, n)| **n > 1).map(|(id, n)| format!("{id} was sent {n} times")));
    faults.extend(taken.keys().filter(|id| !queued.contains(id)).map(|id| format!("nobody queued {id}")));
    for id in &queued {
        let effects: Vec<_> =
            evidence.effects.iter().filter(|effect| effect.message_id == Some(*id)).collect();
        let message = evidence.messages.iter().find(|message| message.id == *id);
        let ([effect], Some(message)) = (&effects[..], message) else {
            faults.push(format!("{id} has {} effects, and its message is {message:?}", effects.len()));
            continue;
        };
        let arrived = taken.contains_key(id);
        let fault = match (effect.status.as_str(), message.status.as_str()) {
            ("done", "sent" | "delivered" | "read") if arrived => continue,
            // A report of the channel may have come before the answer was written down as lost.
            ("failed", "sent" | "delivered" | "read") if arrived => continue,
            ("done", "failed") if arrived && message.error_message.is_some() => continue,
            ("failed", "failed") if message.error_message.as_deref().is_some_and(|why| !why.is_empty()) => {
                continue;
            }
            (effect, message) => format!("{id}: its effect is {effect}, it is {message}, arrived: {arrived}"),
        };
        faults.push(fault);
    }
    let open = evidence.effects.iter().filter(|e| !matches!(e.status.as_str(), "done" | "failed"));
    faults.extend(open.map(|effect| format!("an effect is left: {effect:?}")));
    let silent = evidence.effects.iter().filter(|e| e.status == "failed" && e.reason.is_none());
    faults.extend(silent.map(|effect| format!("an effect failed without a reason: {effect:?}")));
    faults
}

/// One item for each thing that happened; every call of a rule under an id of its own, told alike; one greeting for each
/// new conversation.
pub fn automation_acted_once(evidence: &Evidence, hooked: &[Hooked]) -> Faults {
    let mut faults = Faults::new();
    for (event_type, trigger) in
        [("message.received", "message_received_inbound"), ("conversation.opened", "conversation_created")]
    {
        let events = evidence.events.iter().filter(|event| event.event_type == event_type).count();
        let items = evidence.items.iter().filter(|item| item.event_type == trigger).count();
        if events != items {
            faults.push(format!("{events} {event_type} made {items} items"));
        }
    }
    let open = evidence.items.iter().filter(|item| !matches!(item.status.as_str(), "done" | "failed"));
    faults.extend(open.map(|item| format!("an item is left: {item:?}")));
    let mut bodies: BTreeMap<&str, &Hooked> = BTreeMap::new();
    for call in hooked {
        if bodies.entry(&call.id).or_insert(call).body != call.body {
            faults.push(format!("the call {} said something else the next time", call.id));
        }
    }
    let heard = |status| {
        let of = |item: &&super::evidence::Item| {
            item.event_type == "message_received_inbound" && item.status == status
        };
        evidence.items.iter().filter(of).count()
    };
    let accepted: BTreeSet<&str> = hooked.iter().filter(|c| c.accepted).map(|c| c.id.as_str()).collect();
    if accepted.len() < heard("done") || bodies.len() > heard("done") + heard("failed") {
        faults.push(format!(
            "{} items are done and {} failed, and {} of {} calls were accepted",
            heard("done"),
            heard("failed"),
            accepted.len(),
            bodies.len()
        ));
    }
    faults.extend(greetings(evidence));
    faults
}

fn greetings(evidence: &Evidence) -> Faults {
    let mut greeted: HashMap<Uuid, usize> = HashMap::new();
    for message in evidence.messages.iter().filter(|m| m.direction == "outbound" && m.text == WELCOME) {
        *greeted.entry(message.conversation_id).or_default() += 1;
    }
    let mut faults = Faults::new();
    for item in evidence.items.iter().filter(|item| item.event_type == "conversation_created") {
        let times = greeted.get(&item.conversation_id).copied().unwrap_or(0);
        if times > 1 || (times == 0 && item.status == "done") {
            faults.push(format!("{} was greeted {times} times: {}", item.conversation_id, item.status));
        }
    }
    faults
}
