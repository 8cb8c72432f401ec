//! Process manager: with a contact's erasure its key is destroyed, and with the key whatever history says about it.

use domain::aggregate::Aggregate;
use domain::contact::Contact;
use projections::Event;
use projections::projection::Projection;
use projections::table::{ApplyError, Table};
use sqlx::PgConnection;

/// The name of the process manager, and of its checkpoint.
pub const NAME: &str = "erasure";

#[must_use]
pub fn manager() -> Projection {
    Projection::process_manager(NAME, vec![Box::new(SubjectKeys)])
}

struct SubjectKeys;

#[async_trait::async_trait]
impl Table for SubjectKeys {
    fn name(&self) -> &'static str {
        "subject_keys"
    }

    fn key(&self) -> &'static [&'static str] {
        &["tenant_id", "subject_id"]
    }

    fn columns(&self) -> &'static [&'static str] {
        &["tenant_id", "subject_id", "wrapped_key", "created_at", "erased_at"]
    }

    fn concerns(&self, event: &Event) -> bool {
        event.stream_type == Contact::STREAM && event.event_type == "contact.erased"
    }

    /// A subject that never had a key gets a row without one, so that it can never be given one.
    async fn apply(&self, tx: &mut PgConnection, _schema: &str, events: &[Event]) -> Result<(), ApplyError> {
        let erased: Vec<&Event> = events.iter().filter(|event| self.concerns(event)).collect();
        if erased.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO subject_keys (tenant_id, subject_id, wrapped_key, created_at, erased_at)
             SELECT tenant_id, subject_id, NULL, erased_at, erased_at
             FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS gone (tenant_id, subject_id, erased_at)
             ON CONFLICT (tenant_id, subject_id) DO UPDATE SET wrapped_key = NULL, erased_at = EXCLUDED.erased_at",
        )
        .bind(erased.iter().map(|e| e.tenant_id).collect::<Vec<_>>())
        .bind(erased.iter().map(|e| e.stream_id).collect::<Vec<_>>())
        .bind(erased.iter().map(|e| e.recorded_at).collect::<Vec<_>>())
        .execute(tx)
        .await?;
        Ok(())
    }
}
