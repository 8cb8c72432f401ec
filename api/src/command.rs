//! From a request to a command: who, why, under which id, and what the answer waits for.

use commands::store::{Decided, Decision, Origin};
use commands::{CommandError, Refusal};
use domain::aggregate::Aggregate;
use domain::event::{Actor, ActorKind, Metadata, PLATFORM_TENANT};
use domain::refusal::Reason;
use uuid::Uuid;

use crate::Ctx;
use crate::http::{Answer, Caller, FieldError, Means, Problem};

impl Ctx {
    /// The caller's tenant; the platform's own for super-admins.
    #[must_use]
    pub fn tenant_id(&self) -> Uuid {
        match self.caller.as_ref() {
            Caller::Member(member) => member.tenant_id,
            Caller::SuperAdmin(_) | Caller::Public => PLATFORM_TENANT,
        }
    }

    #[must_use]
    pub fn actor(&self) -> Actor {
        match self.caller.as_ref() {
            Caller::Public => Actor::system(),
            Caller::SuperAdmin(admin) => {
                Actor { name: Some(admin.name.clone()), ..Actor::new(ActorKind::SuperAdmin, admin.id) }
            }
            Caller::Member(member) => {
                let (kind, id) = match member.means {
                    Means::Session { .. } => (ActorKind::Agent, member.agent_id),
                    Means::ApiKey { id, .. } => (ActorKind::ApiKey, id),
                };
                Actor {
                    name: Some(member.name.clone()),
                    impersonator: member.impersonator,
                    ..Actor::new(kind, id)
                }
            }
        }
    }

    /// Where this request's command comes from. With an Idempotency-Key the command's id follows from the key, so that
    /// a repetition finds the first one in the log.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin_in(self.tenant_id())
    }

    /// As [`Ctx::origin`], for a command in another tenant: the platform acting on a customer.
    #[must_use]
    pub fn origin_in(&self, tenant_id: Uuid) -> Origin {
        let metadata = Metadata { ip: self.ip, ..Metadata::new(self.actor(), self.request_id) };
        let command_id = self.new_id(0);
        Origin { command_id, if_version: self.if_match, ..Origin::new(tenant_id, metadata) }
    }

    /// An id for something that this request makes: the same one when the request is repeated under its key.
    /// Ordinal 0 is the command's own.
    #[must_use]
    pub fn new_id(&self, ordinal: u32) -> Uuid {
        match &self.idempotency {
            Some(key) => {
                let seed = format!("{:?}/{:?}/{}", key.scope.tenant_id, key.scope.caller_id, key.key);
                commands::ids::derived_id(key.started_at, &seed, ordinal)
            }
            None => commands::ids::new_id(),
        }
    }

    /// Runs this request's command, and waits until every read model has it.
    ///
    /// # Errors
    /// The refusal as a problem; 503 when the log is busy.
    pub async fn execute<A: Aggregate>(
        &self,
        stream_id: Uuid,
        decide: impl Fn(&A) -> Result<Decision<A::Event>, Refusal> + Send,
    ) -> Answer<Decided<A>> {
        self.execute_as(&self.origin(), stream_id, decide).await
    }

    /// As [`Ctx::execute`], under a given origin.
    ///
    /// # Errors
    /// As [`Ctx::execute`].
    pub async fn execute_as<A: Aggregate>(
        &self,
        origin: &Origin,
        stream_id: Uuid,
        decide: impl Fn(&A) -> Result<Decision<A::Event>, Refusal> + Send,
    ) -> Answer<Decided<A>> {
        let decided = self.app.store().execute(origin, stream_id, decide).await?;
        self.settle(decided.log_id, decided.position).await;
        Ok(decided)
    }

    /// Tells the client the position, and waits until reads see it, unless the client does not want to.
    pub async fn settle(&self, log_id: i16, position: i64) {
        if position == 0 {
            // It is already so, perhaps since an attempt of this request that was cut off a moment ago.
            return self.set_behind();
        }
        self.set_event_position(position);
        if self.respond_async {
            self.set_behind();
        } else if !self.app.waiter().wait(log_id, position).await {
            tracing::warn!(log_id, position, "answering before the read models have caught up");
            self.set_behind();
        }
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Refused(refusal) => refusal.into(),
            CommandError::Busy => Self::unavailable("the append queue is full"),
            CommandError::Outage(_) => Self::outage(error),
            CommandError::Failed(_) | CommandError::Database(_) => Self::internal(error),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let Refusal { reason, code, detail, fields } = refusal;
        match reason {
            Reason::NotFound => Self::new(axum::http::StatusCode::NOT_FOUND, code, detail),
            Reason::Forbidden => Self::forbidden(detail),
            Reason::Conflict => Self::conflict(code, detail),
            Reason::Stale => Self::stale(),
            Reason::Invalid => Self::invalid_fields(
                fields.into_iter().map(|f| FieldError::new(f.field, f.message)).collect(),
            ),
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        CommandError::from(error).into()
    }
}
