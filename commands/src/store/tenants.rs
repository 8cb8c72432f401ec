//! Which log a tenant lives in: chosen once, then data.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use uuid::Uuid;

use super::Pool;
use crate::CommandError;

pub(super) struct Tenants {
    pool: Pool,
    logs: Vec<i16>,
    known: RwLock<HashMap<Uuid, i16>>,
}

impl Tenants {
    pub fn new(pool: Pool, logs: Vec<i16>) -> Self {
        Self { pool, logs, known: RwLock::default() }
    }

    pub fn logs(&self) -> &[i16] {
        &self.logs
    }

    pub async fn log_of(&self, tenant_id: Uuid) -> Result<i16, CommandError> {
        if let Some(log) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&tenant_id) {
            return Ok(*log);
        }
        Box::pin(self.place(tenant_id)).await
    }

    async fn place(&self, tenant_id: Uuid) -> Result<i16, CommandError> {
        let slot = usize::try_from(tenant_id.as_u128() % (self.logs.len() as u128)).unwrap_or(0);
        sqlx::query("INSERT INTO tenant_logs (tenant_id, log_id) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(tenant_id)
            .bind(self.logs[slot])
            .execute(&self.pool)
            .await?;
        let log = sqlx::query_scalar("SELECT log_id FROM tenant_logs WHERE tenant_id = $1")
            .bind(tenant_id)
            .fetch_one(&self.pool)
            .await?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(tenant_id, log);
        Ok(log)
    }
}
