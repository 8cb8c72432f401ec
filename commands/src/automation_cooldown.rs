//! The right to act for a rule on a conversation, which one item at a time can have: a row that expires.
//!
//! It commits by itself, before anything is done: of several items that want it at the same moment one gets it, and an
//! item that was interrupted finds that it has it already.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{CommandError, Store};

/// The cooldowns of a tenant.
pub struct Cooldowns<'s> {
    store: &'s Store,
    tenant_id: Uuid,
}

impl<'s> Cooldowns<'s> {
    #[must_use]
    pub const fn of(store: &'s Store, tenant_id: Uuid) -> Self {
        Self { store, tenant_id }
    }

    /// Takes it until then; false while another item has it.
    ///
    /// # Errors
    /// Database errors.
    pub async fn claim(
        &self,
        (rule_id, conversation_id): (Uuid, Uuid),
        item_id: Uuid,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<bool, CommandError> {
        let claimed = sqlx::query(
            "INSERT INTO automation_cooldowns AS c (log_id, tenant_id, rule_id, conversation_id, item_id, cooling_until)
             VALUES ($1, $2, $3, $4, $5, $7)
             ON CONFLICT (log_id, tenant_id, rule_id, conversation_id) DO UPDATE
             SET item_id = $5, cooling_until = CASE WHEN c.item_id = $5 THEN c.cooling_until ELSE $7 END
             WHERE c.item_id = $5 OR c.cooling_until <= $6",
        )
        .bind(self.store.log_of(self.tenant_id).await?)
        .bind(self.tenant_id)
        .bind(rule_id)
        .bind(conversation_id)
        .bind(item_id)
        .bind(now)
        .bind(until)
        .execute(self.store.pool())
        .await?;
        Ok(claimed.rows_affected() == 1)
    }

    /// Whether nobody has it, or only this item.
    ///
    /// # Errors
    /// Database errors.
    pub async fn is_free(
        &self,
        (rule_id, conversation_id): (Uuid, Uuid),
        item_id: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Result<bool, CommandError> {
        Ok(sqlx::query_scalar(
            "SELECT NOT EXISTS (SELECT FROM automation_cooldowns
                 WHERE log_id = $1 AND tenant_id = $2 AND rule_id = $3 AND conversation_id = $4 AND cooling_until > $5
                     AND item_id IS DISTINCT FROM $6)",
        )
        .bind(self.store.log_of(self.tenant_id).await?)
        .bind(self.tenant_id)
        .bind(rule_id)
        .bind(conversation_id)
        .bind(now)
        .bind(item_id)
        .fetch_one(self.store.pool())
        .await?)
    }
}
