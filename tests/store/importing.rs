//! History in bulk: as provable as what was appended, and refused where it would break what holds for the log.

use chrono::{DateTime, TimeDelta, Utc};
use commands::CommandError;
use commands::store::import::{Deed, Page, Recorder, Strand, Writer};
use commands::store::{Decision, HEAD};
use domain::channel::Channel;
use domain::contact::{Contact, ContactEvent, Profile};
use domain::personal::Personal;

use super::*;

const MANAGER: &str = "delivery";

fn ani() -> Uuid {
    Uuid::from_u128(0xa)
}

fn long_ago() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

fn deed(at: DateTime<Utc>) -> Deed {
    Deed::new(at, Uuid::new_v4(), metadata())
}

fn created() -> ContactEvent {
    let profile =
        Profile { address: "628111".to_owned(), name: Some("Ani".to_owned()), ..Profile::default() };
    ContactEvent::Created { channel: Channel::Whatsapp, profile: Personal::new(ani(), profile) }
}

fn vip() -> ContactEvent {
    ContactEvent::Tagged { tags: vec!["vip".to_owned()] }
}

/// Ani comes, and a second later she is tagged.
fn story(recorder: &mut Recorder, at: DateTime<Utc>) -> (Strand, Page) {
    let mut strand = Strand::new::<Contact>(tenant(0), ani());
    let key = recorder.introduce(tenant(0), ani(), at).unwrap();
    recorder.record(&mut strand, &deed(at), Some(&key), &created()).unwrap();
    recorder.claim(tenant(0), &claim("ani", ani())).unwrap();
    recorder.record(&mut strand, &deed(at + TimeDelta::seconds(1)), None, &vip()).unwrap();
    (strand, recorder.take_page())
}

async fn import(store: &Store) -> (Recorder, Writer) {
    store.import(&[tenant(0)], &[MANAGER]).await.unwrap()
}

#[track_caller]
fn refused<T>(outcome: Result<T, CommandError>, because: &str) {
    let error = outcome.err().expect("it is refused").to_string();
    assert!(error.contains(because), "{error}");
}

async fn position_of_manager(pool: &PgPool, log_id: i16) -> Option<i64> {
    sqlx::query_scalar("SELECT position FROM projections WHERE name = $1 AND slot = 'live' AND log_id = $2")
        .bind(MANAGER)
        .bind(log_id)
        .fetch_optional(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn history_reads_like_what_was_appended_and_goes_on() {
    let logs = Logs::start().await;
    let store = logs.store().await;
    let log_id = store.log_of(tenant(0)).await.unwrap();
    let (mut recorder, mut writer) = import(&store).await;
    let (mut strand, mut first) = story(&mut recorder, long_ago());
    recorder.record(&mut strand, &deed(long_ago() + TimeDelta::days(1)), None, &vip()).unwrap();
    let mut second = recorder.take_page();
    assert_eq!((first.len(), second.len()), (2, 1));
    assert_eq!(writer.write(&mut first).await.unwrap(), 2);
    assert_eq!(writer.write(&mut second).await.unwrap(), 3);
    assert_eq!(*store.progress().follow(HEAD, log_id).borrow(), 3, "whoever follows the log is told");
    assert_eq!(position_of_manager(store.pool(), log_id).await, Some(3), "history has no effects");
    assert_eq!(store.claim_owner(tenant(0), "email", "ani").await.unwrap(), Some(ani()));

    let contact: Contact = store.load(tenant(0), ani()).await.unwrap();
    assert_eq!(contact.profile.known().unwrap().name.as_deref(), Some("Ani"), "it opens");
    assert_eq!(contact.created_at, Some(long_ago()));
    let origin = origin(tenant(0));
    let erased = store.execute::<Contact>(&origin, ani(), |_| Ok(Decision::one(ContactEvent::Erased))).await;
    assert_eq!((erased.as_ref().unwrap().position, erased.unwrap().version), (4, 4));

    let log = read_log(store.pool(), log_id).await;
    check_log(&log);
    assert_eq!(log.len(), 4);
    assert!(!log[0].event.body.to_string().contains("628111"), "it is sealed: {}", log[0].event.body);
    assert_eq!(log[0].event.metadata, metadata());
}

#[tokio::test]
async fn history_is_refused_where_the_log_holds_something_later() {
    let logs = Logs::start().await;
    let store = logs.store().await;
    store.append(fact(tenant(0), Uuid::new_v4(), added(1))).await.unwrap();
    let (mut recorder, mut writer) = store.import(&[tenant(0)], &[]).await.unwrap();
    let (_, mut page) = story(&mut recorder, long_ago());
    refused(writer.write(&mut page).await, "something later");
    let log = read_log(store.pool(), store.log_of(tenant(0)).await.unwrap()).await;
    assert_eq!(log.len(), 1, "nothing of it is there");
    let keys: i64 =
        sqlx::query_scalar("SELECT count(*) FROM subject_keys").fetch_one(store.pool()).await.unwrap();
    assert_eq!(keys, 0);
}

#[tokio::test]
async fn a_process_manager_that_is_behind_misses_nothing() {
    let logs = Logs::start().await;
    let store = logs.store().await;
    let log_id = store.log_of(tenant(0)).await.unwrap();
    let (mut recorder, mut writer) = import(&store).await;
    let (_, mut page) = story(&mut recorder, long_ago());
    writer.write(&mut page).await.unwrap();
    store.append(fact(tenant(0), Uuid::new_v4(), added(1))).await.unwrap();
    let mut strand = Strand::new::<Contact>(tenant(0), Uuid::new_v4());
    let later = store.clock().now() + TimeDelta::seconds(1);
    recorder.record(&mut strand, &deed(later), None, &vip()).unwrap();
    let mut page = recorder.take_page();
    refused(writer.write(&mut page).await, "process manager");
    assert_eq!(position_of_manager(store.pool(), log_id).await, Some(2));
    // It reads what was appended; then the same page is welcome.
    let caught_up = sqlx::query("UPDATE projections SET position = 3 WHERE name = $1 AND log_id = $2");
    caught_up.bind(MANAGER).bind(log_id).execute(store.pool()).await.unwrap();
    assert_eq!(writer.write(&mut page).await.unwrap(), 4);
    check_log(&read_log(store.pool(), log_id).await);
}

#[tokio::test]
async fn pages_are_written_in_their_order_and_claims_are_respected() {
    let logs = Logs::start().await;
    let store = logs.store().await;
    let (mut recorder, mut writer) = import(&store).await;
    let (mut strand, mut first) = story(&mut recorder, long_ago());
    recorder.record(&mut strand, &deed(long_ago() + TimeDelta::days(1)), None, &vip()).unwrap();
    let mut second = recorder.take_page();
    refused(writer.write(&mut second).await, "in their order");
    writer.write(&mut first).await.unwrap();
    refused(writer.write(&mut first).await, "in their order");
    // Somebody else's history claims the same address.
    let (mut other, mut late) = import(&store).await;
    let mut stranger = Strand::new::<Contact>(tenant(0), Uuid::new_v4());
    other.record(&mut stranger, &deed(long_ago() + TimeDelta::days(2)), None, &vip()).unwrap();
    other.claim(tenant(0), &claim("ani", Uuid::new_v4())).unwrap();
    refused(late.write(&mut other.take_page()).await, "claims_pkey");
    writer.write(&mut second).await.unwrap();
    check_log(&read_log(store.pool(), store.log_of(tenant(0)).await.unwrap()).await);
}

#[tokio::test]
async fn what_nobody_may_record_is_refused_at_once() {
    let logs = Logs::start().await;
    let store = logs.store().await;
    let (mut recorder, _) = import(&store).await;
    let mut strand = Strand::new::<Contact>(tenant(0), ani());
    let (at, key) = (long_ago(), recorder.introduce(tenant(0), Uuid::from_u128(0xb), long_ago()).unwrap());
    refused(recorder.record(&mut strand, &deed(at), None, &created()), "without a key");
    refused(recorder.record(&mut strand, &deed(at), Some(&key), &created()), "no key for this subject");
    recorder.record(&mut strand, &deed(at), None, &vip()).unwrap();
    let earlier = deed(at - TimeDelta::microseconds(1));
    refused(recorder.record(&mut strand, &earlier, None, &vip()), "forward only");
    let stranger = Uuid::from_u128(tenant(0).as_u128() + 1);
    let mut strange = Strand::new::<Contact>(stranger, ani());
    refused(recorder.record(&mut strange, &deed(at), None, &vip()), "none of the import's");
    refused(store.import(&[tenant(0), stranger], &[]).await, "of one log");
    refused(store.import(&[], &[]).await, "some tenant");
}
