//! A small world in which all is well; then one fault at a time is planted, and the check that is there for it must see
//! it.

use serde_json::json;

use super::*;
use crate::torture::evidence::{Effect, Event, Item};

const CONVERSATION: Uuid = Uuid::from_u128(50);
const QUEUED: Uuid = Uuid::from_u128(70);
const ROLE: &str = "w0000000000000001";
const WORDS: &str = "w0000000000000002";
const HEARD: &str = "wamid.w0000000000000003";
const CUSTOMER: &str = "628120000000";

#[derive(Clone)]
struct World {
    entries: Vec<Entry>,
    evidence: Evidence,
    sendings: Vec<Sending>,
    hooked: Vec<Hooked>,
}

fn entry(wish: Wish, id: &str) -> Entry {
    Entry {
        key: Uuid::from_u128(9),
        wish,
        attempts: 1,
        acknowledged: Some(id.to_owned()),
        repeated: vec![id.to_owned()],
        refused: None,
        abandoned: false,
    }
}

fn event(position: i64, stream: u128, version: i64, event_type: &str) -> Event {
    Event {
        log_id: 1,
        position,
        stream_id: Uuid::from_u128(stream),
        version,
        event_type: event_type.to_owned(),
        command_id: Uuid::from_u128(1_000 + u128::try_from(position).unwrap()),
        external_id: None,
        message_id: None,
    }
}

fn message(id: Uuid, direction: &str, status: &str, text: &str) -> Message {
    Message {
        id,
        object_id: format!("{:024x}", id.as_u128()),
        conversation_id: CONVERSATION,
        direction: direction.to_owned(),
        status: status.to_owned(),
        external_id: None,
        error_message: None,
        text: text.to_owned(),
    }
}

fn item(event_type: &str) -> Item {
    Item { event_type: event_type.to_owned(), status: "done".to_owned(), conversation_id: CONVERSATION }
}

/// A role, a customer who wrote, an answer and a greeting.
fn world() -> World {
    let greeting = Uuid::from_u128(71);
    let heard = Message {
        external_id: Some(HEARD.to_owned()),
        ..message(Uuid::from_u128(60), "inbound", "received", HEARD)
    };
    let queued = |position, version, id| Event {
        message_id: Some(id),
        ..event(position, 50, version, "message.queued")
    };
    let sent = |id| Effect { message_id: Some(id), status: "done".to_owned(), reason: None };
    let together = Event {
        command_id: Uuid::from_u128(1_002),
        external_id: Some(HEARD.to_owned()),
        ..event(3, 50, 2, "message.received")
    };
    World {
        entries: vec![
            entry(Wish::Role { name: ROLE.to_owned() }, "role-id"),
            entry(
                Wish::Outbound { customer: CUSTOMER.to_owned(), text: WORDS.to_owned() },
                &format!("{:024x}", QUEUED.as_u128()),
            ),
            entry(
                Wish::Inbound {
                    customer: CUSTOMER.to_owned(),
                    external_id: HEARD.to_owned(),
                    text: "w0000000000000003".to_owned(),
                },
                HEARD,
            ),
        ],
        evidence: Evidence {
            events: vec![
                event(1, 40, 1, "role.created"),
                event(2, 50, 1, "conversation.opened"),
                together,
                queued(4, 3, greeting),
                queued(5, 4, QUEUED),
            ],
            effects: vec![sent(greeting), sent(QUEUED)],
            messages: vec![
                heard,
                message(greeting, "outbound", "sent", WELCOME),
                message(QUEUED, "outbound", "read", WORDS),
            ],
            items: vec![item("message_received_inbound"), item("conversation_created")],
            roles: vec![("admin".to_owned(), "system".to_owned()), (ROLE.to_owned(), "role-id".to_owned())],
            divisions: Vec::new(),
            contacts: vec![CUSTOMER.to_owned()],
            conversations: vec![CUSTOMER.to_owned()],
        },
        sendings: [greeting, QUEUED]
            .map(|message_id| Sending { message_id, verdict: Verdict::Taken })
            .to_vec(),
        hooked: vec![Hooked { id: "call-1".to_owned(), body: json!({ "n": 1 }), accepted: true }],
    }
}

type Check = fn(&World) -> Faults;

const CHECKS: [(&str, Check); 6] = [
    ("present", |w| acknowledged_is_present_once(&w.entries, &w.evidence)),
    ("alike", |w| repetitions_are_answered_alike(&w.entries)),
    ("customers", |w| customers_are_known_once(&w.entries, &w.evidence)),
    ("gapless", |w| history_is_gapless(&w.evidence)),
    ("outbox", |w| outbox_is_settled(&w.evidence, &w.sendings)),
    ("automation", |w| automation_acted_once(&w.evidence, &w.hooked)),
];

/// The checks that see something.
fn red(world: &World) -> Vec<&'static str> {
    CHECKS.iter().filter(|(_, check)| !check(world).is_empty()).map(|(name, _)| *name).collect()
}

#[track_caller]
fn seen_by(check: &str, plant: impl FnOnce(&mut World)) {
    let mut world = world();
    plant(&mut world);
    assert!(red(&world).contains(&check), "{:?}", red(&world));
}

#[test]
fn a_world_in_which_all_is_well_has_no_fault() {
    for (name, check) in CHECKS {
        assert_eq!(check(&world()), [""; 0], "{name}");
    }
}

#[test]
fn a_lost_change_is_seen() {
    seen_by("present", |w| w.evidence.roles.clear());
    seen_by("present", |w| w.evidence.messages.retain(|m| m.text != WORDS));
    seen_by("present", |w| w.evidence.messages.retain(|m| m.direction != "inbound"));
}

#[test]
fn a_doubled_change_is_seen_even_when_nobody_was_told_of_it() {
    seen_by("present", |w| w.evidence.roles.push((ROLE.to_owned(), "another".to_owned())));
    let again = |w: &mut World| {
        let copy = w.evidence.messages[2].clone();
        w.evidence.messages.push(Message { id: Uuid::from_u128(99), ..copy });
    };
    seen_by("present", again);
    seen_by("present", |w| {
        again(w);
        w.entries[1].acknowledged = None;
        w.entries[1].abandoned = true;
    });
    seen_by("present", |w| w.evidence.messages.push(w.evidence.messages[0].clone()));
}

#[test]
fn a_change_that_nobody_wanted_is_seen() {
    seen_by("present", |w| w.evidence.roles.push(("w00000000000000ff".to_owned(), "stray".to_owned())));
}

#[test]
fn a_refusal_and_a_silence_are_seen() {
    seen_by("present", |w| w.entries[0].refused = Some("409".to_owned()));
    seen_by("present", |w| {
        w.entries[0].acknowledged = None;
        w.evidence.roles.clear();
    });
}

#[test]
fn what_a_client_gave_up_may_be_there_or_not() {
    for there in [true, false] {
        let mut world = world();
        world.entries[0].acknowledged = None;
        world.entries[0].repeated.clear();
        world.entries[0].abandoned = true;
        world.evidence.roles.retain(|(name, _)| there || name != ROLE);
        assert_eq!(red(&world), [""; 0], "{there}");
    }
}

#[test]
fn another_answer_to_the_same_key_is_seen() {
    seen_by("alike", |w| w.entries[0].repeated.push("another".to_owned()));
}

#[test]
fn a_customer_who_is_known_twice_or_not_at_all_is_seen() {
    seen_by("customers", |w| w.evidence.contacts.push(CUSTOMER.to_owned()));
    seen_by("customers", |w| w.evidence.conversations.push(CUSTOMER.to_owned()));
    seen_by("customers", |w| w.evidence.contacts.clear());
}

#[test]
fn a_hole_in_the_log_is_seen() {
    seen_by("gapless", |w| drop(w.evidence.events.remove(0)));
    seen_by("gapless", |w| drop(w.evidence.events.remove(3)));
}

#[test]
fn a_doubled_event_or_command_is_seen() {
    seen_by("gapless", |w| w.evidence.events.push(w.evidence.events[4].clone()));
    seen_by("gapless", |w| w.evidence.events[4].version = 3);
    seen_by("gapless", |w| w.evidence.events[4].command_id = w.evidence.events[0].command_id);
    seen_by("gapless", |w| w.evidence.events[4].message_id = w.evidence.events[3].message_id);
    let heard_again = |w: &mut World| {
        let again = event(6, 51, 1, "message.received");
        w.evidence.events.push(Event { external_id: w.evidence.events[2].external_id.clone(), ..again });
    };
    seen_by("gapless", heard_again);
}

#[test]
fn a_message_that_left_twice_is_seen() {
    seen_by("outbox", |w| w.sendings.push(w.sendings[1].clone()));
}

#[test]
fn a_refusal_before_a_success_is_no_second_message() {
    let mut world = world();
    world.sendings.insert(0, Sending { message_id: QUEUED, verdict: Verdict::Refused });
    assert_eq!(red(&world), [""; 0]);
}

#[test]
fn a_message_that_never_left_is_seen() {
    seen_by("outbox", |w| {
        w.sendings.remove(1);
    });
    seen_by("outbox", |w| {
        w.evidence.effects.remove(1);
    });
    seen_by("outbox", |w| w.evidence.effects[1].status = "sending".to_owned());
    seen_by("outbox", |w| w.evidence.messages[2].status = "pending".to_owned());
}

#[test]
fn a_message_that_nobody_wrote_is_seen() {
    seen_by("outbox", |w| {
        w.sendings.push(Sending { message_id: Uuid::from_u128(404), verdict: Verdict::Taken });
    });
}

#[test]
fn a_failure_must_say_why() {
    let fail = |w: &mut World, why: Option<&str>| {
        w.evidence.effects[1].status = "failed".to_owned();
        w.evidence.effects[1].reason = Some("interrupted".to_owned());
        w.evidence.messages[2].status = "failed".to_owned();
        w.evidence.messages[2].error_message = why.map(str::to_owned);
    };
    seen_by("outbox", |w| fail(w, None));
    let mut world = world();
    fail(&mut world, Some("The program was interrupted."));
    assert_eq!(red(&world), [""; 0]);
}

#[test]
fn what_set_off_nothing_or_twice_as_much_is_seen() {
    seen_by("automation", |w| drop(w.evidence.items.remove(0)));
    seen_by("automation", |w| w.evidence.items.push(w.evidence.items[1].clone()));
    seen_by("automation", |w| w.evidence.items[0].status = "processing".to_owned());
}

#[test]
fn a_call_that_was_not_made_or_under_two_ids_is_seen() {
    seen_by("automation", |w| w.hooked.clear());
    seen_by("automation", |w| w.hooked[0].accepted = false);
    seen_by("automation", |w| w.hooked.push(Hooked { id: "call-2".to_owned(), ..w.hooked[0].clone() }));
    seen_by("automation", |w| w.hooked.push(Hooked { body: json!({ "n": 2 }), ..w.hooked[0].clone() }));
    let mut world = world();
    world.hooked.insert(0, Hooked { accepted: false, ..world.hooked[0].clone() });
    assert_eq!(red(&world), [""; 0], "a repetition that the receiver can tell");
}

#[test]
fn a_customer_who_was_greeted_twice_or_not_is_seen() {
    seen_by("automation", |w| w.evidence.messages.push(w.evidence.messages[1].clone()));
    seen_by("automation", |w| drop(w.evidence.messages.remove(1)));
}
