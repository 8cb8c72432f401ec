//! Whose turn it is to make one more of what is limited: a lock in this process, and among processes a row that expires.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use commands::{CommandError, Store};
use domain::billing::LimitName;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;
use uuid::Uuid;

use crate::wait::Waiter;

/// A holder that takes longer than this has died.
const LEASE: &str = "15 seconds";
/// Nobody waits longer than this for their turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often another process's turn is looked at.
const POLL: Duration = Duration::from_millis(10);
/// The read models that things are counted in.
const COUNTED_IN: [&str; 2] = ["counters", "documents"];
/// Tenants that share a place only wait for each other when both are close to a limit.
const PLACES: usize = 256;

static PLACES_HERE: LazyLock<Vec<Arc<Mutex<()>>>> =
    LazyLock::new(|| std::iter::repeat_with(Arc::default).take(PLACES).collect());

/// The turn of one command. When it is dropped the next one has its turn.
pub(super) struct Turn {
    store: Store,
    name: String,
    log_id: i16,
    owner: Uuid,
    /// Kept until the row is gone.
    place: Option<OwnedMutexGuard<()>>,
}

impl Turn {
    /// Waits for the turn, and then until all that was made before can be counted.
    ///
    /// # Errors
    /// Busy when that takes too long; database errors.
    pub async fn take(store: &Store, tenant_id: Uuid, limit: LimitName) -> Result<Self, CommandError> {
        let deadline = Instant::now() + PATIENCE;
        let slot = usize::try_from(tenant_id.as_u128() % (PLACES as u128)).unwrap_or(0);
        let place = Arc::clone(&PLACES_HERE[slot]).lock_owned();
        let place = tokio::time::timeout_at(deadline, place).await.map_err(|_| CommandError::Busy)?;
        let turn = Self {
            store: store.clone(),
            name: format!("limit {limit} {tenant_id}"),
            log_id: store.log_of(tenant_id).await?,
            owner: commands::ids::new_id(),
            place: Some(place),
        };
        while !turn.hold().await? {
            if Instant::now() >= deadline {
                return Err(CommandError::Busy);
            }
            tokio::time::sleep(POLL).await;
        }
        let waiter = Waiter::of(store.clone(), COUNTED_IN.to_vec());
        let head = turn.head().await?;
        if waiter.wait(turn.log_id, head).await { Ok(turn) } else { Err(CommandError::Busy) }
    }

    async fn hold(&self) -> Result<bool, sqlx::Error> {
        let held = sqlx::query(
            "INSERT INTO leases AS l (log_id, name, owner, lease_until) VALUES ($1, $2, $3, now() + $4::interval)
             ON CONFLICT (log_id, name) DO UPDATE SET owner = $3, lease_until = now() + $4::interval
             WHERE l.lease_until < now()",
        )
        .bind(self.log_id)
        .bind(&self.name)
        .bind(self.owner)
        .bind(LEASE)
        .execute(self.store.pool())
        .await?;
        Ok(held.rows_affected() == 1)
    }

    async fn head(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM events WHERE log_id = $1")
            .bind(self.log_id)
            .fetch_one(self.store.pool())
            .await
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (store, name, log_id, owner) = (self.store.clone(), self.name.clone(), self.log_id, self.owner);
        let place = self.place.take();
        tokio::spawn(async move {
            let gone = sqlx::query("DELETE FROM leases WHERE log_id = $1 AND name = $2 AND owner = $3")
                .bind(log_id)
                .bind(&name)
                .bind(owner)
                .execute(store.pool())
                .await;
            if let Err(error) = gone {
                tracing::warn!(%error, name, "a turn was not given back; it will expire");
            }
            drop(place);
        });
    }
}
