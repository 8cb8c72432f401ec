//! Reading on behalf of a caller: in a transaction that sees the caller's tenant only.

use domain::aggregate::Aggregate;
use projections::documents::{self, Document};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::Ctx;
use crate::http::{Answer, Problem};

/// Counting stops here, so that no list grows slow with a tenant's history (SEMANTICS, "Paging").
pub const EXACT_TOTAL: i64 = 10_000;

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

    /// # Errors
    /// Database errors.
    pub async fn find_document<A: Aggregate>(&self, id: Uuid) -> Answer<Option<Document<A>>> {
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
        found.ok_or_else(|| Problem::invalid(field, format!("names no {} of yours", A::STREAM.replace('_', " "))))
    }
}
