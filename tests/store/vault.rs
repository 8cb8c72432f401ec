//! Personal data and credentials: sealed in the log, opened only for whom and where they belong.

use commands::store::Pool;
use commands::vault::{MIN_SECRET_BYTES, Vault};
use domain::personal::{Personal, Secret};
use sqlx::PgPool;
use uuid::Uuid;

use super::*;

const PERSON: Uuid = Uuid::from_u128(0xa);

fn vault(pool: &PgPool) -> Vault {
    Vault::new(Pool::new(pool.clone()), Clock::default(), SECRET).expect("a vault")
}

fn personal(text: &str) -> Value {
    serde_json::to_value(Personal::new(PERSON, text.to_owned())).unwrap()
}

async fn sealed(vault: &Vault, tenant_id: Uuid, mut payload: Value) -> Value {
    vault.seal(tenant_id, &mut payload).await.expect("it is sealed");
    payload
}

async fn opened(vault: &Vault, tenant_id: Uuid, mut payload: Value) -> Value {
    let keys = vault.keys_of(std::iter::once((tenant_id, &payload))).await.expect("keys");
    keys.open(tenant_id, &mut payload);
    payload
}

async fn erase(pool: &PgPool, tenant_id: Uuid) {
    let erased =
        sqlx::query("UPDATE subject_keys SET wrapped_key = NULL, erased_at = now() WHERE tenant_id = $1");
    assert_eq!(erased.bind(tenant_id).execute(pool).await.unwrap().rows_affected(), 1);
}

#[tokio::test]
async fn what_is_sealed_opens_again_and_shows_nothing_meanwhile() {
    let logs = Logs::start().await;
    let pool = logs.pool_as(ENGINE).await;
    let clear = json!({ "name": personal("Ani Wijaya"), "list": [{ "phone": personal("628111222333") }], "plain": "x" });
    let stored = sealed(&vault(&pool), tenant(0), clear.clone()).await;
    let text = stored.to_string();
    assert!(
        !text.contains("Ani") && !text.contains("628111") && text.contains(&PERSON.to_string()),
        "{text}"
    );
    assert_eq!(stored["plain"], "x");
    // Another process, which has the key from the database.
    let other = vault(&pool);
    assert_eq!(opened(&other, tenant(0), stored.clone()).await, clear);
    let mut plain = stored.clone();
    other.keys_of(std::iter::once((tenant(0), &stored))).await.unwrap().open_plain(tenant(0), &mut plain);
    assert_eq!(plain, json!({ "name": "Ani Wijaya", "list": [{ "phone": "628111222333" }], "plain": "x" }));
    assert_ne!(sealed(&other, tenant(0), clear).await, stored, "the same words never look the same");
}

#[tokio::test]
async fn an_envelope_opens_only_where_it_was_sealed() {
    let logs = Logs::start().await;
    let pool = logs.pool_as(ENGINE).await;
    let vault = vault(&pool);
    let stored = sealed(&vault, tenant(0), json!({ "name": personal("Ani") })).await;
    // The other tenant has a key for the same subject, so that it is not for want of one.
    sealed(&vault, tenant(1), json!({ "name": personal("Someone else") })).await;
    assert_eq!(opened(&vault, tenant(1), stored.clone()).await, stored, "not in another tenant");
    let someone = Uuid::from_u128(0xb);
    sealed(&vault, tenant(0), serde_json::to_value(Personal::new(someone, "Budi")).unwrap()).await;
    let mut moved = stored.clone();
    moved["name"]["subject"] = json!(someone);
    assert_eq!(opened(&vault, tenant(0), moved.clone()).await, moved, "not for another person");
    let mut changed = stored.clone();
    let sealed_text = stored["name"]["sealed"].as_str().unwrap();
    let flipped = if sealed_text.ends_with('A') { "B" } else { "A" };
    changed["name"]["sealed"] = json!(format!("{}{flipped}", &sealed_text[..sealed_text.len() - 1]));
    assert_eq!(opened(&vault, tenant(0), changed.clone()).await, changed, "not once changed");
}

#[tokio::test]
async fn an_erased_person_reads_as_erased_and_cannot_be_sealed_again() {
    let logs = Logs::start().await;
    let pool = logs.pool_as(ENGINE).await;
    let stored = sealed(&vault(&pool), tenant(0), personal("Ani")).await;
    let reader = vault(&pool);
    assert_ne!(opened(&reader, tenant(0), stored.clone()).await, stored);
    erase(&pool, tenant(0)).await;
    assert_eq!(opened(&reader, tenant(0), stored.clone()).await, stored);
    let read: Personal<String> = serde_json::from_value(stored).unwrap();
    assert_eq!(read, Personal::Erased);
    reader
        .seal(tenant(0), &mut personal("Ani again"))
        .await
        .expect_err("there is no key, and there will be none");
}

#[tokio::test]
async fn a_process_that_still_remembers_an_erased_key_seals_for_nobody() {
    let logs = Logs::start().await;
    let pool = logs.pool_as(ENGINE).await;
    let remembering = vault(&pool);
    sealed(&remembering, tenant(0), personal("Ani")).await;
    erase(&pool, tenant(0)).await;
    let late = sealed(&remembering, tenant(0), personal("Ani again")).await;
    assert_eq!(opened(&remembering, tenant(0), late.clone()).await, late);
}

#[tokio::test]
async fn credentials_open_only_for_their_use() {
    let logs = Logs::start().await;
    let pool = logs.pool_as(ENGINE).await;
    let vault = vault(&pool);
    let secret = serde_json::to_value(Secret::new(tenant(0), "EAAG-token")).unwrap();
    let stored = sealed(&vault, tenant(0), json!({ "access_token": secret })).await;
    assert!(!stored.to_string().contains("EAAG"));
    assert_eq!(opened(&vault, tenant(0), stored.clone()).await, stored, "no reader of events sees it");
    let envelope: Secret = serde_json::from_value(stored["access_token"].clone()).unwrap();
    assert_eq!(vault.open_secret(tenant(0), &envelope).await.unwrap(), "EAAG-token");
    vault.open_secret(tenant(1), &envelope).await.expect_err("another tenant's");
}

/// Whoever can read sealed events and write free-form fields must not turn a credential into a personal value.
#[tokio::test]
async fn a_credential_copied_to_where_personal_data_stands_does_not_open() {
    let logs = Logs::start().await;
    let pool = logs.pool_as(ENGINE).await;
    let vault = vault(&pool);
    let secret = serde_json::to_value(Secret::new(tenant(0), "EAAG-token")).unwrap();
    let mut copied = sealed(&vault, tenant(0), secret).await;
    copied.as_object_mut().unwrap().remove("secret");
    assert_eq!(opened(&vault, tenant(0), copied.clone()).await, copied);
}

#[tokio::test]
async fn another_secret_key_opens_nothing() {
    let logs = Logs::start().await;
    let pool = logs.pool_as(ENGINE).await;
    let ours = vault(&pool);
    let theirs = Vault::new(
        Pool::new(pool.clone()),
        Clock::default(),
        b"another secret, also long enough for a vault",
    )
    .unwrap();
    let stored = sealed(&ours, tenant(0), personal("Ani")).await;
    assert!(
        theirs.keys_of(std::iter::once((tenant(0), &stored))).await.is_err(),
        "a wrong configuration is noticed"
    );
    theirs.seal(tenant(0), &mut personal("Budi")).await.expect_err("nor is anything sealed beside it");
    let answer = ours.seal_bytes("answers", b"shown once").unwrap();
    assert_eq!(ours.open_bytes("answers", &answer).unwrap(), b"shown once");
    ours.open_bytes("something else", &answer).expect_err("another purpose");
    theirs.open_bytes("answers", &answer).expect_err("another key");
    assert_ne!(ours.derive("a"), ours.derive("b"));
    assert_ne!(ours.derive("a"), theirs.derive("a"));
    assert!(Vault::new(Pool::new(pool), Clock::default(), &[7; MIN_SECRET_BYTES - 1]).is_err(), "too short");
}
