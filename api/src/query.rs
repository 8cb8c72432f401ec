//! Reading on behalf of a caller: in a transaction that sees the caller's tenant only.

use domain::agent::Agent;
use domain::aggregate::Aggregate;
use domain::billing::Limits;
use projections::documents::{self, Document};
use projections::usage;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::Ctx;
use crate::http::{Answer, Problem};

impl Ctx {
    /// A transaction of the caller's tenant, for reading.
    ///
    /// # Errors
    /// Database errors.
    pub async fn reader(&self) -> Answer<Transaction<'static, Postgres>> {
        Ok(projections::tenant::begin(self.app.store().pool(), self.tenant_id()).await?)
    }

    /// One document of the caller's tenant.
    ///
    /// # Errors
    /// 404, naming the aggregate.
    pub async fn document<A: Aggregate>(&self, id: Uuid) -> Answer<Document<A>> {
        self.find_document(id).await?.ok_or_else(|| Problem::not_found(A::STREAM.replace('_', " ")))
    }

    /// From the log itself where the read model may not have what this request wrote.
    ///
    /// # Errors
    /// Database errors.
    pub async fn find_document<A: Aggregate>(&self, id: Uuid) -> Answer<Option<Document<A>>> {
        if self.is_behind() {
            return Ok(documents::of_log(self.app.store(), self.tenant_id(), id).await?);
        }
        Ok(documents::get(&mut *self.reader().await?, self.tenant_id(), id).await?)
    }

    /// All documents of a kind, oldest first.
    ///
    /// # Errors
    /// Database errors.
    pub async fn documents<A: Aggregate>(&self) -> Answer<Vec<Document<A>>> {
        Ok(documents::list(&mut *self.reader().await?, self.tenant_id()).await?)
    }

    /// Refuses an id in a body that names nothing.
    ///
    /// # Errors
    /// 422 naming the field.
    pub async fn require<A: Aggregate>(&self, field: &str, id: Uuid) -> Answer<Document<A>> {
        let found = self.find_document::<A>(id).await?;
        found.ok_or_else(|| {
            Problem::invalid(field, format!("names no {} of yours", A::STREAM.replace('_', " ")))
        })
    }

    /// Refuses an agent in a body who can't be given work.
    ///
    /// # Errors
    /// 422 naming the field, for nobody and for a suspended agent.
    pub async fn require_receiver(&self, field: &str, agent_id: Uuid) -> Answer<()> {
        let agent = self.require::<Agent>(field, agent_id).await?;
        if agent.state.is_suspended {
            return Err(Problem::invalid(field, "names a suspended agent, who can't be given conversations"));
        }
        Ok(())
    }

    /// What the tenant may have and use.
    ///
    /// # Errors
    /// Database errors.
    pub async fn limits(&self) -> Answer<Limits> {
        let mut db = self.app.store().pool().acquire().await?;
        Ok(usage::limits(&mut db, self.tenant_id()).await?)
    }
}
