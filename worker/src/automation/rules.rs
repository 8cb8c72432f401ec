//! The rules of tenants that were at work lately, kept for as long as nobody has changed them.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use commands::{CommandError, Store};
use domain::automation::{Control, Rule};
use domain::automation_control::{self, AutomationControl};
use domain::automation_rule::AutomationRule;
use lru::LruCache;
use projections::documents;
use sqlx::PgConnection;
use uuid::Uuid;

const TENANTS: NonZeroUsize = NonZeroUsize::new(1_000).expect("not zero");

/// What a tenant's items are judged by.
#[derive(Debug)]
pub struct RuleSet {
    pub control: Control,
    pub rules: Vec<Rule>,
    /// What it was made of: the sum of the versions of its documents, which only ever grow.
    stamp: i64,
}

/// Shared by all that judge.
pub(super) struct RuleBook(Mutex<LruCache<Uuid, Arc<RuleSet>>>);

impl Default for RuleBook {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(TENANTS)))
    }
}

impl RuleBook {
    /// The rules as they are now.
    pub async fn of(&self, store: &Store, tenant_id: Uuid) -> Result<Arc<RuleSet>, CommandError> {
        let mut db = store.pool().acquire().await?;
        let stamp = stamp(&mut db, tenant_id).await?;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&tenant_id).cloned();
        if let Some(known) = known.filter(|known| known.stamp == stamp) {
            return Ok(known);
        }
        // Read after the stamp: what changed in between makes the stamp look old, and is read again.
        let fresh = Arc::new(read(&mut db, tenant_id, stamp).await?);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(tenant_id, Arc::clone(&fresh));
        Ok(fresh)
    }
}

/// A tenant's rules and switch, as they are now.
///
/// # Errors
/// Database errors.
pub async fn of_tenant(store: &Store, tenant_id: Uuid) -> Result<RuleSet, CommandError> {
    let mut db = store.pool().acquire().await?;
    let stamp = stamp(&mut db, tenant_id).await?;
    read(&mut db, tenant_id, stamp).await
}

async fn stamp(db: &mut PgConnection, tenant_id: Uuid) -> Result<i64, CommandError> {
    // A deleted rule keeps its row and version.
    Ok(sqlx::query_scalar(
        "SELECT coalesce(sum(version), 0)::bigint FROM read.documents
         WHERE tenant_id = $1 AND collection IN ('automation_rule', 'automation_control')",
    )
    .bind(tenant_id)
    .fetch_one(db)
    .await?)
}

async fn read(db: &mut PgConnection, tenant_id: Uuid, stamp: i64) -> Result<RuleSet, CommandError> {
    let id = automation_control::stream_id(tenant_id);
    let control = documents::get::<AutomationControl>(db, tenant_id, id).await?;
    let rules = documents::list::<AutomationRule>(db, tenant_id).await?;
    Ok(RuleSet {
        control: control.map(|document| document.state.control).unwrap_or_default(),
        rules: rules.iter().filter_map(|document| document.state.as_rule(document.id)).collect(),
        stamp,
    })
}
