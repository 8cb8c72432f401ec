//! Seals personal data and credentials before they enter the log, and opens them for whoever may read them.
//!
//! Every contact has a data key of its own (AES-256-GCM), wrapped by the configured secret key. Destroying the data key
//! erases the person everywhere in history without changing one stored byte, so the hash chain still verifies.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use domain::personal::{self, PERSONAL, SEALED, SECRET, SUBJECT, Secret};
use hmac::{Hmac, Mac};
use lru::LruCache;
use serde_json::{Map, Value, json};
use sha2::Sha256;
use uuid::Uuid;

use crate::CommandError;
use crate::clock::Clock;
use crate::store::Pool;

/// The configured secret must hold at least this much.
pub const MIN_SECRET_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
/// Data keys kept in memory for sealing; opening always asks the database, so an erased key is gone at once.
const CACHED_KEYS: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

type DataKey = [u8; 32];
type Subject = (Uuid, Uuid);

const NO_SUBJECT: Subject = (Uuid::nil(), Uuid::nil());

/// What an envelope holds. Part of what is authenticated: a credential whose envelope is copied to where personal data
/// stands does not open there.
#[derive(Clone, Copy)]
enum Kind {
    Personal,
    Secret,
    DataKey,
    Bytes,
}

impl Kind {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Personal => b"personal",
            Self::Secret => b"secret",
            Self::DataKey => b"data key",
            Self::Bytes => b"bytes",
        }
    }
}

/// The keys of some subjects, as they are in the database now.
pub struct Keys(HashMap<Subject, DataKey>);

#[derive(Clone)]
pub struct Vault {
    pool: Pool,
    clock: Clock,
    master: [u8; 32],
    cached: Arc<Mutex<LruCache<Subject, DataKey>>>,
}

impl Vault {
    /// # Errors
    /// When the secret is shorter than [`MIN_SECRET_BYTES`].
    pub fn new(pool: Pool, clock: Clock, secret: &[u8]) -> Result<Self, CommandError> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(CommandError::failed(format!(
                "the secret key is shorter than {MIN_SECRET_BYTES} bytes"
            )));
        }
        let cached = Arc::new(Mutex::new(LruCache::new(CACHED_KEYS)));
        Ok(Self { pool, clock, master: mac(secret, b"omnistream master key"), cached })
    }

    /// A key for another purpose, such as signing sessions: it tells nothing about this vault's own.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        mac(&self.master, purpose.as_bytes())
    }

    /// A stable stand-in for personal data where equality must be checked after the data is gone, as in claims.
    #[must_use]
    pub fn fingerprint(&self, text: &str) -> String {
        hex::encode(mac(&self.derive("fingerprint"), text.as_bytes()))
    }

    /// Replaces every personal value and secret in the clear by an envelope.
    ///
    /// # Errors
    /// When a key cannot be had, above all because its subject was erased.
    pub async fn seal(&self, tenant_id: Uuid, payload: &mut Value) -> Result<(), CommandError> {
        let subjects = subjects_of(payload, is_marked);
        if subjects.is_empty() {
            return Ok(());
        }
        let mut keys = HashMap::new();
        for subject in subjects {
            // Boxed, since every append carries this future and few look for a key.
            keys.insert(subject, Box::pin(self.key_for_sealing((tenant_id, subject))).await?);
        }
        seal_with(tenant_id, payload, |subject| keys.get(&subject))
    }

    /// A key for someone who has none yet. It is not stored: whoever writes what it seals writes it in the same transaction.
    ///
    /// # Errors
    /// When encryption fails.
    pub fn new_key(&self, tenant_id: Uuid, subject_id: Uuid) -> Result<NewKey, CommandError> {
        let (subject, key) = ((tenant_id, subject_id), rand::random::<DataKey>());
        let wrapped = encrypt(&self.master, subject, Kind::DataKey, &key)?;
        Ok(NewKey { subject, key, wrapped })
    }

    /// The keys of the personal envelopes in these payloads, read in one query.
    ///
    /// # Errors
    /// Database errors.
    pub async fn keys_of<'a>(
        &self,
        payloads: impl Iterator<Item = (Uuid, &'a Value)> + Send,
    ) -> Result<Keys, CommandError> {
        let mut wanted: HashSet<Subject> = HashSet::new();
        for (tenant_id, payload) in payloads {
            wanted.extend(subjects_of(payload, is_personal_envelope).into_iter().map(|s| (tenant_id, s)));
        }
        if wanted.is_empty() {
            return Ok(Keys(HashMap::new()));
        }
        let (tenants, subjects): (Vec<Uuid>, Vec<Uuid>) = wanted.into_iter().unzip();
        // The sub-selects hide how many there are: knowing it, the planner would plan anew each time. The limit makes it look
        // each of them up, where it would read the whole of a small table.
        let rows: Vec<(Uuid, Uuid, Vec<u8>)> = sqlx::query_as(
            "SELECT k.tenant_id, k.subject_id, k.wrapped_key
             FROM unnest((SELECT $1::uuid[]), (SELECT $2::uuid[])) AS w (tenant_id, subject_id)
             CROSS JOIN LATERAL (SELECT * FROM subject_keys k
                 WHERE k.tenant_id = w.tenant_id AND k.subject_id = w.subject_id LIMIT 1) k
             WHERE k.wrapped_key IS NOT NULL",
        )
        .bind(&tenants)
        .bind(&subjects)
        .fetch_all(&self.pool)
        .await?;
        let mut keys = HashMap::new();
        for (tenant, subject, wrapped) in rows {
            keys.insert((tenant, subject), self.unwrap_key((tenant, subject), &wrapped)?);
        }
        Ok(Keys(keys))
    }

    /// Opens one credential for its use.
    ///
    /// # Errors
    /// When it was sealed with another secret key, or its tenant's key is gone.
    pub async fn open_secret(&self, tenant_id: Uuid, secret: &Secret) -> Result<String, CommandError> {
        match secret {
            Secret::Clear { value, .. } => Ok(value.clone()),
            Secret::Sealed { subject, sealed } => {
                let key = self.key_for_sealing((tenant_id, *subject)).await?;
                let clear = decrypt(&key, (tenant_id, *subject), Kind::Secret, sealed)?;
                serde_json::from_slice(&clear).map_err(CommandError::failed)
            }
        }
    }

    /// Seals bytes that are no tenant's, such as a stored answer; `purpose` must be the same when they are opened.
    ///
    /// # Errors
    /// When encryption fails.
    pub fn seal_bytes(&self, purpose: &str, clear: &[u8]) -> Result<String, CommandError> {
        encrypt(&self.derive(purpose), NO_SUBJECT, Kind::Bytes, clear)
    }

    /// # Errors
    /// When they were sealed with another key or for another purpose.
    pub fn open_bytes(&self, purpose: &str, sealed: &str) -> Result<Vec<u8>, CommandError> {
        decrypt(&self.derive(purpose), NO_SUBJECT, Kind::Bytes, sealed)
    }

    async fn key_for_sealing(&self, subject: Subject) -> Result<DataKey, CommandError> {
        if let Some(key) = self.cached.lock().unwrap_or_else(PoisonError::into_inner).get(&subject) {
            return Ok(*key);
        }
        let wrapped = match self.stored_key(subject).await? {
            Some(row) => row,
            None => self.create_key(subject).await?,
        };
        let wrapped =
            wrapped.ok_or_else(|| CommandError::failed("the personal data of this subject was erased"))?;
        let key = self.unwrap_key(subject, &wrapped)?;
        self.cached.lock().unwrap_or_else(PoisonError::into_inner).put(subject, key);
        Ok(key)
    }

    async fn stored_key(
        &self,
        (tenant_id, subject_id): Subject,
    ) -> Result<Option<Option<Vec<u8>>>, CommandError> {
        Ok(sqlx::query_scalar(
            "SELECT wrapped_key FROM subject_keys WHERE tenant_id = $1 AND subject_id = $2",
        )
        .bind(tenant_id)
        .bind(subject_id)
        .fetch_optional(&self.pool)
        .await?)
    }

    /// Not synced by itself: the commit of the events that need the key comes later in the write-ahead log and syncs it.
    async fn create_key(&self, subject: Subject) -> Result<Option<Vec<u8>>, CommandError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *tx).await?;
        let wrapped = self.new_key(subject.0, subject.1)?.wrapped;
        sqlx::query("INSERT INTO subject_keys (tenant_id, subject_id, wrapped_key, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
            .bind(subject.0)
            .bind(subject.1)
            .bind(wrapped.as_bytes())
            .bind(self.clock.now())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        let stored = self.stored_key(subject).await?;
        stored.ok_or_else(|| CommandError::failed("a data key vanished"))
    }

    fn unwrap_key(&self, subject: Subject, wrapped: &[u8]) -> Result<DataKey, CommandError> {
        let text = std::str::from_utf8(wrapped).map_err(CommandError::failed)?;
        let clear = decrypt(&self.master, subject, Kind::DataKey, text)?;
        DataKey::try_from(clear.as_slice()).map_err(CommandError::failed)
    }
}

/// A data key that is not stored yet ([`Vault::new_key`]).
pub struct NewKey {
    subject: Subject,
    key: DataKey,
    /// As `subject_keys` holds it.
    wrapped: String,
}

impl NewKey {
    #[must_use]
    pub fn wrapped(&self) -> &[u8] {
        self.wrapped.as_bytes()
    }

    /// As [`Vault::seal`], for a payload about nobody else.
    ///
    /// # Errors
    /// When something in it belongs to somebody else.
    pub fn seal(&self, payload: &mut Value) -> Result<(), CommandError> {
        seal_with(self.subject.0, payload, |subject| (subject == self.subject.1).then_some(&self.key))
    }
}

/// Whether a payload holds a personal value or a secret in the clear.
#[must_use]
pub fn is_clear(payload: &Value) -> bool {
    !subjects_of(payload, is_marked).is_empty()
}

fn is_marked(object: &Map<String, Value>) -> bool {
    object.contains_key(PERSONAL) || object.contains_key(SECRET)
}

/// Replaces every marked value; one without a key is an error, so that nothing stays in the clear.
fn seal_with<'k>(
    tenant_id: Uuid,
    payload: &mut Value,
    key_of: impl Fn(Uuid) -> Option<&'k DataKey>,
) -> Result<(), CommandError> {
    let mut failed = None;
    personal::rewrite(payload, &mut |object| {
        let secret = object.get(SECRET);
        let clear = secret.or_else(|| object.get(PERSONAL))?;
        let subject = subject_of(object)?;
        let kind = if secret.is_some() { Kind::Secret } else { Kind::Personal };
        let key = key_of(subject).ok_or_else(|| CommandError::failed("no key for this subject"));
        match key.and_then(|key| encrypt(key, (tenant_id, subject), kind, clear.to_string().as_bytes())) {
            Ok(sealed) if secret.is_some() => {
                Some(json!({ SEALED: sealed, SUBJECT: subject, "secret": true }))
            }
            Ok(sealed) => Some(json!({ SEALED: sealed, SUBJECT: subject })),
            Err(error) => {
                failed = Some(error);
                None
            }
        }
    });
    failed.map_or(Ok(()), Err)
}

impl Keys {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Replaces every envelope whose key exists by the value in the clear; erased ones and secrets stay sealed.
    pub fn open(&self, tenant_id: Uuid, payload: &mut Value) {
        self.rewrite(tenant_id, payload, |subject, clear| json!({ PERSONAL: clear, SUBJECT: subject }));
    }

    /// The payload for a person to read: plain values instead of envelopes.
    pub fn open_plain(&self, tenant_id: Uuid, payload: &mut Value) {
        self.rewrite(tenant_id, payload, |_, clear| clear);
    }

    fn rewrite(&self, tenant_id: Uuid, payload: &mut Value, show: impl Fn(Uuid, Value) -> Value) {
        if self.0.is_empty() {
            return;
        }
        personal::rewrite(payload, &mut |object| {
            let subject = subject_of(object).filter(|_| is_personal_envelope(object))?;
            let key = self.0.get(&(tenant_id, subject))?;
            let clear =
                decrypt(key, (tenant_id, subject), Kind::Personal, object.get(SEALED)?.as_str()?).ok()?;
            Some(show(subject, serde_json::from_slice(&clear).ok()?))
        });
    }
}

fn is_personal_envelope(object: &Map<String, Value>) -> bool {
    object.get(SEALED).is_some_and(Value::is_string) && !object.contains_key("secret")
}

fn subject_of(object: &Map<String, Value>) -> Option<Uuid> {
    object.get(SUBJECT)?.as_str()?.parse().ok()
}

fn subjects_of(payload: &Value, wanted: impl Fn(&Map<String, Value>) -> bool + Copy) -> HashSet<Uuid> {
    fn walk(value: &Value, wanted: impl Fn(&Map<String, Value>) -> bool + Copy, found: &mut HashSet<Uuid>) {
        match value {
            Value::Object(object) if wanted(object) => found.extend(subject_of(object)),
            Value::Object(object) => object.values().for_each(|v| walk(v, wanted, found)),
            Value::Array(items) => items.iter().for_each(|v| walk(v, wanted, found)),
            _ => {}
        }
    }
    let mut found = HashSet::new();
    walk(payload, wanted, &mut found);
    found
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac =
        <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

fn authenticated((tenant_id, subject): Subject, kind: Kind) -> Vec<u8> {
    [tenant_id.as_bytes(), subject.as_bytes(), kind.name()].concat()
}

/// Nonce and ciphertext in base64. Tenant, subject and kind are authenticated, so an envelope can't be moved, nor shown
/// as something else.
fn encrypt(key: &DataKey, subject: Subject, kind: Kind, clear: &[u8]) -> Result<String, CommandError> {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let aad = authenticated(subject, kind);
    let sealed = Aes256Gcm::new(key.into())
        .encrypt(&Nonce::from(nonce), Payload { msg: clear, aad: &aad })
        .map_err(CommandError::failed)?;
    Ok(BASE64.encode([nonce.as_slice(), &sealed].concat()))
}

fn decrypt(key: &DataKey, subject: Subject, kind: Kind, sealed: &str) -> Result<Vec<u8>, CommandError> {
    let bytes = BASE64.decode(sealed).map_err(CommandError::failed)?;
    let Some((nonce, ciphertext)) = bytes.split_first_chunk::<NONCE_BYTES>() else {
        return Err(CommandError::failed("an envelope is cut short"));
    };
    let aad = authenticated(subject, kind);
    Aes256Gcm::new(key.into())
        .decrypt(&Nonce::from(*nonce), Payload { msg: ciphertext, aad: &aad })
        .map_err(|_| CommandError::failed("an envelope was sealed with another key or changed"))
}
