//! From a stream to a state: caches, snapshots, and the conditions under which a decision holds.

use commands::store::{Decision, Expected, Part, Store};
use commands::{CommandError, Refusal};
use domain::channel::Channel;
use domain::contact::{Contact, ContactEvent, Profile};
use domain::personal::Personal;
use domain::refusal::Reason;
use uuid::Uuid;

use super::*;

const STREAM: Uuid = Uuid::from_u128(0x5);

async fn add(store: &Store, n: i64) {
    let decide = |_: &Tally| Ok(Decision::one(TallyEvent::Added { n }));
    store.execute::<Tally>(&origin(tenant(0)), STREAM, decide).await.expect("it is added");
}

/// Closes once; a second time is already so.
fn close(tally: &Tally) -> Result<Decision<TallyEvent>, Refusal> {
    Ok(if tally.closed { Decision::nothing() } else { Decision::one(TallyEvent::Closed) })
}

/// Only an open tally takes more.
fn add_to_open(tally: &Tally) -> Result<Decision<TallyEvent>, Refusal> {
    if tally.closed {
        Err(Refusal::conflict("closed", "It is closed."))
    } else {
        Ok(Decision::one(TallyEvent::Added { n: 1 }))
    }
}

async fn fill(store: &Store, events: usize) {
    let decide = |_: &Tally| Ok(Decision::all(vec![TallyEvent::Added { n: 1 }; events]));
    store.execute::<Tally>(&origin(tenant(0)), STREAM, decide).await.expect("they are added");
}

#[tokio::test]
async fn a_long_stream_is_loaded_from_a_snapshot_of_the_same_release() {
    let logs = Logs::start().await;
    let writer = logs.store().await;
    fill(&writer, 1500).await;
    assert_eq!(writer.load::<Tally>(tenant(0), STREAM).await.unwrap().sum, 1500);
    // Made recognisable, so that whoever uses it shows it.
    let marked =
        sqlx::query("UPDATE snapshots SET state = jsonb_set(state, '{sum}', '1000000') WHERE version = 1500")
            .execute(writer.pool())
            .await
            .unwrap();
    assert_eq!(marked.rows_affected(), 1);
    fill(&writer, 5).await;
    let reader = logs.store().await;
    assert_eq!(reader.load::<Tally>(tenant(0), STREAM).await.unwrap().sum, 1_000_005);
    assert_eq!(
        reader.load::<Tally<2>>(tenant(0), STREAM).await.unwrap().sum,
        1505,
        "another release folds itself"
    );
    // That release has left a snapshot of its own, which the old one does not use either.
    assert_eq!(reader.load::<Tally>(tenant(0), STREAM).await.unwrap().sum, 1505);
}

#[tokio::test]
async fn personal_data_is_never_in_a_snapshot() {
    let logs = Logs::start().await;
    let store = logs.store().await;
    let profile =
        Profile { address: "628111".to_owned(), name: Some("Ani".to_owned()), ..Profile::default() };
    let known = Personal::new(STREAM, profile);
    let created = ContactEvent::Created { channel: Channel::Whatsapp, profile: known.clone() };
    let mut events = vec![created];
    events.extend((0..300).map(|n| ContactEvent::Tagged { tags: vec![format!("tag {n}")] }));
    let decide = |_: &Contact| Ok(Decision::all(events.clone()));
    let decided = store.execute::<Contact>(&origin(tenant(0)), STREAM, decide).await.expect("a contact");
    assert_eq!(decided.state.profile, known, "whoever wrote it sees it");
    let loaded: Contact = store.load(tenant(0), STREAM).await.unwrap();
    assert_eq!(loaded.profile, known);
    let snapshots: i64 =
        sqlx::query_scalar("SELECT count(*) FROM snapshots").fetch_one(store.pool()).await.unwrap();
    assert_eq!(snapshots, 0);
}

#[tokio::test]
async fn if_match_holds_against_the_newest_version_only() {
    let logs = Logs::start().await;
    let (here, there) = (logs.store().await, logs.store().await);
    add(&here, 1).await;
    add(&there, 1).await;
    let at = |version| commands::store::Origin { if_version: Some(version), ..origin(tenant(0)) };
    // Here version 1 is cached, so it looks as if the condition held.
    let stale = here.execute::<Tally>(&at(1), STREAM, add_to_open).await.expect_err("stale");
    assert_eq!(stale.refusal().map(|r| r.reason), Some(Reason::Stale));
    let ahead = here.execute::<Tally>(&at(3), STREAM, add_to_open).await.expect_err("not yet");
    assert_eq!(ahead.refusal().map(|r| r.reason), Some(Reason::Stale));
    let right = here.execute::<Tally>(&at(2), STREAM, add_to_open).await.expect("version 2 it is");
    assert_eq!((right.version, right.state.sum), (3, 3));
    let no_op = here.execute::<Tally>(&at(2), STREAM, |_: &Tally| Ok(Decision::nothing())).await;
    assert!(
        matches!(no_op, Err(CommandError::Refused(r)) if r.reason == Reason::Stale),
        "a no-op is conditional too"
    );
}

#[tokio::test]
async fn what_changes_nothing_is_decided_on_the_newest_state() {
    let logs = Logs::start().await;
    let (here, there) = (logs.store().await, logs.store().await);
    here.execute::<Tally>(&origin(tenant(0)), STREAM, close).await.expect("it closes");
    // Reopened elsewhere, which only this test can: the stream says Closed, then nothing else. So look at the sum.
    add(&there, 10).await;
    let seen = here.execute::<Tally>(&origin(tenant(0)), STREAM, close).await.expect("already so");
    assert_eq!((seen.position, seen.version, seen.state.sum), (0, 2, 10), "answered with the newest state");
}

#[tokio::test]
async fn a_refusal_is_decided_on_the_newest_state() {
    let logs = Logs::start().await;
    let (here, there) = (logs.store().await, logs.store().await);
    let at_least = |wanted: i64| {
        move |tally: &Tally| {
            if tally.sum < wanted {
                Err(Refusal::conflict("too_small", "Not yet."))
            } else {
                Ok(Decision::nothing())
            }
        }
    };
    add(&here, 1).await;
    let early = here.execute::<Tally>(&origin(tenant(0)), STREAM, at_least(5)).await.expect_err("it is 1");
    assert_eq!(early.refusal().map(|r| r.code), Some("too_small"));
    add(&there, 9).await;
    here.execute::<Tally>(&origin(tenant(0)), STREAM, at_least(5)).await.expect("it is 10 by now");
}

#[tokio::test]
async fn a_decision_on_an_old_state_is_taken_again() {
    let logs = Logs::start().await;
    let (here, there) = (logs.store().await, logs.store().await);
    add(&here, 1).await;
    there.execute::<Tally>(&origin(tenant(0)), STREAM, close).await.expect("it closes");
    let refused = here
        .execute::<Tally>(&origin(tenant(0)), STREAM, add_to_open)
        .await
        .expect_err("it is closed by now");
    assert_eq!(refused.refusal().map(|r| r.code), Some("closed"));
    let log = read_log(here.pool(), here.log_of(tenant(0)).await.unwrap()).await;
    assert_eq!(log.len(), 2);
}

#[tokio::test]
async fn events_of_several_streams_happen_together_or_not_at_all() {
    let logs = Logs::start().await;
    let store = logs.store().await;
    let other = Uuid::from_u128(0x6);
    let both = |expected| {
        move |_: &Tally| {
            let part = Part::of::<Tally>(other, expected, &[TallyEvent::Added { n: 2 }]);
            Ok(Decision::one(TallyEvent::Added { n: 1 }).also(part))
        }
    };
    store
        .execute::<Tally>(&origin(tenant(0)), STREAM, both(Expected::Version(0)))
        .await
        .expect("both are new");
    let refused = store.execute::<Tally>(&origin(tenant(0)), STREAM, both(Expected::Version(0))).await;
    assert_eq!(refused.expect_err("the other is at 1").refusal().map(|r| r.code), Some("contended"));
    let only_the_other = |_: &Tally| {
        Ok(Decision::nothing().also(Part::of::<Tally>(other, Expected::Any, &[TallyEvent::Added { n: 4 }])))
    };
    store.execute::<Tally>(&origin(tenant(0)), STREAM, only_the_other).await.expect("it is a fact");
    let sums = (
        store.load::<Tally>(tenant(0), STREAM).await.unwrap().sum,
        store.load::<Tally>(tenant(0), other).await.unwrap().sum,
    );
    assert_eq!(sums, (1, 6));
}

#[tokio::test]
async fn a_stream_belongs_to_one_tenant() {
    let logs = Logs::start().await;
    let store = logs.store().await;
    add(&store, 1).await;
    assert_eq!(
        store.load::<Tally>(tenant(1), STREAM).await.unwrap(),
        Tally::default(),
        "nothing to see for others"
    );
    let intruder =
        store.execute::<Tally>(&origin(tenant(1)), STREAM, add_to_open).await.expect_err("not theirs");
    assert!(matches!(intruder, CommandError::Failed(_)), "{intruder}");
}

#[tokio::test]
async fn a_command_repeated_under_its_id_has_one_effect() {
    let logs = Logs::start().await;
    let (here, there) = (logs.store().await, logs.store().await);
    let origin = origin(tenant(0));
    let first = here.execute::<Tally>(&origin, STREAM, add_to_open).await.expect("it is open");
    let again = there.execute::<Tally>(&origin, STREAM, add_to_open).await.expect("it happened");
    assert_eq!((again.state.sum, again.position), (1, first.position));
}
