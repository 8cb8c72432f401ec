//! One process at a time works on a queue of a log: a row that expires, so that a crash never needs a hand.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use commands::Store;
use uuid::Uuid;

/// A holder that does not renew for this long is replaced.
const LEASE: &str = "5 seconds";
/// How long a holder relies on it before it asks again.
const SURE_FOR: Duration = Duration::from_secs(2);

/// A wish to be the one.
pub struct Lease {
    store: Store,
    name: &'static str,
    log_id: i16,
    owner: Uuid,
    renewed: Mutex<Option<Instant>>,
}

impl Lease {
    #[must_use]
    pub fn new(store: Store, name: &'static str, log_id: i16) -> Self {
        Self { store, name, log_id, owner: commands::ids::new_id(), renewed: Mutex::default() }
    }

    /// Takes or renews the lease; false while another process has it.
    ///
    /// # Errors
    /// Database errors.
    pub async fn hold(&self) -> Result<bool, sqlx::Error> {
        // The clock goes on while a process is stopped, so one that slept too long asks first.
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        if renewed.is_some_and(|at| at.elapsed() < SURE_FOR) {
            return Ok(true);
        }
        let asked = Instant::now();
        let held = sqlx::query(
            "INSERT INTO leases AS l (log_id, name, owner, lease_until) VALUES ($1, $2, $3, now() + $4::interval)
             ON CONFLICT (log_id, name) DO UPDATE SET owner = $3, lease_until = now() + $4::interval
             WHERE l.owner = $3 OR l.lease_until < now()",
        )
        .bind(self.log_id)
        .bind(self.name)
        .bind(self.owner)
        .bind(LEASE)
        .execute(self.store.pool())
        .await?;
        let held = held.rows_affected() == 1;
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = held.then_some(asked);
        Ok(held)
    }

    /// Lets the next process start at once; should this fail, the lease expires.
    pub async fn give_back(&self) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let given = sqlx::query("DELETE FROM leases WHERE log_id = $1 AND name = $2 AND owner = $3")
            .bind(self.log_id)
            .bind(self.name)
            .bind(self.owner)
            .execute(self.store.pool())
            .await;
        if let Err(error) = given {
            tracing::debug!(%error, "a lease was not given back; it will expire");
        }
    }
}
